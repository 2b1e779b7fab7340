//! `/api/v1/status/tsdb`: which names and labels make the series many.
//!
//! Fields and order are Prometheus 3's. Unlike there the counts are of all series that are kept, not only of
//! those in memory; chunks and times are those of the data that is not written out yet, one chunk a series.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_store::{HeadBounds, SampleBlock};
use serde_json::{Value, json};

use super::envelope::{self, ApiError};
use super::params::{TIME_MAX_MS, TIME_MIN_MS};
use crate::api::gate;
use crate::app::App;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;

/// Entries of each list when `limit` is missing, as in Prometheus.
const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 10_000;

/// `/api/v1/status/tsdb`
pub async fn counts(app: Arc<App>, call: Call) -> Reply {
    let limit = match limit(&call.form) {
        Ok(limit) => limit,
        Err(error) => return error.reply(),
    };
    let tenant = call.tenant;
    let timeout = app.query_timeout(&tenant);
    let own = tenant.clone();
    let kind = QueryKind::PromqlLabels;
    let done = gate::run(&app, &tenant, kind, timeout, move |app, _| {
        let snapshot = own.snapshot(&app.tenants.opener)?;
        let series = snapshot.metric_series(&[], TIME_MIN_MS, TIME_MAX_MS)?;
        let data = Counts::of(&series).json(limit, snapshot.head_bounds());
        Ok::<_, ApiError>(envelope::success_with(
            data.to_string().as_bytes(),
            &snapshot.warnings(),
            &[],
        ))
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

/// `/api/v1/status/tsdb/blocks`: the parts of samples, in the words of Prometheus's blocks.
///
/// A part has a number and no ULID, and its end is that of a block there: one past the newest sample.
pub async fn blocks(app: Arc<App>, call: Call) -> Reply {
    let timeout = app.query_timeout(&call.tenant);
    let tenant = call.tenant.clone();
    let kind = QueryKind::PromqlLabels;
    let done = gate::run(&app, &tenant, kind, timeout, move |app, _| {
        let snapshot = call.tenant.snapshot(&app.tenants.opener)?;
        let blocks: Value = snapshot.sample_blocks().iter().map(block).collect();
        let data = json!({ "blocks": blocks }).to_string();
        Ok::<_, ApiError>(envelope::success(data.as_bytes()))
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

fn block(block: &SampleBlock) -> Value {
    let name = format!("{:026}", block.number);
    json!({
        "ulid": name,
        "minTime": block.oldest_ms,
        "maxTime": block.newest_ms.saturating_add(1),
        "stats": {"numSamples": block.n_samples, "numSeries": block.n_series},
        "compaction": {"level": block.n_flushes, "sources": [name]},
        "version": 1,
    })
}

/// As in Prometheus.
fn limit(form: &Form) -> Result<usize, ApiError> {
    let text = form.get("limit");
    if text.is_empty() {
        return Ok(DEFAULT_LIMIT);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(ApiError::bad_data("limit must be a positive number")),
        Ok(n) if n > MAX_LIMIT => Err(ApiError::bad_data(format!(
            "limit must not exceed {MAX_LIMIT}"
        ))),
        Ok(n) => Ok(n),
    }
}

/// Series per name and per pair.
#[derive(Default)]
struct Counts<'a> {
    n_series: usize,
    by_metric: HashMap<&'a str, u64>,
    by_pair: HashMap<(&'a str, &'a str), u64>,
}

impl<'a> Counts<'a> {
    fn of(series: &'a [Labels]) -> Self {
        let mut counts = Self {
            n_series: series.len(),
            ..Self::default()
        };
        for labels in series {
            *counts.by_metric.entry(labels.metric_name()).or_default() += 1;
            for pair in labels {
                *counts.by_pair.entry(pair).or_default() += 1;
            }
        }
        counts
    }

    fn json(&self, limit: usize, head: HeadBounds) -> Value {
        let mut values: HashMap<&str, u64> = HashMap::new();
        let mut bytes: HashMap<&str, u64> = HashMap::new();
        for ((name, value), n) in &self.by_pair {
            *values.entry(name).or_default() += 1;
            *bytes.entry(name).or_default() += value.len() as u64 * n;
        }
        let pairs = self.by_pair.iter();
        let pairs = pairs.map(|((name, value), n)| (format!("{name}={value}"), *n));
        json!({
            "headStats": {
                "numSeries": self.n_series,
                "numLabelPairs": self.by_pair.len(),
                "chunkCount": head.n_runs,
                "minTime": head.oldest_ms,
                "maxTime": head.newest_ms,
            },
            "seriesCountByMetricName": top(&self.by_metric, limit),
            "labelValueCountByLabelName": top(&values, limit),
            "memoryInBytesByLabelName": top(&bytes, limit),
            "seriesCountByLabelValuePair": top_of(pairs.collect(), limit),
        })
    }
}

fn top(counts: &HashMap<&str, u64>, limit: usize) -> Value {
    let named = counts.iter().map(|(name, n)| ((*name).to_owned(), *n));
    top_of(named.collect(), limit)
}

/// The largest first, equal ones by name.
fn top_of(mut counts: Vec<(String, u64)>, limit: usize) -> Value {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    let entries = counts
        .into_iter()
        .map(|(name, n)| json!({"name": name, "value": n}));
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let series = [
            Labels::from_pairs([("__name__", "a"), ("x", "1")]),
            Labels::from_pairs([("__name__", "a"), ("x", "22")]),
            Labels::from_pairs([("__name__", "b"), ("x", "1")]),
        ];
        let head = HeadBounds {
            n_runs: 3,
            oldest_ms: 10,
            newest_ms: 20,
        };
        let json = Counts::of(&series).json(1, head);
        let expected = json!({
            "headStats": {
                "numSeries": 3, "numLabelPairs": 4, "chunkCount": 3, "minTime": 10, "maxTime": 20,
            },
            "seriesCountByMetricName": [{"name": "a", "value": 2}],
            "labelValueCountByLabelName": [{"name": "__name__", "value": 2}],
            "memoryInBytesByLabelName": [{"name": "x", "value": 4}],
            "seriesCountByLabelValuePair": [{"name": "__name__=a", "value": 2}],
        });
        assert_eq!(json, expected);
        let ask = |text: &str| {
            let mut form = Form::default();
            form.read(text).expect("a form");
            limit(&form).map_err(|e| e.message)
        };
        assert_eq!((ask(""), ask("limit=7")), (Ok(10), Ok(7)));
        for text in ["limit=0", "limit=-1", "limit=x", "limit=10001"] {
            assert!(ask(text).is_err(), "{text}");
        }
    }
}
