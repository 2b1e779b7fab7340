//! What all inputs of a pipeline share: filters, outputs with their queues, and the ledger.
//!
//! Each input has a lane with a gate. The rule: whoever passes a batch of an input through filters
//! and into queues holds the input's gate meanwhile and waits for nothing, so that records of one
//! source enter a queue in their order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_model::RecordBatch;
use kansoku_outputs::Output;

use super::chain::{Chain, FilterStage, Ready};
use super::context::Hold;
use super::ledger::Ledger;
use super::origin::{Done, Origin};
use super::queue::{Item, Queue};
use super::ticket::{Carried, Receipt, Ticket};
use super::{FilterContext, OutputSet, TagMatch};

/// An output as the inputs see it: whom it wants, and its workers' queues.
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) matches: TagMatch,
    pub(super) output: Arc<dyn Output>,
    pub(super) processors: Vec<FilterStage>,
    pub(super) queues: Vec<Arc<Queue>>,
}

impl Route {
    fn wants(&self, batch: &RecordBatch) -> bool {
        batch.n_records() > 0 && self.matches.fits(batch.tag()) && self.output.takes(batch)
    }

    pub(super) fn chain(&self) -> Chain<'_> {
        Chain {
            own: &self.processors,
            shared: &[],
        }
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
    gate: Mutex<()>,
    pub(super) processors: Vec<FilterStage>,
}

impl Lane {
    pub(super) fn new(processors: Vec<FilterStage>) -> Self {
        Self {
            processors,
            ..Self::default()
        }
    }
}

pub(super) struct Core {
    pub(super) ledger: Arc<Ledger>,
    pub(super) lanes: Vec<Lane>,
    pub(super) filters: Vec<FilterStage>,
    pub(super) routes: Vec<Route>,
}

impl Core {
    pub(super) fn all_outputs(&self) -> OutputSet {
        OutputSet::first(self.routes.len())
    }

    /// The outputs that want a batch as it is now.
    pub(super) fn wanting(&self, batch: &RecordBatch) -> OutputSet {
        let wanting = self.routes.iter().enumerate();
        wanting
            .filter(|(_, r)| r.wants(batch))
            .fold(OutputSet::EMPTY, |set, (n, _)| set.with(n))
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
    /// it. With `may_decline`, an output without room gets nothing of it and is returned.
    pub(super) fn pass(
        &self,
        lane: usize,
        batch: RecordBatch,
        outputs: OutputSet,
        origin: &Arc<Origin>,
        may_decline: bool,
    ) -> OutputSet {
        let mut context = FilterContext::of(origin.clone());
        let ready = self.chain(lane).run(batch, 0, &mut context);
        let declined = if may_decline {
            let wanted = ready
                .iter()
                .map(|r| self.wanting(&r.batch).common(outputs))
                .fold(OutputSet::EMPTY, OutputSet::union);
            wanted
                .iter()
                .filter(|o| !self.ledger.output_has_room(*o))
                .fold(OutputSet::EMPTY, OutputSet::with)
        } else {
            OutputSet::EMPTY
        };
        self.queue(Some(lane), ready, outputs.without(declined), origin);
        origin.close(declined);
        declined
    }

    /// Queues batches that have passed the filters.
    pub(super) fn queue(
        &self,
        lane: Option<usize>,
        ready: Vec<Ready>,
        outputs: OutputSet,
        origin: &Arc<Origin>,
    ) {
        for Ready { batch, holds } in ready {
            let wanting = self.wanting(&batch).common(outputs);
            if wanting.is_empty() {
                holds.into_iter().for_each(Hold::release);
                continue;
            }
            let bytes = Ledger::charge_of(batch.size_bytes());
            let charge = Arc::new(self.ledger.charge(lane, bytes));
            let carried = (!holds.is_empty()).then(|| Carried::new(wanting.len(), holds));
            let batch = Arc::new(batch);
            for output in wanting.iter() {
                let route = &self.routes[output];
                let receipt = Receipt::Origin {
                    origin: origin.clone(),
                    output,
                    carried: carried.clone(),
                };
                origin.add(output);
                if route.processors.is_empty() {
                    let queued = self.ledger.charge_output(output, bytes);
                    route.push(Item {
                        batch: batch.clone(),
                        ticket: Ticket::new(charge.clone(), queued, receipt),
                    });
                } else {
                    self.process(lane, output, RecordBatch::clone(&batch), receipt);
                }
            }
        }
    }

    /// Passes a copy of a batch, which the other outputs must not see changed, through the
    /// processors of `output` and queues what they make of it.
    fn process(&self, lane: Option<usize>, output: usize, copy: RecordBatch, receipt: Receipt) {
        // The copy has an acknowledgement of its own, as it may become several batches or be kept.
        let done = Done::Whole(Box::new(move || receipt.give()));
        let origin = Arc::new(Origin::new(Some(done), OutputSet::EMPTY));
        let mut context = FilterContext::of(origin.clone());
        let ready = self.routes[output].chain().run(copy, 0, &mut context);
        self.queue_processed(lane, output, ready, &origin);
        origin.close(OutputSet::EMPTY);
    }

    /// Queues batches that have passed the processors of `output` for it.
    fn queue_processed(
        &self,
        lane: Option<usize>,
        output: usize,
        ready: Vec<Ready>,
        origin: &Arc<Origin>,
    ) {
        let route = &self.routes[output];
        for Ready { batch, holds } in ready {
            if batch.n_records() == 0 || !route.output.takes(&batch) {
                holds.into_iter().for_each(Hold::release);
                continue;
            }
            let bytes = Ledger::charge_of(batch.size_bytes());
            let carried = (!holds.is_empty()).then(|| Carried::new(1, holds));
            let receipt = Receipt::Origin {
                origin: origin.clone(),
                output,
                carried,
            };
            origin.add(output);
            let charge = Arc::new(self.ledger.charge(lane, bytes));
            let queued = self.ledger.charge_output(output, bytes);
            route.push(Item {
                batch: Arc::new(batch),
                ticket: Ticket::new(charge, queued, receipt),
            });
        }
    }

    /// Gives away what the filters of one lane keep, or of one output, or those of all.
    pub(super) fn flush(&self, whose: Whose, number: usize, all: bool) {
        let origin = Arc::new(Origin::new(None, OutputSet::EMPTY));
        let mut context = FilterContext::of(origin.clone());
        let _gates = match whose {
            Whose::Lane(lane) => vec![self.enter(lane)],
            // In the order of their numbers, as everybody who takes more than one does.
            Whose::All | Whose::Output(_) => {
                (0..self.lanes.len()).map(|lane| self.enter(lane)).collect()
            }
        };
        match whose {
            Whose::Lane(lane) => {
                let ready = self.chain(lane).flush(number, all, &mut context);
                self.queue(Some(lane), ready, self.all_outputs(), &origin);
            }
            Whose::All => {
                let chain = Chain {
                    own: &[],
                    shared: &self.filters,
                };
                let ready = chain.flush(number, all, &mut context);
                self.queue(None, ready, self.all_outputs(), &origin);
            }
            Whose::Output(output) => {
                let ready = self.routes[output].chain().flush(number, all, &mut context);
                self.queue_processed(None, output, ready, &origin);
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

/// Whose filters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    Lane(usize),
    All,
    Output(usize),
}
