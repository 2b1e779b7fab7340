//! What one output owes for one batch in its queue: bytes of the ledger, and a word to whoever waits
//! for the batch.
//!
//! Finished, it says that the output is done with the batch, for good. Dropped, it only gives the
//! bytes back: the batch comes again, from its input or from the spill.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kansoku_model::Source;

use super::RouteCounters;
use super::context::Hold;
use super::ledger::{Charge, OutputCharge};
use super::origin::Origin;
use crate::spill::Up;

pub(super) struct Ticket {
    /// The range of the input's batch of which the batch was made; of no source when it came out of
    /// a spill.
    pub(super) root: Source,
    /// Shared by all outputs that have the batch.
    _batch: Arc<Charge>,
    _output: OutputCharge,
    receipt: Receipt,
    since: Instant,
    /// Told how long it took; not for what comes out of a spill.
    route: Option<Arc<RouteCounters>>,
}

/// Whom to tell that the batch is settled.
pub(super) enum Receipt {
    /// The input, or whoever kept records for it.
    Origin {
        origin: Arc<Origin>,
        output: usize,
        carried: Option<Arc<Carried>>,
    },
    /// The spill; the input has been told before.
    Spilled(Up),
}

impl Receipt {
    /// Tells whoever waits.
    pub(super) fn give(self) {
        match self {
            Self::Origin {
                origin,
                output,
                carried,
            } => {
                if let Some(carried) = carried {
                    carried.finish();
                }
                origin.finish(output);
            }
            Self::Spilled(up) => up.delivered(),
        }
    }
}

/// The holds of an emitted batch: released when the last output is done with it.
pub(super) struct Carried {
    pending: AtomicUsize,
    /// Taken once.
    holds: Mutex<Vec<Hold>>,
}

impl Carried {
    pub(super) fn new(n_outputs: usize, holds: Vec<Hold>) -> Arc<Self> {
        Arc::new(Self {
            pending: AtomicUsize::new(n_outputs),
            holds: Mutex::new(holds),
        })
    }

    fn finish(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = std::mem::take(&mut *holds);
        holds.into_iter().for_each(Hold::release);
    }
}

impl Ticket {
    pub(super) fn new(
        batch: Arc<Charge>,
        output: OutputCharge,
        receipt: Receipt,
        route: Option<Arc<RouteCounters>>,
        root: Source,
    ) -> Self {
        Self {
            root,
            since: Instant::now(),
            route,
            _batch: batch,
            _output: output,
            receipt,
        }
    }

    /// The way it came from an input.
    pub(super) fn route(&self) -> Option<&Arc<RouteCounters>> {
        self.route.as_ref()
    }

    /// The output is done with the batch.
    pub(super) fn finish(self) {
        let Self {
            _batch: batch,
            _output: output,
            receipt,
            since,
            route,
            ..
        } = self;
        if let Some(route) = route {
            route.latency.observe(since.elapsed());
        }
        // Room first: whoever is woken by the acknowledgement may want to send at once.
        drop((batch, output));
        receipt.give();
    }
}
