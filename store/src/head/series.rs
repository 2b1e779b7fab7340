//! Samples of the head: per series its times and values in order of arrival.
//!
//! A series that was seen before costs one hash of the point's own label bytes; whole label sets
//! are built for new series only. The rule: value bits are never touched.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::metric::Point;
use kansoku_model::{Labels, MatchOp, Matcher, MetricBatch};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::references::{Samples, SeriesTable};
use crate::samples;

/// Memory of a series besides its samples and labels: tables and postings.
const SERIES_BYTES: usize = 400;
/// Memory of one more spelling of a known series (labels in another order).
const SPELLING_BYTES: usize = 48;
/// Memory of a sample: 16 bytes, and half as much again as vectors grow ahead of their content.
const SAMPLE_BYTES: usize = 24;

/// The samples of one series.
#[derive(Debug)]
pub struct OneSeries {
    pub labels: Arc<Labels>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Times ascend and none repeats.
    is_tidy: bool,
}

/// All series of a head.
#[derive(Debug, Default)]
pub struct HeadSeries {
    /// By a 128-bit hash of the label bytes as they came.
    spellings: HashMap<u128, u32>,
    by_labels: HashMap<Arc<Labels>, u32>,
    /// By reference: the series and one, or 0 for one without samples here.
    by_reference: Vec<u32>,
    /// References with samples here.
    pub n_referenced: usize,
    /// Series by a hash of one label pair: candidates, to be verified.
    postings: HashMap<u64, Vec<u32>>,
    pub series: Vec<OneSeries>,
    pub n_samples: u64,
}

impl HeadSeries {
    /// Adds all points and returns the memory they take.
    pub fn apply(&mut self, batch: &MetricBatch) -> usize {
        // Queries know classic histograms only.
        let batch = &*batch.with_classic_histograms();
        let mut grown = batch.points().len() * SAMPLE_BYTES;
        let mut spelling = Vec::with_capacity(256);
        for point in batch.points() {
            spell(batch, point, &mut spelling);
            let key = xxh3_128(&spelling);
            let id = match self.spellings.get(&key) {
                Some(id) => *id,
                None => {
                    let id = self.series(Arc::new(batch.series_of(point)), &mut grown);
                    self.spellings.insert(key, id);
                    grown += SPELLING_BYTES;
                    id
                }
            };
            self.series[id as usize].push(batch.time_of(point), point.value);
        }
        self.n_samples += batch.points().len() as u64;
        grown
    }

    /// Adds samples by reference and returns the memory they take.
    pub fn apply_samples(&mut self, samples: &Samples) -> usize {
        let mut grown = samples.len() * SAMPLE_BYTES;
        let mut at = 0;
        for &(reference, n) in &samples.runs {
            let id = self.referenced(&samples.table, reference, &mut grown);
            let rows = at..at + n as usize;
            at = rows.end;
            let one = &mut self.series[id as usize];
            for (time_ms, value) in samples.times[rows.clone()]
                .iter()
                .zip(&samples.values[rows])
            {
                one.push(*time_ms, *value);
            }
        }
        self.n_samples += samples.len() as u64;
        grown
    }

    fn referenced(&mut self, table: &SeriesTable, reference: u32, grown: &mut usize) -> u32 {
        let at = reference as usize;
        if let Some(&known) = self.by_reference.get(at)
            && known > 0
        {
            return known - 1;
        }
        let id = self.series(table.labels(reference), grown);
        if self.by_reference.len() <= at {
            self.by_reference.resize(at + 1, 0);
        }
        self.by_reference[at] = id + 1;
        self.n_referenced += 1;
        id
    }

    fn series(&mut self, labels: Arc<Labels>, grown: &mut usize) -> u32 {
        if let Some(id) = self.by_labels.get(&labels) {
            return *id;
        }
        let id = self.series.len() as u32;
        for (name, value) in labels.iter() {
            self.postings
                .entry(pair_hash(name, value))
                .or_default()
                .push(id);
        }
        *grown += SERIES_BYTES + 2 * labels.as_bytes().len();
        self.by_labels.insert(Arc::clone(&labels), id);
        self.series.push(OneSeries {
            labels,
            times: Vec::new(),
            values: Vec::new(),
            is_tidy: true,
        });
        id
    }

    /// The series that pass all matchers.
    pub fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a OneSeries> {
        let empty: &[u32] = &[];
        let fewest = matchers
            .iter()
            .filter(|m| m.op == MatchOp::Equal && !m.value.is_empty())
            .map(|m| {
                self.postings
                    .get(&pair_hash(&m.name, &m.value))
                    .map_or(empty, |p| p)
            })
            .min_by_key(|ids| ids.len());
        let all = if fewest.is_some() {
            0
        } else {
            self.series.len()
        };
        let candidates = fewest
            .unwrap_or(empty)
            .iter()
            .map(|&id| id as usize)
            .chain(0..all);
        candidates
            .map(|id| &self.series[id])
            .filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels)))
    }
}

/// What tells one series from another, in the order in which the point gives it.
fn spell(batch: &MetricBatch, point: &Point, out: &mut Vec<u8>) {
    out.clear();
    let mut put = |text: &str| {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    put(batch.text(batch.family_of(point).name));
    put(point.suffix.as_str());
    for (name, value) in batch.labels_of(point) {
        put(name);
        put(value);
    }
    out.extend_from_slice(batch.resource.labels.as_bytes());
}

fn pair_hash(name: &str, value: &str) -> u64 {
    xxh3_64(name.as_bytes()) ^ xxh3_64(value.as_bytes()).rotate_left(17)
}

impl OneSeries {
    fn push(&mut self, time_ms: i64, value: f64) {
        match self.times.last() {
            Some(&last) if last == time_ms => {
                // The later value of a time counts, and an equal one changes nothing.
                *self.values.last_mut().expect("as many values as times") = value;
                return;
            }
            Some(&last) => self.is_tidy &= last < time_ms,
            None => {}
        }
        self.times.push(time_ms);
        self.values.push(value);
    }

    /// Appends the samples with `from_ms <= time <= to_ms`, tidy.
    pub fn copy_range(&self, from_ms: i64, to_ms: i64) -> (Vec<i64>, Vec<f64>) {
        if self.is_tidy {
            let rows = samples::range(&self.times, from_ms, to_ms);
            return (
                self.times[rows.clone()].to_vec(),
                self.values[rows].to_vec(),
            );
        }
        let wanted = |(t, _): &(&i64, &f64)| (from_ms..=to_ms).contains(*t);
        let (mut times, mut values) = self
            .times
            .iter()
            .zip(&self.values)
            .filter(wanted)
            .map(|(t, v)| (*t, *v))
            .unzip();
        samples::tidy(&mut times, &mut values);
        (times, values)
    }

    /// The times of all samples, in order of arrival.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Whether there is a sample in that range.
    pub fn touches(&self, from_ms: i64, to_ms: i64) -> bool {
        if self.is_tidy {
            return !samples::range(&self.times, from_ms, to_ms).is_empty();
        }
        self.times.iter().any(|t| (from_ms..=to_ms).contains(t))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::MetricKind;

    use super::*;
    use crate::testing::samples;

    fn all(head: &HeadSeries, matchers: &[Matcher]) -> Vec<(String, Vec<i64>, Vec<f64>)> {
        let mut got: Vec<_> = head
            .matching(matchers)
            .map(|s| {
                let (t, v) = s.copy_range(i64::MIN, i64::MAX);
                (s.labels.to_string(), t, v)
            })
            .collect();
        got.sort_by(|a, b| a.0.cmp(&b.0));
        got
    }

    #[test]
    fn late_and_repeated_samples() {
        let mut head = HeadSeries::default();
        for (time, value) in [
            (10, 1.0),
            (20, 2.0),
            (20, 2.0),
            (15, 1.5),
            (20, 2.5),
            (10, 1.0),
        ] {
            head.apply(&samples(0, 0, "m", time, &[value]));
        }
        let got = all(&head, &[]);
        assert_eq!(
            (&got[0].1[..], &got[0].2[..]),
            (&[10, 15, 20][..], &[1.0, 1.5, 2.5][..])
        );
        assert!(head.series[0].touches(11, 15) && !head.series[0].touches(16, 19));
        assert_eq!(head.series[0].copy_range(11, 19), (vec![15], vec![1.5]));
    }

    #[test]
    fn one_series_under_two_spellings() {
        let mut head = HeadSeries::default();
        for (time, labels) in [(1, [("a", "1"), ("b", "2")]), (2, [("b", "2"), ("a", "1")])] {
            let mut batch = MetricBatch::new("m".into(), Arc::default(), time);
            let family = batch.family("x", MetricKind::Gauge, "");
            batch.sample(family, &labels, 1.0);
            head.apply(&batch);
        }
        assert_eq!((head.series.len(), head.spellings.len()), (1, 2));
        assert_eq!(all(&head, &[])[0].1, [1, 2]);
    }

    #[test]
    fn matchers_with_and_without_postings_agree() {
        let mut head = HeadSeries::default();
        head.apply(&samples(0, 0, "m", 1, &[0.0; 12]));
        head.apply(&samples(0, 0, "n", 1, &[0.0; 3]));
        let m = |name, op, value| Matcher::new(name, op, value).unwrap();
        let cases = [
            (vec![], 15),
            (vec![Matcher::equal("__name__", "m")], 12),
            (vec![m("__name__", MatchOp::Regex, "m")], 12),
            (
                vec![Matcher::equal("__name__", "m"), Matcher::equal("i", "2")],
                1,
            ),
            (vec![Matcher::equal("i", "2")], 2),
            (vec![Matcher::equal("i", "99")], 0),
            (vec![Matcher::equal("none", "")], 15),
            (vec![m("i", MatchOp::NotRegex, "1.*")], 11),
        ];
        for (matchers, n) in cases {
            assert_eq!(all(&head, &matchers).len(), n, "{matchers:?}");
        }
    }
}
