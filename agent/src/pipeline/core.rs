//! What all inputs of a pipeline share: filters, outputs with their queues, and the ledger.
//!
//! Each input has a lane with a gate. The rule: whoever passes a batch of an input through filters
//! and into queues holds the input's gate meanwhile and waits for nothing, so that records of one
//! source enter a queue in their order.

use std::cell::OnceCell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use kansoku_model::{RecordBatch, Source, frame};
use kansoku_outputs::Output;

use super::chain::{Chain, FilterStage, Ready};
use super::context::Hold;
use super::intents::{self, Recovered};
use super::ledger::{Charge, Ledger};
use super::origin::{Done, Origin};
use super::queue::{Item, Queue};
use super::ticket::{Carried, Receipt, Ticket};
use super::{FilterContext, OutputSet, OutputStatus, RouteCounters, StorageStatus, TagMatch};
use crate::spill::Spill;

/// How often a spill is asked again that has no room, for a batch that can go nowhere else.
const SPILL_RETRY_EVERY: Duration = Duration::from_millis(100);
/// That records are dropped is told this often.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// An output as the inputs see it: whom it wants, and its workers' queues.
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) matches: TagMatch,
    pub(super) output: Arc<dyn Output>,
    pub(super) processors: Vec<FilterStage>,
    pub(super) queues: Vec<Arc<Queue>>,
    /// With `storage.path`.
    pub(super) spill: Option<Arc<Spill>>,
    /// What was delivered or under way when the agent was killed.
    pub(super) recovered: Recovered,
}

impl Route {
    /// Whether this route, which has this number, wants a batch.
    fn wants(&self, number: usize, batch: &RecordBatch) -> bool {
        let is_for_it = match batch.wanted_by() {
            Some(outputs) => outputs >> number & 1 == 1,
            None => self.matches.fits(batch.tag()),
        };
        batch.n_records() > 0 && is_for_it && self.output.takes(batch)
    }

    pub(super) fn chain(&self) -> Chain<'_> {
        Chain {
            own: &self.processors,
            shared: &[],
        }
    }

    /// Whether a batch must be spilled, to stay behind what is spilled of its source.
    fn is_behind_spill(&self, batch: &RecordBatch) -> bool {
        let source = batch.source().id;
        self.spill.as_ref().is_some_and(|spill| spill.has(source))
    }

    pub(super) fn push(&self, item: Item) {
        let worker = item.batch.source().id.0 % self.queues.len() as u128;
        self.queues[worker as usize].push(item);
    }
}

/// One input's way through the filters.
#[derive(Default)]
pub(super) struct Lane {
    /// Held while a batch of this input is filtered and queued, and by whoever flushes filters.
    pub(super) gate: Mutex<()>,
    pub(super) processors: Vec<FilterStage>,
    /// `storage.type filesystem` of an input that cannot read again: everything is spilled before it
    /// is sent.
    pub(super) spills: bool,
    /// Its source does not wait: the newest pushes out the oldest.
    pub(super) pushes_out: bool,
    /// The outputs that its routes name; they show only behind its processors.
    pub(super) routed_to: OutputSet,
    /// When it was last told that records of such a source were dropped.
    pub(super) drop_report: Report,
}

/// Something that happens too often to be told each time.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Option<Instant>>);

impl Report {
    /// Whether it is to be told now.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// How a batch goes on behind the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To every output that wants it.
    Send,
    /// To outputs that have room; the others decline.
    Offer,
    /// Into the spill of each output that wants it; an output whose spill has no room declines.
    Spill,
}

pub(super) struct Core {
    pub(super) ledger: Arc<Ledger>,
    pub(super) lanes: Vec<Lane>,
    pub(super) filters: Vec<FilterStage>,
    pub(super) routes: Vec<Route>,
    /// Counters by input and output.
    pub(super) routed: Vec<Vec<Arc<RouteCounters>>>,
    /// Rung when something waits in a spill.
    pub(super) bell: Sender<()>,
}

impl Core {
    pub(super) fn all_outputs(&self) -> OutputSet {
        OutputSet::first(self.routes.len())
    }

    pub(super) fn spills(&self) -> impl Iterator<Item = &Arc<Spill>> {
        self.routes.iter().filter_map(|r| r.spill.as_ref())
    }

    /// How inputs and outputs stand, for metrics.
    pub(super) fn status(&self) -> StorageStatus {
        let output = |(number, route): (usize, &Route)| {
            let spill = route.spill.as_ref();
            let in_memory = self.ledger.free_percent(number);
            OutputStatus {
                free_percent: spill.and_then(|s| s.free_percent()).unwrap_or(in_memory),
                spill: spill.map(|s| s.status()),
                spill_dropped_records: spill.map_or(0, |s| s.dropped_records.load(Relaxed)),
                spill_damaged_frames: spill.map_or(0, |s| s.damaged_frames.load(Relaxed)),
            }
        };
        StorageStatus {
            inputs: self.ledger.of_inputs(),
            outputs: self.routes.iter().enumerate().map(output).collect(),
        }
    }

    /// Whether anything waits in a spill.
    pub(super) fn has_spilled(&self) -> bool {
        self.spills().any(|s| s.has_unread())
    }

    /// The outputs that want a batch as it is now.
    pub(super) fn wanting(&self, batch: &RecordBatch) -> OutputSet {
        let wanting = self.routes.iter().enumerate();
        wanting
            .filter(|(n, r)| r.wants(*n, batch))
            .fold(OutputSet::EMPTY, |set, (n, _)| set.with(n))
    }

    /// The outputs that may want a batch of an input as it comes, before any filter.
    pub(super) fn wanting_of(&self, lane: usize, batch: &RecordBatch) -> OutputSet {
        match self.lanes[lane].routed_to {
            OutputSet::EMPTY => self.wanting(batch),
            routed_to => routed_to,
        }
    }

    pub(super) fn enter(&self, lane: usize) -> MutexGuard<'_, ()> {
        let gate = &self.lanes[lane].gate;
        gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn chain(&self, lane: usize) -> Chain<'_> {
        Chain {
            own: &self.lanes[lane].processors,
            shared: &self.filters,
        }
    }

    /// Filters a batch of an input and queues what becomes of it for those of `outputs` that want
    /// it. An output that declines gets nothing of it and is returned.
    pub(super) fn pass(
        &self,
        lane: usize,
        batch: RecordBatch,
        outputs: OutputSet,
        origin: &Arc<Origin>,
        way: Way,
    ) -> OutputSet {
        let mut context = FilterContext::of(origin.clone());
        let ready = self.chain(lane).run(batch, 0, &mut context);
        let declined = (ready.iter())
            .map(|r| self.declining(&r.batch, outputs, way))
            .fold(OutputSet::EMPTY, OutputSet::union);
        let spill = way == Way::Spill || self.lanes[lane].spills;
        let from = From {
            lane: Some(lane),
            spill,
        };
        self.queue(from, ready, outputs.without(declined), origin);
        origin.close(declined);
        declined
    }

    /// Those of `outputs` that want the batch and cannot take it.
    fn declining(&self, batch: &RecordBatch, outputs: OutputSet, way: Way) -> OutputSet {
        let declines = |output: &usize| {
            let route = &self.routes[*output];
            match way {
                Way::Send => false,
                Way::Offer => !self.ledger.output_has_room(*output) || route.is_behind_spill(batch),
                Way::Spill => {
                    let bytes = batch.size_bytes() as u64;
                    route.spill.as_ref().is_none_or(|s| !s.has_room(bytes))
                }
            }
        };
        let wanting = self.wanting(batch).common(outputs);
        let declining = wanting.iter().filter(declines);
        declining.fold(OutputSet::EMPTY, OutputSet::with)
    }

    /// Queues batches that have passed the filters.
    fn queue(&self, from: From, ready: Vec<Ready>, outputs: OutputSet, origin: &Arc<Origin>) {
        for Ready { batch, holds } in ready {
            let root = root_of(origin, &holds);
            let wanting = self.wanting(&batch).common(outputs);
            if wanting.is_empty() {
                holds.into_iter().for_each(Hold::release);
                continue;
            }
            let carried = (!holds.is_empty()).then(|| Carried::new(wanting.len(), holds));
            let parcel = self.parcel(from, batch, root);
            for output in wanting.iter() {
                let receipt = Receipt::Origin {
                    origin: origin.clone(),
                    output,
                    carried: carried.clone(),
                };
                origin.add(output);
                if self.routes[output].processors.is_empty() {
                    self.put(output, &parcel, receipt);
                } else {
                    self.process(output, &parcel, receipt);
                }
            }
        }
    }

    fn parcel(&self, from: From, batch: RecordBatch, root: Source) -> Parcel {
        let bytes = Ledger::charge_of(&batch);
        Parcel {
            batch: Arc::new(batch),
            root,
            from,
            bytes,
            charge: Arc::new(self.ledger.charge(from.lane, bytes)),
            frame: OnceCell::new(),
        }
    }

    /// Gives one output a batch, without what it has got of it before the agent was killed.
    fn put(&self, output: usize, parcel: &Parcel, receipt: Receipt) {
        let source = parcel.batch.source();
        let route = parcel.from.lane.and_then(|lane| self.routed.get(lane));
        if let Some(route) = route.and_then(|outputs| outputs.get(output)) {
            route.records.add(parcel.batch.n_records() as u64);
            route.bytes.add(parcel.batch.size_bytes() as u64);
        }
        match self.routes[output].recovered.marks.get(&source.id) {
            Some(mark) if source.from < *mark => {
                match intents::behind(RecordBatch::clone(&parcel.batch), *mark) {
                    Some(rest) => {
                        let rest = self.parcel(parcel.from, rest, parcel.root);
                        self.put_news(output, &rest, receipt);
                    }
                    None => receipt.give(),
                }
            }
            _ => self.put_news(output, parcel, receipt),
        }
    }

    /// Gives one output a batch: through its queue, or through its spill.
    fn put_news(&self, output: usize, parcel: &Parcel, receipt: Receipt) {
        let route = &self.routes[output];
        let Some(spill) = &route.spill else {
            return self.push(output, parcel, receipt);
        };
        let source = parcel.batch.source().id;
        while parcel.from.spill || spill.has(source) {
            let push_out = match parcel.from.lane {
                Some(lane) => self.lanes[lane].pushes_out,
                None => true,
            };
            let direct = self.ledger.has_room_aside(output);
            let Some(frame) = parcel.frame() else {
                break;
            };
            match spill.append(frame, source, direct, push_out) {
                Ok((place, is_direct)) => {
                    receipt.give();
                    if is_direct {
                        let receipt = Receipt::Spilled(spill.up(place));
                        self.push(output, parcel, receipt);
                    } else {
                        // Full means that it has been rung already.
                        let _ = self.bell.try_send(());
                    }
                    return;
                }
                // Nothing of its source waits in the spill: memory will do, if there is any.
                Err(_) if !spill.has(source) && (!push_out || direct) => break,
                Err(_) if self.ledger.is_closed() => return,
                Err(_) if push_out => {
                    // Everything in the spill is under way, or the disk fails.
                    let n_records = parcel.batch.n_records() as u64;
                    spill.dropped_records.fetch_add(n_records, Relaxed);
                    return receipt.give();
                }
                Err(_) => std::thread::sleep(SPILL_RETRY_EVERY),
            }
        }
        self.push(output, parcel, receipt);
    }

    fn push(&self, output: usize, parcel: &Parcel, receipt: Receipt) {
        let queued = self.ledger.charge_output(output, parcel.bytes);
        let route = parcel.from.lane.and_then(|lane| self.routed.get(lane));
        let route = route.and_then(|outputs| outputs.get(output)).cloned();
        self.routes[output].push(Item {
            batch: parcel.batch.clone(),
            ticket: Ticket::new(parcel.charge.clone(), queued, receipt, route, parcel.root),
        });
    }

    /// Whether the spills of all outputs that want a batch would take it now.
    pub(super) fn spills_have_room(&self, lane: usize, batch: &RecordBatch) -> bool {
        let bytes = batch.size_bytes() as u64;
        let has_room = |o: usize| {
            let spill = self.routes[o].spill.as_ref();
            spill.is_none_or(|s| s.has_room(bytes))
        };
        self.lanes[lane].pushes_out || self.wanting_of(lane, batch).iter().all(has_room)
    }

    /// Reads spilled batches into the queue of one output, as far as there is room and `more` says
    /// so.
    pub(super) fn refill(&self, output: usize, more: impl Fn(&Spill) -> bool) {
        let route = &self.routes[output];
        let Some(spill) = &route.spill else {
            return;
        };
        while self.ledger.has_room_aside(output) && more(spill) {
            let Some((batch, place)) = spill.next() else {
                return;
            };
            let source = batch.source().id;
            let receipt = Receipt::Spilled(spill.up(place));
            let mark = route.recovered.marks.get(&source).copied();
            match intents::behind(batch, mark.unwrap_or_default()) {
                Some(batch) => {
                    let parcel = self.parcel(From::default(), batch, Source::default());
                    self.push(output, &parcel, receipt);
                }
                None => receipt.give(),
            }
            spill.queued(source);
        }
    }

    /// Passes a copy of a batch, which the other outputs must not see changed, through the
    /// processors of `output` and queues what they make of it.
    fn process(&self, output: usize, parcel: &Parcel, receipt: Receipt) {
        let (from, copy) = (parcel.from, RecordBatch::clone(&parcel.batch));
        // The copy has an acknowledgement of its own, as it may become several batches or be kept.
        let done = Done::Whole(Box::new(move || receipt.give()));
        let origin = Arc::new(Origin::new(Some(done), OutputSet::EMPTY, parcel.root));
        let mut context = FilterContext::of(origin.clone());
        let ready = self.routes[output].chain().run(copy, 0, &mut context);
        self.queue_processed(from, output, ready, &origin);
        origin.close(OutputSet::EMPTY);
    }

    /// Queues batches that have passed the processors of `output` for it.
    fn queue_processed(&self, from: From, output: usize, ready: Vec<Ready>, origin: &Arc<Origin>) {
        for Ready { batch, holds } in ready {
            if batch.n_records() == 0 || !self.routes[output].output.takes(&batch) {
                holds.into_iter().for_each(Hold::release);
                continue;
            }
            let root = root_of(origin, &holds);
            let receipt = Receipt::Origin {
                origin: origin.clone(),
                output,
                carried: (!holds.is_empty()).then(|| Carried::new(1, holds)),
            };
            origin.add(output);
            let parcel = self.parcel(from, batch, root);
            self.put(output, &parcel, receipt);
        }
    }

    /// Gives away what the filters of one lane keep, or of one output, or those of all.
    pub(super) fn flush(&self, whose: Whose, number: usize, all: bool) {
        let origin = Arc::new(Origin::new(None, OutputSet::EMPTY, Source::default()));
        let mut context = FilterContext::of(origin.clone());
        let _gates = match whose {
            Whose::Lane(lane) => vec![self.enter(lane)],
            // In the order of their numbers, as everybody who takes more than one does.
            Whose::All | Whose::Output(_) => {
                (0..self.lanes.len()).map(|lane| self.enter(lane)).collect()
            }
        };
        let nobody = From::default();
        match whose {
            Whose::Lane(lane) => {
                let ready = self.chain(lane).flush(number, all, &mut context);
                let from = From {
                    lane: Some(lane),
                    spill: self.lanes[lane].spills,
                };
                self.queue(from, ready, self.all_outputs(), &origin);
            }
            Whose::All => {
                let chain = Chain {
                    own: &[],
                    shared: &self.filters,
                };
                let ready = chain.flush(number, all, &mut context);
                self.queue(nobody, ready, self.all_outputs(), &origin);
            }
            Whose::Output(output) => {
                let ready = self.routes[output].chain().flush(number, all, &mut context);
                self.queue_processed(nobody, output, ready, &origin);
            }
        }
        origin.close(OutputSet::EMPTY);
    }

    /// Flushes everything that filters keep, in the order in which records pass them.
    pub(super) fn flush_all(&self) {
        for whose in self.everybody() {
            for number in 0..self.stages(whose).len() {
                self.flush(whose, number, true);
            }
        }
    }

    /// All who have filters, in the order in which records pass them.
    pub(super) fn everybody(&self) -> impl Iterator<Item = Whose> {
        let lanes = (0..self.lanes.len()).map(Whose::Lane);
        let outputs = (0..self.routes.len()).map(Whose::Output);
        lanes.chain([Whose::All]).chain(outputs)
    }

    pub(super) fn stages(&self, whose: Whose) -> &[FilterStage] {
        match whose {
            Whose::Lane(lane) => &self.lanes[lane].processors,
            Whose::All => &self.filters,
            Whose::Output(output) => &self.routes[output].processors,
        }
    }
}

/// The range of the input's batch that a batch was made of: of the one at hand, or, when the time of
/// kept records is up, of the first of these.
fn root_of(origin: &Origin, holds: &[Hold]) -> Source {
    let kept = holds.first().map(Hold::source);
    let at_hand = Some(origin.source).filter(|source| source.id.is_some());
    at_hand.or(kept).unwrap_or_default()
}

/// Where a batch comes from.
#[derive(Debug, Clone, Copy, Default)]
struct From {
    /// `None` when it was kept by a filter of all, or comes out of a spill.
    lane: Option<usize>,
    /// It has to be spilled before it is sent.
    spill: bool,
}

/// A batch with what it costs, to be given to several outputs.
struct Parcel {
    batch: Arc<RecordBatch>,
    /// The range of the input's batch that it was made of.
    root: Source,
    from: From,
    bytes: u64,
    charge: Arc<Charge>,
    /// Made when it has to be spilled; `None` when it is too large for a frame.
    frame: OnceCell<Option<Vec<u8>>>,
}

impl Parcel {
    fn frame(&self) -> Option<&[u8]> {
        let frame = self.frame.get_or_init(|| {
            let mut frame = Vec::new();
            frame::encode(&self.batch, &mut frame).ok().map(|_| frame)
        });
        frame.as_deref()
    }
}

/// Whose filters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    Lane(usize),
    All,
    Output(usize),
}
