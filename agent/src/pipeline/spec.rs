//! What a pipeline is made of, as the configuration says it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kansoku_outputs::{Output, RetryPolicy};

use super::{OutputSet, RateGate, TagMatch};
use crate::plugin::{Filter, Input};

/// An input's byte budget when `mem_buf_limit` is not set: a few full batches under way, so that
/// reading, encoding and sending overlap.
pub const DEFAULT_MEM_BUF_LIMIT_BYTES: u64 = 8 << 20;

/// Bytes of all batches in memory together when SERVICE `mem_limit` is not set.
pub const DEFAULT_MEM_LIMIT_BYTES: u64 = 2 << 20;

/// An input and how it joins the pipeline.
pub struct InputSpec {
    /// The alias, or `plugin.N`.
    pub name: String,
    /// As configured; may contain `*`, which a file input fills with the path.
    pub tag: String,
    /// Whether the user has given the tag; else it is `NAME.N`.
    pub tag_is_set: bool,
    pub input: Box<dyn Input>,
    /// Bytes of batches that may be unacknowledged before the input has to wait.
    pub mem_buf_limit: Option<u64>,
    /// Filters of this input alone; they run before all others, whatever the tag.
    pub processors: Vec<ProcessorSpec>,
    /// `storage.type filesystem`: what exists nowhere else may be spilled to disk.
    pub filesystem: bool,
    /// The outputs that its routes name, whose stage is the last of `processors`.
    pub routed_to: OutputSet,
    /// `rate_gate`.
    pub rate_gate: Option<RateGate>,
}

impl InputSpec {
    /// An input without processors, with all limits as they are by default.
    #[must_use]
    pub fn new(name: String, tag: String, input: Box<dyn Input>) -> Self {
        Self {
            name,
            tag,
            tag_is_set: true,
            input,
            mem_buf_limit: None,
            processors: Vec::new(),
            filesystem: false,
            routed_to: OutputSet::EMPTY,
            rate_gate: None,
        }
    }
}

/// A filter that belongs to one input or one output.
pub struct ProcessorSpec {
    /// The alias, or `plugin.N`.
    pub name: String,
    pub filter: Box<dyn Filter>,
}

/// A filter and the tags it sees.
pub struct FilterSpec {
    /// The alias, or `plugin.N`.
    pub name: String,
    pub matches: TagMatch,
    pub filter: Box<dyn Filter>,
}

/// An output and the tags it gets.
pub struct OutputSpec {
    /// The alias, or `plugin.N`.
    pub name: String,
    pub matches: TagMatch,
    pub output: Arc<dyn Output>,
    pub retry: RetryPolicy,
    /// Requests in flight at the most; one source always stays with one worker. 0 counts as 1.
    pub workers: usize,
    /// Filters of this output alone: they run last, on a copy of the batch, whatever the tag.
    pub processors: Vec<ProcessorSpec>,
    /// `storage.total_limit_size`: how much may be spilled for it; `None` = no limit.
    pub total_limit_bytes: Option<u64>,
}

impl OutputSpec {
    /// An output with one worker and without processors.
    #[must_use]
    pub fn new(name: String, matches: TagMatch, output: Arc<dyn Output>) -> Self {
        Self {
            name,
            matches,
            output,
            retry: RetryPolicy::default(),
            workers: 1,
            processors: Vec::new(),
            total_limit_bytes: None,
        }
    }
}

/// The `storage.*` keys of SERVICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSpec {
    /// `storage.sync full`: what is spilled is on the disk before it is acknowledged, so that it
    /// survives a power failure. Else it is written at once (which survives kill -9) and synced
    /// once a second.
    pub sync_full: bool,
    /// `storage.checksum`: whether what was spilled is checked when it is read back.
    pub checksum: bool,
    /// `storage.max_chunks_up`: how many spilled batches may be in memory.
    pub max_chunks_up: usize,
    /// `storage.backlog.mem_limit`: how many bytes of spilled batches may be in memory.
    pub backlog_mem_bytes: u64,
    /// `storage.keep.rejected`: whether undeliverable records go to dead letters.
    pub keep_rejected: bool,
    /// `storage.rejected.path`, below `storage.path` when it is relative.
    pub rejected_path: PathBuf,
    /// `storage.rejected.limit`: bytes of dead letters of one output.
    pub rejected_limit_bytes: u64,
    /// `storage.delete_irrecoverable_chunks`: delete damaged segments instead of keeping them aside.
    pub delete_irrecoverable: bool,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            sync_full: false,
            checksum: true,
            max_chunks_up: 128,
            backlog_mem_bytes: 5_000_000,
            keep_rejected: true,
            rejected_path: "rejected".into(),
            rejected_limit_bytes: 256 << 20,
            delete_irrecoverable: false,
        }
    }
}

/// Everything a pipeline is made of.
pub struct PipelineSpec {
    pub inputs: Vec<InputSpec>,
    /// In the order in which they run.
    pub filters: Vec<FilterSpec>,
    pub outputs: Vec<OutputSpec>,
    /// SERVICE `flush`: the longest a record waits in an input.
    pub flush: Duration,
    /// SERVICE `grace`: how long outputs may drain after the agent was told to stop.
    pub grace: Duration,
    /// SERVICE `storage.path`: spilled batches, dead letters and intents live there.
    pub storage_path: Option<PathBuf>,
    /// Where intents live when there is no `storage.path`: beside the database of offsets.
    pub state_path: Option<PathBuf>,
    pub storage: StorageSpec,
    /// SERVICE `mem_limit`: bytes of all batches in memory together.
    pub mem_limit_bytes: u64,
    /// Where it comes from; `None` without a configuration file.
    pub config_file: Option<ConfigFile>,
}

/// Which configuration file it is, with its includes. Two agents with the same text have the same, whatever their variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    pub path: String,
    /// The first 12 hexadecimal digits of the SHA-256 of all that was read.
    pub sha256: String,
}

impl Default for PipelineSpec {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            filters: Vec::new(),
            outputs: Vec::new(),
            flush: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            storage_path: None,
            state_path: None,
            storage: StorageSpec::default(),
            mem_limit_bytes: DEFAULT_MEM_LIMIT_BYTES,
            config_file: None,
        }
    }
}
