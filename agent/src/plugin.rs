//! What an input and a filter are to the agent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{LogBatch, Plugin};

use crate::pipeline::Link;

/// A source of records. It runs on a thread of its own.
pub trait Input: Send {
    /// Reads and sends until the link says stop, or until the source has ended.
    ///
    /// # Errors
    /// Only what makes the whole input useless; anything that may pass is logged and retried.
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()>;
}

/// A step between an input and its outputs; it runs on the input's thread.
pub trait Filter: Send + Sync {
    /// Changes or drops records.
    fn apply(&self, batch: &mut LogBatch);
}

/// What plugins may know of the agent when they are built.
#[derive(Clone, Default)]
pub struct Environment {
    /// The node's name: `NODE_NAME` (downward API), else the host's.
    pub host_name: Arc<str>,
    /// Parsers by name, from the parsers files and the built-in ones.
    pub parsers: Arc<HashMap<String, Arc<kansoku_parsers::line::Parser>>>,
    /// SERVICE `flush`: the longest a record waits in an input.
    pub flush: Duration,
    /// Pods of this node, filled by one watch; empty while there is no cluster.
    pub pods: Arc<crate::kubernetes::Pods>,
}

/// An input as a plugin.
pub type InputPlugin = Plugin<dyn Input, Environment>;
/// A filter as a plugin.
pub type FilterPlugin = Plugin<dyn Filter, Environment>;
