//! `/api/v1/status/tsdb`: which names and labels make the series many.
//!
//! Unlike Prometheus's, the counts are of all series that are kept, not only of those in memory;
//! what the store does not know (chunks, bounds of the head) is left out.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::Labels;
use serde_json::{Value, json};

use super::envelope::{self, ApiError};
use super::params::{self, TIME_MAX_MS, TIME_MIN_MS};
use super::query::not_open;
use crate::api::gate;
use crate::app::App;
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;

/// Entries of each list when `limit` is missing, as in Prometheus.
const DEFAULT_LIMIT: usize = 10;

/// `/api/v1/status/tsdb`
pub async fn counts(app: Arc<App>, call: Call) -> Reply {
    let limit = match params::limit(&call.form) {
        Ok(limit) => limit.unwrap_or(DEFAULT_LIMIT),
        Err(error) => return error.reply(),
    };
    let timeout = app.settings.query_timeout;
    let done = gate::run(&app, QueryKind::PromqlLabels, timeout, move |app, _| {
        let store = app.store().ok_or_else(not_open)?;
        let series = store
            .snapshot()
            .metric_series(&[], TIME_MIN_MS, TIME_MAX_MS)?;
        let data = Counts::of(&series).json(limit, store.stats().head_series);
        Ok::<_, ApiError>(envelope::success(data.to_string().as_bytes()))
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
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

    fn json(&self, limit: usize, head_series: u64) -> Value {
        let mut values: HashMap<&str, u64> = HashMap::new();
        let mut bytes: HashMap<&str, u64> = HashMap::new();
        for (name, value) in self.by_pair.keys() {
            *values.entry(name).or_default() += 1;
            *bytes.entry(name).or_default() += value.len() as u64;
        }
        let pairs = self.by_pair.iter();
        let pairs = pairs.map(|((name, value), n)| (format!("{name}={value}"), *n));
        json!({
            "headStats": {
                "numSeries": head_series,
                "numLabelPairs": self.by_pair.len(),
            },
            "numSeries": self.n_series,
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
        let json = Counts::of(&series).json(1, 3);
        let expected = json!({
            "headStats": {"numSeries": 3, "numLabelPairs": 4},
            "numSeries": 3,
            "seriesCountByMetricName": [{"name": "a", "value": 2}],
            "labelValueCountByLabelName": [{"name": "__name__", "value": 2}],
            "memoryInBytesByLabelName": [{"name": "x", "value": 3}],
            "seriesCountByLabelValuePair": [{"name": "__name__=a", "value": 2}],
        });
        assert_eq!(json, expected);
    }
}
