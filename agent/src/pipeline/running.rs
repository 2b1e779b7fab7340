//! A pipeline at work: started, waited for, stopped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::runtime::Handle;

use super::chain::FilterStage;
use super::core::{Core, Lane, Route};
use super::intents::{Intents, Members, Recovered};
use super::keeper::Keeper;
use super::ledger::Ledger;
use super::locks::Locks;
use super::queue::Queue;
use super::spool::{self, Spool};
use super::{
    DEFAULT_MEM_BUF_LIMIT_BYTES, DeadLetters, FilterSpec, InputCounters, Link, MAX_OUTPUTS,
    Metrics, PipelineSpec, ProcessorSpec, RouteCounters, TagMatch, sender,
};
use crate::log;
use crate::plugin::Input;

/// How long inputs may take to return once they have been told that nothing is accepted any more.
const INPUT_EXIT: Duration = Duration::from_secs(2);

/// How often it is asked whether all that was spilled has been read.
const SPILL_DRAINED_EVERY: Duration = Duration::from_millis(20);

/// After a crash, how long an output waits for the batches of a request that was under way, before
/// it sends what it has of them in another way.
const REPEAT_PATIENCE: Duration = Duration::from_secs(10);

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
    closed: Option<Sender<()>>,
    core: Arc<Core>,
    keeper: Option<std::thread::JoinHandle<()>>,
    /// Dropped when the keeper is to end.
    keeper_end: Sender<()>,
    spool: Option<std::thread::JoinHandle<()>>,
    /// Dropped when the spool is to end.
    spool_end: Sender<()>,
    /// Inputs that have not ended.
    n_running: usize,
    /// There never was one: the pipeline delivers what is spilled, and waits to be stopped.
    has_no_inputs: bool,
    first_error: Option<anyhow::Error>,
    ended: Receiver<Ended>,
    queues: Vec<Arc<Queue>>,
    senders: Vec<tokio::task::JoinHandle<()>>,
    metrics: Arc<Metrics>,
    grace: Duration,
    runtime: Handle,
    /// Given back when everything has ended.
    locks: Locks,
}

/// Starts the threads of the inputs and, on `runtime`, the tasks of the outputs.
///
/// # Errors
/// When there are too many outputs or a thread cannot be started.
pub fn start(spec: PipelineSpec, runtime: &Handle) -> anyhow::Result<Running> {
    anyhow::ensure!(
        spec.outputs.len() <= MAX_OUTPUTS,
        "there are {} outputs, but at most {MAX_OUTPUTS} are supported",
        spec.outputs.len()
    );
    let databases = spec.inputs.iter().flat_map(|i| i.input.databases());
    let locks = Locks::take(spec.storage_path.as_deref(), databases.collect())?;
    let mut metrics = Metrics {
        config_file: spec.config_file.clone(),
        ..Metrics::default()
    };
    let filters: Vec<FilterStage> = (spec.filters.into_iter())
        .map(|f| stage(f, &mut metrics))
        .collect();
    let limit = |i: &super::InputSpec| {
        let bytes = i.mem_buf_limit.unwrap_or(DEFAULT_MEM_BUF_LIMIT_BYTES);
        (bytes, i.input.can_wait())
    };
    let limits: Vec<(u64, bool)> = spec.inputs.iter().map(limit).collect();
    let ledger = Ledger::new(spec.mem_limit_bytes, &limits, spec.outputs.len());
    let intents_folder = (spec.storage_path.as_ref()).or(spec.state_path.as_ref());
    let intents_folder = intents_folder.map(|p| p.join("intents"));
    let (mut routes, mut senders, mut queues) = (Vec::new(), Vec::new(), Vec::new());
    for output in spec.outputs {
        let started = output.output.start();
        started.with_context(|| format!("failed to start output {}", output.name))?;
        let counters = metrics.add_output(&output.name);
        counters.workers.set(output.workers.max(1) as u64);
        let folder = (spec.storage_path.as_ref()).filter(|_| spec.storage.keep_rejected);
        let folder = folder.map(|p| p.join(&spec.storage.rejected_path));
        let limit = spec.storage.rejected_limit_bytes;
        let dead_letters = Arc::new(DeadLetters::new(folder, &output.name, limit));
        let own: Vec<Arc<Queue>> = (0..output.workers.max(1)).map(|_| Arc::default()).collect();
        let (intents, recovered) = match &intents_folder {
            Some(folder) if !output.output.drops_repeats() => {
                let (intents, recovered) = Intents::open(folder, &output.name)
                    .with_context(|| format!("failed to open intents in {}", folder.display()))?;
                (Some(intents), recovered)
            }
            _ => (None, Recovered::default()),
        };
        for (worker, queue) in own.iter().enumerate() {
            let mine = |members: &&Members| {
                let first = members.first().map_or(0, |m| m.id.0);
                first % own.len() as u128 == worker as u128
            };
            let requests = recovered.requests.iter().map(|intent| &intent.members);
            let requests = requests.filter(mine).cloned().collect();
            queue.expect(requests, REPEAT_PATIENCE);
            let sender = sender::Sender {
                name: output.name.clone(),
                output: output.output.clone(),
                retry: output.retry,
                queue: queue.clone(),
                counters: counters.clone(),
                dead_letters: dead_letters.clone(),
                intents: intents.clone(),
            };
            senders.push(runtime.spawn(sender.run()));
        }
        queues.extend(own.iter().cloned());
        routes.push(Route {
            name: output.name.as_str().into(),
            matches: output.matches,
            output: output.output,
            processors: processors(output.processors, &mut metrics),
            queues: own,
            spill: match &spec.storage_path {
                Some(path) => {
                    let limit = output.total_limit_bytes;
                    let spill = spool::open(path, &spec.storage, &output.name, limit);
                    Some(spill.context("failed to open the spill")?)
                }
                None => None,
            },
            recovered,
        });
    }
    let (mut lanes, mut inputs) = (Vec::new(), Vec::new());
    for mut input in spec.inputs {
        lanes.push(Lane {
            processors: processors(std::mem::take(&mut input.processors), &mut metrics),
            spills: input.filesystem && !input.input.can_reread(),
            pushes_out: !input.input.can_wait(),
            routed_to: input.routed_to,
            ..Lane::default()
        });
        let counters = metrics.add_input(&input.name);
        inputs.push((input, counters));
    }
    let (bell, bell_rung) = crossbeam_channel::bounded(1);
    let routed = route_counters(&mut metrics);
    let core = Arc::new(Core {
        ledger,
        lanes,
        filters,
        routes,
        routed,
        bell,
    });
    let asked = Arc::downgrade(&core);
    metrics.probe.set(move || {
        let core = asked.upgrade();
        core.map(|core| core.status()).unwrap_or_default()
    });
    let (stop_sender, stop) = crossbeam_channel::bounded(0);
    let (closed, closed_receiver) = crossbeam_channel::bounded(0);
    let (keeper_end, keeper_end_receiver) = crossbeam_channel::bounded(0);
    let (spool_end, spool_end_receiver) = crossbeam_channel::bounded(0);
    let keeper = Keeper::new(core.clone(), stop.clone(), keeper_end_receiver);
    let keeper = if keeper.is_needed() {
        let thread = std::thread::Builder::new().name("keeper".into());
        Some(thread.spawn(move || keeper.run())?)
    } else {
        None
    };
    let is_spilled = inputs.iter().any(|(i, _)| i.filesystem) || core.has_spilled();
    let spool = if is_spilled {
        let spool = Spool {
            core: core.clone(),
            storage: spec.storage,
            bell: bell_rung,
            end: spool_end_receiver,
        };
        let thread = std::thread::Builder::new().name("spool".into());
        Some(thread.spawn(move || spool.run())?)
    } else {
        None
    };
    let metrics = Arc::new(metrics);
    let (ended_sender, ended) = crossbeam_channel::unbounded();
    let n_inputs = inputs.len();
    // Without inputs nobody would hold the other end.
    let ended = if n_inputs == 0 {
        crossbeam_channel::never()
    } else {
        ended
    };
    for (lane, (input, counters)) in inputs.into_iter().enumerate() {
        let link = Link {
            tag: input.tag.into(),
            tag_is_set: input.tag_is_set,
            flush: spec.flush,
            stop: stop.clone(),
            closed: closed_receiver.clone(),
            counters,
            metrics: metrics.clone(),
            core: core.clone(),
            lane,
            filesystem: input.filesystem,
            rate_gate: input.rate_gate,
        };
        start_input(input.name, input.input, link, ended_sender.clone())?;
    }
    Ok(Running {
        stopper: Stopper {
            stop: Arc::new(Mutex::new(Some(stop_sender))),
        },
        stop,
        closed: Some(closed),
        core,
        keeper,
        keeper_end,
        spool,
        spool_end,
        n_running: n_inputs,
        has_no_inputs: n_inputs == 0,
        first_error: None,
        ended,
        queues,
        senders,
        metrics,
        grace: spec.grace,
        runtime: runtime.clone(),
        locks,
    })
}

/// Counters by input and output.
fn route_counters(metrics: &mut Metrics) -> Vec<Vec<Arc<RouteCounters>>> {
    let route = |input: &String, output: &String| {
        Arc::new(RouteCounters {
            input: input.clone(),
            output: output.clone(),
            ..RouteCounters::default()
        })
    };
    let of_input = |input: &Arc<InputCounters>| {
        let outputs = metrics.outputs.iter();
        outputs.map(|o| route(&input.name, &o.name)).collect()
    };
    let all: Vec<Vec<_>> = metrics.inputs.iter().map(of_input).collect();
    metrics.routes = all.iter().flatten().cloned().collect();
    all
}

fn stage(spec: FilterSpec, metrics: &mut Metrics) -> FilterStage {
    FilterStage {
        name: spec.name.as_str().into(),
        matches: spec.matches,
        filter: spec.filter,
        counters: metrics.add_filter(&spec.name),
    }
}

fn processors(specs: Vec<ProcessorSpec>, metrics: &mut Metrics) -> Vec<FilterStage> {
    let stage = |p: ProcessorSpec| FilterStage {
        name: format!("processor {}", p.name).into(),
        matches: TagMatch::wildcard("*"),
        filter: p.filter,
        counters: metrics.add_processor(&p.name),
    };
    specs.into_iter().map(stage).collect()
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

    /// Blocks until a message comes; `None` when all inputs have ended or the pipeline was told to
    /// stop: then only [`wait`](Self::wait) is left to be called.
    pub fn wait_for<T>(&mut self, message: &Receiver<T>) -> Option<T> {
        while self.n_running > 0 || self.has_no_inputs {
            crossbeam_channel::select! {
                recv(self.ended) -> ended => match ended {
                    Ok(ended) => self.note(ended),
                    Err(_) => return None,
                },
                recv(self.stop) -> _ => return None,
                // Nobody can send any more: an ordinary wait.
                recv(message) -> message => return message.ok(),
            }
        }
        None
    }

    /// Lets another pipeline take over: this one's inputs stop reading and send what they have, its
    /// outputs drain for at most `grace`, offsets are saved; then the inputs of `next` begin. What
    /// was not acknowledged by then is read again or lies in the spill. `next` has been built
    /// before, so that a mistake in it leaves this pipeline at work.
    ///
    /// # Errors
    /// When the next pipeline cannot be started.
    pub fn hand_over(self, next: PipelineSpec) -> anyhow::Result<Self> {
        let runtime = self.runtime.clone();
        self.stopper.stop();
        if let Err(error) = self.wait() {
            log::error("pipeline", format_args!("before the reload: {error:#}"));
        }
        start(next, &runtime)
    }

    fn note(&mut self, Ended { name, result }: Ended) {
        self.n_running -= 1;
        if let Err(error) = result {
            let error = error.context(format!("input {name}"));
            self.first_error.get_or_insert(error);
        }
    }

    /// Blocks until every input has ended by itself, or until [`Stopper::stop`] was called and the
    /// outputs have drained for at most `grace`. Must not be called on a runtime's thread.
    ///
    /// # Errors
    /// The first input that ended with an error.
    pub fn wait(mut self) -> anyhow::Result<()> {
        let (deadline, stop) = self.wait_for_inputs();
        drop(self.keeper_end);
        if let Some(keeper) = self.keeper {
            // It has no result; a panic in it has been reported.
            let _ = keeper.join();
        }
        self.core.flush_all();
        // Inputs that ended by themselves wait for what is spilled; else it stays for the next life.
        while deadline.is_none() && self.spool.is_some() && self.core.has_spilled() {
            if stop.recv_timeout(SPILL_DRAINED_EVERY) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        drop(self.spool_end);
        if let Some(spool) = self.spool {
            let _ = spool.join();
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
        drop(self.locks);
        self.first_error.map_or(Ok(()), Err)
    }

    /// Waits for the inputs; returns until when the outputs may drain, and the stop channel as long
    /// as it has not been heard.
    fn wait_for_inputs(&mut self) -> (Option<Instant>, Receiver<()>) {
        let mut deadline: Option<Instant> = None;
        // Once the deadline is set the stop channel would be ready for ever.
        let mut stop = self.stop.clone();
        while self.n_running > 0 || (self.has_no_inputs && deadline.is_none()) {
            let patience = match deadline {
                None => crossbeam_channel::never(),
                Some(at) => crossbeam_channel::at(at),
            };
            crossbeam_channel::select! {
                recv(self.ended) -> ended => match ended {
                    Ok(ended) => self.note(ended),
                    Err(_) => break,
                },
                recv(stop) -> _ => {
                    stop = crossbeam_channel::never();
                    deadline = Some(Instant::now() + self.grace);
                }
                recv(patience) -> _ => {
                    // First "nothing is accepted any more", then leave even those behind who hang.
                    if self.closed.is_none() {
                        break;
                    }
                    self.stop_senders();
                    self.closed = None;
                    self.core.ledger.close();
                    deadline = Some(Instant::now() + INPUT_EXIT);
                }
            }
        }
        (deadline, stop)
    }

    /// Nothing is sent any more. Before the inputs are told that nothing is accepted: what they refuse
    /// then, to clients that will send it again, must not be delivered afterwards.
    fn stop_senders(&mut self) {
        let senders = std::mem::take(&mut self.senders);
        senders.iter().for_each(tokio::task::JoinHandle::abort);
        self.runtime.block_on(async {
            for sender in senders {
                // It was aborted, or had ended.
                let _ = sender.await;
            }
        });
    }
}

/// Looks ten times a second whether the stop channel has ended: only while leaving.
async fn wait_for_stop(stop: Receiver<()>) {
    while stop.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
