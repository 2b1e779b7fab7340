//! What an input and a filter are to the agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{ConfigError, LogBatch, MetricBatch, Place, Plugin};
use kansoku_parsers::line::pattern::Pattern;

use crate::config::catalogue::Catalogue;
use crate::pipeline::Link;
pub use crate::pipeline::{Emitted, FilterContext, Hold};

/// A source of records. It runs on a thread of its own.
pub trait Input: Send {
    /// Reads and sends until the link says stop, or until the source has ended.
    ///
    /// # Errors
    /// Only what makes the whole input useless; anything that may pass is logged and retried.
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()>;

    /// Whether what was not acknowledged can be read again, also after a restart. What cannot is
    /// spilled before it is sent when `storage.type` is `filesystem`.
    fn can_reread(&self) -> bool {
        false
    }

    /// Databases that no other agent may use meanwhile.
    fn databases(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Whether the source waits while nothing is taken. What does not wait (datagrams, a collector's
    /// ticks) pushes the oldest out of a spill that has reached `storage.total_limit_size`; without a
    /// spill it is dropped while there is no room, and counted.
    fn can_wait(&self) -> bool {
        true
    }
}

/// A step between an input and its outputs; it runs on the input's thread.
pub trait Filter: Send + Sync {
    /// Changes or drops records. What it makes besides (records under another tag, metrics) goes to
    /// `context`, as does the wish to keep records for later.
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext);

    /// Changes metrics; most filters leave them alone.
    fn apply_to_metrics(&self, _batch: &mut MetricBatch) {}

    /// How often [`flush`](Self::flush) wants to be called; `None` for filters that keep nothing.
    fn flush_every(&self) -> Option<Duration> {
        None
    }

    /// Emits what was kept for long enough. Never runs at the same time as `apply` for records of
    /// the same input. With `all` everything has to go: the input ends.
    fn flush(&self, _all: bool, _context: &mut FilterContext) {}

    /// Shows `visit` every pattern it asks: what they give up on is counted and reported.
    fn patterns(&self, _visit: &mut dyn FnMut(&Pattern)) {}

    /// Whether it makes several records of one ([`LogBatch::repeat_rows`]). Then the positions of all
    /// records are spread, also of those that it does not see.
    fn splits(&self) -> bool {
        false
    }
}

/// What plugins may know of the agent when they are built.
#[derive(Clone)]
pub struct Environment {
    /// The node's name: `NODE_NAME` (downward API), else the host's.
    pub host_name: Arc<str>,
    /// The agent's own pod.
    pub own_pod: OwnPod,
    /// Parsers by name, from the parsers files and the built-in ones.
    pub parsers: Arc<Catalogue<kansoku_parsers::line::Parser>>,
    /// Multiline parsers by name in lower case; see [`crate::config::find_multiline`].
    pub multilines: Arc<Catalogue<kansoku_parsers::line::multiline::Multiline>>,
    /// SERVICE `multiline_buffer_limit`: the most bytes of one joined record.
    pub multiline_limit_bytes: usize,
    /// What plugins have to say about settings that work, but not as one might think. Clones share
    /// them; the caller takes them out after a build.
    pub warnings: kansoku_outputs::Warnings,
    /// SERVICE `flush`: the longest a record waits in an input.
    pub flush: Duration,
    /// Pods of this node, filled by one watch; empty while there is no cluster.
    pub pods: Arc<crate::kubernetes::Pods>,
    /// The state of the cluster's objects that inputs keep, for the HTTP server.
    pub kube_state: Arc<crate::kube_state::Shown>,
}

/// The pod that the agent runs in, by `POD_NAMESPACE` and `POD_NAME` (downward API); empty outside of one.
#[derive(Debug, Default, Clone)]
pub struct OwnPod {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            host_name: Arc::default(),
            own_pod: OwnPod::default(),
            parsers: Arc::default(),
            multilines: Arc::default(),
            multiline_limit_bytes: kansoku_parsers::line::multiline::DEFAULT_LIMIT_BYTES,
            warnings: kansoku_outputs::Warnings::default(),
            flush: Duration::default(),
            pods: Arc::default(),
            kube_state: Arc::default(),
        }
    }
}

impl Environment {
    /// Tells the user something about a setting that does no harm.
    pub fn warn(&self, place: &Place, message: impl Into<String>) {
        self.warnings.add(ConfigError::new(place, message));
    }
}

/// An input as a plugin.
pub type InputPlugin = Plugin<dyn Input, Environment>;
/// A filter as a plugin.
pub type FilterPlugin = Plugin<dyn Filter, Environment>;
