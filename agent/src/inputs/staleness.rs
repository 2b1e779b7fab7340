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
use xxhash_rust::xxh3::Xxh3;

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
    /// The last of them.
    histograms: Vec<NativeHistogram>,
    /// How many there were with those that have a time of their own.
    n_samples: usize,
}

/// What ends a series, but for the value.
#[derive(Clone, Copy, PartialEq)]
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
        // What is collected from the same things has the same names in the same places.
        let has_same_names = self.before.has_names_of(batch);
        let n_samples = batch.points().len() + batch.histograms().len();
        if has_same_names && own(batch).eq(self.ends.iter().copied()) {
            self.histograms = own_histograms(batch);
            self.n_samples = n_samples;
            return n_samples - self.ends.len();
        }
        let mut ends = Vec::with_capacity(n_samples);
        ends.extend(own(batch));
        let next = Self {
            before: match has_same_names {
                true => std::mem::take(&mut self.before),
                false => batch.without_points(),
            },
            ends,
            histograms: own_histograms(batch),
            n_samples,
        };
        let last = std::mem::replace(self, next);
        let names = if has_same_names {
            &self.before
        } else {
            &last.before
        };
        let (n_known, gone) = gone(names, &last.ends, &self.before, &self.ends, has_same_names);
        let first_histogram = last.ends.len() - last.histograms.len();
        for at in gone {
            let end = &last.ends[at];
            let family = &names.families()[end.family.0 as usize];
            let (name, help) = (names.text(family.name), names.text(family.help));
            let point = Point {
                family: batch.family(name, family.kind, help),
                suffix: end.suffix,
                labels: batch.label_set(names.pairs_of(end.labels)),
                time_ms: None,
                value: STALE,
            };
            let histogram = at.checked_sub(first_histogram).map(|at| NativeHistogram {
                sum: STALE,
                ..last.histograms[at].clone()
            });
            batch.push_sample(point, histogram);
        }
        n_samples.saturating_sub(n_known)
    }

    /// Appends what ends all series of the batch before to an empty batch.
    pub fn end(mut self, batch: &mut MetricBatch) {
        self.mark(batch);
    }
}

/// How many of the last samples there are again, and the places of those that are not. With the same names, both
/// lists mostly begin and end alike, and only what lies between is looked up.
fn gone(
    last_names: &MetricBatch,
    last: &[End],
    names: &MetricBatch,
    now: &[End],
    has_same_names: bool,
) -> (usize, Vec<usize>) {
    let (mut start, mut n_tail) = (0, 0);
    if has_same_names {
        let alike = |(a, b): &(&End, &End)| a == b;
        start = last.iter().zip(now).take_while(alike).count();
        let tails = last[start..].iter().rev().zip(now[start..].iter().rev());
        n_tail = tails.take_while(alike).count();
    }
    let between = |ends: &[End]| start..ends.len() - n_tail;
    let mut known = Vec::new();
    let mut ids = |names, ends: &[End]| -> Vec<u64> {
        known.clear();
        let ids = ends.iter().map(|end| series(names, end, &mut known));
        ids.collect()
    };
    let mut present: HashSet<u64, Prehashed> = ids(names, &now[between(now)]).into_iter().collect();
    let last_ids = ids(last_names, &last[between(last)]);
    let mut gone: Vec<usize> = between(last).collect();
    gone.retain(|at| !present.contains(&last_ids[at - start]));
    if start + n_tail > 0 {
        // A series that a batch had twice may still be among those that begin or end alike.
        let families: HashSet<u32> = gone.iter().map(|at| last[*at].family.0).collect();
        let mut alike = [&now[..start], &now[now.len() - n_tail..]].concat();
        alike.retain(|end| families.contains(&end.family.0));
        present.extend(ids(names, &alike));
        gone.retain(|at| !present.contains(&last_ids[at - start]));
    }
    (last.len() - gone.len(), gone)
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
fn own(batch: &MetricBatch) -> impl Iterator<Item = End> {
    let samples = batch.samples().map(|(point, _)| point);
    samples.filter(|p| p.time_ms.is_none()).map(End::of)
}

fn own_histograms(batch: &MetricBatch) -> Vec<NativeHistogram> {
    let all = batch.histograms().iter();
    let own = all.filter(|h| h.point.time_ms.is_none());
    own.map(|h| h.histogram.clone()).collect()
}

/// Name and labels in one number; equal sets in another order are other series, which no collector
/// makes. `known` has the numbers of label sets by the place of their first pair.
fn series(names: &MetricBatch, end: &End, known: &mut Vec<u64>) -> u64 {
    let at = end.labels.0 as usize;
    if known.len() <= at {
        known.resize(at + 1, 0);
    }
    if end.labels.1 > 0 && known[at] == 0 {
        let mut hash = Xxh3::new();
        for (name, value) in names.pairs_of(end.labels) {
            for text in [name, value] {
                hash.update(&[0xff]);
                hash.update(text.as_bytes());
            }
        }
        known[at] = hash.digest();
    }
    let labels = if end.labels.1 > 0 { known[at] } else { 0 };
    let name = names.text(names.families()[end.family.0 as usize].name);
    let mut hash = Xxh3::new();
    hash.update(&labels.to_le_bytes());
    hash.update(&[end.suffix as u8]);
    hash.update(name.as_bytes());
    hash.digest()
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
    fn what_is_marked_does_not_depend_on_names_and_order() {
        // Series of a batch: the family and the label, which may be spelled by pairs of its own.
        let batch = |series: &[(&str, &str)], has_own_pairs: bool| {
            let mut batch = MetricBatch::default();
            for name in ["a", "b", "c"] {
                batch.family(name, Gauge, "");
            }
            let sets = ["x", "y", "x", "z"].map(|label| (label, batch.label_set([("l", label)])));
            for (name, label) in series {
                let family = batch.family(name, Gauge, "");
                let mut all = sets.iter().filter(|(known, _)| known == label);
                let set = if has_own_pairs {
                    all.next_back()
                } else {
                    all.next()
                };
                let labels = set.expect("a label of the list").1;
                batch.push(Point {
                    family,
                    suffix: Suffix::None,
                    labels,
                    time_ms: None,
                    value: 1.0,
                });
            }
            batch
        };
        let all = [
            ("a", "x"),
            ("a", "y"),
            ("b", "x"),
            ("b", "z"),
            ("c", "y"),
            ("a", "x"),
        ];
        // Every choice of them before and after, with the same and with other names.
        for before in 0..1u32 << all.len() {
            for after in 0..1u32 << all.len() {
                let chosen = |mask: u32| -> Vec<(&str, &str)> {
                    let of = all.iter().enumerate();
                    of.filter(|(n, _)| mask >> n & 1 == 1)
                        .map(|(_, s)| *s)
                        .collect()
                };
                let (old, new) = (chosen(before), chosen(after));
                let mut staleness = Staleness::default();
                staleness.mark(&mut batch(&old, false));
                let mut now = batch(&new, after % 3 == 0);
                staleness.mark(&mut now);
                let marked = &now.points()[new.len()..];
                let series = |point: &Point| {
                    let label = now.labels_of(point).next().expect("a label").1;
                    (now.text(now.family_of(point).name), label)
                };
                let mut marked: Vec<_> = marked.iter().map(series).collect();
                let mut expected = old.clone();
                expected.retain(|series| !new.contains(series));
                marked.sort_unstable();
                expected.sort_unstable();
                assert_eq!(marked, expected, "{old:?} {new:?}");
            }
        }
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
