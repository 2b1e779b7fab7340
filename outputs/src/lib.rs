//! Destinations of record batches: one file each, one HTTP client, one retry policy.
//!
//! An output turns batches into its own protocol and says what became of them; it keeps no queue
//! and never retries by itself: the agent's pipeline owns queues, order, retries and dead letters.
#![forbid(unsafe_code)]

pub mod client;
pub mod file;
pub mod http;
pub mod kansoku;
pub mod metric_text;
pub mod msgpack;
pub mod null;
pub mod render;
pub mod retry;
pub mod stdout;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{Plugin, RecordBatch};

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
}

/// The answer of [`Output::send`].
pub type SendFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A destination.
pub trait Output: Send + Sync {
    /// Delivers `batches` in order, in one request where the protocol allows it. The rendering
    /// depends on nothing but the batches, so that a repeat is byte for byte the same.
    fn send<'a>(&'a self, batches: &'a [Arc<RecordBatch>]) -> SendFuture<'a>;

    /// How many bytes of batches one `send` should get at the most; a single larger batch is
    /// still handed over whole.
    fn max_request_bytes(&self) -> usize {
        1 << 20
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
}

/// An output as a plugin.
pub type OutputPlugin = Plugin<dyn Output, OutputEnvironment>;

/// Every output, in the order of the documentation.
pub const ALL: &[&OutputPlugin] = &[
    &kansoku::PLUGIN,
    &http::PLUGIN,
    &stdout::PLUGIN,
    &file::PLUGIN,
    &null::PLUGIN,
];
