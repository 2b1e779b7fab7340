//! Who still has to be done with a batch before its input hears of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::budget::Budget;

/// Called once, when every output that matches has the batch safely (or will never take it).
pub type Acknowledge = Box<dyn FnOnce() + Send>;

/// One batch on its way to `pending` outputs. Dropped unfinished (the agent left), it gives the
/// bytes back and acknowledges nothing: the input reads the records again next time.
pub(super) struct Delivery {
    pending: AtomicUsize,
    /// Taken once, by the last output.
    done: Mutex<Option<Acknowledge>>,
    budget: Arc<Budget>,
    charge_bytes: u64,
}

impl Delivery {
    /// The charge has been taken from the budget already.
    pub(super) fn new(
        n_outputs: usize,
        done: Option<Acknowledge>,
        budget: Arc<Budget>,
        charge_bytes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            pending: AtomicUsize::new(n_outputs),
            done: Mutex::new(done),
            budget,
            charge_bytes,
        })
    }

    /// One output is done with the batch.
    pub(super) fn finish(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Room first: whoever is woken by the acknowledgement may want to send at once.
        self.budget.give_back(self.charge_bytes);
        let done = self
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(done) = done {
            done();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if *self.pending.get_mut() != 0 {
            self.budget.give_back(self.charge_bytes);
        }
    }
}
