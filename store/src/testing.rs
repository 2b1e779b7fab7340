//! What the tests of this crate share: random numbers with a seed, batches, faults of the disk.
//!
//! Compiled for tests only.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kansoku_model::histogram::{CUSTOM_SCHEMA, Counts, NativeHistogram, ResetHint, Span};
use kansoku_model::{
    Labels, LogBatch, MetricBatch, MetricKind, Position, RecordBatch, Resource, Source, SourceId,
};

use crate::fs::{Disk, Fault, Operation};
use crate::{Incoming, Options, SampleWriter, Samples, SeriesTable};

/// splitmix64: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
}

pub const DAY_NS: i64 = 86_400_000_000_000;
/// 2026-01-02 00:00 UTC.
pub const T0_NS: i64 = 1_767_312_000_000_000_000;
pub const T0_MS: i64 = T0_NS / 1_000_000;

/// Options small enough that tests reach the bounds.
pub fn options(path: &std::path::Path) -> Options {
    Options {
        memory_limit_bytes: 64 << 20,
        busy_wait: std::time::Duration::ZERO,
        ..Options::new(path)
    }
}

/// A batch of the stream `{app=...}`: one line per (time, text), positions from `from` on.
pub fn logs(source: u128, app: &str, from: u64, lines: &[(i64, &str)]) -> LogBatch {
    let resource = Resource {
        labels: Labels::from_pairs([("app", app)]),
        ..Default::default()
    };
    let mut b = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
    for (i, (time, line)) in lines.iter().enumerate() {
        let row = b.push(*time, Position::at(from + i as u64 + 1));
        b.set_text("log", row, line.as_bytes());
    }
    b.source = Source {
        id: SourceId(source),
        from: Position::at(from),
        to: Position::at(from + lines.len() as u64),
    };
    b
}

/// A batch of one sample each of `name{i="0"}`, `name{i="1"}`, ...
pub fn samples(source: u128, at: u64, name: &str, time_ms: i64, values: &[f64]) -> MetricBatch {
    let mut b = MetricBatch::new("m".into(), Arc::default(), time_ms);
    let family = b.family(name, MetricKind::Gauge, "help text");
    for (i, value) in values.iter().enumerate() {
        b.sample(family, &[("i", &i.to_string())], *value);
    }
    b.source = Source {
        id: SourceId(source),
        from: Position::at(at),
        to: Position::at(at + 1),
    };
    b
}

/// Samples of `m{i="..."}` as `samples` makes them in a batch.
pub fn by_reference(table: &Arc<SeriesTable>, all: &[(u32, i64, f64)]) -> Samples {
    let mut writer = SampleWriter::new(table);
    for (i, time_ms, value) in all {
        let spelling = i.to_le_bytes();
        let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
        let reference = writer
            .find(&spelling)
            .or_else(|| writer.define(&spelling, labels));
        writer.push(reference.unwrap(), *time_ms, *value);
    }
    writer.finish()
}

pub fn log_in(batch: LogBatch) -> Vec<Incoming<'static>> {
    vec![Incoming::Batch(RecordBatch::Logs(batch))]
}

pub fn metric_in(batch: MetricBatch) -> Vec<Incoming<'static>> {
    vec![Incoming::Batch(RecordBatch::Metrics(batch))]
}

/// Every operation that changes the disk.
pub const WRITES: [Operation; 7] = [
    Operation::Create,
    Operation::Write,
    Operation::Sync,
    Operation::SyncFolder,
    Operation::Rename,
    Operation::Truncate,
    Operation::Remove,
];

/// Lets `n` operations of one kind pass and makes the next one fail; the later ones work again.
#[derive(Debug)]
pub struct FailOnce {
    operation: Operation,
    fault: Fault,
    left: AtomicI64,
}

impl FailOnce {
    pub fn disk(
        path: &std::path::Path,
        operation: Operation,
        n: i64,
        fault: Fault,
    ) -> (Disk, Arc<Self>) {
        let once = Arc::new(Self {
            operation,
            fault,
            left: AtomicI64::new(n),
        });
        let hook = Arc::clone(&once);
        let disk = Disk::with_faults(path, Arc::new(move |operation, _| hook.next(operation)));
        (disk, once)
    }

    fn next(&self, operation: Operation) -> Option<Fault> {
        (operation == self.operation && self.left.fetch_sub(1, Ordering::SeqCst) == 0)
            .then_some(self.fault)
    }

    /// Whether the fault was met.
    pub fn happened(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

/// A histogram of any kind, with any bits.
pub fn any_histogram(random: &mut Random) -> NativeHistogram {
    let is_custom = random.below(3) == 0;
    let mut side = |n_max: u64| -> (Vec<Span>, usize) {
        let (mut spans, mut n) = (Vec::new(), 0);
        for _ in 0..random.below(n_max) {
            let length = random.below(5) as u32;
            n += length as usize;
            let offset = random.below(20) as i32 - 10;
            spans.push(Span { offset, length });
        }
        (spans, n)
    };
    let (negative_spans, n_negative) = side(3);
    let (positive_spans, n_positive) = side(4);
    let counts = if random.below(2) == 0 {
        let mut few = |n: usize| (0..n).map(|_| random.next() as i64 >> 40).collect();
        let (negative, positive) = (few(n_negative), few(n_positive));
        Counts::Integer {
            count: random.next(),
            zero: random.below(9),
            negative,
            positive,
        }
    } else {
        let mut few = |n: usize| (0..n).map(|_| f64::from_bits(random.next())).collect();
        let (negative, positive) = (few(n_negative), few(n_positive));
        Counts::Float {
            count: f64::from_bits(random.next()),
            zero: -0.0,
            negative,
            positive,
        }
    };
    NativeHistogram {
        schema: if is_custom { CUSTOM_SCHEMA } else { 4 },
        zero_threshold: random.below(3) as f64 / 7.0,
        sum: match random.below(4) {
            0 => f64::from_bits(0x7ff0_0000_0000_0002),
            1 => f64::from_bits(random.next()),
            _ => random.below(100) as f64,
        },
        negative_spans,
        positive_spans,
        counts,
        custom_bounds: if is_custom {
            vec![-1.0, 0.25, 7.0]
        } else {
            Vec::new()
        },
        reset_hint: ResetHint::of(random.below(4)).unwrap(),
    }
}
