//! An input's end of the pipeline: filters run here, on the input's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use kansoku_model::RecordBatch;

use super::budget::Budget;
use super::context::{Emitted, FilterContext, Hold};
use super::delivery::{Acknowledge, Delivery};
use super::queue::{Item, Queue};
use super::{FilterStage, InputCounters, Route, TagMatch};

/// How many batches made of one may start at the first filter again: a rule that retags what it
/// made itself would never end.
const MAX_RETAGS: usize = 64;

/// The agent is stopping: give up quickly, nothing more will be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is stopping")]
pub struct Stopped;

/// An input's end of the pipeline.
pub struct Link {
    /// The input's tag as configured (may contain `*`).
    pub tag: Arc<str>,
    /// The longest a record may wait before it is sent.
    pub flush: Duration,
    /// Closed when the agent stops: `recv` fails, `select!` on it wakes. Batches are still taken
    /// and acknowledged until `closed`.
    pub stop: Receiver<()>,
    /// Closed when the grace period is over: nothing is taken and nothing acknowledged any more.
    pub closed: Receiver<()>,
    /// What this input counts.
    pub counters: Arc<InputCounters>,
    pub(super) budget: Arc<Budget>,
    pub(super) filters: Arc<Vec<FilterStage>>,
    pub(super) routes: Arc<Vec<Route>>,
}

impl Link {
    /// Filters the batch and hands it to every output whose `match` fits its tag. Blocks while the
    /// input's byte budget (`mem_buf_limit`) is used up: that is back-pressure.
    ///
    /// `done` is called once, from any thread, when every matching output has the batch; at once
    /// when there is none or no record is left.
    ///
    /// # Errors
    /// When the agent stops while waiting.
    pub fn send(&self, mut batch: RecordBatch, done: Option<Acknowledge>) -> Result<(), Stopped> {
        self.counters.records.add(batch.n_records() as u64);
        self.counters.bytes.add(batch.size_bytes() as u64);
        let mut context = FilterContext::new(done);
        let emitted = self.filter(&mut batch, 0, &mut context);
        if emitted.is_empty() && context.is_plain() {
            return self.deliver(batch, context.take_done());
        }
        let share = context.share();
        self.deliver(batch, Some(share))?;
        self.emit(emitted, &mut context)?;
        if let Some(origin) = context.take_origin() {
            origin.finish();
        }
        Ok(())
    }

    /// Filters and sends what filters made, and what filters made of that.
    fn emit(
        &self,
        emitted: Vec<(usize, Emitted)>,
        context: &mut FilterContext,
    ) -> Result<(), Stopped> {
        let mut waiting: VecDeque<(usize, Emitted)> = emitted.into();
        let mut n_from_start = 0;
        while let Some((stage, one)) = waiting.pop_front() {
            let Emitted {
                mut batch,
                from_start,
                holds,
            } = one;
            let stage = if from_start && n_from_start < MAX_RETAGS {
                n_from_start += 1;
                0
            } else {
                stage + 1
            };
            let more = self.filter(&mut batch, stage, context);
            waiting.extend(more);
            let share = context.share();
            let done: Acknowledge = Box::new(move || {
                share();
                holds.into_iter().for_each(|Hold(origin)| origin.finish());
            });
            self.deliver(batch, Some(done))?;
        }
        Ok(())
    }

    /// Hands the batch to every output that wants it.
    fn deliver(&self, batch: RecordBatch, done: Option<Acknowledge>) -> Result<(), Stopped> {
        let routes = || {
            let wanted = |r: &&Route| r.matches.fits(batch.tag()) && r.output.takes(&batch);
            self.routes.iter().filter(wanted)
        };
        let n_outputs = if batch.n_records() == 0 {
            0
        } else {
            routes().count()
        };
        if n_outputs == 0 {
            if let Some(done) = done {
                done();
            }
            return Ok(());
        }
        let charge_bytes = Budget::charge_of(batch.size_bytes());
        self.take(charge_bytes)?;
        let delivery = Delivery::new(n_outputs, done, self.budget.clone(), charge_bytes);
        let queues: Vec<Arc<Queue>> = routes()
            .map(|route| {
                let worker = batch.source().id.0 % route.queues.len() as u128;
                route.queues[worker as usize].clone()
            })
            .collect();
        let batch = Arc::new(batch);
        for queue in queues {
            queue.push(Item {
                batch: batch.clone(),
                delivery: delivery.clone(),
            });
        }
        Ok(())
    }

    /// Whether [`send`](Self::send) would take a batch without waiting. An input that has better
    /// things to do than to block asks first; each acknowledgement may make room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let room = self.budget.has_room();
        self.counters.ingestion_paused.set(u64::from(!room));
        self.counters.memory_bytes.set(self.budget.used_bytes());
        room
    }

    fn take(&self, charge_bytes: u64) -> Result<(), Stopped> {
        self.counters
            .ingestion_paused
            .set(u64::from(!self.budget.has_room()));
        let taken = self.budget.take(charge_bytes);
        self.counters.ingestion_paused.set(0);
        self.counters.memory_bytes.set(self.budget.used_bytes());
        if taken { Ok(()) } else { Err(Stopped) }
    }

    /// Runs the filters from number `first` on; what they emit comes back with their numbers.
    fn filter(
        &self,
        batch: &mut RecordBatch,
        first: usize,
        context: &mut FilterContext,
    ) -> Vec<(usize, Emitted)> {
        let mut emitted = Vec::new();
        for (number, stage) in self.filters.iter().enumerate().skip(first) {
            if batch.n_records() == 0 {
                break;
            }
            if !stage.matches.fits(batch.tag()) {
                continue;
            }
            let logs = match batch {
                RecordBatch::Logs(logs) => logs,
                RecordBatch::Metrics(metrics) => {
                    stage.filter.apply_to_metrics(metrics);
                    continue;
                }
            };
            let before = logs.len() as u64;
            stage.counters.records.add(before);
            stage.counters.bytes.add(logs.size_bytes() as u64);
            stage.filter.apply(logs, context);
            let after = logs.len() as u64;
            stage.counters.add_records.add(after.saturating_sub(before));
            stage
                .counters
                .drop_records
                .add(before.saturating_sub(after));
            emitted.extend(context.take_emitted().into_iter().map(|e| (number, e)));
        }
        emitted
    }

    /// A link without filters whose batches end in the returned [`Captured`]: for inputs' tests.
    #[must_use]
    pub fn captured(tag: &str, flush: Duration) -> (Self, Captured) {
        let queue = Arc::new(Queue::default());
        let (stop_sender, stop) = crossbeam_channel::bounded(0);
        let (closed_sender, closed) = crossbeam_channel::bounded(0);
        let link = Self {
            tag: tag.into(),
            flush,
            stop,
            closed,
            counters: Arc::default(),
            budget: Arc::new(Budget::new(super::DEFAULT_MEM_BUF_LIMIT_BYTES)),
            filters: Arc::default(),
            routes: Arc::new(vec![Route {
                matches: TagMatch::wildcard("*"),
                output: Arc::new(TakesAll),
                queues: vec![queue.clone()],
            }]),
        };
        let captured = Captured {
            queue,
            stop: Some(stop_sender),
            closed: Some(closed_sender),
        };
        (link, captured)
    }
}

/// The far end of [`Link::captured`].
pub struct Captured {
    queue: Arc<Queue>,
    stop: Option<crossbeam_channel::Sender<()>>,
    closed: Option<crossbeam_channel::Sender<()>>,
}

impl Captured {
    /// The batches that came since the last call, acknowledged.
    pub fn take(&self) -> Vec<Arc<RecordBatch>> {
        let items = self.queue.take_all();
        let take = |i: Item| {
            i.delivery.finish();
            i.batch
        };
        items.into_iter().map(take).collect()
    }

    /// The batches that came since the last call, never to be acknowledged.
    pub fn take_unacknowledged(&self) -> Vec<Arc<RecordBatch>> {
        self.queue.take_all().into_iter().map(|i| i.batch).collect()
    }

    /// Tells the input to stop.
    pub fn stop(&mut self) {
        self.stop = None;
        self.closed = None;
    }
}

/// Stands where an output's wishes are asked; nothing is ever sent to it.
struct TakesAll;

impl kansoku_outputs::Output for TakesAll {
    fn send<'a>(&'a self, _: kansoku_outputs::Request<'a>) -> kansoku_outputs::SendFuture<'a> {
        Box::pin(std::future::ready(kansoku_outputs::Outcome::Delivered))
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}
