//! The bytes of batches in memory: one bound for all of them, one for each input (Fluent Bit's
//! `mem_buf_limit`), and an equal share of the whole for each output's queue.
//!
//! Each bound admits a batch while less than it is in use, so it is exceeded by at most one batch
//! and a batch larger than a whole bound still gets through. An output with nothing to do gets its
//! batch even when the others have used up the whole: no output can starve another. Inputs that would
//! have to drop what finds no room get a quarter more of the whole and of each share: those that wait
//! keep both used up for as long as they have more than an output takes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kansoku_model::RecordBatch;

use super::OutputSet;

/// Charged for every batch on top of its bytes, so that many tiny batches are bounded as well.
const BATCH_OVERHEAD_BYTES: u64 = 1024;

#[derive(Debug)]
pub(super) struct Ledger {
    limit_bytes: u64,
    /// Of each output.
    share_bytes: u64,
    /// Taken for a few instructions by the inputs' threads and by whoever acknowledges.
    state: Mutex<State>,
    /// Rung when a waiting input may go on and when the ledger closes.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: u64,
    inputs: Vec<Account>,
    /// Bytes in each output's queue.
    outputs: Vec<u64>,
    /// The inputs that sleep until there is room, with the outputs they want to send to.
    waiting: Vec<(usize, OutputSet)>,
    closed: bool,
}

#[derive(Debug)]
struct Account {
    used_bytes: u64,
    n_batches: u64,
    limit_bytes: u64,
    can_wait: bool,
}

impl State {
    fn has_room(&self, limits: &Ledger, input: usize, outputs: OutputSet) -> bool {
        let account = &self.inputs[input];
        let extended = |limit: u64| match account.can_wait {
            true => limit,
            false => limit + limit / 4,
        };
        let share_bytes = extended(limits.share_bytes);
        account.used_bytes < account.limit_bytes
            && outputs.iter().all(|o| self.outputs[o] < share_bytes)
            && (self.used_bytes < extended(limits.limit_bytes)
                || outputs.iter().any(|o| self.outputs[o] == 0))
    }
}

impl Ledger {
    /// `inputs` are the inputs' own limits, and whether they can wait.
    pub(super) fn new(limit_bytes: u64, inputs: &[(u64, bool)], n_outputs: usize) -> Arc<Self> {
        let account = |&(limit, can_wait): &(u64, bool)| Account {
            used_bytes: 0,
            n_batches: 0,
            limit_bytes: limit.max(1),
            can_wait,
        };
        Arc::new(Self {
            limit_bytes: limit_bytes.max(1),
            share_bytes: (limit_bytes / n_outputs.max(1) as u64).max(1),
            state: Mutex::new(State {
                inputs: inputs.iter().map(account).collect(),
                outputs: vec![0; n_outputs],
                ..State::default()
            }),
            changed: Condvar::new(),
        })
    }

    /// What a batch costs while it is in flight.
    pub(super) fn charge_of(batch: &RecordBatch) -> u64 {
        batch.reserved_bytes() as u64 + BATCH_OVERHEAD_BYTES
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `wait` would return at once.
    pub(super) fn has_room(&self, input: usize, outputs: OutputSet) -> bool {
        self.lock().has_room(self, input, outputs)
    }

    /// Whether an output's queue takes one more batch.
    pub(super) fn output_has_room(&self, output: usize) -> bool {
        self.lock().outputs[output] < self.share_bytes
    }

    /// Whether there is room for a batch of no input, for one output.
    pub(super) fn has_room_aside(&self, output: usize) -> bool {
        let state = self.lock();
        let queued = state.outputs[output];
        queued < self.share_bytes && (state.used_bytes < self.limit_bytes || queued == 0)
    }

    /// Waits for room and takes `bytes`; `None` when the ledger was closed while full.
    pub(super) fn wait(
        self: &Arc<Self>,
        input: usize,
        outputs: OutputSet,
        bytes: u64,
    ) -> Option<Charge> {
        let full = |s: &mut State| !s.closed && !s.has_room(self, input, outputs);
        let mut state = self.lock();
        if full(&mut state) {
            state.waiting.push((input, outputs));
            state = (self.changed.wait_while(state, full)).unwrap_or_else(PoisonError::into_inner);
            let own = (state.waiting.iter()).position(|w| *w == (input, outputs));
            own.map(|at| state.waiting.swap_remove(at));
        }
        if state.closed {
            return None;
        }
        Some(self.take(&mut state, Some(input), bytes))
    }

    /// Takes `bytes` without asking whether there is room.
    pub(super) fn charge(self: &Arc<Self>, input: Option<usize>, bytes: u64) -> Charge {
        self.take(&mut self.lock(), input, bytes)
    }

    fn take(self: &Arc<Self>, state: &mut State, input: Option<usize>, bytes: u64) -> Charge {
        state.used_bytes += bytes;
        if let Some(input) = input {
            state.inputs[input].used_bytes += bytes;
            state.inputs[input].n_batches += 1;
        }
        Charge {
            ledger: self.clone(),
            input,
            bytes,
        }
    }

    /// Takes bytes out of the books and rings when somebody has waited for that: a bell that
    /// nobody hears costs a system call too.
    fn give_back(&self, settle: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        settle(&mut state);
        let waiting = state.waiting.iter();
        let mut may_go_on = waiting.map(|&(input, outputs)| state.has_room(self, input, outputs));
        if may_go_on.any(|may| may) {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Notes `bytes` in an output's queue.
    pub(super) fn charge_output(self: &Arc<Self>, output: usize, bytes: u64) -> OutputCharge {
        self.lock().outputs[output] += bytes;
        OutputCharge {
            ledger: self.clone(),
            output,
            bytes,
        }
    }

    /// From now on nothing is admitted and nobody waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn used_by(&self, input: usize) -> u64 {
        self.lock().inputs[input].used_bytes
    }

    /// Of each input: batches in memory and their bytes.
    pub(super) fn of_inputs(&self) -> Vec<(u64, u64)> {
        let state = self.lock();
        let accounts = state.inputs.iter();
        accounts.map(|a| (a.n_batches, a.used_bytes)).collect()
    }

    /// How much of an output's share is free, in percent.
    pub(super) fn free_percent(&self, output: usize) -> u64 {
        let used = self.lock().outputs[output].min(self.share_bytes);
        (self.share_bytes - used) * 100 / self.share_bytes
    }
}

/// Bytes of one batch; they come back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    input: Option<usize>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.give_back(|state| {
            state.used_bytes = state.used_bytes.saturating_sub(self.bytes);
            if let Some(input) = self.input {
                let account = &mut state.inputs[input];
                account.used_bytes = account.used_bytes.saturating_sub(self.bytes);
                account.n_batches = account.n_batches.saturating_sub(1);
            }
        });
    }
}

/// Bytes of one batch in one output's queue; they come back when it is dropped.
#[derive(Debug)]
pub(super) struct OutputCharge {
    ledger: Arc<Ledger>,
    output: usize,
    bytes: u64,
}

impl Drop for OutputCharge {
    fn drop(&mut self) {
        self.ledger.give_back(|state| {
            let queued = &mut state.outputs[self.output];
            *queued = queued.saturating_sub(self.bytes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_until_a_limit_is_reached_and_refuses_when_closed() {
        let ledger = Ledger::new(1000, &[(100, true), (1000, true)], 2);
        let both = OutputSet::first(2);
        let first = ledger.wait(0, both, 99).unwrap();
        let second = ledger.wait(0, both, 500).expect("exceeds its limit once");
        assert!(!ledger.has_room(0, both), "its own limit");
        assert!(ledger.has_room(1, both));
        let queued = ledger.charge_output(1, 500);
        assert!(!ledger.has_room(1, both) && ledger.has_room(1, OutputSet::one(0)));
        assert_eq!(ledger.free_percent(1), 0);
        drop((first, second, queued));
        assert!(ledger.has_room(0, both) && ledger.used_by(0) == 0);
        ledger.close();
        assert!(ledger.wait(0, both, 1).is_none());
    }

    #[test]
    fn who_cannot_wait_finds_room_beside_those_who_can() {
        let ledger = Ledger::new(1000, &[(1000, true), (1000, false), (10, false)], 2);
        let output = OutputSet::one(0);
        let logs = ledger
            .wait(0, output, 1010)
            .expect("exceeds the limit once");
        let queued = ledger.charge_output(0, 510);
        assert!(!ledger.has_room(0, output));
        assert!(ledger.has_room(1, output));
        let metrics = ledger.charge(Some(1), 200);
        let more = ledger.charge_output(0, 100);
        assert!(ledger.has_room(1, output), "1210 of 1250, 610 of 625");
        let (own, whole) = (ledger.charge(Some(2), 10), ledger.charge(Some(1), 40));
        assert!(!ledger.has_room(1, output) && !ledger.has_room(2, output));
        drop(whole);
        assert!(!ledger.has_room(2, output), "its own limit");
        drop(own);
        let share = ledger.charge_output(0, 20);
        assert!(!ledger.has_room(1, output), "630 of 625");
        drop((logs, queued, metrics, more, share));
    }

    #[test]
    fn an_idle_output_gets_a_batch_though_the_others_use_all() {
        let ledger = Ledger::new(100, &[(1000, true)], 2);
        let (_all, _queued) = (ledger.charge(None, 100), ledger.charge_output(0, 100));
        assert!(!ledger.has_room(0, OutputSet::one(0)));
        assert!(ledger.has_room(0, OutputSet::one(1)));
    }
}
