//! The bytes of batches that one input may have under way: Fluent Bit's `mem_buf_limit`.
//!
//! The budget admits a batch while less than the limit is in use, so it is exceeded by at most one
//! batch and a batch larger than the whole limit still gets through.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Charged for every batch on top of its bytes, so that many tiny batches are bounded as well.
const BATCH_OVERHEAD_BYTES: u64 = 1024;

#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: u64,
    /// Taken for a few instructions by the input's thread and by whoever acknowledges.
    state: Mutex<State>,
    /// Rung when bytes come back and when the budget closes.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: u64,
    closed: bool,
}

impl Budget {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes: limit_bytes.max(1),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn charge_of(size_bytes: usize) -> u64 {
        size_bytes as u64 + BATCH_OVERHEAD_BYTES
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `take` would succeed without waiting.
    pub(super) fn has_room(&self) -> bool {
        self.lock().used_bytes < self.limit_bytes
    }

    /// Takes `bytes`, waiting for room; false when the budget was closed while full.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let full = |s: &mut State| s.used_bytes >= self.limit_bytes && !s.closed;
        let mut state = self
            .changed
            .wait_while(self.lock(), full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        state.used_bytes += bytes;
        true
    }

    /// Gives `bytes` back.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut state = self.lock();
        state.used_bytes = state.used_bytes.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// From now on nothing is admitted and nobody waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_until_the_limit_is_reached_and_refuses_when_closed() {
        let budget = Budget::new(100);
        assert!(budget.take(99) && budget.has_room());
        assert!(budget.take(500), "one batch may exceed the limit");
        assert!(!budget.has_room());
        budget.give_back(599);
        assert!(budget.has_room() && budget.used_bytes() == 0);
        budget.close();
        assert!(!budget.take(1));
    }
}
