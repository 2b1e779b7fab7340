//! `log_to_metrics`: counts records, or takes a number from them, as a metric of its own tag.
//!
//! Counts grow as long as the agent runs. Without a flush interval the metric is sent with every
//! batch that changed it (Fluent Bit: with every record).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kansoku_model::metric::Point;
use kansoku_model::{
    ConfigError, LogBatch, MetricBatch, MetricKind, OptionKind, OptionSpec, Plugin, RecordBatch,
    Settings, Suffix, Value,
};
use kansoku_parsers::line::pattern::Pattern;

use super::accessor::{Accessor, Found, Reading};
use super::grep::Grep;
use super::parser::now_ns;
use super::words;
use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:log_to_metrics";
/// The most label sets of one metric: labels with free text would grow without end.
const MAX_SERIES: usize = 10_000;
/// The longest value of a label, Fluent Bit's limit.
const MAX_LABEL_BYTES: usize = 253;
const KUBERNETES_LABELS: [&str; 5] = [
    "namespace_name",
    "pod_name",
    "container_name",
    "docker_id",
    "pod_id",
];
const DEFAULT_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const NO_EMITTER: &str = "accepted for compatibility, without effect: nothing is buffered";

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "log_to_metrics",
    about: "Counts records, or takes a number from them, as a metric.",
    options: &[
        OptionSpec::new(
            "regex",
            OptionKind::Pair,
            "",
            "key and pattern: count what matches",
        )
        .repeated(),
        OptionSpec::new(
            "exclude",
            OptionKind::Pair,
            "",
            "key and pattern: do not count what matches",
        )
        .repeated(),
        OptionSpec::new(
            "metric_mode",
            OptionKind::Choice(&["counter", "gauge", "histogram"]),
            "counter",
            "the kind of metric",
        ),
        OptionSpec::new("metric_name", OptionKind::Text, "a", "its name"),
        OptionSpec::new(
            "metric_namespace",
            OptionKind::Text,
            "log_metric",
            "stands before subsystem and name",
        ),
        OptionSpec::new(
            "metric_subsystem",
            OptionKind::Text,
            "",
            "stands before the name; the mode when not set",
        ),
        OptionSpec::new("metric_description", OptionKind::Text, "", "its help text"),
        OptionSpec::new(
            "value_field",
            OptionKind::Text,
            "",
            "the number of a gauge or histogram",
        ),
        OptionSpec::new(
            "kubernetes_mode",
            OptionKind::Bool,
            "off",
            "add namespace_name, pod_name, container_name, docker_id and pod_id as labels",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "name of a label and the field that gives its value",
        )
        .repeated(),
        OptionSpec::new(
            "label_field",
            OptionKind::Text,
            "",
            "field that is a label of the same name",
        )
        .repeated(),
        OptionSpec::new(
            "bucket",
            OptionKind::Float,
            "0.005 to 10",
            "upper limit of a bucket of the histogram",
        )
        .repeated(),
        OptionSpec::new("tag", OptionKind::Text, "", "tag of the metric"),
        OptionSpec::new(
            "flush_interval_sec",
            OptionKind::Int,
            "0",
            "seconds between two sends; 0 sends at once",
        ),
        OptionSpec::new(
            "flush_interval_nsec",
            OptionKind::Int,
            "0",
            "nanoseconds to add to the seconds",
        ),
        OptionSpec::new(
            "discard_logs",
            OptionKind::Bool,
            "off",
            "drop all records afterwards",
        ),
        OptionSpec::new("emitter_name", OptionKind::Text, "", NO_EMITTER),
        OptionSpec::new("emitter_mem_buf_limit", OptionKind::Size, "", NO_EMITTER),
    ],
    example: "[FILTER]\n    Name               log_to_metrics\n    Match              kube.*\n    Tag                metrics.errors\n    Regex              log error\n    Metric_mode        counter\n    Metric_name        errors\n    Metric_description Lines that tell of errors\n    Kubernetes_mode    on\n",
    build,
};

struct LogToMetrics {
    rules: Grep,
    name: String,
    description: String,
    kind: MetricKind,
    labels: Vec<(String, Accessor)>,
    value: Option<Accessor>,
    buckets: Vec<f64>,
    tag: Arc<str>,
    every: Option<Duration>,
    discards: bool,
    /// Held while a batch is counted and while the metric is written down.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    series: BTreeMap<Vec<String>, Series>,
    changed: bool,
}

#[derive(Default)]
struct Series {
    /// The count of a counter, the value of a gauge, the sum of a histogram.
    value: f64,
    count: u64,
    /// Not cumulative; the last one is for what is above all limits.
    buckets: Vec<u64>,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let mode = settings.text("metric_mode", "counter").to_ascii_lowercase();
    let kind = match mode.as_str() {
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        _ => MetricKind::Counter,
    };
    let subsystem = match settings.text("metric_subsystem", "") {
        "" => mode.as_str(),
        subsystem => subsystem,
    };
    let parts = [
        settings.text("metric_namespace", "log_metric"),
        subsystem,
        settings.text("metric_name", "a"),
    ];
    let name = parts.map(clean_name).join("_");
    let value = match kind {
        MetricKind::Counter => None,
        _ => {
            let text = settings.required("value_field")?;
            let accessor = Accessor::new(text);
            Some(accessor.map_err(|e| ConfigError::new(&settings.place, e))?)
        }
    };
    let interval = Duration::from_secs(settings.int("flush_interval_sec", 0)?.max(0) as u64)
        + Duration::from_nanos(settings.int("flush_interval_nsec", 0)?.max(0) as u64);
    Ok(Box::new(LogToMetrics {
        rules: Grep::legacy(settings)?,
        name,
        description: settings.required("metric_description")?.to_owned(),
        kind,
        labels: labels(settings)?,
        value,
        buckets: buckets(settings)?,
        tag: settings.required("tag")?.into(),
        every: (!interval.is_zero()).then_some(interval),
        discards: settings.bool("discard_logs", false)?,
        state: Mutex::default(),
    }))
}

/// A part of a metric's or label's name: what is no letter, digit or underscore becomes one.
fn clean_name(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    text.chars().map(clean).collect()
}

fn labels(settings: &Settings) -> Result<Vec<(String, Accessor)>, ConfigError> {
    let mut labels = Vec::new();
    if settings.bool("kubernetes_mode", false)? {
        for name in KUBERNETES_LABELS {
            let accessor = Accessor::new(&format!("$kubernetes['{name}']"));
            labels.push((
                name.to_owned(),
                accessor.expect("the accessor is well-formed"),
            ));
        }
    }
    for s in &settings.settings {
        let (name, text) = match s.key.as_str() {
            "label_field" => (s.value.clone(), s.value.clone()),
            "add_label" => {
                let mut words = words::split(&s.value, 2).into_iter();
                let name = words.next().unwrap_or_default();
                (name, words.next().unwrap_or_default())
            }
            _ => continue,
        };
        let accessor = Accessor::new(&text).map_err(|e| ConfigError::new(&s.place, e))?;
        let name = clean_name(name.trim_start_matches('$'));
        if labels.iter().any(|(known, _)| *known == name) {
            let message = format!("label '{name}' is given twice; remove one");
            return Err(ConfigError::new(&s.place, message));
        }
        labels.push((name, accessor));
    }
    Ok(labels)
}

fn buckets(settings: &Settings) -> Result<Vec<f64>, ConfigError> {
    let mut limits = Vec::new();
    for s in settings.all("bucket") {
        let limit: f64 = s.value.parse().unwrap_or(f64::NAN);
        if !limit.is_finite() {
            let message = format!("'bucket' is '{}', but must be a number", s.value);
            return Err(ConfigError::new(&s.place, message));
        }
        limits.push(limit);
    }
    if limits.is_empty() {
        limits = DEFAULT_BUCKETS.to_vec();
    }
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    Ok(limits)
}

fn label_text(reading: &Reading<'_>, row: usize) -> String {
    let text = match reading.find(row) {
        None | Some(Found::Value(Value::Bool(_) | Value::Null | Value::Json(_))) => {
            return String::new();
        }
        // Fluent Bit writes fractions with six digits.
        Some(Found::Value(Value::Float(n))) => return format!("{n:.6}"),
        Some(Found::Json(b"true" | b"false" | b"null")) => return String::new(),
        Some(Found::Json([b'{' | b'[', ..])) => return String::new(),
        Some(found) => reading.text_of(found),
    };
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let mut end = text.len().min(MAX_LABEL_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// A number, or the one that a text begins with.
fn number(reading: &Reading<'_>, row: usize) -> Option<f64> {
    reading.number(row).or_else(|| {
        let text = reading.text_only(row)?;
        let text = std::str::from_utf8(&text).ok()?.trim();
        let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        text[..end].parse().ok()
    })
}

impl LogToMetrics {
    fn count(&self, batch: &LogBatch, state: &mut State) {
        let kept = self.rules.kept(batch);
        let labels: Vec<Reading<'_>> = self.labels.iter().map(|(_, a)| a.over(batch)).collect();
        let value = self.value.as_ref().map(|a| a.over(batch));
        for row in (0..batch.len()).filter(|&row| kept[row]) {
            let value = match &value {
                None => 1.0,
                Some(reading) => match number(reading, row) {
                    Some(value) => value,
                    None => {
                        let text = "a record has no number in 'value_field'";
                        log::warn(COMPONENT, format_args!("{}: {text}", self.name));
                        continue;
                    }
                },
            };
            let key: Vec<String> = labels.iter().map(|l| label_text(l, row)).collect();
            if state.series.len() >= MAX_SERIES && !state.series.contains_key(&key) {
                let text = "more label sets than 10000; new ones are not counted";
                log::warn(COMPONENT, format_args!("{}: {text}", self.name));
                continue;
            }
            let series = state.series.entry(key).or_default();
            state.changed = true;
            match self.kind {
                MetricKind::Gauge => series.value = value,
                MetricKind::Histogram => {
                    series.buckets.resize(self.buckets.len() + 1, 0);
                    let at = self.buckets.partition_point(|limit| *limit < value);
                    series.buckets[at] += 1;
                    series.value += value;
                    series.count += 1;
                }
                _ => series.value += value,
            }
        }
    }

    fn send(&self, state: &mut State, context: &mut FilterContext) {
        if !std::mem::take(&mut state.changed) {
            return;
        }
        let time_ms = now_ns() / 1_000_000;
        let mut batch = MetricBatch::new(self.tag.clone(), Arc::default(), time_ms);
        let family = batch.family(&self.name, self.kind, &self.description);
        for (values, series) in &state.series {
            let names = self.labels.iter().map(|(name, _)| name.as_str());
            let pairs: Vec<(&str, &str)> = names.zip(values.iter().map(String::as_str)).collect();
            if self.kind != MetricKind::Histogram {
                batch.sample(family, &pairs, series.value);
                continue;
            }
            let mut point = |pairs: &[(&str, &str)], suffix: Suffix, value: f64| {
                let labels = batch.label_set(pairs.iter().copied());
                batch.push(Point {
                    family,
                    suffix,
                    labels,
                    time_ms: None,
                    value,
                });
            };
            let mut total = 0;
            for (at, n) in series.buckets.iter().enumerate() {
                total += n;
                let limit = (self.buckets.get(at)).map_or("+Inf".to_owned(), f64::to_string);
                let with_limit = [&pairs[..], &[("le", limit.as_str())]].concat();
                point(&with_limit, Suffix::Bucket, total as f64);
            }
            point(&pairs, Suffix::Sum, series.value);
            point(&pairs, Suffix::Count, series.count as f64);
        }
        context.emit(RecordBatch::Metrics(batch), true, Vec::new());
    }
}

impl Filter for LogToMetrics {
    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.rules.patterns(visit);
    }

    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(batch, &mut state);
        if self.every.is_none() {
            self.send(&mut state, context);
        }
        drop(state);
        if self.discards {
            batch.retain(|_| false);
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        self.every
    }

    fn flush(&self, _all: bool, context: &mut FilterContext) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.send(&mut state, context);
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{KubernetesMetadata, Position, Resource};

    use super::*;

    fn batch() -> LogBatch {
        let resource = Resource {
            kubernetes: Some(KubernetesMetadata {
                pod_name: "web".into(),
                ..KubernetesMetadata::default()
            }),
            ..Resource::default()
        };
        let mut batch = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
        for (i, (log, n)) in [("error a", 0.2), ("fine", 3.0), ("error b", 7.0)]
            .into_iter()
            .enumerate()
        {
            let row = batch.push(0, Position::at(i as u64));
            batch.set_text("log", row, log.as_bytes());
            batch.set_text("n", row, format!("{n}s").as_bytes());
        }
        batch
    }

    fn run(pairs: &[(&str, &str)]) -> (usize, String) {
        let shared = [
            ("tag", "m"),
            ("metric_description", "d"),
            ("metric_name", "x"),
        ];
        let pairs = [pairs, &shared].concat();
        let settings = Settings::of("log_to_metrics", &pairs);
        let filter = build(&settings, &Environment::default()).unwrap_or_else(|e| panic!("{e}"));
        let mut context = FilterContext::default();
        let mut left = 0;
        for _ in 0..2 {
            let mut batch = batch();
            filter.apply(&mut batch, &mut context);
            left = batch.len();
        }
        filter.flush(true, &mut context);
        let emitted = context.take_emitted().pop().expect("a metric");
        let RecordBatch::Metrics(metrics) = emitted.batch else {
            panic!("metrics")
        };
        assert_eq!(&*metrics.tag, "m");
        let line = |p: &Point| format!("{:?} {}", metrics.series_of(p), p.value);
        (
            left,
            metrics
                .points()
                .iter()
                .map(line)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }

    #[test]
    fn records_become_metrics() {
        let (left, text) = run(&[
            ("regex", "log error"),
            ("kubernetes_mode", "on"),
            ("flush_interval_sec", "5"),
            ("label_field", "log"),
            ("discard_logs", "on"),
        ]);
        assert_eq!(left, 0);
        assert_eq!(text.lines().count(), 2, "{text}");
        for part in [
            "log_metric_counter_x",
            "pod_name=\"web\"",
            "log=\"error a\"",
            "} 2",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let (left, text) = run(&[
            ("metric_mode", "gauge"),
            ("value_field", "n"),
            ("metric_subsystem", "s"),
            ("metric_namespace", "my-app"),
        ]);
        assert_eq!(left, 3);
        assert!(
            text.contains("my_app_s_x") && text.ends_with(" 7"),
            "{text}"
        );
        let (_, text) = run(&[
            ("metric_mode", "histogram"),
            ("value_field", "$n"),
            ("bucket", "5"),
            ("bucket", "0.5"),
        ]);
        let values: Vec<&str> = text.lines().filter_map(|l| l.rsplit(' ').next()).collect();
        assert_eq!(values, ["2", "4", "6", "20.4", "6"], "{text}");
        assert!(
            text.contains("le=\"0.5\"") && text.contains("le=\"+Inf\""),
            "{text}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let of = |pairs: &[(&str, &str)]| {
            let settings = Settings::of("log_to_metrics", pairs);
            match build(&settings, &Environment::default()) {
                Ok(_) => "built".to_owned(),
                Err(e) => e.message,
            }
        };
        let base = [("tag", "m"), ("metric_description", "d")];
        assert_eq!(of(&base), "built");
        assert!(of(&[("tag", "m")]).contains("metric_description"));
        assert!(of(&[("metric_description", "d")]).contains("'tag'"));
        let twice = [("label_field", "a"), ("add_label", "a b")];
        assert!(of(&[&base[..], &twice].concat()).contains("twice"));
    }
}
