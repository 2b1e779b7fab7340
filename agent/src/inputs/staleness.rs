//! Staleness markers: a series that was pushed and is not there any more gets Prometheus' marker once.
//!
//! Without it a query shows the last value for five more minutes: a pod that was deleted still runs,
//! one that was restarted counts twice. Source: Prometheus, `model/value` (the NaN 0x7ff0000000000002)
//! and the scrape loop, which likewise leaves out samples that bring their own time.

use std::collections::HashSet;

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::metric::{Point, STALE_BITS};
use kansoku_model::prehashed::Prehashed;
use kansoku_model::{FamilyId, MetricBatch, Suffix};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The value that ends a series.
pub const STALE: f64 = f64::from_bits(STALE_BITS);

/// What was pushed last. Between two ticks of a large node this is most of what the input holds, so
/// of a sample it keeps no more than its marker will need.
#[derive(Default)]
pub struct Staleness {
    /// Families and label sets, without points.
    before: MetricBatch,
    /// The samples without a time of their own; those of native histograms come last.
    ends: Vec<End>,
    /// The series of those samples, as one number each.
    series: Vec<u64>,
    /// The last of them.
    histograms: Vec<NativeHistogram>,
    /// How many there were with those that have a time of their own.
    n_samples: usize,
}

/// What ends a series, but for the value.
struct End {
    family: FamilyId,
    suffix: Suffix,
    labels: (u32, u32),
}

impl Staleness {
    /// An empty batch with room for as much as the one before had.
    pub fn make_room(&self, batch: &mut MetricBatch) {
        batch.reserve_like(&self.before);
        batch.reserve_points(self.n_samples);
    }

    /// Appends markers for the series of the batch before that are not in `batch`; how many of
    /// `batch` were not in the one before.
    pub fn mark(&mut self, batch: &mut MetricBatch) -> usize {
        let n_samples = batch.points().len() + batch.histograms().len();
        let Some(series) = self.if_changed(batch) else {
            self.histograms = own_histograms(batch);
            self.n_samples = n_samples;
            return n_samples - self.series.len();
        };
        let present: HashSet<u64, Prehashed> = series.iter().copied().collect();
        let next = Self {
            before: batch.without_points(),
            ends: own(batch).map(|(point, _)| End::of(point)).collect(),
            series,
            histograms: own_histograms(batch),
            n_samples,
        };
        let n_known = std::mem::replace(self, next).end_all_but(&present, batch);
        n_samples.saturating_sub(n_known)
    }

    /// Appends what ends all series of the batch before.
    pub fn end(self, batch: &mut MetricBatch) {
        self.end_all_but(&HashSet::default(), batch);
    }

    /// The series of the batch in order, unless they are those of the batch before: what is collected
    /// from the same things comes in the same order.
    fn if_changed(&self, batch: &MetricBatch) -> Option<Vec<u64>> {
        let families = batch.families().iter();
        let families: Vec<u64> = families
            .map(|f| xxh3_64(batch.text(f.name).as_bytes()))
            .collect();
        let mut labels = Vec::new();
        let mut all =
            own(batch).map(|(p, _)| series(batch, p, families[p.family.0 as usize], &mut labels));
        for (at, known) in self.series.iter().enumerate() {
            let now = all.next();
            if now != Some(*known) {
                let same = self.series[..at].iter().copied();
                return Some(same.chain(now).chain(all).collect());
            }
        }
        let more: Vec<u64> = all.collect();
        (!more.is_empty()).then(|| [&self.series[..], &more].concat())
    }

    /// Appends a marker for each series that is not present; how many are.
    fn end_all_but(self, present: &HashSet<u64, Prehashed>, batch: &mut MetricBatch) -> usize {
        let mut n_present = 0;
        let n_points = self.ends.len() - self.histograms.len();
        for (at, (end, series)) in self.ends.iter().zip(&self.series).enumerate() {
            if present.contains(series) {
                n_present += 1;
                continue;
            }
            let family = &self.before.families()[end.family.0 as usize];
            let (name, help) = (self.before.text(family.name), self.before.text(family.help));
            let point = Point {
                family: batch.family(name, family.kind, help),
                suffix: end.suffix,
                labels: batch.label_set(self.before.pairs_of(end.labels)),
                time_ms: None,
                value: STALE,
            };
            let histogram = at.checked_sub(n_points).map(|at| NativeHistogram {
                sum: STALE,
                ..self.histograms[at].clone()
            });
            batch.push_sample(point, histogram);
        }
        n_present
    }
}

impl End {
    fn of(point: &Point) -> Self {
        Self {
            family: point.family,
            suffix: point.suffix,
            labels: point.labels,
        }
    }
}

/// The samples that have no time of their own.
fn own(batch: &MetricBatch) -> impl Iterator<Item = (&Point, Option<&NativeHistogram>)> {
    batch.samples().filter(|(point, _)| point.time_ms.is_none())
}

fn own_histograms(batch: &MetricBatch) -> Vec<NativeHistogram> {
    let all = batch.histograms().iter();
    let own = all.filter(|h| h.point.time_ms.is_none());
    own.map(|h| h.histogram.clone()).collect()
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
            let suffix = Suffix::None;
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
    fn at_the_end_everything_ends() {
        let mut staleness = Staleness::default();
        staleness.mark(&mut batch(&["x"], None));
        let mut last = MetricBatch::default();
        staleness.end(&mut last);
        let names = last.points().iter();
        let names: Vec<_> = names.map(|p| last.text(last.family_of(p).name)).collect();
        assert_eq!(names, ["usage_bytes", "all_total"]);
        assert!(
            last.points()
                .iter()
                .all(|p| p.value.to_bits() == STALE_BITS)
        );
    }

    #[test]
    fn a_native_histogram_ends_by_its_sum() {
        let mut first = MetricBatch::default();
        let family = first.family("h", kansoku_model::MetricKind::Histogram, "");
        let labels = first.label_set([("pod", "x")]);
        let point = Point {
            family,
            suffix: Suffix::None,
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
