//! What a filter can do besides changing the batch at hand: emit other batches, keep records.
//!
//! The rule: an input hears of a batch only when everything that was made of it is delivered. So an
//! emitted batch and a kept record share the acknowledgement of the batch they come from.

use std::sync::Arc;

use kansoku_model::{RecordBatch, Source, SourceId};

use super::origin::{Done, Origin};
use super::{Acknowledge, OutputSet};

/// Holds back the acknowledgement of the batch that some kept records come from. It has to be given
/// back with the batch that carries them, see [`FilterContext::emit`]; dropped, the input's records
/// are never acknowledged and come again after a restart.
#[must_use = "records whose hold is dropped are never acknowledged"]
pub struct Hold(Arc<Origin>);

impl Hold {
    /// The range of the batch that the records come from.
    pub(super) fn source(&self) -> Source {
        self.0.source
    }

    /// The records are delivered.
    pub(super) fn release(self) {
        self.0.release();
    }
}

/// A batch that a filter made.
pub struct Emitted {
    pub batch: RecordBatch,
    /// Whether it passes all filters from the first on (a new tag), or goes on behind the filter
    /// that made it.
    pub from_start: bool,
    /// Of the kept records in it.
    pub holds: Vec<Hold>,
    /// The number of the filter that made it, when it passes all filters again.
    pub(crate) maker: Option<usize>,
}

/// A filter's surroundings during one call.
pub struct FilterContext {
    emitted: Vec<Emitted>,
    /// The filter at work, by its number, and the one that made the batch at hand, if that starts
    /// again from the first filter.
    filter: usize,
    name: Arc<str>,
    maker: Option<usize>,
    origin: Arc<Origin>,
}

impl Default for FilterContext {
    fn default() -> Self {
        Self::new(None)
    }
}

impl FilterContext {
    /// The surroundings of a batch whose acknowledgement is `done`.
    #[must_use]
    pub fn new(done: Option<Acknowledge>) -> Self {
        let done = done.map(Done::Whole);
        Self::of(Arc::new(Origin::new(
            done,
            OutputSet::EMPTY,
            Source::default(),
        )))
    }

    pub(super) fn of(origin: Arc<Origin>) -> Self {
        Self {
            emitted: Vec::new(),
            filter: 0,
            name: Arc::default(),
            maker: None,
            origin,
        }
    }

    /// Holds back the acknowledgement of the batch at hand, for records that the filter keeps.
    pub fn hold(&mut self) -> Hold {
        self.origin.hold();
        Hold(self.origin.clone())
    }

    /// Sends a batch besides the one at hand, after it. A batch of log records must have a source id
    /// of its own, derived from that of the batch at hand (see [`derived`](Self::derived)):
    /// two batches under one source and range are taken for a repeat.
    ///
    /// With `from_start` it passes all filters from the first on, else those behind the filter that
    /// emits it. `holds` are the holds of the kept records it carries.
    pub fn emit(&mut self, batch: RecordBatch, from_start: bool, holds: Vec<Hold>) {
        self.emitted.push(Emitted {
            batch,
            from_start,
            holds,
            maker: from_start.then_some(self.filter),
        });
    }

    /// Whether the batch at hand is one that the filter at work has emitted itself, so that it can
    /// leave it alone: a rule that fits the records it has moved would never end.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.maker == Some(self.filter)
    }

    /// Says which filter made the batch that is about to be filtered from the start.
    pub(crate) fn set_maker(&mut self, maker: Option<usize>) {
        self.maker = maker;
    }

    /// Says which filter is about to work.
    pub(crate) fn set_filter(&mut self, number: usize, name: &Arc<str>) {
        self.filter = number;
        self.name = name.clone();
    }

    /// The source id of what the filter at work makes of records of `source` under a `name`: another
    /// filter with the same settings gets another one.
    #[must_use]
    pub fn derived(&self, source: SourceId, name: &str) -> SourceId {
        source.derived(&format!("{}\n{name}", self.name))
    }

    /// What was emitted since the last call.
    pub fn take_emitted(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.emitted)
    }
}
