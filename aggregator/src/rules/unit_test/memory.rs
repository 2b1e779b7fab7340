//! The store of a unit test: series in memory, of which only the past is visible.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_model::metric::STALE_BITS;
use kansoku_model::select::{SelectError, SeriesData};
use kansoku_model::{Labels, Matcher, SeriesSource};
use kansoku_query::number::format_f;
use kansoku_query::promql::native::FloatHistogram;
use kansoku_query::promql::notation::{self, Item, stored};
use kansoku_query::promql::{Engine, Options, Sample};

use super::input::{InputSeries, TestGroup};
use crate::rules::alert::Alert;
use crate::rules::environment::{Counters, Environment, samples_of};
use crate::rules::file::Expression;

/// What rules of a test see and write.
#[derive(Debug)]
pub struct TestStore {
    engine: Engine,
    /// Locked for the time of a query or an append.
    series: Mutex<BTreeMap<Labels, SeriesData>>,
    /// Nothing later is there yet.
    now_ms: AtomicI64,
    external_labels: Arc<Labels>,
    external_url: String,
    counters: Counters,
}

impl TestStore {
    /// The store of a test.
    #[must_use]
    pub fn new(test: &TestGroup, interval_ms: i64, subquery_step_ms: i64) -> Self {
        let store = Self {
            engine: Engine::new(Options {
                default_subquery_step_ms: subquery_step_ms,
                ..Options::default()
            }),
            series: Mutex::default(),
            now_ms: AtomicI64::new(i64::MIN),
            external_labels: Arc::new(test.external_labels.clone()),
            external_url: test.external_url.clone(),
            counters: Counters::default(),
        };
        for one in &test.series {
            store.load(one, test.start_ms, interval_ms);
        }
        store
    }

    /// All samples up to a time, as promtool's `--debug` shows them: a series, then a line for each.
    #[must_use]
    pub fn dump(&self, to_ms: i64) -> String {
        let all = self.lock();
        let mut lines = Vec::new();
        for (labels, series) in all.iter() {
            let histogram = |at: usize| series.histograms.get(at).and_then(Option::as_ref);
            let is_seen = |at: &usize| {
                let is_end = series.values[*at].to_bits() == STALE_BITS && histogram(*at).is_none();
                series.times[*at] <= to_ms && !is_end
            };
            let seen: Vec<usize> = (0..series.times.len()).filter(is_seen).collect();
            if seen.is_empty() {
                continue;
            }
            lines.push(format!("{labels} =>"));
            for at in seen {
                let value = match histogram(at) {
                    Some(stored) => notation::text_of(&FloatHistogram::of(stored)),
                    None => format_f(series.values[at]),
                };
                lines.push(format!("{value} @[{}]", series.times[at]));
            }
        }
        lines.join("\n")
    }

    /// Lets time go on.
    pub fn set_now(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Labels, SeriesData>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, input: &InputSeries, start_ms: i64, interval_ms: i64) {
        let mut all = self.lock();
        let series = entry(&mut all, &input.labels);
        for (step, item) in input.values.iter().enumerate() {
            let time_ms = start_ms.saturating_add((step as i64).saturating_mul(interval_ms));
            match item {
                None => {}
                Some(Item::Float(value)) => push(series, time_ms, *value, None),
                Some(Item::Histogram(h)) => {
                    push(series, time_ms, 0.0, Some(Arc::new(stored(h))));
                }
            }
        }
    }
}

fn entry<'a>(all: &'a mut BTreeMap<Labels, SeriesData>, labels: &Labels) -> &'a mut SeriesData {
    all.entry(labels.clone()).or_insert_with(|| SeriesData {
        labels: labels.clone(),
        times: Vec::new(),
        values: Vec::new(),
        histograms: Vec::new(),
        starts: Vec::new(),
    })
}

/// Puts a sample in its place; one that is there already stays.
fn push(
    series: &mut SeriesData,
    time_ms: i64,
    value: f64,
    histogram: Option<Arc<kansoku_model::histogram::NativeHistogram>>,
) {
    let at = series.times.partition_point(|t| *t < time_ms);
    if series.times.get(at) == Some(&time_ms) {
        return;
    }
    if histogram.is_some() && series.histograms.is_empty() {
        series.histograms.resize(series.times.len(), None);
    }
    series.times.insert(at, time_ms);
    let value = match histogram {
        Some(_) => f64::from_bits(STALE_BITS),
        None => value,
    };
    series.values.insert(at, value);
    if histogram.is_some() || !series.histograms.is_empty() {
        series.histograms.insert(at, histogram);
    }
}

impl SeriesSource for TestStore {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let to_ms = to_ms.min(self.now_ms.load(Ordering::Relaxed));
        let (mut found, mut n_samples) = (Vec::new(), 0);
        for series in self.lock().values() {
            let from = series.times.partition_point(|t| *t < from_ms);
            let to = series.times.partition_point(|t| *t <= to_ms);
            if from >= to || !matchers.iter().all(|m| m.matches_labels(&series.labels)) {
                continue;
            }
            n_samples += to - from;
            if n_samples > max_samples {
                return Err(SelectError::Limit("too many samples".into()));
            }
            let histograms = series.histograms.get(from..to).unwrap_or_default();
            found.push(SeriesData {
                labels: series.labels.clone(),
                times: series.times[from..to].to_vec(),
                values: series.values[from..to].to_vec(),
                histograms: match histograms.iter().any(Option::is_some) {
                    true => histograms.to_vec(),
                    false => Vec::new(),
                },
                starts: Vec::new(),
            });
        }
        Ok(found)
    }
}

impl Environment for TestStore {
    fn query(&self, expression: &Expression, time_ms: i64) -> Result<Vec<Sample>, String> {
        let Expression::Promql(query) = expression else {
            return Err("unit tests have no logs".into());
        };
        let output = self.engine.instant(self, query, time_ms, &|| Ok(()));
        samples_of(output.map_err(|e| e.to_string())?.value)
    }

    fn append(&self, samples: &[Sample]) -> Result<(), String> {
        let mut all = self.lock();
        for sample in samples {
            let histogram = sample.histogram.as_ref().map(|h| Arc::new(stored(h)));
            let series = entry(&mut all, &sample.labels);
            push(series, sample.time_ms, sample.value, histogram);
        }
        Ok(())
    }

    fn notify(&self, _: &Expression, _: Vec<Alert>) {}

    fn external_labels(&self) -> Arc<Labels> {
        Arc::clone(&self.external_labels)
    }

    fn external_url(&self) -> &str {
        &self.external_url
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn resend_ms(&self) -> i64 {
        60_000
    }
}
