//! `/api/v1/status/self_metrics`: the aggregator's own metrics as JSON.
//!
//! The shape is `io.prometheus.client.MetricFamily` as protobuf's JSON has it: camel case, 64-bit counts as texts.
//! Source: Prometheus, `web/api/v1/api.go` (`selfMetrics`).

use std::collections::BTreeMap;

use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Suffix};
use regex::Regex;
use serde_json::{Value, json};

use super::envelope::{self, ApiError};
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};
use crate::telemetry::metrics;

/// Answers the call.
pub fn answer(app: &App, call: &Call) -> Reply {
    let pattern = call.form.get("metric_name_pattern");
    let filter = match Regex::new(&format!("^(?:{pattern})$")) {
        Ok(filter) => (!pattern.is_empty()).then_some(filter),
        Err(e) => return ApiError::bad_data(format!("invalid metric_name_pattern: {e}")).reply(),
    };
    let batch = metrics::collect(app, clock::now_ms());
    let data = families(&batch, filter.as_ref()).to_string();
    envelope::success(data.as_bytes())
}

fn families(batch: &MetricBatch, filter: Option<&Regex>) -> Value {
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    for (index, family) in batch.families().iter().enumerate() {
        let name = batch.text(family.name);
        if filter.is_some_and(|f| !f.is_match(name)) {
            continue;
        }
        let id = FamilyId(index as u32);
        let points = batch.points().iter().filter(|p| p.family == id);
        let points: Vec<&Point> = points.collect();
        if points.is_empty() {
            continue;
        }
        let (kind, metrics) = match family.kind {
            MetricKind::Counter => ("COUNTER", simple(batch, &points, "counter")),
            MetricKind::Gauge => ("GAUGE", simple(batch, &points, "gauge")),
            MetricKind::Histogram => ("HISTOGRAM", histograms(batch, &points)),
            MetricKind::Summary | MetricKind::Unknown => {
                ("UNTYPED", simple(batch, &points, "untyped"))
            }
        };
        let family = json!({
            "name": name, "help": batch.text(family.help), "type": kind, "metric": metrics,
        });
        all.insert(name, family);
    }
    all.into_values().collect()
}

fn simple(batch: &MetricBatch, points: &[&Point], kind: &str) -> Vec<Value> {
    let metric = |point: &&Point| {
        let labels = labels(batch, point, "");
        json!({"label": labels, kind: {"value": number(point.value)}})
    };
    points.iter().map(metric).collect()
}

/// The points of one histogram follow each other.
fn histograms(batch: &MetricBatch, points: &[&Point]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for point in points {
        let labels = labels(batch, point, "le");
        if out.last().is_none_or(|last| last["label"] != labels) {
            out.push(json!({"label": labels, "histogram": {"bucket": []}}));
        }
        let last = out.last_mut().expect("one was pushed");
        let histogram = &mut last["histogram"];
        let count = json!((point.value as u64).to_string());
        match point.suffix {
            Suffix::Sum => histogram["sampleSum"] = number(point.value),
            Suffix::Count => histogram["sampleCount"] = count,
            Suffix::Bucket | Suffix::None => {
                let bound = batch.labels_of(point).find(|(name, _)| *name == "le");
                let bound = bound.and_then(|(_, le)| le.parse().ok());
                let bucket = json!({
                    "cumulativeCount": count,
                    "upperBound": number(bound.unwrap_or(f64::INFINITY)),
                });
                histogram["bucket"]
                    .as_array_mut()
                    .expect("made as one")
                    .push(bucket);
            }
        }
    }
    out
}

fn labels(batch: &MetricBatch, point: &Point, without: &str) -> Value {
    let pairs = batch.labels_of(point).filter(|(name, _)| *name != without);
    pairs
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

/// JSON has no number for what is none.
fn number(value: f64) -> Value {
    match value {
        v if v.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        v => json!(v),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn families_are_those_of_protobuf_in_json() {
        let mut batch = MetricBatch::new("m".into(), Arc::default(), 0);
        let up = batch.new_family("b_up", MetricKind::Gauge, "Is up.");
        batch.sample(up, &[("job", "x")], f64::INFINITY);
        let seconds = batch.new_family("a_seconds", MetricKind::Histogram, "Time.");
        for (suffix, labels, value) in [
            (Suffix::Bucket, &[("le", "0.5")][..], 2.0),
            (Suffix::Bucket, &[("le", "+Inf")], 3.0),
            (Suffix::Sum, &[], 1.5),
            (Suffix::Count, &[], 3.0),
        ] {
            let labels = batch.label_set(labels.iter().copied());
            batch.push(Point {
                family: seconds,
                suffix,
                labels,
                time_ms: None,
                value,
            });
        }
        let expected = json!([
            {"name": "a_seconds", "help": "Time.", "type": "HISTOGRAM", "metric": [{
                "label": [],
                "histogram": {
                    "sampleCount": "3", "sampleSum": 1.5,
                    "bucket": [
                        {"cumulativeCount": "2", "upperBound": 0.5},
                        {"cumulativeCount": "3", "upperBound": "Infinity"},
                    ],
                },
            }]},
            {"name": "b_up", "help": "Is up.", "type": "GAUGE", "metric": [
                {"label": [{"name": "job", "value": "x"}], "gauge": {"value": "Infinity"}},
            ]},
        ]);
        assert_eq!(families(&batch, None), expected);
        let only = families(&batch, Some(&Regex::new("^b_.*$").unwrap()));
        assert_eq!(only, json!([expected[1]]));
    }
}
