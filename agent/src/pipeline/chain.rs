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
use crate::log;
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

impl FilterStage {
    /// Counts the texts that its patterns gave up on; what is to be said of them, each time their
    /// number has doubled.
    fn given_up(&self) -> Vec<String> {
        let mut total = 0;
        self.filter.patterns(&mut |p| total += p.n_given_up());
        let before = self.counters.patterns_given_up.raise_to(total);
        let mut said = Vec::new();
        if total > before && total.checked_ilog2() > before.checked_ilog2() {
            self.filter.patterns(&mut |p| {
                if p.n_given_up() > 0 {
                    said.push(format!(
                        "{} texts were too hard for the pattern '{}' and count as not matching; look-around and back-references cost most",
                        p.n_given_up(),
                        p.text()
                    ));
                }
            });
        }
        said
    }

    fn report_given_up(&self) {
        for message in self.given_up() {
            log::warn(&format!("filter:{}", self.counters.name), message);
        }
    }
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
                stage.report_given_up();
                return;
            }
        };
        let before = logs.len() as u64;
        stage.counters.records.add(before);
        stage.counters.bytes.add(logs.size_bytes() as u64);
        context.set_filter(number, &stage.name);
        stage.filter.apply(logs, context);
        stage.report_given_up();
        let after = logs.len() as u64;
        stage.counters.add_records.add(after.saturating_sub(before));
        stage
            .counters
            .drop_records
            .add(before.saturating_sub(after));
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{LogBatch, Position, Settings};

    use super::*;
    use crate::filters;
    use crate::plugin::Environment;

    /// Goes back more often than it may in sixty letters x.
    const HARD: &str = r"^(?<x>(?:x+x+)+)\k<x>(?=y)";

    fn stage(name: &str, key: &str, value: &str) -> FilterStage {
        let plugin = filters::ALL.iter().find(|p| p.name == name);
        let settings = Settings::of(name, &[(key, value)]);
        let built = (plugin.expect("a filter").build)(&settings, &Environment::default());
        FilterStage {
            name: name.into(),
            matches: TagMatch::wildcard("*"),
            filter: built.unwrap_or_else(|e| panic!("{e}")),
            counters: Arc::default(),
        }
    }

    fn hard() -> LogBatch {
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let row = batch.push(0, Position::at(1));
        batch.set_text("log", row, "x".repeat(60).as_bytes());
        batch
    }

    #[test]
    fn what_patterns_give_up_on_is_counted_and_told_when_it_doubles() {
        for (name, key, value) in [
            ("grep", "regex", format!("log {HARD}")),
            (
                "modify",
                "condition",
                format!("Key_value_matches log {HARD}"),
            ),
            ("rewrite_tag", "rule", format!("$log {HARD} new false")),
        ] {
            let own = [stage(name, key, &value)];
            let chain = Chain {
                own: &own,
                shared: &[],
            };
            let mut said = Vec::new();
            for _ in 0..5 {
                own[0]
                    .filter
                    .apply(&mut hard(), &mut FilterContext::default());
                said.push(own[0].given_up());
            }
            let lengths: Vec<usize> = said.iter().map(Vec::len).collect();
            assert_eq!(lengths, [1, 1, 0, 1, 0], "{name}");
            assert!(said[0][0].starts_with("1 texts were too hard for the pattern"));
            assert!(said[0][0].contains(HARD), "{}", said[0][0]);
            chain.run(RecordBatch::Logs(hard()), 0, &mut FilterContext::default());
            assert_eq!(own[0].counters.patterns_given_up.get(), 6, "{name}");
        }
    }
}
