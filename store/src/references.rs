//! Series by number: what lets a sample of a known series be taken in for one hash of its label
//! bytes, without its labels being decoded, checked or written again.
//!
//! A table belongs to the heads and WAL segments that were filled while it was the store's current
//! one. It holds one copy of each label set and the spellings under which senders gave it. The
//! rule: a reference is never given to another series as long as its table lives.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use kansoku_model::Labels;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::active::Active;
use crate::memory::Memory;
use crate::spread::Spread;

/// Memory of a series besides its labels: its places in the tables.
const SERIES_BYTES: usize = 136;
/// Memory of one spelling.
const SPELLING_BYTES: usize = 48;
/// Longer label sets are not kept: whoever sends them does not profit from it.
const LABELS_MAX_BYTES: usize = 64 << 10;
/// Samples of one run, so that a WAL entry has a bound.
const RUN_MAX: u32 = 1 << 16;

const LOCK: &str = "nothing panics while it changes the table of series";

/// The series that samples can refer to.
#[derive(Debug)]
pub struct SeriesTable {
    /// Held for reading while a request is decoded, for writing while a series is added.
    known: RwLock<Known>,
    max_bytes: usize,
    /// Where its memory is counted, and what is asked for each new series.
    store: Option<(Arc<Memory>, Arc<Active>)>,
    /// Drawn anew for each table: nobody can prepare label sets that meet in one place.
    seed: u64,
}

#[derive(Debug, Default)]
struct Known {
    by_spelling: HashMap<u128, u32, Spread>,
    by_labels: HashMap<Arc<Labels>, u32>,
    labels: Vec<Arc<Labels>>,
    /// By reference: the first spelling of the series. Senders repeat their series in one order, so the next
    /// one asked for is mostly the next one here.
    keys: Vec<u128>,
    bytes: usize,
}

impl SeriesTable {
    /// An empty table that takes new series until it holds `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            known: RwLock::default(),
            max_bytes,
            store: None,
            seed: RandomState::new().hash_one(0),
        }
    }

    /// The same as part of a store.
    pub(crate) fn within(memory: &Arc<Memory>, active: &Arc<Active>) -> Self {
        let mut table = Self::new(memory.series_limit_bytes());
        table.store = Some((Arc::clone(memory), Arc::clone(active)));
        table
    }

    /// Counts what `change` adds.
    fn change<T>(&self, known: &mut Known, change: impl FnOnce(&mut Known) -> T) -> T {
        let before = known.bytes;
        let done = change(known);
        if let Some((memory, _)) = &self.store {
            memory.series_grew(known.bytes - before);
        }
        done
    }

    fn is_full(&self, known: &Known) -> bool {
        let store = self.store.as_ref();
        known.bytes >= self.max_bytes || store.is_some_and(|(memory, _)| memory.is_full_of_series())
    }

    /// Whether a new series may be added.
    fn admits(&self, labels: &Labels) -> bool {
        let store = self.store.as_ref();
        store.is_none_or(|(_, active)| active.admit(labels).is_ok())
    }

    fn key(&self, spelling: &[u8]) -> u128 {
        xxh3_128_with_seed(spelling, self.seed)
    }

    /// The reference of `labels`, new or not, even beyond the table's bound: for data that has been
    /// accepted already.
    pub(crate) fn refer(&self, labels: Labels) -> u32 {
        let mut known = self.known.write().expect(LOCK);
        self.change(&mut known, |known| known.refer(labels))
    }

    /// The labels of a reference of this table.
    pub(crate) fn labels(&self, reference: u32) -> Arc<Labels> {
        Arc::clone(&self.known.read().expect(LOCK).labels[reference as usize])
    }

    /// Whether a new table would serve better than this one, of whose series a head used `n_used`.
    /// A full one whose series are in use would only be filled with the same number of them again.
    pub(crate) fn is_stale(&self, n_used: usize) -> bool {
        let known = self.known.read().expect(LOCK);
        let (n, is_full) = (known.labels.len(), self.is_full(&known));
        n > 2 * n_used || (is_full && n - n / 8 > n_used)
    }
}

impl Drop for SeriesTable {
    fn drop(&mut self) {
        if let (Some((memory, _)), Ok(known)) = (&self.store, self.known.get_mut()) {
            memory.series_shrank(known.bytes);
        }
    }
}

impl Known {
    fn refer(&mut self, labels: Labels) -> u32 {
        if let Some(&reference) = self.by_labels.get(&labels) {
            return reference;
        }
        let reference = self.labels.len() as u32;
        self.bytes += SERIES_BYTES + labels.as_bytes().len();
        let labels = Arc::new(labels);
        self.by_labels.insert(Arc::clone(&labels), reference);
        self.labels.push(labels);
        self.keys.push(0);
        reference
    }

    fn spelled(&mut self, reference: u32, key: u128) {
        self.bytes += SPELLING_BYTES;
        self.by_spelling.insert(key, reference);
        let first = &mut self.keys[reference as usize];
        if *first == 0 {
            *first = key;
        }
    }
}

/// Samples of series of one table, in order of arrival.
#[derive(Debug)]
pub struct Samples {
    pub(crate) table: Arc<SeriesTable>,
    /// Reference and number of samples.
    pub(crate) runs: Vec<(u32, u32)>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// When what each sample counts began; empty when that is known of none.
    pub(crate) starts: Vec<i64>,
}

impl Samples {
    pub(crate) fn new(table: &Arc<SeriesTable>) -> Self {
        Self {
            table: Arc::clone(table),
            runs: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The same samples by the references of another table.
    pub(crate) fn move_to(&mut self, table: &Arc<SeriesTable>) {
        for (reference, _) in &mut self.runs {
            *reference = table.refer(Labels::clone(&self.table.labels(*reference)));
        }
        self.table = Arc::clone(table);
    }

    fn push(&mut self, reference: u32, time_ms: i64, value: f64) {
        match self.runs.last_mut() {
            Some((last, n)) if *last == reference && *n < RUN_MAX => *n += 1,
            _ => self.runs.push((reference, 1)),
        }
        self.times.push(time_ms);
        self.values.push(value);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }
}

/// Collects the samples of a request. It holds the table for reading: make it late, drop it early.
#[derive(Debug)]
pub struct SampleWriter<'a> {
    table: &'a SeriesTable,
    /// Let go only while a series is added.
    known: Option<RwLockReadGuard<'a, Known>>,
    /// The reference that will probably be asked for next.
    next: u32,
    samples: Samples,
}

impl<'a> SampleWriter<'a> {
    /// A writer for series of `table`.
    #[must_use]
    pub fn new(table: &'a Arc<SeriesTable>) -> Self {
        Self {
            table,
            known: Some(table.known.read().expect(LOCK)),
            next: 0,
            samples: Samples::new(table),
        }
    }

    /// The series whose labels were defined with these bytes.
    #[must_use]
    pub fn find(&mut self, spelling: &[u8]) -> Option<u32> {
        let known = self.known.as_ref()?;
        let key = self.table.key(spelling);
        let reference = if known.keys.get(self.next as usize) == Some(&key) {
            self.next
        } else {
            *known.by_spelling.get(&key)?
        };
        self.next = reference + 1;
        Some(reference)
    }

    /// The series of `labels`, which `find` will know by `spelling` from now on. `None` when the
    /// table is full, the labels are too long for it or a limit keeps the series out: store the samples in a batch then.
    pub fn define(&mut self, spelling: &[u8], labels: Labels) -> Option<u32> {
        if labels.as_bytes().len().max(spelling.len()) > LABELS_MAX_BYTES {
            return None;
        }
        drop(self.known.take());
        let reference = {
            let mut known = self.table.known.write().expect(LOCK);
            let found = known.by_labels.get(&labels).copied();
            if self.table.is_full(&known) {
                found
            } else if found.is_some() || self.table.admits(&labels) {
                let key = self.table.key(spelling);
                let reference = self.table.change(&mut known, |known| {
                    let reference = found.unwrap_or_else(|| known.refer(labels));
                    known.spelled(reference, key);
                    reference
                });
                Some(reference)
            } else {
                None
            }
        };
        self.known = Some(self.table.known.read().expect(LOCK));
        self.next = reference.map_or(0, |r| r + 1);
        reference
    }

    /// Adds a sample of a series that `find` or `define` gave.
    pub fn push(&mut self, reference: u32, time_ms: i64, value: f64) {
        self.samples.push(reference, time_ms, value);
    }

    /// Adds a sample with the time at which what it counts began, in Unix ms; 0 when not known.
    pub fn push_started(&mut self, reference: u32, time_ms: i64, value: f64, start_ms: i64) {
        let samples = &mut self.samples;
        samples.push(reference, time_ms, value);
        if start_ms != 0 {
            samples.starts.resize(samples.times.len(), 0);
            samples.starts[samples.times.len() - 1] = start_ms;
        }
    }

    /// What was collected.
    #[must_use]
    pub fn finish(self) -> Samples {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(i: usize) -> Labels {
        Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())])
    }

    #[test]
    fn spellings_of_one_label_set_are_one_series() {
        let table = Arc::new(SeriesTable::new(1 << 20));
        let mut writer = SampleWriter::new(&table);
        assert_eq!(writer.find(b"a"), None);
        assert_eq!(writer.define(b"a", labels(1)), Some(0));
        assert_eq!(writer.define(b"b", labels(1)), Some(0));
        assert_eq!(writer.define(b"c", labels(2)), Some(1));
        assert_eq!(
            [b"a", b"b", b"c"].map(|s| writer.find(s)),
            [Some(0), Some(0), Some(1)]
        );
        for (reference, time) in [(0, 1), (0, 2), (1, 1), (0, 3)] {
            writer.push(reference, time, 0.5);
        }
        let mut samples = writer.finish();
        assert_eq!(samples.runs, [(0, 2), (1, 1), (0, 1)]);
        let other = Arc::new(SeriesTable::new(1 << 20));
        other.refer(labels(2));
        samples.move_to(&other);
        assert_eq!(samples.runs, [(1, 2), (0, 1), (1, 1)]);
        assert_eq!(*other.labels(1), labels(1));
    }

    #[test]
    fn a_full_table_takes_no_new_series_and_knows_the_old_ones() {
        let table = Arc::new(SeriesTable::new(10_000));
        let mut writer = SampleWriter::new(&table);
        let n = (0..1000)
            .take_while(|i: &usize| writer.define(&i.to_le_bytes(), labels(*i)).is_some())
            .count();
        assert!((30..100).contains(&n), "{n}");
        assert_eq!(writer.find(&3usize.to_le_bytes()), Some(3));
        assert_eq!(writer.define(b"another spelling", labels(3)), Some(3));
        assert!(
            table.is_stale(n / 2),
            "a full table makes room for series in use"
        );
        assert!(!table.is_stale(n), "all of a full table is in use");
        assert_eq!(writer.define(&[0; 1 << 17], labels(3)), None);
    }
}
