//! A tenant as one request may see it: all of what it has, or some namespaces of it.
//!
//! The one rule: who asks through a view sees nothing else, whatever the query says.

use std::ops::Deref;
use std::sync::Arc;

use kansoku_model::Matcher;
use kansoku_store::Snapshot;

use super::{NoStore, Opener, Tenant};
use crate::access::Principal;

/// A tenant, and what of it is shown.
#[derive(Debug, Clone)]
pub struct View {
    tenant: Arc<Tenant>,
    /// What every series and stream that is shown passes.
    namespaces: Option<Matcher>,
    /// What every stream that is shown passes.
    streams: Option<Matcher>,
}

impl View {
    /// What a principal is shown of a tenant.
    #[must_use]
    pub fn new(tenant: Arc<Tenant>, principal: &Principal) -> Self {
        Self {
            tenant,
            namespaces: principal.namespaces().cloned(),
            streams: principal.streams(),
        }
    }

    /// One view of what is shown. May block.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn snapshot(&self, opener: &Opener) -> Result<Snapshot, NoStore> {
        Ok(self.show(self.tenant.whole_snapshot(opener)?))
    }

    /// Whether all series are shown: what was computed for one such view is good for another.
    #[must_use]
    pub fn shows_all_series(&self) -> bool {
        self.namespaces.is_none()
    }

    /// What of a snapshot of the tenant's store is shown. Whoever takes one from the store itself has to ask.
    #[must_use]
    pub fn show(&self, mut snapshot: Snapshot) -> Snapshot {
        if let Some(matcher) = &self.namespaces {
            snapshot = snapshot.restricted_to(matcher.clone());
        }
        if let Some(matcher) = &self.streams {
            snapshot = snapshot.with_streams(matcher.clone());
        }
        snapshot
    }

    /// The tenant itself, for work that no restriction of a reader touches: storing and deleting.
    #[must_use]
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }
}

impl Deref for View {
    type Target = Tenant;

    fn deref(&self) -> &Tenant {
        &self.tenant
    }
}
