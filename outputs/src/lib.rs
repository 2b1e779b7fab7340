//! Destinations of record batches: one file each, one HTTP client, one retry policy.
//!
//! An output turns batches into its own protocol and says what became of them; it keeps no queue
//! and never retries by itself: the agent's pipeline owns queues, order, retries and dead letters.
#![forbid(unsafe_code)]

pub mod accessor;
pub mod aws;
pub mod aws_call;
pub mod aws_sign;
pub mod azure_blob;
pub mod client;
pub mod cloudwatch_logs;
pub mod compress;
pub mod counter;
pub mod es;
pub mod file;
pub mod flowcounter;
pub mod forward;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gcs;
pub mod gelf;
pub mod http;
pub mod kafka;
pub mod kansoku;
pub mod kinesis_firehose;
pub mod kinesis_streams;
pub mod loki;
pub mod metric_text;
pub mod msgpack;
pub mod net;
pub mod null;
pub mod oauth2;
pub mod object;
pub mod opensearch;
pub mod opentelemetry;
pub mod pool;
pub mod prometheus_exporter;
pub mod prometheus_remote_write;
pub mod proxy;
pub mod render;
pub mod retry;
pub mod rows;
pub mod s3;
pub mod socket;
pub mod splunk;
pub mod stdout;
pub mod syslog;
pub mod tcp;
pub mod tls;
mod token_file;
pub mod tree;
pub mod udp;
pub mod upstream;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kansoku_model::{ConfigError, Place, Plugin, RecordBatch, Settings};

pub use retry::RetryPolicy;

/// What became of the batches of one `send`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All are safe at the destination.
    Delivered,
    /// None is known to be; send the same batches again, not before `after` when that is given.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    /// The request as a whole is too large; halve it and send the parts.
    TooLarge,
    /// The destination will never take these batches.
    Rejected { reason: String },
    /// It is done, but the destination refused `n_records` of them for ever without saying which; 0
    /// when it only had something to say.
    SomeRejected { n_records: u64, reason: String },
    /// The destination answered record by record. What is in neither list is delivered.
    Partial {
        /// To be sent again, not before `after` when that is given.
        retry: Vec<RecordRef>,
        /// Never to be taken, each with the reason.
        rejected: Vec<(RecordRef, String)>,
        /// Why the first of `retry` has to be repeated.
        reason: String,
        after: Option<Duration>,
    },
}

/// One record of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordRef {
    /// Index into [`Request::batches`].
    pub batch: u32,
    /// Row in that batch.
    pub row: u32,
}

/// What one `send` has to deliver.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// In order; never empty.
    pub batches: &'a [Arc<RecordBatch>],
    /// Names this request for ever, in printable ASCII: a repeat, also after a crash of the agent,
    /// has the same id and the same batches. HTTP outputs send it as `Idempotency-Key`.
    pub id: &'a str,
}

/// The answer of [`Output::send`].
pub type SendFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Names the records of a request for ever: the same batches give the same id.
#[must_use]
pub fn request_id(batches: &[Arc<RecordBatch>]) -> String {
    let parts: Vec<String> = batches
        .iter()
        .map(|b| {
            let s = b.source();
            format!(
                "{:032x}-{}.{}-{}.{}",
                s.id.0, s.from.offset, s.from.ordinal, s.to.offset, s.to.ordinal
            )
        })
        .collect();
    match parts.as_slice() {
        [one] => one.clone(),
        _ => {
            // An id only has to tell the requests of one agent apart: a plain hash does.
            let text = parts.join(",");
            let first = &parts[0];
            format!(
                "{first}+{}-{:016x}",
                parts.len() - 1,
                fnv64(text.as_bytes())
            )
        }
    }
}

fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A destination.
pub trait Output: Send + Sync {
    /// Delivers the request's batches in order, in one exchange where the protocol allows it. The
    /// rendering depends on nothing but the request, so that a repeat is byte for byte the same.
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a>;

    /// Begins what the output does by itself. Called once, before the first `send`, when its pipeline
    /// starts: not under `--dry-run`, and in a reload not before the old pipeline is gone.
    ///
    /// # Errors
    /// When it cannot begin.
    fn start(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// How many bytes of batches one `send` should get at the most; a single larger batch is
    /// still handed over whole.
    fn max_request_bytes(&self) -> usize {
        1 << 20
    }

    /// Whether the destination drops records that come again by itself, by their source and position:
    /// then no note is kept of what was sent.
    fn drops_repeats(&self) -> bool {
        false
    }

    /// Whether the output has a use for this batch; others are acknowledged without a send.
    fn takes(&self, batch: &RecordBatch) -> bool;
}

/// What outputs may know of the agent.
#[derive(Debug, Clone, Default)]
pub struct OutputEnvironment {
    /// The node's name.
    pub host_name: String,
    /// `kansoku-agent/x.y.z`, the HTTP User-Agent.
    pub user_agent: String,
    /// What the `upstream` option may name: nodes to spread the load over, by name.
    pub upstreams: std::collections::HashMap<String, Arc<Upstream>>,
    /// SERVICE `json.escape_unicode`.
    pub unicode: Unicode,
    /// What plugins have to say about settings that work, but not as one might think. The caller
    /// takes them out after a build.
    pub warnings: Warnings,
}

impl OutputEnvironment {
    /// Tells the user something about a setting that does no harm.
    pub fn warn(&self, place: &Place, message: impl Into<String>) {
        self.warnings.add(ConfigError::new(place, message));
    }
}

/// How JSON shows what lies beyond ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unicode {
    /// As UTF-8.
    #[default]
    Plain,
    /// As `\u00e9`, and as surrogate pairs: what Fluent Bit does unless told otherwise.
    Escaped,
}

impl Unicode {
    /// Finishes the JSON behind `from`.
    pub fn apply(self, json: &mut Vec<u8>, from: usize) {
        if self == Self::Escaped {
            kansoku_model::json::escape_unicode(json, from);
        }
    }
}

/// Warnings of plugins that were built; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<ConfigError>>>);

impl Warnings {
    /// Adds one.
    pub fn add(&self, warning: ConfigError) {
        let mut warnings = self.0.lock().expect("nobody panics with the lock");
        warnings.push(warning);
    }

    /// Takes out what has come together.
    #[must_use]
    pub fn take(&self) -> Vec<ConfigError> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with the lock"))
    }
}

/// Fluent Bit's `[UPSTREAM]`: nodes that take turns. Each node's settings hold `name`, `host`,
/// `port`, `tls` and whatever else it overrides of the output's own.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    pub name: String,
    pub nodes: Vec<Settings>,
}

/// An output as a plugin.
pub type OutputPlugin = Plugin<dyn Output, OutputEnvironment>;

/// Every output, in the order of the documentation.
pub const ALL: &[&OutputPlugin] = &[
    &kansoku::PLUGIN,
    &http::PLUGIN,
    &es::PLUGIN,
    &opensearch::PLUGIN,
    &loki::PLUGIN,
    &splunk::PLUGIN,
    &opentelemetry::PLUGIN,
    &prometheus_remote_write::PLUGIN,
    &prometheus_exporter::PLUGIN,
    &stdout::PLUGIN,
    &file::PLUGIN,
    &null::PLUGIN,
    &counter::PLUGIN,
    &flowcounter::PLUGIN,
    &forward::PLUGIN,
    &kafka::PLUGIN,
    &s3::PLUGIN,
    &cloudwatch_logs::PLUGIN,
    &kinesis_streams::PLUGIN,
    &kinesis_firehose::PLUGIN,
    &azure_blob::PLUGIN,
    &gcs::PLUGIN,
    &syslog::PLUGIN,
    &gelf::PLUGIN,
    &tcp::PLUGIN,
    &udp::PLUGIN,
];
