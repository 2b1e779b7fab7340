//! From inputs through filters to outputs: bounded, in order per source, acknowledged.
//!
//! Every input runs on a thread of its own and hands batches to its [`Link`], which filters them and
//! puts them into the queue of every output that matches. Each output has tasks on the tokio runtime
//! that send, retry and, in the last resort, write dead letters. A batch is acknowledged to its
//! input once every matching output is done with it; only then may an input move its offsets.
//!
//! The rule: memory is bounded by the inputs' byte budgets and nothing is ever dropped silently.

mod budget;
mod context;
mod counters;
mod dead_letters;
mod delivery;
mod link;
mod queue;
mod route;
mod sender;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use kansoku_outputs::{Output, RetryPolicy};
use tokio::runtime::Handle;

use crate::log;
use crate::plugin::{Filter, Input};
use budget::Budget;
use queue::Queue;

pub use context::{Emitted, FilterContext, Hold};
pub use counters::{Counter, FilterCounters, InputCounters, Metrics, OutputCounters};
pub use dead_letters::DeadLetters;
pub use delivery::Acknowledge;
pub use link::{Captured, Link, Stopped};
pub use route::TagMatch;

/// An input's byte budget when `mem_buf_limit` is not set: a few full batches under way, so that
/// reading, encoding and sending overlap.
pub const DEFAULT_MEM_BUF_LIMIT_BYTES: u64 = 8 << 20;

/// Bytes of all batches in memory together when SERVICE `mem_limit` is not set.
pub const DEFAULT_MEM_LIMIT_BYTES: u64 = 8 << 20;

/// How long inputs may take to return once they have been told that nothing is accepted any more.
const INPUT_EXIT: Duration = Duration::from_secs(2);

/// An input and how it joins the pipeline.
pub struct InputSpec {
    /// The alias, or `plugin.N`.
    pub name: String,
    /// As configured; may contain `*`, which a file input fills with the path.
    pub tag: String,
    pub input: Box<dyn Input>,
    /// Bytes of batches that may be unacknowledged before the input has to wait.
    pub mem_buf_limit: Option<u64>,
    /// Filters of this input alone; they run before all others, whatever the tag.
    pub processors: Vec<ProcessorSpec>,
    /// `storage.type filesystem`: what exists nowhere else may be spilled to disk.
    pub filesystem: bool,
}

impl InputSpec {
    /// An input without processors, with all limits as they are by default.
    #[must_use]
    pub fn new(name: String, tag: String, input: Box<dyn Input>) -> Self {
        Self {
            name,
            tag,
            input,
            mem_buf_limit: None,
            processors: Vec::new(),
            filesystem: false,
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
        }
    }
}

/// A filter in place.
struct FilterStage {
    matches: TagMatch,
    filter: Box<dyn Filter>,
    counters: Arc<FilterCounters>,
}

/// An output as the inputs see it: whom it wants, and its workers' queues.
struct Route {
    matches: TagMatch,
    output: Arc<dyn Output>,
    queues: Vec<Arc<Queue>>,
}

/// Tells a running pipeline to stop, from any thread.
#[derive(Clone)]
pub struct Stopper {
    /// Holds the sender whose end means "stop"; taken once.
    stop: Arc<Mutex<Option<Sender<()>>>>,
}

impl Stopper {
    /// Asks the inputs to stop; [`Running::wait`] then drains the outputs.
    pub fn stop(&self) {
        drop(
            self.stop
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// How one input's thread ended.
struct Ended {
    name: String,
    result: anyhow::Result<()>,
}

/// A pipeline at work.
pub struct Running {
    stopper: Stopper,
    stop: Receiver<()>,
    /// Dropped when nothing is accepted any more.
    closed: Sender<()>,
    budgets: Vec<Arc<Budget>>,
    ended: Receiver<Ended>,
    queues: Vec<Arc<Queue>>,
    senders: Vec<tokio::task::JoinHandle<()>>,
    metrics: Arc<Metrics>,
    grace: Duration,
    runtime: Handle,
}

/// Starts the threads of the inputs and, on `runtime`, the tasks of the outputs.
///
/// # Errors
/// When a thread cannot be started.
pub fn start(spec: PipelineSpec, runtime: &Handle) -> anyhow::Result<Running> {
    let mut metrics = Metrics::default();
    let filters: Vec<FilterStage> = (spec.filters.into_iter())
        .map(|f| FilterStage {
            matches: f.matches,
            filter: f.filter,
            counters: metrics.add_filter(&f.name),
        })
        .collect();
    let (mut routes, mut senders, mut queues) = (Vec::new(), Vec::new(), Vec::new());
    for output in spec.outputs {
        let counters = metrics.add_output(&output.name);
        let folder = spec.storage_path.as_ref().map(|p| p.join("rejected"));
        let dead_letters = Arc::new(DeadLetters::new(folder, &output.name));
        let own: Vec<Arc<Queue>> = (0..output.workers.max(1)).map(|_| Arc::default()).collect();
        for queue in &own {
            let sender = sender::Sender {
                name: output.name.clone(),
                output: output.output.clone(),
                retry: output.retry,
                queue: queue.clone(),
                counters: counters.clone(),
                dead_letters: dead_letters.clone(),
            };
            senders.push(runtime.spawn(sender.run()));
        }
        queues.extend(own.iter().cloned());
        routes.push(Route {
            matches: output.matches,
            output: output.output,
            queues: own,
        });
    }
    let (filters, routes) = (Arc::new(filters), Arc::new(routes));
    let (stop_sender, stop) = crossbeam_channel::bounded(0);
    let (closed, closed_receiver) = crossbeam_channel::bounded(0);
    let (ended_sender, ended) = crossbeam_channel::unbounded();
    let mut budgets = Vec::new();
    for input in spec.inputs {
        let budget = Arc::new(Budget::new(
            input.mem_buf_limit.unwrap_or(DEFAULT_MEM_BUF_LIMIT_BYTES),
        ));
        budgets.push(budget.clone());
        let link = Link {
            tag: input.tag.into(),
            flush: spec.flush,
            stop: stop.clone(),
            closed: closed_receiver.clone(),
            counters: metrics.add_input(&input.name),
            budget,
            filters: filters.clone(),
            routes: routes.clone(),
        };
        start_input(input.name, input.input, link, ended_sender.clone())?;
    }
    Ok(Running {
        stopper: Stopper {
            stop: Arc::new(Mutex::new(Some(stop_sender))),
        },
        stop,
        closed,
        budgets,
        ended,
        queues,
        senders,
        metrics: Arc::new(metrics),
        grace: spec.grace,
        runtime: runtime.clone(),
    })
}

fn start_input(
    name: String,
    input: Box<dyn Input>,
    link: Link,
    ended: Sender<Ended>,
) -> anyhow::Result<()> {
    let thread_name = name.clone();
    std::thread::Builder::new()
        .name(thread_name)
        .spawn(move || {
            // A panic is a bug of ours; it must end this input with a message, not hang the agent.
            let run = std::panic::AssertUnwindSafe(|| input.run(link));
            let result = std::panic::catch_unwind(run)
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the input's thread panicked")));
            if let Err(error) = &result {
                log::error(&format!("input:{name}"), format_args!("stopped: {error:#}"));
            }
            // The receiver is gone only when the agent is already leaving.
            let _ = ended.send(Ended { name, result });
        })?;
    Ok(())
}

impl Running {
    /// A handle that stops this pipeline.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The counters of all parts, for the HTTP server.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Blocks until every input has ended by itself, or until [`Stopper::stop`] was called and the
    /// outputs have drained for at most `grace`. Must not be called on a runtime's thread.
    ///
    /// # Errors
    /// The first input that ended with an error.
    pub fn wait(self) -> anyhow::Result<()> {
        let mut n_running = self.budgets.len();
        let mut first_error = None;
        let mut deadline: Option<Instant> = None;
        let mut closed = Some(self.closed);
        // Once the deadline is set the stop channel would be ready for ever.
        let mut stop = self.stop.clone();
        while n_running > 0 {
            let patience = match deadline {
                None => crossbeam_channel::never(),
                Some(at) => crossbeam_channel::at(at),
            };
            crossbeam_channel::select! {
                recv(self.ended) -> ended => match ended {
                    Ok(Ended { name, result }) => {
                        n_running -= 1;
                        if let Err(error) = result {
                            first_error.get_or_insert(error.context(format!("input {name}")));
                        }
                    }
                    Err(_) => break,
                },
                recv(stop) -> _ => {
                    stop = crossbeam_channel::never();
                    deadline = Some(Instant::now() + self.grace);
                }
                recv(patience) -> _ => {
                    // First "nothing is accepted any more", then leave even those behind who hang.
                    if closed.take().is_none() {
                        break;
                    }
                    self.budgets.iter().for_each(|b| b.close());
                    deadline = Some(Instant::now() + INPUT_EXIT);
                }
            }
        }
        for queue in &self.queues {
            queue.close();
        }
        // Inputs that ended by themselves have nobody who could deliver later: no deadline then.
        let grace = self.grace;
        let senders = self.senders;
        self.runtime.block_on(async move {
            let stopped = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => {
                        wait_for_stop(stop).await;
                        tokio::time::sleep(grace).await;
                    }
                }
            };
            tokio::pin!(stopped);
            for mut sender in senders {
                tokio::select! {
                    _ = &mut sender => {}
                    () = &mut stopped => sender.abort(),
                }
            }
        });
        first_error.map_or(Ok(()), Err)
    }
}

/// Looks ten times a second whether the stop channel has ended: only while leaving.
async fn wait_for_stop(stop: Receiver<()>) {
    while stop.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
