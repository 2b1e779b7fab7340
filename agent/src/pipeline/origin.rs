//! Who still has to be done with what was made of an input's batch before the input hears of it.
//!
//! A batch of an input may become several on its way (a filter splits or keeps records), and each of
//! them goes to several outputs. The rule: an output is acknowledged when everything that was made of
//! the batch for it is settled and no filter keeps a record of it. Dropped before (the agent left),
//! nothing is acknowledged, and the input reads the records again next time.

use std::sync::{Mutex, PoisonError};

use kansoku_model::Source;

use super::{Acknowledge, AcknowledgeOutputs, OutputSet};

/// Whom to tell.
pub(super) enum Done {
    /// Once, when all is settled.
    Whole(Acknowledge),
    /// Output by output.
    Each(AcknowledgeOutputs),
}

pub(super) struct Origin {
    /// The range of the input's batch; of no source for what comes from no input at once.
    pub(super) source: Source,
    /// Taken for a few instructions; never while `done` is called.
    state: Mutex<State>,
}

struct State {
    /// More may come: the batch is still in the filters.
    open: bool,
    /// Records that filters keep.
    held: u32,
    /// What is on its way to each output.
    pending: Vec<(usize, u32)>,
    /// Not acknowledged yet.
    left: OutputSet,
    done: Option<Done>,
}

impl State {
    /// The outputs that can be acknowledged now.
    fn settled(&mut self) -> OutputSet {
        if self.open || self.held > 0 {
            return OutputSet::EMPTY;
        }
        let busy = self.pending.iter().filter(|(_, n)| *n > 0);
        let busy = busy.fold(OutputSet::EMPTY, |set, (o, _)| set.with(*o));
        let settled = self.left.without(busy);
        self.left = self.left.common(busy);
        settled
    }
}

impl Origin {
    /// `outputs` are those that will be acknowledged.
    pub(super) fn new(done: Option<Done>, outputs: OutputSet, source: Source) -> Self {
        Self {
            source,
            state: Mutex::new(State {
                open: true,
                held: 0,
                pending: Vec::new(),
                left: outputs,
                done,
            }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let settled = state.settled();
        let is_over = !state.open && state.held == 0 && state.pending.iter().all(|p| p.1 == 0);
        match &state.done {
            Some(Done::Each(done)) if !settled.is_empty() => {
                let done = done.clone();
                drop(state);
                done(settled);
            }
            Some(Done::Whole(_)) if is_over => {
                let done = state.done.take();
                drop(state);
                if let Some(Done::Whole(done)) = done {
                    done();
                }
            }
            _ => {}
        }
    }

    /// Something made of the batch goes to `output`.
    pub(super) fn add(&self, output: usize) {
        self.change(|s| match s.pending.iter_mut().find(|(o, _)| *o == output) {
            Some((_, n)) => *n += 1,
            None => s.pending.push((output, 1)),
        });
    }

    /// `output` is done with one of these.
    pub(super) fn finish(&self, output: usize) {
        self.change(|s| {
            if let Some((_, n)) = s.pending.iter_mut().find(|(o, _)| *o == output) {
                *n = n.saturating_sub(1);
            }
        });
    }

    pub(super) fn hold(&self) {
        self.change(|s| s.held += 1);
    }

    pub(super) fn release(&self) {
        self.change(|s| s.held = s.held.saturating_sub(1));
    }

    /// The batch has passed the filters. Outputs that declined it will not be acknowledged.
    pub(super) fn close(&self, declined: OutputSet) {
        self.change(|s| {
            s.open = false;
            s.left = s.left.without(declined);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn outputs_are_acknowledged_one_by_one_when_nothing_of_them_is_left() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = told.clone();
        let done = Done::Each(Arc::new(move |set| noted.lock().unwrap().push(set)));
        let origin = Origin::new(Some(done), OutputSet::first(4), Source::default());
        origin.add(0);
        origin.add(1);
        origin.add(1);
        origin.finish(0);
        assert!(told.lock().unwrap().is_empty(), "more may come");
        origin.close(OutputSet::one(3));
        assert_eq!(
            told.lock().unwrap().pop(),
            Some(OutputSet::one(0).with(2)),
            "2 gets nothing of it, 3 declined"
        );
        origin.finish(1);
        origin.finish(1);
        assert_eq!(*told.lock().unwrap(), [OutputSet::one(1)]);
    }

    #[test]
    fn kept_records_hold_the_acknowledgement_back() {
        let told = Arc::new(Mutex::new(0));
        let noted = told.clone();
        let done = Done::Whole(Box::new(move || *noted.lock().unwrap() += 1));
        let origin = Origin::new(Some(done), OutputSet::first(1), Source::default());
        origin.hold();
        origin.add(0);
        origin.close(OutputSet::EMPTY);
        origin.finish(0);
        assert_eq!(*told.lock().unwrap(), 0);
        origin.release();
        assert_eq!(*told.lock().unwrap(), 1);
    }
}
