//! What the open stores of one process may hold in memory together: heads, tables of series, and the
//! pages of parts in one cache.
//!
//! Counting only; whoever is over a bound acts. A store that is alone has one of its own. The rule: what was
//! counted in is counted out once, when the memory is given up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::cache::Cache;
use crate::options::{HEAD_MAX_BYTES, MEMORY_LIMIT_MIN_BYTES};

/// The memory that stores share.
#[derive(Debug)]
pub struct Memory {
    limit_bytes: usize,
    /// Of the heads that are not written out.
    heads: AtomicUsize,
    /// Of the tables of series.
    series: AtomicUsize,
    pub(crate) cache: Cache,
    /// Signalled when a head has grown beyond its limit or one was written out.
    pressure: (Mutex<()>, Condvar),
    /// Numbers the stores, whose parts have the same numbers.
    next_store: AtomicU64,
}

const LOCK: &str = "nothing is done while it is held";

impl Memory {
    /// A bound of `limit_bytes` for all stores that are opened with it.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.max(MEMORY_LIMIT_MIN_BYTES);
        Self {
            limit_bytes,
            heads: AtomicUsize::new(0),
            series: AtomicUsize::new(0),
            cache: Cache::new(limit_bytes / 8),
            pressure: Default::default(),
            next_store: AtomicU64::new(1),
        }
    }

    /// A head larger than this is written out: a quarter, so that a second one can fill meanwhile.
    pub(crate) fn head_limit_bytes(&self) -> usize {
        (self.limit_bytes / 4).min(HEAD_MAX_BYTES)
    }

    /// Appends are refused when all heads together are larger than this.
    pub(crate) fn heads_limit_bytes(&self) -> usize {
        self.head_limit_bytes() * 3
    }

    /// The replay of the WAL writes heads out when they are larger than this.
    pub(crate) fn replayed_limit_bytes(&self) -> usize {
        self.heads_limit_bytes() + self.head_limit_bytes() / 2
    }

    /// What the tables of series that samples refer to may take.
    pub(crate) fn series_limit_bytes(&self) -> usize {
        self.limit_bytes / 8
    }

    /// Whether the heads of several stores are so large together that one should be written out although it
    /// has not reached its own limit.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        self.head_bytes() >= self.head_limit_bytes() * 2
    }

    /// What all heads hold that are not written out.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.heads.load(Ordering::Relaxed)
    }

    /// Decoded pages and index blocks, and the tables of series.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes() + self.series.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full_of_series(&self) -> bool {
        self.series.load(Ordering::Relaxed) >= self.series_limit_bytes()
    }

    pub(crate) fn number_store(&self) -> u64 {
        self.next_store.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn heads_grew(&self, bytes: usize) {
        self.heads.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn heads_shrank(&self, bytes: usize) {
        self.heads.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn series_grew(&self, bytes: usize) {
        self.series.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn series_shrank(&self, bytes: usize) {
        self.series.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes those that wait for room or for work.
    pub(crate) fn signal_pressure(&self) {
        let (lock, condition) = &self.pressure;
        // Taken and let go, so that nobody is between its check and its sleep.
        drop(lock.lock().expect(LOCK));
        condition.notify_all();
    }

    /// Blocks while `holds` says so, `timeout` at the most; it is asked again at every signal. False when it
    /// still holds then.
    pub fn wait_while(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let (lock, condition) = &self.pressure;
        let guard = lock.lock().expect(LOCK);
        let waited = condition.wait_timeout_while(guard, timeout, |()| holds());
        !waited.expect(LOCK).1.timed_out()
    }
}
