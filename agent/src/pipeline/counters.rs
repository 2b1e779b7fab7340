//! What the pipeline counts, under Fluent Bit's names; the HTTP server reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, or a gauge that is set.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
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
    /// Files that were truncated or compressed before all of them was read.
    pub files_lost: Counter,
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
}

/// The counters of every part of a pipeline, in configuration order.
#[derive(Debug, Default)]
pub struct Metrics {
    pub inputs: Vec<Arc<InputCounters>>,
    pub filters: Vec<Arc<FilterCounters>>,
    pub outputs: Vec<Arc<OutputCounters>>,
    /// Filters of one input or output.
    pub processors: Vec<Arc<FilterCounters>>,
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
