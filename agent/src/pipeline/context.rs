//! What a filter can do besides changing the batch at hand: emit other batches, keep records.
//!
//! The rule: an input hears of a batch only when everything that was made of it is delivered. So an
//! emitted batch and a kept record share the acknowledgement of the batch they come from.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kansoku_model::RecordBatch;

use super::delivery::Acknowledge;

/// The acknowledgement of one batch of an input, shared by all that was made of it. Dropped before
/// all have finished (the agent leaves), it acknowledges nothing.
pub(super) struct Origin {
    pending: AtomicUsize,
    done: Mutex<Option<Acknowledge>>,
}

impl Origin {
    pub(super) fn finish(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
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

/// Holds back the acknowledgement of the batch that some kept records come from. It has to be given
/// back with the batch that carries them, see [`FilterContext::emit`]; dropped, the input's records
/// are never acknowledged and come again after a restart.
#[must_use = "records whose hold is dropped are never acknowledged"]
pub struct Hold(pub(super) Arc<Origin>);

/// A batch that a filter made.
pub struct Emitted {
    pub batch: RecordBatch,
    /// Whether it passes all filters from the first on (a new tag), or goes on behind the filter
    /// that made it.
    pub from_start: bool,
    /// Of the kept records in it.
    pub holds: Vec<Hold>,
}

/// A filter's surroundings during one call.
#[derive(Default)]
pub struct FilterContext {
    emitted: Vec<Emitted>,
    origin: Option<Arc<Origin>>,
    done: Option<Acknowledge>,
}

impl FilterContext {
    /// The surroundings of a batch whose acknowledgement is `done`.
    #[must_use]
    pub fn new(done: Option<Acknowledge>) -> Self {
        Self {
            done,
            ..Self::default()
        }
    }

    fn origin(&mut self) -> &Arc<Origin> {
        let done = &mut self.done;
        self.origin.get_or_insert_with(|| {
            Arc::new(Origin {
                pending: AtomicUsize::new(1),
                done: Mutex::new(done.take()),
            })
        })
    }

    /// Holds back the acknowledgement of the batch at hand, for records that the filter keeps.
    pub fn hold(&mut self) -> Hold {
        let origin = self.origin().clone();
        origin.pending.fetch_add(1, Ordering::AcqRel);
        Hold(origin)
    }

    /// Sends a batch besides the one at hand, after it. A batch of log records must have a source id
    /// of its own, derived from that of the batch at hand (see [`kansoku_model::SourceId::derived`]):
    /// two batches under one source and range are taken for a repeat.
    ///
    /// With `from_start` it passes all filters from the first on, else those behind the filter that
    /// emits it. `holds` are the holds of the kept records it carries.
    pub fn emit(&mut self, batch: RecordBatch, from_start: bool, holds: Vec<Hold>) {
        self.emitted.push(Emitted {
            batch,
            from_start,
            holds,
        });
    }

    /// What was emitted since the last call.
    pub fn take_emitted(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.emitted)
    }

    /// The acknowledgement for one more batch of the same origin.
    pub(super) fn share(&mut self) -> Acknowledge {
        let Hold(origin) = self.hold();
        Box::new(move || origin.finish())
    }

    /// Whether anything was emitted or kept, so that acknowledgements have to be shared.
    pub(super) fn is_plain(&self) -> bool {
        self.origin.is_none() && self.emitted.is_empty()
    }

    /// The acknowledgement that was given and that nobody shares.
    pub(super) fn take_done(&mut self) -> Option<Acknowledge> {
        self.done.take()
    }

    /// The part of the acknowledgement that stood for the batch at hand.
    pub(super) fn take_origin(&mut self) -> Option<Arc<Origin>> {
        self.origin.take()
    }
}
