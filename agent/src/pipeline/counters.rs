//! What the pipeline counts, under Fluent Bit's names; the HTTP server reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::spill::Status;

/// A number that only grows, or a gauge that is set.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Raises it to `n`, unless it is there already; gives what it was.
    pub fn raise_to(&self, n: u64) -> u64 {
        self.0.fetch_max(n, Ordering::Relaxed)
    }

    /// Takes `n` from a gauge.
    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `fluentbit_input_*`.
#[derive(Debug, Default)]
pub struct InputCounters {
    /// The label `name`.
    pub name: String,
    pub records: Counter,
    pub bytes: Counter,
    /// 1 while the input waits for its byte budget.
    pub ingestion_paused: Counter,
    /// Bytes of batches that no output has acknowledged yet (a gauge).
    pub memory_bytes: Counter,
    pub files_opened: Counter,
    pub files_closed: Counter,
    pub files_rotated: Counter,
    pub long_line_skipped: Counter,
    pub long_line_truncated: Counter,
    pub multiline_truncated: Counter,
    /// Records of a source that does not wait, for which there was no room.
    pub dropped_records: Counter,
    /// What the kernel dropped before it was read: datagrams, records of its log.
    pub missed_records: Counter,
    /// Files that were truncated or compressed before all of them was read.
    pub files_lost: Counter,
    /// Damaged objects of journal files that were passed.
    pub damaged: Counter,
    /// Bytes that are known to be there and have not been delivered (a gauge).
    pub lag_bytes: Counter,
    /// Age in seconds of the oldest record that has not been delivered (a gauge).
    pub lag_seconds: Counter,
}

/// `fluentbit_filter_*`.
#[derive(Debug, Default)]
pub struct FilterCounters {
    /// The label `name`.
    pub name: String,
    pub records: Counter,
    pub bytes: Counter,
    pub add_records: Counter,
    pub drop_records: Counter,
    /// Texts that one of its patterns gave up on; they count as not matching.
    pub patterns_given_up: Counter,
}

/// `fluentbit_output_*`.
#[derive(Debug, Default)]
pub struct OutputCounters {
    /// The label `name`.
    pub name: String,
    pub proc_records: Counter,
    pub proc_bytes: Counter,
    pub errors: Counter,
    pub retries: Counter,
    pub retried_records: Counter,
    pub retries_failed: Counter,
    pub dropped_records: Counter,
    /// Of the dropped records, those kept in the dead-letter file.
    pub dead_letter_records: Counter,
    /// Requests under way (a gauge).
    pub busy: Counter,
    /// Requests that may be under way at once.
    pub workers: Counter,
}

/// Upper bounds of the latency histogram in milliseconds; Fluent Bit's.
pub const LATENCY_BUCKETS_MS: [u64; 8] = [500, 1000, 1500, 2500, 5000, 10_000, 20_000, 30_000];

/// How long batches took from the input to the destination.
#[derive(Debug, Default)]
pub struct Latency {
    /// Of each bucket alone; the last is for what took longer.
    pub buckets: [Counter; LATENCY_BUCKETS_MS.len() + 1],
    pub sum_ms: Counter,
}

impl Latency {
    pub(super) fn observe(&self, took: Duration) {
        let ms = took.as_millis() as u64;
        let bucket = LATENCY_BUCKETS_MS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].add(1);
        self.sum_ms.add(ms);
    }
}

/// What goes from one input to one output.
#[derive(Debug, Default)]
pub struct RouteCounters {
    pub input: String,
    pub output: String,
    pub records: Counter,
    pub bytes: Counter,
    pub latency: Latency,
    /// Requests under way that hold records of the input, and how often these have failed (a gauge).
    pub pressure: Counter,
}

/// How an input or output stands now.
#[derive(Debug, Clone, Default)]
pub struct StorageStatus {
    /// Of each input: batches in memory and their bytes.
    pub inputs: Vec<(u64, u64)>,
    pub outputs: Vec<OutputStatus>,
}

/// What waits for an output.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputStatus {
    /// Percent of what may wait that is free: of `storage.total_limit_size`, else of memory.
    pub free_percent: u64,
    pub spill: Option<Status>,
    /// Records that a spill at its limit gave up.
    pub spill_dropped_records: u64,
    /// Frames that could not be read back.
    pub spill_damaged_frames: u64,
}

/// Asks a running pipeline how it stands.
#[derive(Default)]
pub struct Probe(OnceLock<Box<dyn Fn() -> StorageStatus + Send + Sync>>);

impl Probe {
    pub(super) fn set(&self, probe: impl Fn() -> StorageStatus + Send + Sync + 'static) {
        // A pipeline sets it once.
        let _ = self.0.set(Box::new(probe));
    }

    /// How the pipeline stands; nothing when there is none.
    #[must_use]
    pub fn ask(&self) -> StorageStatus {
        self.0.get().map(|probe| probe()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

/// The counters of every part of a pipeline, in configuration order.
#[derive(Debug, Default)]
pub struct Metrics {
    pub inputs: Vec<Arc<InputCounters>>,
    pub filters: Vec<Arc<FilterCounters>>,
    pub outputs: Vec<Arc<OutputCounters>>,
    /// Filters of one input or output.
    pub processors: Vec<Arc<FilterCounters>>,
    /// Of each input and output.
    pub routes: Vec<Arc<RouteCounters>>,
    pub probe: Probe,
    pub config_file: Option<super::ConfigFile>,
}

impl Metrics {
    pub(super) fn add_input(&mut self, name: &str) -> Arc<InputCounters> {
        let counters = Arc::new(InputCounters {
            name: name.to_owned(),
            ..InputCounters::default()
        });
        self.inputs.push(counters.clone());
        counters
    }

    pub(super) fn add_filter(&mut self, name: &str) -> Arc<FilterCounters> {
        let counters = Arc::new(FilterCounters {
            name: name.to_owned(),
            ..FilterCounters::default()
        });
        self.filters.push(counters.clone());
        counters
    }

    pub(super) fn add_processor(&mut self, name: &str) -> Arc<FilterCounters> {
        let counters = Arc::new(FilterCounters {
            name: name.to_owned(),
            ..FilterCounters::default()
        });
        self.processors.push(counters.clone());
        counters
    }

    pub(super) fn add_output(&mut self, name: &str) -> Arc<OutputCounters> {
        let counters = Arc::new(OutputCounters {
            name: name.to_owned(),
            ..OutputCounters::default()
        });
        self.outputs.push(counters.clone());
        counters
    }
}
