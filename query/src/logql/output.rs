//! What a query gives back: streams of entries, a vector or a matrix, each with its statistics.
//!
//! Plain data; `json` writes it in Loki's shape.

use kansoku_model::Labels;

/// What answering cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Entries looked at within the queried time.
    pub entries_read: u64,
    /// Bytes of their lines and of their structured metadata.
    pub bytes_read: u64,
    /// The part of `bytes_read` that was structured metadata.
    pub metadata_bytes_read: u64,
    /// Entries that passed every stage.
    pub entries_passed: u64,
    /// Blocks that were decoded.
    pub blocks_read: u64,
    /// Entries (log query) or points (metric query) in the answer.
    pub entries_returned: u64,
}

/// The labels of an entry, by where they come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LabelGroups {
    /// Everything below as one set: what Loki calls the stream unless asked for categories.
    pub all: Labels,
    /// Labels of the stored stream.
    pub stream: Labels,
    /// Structured metadata.
    pub metadata: Labels,
    /// What stages extracted.
    pub parsed: Labels,
}

impl LabelGroups {
    /// Memory of the texts.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let groups = [&self.all, &self.stream, &self.metadata, &self.parsed];
        groups.iter().map(|labels| labels.as_bytes().len()).sum()
    }
}

/// One log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub time_ns: i64,
    /// Mostly but not surely UTF-8.
    pub line: Box<[u8]>,
}

/// Entries with the same final labels, in the order asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub labels: LabelGroups,
    pub entries: Vec<Entry>,
}

/// The answer to a log query: streams in order of their labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Streams {
    pub streams: Vec<Stream>,
    pub backward: bool,
    pub statistics: Statistics,
}

/// Memory of an entry or a stream besides its texts, and of what of it is not text in an answer.
const ENTRY_BYTES: usize = 64;
/// The text of an answer stands in memory twice: in an envelope, and before that without.
const TEXTS: usize = 2;

impl Streams {
    /// About what it and its text take in memory.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let of_entry = |entry: &Entry| (1 + TEXTS) * (entry.line.len() + ENTRY_BYTES);
        let of_stream = |stream: &Stream| {
            let entries: usize = stream.entries.iter().map(of_entry).sum();
            entries + (1 + TEXTS) * (stream.labels.n_bytes() + ENTRY_BYTES)
        };
        self.streams.iter().map(of_stream).sum()
    }
}

/// One value of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub time_ns: i64,
    pub value: f64,
}

/// What a metric query gives at one time.
#[derive(Debug, Clone, PartialEq)]
pub enum InstantValue {
    Scalar { time_ns: i64, value: f64 },
    Vector(Vec<Sample>),
}

/// The answer to an instant metric query.
#[derive(Debug, Clone, PartialEq)]
pub struct Instant {
    pub value: InstantValue,
    pub statistics: Statistics,
}

/// One line of a matrix: times in nanoseconds and values, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub points: Vec<(i64, f64)>,
}

/// The answer to a range metric query: series in order of their labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    pub series: Vec<Series>,
    pub statistics: Statistics,
}

/// About what a point and its text take in memory.
const POINT_BYTES: usize = 16 + TEXTS * 32;

impl Matrix {
    /// About what it and its text take in memory.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let of = |one: &Series| {
            one.points.len() * POINT_BYTES
                + (1 + TEXTS) * (one.labels.as_bytes().len() + ENTRY_BYTES)
        };
        self.series.iter().map(of).sum()
    }
}

impl Instant {
    /// About what it and its text take in memory.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let of =
            |one: &Sample| POINT_BYTES + (1 + TEXTS) * (one.labels.as_bytes().len() + ENTRY_BYTES);
        match &self.value {
            InstantValue::Scalar { .. } => POINT_BYTES,
            InstantValue::Vector(samples) => samples.iter().map(of).sum(),
        }
    }
}
