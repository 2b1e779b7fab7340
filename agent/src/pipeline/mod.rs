//! From inputs through filters to outputs: bounded, in order per source, acknowledged.
//!
//! Every input runs on a thread of its own and hands batches to its [`Link`], which filters them and
//! puts them into the queue of every output that matches. Each output has tasks on the tokio runtime
//! that send, retry and, in the last resort, write dead letters. A batch is acknowledged to its
//! input once every matching output is done with it; only then may an input move its offsets.
//!
//! The rule: memory is bounded by one ledger of bytes and nothing is ever dropped silently.

mod chain;
mod context;
mod core;
mod counters;
mod dead_letters;
pub(crate) mod intents;
mod keeper;
mod ledger;
mod link;
mod locks;
mod origin;
mod outputs;
mod queue;
mod rate_gate;
mod route;
mod running;
mod sender;
mod spec;
mod spool;
#[cfg(test)]
mod tests;
mod ticket;

pub use context::{Emitted, FilterContext, Hold};
pub use counters::{
    Counter, FilterCounters, InputCounters, LATENCY_BUCKETS_MS, Latency, Metrics, OutputCounters,
    OutputStatus, Probe, RouteCounters, StorageStatus,
};
pub use dead_letters::DeadLetters;
pub use link::{Captured, Link, Sent, Stopped};
pub use outputs::{Acknowledge, AcknowledgeOutputs, MAX_OUTPUTS, OutputSet};
pub use rate_gate::RateGate;
pub use route::TagMatch;
pub use running::{Running, Stopper, start};
pub use spec::{
    ConfigFile, DEFAULT_MEM_BUF_LIMIT_BYTES, DEFAULT_MEM_LIMIT_BYTES, FilterSpec, InputSpec,
    OutputSpec, PipelineSpec, ProcessorSpec, StorageSpec,
};
