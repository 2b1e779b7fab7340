//! One consistent view of heads and parts, for queries.
//!
//! It holds what it reads: heads that are written out and parts that are merged or expired
//! meanwhile stay until it is dropped. The rule: an entry is given once, whether it lies in a head
//! or in a part when the snapshot is taken. What is damaged is left out and noted.

mod logs;
mod names;
mod samples;
mod struck;

pub use names::{HeadBounds, SampleBlock};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

use kansoku_model::{Matcher, MetricKind};

use crate::StoreError;
use crate::deletes::{Delete, DeleteKind};
use crate::exemplars::{Exemplars, SeriesExemplars};
use crate::head::Head;
use crate::part::Part;
use crate::state::Metadata;
use crate::store::{LOCK, View};

/// Notes kept of what could not be read; more would say nothing new.
const NOTES_MAX: usize = 100;

/// Name, type, help and unit of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricMetadata {
    pub name: String,
    pub kind: MetricKind,
    pub help: String,
    /// Empty when it is not known.
    pub unit: String,
}

/// One consistent view of the store. Cheap to take; keeps the files it reads alive.
#[derive(Debug, Clone)]
pub struct Snapshot {
    view: Arc<View>,
    metadata: Arc<RwLock<Metadata>>,
    exemplars: Arc<RwLock<Exemplars>>,
    notes: Arc<Notes>,
}

/// What could not be read.
#[derive(Debug, Default)]
struct Notes(Mutex<BTreeSet<String>>);

impl Notes {
    /// Leaves out what failed, with a note.
    fn note(&self, error: &StoreError) {
        let mut notes = self.0.lock().expect(LOCK);
        if notes.len() < NOTES_MAX {
            notes.insert(error.to_string());
        }
    }
}

impl Snapshot {
    pub(crate) fn new(
        view: Arc<View>,
        metadata: Arc<RwLock<Metadata>>,
        exemplars: Arc<RwLock<Exemplars>>,
    ) -> Self {
        Self {
            view,
            metadata,
            exemplars,
            notes: Arc::default(),
        }
    }

    /// A view of a store that has nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Arc::new(View::default()), Arc::default(), Arc::default())
    }

    /// What is known of the metric families, sorted by name.
    #[must_use]
    pub fn metric_metadata(&self) -> Vec<MetricMetadata> {
        let metadata = self.metadata.read().expect(LOCK);
        let all = metadata.0.iter().map(|(name, described)| MetricMetadata {
            name: name.to_string(),
            kind: described.kind,
            help: described.help.to_string(),
            unit: described.unit.to_string(),
        });
        all.collect()
    }

    /// The exemplars of series that pass all matchers of one of the lists, from `from_ms` to `to_ms`; sorted
    /// by series, those of a series by time.
    #[must_use]
    pub fn exemplars(
        &self,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
    ) -> Vec<SeriesExemplars> {
        let exemplars = self.exemplars.read().expect(LOCK);
        exemplars.select(any_of, from_ms, to_ms)
    }

    /// What could not be read while this snapshot (or a clone of it) was queried: the answers lack it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.notes.0.lock().expect(LOCK).iter().cloned().collect()
    }

    /// What rules of the retention take of heads; deletes take nothing of them, since their data is newer.
    fn deletes_of_heads(&self, kind: DeleteKind) -> Vec<&Delete> {
        let expiring = self.view.expiring.iter().map(|d| &**d);
        expiring.filter(|d| d.kind == kind).collect()
    }

    /// The deletes that take something of a part, and what rules of the retention take of it.
    fn deletes_of(&self, part: &Part) -> Vec<&Delete> {
        let deletes = self.view.deletes.iter().chain(self.view.expiring.iter());
        deletes.map(|d| &**d).filter(|d| d.covers(part)).collect()
    }

    /// All heads, oldest first.
    fn heads(&self) -> impl Iterator<Item = &Head> {
        let sealed = self.view.sealed.iter().map(|s| &*s.head);
        sealed.chain([&*self.view.active])
    }
}
