//! The head: what has been appended and is not in parts yet.
//!
//! It is in memory only; the WAL makes it durable. The rule: entries and samples are only added,
//! never changed or taken away, until the whole head is dropped because parts hold its data.

mod logs;
mod more;
mod run;
mod series;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use kansoku_model::RecordBatch;

use crate::memory::Memory;
use crate::references::Samples;

pub use logs::{Chunk, HeadLogs};
pub use series::HeadSeries;

/// A head of this many samples is written out, so that a replay brings two of them back in less than
/// a second...
const SAMPLES_MAX: u64 = 3 << 20;
/// ...unless they are fewer per series than are worth a block.
const SERIES_SAMPLES_MIN: u64 = 32;

/// No clock reading yet.
const UNDATED: i64 = i64::MIN;

/// One generation of the head.
#[derive(Debug)]
pub struct Head {
    /// Taken for writing while a batch is applied, for reading while a query collects its chunks.
    pub logs: RwLock<HeadLogs>,
    /// Taken for writing while a batch is applied, for reading while a query copies samples.
    pub series: RwLock<HeadSeries>,
    /// Memory held; only grows.
    bytes: AtomicUsize,
    /// Where the same is counted, until the head is written out.
    memory: Option<Arc<Memory>>,
    is_released: AtomicBool,
    /// Samples and series, as of the last write; only grow.
    n_samples: AtomicU64,
    n_series: AtomicU64,
    n_streams: AtomicU64,
    /// How many of both count as active already. Held while more are taken in.
    pub noted: Mutex<(usize, usize)>,
    /// When maintenance first saw data in it.
    started_ms: AtomicI64,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            logs: RwLock::default(),
            series: RwLock::default(),
            bytes: AtomicUsize::new(0),
            memory: None,
            is_released: AtomicBool::new(false),
            n_samples: AtomicU64::new(0),
            n_series: AtomicU64::new(0),
            n_streams: AtomicU64::new(0),
            noted: Mutex::default(),
            started_ms: AtomicI64::new(UNDATED),
        }
    }
}

/// A lock is poisoned only by a panic of our own while it was held; going on would hide it.
pub const LOCK: &str = "no thread panicked while it changed the head";

impl Head {
    /// An empty head that counts its memory in `memory`.
    pub fn new(memory: &Arc<Memory>) -> Self {
        let mut head = Self::default();
        head.memory = Some(Arc::clone(memory));
        head
    }

    fn grow(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.memory.iter().for_each(|m| m.heads_grew(bytes));
    }

    /// Its memory counts no more: parts hold its data, and only queries keep it.
    pub fn release(&self) {
        if let Some(memory) = &self.memory
            && !self.is_released.swap(true, Ordering::Relaxed)
        {
            memory.heads_shrank(self.bytes());
        }
    }

    /// How many series and streams there are.
    pub fn counts(&self) -> (usize, usize) {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed) as usize;
        (get(&self.n_series), get(&self.n_streams))
    }

    /// Adds all records of a batch.
    pub fn apply(&self, batch: &RecordBatch) {
        match batch {
            RecordBatch::Logs(b) => {
                let mut logs = self.logs.write().expect(LOCK);
                self.grow(logs.apply(b));
                let n_streams = logs.streams.len() as u64;
                self.n_streams.store(n_streams, Ordering::Relaxed);
            }
            RecordBatch::Metrics(b) => self.change_series(|series| series.apply(b)),
        }
    }

    /// Adds samples by reference. A head knows the references of one table only.
    pub fn apply_samples(&self, samples: &Samples) {
        self.change_series(|series| series.apply_samples(samples));
    }

    fn change_series(&self, change: impl FnOnce(&mut HeadSeries) -> usize) {
        let mut series = self.series.write().expect(LOCK);
        let grown = change(&mut series);
        self.grow(grown);
        let n_series = series.series.len() as u64;
        self.n_samples.store(series.n_samples, Ordering::Relaxed);
        self.n_series.store(n_series, Ordering::Relaxed);
    }

    /// Whether it has as many samples as are to be replayed and written out at once.
    pub fn is_full_of_samples(&self) -> bool {
        let at_least = self.n_series.load(Ordering::Relaxed) * SERIES_SAMPLES_MIN;
        self.n_samples.load(Ordering::Relaxed) >= SAMPLES_MAX.max(at_least)
    }

    /// Whether it is to be written out: by `limit_bytes`, or by its samples.
    pub fn is_full(&self, limit_bytes: usize) -> bool {
        self.bytes() >= limit_bytes || self.is_full_of_samples()
    }

    /// Memory held, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// How long maintenance has known data in this head.
    pub fn age_ms(&self, now_ms: i64) -> i64 {
        if self.is_empty() {
            return 0;
        }
        let undated =
            self.started_ms
                .compare_exchange(UNDATED, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        match undated {
            Ok(_) => 0,
            Err(started) => now_ms.saturating_sub(started),
        }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.release();
    }
}
