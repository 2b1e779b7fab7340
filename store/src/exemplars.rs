//! Exemplars: observations that lead from a series to a trace. The newest ones of the whole store.
//!
//! They lie in memory, in the WAL with the batch they came in, and in the state file, so a restart
//! brings them back. The rule: count and memory are bounded; the oldest to come is the first to go,
//! and one that comes again is there once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use kansoku_model::{Labels, Matcher, MetricBatch};
use xxhash_rust::xxh3::xxh3_128;

use crate::bytes::{Malformed, Reader, put_signed, put_text, put_u64, put_varint};

/// Memory of one besides its labels.
const ONE_BYTES: usize = 128;
/// Memory of all: what the limit of their number cannot hold when labels are long.
const BYTES_MAX: usize = 32 << 20;

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    /// Unix ms.
    pub time_ms: i64,
}

/// The exemplars of one series, by time.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    pub series: Labels,
    pub exemplars: Vec<Exemplar>,
}

#[derive(Debug)]
struct One {
    series: Labels,
    exemplar: Exemplar,
    key: u128,
}

/// The newest exemplars, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Exemplars {
    all: VecDeque<Arc<One>>,
    known: HashSet<u128>,
    bytes: usize,
}

fn key(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

fn put(out: &mut Vec<u8>, series: &Labels, exemplar: &Exemplar) {
    put_text(out, series.as_bytes());
    put_text(out, exemplar.labels.as_bytes());
    put_u64(out, exemplar.value.to_bits());
    put_signed(out, exemplar.time_ms);
}

impl Exemplars {
    /// Takes those of a batch; at most `max` stay.
    pub fn learn(&mut self, batch: &MetricBatch, max: usize) {
        for exemplar in batch.exemplars() {
            let point = &exemplar.point;
            let new = Exemplar {
                labels: Labels::from_pairs(batch.pairs_of(exemplar.labels)),
                value: point.value,
                time_ms: batch.time_of(point),
            };
            self.push(batch.series_of(point), new, max);
        }
    }

    fn push(&mut self, series: Labels, exemplar: Exemplar, max: usize) {
        if max == 0 {
            return;
        }
        let mut spelled = Vec::with_capacity(128);
        put(&mut spelled, &series, &exemplar);
        let key = key(&spelled);
        if !self.known.insert(key) {
            return;
        }
        let one = One {
            series,
            exemplar,
            key,
        };
        self.bytes += bytes_of(&one);
        self.all.push_back(Arc::new(one));
        while self.all.len() > max || self.bytes > BYTES_MAX {
            let Some(oldest) = self.all.pop_front() else {
                break;
            };
            self.known.remove(&oldest.key);
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// Those of series that pass all matchers of one of the lists, within the times; sorted by series.
    pub fn select(
        &self,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
    ) -> Vec<SeriesExemplars> {
        let is_wanted = |one: &&Arc<One>| {
            let fits = |all: &Vec<Matcher>| all.iter().all(|m| m.matches_labels(&one.series));
            (from_ms..=to_ms).contains(&one.exemplar.time_ms) && any_of.iter().any(fits)
        };
        let mut wanted: Vec<&Arc<One>> = self.all.iter().filter(is_wanted).collect();
        wanted.sort_by(|a, b| {
            let by_series = a.series.cmp(&b.series);
            by_series.then(a.exemplar.time_ms.cmp(&b.exemplar.time_ms))
        });
        let groups = wanted.chunk_by(|a, b| a.series == b.series);
        let groups = groups.map(|group| SeriesExemplars {
            series: group[0].series.clone(),
            exemplars: group.iter().map(|one| one.exemplar.clone()).collect(),
        });
        groups.collect()
    }

    /// For the state file: number (varint), each: labels of the series, its own (texts), the value's bits,
    /// Unix ms (signed).
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.all.len() as u64);
        for one in &self.all {
            put(out, &one.series, &one.exemplar);
        }
    }

    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        const LABELS: Malformed = Malformed("labels of an exemplar are not canonical");
        let mut exemplars = Self::default();
        for _ in 0..r.count(11)? {
            let series = Labels::from_bytes(r.text()?).ok_or(LABELS)?;
            let exemplar = Exemplar {
                labels: Labels::from_bytes(r.text()?).ok_or(LABELS)?,
                value: f64::from_bits(r.u64()?),
                time_ms: r.signed()?,
            };
            exemplars.push(series, exemplar, usize::MAX);
        }
        Ok(exemplars)
    }
}

fn bytes_of(one: &One) -> usize {
    ONE_BYTES + one.series.as_bytes().len() + one.exemplar.labels.as_bytes().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(exemplars: &mut Exemplars, series: &str, time_ms: i64, max: usize) {
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", time_ms.to_string())]),
            value: f64::NAN,
            time_ms,
        };
        exemplars.push(Labels::from_pairs([("__name__", series)]), exemplar, max);
    }

    fn times(exemplars: &Exemplars, series: &str) -> Vec<i64> {
        let matchers = vec![vec![Matcher::equal("__name__", series)]];
        let found = exemplars.select(&matchers, 2, 8);
        let all = found.iter().flat_map(|s| &s.exemplars);
        all.map(|e| e.time_ms).collect()
    }

    #[test]
    fn the_newest_stay_once_each_and_come_back() {
        let mut exemplars = Exemplars::default();
        for time in [5, 1, 7, 5, 3, 9] {
            push(&mut exemplars, "a", time, 4);
            push(&mut exemplars, "b", time, 4);
        }
        assert_eq!((exemplars.all.len(), exemplars.known.len()), (4, 4));
        assert_eq!(times(&exemplars, "a"), [3]);
        push(&mut exemplars, "a", 3, 4);
        push(&mut exemplars, "a", 2, 4);
        assert_eq!(times(&exemplars, "a"), [2], "3 came before 9 did");
        let mut bytes = Vec::new();
        exemplars.encode(&mut bytes);
        let back = Exemplars::decode(&mut Reader::new(&bytes)).unwrap();
        let (mut again, mut held) = (Vec::new(), 0);
        back.encode(&mut again);
        assert_eq!(again, bytes);
        back.all.iter().for_each(|one| held += bytes_of(one));
        assert_eq!((back.bytes, exemplars.bytes), (held, held));
        for cut in 0..bytes.len() {
            assert!(Exemplars::decode(&mut Reader::new(&bytes[..cut])).is_err());
        }
        push(&mut exemplars, "c", 1, 0);
        assert!(times(&exemplars, "c").is_empty());
    }
}
