//! One tenant: its limits, its counters, and its store, which is open only while somebody uses it.
//!
//! The one rule: whoever holds the store keeps it open. It is opened and closed under a lock, so nobody
//! finds it half open; both may take a while and belong on threads that may block.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kansoku_store::{
    Complete, Memory, Options, Reason, Recovery, Refused, Snapshot, Store, StoreError,
};
use tokio::sync::Semaphore;

use super::limits::Limits;
use super::rate::Rate;
use crate::api::deletes;
use crate::settings::Settings;
use crate::{clock, journal};

/// Why there is no store at hand.
#[derive(Debug, Clone)]
pub enum NoStore {
    /// The program has not come to it yet.
    Recovering,
    Failed(StoreError),
}

impl std::fmt::Display for NoStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recovering => f.write_str("the store is being recovered; try again later"),
            Self::Failed(error) => write!(f, "failed to open the store of the tenant: {error}"),
        }
    }
}

/// Reasons for which records are not taken, besides those of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    RateLimited,
    /// Wrong in itself: no name, too old, too long a line.
    Invalid,
}

const N_REASONS: usize = Reason::ALL.len() + 2;

/// What a tenant is, without its data: whoever has this can neither read nor store.
#[derive(Debug)]
pub struct TenantInfo {
    name: String,
    folder: PathBuf,
    /// The one that is there without any header; its store is opened at the start and stays open.
    is_default: bool,
    pub limits: Limits,
    pub rate: Rate,
    /// Its queries that may run at a time.
    pub slots: Option<Arc<Semaphore>>,
    discarded: [AtomicU64; N_REASONS],
}

/// A tenant with its data, all of it: requests have a [`View`](super::View) instead.
#[derive(Debug)]
pub struct Tenant {
    info: TenantInfo,
    /// Held while the store is opened or closed.
    store: Mutex<Option<Arc<Store>>>,
    /// Unix milliseconds: the last request, and the last time upkeep was done for it.
    used_ms: AtomicI64,
    kept_ms: AtomicI64,
    /// No upkeep before that; locked for the time of one comparison.
    rests_until: Mutex<Option<Instant>>,
}

impl Deref for Tenant {
    type Target = TenantInfo;

    fn deref(&self) -> &TenantInfo {
        &self.info
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TenantInfo {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its store lies, and what is kept beside it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a message says of it; nothing while there is only one.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.name.as_str() {
            "" => String::new(),
            name => format!(" of tenant '{name}'"),
        }
    }

    /// The key of the configuration below which its limits stand.
    #[must_use]
    pub fn section(&self) -> String {
        match self.name.as_str() {
            "" => "limits".into(),
            name => format!("tenants.{name} or limits"),
        }
    }

    /// Counts records that were not taken.
    pub fn discard(&self, reason: Discard, n: u64) {
        let at = Reason::ALL.len() + reason as usize;
        self.discarded[at].fetch_add(n, Ordering::Relaxed);
    }

    /// Counts records that limits of the store kept out.
    pub fn discard_refused(&self, refused: &Refused) {
        for (counter, n) in self.discarded.iter().zip(refused.counts) {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Records that were not taken, by reason.
    pub fn discarded(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let of_store = Reason::ALL.into_iter().map(Reason::name);
        let names = of_store.chain(["rate_limited", "invalid"]);
        let counts = self.discarded.iter().map(|n| n.load(Ordering::Relaxed));
        names.zip(counts)
    }
}

impl Tenant {
    pub(super) fn new(name: &str, folder: PathBuf, is_default: bool, limits: &Limits) -> Self {
        let slots = limits.query_max_concurrency as usize;
        let info = TenantInfo {
            name: name.to_owned(),
            folder,
            is_default,
            rate: Rate::new(limits.ingestion_rate_bytes),
            slots: (slots > 0).then(|| Arc::new(Semaphore::new(slots))),
            limits: limits.clone(),
            discarded: Default::default(),
        };
        Self {
            info,
            store: Mutex::default(),
            used_ms: AtomicI64::new(clock::now_ms()),
            kept_ms: AtomicI64::new(0),
            rests_until: Mutex::default(),
        }
    }

    /// Its store, opened if need be; made when it is a new tenant. May block.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn store(&self, opener: &Opener) -> Result<Arc<Store>, NoStore> {
        self.used_ms.store(clock::now_ms(), Ordering::Relaxed);
        let mut store = lock(&self.store);
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        if self.is_default {
            return Err(NoStore::Recovering);
        }
        let opened = opener.open(self).map_err(NoStore::Failed)?;
        Ok(Arc::clone(store.insert(Arc::new(opened))))
    }

    /// The same, or none for a tenant that never sent anything.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn existing_store(&self, opener: &Opener) -> Result<Option<Arc<Store>>, NoStore> {
        let is_there = self.is_default || self.folder.join("MANIFEST").exists();
        is_there.then(|| self.store(opener)).transpose()
    }

    /// One view of all that it has, for the program's own work; requests ask through a
    /// [`View`](super::View). May block.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn whole_snapshot(&self, opener: &Opener) -> Result<Snapshot, NoStore> {
        let store = self.existing_store(opener)?;
        Ok(store.map_or_else(Snapshot::empty, |store| store.snapshot()))
    }

    /// Its store, if it is open.
    #[must_use]
    pub fn open_store(&self) -> Option<Arc<Store>> {
        lock(&self.store).clone()
    }

    pub(super) fn set_store(&self, opened: Arc<Store>) {
        *lock(&self.store) = Some(opened);
    }

    /// Writes everything out and closes the store, if nobody uses it and nobody has for `idle`.
    ///
    /// # Errors
    /// When writing failed; then it stays open.
    pub(super) fn close_when_idle(&self, idle: Duration, now_ms: i64) -> Result<bool, StoreError> {
        let idle_ms = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
        let is_idle = || now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)) >= idle_ms;
        if self.is_default || !is_idle() {
            return Ok(false);
        }
        let mut store = lock(&self.store);
        let Some(open) = store.as_ref().filter(|s| Arc::strong_count(s) == 1) else {
            return Ok(false);
        };
        open.flush()?;
        *store = None;
        Ok(true)
    }

    /// When upkeep was done for it last, Unix milliseconds.
    pub(super) fn kept_ms(&self) -> i64 {
        self.kept_ms.load(Ordering::Relaxed)
    }

    pub(super) fn set_kept(&self, now_ms: i64) {
        self.kept_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Leaves its upkeep alone for a while.
    pub fn rest(&self, duration: Duration) {
        *lock(&self.rests_until) = Some(Instant::now() + duration);
    }

    /// Whether its upkeep is left alone.
    #[must_use]
    pub fn rests(&self) -> bool {
        lock(&self.rests_until).is_some_and(|until| Instant::now() < until)
    }
}

/// Opens stores: what they have in common.
#[derive(Debug)]
pub struct Opener {
    settings: Settings,
    memory: Arc<Memory>,
}

impl Opener {
    /// For stores that share one bound of memory.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            memory: Arc::new(Memory::new(settings.memory_limit_bytes)),
        }
    }

    /// The memory of all stores.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Opens a tenant's store and tells what was found.
    ///
    /// # Errors
    /// The store's.
    pub fn open(&self, tenant: &Tenant) -> Result<Store, StoreError> {
        let settings = &self.settings;
        let retention_bytes = tenant.limits.retention_bytes;
        let retention_bytes = retention_bytes.unwrap_or(settings.retention_bytes);
        let discovery = tenant.limits.discovery.clone();
        let options = Options {
            complete: Complete::with(move |batch| discovery.complete(batch)),
            memory_limit_bytes: settings.memory_limit_bytes,
            exemplars_max: settings.exemplars_max,
            memory: Some(Arc::clone(&self.memory)),
            limits: tenant.limits.of_store(),
            retention_ms: settings.retention_ms_of(&tenant.limits),
            retention_bytes: Some(retention_bytes).filter(|bytes| *bytes > 0),
            retention_rules: settings.config.retention.clone(),
            parse_selector: deletes::parse_selector,
            delete_cancel_ms: i64::try_from(settings.delete_cancel_period.as_millis())
                .unwrap_or(i64::MAX),
            ..Options::new(&tenant.folder)
        };
        let (store, recovery) = Store::open(options)?;
        tell(tenant, &recovery);
        Ok(store)
    }
}

fn tell(tenant: &Tenant, recovery: &Recovery) {
    let message = format!(
        "store {}{} is open: {} parts, {} records in {} entries of {} WAL segments",
        tenant.folder.display(),
        tenant.shown(),
        recovery.parts,
        recovery.wal_records,
        recovery.wal_entries,
        recovery.wal_segments
    );
    // Others come and go.
    if tenant.is_default {
        journal::info(&message);
    } else {
        journal::debug(&message);
    }
    if recovery.torn_bytes > 0 {
        journal::warn(&format!(
            "the WAL{} ended in {} bytes of an append that was never acknowledged; they were cut off",
            tenant.shown(),
            recovery.torn_bytes
        ));
    }
    for damage in &recovery.damaged {
        journal::error(&format!(
            "damage in {} at byte {}, {} bytes: {}",
            damage.path.display(),
            damage.offset_bytes,
            damage.len_bytes,
            damage.what
        ));
    }
}
