//! An input's end of the pipeline: filters run here, on the input's thread.
//!
//! There are two ways in. [`Link::send`] is for every input: it waits until all outputs that want the
//! batch have room. [`Link::offer`] is for inputs that can read their source again: an output without
//! room declines, and the input reads from there again for that output alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use kansoku_model::{Position, RecordBatch, SourceId};

use super::core::{Core, Lane, Route, Way};
use super::intents::Recovered;
use super::ledger::Ledger;
use super::origin::{Done, Origin};
use super::queue::{Item, Queue};
use super::{
    Acknowledge, AcknowledgeOutputs, InputCounters, Metrics, OutputSet, RateGate, TagMatch,
};
use crate::log;

/// How often an input that waits for room in a spill looks again.
const SPILL_ROOM_EVERY: Duration = Duration::from_millis(50);

/// The agent is stopping: give up quickly, nothing more will be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is stopping")]
pub struct Stopped;

/// What became of an offered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "outputs that declined have to get the batch later"]
pub struct Sent {
    /// These outputs want the batch but have no room. They have got nothing of it and must get
    /// nothing more of this source until the input has sent them the batch again, and in order all
    /// that follows it.
    pub declined: OutputSet,
}

/// An input's end of the pipeline.
pub struct Link {
    /// The input's tag as configured (may contain `*`).
    pub tag: Arc<str>,
    /// Whether the user has given the tag; else it is `NAME.N`.
    pub tag_is_set: bool,
    /// The longest a record may wait before it is sent.
    pub flush: Duration,
    /// Closed when the agent stops: `recv` fails, `select!` on it wakes. Batches are still taken
    /// and acknowledged until `closed`.
    pub stop: Receiver<()>,
    /// Closed when the grace period is over: nothing is taken and nothing acknowledged any more.
    pub closed: Receiver<()>,
    /// What this input counts.
    pub counters: Arc<InputCounters>,
    /// What all parts of the pipeline count.
    pub metrics: Arc<Metrics>,
    pub(super) core: Arc<Core>,
    /// This input's number.
    pub(super) lane: usize,
    /// `storage.type filesystem`.
    pub(super) filesystem: bool,
    pub(super) rate_gate: Option<RateGate>,
}

impl Link {
    /// Filters the batch and hands it to every output whose `match` fits its tag. Blocks while the
    /// input's byte budget (`mem_buf_limit`), the whole (`mem_limit`) or the share of an output that
    /// wants the batch is used up: that is back-pressure. What comes from a source that does not wait
    /// is dropped then, and counted.
    ///
    /// `done` is called once, from any thread, when every matching output has the batch; at once
    /// when there is none or no record is left.
    ///
    /// # Errors
    /// When the agent stops while waiting.
    pub fn send(&self, batch: RecordBatch, done: Option<Acknowledge>) -> Result<(), Stopped> {
        let done = done.map(Done::Whole);
        let outputs = self.core.all_outputs();
        let origin = Arc::new(Origin::new(done, outputs, *batch.source()));
        let lane = &self.core.lanes[self.lane];
        let waiting_for = if lane.spills {
            self.wait_for_spills(&batch)?;
            OutputSet::EMPTY
        } else {
            let wanting = self.core.wanting_of(self.lane, &batch);
            if lane.pushes_out && !self.has_room_in(wanting) {
                self.drop_batch(&batch);
                origin.close(OutputSet::EMPTY);
                return Ok(());
            }
            wanting
        };
        self.pass(batch, outputs, waiting_for, &origin, Way::Send)?;
        Ok(())
    }

    /// Hands the batch to those of `outputs` that want it and have room; the others that want it
    /// decline. Waits only while the whole or the input's own byte budget is used up.
    ///
    /// `done` is called from any thread, perhaps several times, until each of `outputs` that did
    /// not decline has been named once: those that do not want the batch at once, the others when
    /// they have it safely. The input keeps a cursor for each output that declined and sends it what
    /// it missed with [`send_only`](Self::send_only), in order, before it is offered anything else of
    /// the source.
    ///
    /// Only for inputs for which [`can_repeat`](Self::can_repeat) is true.
    ///
    /// # Errors
    /// When the agent stops while waiting.
    pub fn offer(
        &self,
        batch: RecordBatch,
        outputs: OutputSet,
        done: AcknowledgeOutputs,
    ) -> Result<Sent, Stopped> {
        let origin = Arc::new(Origin::new(
            Some(Done::Each(done)),
            outputs,
            *batch.source(),
        ));
        let declined = self.pass(batch, outputs, OutputSet::EMPTY, &origin, Way::Offer)?;
        Ok(Sent { declined })
    }

    /// [`offer`](Self::offer) to one output, for what it missed.
    ///
    /// # Errors
    /// When the agent stops while waiting.
    pub fn send_only(
        &self,
        output: usize,
        batch: RecordBatch,
        done: AcknowledgeOutputs,
    ) -> Result<Sent, Stopped> {
        self.offer(batch, OutputSet::one(output), done)
    }

    /// Writes the batch into the spill of those of `outputs` that want it: for records of a source
    /// that will be gone before an output without room can have them. `done` is called when they are
    /// written, which is at once. Outputs whose spill has no room decline, and all do without
    /// `storage.type filesystem`: then the source has to be kept open, or its records are lost.
    ///
    /// # Errors
    /// When the agent stops while waiting.
    pub fn spill(
        &self,
        batch: RecordBatch,
        outputs: OutputSet,
        done: AcknowledgeOutputs,
    ) -> Result<Sent, Stopped> {
        if !self.filesystem {
            return Ok(Sent { declined: outputs });
        }
        let origin = Arc::new(Origin::new(
            Some(Done::Each(done)),
            outputs,
            *batch.source(),
        ));
        let declined = self.pass(batch, outputs, OutputSet::EMPTY, &origin, Way::Spill)?;
        Ok(Sent { declined })
    }

    /// There is no room for a batch of a source that does not wait.
    fn drop_batch(&self, batch: &RecordBatch) {
        let n_records = batch.n_records() as u64;
        let counter = &self.counters.dropped_records;
        counter.add(n_records);
        if !self.core.lanes[self.lane].drop_report.is_due() {
            return;
        }
        log::warn(
            &format!("input:{}", self.counters.name),
            format_args!(
                "no room for {n_records} records of a source that does not wait: dropped, {} so far; raise mem_buf_limit or set storage.type filesystem",
                counter.get()
            ),
        );
    }

    /// Waits until the spills of the outputs that want a batch take it.
    fn wait_for_spills(&self, batch: &RecordBatch) -> Result<(), Stopped> {
        while !self.core.spills_have_room(self.lane, batch) {
            self.counters.ingestion_paused.set(1);
            match self.closed.recv_timeout(SPILL_ROOM_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Err(Stopped),
            }
        }
        Ok(())
    }

    fn pass(
        &self,
        batch: RecordBatch,
        outputs: OutputSet,
        waiting_for: OutputSet,
        origin: &Arc<Origin>,
        way: Way,
    ) -> Result<OutputSet, Stopped> {
        if let Some(gate) = &self.rate_gate {
            let (records, bytes) = (batch.n_records() as u64, batch.size_bytes() as u64);
            let pausing = |is: bool| self.counters.ingestion_paused.set(u64::from(is));
            let routes = self.core.routed.get(self.lane);
            let pressure = || routes.map_or(0, |r| r.iter().map(|r| r.pressure.get()).sum());
            if !gate.wait((records, bytes), pressure, &self.closed, pausing) {
                return Err(Stopped);
            }
        }
        self.counters.records.add(batch.n_records() as u64);
        self.counters.bytes.add(batch.size_bytes() as u64);
        let ledger = &self.core.ledger;
        let bytes = Ledger::charge_of(&batch);
        let charge = if way == Way::Spill || self.core.lanes[self.lane].spills {
            // Its place is on disk; it stays in memory only if there is room.
            ledger.charge(None, bytes)
        } else if self.core.lanes[self.lane].pushes_out {
            // There was room just now.
            ledger.charge(Some(self.lane), bytes)
        } else {
            // Waited for before the gate is taken; what the filters make of it is charged then.
            let room = ledger.has_room(self.lane, waiting_for);
            self.counters.ingestion_paused.set(u64::from(!room));
            let charge = ledger.wait(self.lane, waiting_for, bytes);
            self.counters.ingestion_paused.set(0);
            charge.ok_or(Stopped)?
        };
        let gate = self.core.enter(self.lane);
        let declined = self.core.pass(self.lane, batch, outputs, origin, way);
        drop(gate);
        drop(charge);
        let used = self.core.ledger.used_by(self.lane);
        self.counters.memory_bytes.set(used);
        Ok(declined)
    }

    /// Whether [`send`](Self::send) would take a batch for all outputs without waiting. An input
    /// that has better things to do than to block asks first; each acknowledgement may make room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.has_room_in(self.core.all_outputs())
    }

    /// Whether [`send_only`](Self::send_only) would be taken without waiting.
    #[must_use]
    pub fn has_room_for(&self, output: usize) -> bool {
        self.has_room_in(OutputSet::one(output))
    }

    fn has_room_in(&self, outputs: OutputSet) -> bool {
        let ledger = &self.core.ledger;
        let room = ledger.has_room(self.lane, outputs);
        self.counters.ingestion_paused.set(u64::from(!room));
        self.counters.memory_bytes.set(ledger.used_by(self.lane));
        room
    }

    /// All outputs of the pipeline.
    #[must_use]
    pub fn outputs(&self) -> OutputSet {
        self.core.all_outputs()
    }

    /// The name of an output, the same after a restart with the same configuration.
    #[must_use]
    pub fn output_name(&self, output: usize) -> &str {
        &self.core.routes[output].name
    }

    /// Whether a record may pass the filters twice, once for each of two outputs. Not with filters
    /// that keep records or count them: then only [`send`](Self::send) may be used.
    #[must_use]
    pub fn can_repeat(&self) -> bool {
        let chain = self.core.chain(self.lane);
        let mut stages = (0..chain.len()).filter_map(|n| chain.stage(n));
        stages.all(|s| s.filter.flush_every().is_none())
    }

    /// Where batches of this source have to end, in order: at these positions requests ended that
    /// were under way when the agent was killed. Whoever reads the source again ends a batch at each
    /// of them, so that a repeated request has the records and the id it had before.
    #[must_use]
    pub fn cuts(&self, source: SourceId) -> Vec<Position> {
        let cuts = self.core.routes.iter().map(|r| r.recovered.cuts(source));
        let cuts: BTreeSet<Position> = cuts.flatten().collect();
        cuts.into_iter().collect()
    }

    /// The ranges of this source's batches in those requests: each comes again as one batch, however
    /// large it is.
    #[must_use]
    pub fn ranges(&self, source: SourceId) -> Vec<(Position, Position)> {
        let ranges = (self.core.routes.iter()).map(|r| r.recovered.ranges(source));
        let ranges: BTreeSet<_> = ranges.flatten().collect();
        ranges.into_iter().collect()
    }

    /// The other sources that had batches in a request together with this one when the agent was
    /// killed: it can be made again only when they are read, too.
    #[must_use]
    pub fn partners(&self, source: SourceId) -> Vec<SourceId> {
        let partners = self
            .core
            .routes
            .iter()
            .map(|r| r.recovered.partners(source));
        let partners: BTreeSet<SourceId> = partners.flatten().collect();
        partners.into_iter().collect()
    }

    /// A link without filters whose batches end in the returned [`Captured`]: for inputs' tests.
    #[must_use]
    pub fn captured(tag: &str, flush: Duration) -> (Self, Captured) {
        Self::captured_by(tag, flush, 1)
    }

    /// The same with several outputs, which all take everything.
    #[must_use]
    pub fn captured_by(tag: &str, flush: Duration, n_outputs: usize) -> (Self, Captured) {
        let queues: Vec<Arc<Queue>> = (0..n_outputs).map(|_| Arc::default()).collect();
        let (stop_sender, stop) = crossbeam_channel::bounded(0);
        let (closed_sender, closed) = crossbeam_channel::bounded(0);
        let route = |(n, queue): (usize, &Arc<Queue>)| Route {
            name: format!("captured.{n}").into(),
            matches: TagMatch::wildcard("*"),
            output: Arc::new(TakesAll),
            processors: Vec::new(),
            queues: vec![queue.clone()],
            spill: None,
            recovered: Recovered::default(),
        };
        let limit = super::DEFAULT_MEM_LIMIT_BYTES;
        let link = Self {
            tag: tag.into(),
            tag_is_set: true,
            flush,
            stop,
            closed,
            counters: Arc::default(),
            metrics: Arc::default(),
            core: Arc::new(Core {
                ledger: Ledger::new(limit, &[(limit, true)], n_outputs),
                lanes: vec![Lane::default()],
                filters: Vec::new(),
                routes: queues.iter().enumerate().map(route).collect(),
                routed: Vec::new(),
                bell: crossbeam_channel::bounded(1).0,
            }),
            lane: 0,
            filesystem: false,
            rate_gate: None,
        };
        let captured = Captured {
            queues,
            stop: Some(stop_sender),
            closed: Some(closed_sender),
        };
        (link, captured)
    }
}

/// The far end of [`Link::captured`].
pub struct Captured {
    queues: Vec<Arc<Queue>>,
    stop: Option<crossbeam_channel::Sender<()>>,
    closed: Option<crossbeam_channel::Sender<()>>,
}

impl Captured {
    /// The batches that came for the first output since the last call, acknowledged.
    pub fn take(&self) -> Vec<Arc<RecordBatch>> {
        self.take_of(0)
    }

    /// The batches that came for one output since the last call, acknowledged.
    pub fn take_of(&self, output: usize) -> Vec<Arc<RecordBatch>> {
        let items = self.queues[output].take_all();
        let take = |i: Item| {
            i.ticket.finish();
            i.batch
        };
        items.into_iter().map(take).collect()
    }

    /// The batches that came since the last call, never to be acknowledged.
    pub fn take_unacknowledged(&self) -> Vec<Arc<RecordBatch>> {
        let items = self.queues[0].take_all();
        items.into_iter().map(|i| i.batch).collect()
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
