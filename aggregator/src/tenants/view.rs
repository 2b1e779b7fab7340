//! A tenant as one request may see it: all of what it has, or some namespaces of it.
//!
//! The one rule: who asks through a view sees nothing else, whatever the query says. A handler has its tenant as
//! a view and no other way to the data: a view gives away restricted snapshots, and the tenant itself to those
//! only who are not restricted.

use std::ops::Deref;
use std::sync::Arc;

use kansoku_model::Matcher;
use kansoku_store::{ChangeMark, Changed, Snapshot, Store};

use super::{NoStore, Opener, Tenant, TenantInfo};
use crate::access::Principal;

/// Why somebody does not get all of a tenant.
const RESTRICTED: &str = "who is restricted to namespaces may only read";

/// A tenant, and what of it is shown.
#[derive(Debug, Clone)]
pub struct View {
    tenant: Arc<Tenant>,
    /// What every series and stream that is shown passes.
    namespaces: Option<Matcher>,
    /// What every stream that is shown passes.
    streams: Option<Matcher>,
}

/// What is told of changes of samples since a snapshot was taken.
#[derive(Debug)]
pub struct Changes {
    store: Arc<Store>,
    /// From before the snapshot: what came in between is told as a change.
    pub mark: ChangeMark,
}

impl Changes {
    /// Which samples may differ from those of a snapshot that was taken after the mark.
    #[must_use]
    pub fn since(&self, mark: ChangeMark) -> Changed {
        self.store.changed_since(mark)
    }
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

    /// The same, and what is told of changes since; nothing is told to whom not all series are shown, for what
    /// was computed for one is no answer for another. May block.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn snapshot_and_changes(
        &self,
        opener: &Opener,
    ) -> Result<(Snapshot, Option<Changes>), NoStore> {
        let Some(store) = self.tenant.existing_store(opener)? else {
            return Ok((Snapshot::empty(), None));
        };
        let mark = store.change_mark();
        let snapshot = self.show(store.snapshot());
        let changes = Changes { store, mark };
        Ok((snapshot, self.namespaces.is_none().then_some(changes)))
    }

    fn show(&self, mut snapshot: Snapshot) -> Snapshot {
        if let Some(matcher) = &self.namespaces {
            snapshot = snapshot.restricted_to(matcher.clone());
        }
        if let Some(matcher) = &self.streams {
            snapshot = snapshot.with_streams(matcher.clone());
        }
        snapshot
    }

    /// The tenant with all of its data, for what no restriction can divide: storing, deleting, upkeep.
    ///
    /// # Errors
    /// When it is not for whom this view is for.
    pub fn whole(&self) -> Result<&Arc<Tenant>, &'static str> {
        match self.namespaces {
            None => Ok(&self.tenant),
            Some(_) => Err(RESTRICTED),
        }
    }
}

impl Deref for View {
    type Target = TenantInfo;

    fn deref(&self) -> &TenantInfo {
        &self.tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;
    use crate::access::principal::{Grant, Kind};
    use crate::tenants::limits::Limits;

    #[test]
    fn all_of_a_tenant_is_for_those_only_who_are_not_restricted() {
        let tenant = Tenant::new("a", "/no/such/folder".into(), false, &Limits::default());
        let tenant = Arc::new(tenant);
        for (namespaces, is_given) in [(Vec::new(), true), (vec!["shop".to_owned()], false)] {
            let principal = Principal {
                kind: Kind::User,
                name: "x".into(),
                grant: Grant::new(Role::Viewer, Vec::new(), namespaces).unwrap(),
            };
            let view = View::new(tenant.clone(), &principal);
            assert_eq!(view.name(), "a");
            assert_eq!(view.whole().is_ok(), is_given);
        }
    }
}
