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

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

use kansoku_model::select::SelectError;
use kansoku_model::{Labels, Matcher, MetricKind};

use crate::StoreError;
use crate::deletes::{Delete, DeleteKind};
use crate::exemplars::{Exemplars, SeriesExemplars};
use crate::head::Head;
use crate::part::Part;
use crate::state::Metadata;
use crate::store::{LOCK, View};

/// What the names of a family's series may end with.
const SUFFIXES: [&str; 5] = ["_bucket", "_count", "_sum", "_total", "_created"];

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
    /// What every series and stream must pass besides what is asked for; empty shows all.
    scope: Arc<[Matcher]>,
    /// The same for streams alone.
    log_scope: Arc<[Matcher]>,
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
            scope: Arc::default(),
            log_scope: Arc::default(),
        }
    }

    /// The same view of those series and streams alone that pass the matcher, whatever is asked for.
    /// Bounds and blocks ([`Snapshot::sample_blocks`], [`Snapshot::head_bounds`]) are still those of all.
    #[must_use]
    pub fn restricted_to(mut self, matcher: Matcher) -> Self {
        let scope = self.scope.iter().cloned().chain([matcher]);
        self.scope = scope.collect();
        self
    }

    /// The same view with those streams alone that pass the matcher; series are shown as before.
    #[must_use]
    pub fn with_streams(mut self, matcher: Matcher) -> Self {
        let scope = self.log_scope.iter().cloned().chain([matcher]);
        self.log_scope = scope.collect();
        self
    }

    /// Whether a stream may be shown.
    fn shows_stream(&self, labels: &Labels) -> bool {
        let mut scope = self.scope.iter().chain(self.log_scope.iter());
        scope.all(|matcher| matcher.matches_labels(labels))
    }

    /// The matchers of a question, and those of the scope.
    fn scoped<'a>(&self, matchers: &'a [Matcher]) -> Cow<'a, [Matcher]> {
        if self.scope.is_empty() {
            return Cow::Borrowed(matchers);
        }
        let all = self.scope.iter().chain(matchers);
        Cow::Owned(all.cloned().collect())
    }

    /// The same for lists of matchers one of which must pass; no list asks for all.
    fn scoped_any<'a>(&self, any_of: &'a [Vec<Matcher>]) -> Cow<'a, [Vec<Matcher>]> {
        if self.scope.is_empty() {
            return Cow::Borrowed(any_of);
        }
        let all = [Vec::new()];
        let any_of = if any_of.is_empty() { &all } else { any_of };
        let scoped = any_of.iter().map(|m| self.scoped(m).into_owned());
        Cow::Owned(scoped.collect())
    }

    /// A view of a store that has nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Arc::new(View::default()), Arc::default(), Arc::default())
    }

    /// What is known of the metric families, sorted by name.
    ///
    /// # Errors
    /// `Limit` when a restricted view has too many series to tell which families are in it.
    pub fn metric_metadata(&self) -> Result<Vec<MetricMetadata>, SelectError> {
        let names = match self.scope.is_empty() {
            true => None,
            false => Some(self.metric_label_values("__name__", &[], i64::MIN, i64::MAX)?),
        };
        // A family's series are called as it is or have a suffix: `_bucket`, `_total`.
        let is_shown = |family: &str| {
            names.as_ref().is_none_or(|names| {
                let from = names.partition_point(|name| name.as_str() < family);
                let mut near = names[from..].iter().map_while(|n| n.strip_prefix(family));
                near.any(|rest| rest.is_empty() || SUFFIXES.contains(&rest))
            })
        };
        let metadata = self.metadata.read().expect(LOCK);
        let all = metadata.0.iter().map(|(name, described)| MetricMetadata {
            name: name.to_string(),
            kind: described.kind,
            help: described.help.to_string(),
            unit: described.unit.to_string(),
        });
        Ok(all.filter(|m| is_shown(&m.name)).collect())
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
        if any_of.is_empty() {
            return Vec::new();
        }
        exemplars.select(&self.scoped_any(any_of), from_ms, to_ms)
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
