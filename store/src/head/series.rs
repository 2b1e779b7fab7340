//! Samples of the head: per series a run of them in order of arrival.
//!
//! A series that was seen before costs one hash of the point's own label bytes; whole label sets
//! are built for new series only. The rule: value bits are never touched.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::metric::Point;
use kansoku_model::{Labels, Literals, Matcher, MetricBatch};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::LOCK;
use super::more::More;
use super::run::Run;
use crate::references::{Samples, SeriesTable};
use crate::samples::{NO_FLOAT, SampleColumns};
use crate::spread::Spread;

/// Memory of a series besides its samples and labels: tables and postings.
const SERIES_BYTES: usize = 256;
/// Memory of one more spelling of a known series (labels in another order).
const SPELLING_BYTES: usize = 48;

/// The samples of one series.
#[derive(Debug)]
pub struct OneSeries {
    pub labels: Arc<Labels>,
    run: Run,
    /// Of a series that is more than plain floats.
    more: Option<Box<More>>,
    /// Of the times; the first is larger while there is no sample.
    min_ms: i64,
    max_ms: i64,
    /// Times ascend and none repeats.
    is_tidy: bool,
}

/// All series of a head.
#[derive(Debug, Default)]
pub struct HeadSeries {
    /// By a 128-bit hash of the label bytes as they came.
    spellings: HashMap<u128, u32>,
    /// All series, or none as long as all came by reference: references differ where labels do.
    by_labels: HashMap<Arc<Labels>, u32>,
    /// By reference: the series and one, or 0 for one without samples here.
    by_reference: Vec<u32>,
    /// References with samples here.
    pub n_referenced: usize,
    /// Taken by a query while it looks for candidates.
    postings: Mutex<Postings>,
    pub series: Vec<OneSeries>,
    pub n_samples: u64,
}

/// Series by a hash of one label pair: candidates, to be verified. Made when a query asks.
#[derive(Debug)]
struct Postings {
    by_pair: HashMap<u64, Vec<u32>, Spread>,
    /// How many series are in it.
    n_series: usize,
    /// Drawn anew for each head: nobody can prepare pairs that meet in one place.
    seed: u64,
}

impl Default for Postings {
    fn default() -> Self {
        Self {
            by_pair: HashMap::default(),
            n_series: 0,
            seed: RandomState::new().hash_one(0),
        }
    }
}

impl Postings {
    fn key(&self, name: &str, value: &str) -> u64 {
        let hash = |text: &str| xxh3_64_with_seed(text.as_bytes(), self.seed);
        hash(name) ^ hash(value).rotate_left(17)
    }

    /// Takes in the series that are new since the last time.
    fn extend(&mut self, series: &[OneSeries]) {
        for (id, one) in series.iter().enumerate().skip(self.n_series) {
            for (name, value) in one.labels.iter() {
                let key = self.key(name, value);
                self.by_pair.entry(key).or_default().push(id as u32);
            }
        }
        self.n_series = series.len();
    }
}

impl HeadSeries {
    /// Adds all points and returns the memory they take.
    pub fn apply(&mut self, batch: &MetricBatch) -> usize {
        let mut grown = 0;
        let mut spelling = Vec::with_capacity(256);
        let n_points = batch.points().len();
        for (row, (point, histogram)) in batch.samples().enumerate() {
            spell(batch, point, &mut spelling);
            let key = xxh3_128(&spelling);
            let id = match self.spellings.get(&key) {
                Some(id) => *id,
                None => {
                    let labels = Arc::new(batch.series_of(point));
                    grown += 2 * labels.as_bytes().len();
                    let id = self.series_of(labels, &mut grown);
                    self.spellings.insert(key, id);
                    grown += SPELLING_BYTES;
                    id
                }
            };
            let start_ms = match row.checked_sub(n_points) {
                None => batch.start_of(row),
                Some(row) => batch.histograms()[row].start_ms,
            };
            let value = histogram.map_or(point.value, |_| NO_FLOAT);
            let one = &mut self.series[id as usize];
            grown += one.push_any(batch.time_of(point), value, histogram, start_ms);
        }
        self.n_samples += batch.n_samples() as u64;
        grown
    }

    /// Adds samples by reference and returns the memory they take.
    pub fn apply_samples(&mut self, samples: &Samples) -> usize {
        let (mut grown, mut at) = (0, 0);
        for &(reference, n) in &samples.runs {
            let id = self.referenced(&samples.table, reference, &mut grown);
            let rows = at..at + n as usize;
            at = rows.end;
            let one = &mut self.series[id as usize];
            if !samples.starts.is_empty() {
                for row in rows {
                    let (time_ms, value) = (samples.times[row], samples.values[row]);
                    grown += one.push_any(time_ms, value, None, samples.starts[row]);
                }
                continue;
            }
            for (time_ms, value) in samples.times[rows.clone()]
                .iter()
                .zip(&samples.values[rows])
            {
                grown += one.push(*time_ms, *value);
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
        let labels = table.labels(reference);
        let id = if self.by_labels.is_empty() {
            self.add(labels, grown)
        } else {
            self.series_of(labels, grown)
        };
        if self.by_reference.len() <= at {
            self.by_reference.resize(at + 1, 0);
        }
        self.by_reference[at] = id + 1;
        self.n_referenced += 1;
        id
    }

    /// The series of labels that came in a batch.
    fn series_of(&mut self, labels: Arc<Labels>, grown: &mut usize) -> u32 {
        if self.by_labels.is_empty() {
            let all = self.series.iter().zip(0..);
            self.by_labels = all.map(|(one, id)| (Arc::clone(&one.labels), id)).collect();
        }
        if let Some(id) = self.by_labels.get(&labels) {
            return *id;
        }
        let id = self.add(Arc::clone(&labels), grown);
        self.by_labels.insert(labels, id);
        id
    }

    fn add(&mut self, labels: Arc<Labels>, grown: &mut usize) -> u32 {
        let id = self.series.len() as u32;
        *grown += SERIES_BYTES;
        self.series.push(OneSeries {
            labels,
            run: Run::default(),
            more: None,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
            is_tidy: true,
        });
        id
    }

    /// The series that pass all matchers, and their numbers.
    pub fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = (u32, &'a OneSeries)> {
        let candidates = self.candidates(matchers);
        let all = if candidates.is_some() {
            0
        } else {
            self.series.len()
        };
        let ids = candidates.unwrap_or_default().into_iter();
        ids.map(|id| id as usize)
            .chain(0..all)
            .map(|id| (id as u32, &self.series[id]))
            .filter(|(_, s)| matchers.iter().all(|m| m.matches_labels(&s.labels)))
    }

    /// Numbers of the series that one of the matchers leaves; `None` when none of them is of use.
    fn candidates(&self, matchers: &[Matcher]) -> Option<Vec<u32>> {
        let mut sets = matchers
            .iter()
            .filter(|m| !m.matches(""))
            .filter_map(|m| match m.wanted()? {
                Literals::Set(texts) => Some((m, texts)),
                Literals::Prefix(_) => None,
            })
            .peekable();
        sets.peek()?;
        let mut postings = self.postings.lock().expect(LOCK);
        postings.extend(&self.series);
        let postings = &*postings;
        let lists = |(m, texts): (&Matcher, Vec<String>)| -> Vec<&Vec<u32>> {
            let of = |text: &String| postings.by_pair.get(&postings.key(&m.name, text));
            texts.iter().filter_map(of).collect()
        };
        let n_ids = |lists: &Vec<&Vec<u32>>| lists.iter().map(|ids| ids.len()).sum::<usize>();
        let fewest = sets.map(lists).min_by_key(n_ids).unwrap_or_default();
        let mut ids: Vec<u32> = fewest.into_iter().flatten().copied().collect();
        // Two texts may meet in one place.
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
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

impl OneSeries {
    /// Adds a sample of any kind and returns the memory it takes.
    fn push_any(
        &mut self,
        time_ms: i64,
        value: f64,
        histogram: Option<&NativeHistogram>,
        start_ms: i64,
    ) -> usize {
        if self.more.is_none() && histogram.is_none() && start_ms == 0 {
            return self.push(time_ms, value);
        }
        let more = match &mut self.more {
            Some(more) => more,
            None => {
                let n_floats = self.run.iter().count();
                self.more.insert(Box::new(More::behind(n_floats)))
            }
        };
        if time_ms <= self.max_ms {
            let is_last = self.run.last() == (time_ms, value.to_bits()) && !self.run.is_empty();
            if is_last && more.last_is(histogram, start_ms) {
                return 0;
            }
            self.is_tidy = false;
        }
        self.min_ms = self.min_ms.min(time_ms);
        self.max_ms = self.max_ms.max(time_ms);
        more.push(histogram, start_ms) + self.run.push(time_ms, value)
    }

    /// Adds a float and returns the memory it takes.
    fn push(&mut self, time_ms: i64, value: f64) -> usize {
        if self.more.is_some() {
            return self.push_any(time_ms, value, None, 0);
        }
        if time_ms <= self.max_ms {
            // An equal one of the same time changes nothing; a later value of a time counts.
            if self.run.last() == (time_ms, value.to_bits()) && !self.run.is_empty() {
                return 0;
            }
            self.is_tidy = false;
        }
        self.min_ms = self.min_ms.min(time_ms);
        self.max_ms = self.max_ms.max(time_ms);
        self.run.push(time_ms, value)
    }

    /// The samples with `from_ms <= time <= to_ms`, tidy.
    pub fn copy_range(&self, from_ms: i64, to_ms: i64) -> SampleColumns {
        let mut samples = SampleColumns::default();
        self.read_range((from_ms, to_ms), self.n_bytes(), &mut samples);
        samples
    }

    /// How many bytes its samples take, without histograms and the like.
    pub fn n_bytes(&self) -> u32 {
        self.run.n_bytes() as u32
    }

    /// Puts the samples with `from_ms <= time <= to_ms`, tidy, into `samples`, which has none; only what was there when there
    /// were `n_bytes`.
    pub fn read_range(
        &self,
        (from_ms, to_ms): (i64, i64),
        n_bytes: u32,
        samples: &mut SampleColumns,
    ) {
        if to_ms < self.min_ms || from_ms > self.max_ms {
            return;
        }
        let wanted = from_ms..=to_ms;
        let n_bytes = n_bytes as usize;
        if let Some(more) = &self.more {
            let all: Vec<(i64, f64)> = self.run.first(n_bytes).collect();
            let more = more.rows(|row| wanted.contains(&all[row].0));
            for (&(time_ms, value), (histogram, start_ms)) in all.iter().zip(more) {
                if wanted.contains(&time_ms) {
                    samples.push(time_ms, value, histogram, start_ms);
                }
            }
        } else {
            let columns = (&mut samples.times, &mut samples.values);
            self.run
                .copy_range(n_bytes, (from_ms, to_ms), self.is_tidy, columns);
        }
        if !self.is_tidy {
            samples.tidy();
        }
    }

    /// The times of all samples, in order of arrival.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        self.run.iter().map(|(time_ms, _)| time_ms)
    }

    /// The oldest and the newest time; there is a sample.
    pub fn bounds(&self) -> (i64, i64) {
        (self.min_ms, self.max_ms)
    }

    /// Whether there is a sample in that range.
    pub fn touches(&self, from_ms: i64, to_ms: i64) -> bool {
        let range = from_ms..=to_ms;
        if to_ms < self.min_ms || from_ms > self.max_ms {
            return false;
        }
        range.contains(&self.min_ms)
            || range.contains(&self.max_ms)
            || self.times().any(|time_ms| range.contains(&time_ms))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::metric::HistogramPoint;
    use kansoku_model::{MatchOp, MetricKind};

    use super::*;
    use crate::testing::{by_reference, samples};

    fn all(head: &HeadSeries, matchers: &[Matcher]) -> Vec<(String, Vec<i64>, Vec<f64>)> {
        let mut got: Vec<_> = head
            .matching(matchers)
            .map(|(_, s)| {
                let all = s.copy_range(i64::MIN, i64::MAX);
                (s.labels.to_string(), all.times, all.values)
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
        let middle = head.series[0].copy_range(11, 19);
        assert_eq!((middle.times, middle.values), (vec![15], vec![1.5]));
    }

    #[test]
    fn a_series_may_change_its_kind_and_knows_a_repeat_of_either() {
        let mut head = HeadSeries::default();
        let mut apply = |time_ms: i64, sum: Option<f64>, start_ms: i64| {
            let mut batch = MetricBatch::new("m".into(), Arc::default(), time_ms);
            let family = batch.family("x", MetricKind::Histogram, "");
            let point = Point {
                family,
                suffix: kansoku_model::Suffix::None,
                labels: batch.label_set([]),
                time_ms: None,
                value: 7.0,
            };
            match sum {
                None => batch.push_started(point, start_ms),
                Some(sum) => batch.push_histogram(HistogramPoint {
                    point,
                    start_ms,
                    histogram: NativeHistogram::empty(sum),
                }),
            }
            head.apply(&batch)
        };
        apply(1, None, 0);
        assert!(apply(2, Some(2.0), 0) > 0);
        assert_eq!(apply(2, Some(2.0), 0), 0, "a repeat");
        apply(3, None, 5);
        assert_eq!(apply(3, None, 5), 0, "a repeat");
        // The end of a float series at the time of a histogram is no repeat of it.
        apply(4, Some(4.0), 5);
        apply(4, None, 0);
        apply(0, Some(0.5), 0);
        let all = head.series[0].copy_range(i64::MIN, i64::MAX);
        assert_eq!(all.times, [0, 1, 2, 3, 4]);
        let sums: Vec<Option<f64>> = all
            .histograms
            .iter()
            .map(|h| h.as_ref().map(|h| h.sum))
            .collect();
        assert_eq!(sums, [Some(0.5), None, Some(2.0), None, None]);
        assert_eq!(all.starts, [0, 0, 0, 5, 0]);
        assert_eq!(all.values[3], 7.0);
        assert_eq!(head.n_samples, 8);
        let later = head.series[0].copy_range(3, 9);
        assert_eq!((later.times, later.starts), (vec![3, 4], vec![5, 0]));
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
    fn series_of_both_ways_in_are_one_and_found_however_late_they_came() {
        let table = Arc::new(SeriesTable::new(1 << 20));
        let referenced = |all: &[(u32, i64, f64)]| by_reference(&table, all);
        let mut head = HeadSeries::default();
        head.apply_samples(&referenced(&[(0, 1, 0.0), (1, 1, 0.0)]));
        let wanted = [Matcher::equal("__name__", "m")];
        assert_eq!(all(&head, &wanted).len(), 2);
        head.apply(&samples(0, 0, "m", 2, &[0.0; 3]));
        assert_eq!(all(&head, &wanted).len(), 3);
        head.apply_samples(&referenced(&[(2, 3, 0.0), (3, 3, 0.0)]));
        let got = all(&head, &wanted);
        let times: Vec<&[i64]> = got.iter().map(|s| &s.1[..]).collect();
        assert_eq!(times, [&[1, 2][..], &[1, 2], &[2, 3], &[3]]);
        assert_eq!((got.len(), head.series.len()), (4, 4));
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
            (vec![m("i", MatchOp::Regex, "2|7|99")], 3),
            (vec![m("i", MatchOp::Regex, "[0-3]?")], 7),
            (vec![m("i", MatchOp::Regex, "1.*")], 4),
            (
                vec![
                    m("i", MatchOp::Regex, "1|2"),
                    m("__name__", MatchOp::Regex, "n|o"),
                ],
                2,
            ),
        ];
        for (matchers, n) in cases {
            assert_eq!(all(&head, &matchers).len(), n, "{matchers:?}");
        }
    }
}
