//! Samples of the series that a selector selects, series by series and in order of time.
//!
//! Range vectors of the query API are exact samples. A metric whose samples fit into one answer is
//! asked for as a whole; of a larger one each series alone, in spans that shrink when one is too large.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::lines::Labels;
use crate::logql::quote;
use crate::logs::targets::vector;
use crate::time;

/// Samples of one answer: some 20 MB of JSON.
const ANSWER_SAMPLES: f64 = 500_000.0;
/// A span that is halved no further.
const SPAN_MIN_MS: i64 = 1000;

/// Samples of one series: milliseconds, and the value as the server writes it.
pub struct Chunk {
    pub labels: Labels,
    pub samples: Vec<(i64, String)>,
}

#[derive(Deserialize)]
struct Matrix {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Box<RawValue>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

/// Where samples come from.
pub struct Source<'a> {
    client: &'a Client,
    selector: String,
    start_ms: i64,
    end_ms: i64,
    /// Native histograms that were left out.
    pub n_histograms: usize,
}

impl<'a> Source<'a> {
    /// Samples from `start_ms` to `end_ms`, both included.
    #[must_use]
    pub fn new(client: &'a Client, selector: &str, start_ms: i64, end_ms: i64) -> Self {
        Self {
            client,
            selector: selector.trim().to_owned(),
            start_ms,
            end_ms,
            n_histograms: 0,
        }
    }

    fn listing(&self, selector: &str) -> [(&'static str, String); 3] {
        [
            ("match[]", selector.to_owned()),
            ("start", time::seconds(self.start_ms)),
            ("end", time::seconds(self.end_ms)),
        ]
    }

    /// The names of all labels of the series.
    ///
    /// # Errors
    /// When the selector is wrong or the server gives no answer.
    pub async fn label_names(&self) -> Result<BTreeSet<String>> {
        self.client
            .data("/api/v1/labels", &self.listing(&self.selector))
            .await
    }

    /// Gives all samples to `give`, with how much of the work is done.
    ///
    /// # Errors
    /// When the server gives no answer, or `give` fails.
    pub async fn read(&mut self, mut give: impl FnMut(Chunk, f64) -> Result<()>) -> Result<()> {
        let path = "/api/v1/label/__name__/values";
        let mut names: Vec<String> = self
            .client
            .data(path, &self.listing(&self.selector))
            .await?;
        names.sort_unstable();
        let n_names = names.len().max(1) as f64;
        for (n, name) in names.iter().enumerate() {
            let part = n as f64 / n_names;
            let selector = of_name(&self.selector, name);
            // What a count costs too much for is read series by series.
            let count = self.count(&selector).await.unwrap_or(f64::INFINITY);
            if count == 0.0 {
                continue;
            }
            if count <= ANSWER_SAMPLES {
                match self.span(&selector, self.start_ms - 1, self.end_ms).await {
                    Ok(all) => {
                        for series in all {
                            self.pass(series, part, &mut give)?;
                        }
                        continue;
                    }
                    Err(e) if is_too_large(&e) => {}
                    Err(e) => return Err(e),
                }
            }
            let found: Vec<Labels> = self
                .client
                .data("/api/v1/series", &self.listing(&selector))
                .await?;
            for (n_series, labels) in found.iter().enumerate() {
                let part = part + n_series as f64 / found.len() as f64 / n_names;
                self.one_series(labels, part, &mut give).await?;
            }
        }
        Ok(())
    }

    /// How many samples a selector selects.
    async fn count(&self, selector: &str) -> Result<f64> {
        let width_ms = self.end_ms - self.start_ms + 1;
        let query = format!(
            "sum(count_over_time({selector}[{width_ms}ms] @ {}))",
            time::seconds(self.end_ms)
        );
        let found = vector(self.client, &query).await?;
        Ok(found.first().map_or(0.0, |s| s.value))
    }

    /// All series of a selector with their samples after `after_ms`, up to `end_ms`.
    async fn span(&self, selector: &str, after_ms: i64, end_ms: i64) -> Result<Vec<Series>> {
        let parameters = [
            ("query", format!("{selector}[{}ms]", end_ms - after_ms)),
            ("time", time::seconds(end_ms)),
        ];
        let found: Matrix = self.client.data("/api/v1/query", &parameters).await?;
        if found.result_type != "matrix" {
            return Err(Error::Usage(format!(
                "\"{}\" is no series selector; expected one such as 'up{{job=\"node\"}}'",
                self.selector
            )));
        }
        serde_json::from_str(found.result.get())
            .map_err(|e| Error::failed(format!("the server's samples cannot be read: {e}")))
    }

    async fn one_series(
        &mut self,
        labels: &Labels,
        part: f64,
        give: &mut impl FnMut(Chunk, f64) -> Result<()>,
    ) -> Result<()> {
        let selector = exactly(labels);
        let mut after_ms = self.start_ms - 1;
        let mut span_ms = self.end_ms - after_ms;
        while after_ms < self.end_ms {
            let end_ms = (after_ms + span_ms).min(self.end_ms);
            match self.span(&selector, after_ms, end_ms).await {
                Ok(found) => {
                    // Others have the same labels and more.
                    for series in found.into_iter().filter(|s| s.metric == *labels) {
                        self.pass(series, part, give)?;
                    }
                    after_ms = end_ms;
                }
                Err(e) if is_too_large(&e) && span_ms > SPAN_MIN_MS => span_ms /= 2,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn pass(
        &mut self,
        series: Series,
        part: f64,
        give: &mut impl FnMut(Chunk, f64) -> Result<()>,
    ) -> Result<()> {
        self.n_histograms += series.histograms.len();
        if series.values.is_empty() {
            return Ok(());
        }
        let samples = series.values.into_iter();
        let chunk = Chunk {
            labels: series.metric,
            samples: samples
                .map(|(s, text)| ((s * 1e3).round() as i64, text))
                .collect(),
        };
        give(chunk, part)
    }
}

fn is_too_large(error: &Error) -> bool {
    match error {
        Error::Refused { status: 413, .. } => true,
        Error::Refused { message, .. } => {
            message.contains("too many samples") || message.contains("timed out")
        }
        _ => false,
    }
}

/// The selector with the metric's name added where it has none of its own.
fn of_name(selector: &str, name: &str) -> String {
    match selector.strip_prefix('{') {
        Some(rest) if !rest.trim_start().starts_with(['"', '\'']) => {
            let comma = if rest.trim() == "}" { "" } else { "," };
            format!("{{__name__={}{comma}{rest}", quote(name))
        }
        _ => selector.to_owned(),
    }
}

/// A selector of a series by all of its labels.
fn exactly(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let name = if is_plain { name.clone() } else { quote(name) };
            format!("{name}={}", quote(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        for (selector, expected) in [
            ("up", "up"),
            ("up{job=\"x\"}", "up{job=\"x\"}"),
            ("{job=\"x\"}", "{__name__=\"n\",job=\"x\"}"),
            ("{}", "{__name__=\"n\"}"),
            ("{\"a.b\", x=\"y\"}", "{\"a.b\", x=\"y\"}"),
        ] {
            assert_eq!(of_name(selector, "n"), expected);
        }
        let labels =
            [("__name__", "a.b"), ("k8s.pod", "x\"y")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(
            exactly(&labels.into()),
            r#"{__name__="a.b","k8s.pod"="x\"y"}"#
        );
    }

    #[test]
    fn what_is_too_large_is_asked_for_in_parts() {
        let refused = |message: &str| Error::Refused {
            status: 422,
            message: message.into(),
        };
        assert!(is_too_large(&refused(
            "query processing would load too many samples into memory in query execution"
        )));
        assert!(!is_too_large(&refused("1:1: parse error: x")));
        assert!(!is_too_large(&Error::failed("x")));
    }
}
