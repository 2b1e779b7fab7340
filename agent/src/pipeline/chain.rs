//! Filters in a row, and what becomes of the batches they emit.
//!
//! A chain knows no outputs: it turns one batch into those that leave its end, each with the holds
//! of the records it carries. The rule: what a filter emits leaves behind the batch it was emitted
//! from, so that the order within a source is kept.

use std::collections::VecDeque;
use std::sync::Arc;

use kansoku_model::RecordBatch;

use super::context::{Emitted, Hold};
use super::{FilterContext, FilterCounters, TagMatch};
use crate::plugin::Filter;

/// How many batches made of one may start at the first filter again: a rule that retags what it
/// made itself would never end.
const MAX_RETAGS: usize = 64;

/// A filter in place.
pub(super) struct FilterStage {
    /// Tells it from all others of the pipeline, the same after a restart.
    pub(super) name: Arc<str>,
    pub(super) matches: TagMatch,
    pub(super) filter: Box<dyn Filter>,
    pub(super) counters: Arc<FilterCounters>,
}

/// A batch at the end of a chain.
pub(super) struct Ready {
    pub(super) batch: RecordBatch,
    pub(super) holds: Vec<Hold>,
}

/// An input's or output's own filters and then those of all.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    pub(super) own: &'a [FilterStage],
    pub(super) shared: &'a [FilterStage],
}

impl Chain<'_> {
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.shared.len()
    }

    pub(super) fn stage(&self, number: usize) -> Option<&FilterStage> {
        let behind = number.checked_sub(self.own.len());
        behind.map_or_else(|| self.own.get(number), |n| self.shared.get(n))
    }

    /// Passes a batch through the filters from number `first` on.
    pub(super) fn run(
        &self,
        batch: RecordBatch,
        first: usize,
        context: &mut FilterContext,
    ) -> Vec<Ready> {
        let begin = Emitted {
            batch,
            from_start: false,
            holds: Vec::new(),
            maker: None,
        };
        self.run_all(VecDeque::from([(first, begin)]), context)
    }

    /// Lets filter `number` give away what it keeps, and passes that through those behind it.
    pub(super) fn flush(
        &self,
        number: usize,
        all: bool,
        context: &mut FilterContext,
    ) -> Vec<Ready> {
        if let Some(stage) = self.stage(number) {
            context.set_filter(number, &stage.name);
            stage.filter.flush(all, context);
        }
        let emitted = context.take_emitted().into_iter();
        let waiting = emitted.map(|e| (self.next_of(number, &e), e)).collect();
        self.run_all(waiting, context)
    }

    /// Where a batch goes on that filter `number` emitted.
    fn next_of(&self, number: usize, emitted: &Emitted) -> usize {
        if emitted.from_start {
            self.own.len()
        } else {
            number + 1
        }
    }

    fn run_all(
        &self,
        mut waiting: VecDeque<(usize, Emitted)>,
        context: &mut FilterContext,
    ) -> Vec<Ready> {
        let mut ready = Vec::new();
        let mut n_from_start = 0;
        while let Some((first, one)) = waiting.pop_front() {
            let Emitted {
                mut batch,
                holds,
                maker,
                ..
            } = one;
            context.set_maker(maker);
            for number in first..self.len() {
                self.apply(number, &mut batch, context);
                for mut emitted in context.take_emitted() {
                    if emitted.from_start {
                        n_from_start += 1;
                        emitted.from_start = n_from_start <= MAX_RETAGS;
                    }
                    waiting.push_back((self.next_of(number, &emitted), emitted));
                }
            }
            ready.push(Ready { batch, holds });
        }
        ready
    }

    fn apply(&self, number: usize, batch: &mut RecordBatch, context: &mut FilterContext) {
        let Some(stage) = self.stage(number) else {
            return;
        };
        if batch.n_records() == 0 || !stage.matches.fits(batch.tag()) {
            return;
        }
        let logs = match batch {
            RecordBatch::Logs(logs) => logs,
            RecordBatch::Metrics(metrics) => {
                stage.filter.apply_to_metrics(metrics);
                return;
            }
        };
        let before = logs.len() as u64;
        stage.counters.records.add(before);
        stage.counters.bytes.add(logs.size_bytes() as u64);
        context.set_filter(number, &stage.name);
        stage.filter.apply(logs, context);
        let after = logs.len() as u64;
        stage.counters.add_records.add(after.saturating_sub(before));
        stage
            .counters
            .drop_records
            .add(before.saturating_sub(after));
    }
}
