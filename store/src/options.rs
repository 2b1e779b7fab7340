//! What the store is told when it is opened, what it found, and the counts it gives about itself.
//!
//! Plain values only; the bounds that follow from the memory limit are in `memory.rs`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{LogBatch, RecordBatch};

use crate::active::{Limits, Refused};
use crate::deletes::ParseSelector;
use crate::memory::Memory;
use crate::merge::Bounds;
use crate::retention::RetentionRule;

/// The smallest memory limit: below it every flush would be a handful of lines.
pub(crate) const MEMORY_LIMIT_MIN_BYTES: usize = 4 << 20;

/// The largest head: replaying its WAL must not take long, and its text counts in 32 bits.
pub(crate) const HEAD_MAX_BYTES: usize = 1 << 30;

/// The largest part: whatever is done to one takes minutes, not hours.
const PART_MAX_BYTES: u64 = 8 << 30;

/// What is made of a log batch before it is stored: when it comes, and again when it comes out of the WAL, which holds it as it
/// was sent. The same batch must always become the same, and what is complete stays as it is.
#[derive(Clone, Default)]
pub struct Complete(Option<Arc<dyn Fn(&mut LogBatch) + Send + Sync>>);

impl Complete {
    /// By a function.
    pub fn with(complete: impl Fn(&mut LogBatch) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(complete)))
    }

    pub(crate) fn apply(&self, batch: &mut RecordBatch) {
        if let (Some(complete), RecordBatch::Logs(logs)) = (&self.0, batch) {
            complete(logs);
        }
    }
}

impl fmt::Debug for Complete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Complete"
        } else {
            "Nothing"
        })
    }
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The store's own folder; made when missing.
    pub path: PathBuf,
    /// Bound of what the store keeps in memory: heads, caches, merge buffers.
    pub memory_limit_bytes: usize,
    /// The same for several stores together; it counts instead of the store's own bound.
    pub memory: Option<Arc<Memory>>,
    /// What is taken of new series and streams.
    pub limits: Limits,
    /// Parts older than this are dropped; `None` keeps everything.
    pub retention_ms: Option<i64>,
    /// The oldest parts are dropped while parts and WAL take more than this.
    pub retention_bytes: Option<u64>,
    /// Shorter times for some streams and series.
    pub retention_rules: Vec<RetentionRule>,
    /// A head is written out when it is this old, however small it is.
    pub head_max_age_ms: i64,
    /// A WAL segment is ended when it is this long.
    pub wal_segment_bytes: u64,
    /// Reads the selectors of deletes.
    pub parse_selector: ParseSelector,
    /// How long a delete can be taken back, when its request says that it can.
    pub delete_cancel_ms: i64,
    /// What log batches get before they are stored.
    pub complete: Complete,
    /// Exemplars that are kept, the newest; 0 keeps none.
    pub exemplars_max: usize,
    /// How long an append waits for room before it is refused as busy.
    pub busy_wait: Duration,
}

impl Options {
    /// The usual settings for the folder `path`: 512 MiB of memory, nothing expires, heads of at
    /// most ten minutes (long enough for good blocks, short enough for a quick recovery).
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            memory_limit_bytes: 512 << 20,
            memory: None,
            limits: Limits::NONE,
            retention_ms: None,
            retention_bytes: None,
            retention_rules: Vec::new(),
            head_max_age_ms: 10 * 60 * 1000,
            wal_segment_bytes: 64 << 20,
            parse_selector: |_, _| Err("nothing can be deleted here".into()),
            delete_cancel_ms: 24 * 3600 * 1000,
            complete: Complete::default(),
            exemplars_max: 100_000,
            busy_wait: Duration::from_secs(2),
        }
    }

    /// What merges keep to. Retention by size drops whole parts, so it is to have several; postings take
    /// some twice their bytes in memory while a part is written.
    pub(crate) fn merge_bounds(&self) -> Bounds {
        let share = self.retention_bytes.map_or(u64::MAX, |bytes| bytes / 8);
        Bounds {
            part_bytes: share.min(PART_MAX_BYTES),
            postings_bytes: self.memory_limit_bytes.max(MEMORY_LIMIT_MIN_BYTES) as u64 / 8,
        }
    }

    /// The memory that the store counts in.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        let own = || Arc::new(Memory::new(self.memory_limit_bytes));
        self.memory.clone().unwrap_or_else(own)
    }
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Appended {
    /// Records stored (entries or samples).
    pub accepted: u64,
    /// Records that the source had delivered before, and which were dropped.
    pub duplicates: u64,
    /// Records of new series and streams that a limit keeps out.
    pub refused: Refused,
}

/// A place that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset_bytes: u64,
    pub len_bytes: u64,
    /// What is wrong there and what was done about it.
    pub what: String,
}

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Parts opened.
    pub parts: usize,
    /// WAL segments read.
    pub wal_segments: usize,
    /// Whole WAL entries read.
    pub wal_entries: u64,
    /// Records that came back out of the WAL.
    pub wal_records: u64,
    /// Bytes cut off after the last whole entry: an append that was never acknowledged.
    pub torn_bytes: u64,
    /// What was lost or set aside. Empty after any clean stop or crash.
    pub damaged: Vec<Damage>,
    /// Unfinished files of an interrupted flush or merge that were removed.
    pub leftovers_removed: usize,
}

/// What one call of `maintain` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Parts written from a head.
    pub parts_flushed: usize,
    /// Parts replaced by one larger part.
    pub parts_merged: usize,
    /// Parts dropped by retention.
    pub parts_dropped: usize,
    /// Parts written anew without what was deleted.
    pub parts_rewritten: usize,
}

impl Maintained {
    /// Whether there was nothing to do, so the caller may rest.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// Numbers about the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Metric series in the heads.
    pub head_series: u64,
    /// Log streams in the heads.
    pub head_streams: u64,
    /// Log entries in the heads.
    pub head_entries: u64,
    /// Samples in the heads.
    pub head_samples: u64,
    /// Memory that the heads take.
    pub head_bytes: u64,
    pub log_parts: u64,
    pub metric_parts: u64,
    /// Log entries in parts.
    pub part_entries: u64,
    /// Samples in parts.
    pub part_samples: u64,
    /// Text of the log entries in parts, uncompressed.
    pub part_raw_bytes: u64,
    /// Log streams in the parts, summed part by part.
    pub part_streams: u64,
    /// Series in the parts, summed part by part.
    pub part_series: u64,
    /// Bytes of all part files.
    pub disk_bytes: u64,
    pub wal_bytes: u64,
    pub wal_segments: u64,
    /// Times the WAL was synced since opening.
    pub wal_syncs: u64,
    /// Bytes written to the WAL since opening.
    pub wal_bytes_written: u64,
    /// Records accepted since opening.
    pub records_appended: u64,
    /// Records dropped as repeats since opening.
    pub duplicates: u64,
    /// Sources with a high-water mark.
    pub marks: u64,
    /// Blocks that failed their check since opening.
    pub damaged_blocks: u64,
    pub flushes: u64,
    pub merges: u64,
    /// Bytes of parts written by flushes and merges since opening.
    pub part_bytes_written: u64,
    /// Parts dropped by retention since opening.
    pub parts_expired: u64,
    /// Decoded pages and index blocks, and the tables of series that samples refer to; of all stores that
    /// share their memory.
    pub cache_bytes: u64,
    /// Series and streams that count for the limits.
    pub active_series: u64,
    pub active_streams: u64,
    /// Whether writes are refused after a failed write.
    pub poisoned: bool,
}

impl Stats {
    /// Adds those of another store that shares the memory of this one.
    pub fn add(&mut self, other: &Self) {
        self.poisoned |= other.poisoned;
        self.cache_bytes = self.cache_bytes.max(other.cache_bytes);
        self.head_series += other.head_series;
        self.head_streams += other.head_streams;
        self.head_entries += other.head_entries;
        self.head_samples += other.head_samples;
        self.head_bytes += other.head_bytes;
        self.log_parts += other.log_parts;
        self.metric_parts += other.metric_parts;
        self.part_entries += other.part_entries;
        self.part_samples += other.part_samples;
        self.part_raw_bytes += other.part_raw_bytes;
        self.part_streams += other.part_streams;
        self.part_series += other.part_series;
        self.disk_bytes += other.disk_bytes;
        self.wal_bytes += other.wal_bytes;
        self.wal_segments += other.wal_segments;
        self.wal_syncs += other.wal_syncs;
        self.wal_bytes_written += other.wal_bytes_written;
        self.records_appended += other.records_appended;
        self.duplicates += other.duplicates;
        self.marks += other.marks;
        self.damaged_blocks += other.damaged_blocks;
        self.flushes += other.flushes;
        self.merges += other.merges;
        self.part_bytes_written += other.part_bytes_written;
        self.parts_expired += other.parts_expired;
        self.active_series += other.active_series;
        self.active_streams += other.active_streams;
    }
}
