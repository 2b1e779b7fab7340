//! The head: what has been appended and is not in parts yet.
//!
//! It is in memory only; the WAL makes it durable. The rule: entries and samples are only added,
//! never changed or taken away, until the whole head is dropped because parts hold its data.

mod logs;
mod series;

use std::sync::RwLock;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use kansoku_model::RecordBatch;

use crate::references::Samples;

pub use logs::{Chunk, HeadLogs};
pub use series::HeadSeries;

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
    /// When maintenance first saw data in it.
    started_ms: AtomicI64,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            logs: RwLock::default(),
            series: RwLock::default(),
            bytes: AtomicUsize::new(0),
            started_ms: AtomicI64::new(UNDATED),
        }
    }
}

/// A lock is poisoned only by a panic of our own while it was held; going on would hide it.
pub const LOCK: &str = "no thread panicked while it changed the head";

impl Head {
    /// Adds all records of a batch.
    pub fn apply(&self, batch: &RecordBatch) {
        let grown = match batch {
            RecordBatch::Logs(b) => self.logs.write().expect(LOCK).apply(b),
            RecordBatch::Metrics(b) => self.series.write().expect(LOCK).apply(b),
        };
        self.bytes.fetch_add(grown, Ordering::Relaxed);
    }

    /// Adds samples by reference. A head knows the references of one table only.
    pub fn apply_samples(&self, samples: &Samples) {
        let grown = self.series.write().expect(LOCK).apply_samples(samples);
        self.bytes.fetch_add(grown, Ordering::Relaxed);
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
