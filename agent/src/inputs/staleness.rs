//! Staleness markers: a series that was pushed and is not there any more gets Prometheus' marker once.
//!
//! Without it a query shows the last value for five more minutes: a pod that was deleted still runs,
//! one that was restarted counts twice. Source: Prometheus, `model/value` (the NaN 0x7ff0000000000002)
//! and the scrape loop, which likewise leaves out samples that bring their own time.

use std::collections::HashSet;

use kansoku_model::MetricBatch;
use kansoku_model::histogram::NativeHistogram;
use kansoku_model::metric::{Point, STALE_BITS};
use kansoku_model::prehashed::Prehashed;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The value that ends a series.
pub const STALE: f64 = f64::from_bits(STALE_BITS);

/// What was pushed last.
#[derive(Default)]
pub struct Staleness {
    before: MetricBatch,
    /// The series of its points.
    before_series: Vec<u64>,
}

impl Staleness {
    /// An empty batch with room for as much as the one before had.
    pub fn make_room(&self, batch: &mut MetricBatch) {
        batch.reserve_like(&self.before);
    }

    /// Appends markers for the series of the batch before that are not in `batch`; how many of
    /// `batch` were not in the one before.
    pub fn mark(&mut self, batch: &mut MetricBatch) -> usize {
        let mut n_new = batch.points().len() + batch.histograms().len();
        let families = batch.families().iter();
        let families: Vec<u64> = families
            .map(|f| xxh3_64(batch.text(f.name).as_bytes()))
            .collect();
        let mut labels = Vec::new();
        let all: Vec<u64> = batch
            .samples()
            .map(|(point, _)| series(batch, point, families[point.family.0 as usize], &mut labels))
            .collect();
        let own = batch
            .samples()
            .zip(&all)
            .filter(|((p, _), _)| p.time_ms.is_none());
        let present: HashSet<u64, Prehashed> = own.map(|(_, series)| *series).collect();
        let before = std::mem::replace(&mut self.before, batch.clone());
        let before_series = std::mem::replace(&mut self.before_series, all);
        let samples = before.samples().zip(before_series);
        for ((point, histogram), series) in samples.filter(|((p, _), _)| p.time_ms.is_none()) {
            if present.contains(&series) {
                n_new = n_new.saturating_sub(1);
                continue;
            }
            let family = before.family_of(point);
            let (name, help) = (before.text(family.name), before.text(family.help));
            let family = batch.family(name, family.kind, help);
            let labels = batch.label_set(before.labels_of(point));
            let point = Point {
                family,
                labels,
                value: STALE,
                ..*point
            };
            let histogram = histogram.map(|histogram| NativeHistogram {
                sum: STALE,
                ..histogram.clone()
            });
            batch.push_sample(point, histogram);
        }
        n_new
    }
}

/// Name and labels in one number; equal sets in another order are other series, which no collector
/// makes. `known` has the numbers of label sets by the place of their first pair.
fn series(batch: &MetricBatch, point: &Point, name: u64, known: &mut Vec<u64>) -> u64 {
    let at = point.labels.0 as usize;
    if known.len() <= at {
        known.resize(at + 1, 0);
    }
    if point.labels.1 > 0 && known[at] == 0 {
        let mut hash = Xxh3::new();
        for (name, value) in batch.labels_of(point) {
            for text in [name, value] {
                hash.update(&[0xff]);
                hash.update(text.as_bytes());
            }
        }
        known[at] = hash.digest();
    }
    let labels = if point.labels.1 > 0 { known[at] } else { 0 };
    let suffix = point.suffix as u64;
    let mut all = [0; 24];
    for (part, number) in all
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip([name, labels, suffix])
    {
        *part = number.to_le_bytes();
    }
    xxh3_64(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kansoku_model::MetricKind::{Counter, Gauge};

    fn batch(pods: &[&str], time_ms: Option<i64>) -> MetricBatch {
        let mut batch = MetricBatch::default();
        let usage = batch.family("usage_bytes", Gauge, "Bytes.");
        for pod in pods {
            let labels = batch.label_set([("pod", *pod), ("zone", "a")]);
            let suffix = kansoku_model::Suffix::None;
            batch.push(Point {
                family: usage,
                suffix,
                labels,
                time_ms,
                value: 1.0,
            });
        }
        let all = batch.family("all_total", Counter, "All.");
        batch.sample(all, &[], 2.0);
        batch
    }

    fn shown(batch: &MetricBatch) -> Vec<(String, bool)> {
        let points = batch.points().iter();
        let described = points.map(|p| {
            let labels = batch.labels_of(p).map(|(n, v)| format!("{n}={v}"));
            let labels = labels.collect::<Vec<_>>().join(",");
            let name = batch.text(batch.family_of(p).name);
            (
                format!("{name}{{{labels}}}"),
                p.value.to_bits() == STALE.to_bits(),
            )
        });
        described
            .filter(|(name, _)| name.starts_with("usage"))
            .collect()
    }

    #[test]
    fn what_is_gone_is_marked_once() {
        let mut staleness = Staleness::default();
        let mut first = batch(&["x", "y"], None);
        assert_eq!(staleness.mark(&mut first), 3);
        assert_eq!(first, batch(&["x", "y"], None));
        let mut second = batch(&["y"], None);
        assert_eq!(staleness.mark(&mut second), 0);
        let series = |pod: &str| format!("usage_bytes{{pod={pod},zone=a}}");
        assert_eq!(shown(&second), [(series("y"), false), (series("x"), true)]);
        let mut third = batch(&["y", "x"], None);
        assert_eq!(staleness.mark(&mut third), 1);
        assert_eq!(
            third,
            batch(&["y", "x"], None),
            "no marker is marked, x is back"
        );
        let mut none = MetricBatch::default();
        staleness.mark(&mut none);
        assert_eq!(none.points().len(), 3);
        assert!(none.points().iter().all(|p| p.value.is_nan()));
    }

    #[test]
    fn a_native_histogram_ends_by_its_sum() {
        let mut first = MetricBatch::default();
        let family = first.family("h", kansoku_model::MetricKind::Histogram, "");
        let labels = first.label_set([("pod", "x")]);
        let point = Point {
            family,
            suffix: kansoku_model::Suffix::None,
            labels,
            time_ms: None,
            value: 0.0,
        };
        let histogram = NativeHistogram::empty(1.0);
        first.push_sample(point, Some(histogram));
        let mut staleness = Staleness::default();
        assert_eq!(staleness.mark(&mut first), 1);
        assert_eq!(staleness.mark(&mut first.clone()), 0);
        let mut second = MetricBatch::default();
        assert_eq!(staleness.mark(&mut second), 0);
        let [ended] = second.histograms() else {
            panic!("one histogram ends");
        };
        assert_eq!(ended.histogram.sum.to_bits(), STALE_BITS);
        let series = second.series_of(&ended.point);
        assert_eq!(series, first.series_of(&first.histograms()[0].point));
    }

    #[test]
    fn samples_with_a_time_of_their_own_end_by_themselves() {
        let mut staleness = Staleness::default();
        staleness.mark(&mut batch(&["x"], Some(5)));
        let mut second = batch(&[], None);
        staleness.mark(&mut second);
        assert_eq!(shown(&second), []);
    }
}
