//! Wire formats that others speak: remote write 1.0, Loki push, forward, OTLP, Prometheus text.
//!
//! Not here: HTTP. A decoder takes the request's body and gives batches, or says at which byte it
//! stopped and what stood there. Texts are borrowed from the body until they are in a batch.

pub mod certificate;
pub mod compressed;
pub mod dbus;
pub mod dns;
pub mod forward;
pub mod json_stream;
pub mod loki_discover;
pub mod loki_json;
pub mod loki_labels;
pub mod loki_push;
pub mod msgpack;
pub mod ntp;
pub mod otlp;
pub mod prometheus_protobuf;
pub mod prometheus_text;
pub mod protobuf;
pub mod records;
pub mod remote_read;
pub mod remote_write;
pub mod snappy;
pub mod syslog;
pub mod xml_rpc;

/// Why a body is not what it should be, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct WireError {
    /// Offset in the decompressed body.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
}

impl WireError {
    fn new(offset: usize, what: impl Into<String>) -> Self {
        Self {
            offset,
            what: what.into(),
        }
    }
}

/// The times that are taken, Unix milliseconds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub oldest_ms: i64,
    pub newest_ms: i64,
}

/// Milliseconds whose nanoseconds still fit 64 bits (the years 1677 to 2262).
const TIME_MAX_MS: i64 = i64::MAX / 1_000_000;

impl Window {
    /// Every time that can be stored.
    pub const ANY: Self = Self {
        oldest_ms: -TIME_MAX_MS,
        newest_ms: TIME_MAX_MS,
    };

    /// Whether a time is taken.
    #[must_use]
    pub fn holds(self, time_ms: i64) -> bool {
        (self.oldest_ms..=self.newest_ms).contains(&time_ms)
    }
}

/// Records of a request that were not taken while the others were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// How many records.
    pub count: usize,
    /// The reason for the first of them.
    pub first: Option<String>,
}

impl Refused {
    fn add(&mut self, count: usize, reason: impl FnOnce() -> String) {
        self.count += count;
        self.first.get_or_insert_with(reason);
    }
}
