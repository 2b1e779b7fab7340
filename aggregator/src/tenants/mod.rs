//! Tenants: who a request belongs to, and whose data lies where.
//!
//! Off, there is one, its store is `--storage.path`, and the header `X-Scope-OrgID` means nothing. On, every
//! request names its tenant, and each has a store of its own in `tenants/NAME/` below; what lies in
//! `--storage.path` itself belongs to the default one, so turning tenants on or off moves no data. The one
//! rule: a handler gets its tenant with the request and has no other way to a store.

pub mod limits;
mod rate;
mod tenant;
mod view;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};
use kansoku_model::tenant as id;
use kansoku_store::Store;

use crate::access::Principal;
use crate::http::{cookie, header};
use crate::settings::Settings;
use crate::{clock, journal};

pub use tenant::{Discard, NoStore, Opener, Tenant, TenantInfo};
pub use view::{Changes, View};

/// The folder of the tenants' stores below `--storage.path`.
pub const FOLDER: &str = "tenants";
/// The cookie in which the page keeps which tenant was chosen.
const TENANT_COOKIE: &str = "kansoku_tenant";
/// How often upkeep is done for tenants whose stores are closed: their data expires, too.
const SWEEP_MS: i64 = 3_600_000;
/// Steps of upkeep for such a one at a time.
const SWEEP_STEPS_MAX: usize = 1000;

/// Why a request has no tenant.
pub type Nobody = (StatusCode, String);

/// All tenants.
#[derive(Debug)]
pub struct Tenants {
    settings: Settings,
    pub opener: Opener,
    default: Arc<Tenant>,
    /// By name, the default one included; locked for a look-up or an addition.
    known: RwLock<BTreeMap<String, Arc<Tenant>>>,
    /// The default one's store is open.
    is_ready: AtomicBool,
}

/// The folders of all tenants below `path` but the default one's, by name, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let folder = path.join(FOLDER);
    let failed = |e: std::io::Error| format!("failed to list {}: {e}", folder.display());
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if id::check(&name).is_ok() && entry.path().join("MANIFEST").exists() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

impl Tenants {
    /// The tenants that have data, none of whose stores is open yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let name = if settings.tenants {
            settings.default_tenant.as_str()
        } else {
            ""
        };
        let path = settings.storage_path.clone();
        let limits = settings.limits_of(name);
        let default = Arc::new(Tenant::new(name, path, true, limits));
        let known = BTreeMap::from([(name.to_owned(), Arc::clone(&default))]);
        Self {
            opener: Opener::new(settings),
            settings: settings.clone(),
            default,
            known: RwLock::new(known),
            is_ready: AtomicBool::new(false),
        }
    }

    /// Opens the default tenant's store, which may take a while, and finds the other tenants.
    ///
    /// # Errors
    /// When it cannot be opened, or one tenant has data in two places, with the cure.
    pub fn open(&self) -> Result<(), String> {
        let path = &self.settings.storage_path;
        let shown = path.display();
        let others = folders(path)?;
        let name = self.default.name();
        if self.settings.tenants {
            if others.iter().any(|(other, _)| other == name) {
                return Err(format!(
                    "tenant '{name}' has a store in {shown} and another in {shown}/{FOLDER}/{name}; choose another name for what lies in {shown} (--tenants.default)"
                ));
            }
            journal::info(&format!(
                "tenants are on: what lies in {shown} itself belongs to tenant '{name}' (--tenants.default), {} others have data in {FOLDER}/",
                others.len()
            ));
        } else if !others.is_empty() {
            journal::warn(&format!(
                "tenants are off: the data of {} tenants in {shown}/{FOLDER} is kept, but not served and not expired (--tenants.enabled)",
                others.len()
            ));
        }
        let store = self.opener.open(&self.default);
        let store =
            store.map_err(|e| format!("failed to open the store {shown}: {e} (--storage.path)"))?;
        self.default.set_store(Arc::new(store));
        if self.settings.tenants {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for (name, _) in others {
                let tenant = Arc::new(self.tenant(&name));
                known.insert(name, tenant);
            }
        }
        self.is_ready.store(true, Ordering::Release);
        Ok(())
    }

    fn tenant(&self, name: &str) -> Tenant {
        let folder = self.settings.storage_path.join(FOLDER).join(name);
        Tenant::new(name, folder, false, self.settings.limits_of(name))
    }

    /// Whether requests can be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Whether requests must name their tenant.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings.tenants
    }

    /// The tenant that there is without a header.
    #[must_use]
    pub fn default(&self) -> &Arc<Tenant> {
        &self.default
    }

    /// All that are known, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }

    /// The stores that are open, with their tenants.
    #[must_use]
    pub fn open_stores(&self) -> Vec<(Arc<Tenant>, Arc<Store>)> {
        let all = self.all().into_iter();
        all.filter_map(|t| t.open_store().map(|store| (t, store)))
            .collect()
    }

    /// The tenant of a request. One that is not known yet becomes so when the request `writes`.
    ///
    /// # Errors
    /// 401 without a name, 400 for one that is none, 429 when there are too many tenants.
    ///
    /// Who may use one tenant only need not name it.
    pub fn of_request(
        &self,
        headers: &HeaderMap,
        principal: &Principal,
        writes: bool,
    ) -> Result<Arc<Tenant>, Nobody> {
        if !self.is_on() {
            return Ok(Arc::clone(&self.default));
        }
        let without_header = match &principal.grant.tenants[..] {
            [only] => Some(only.as_str()),
            // The page's web sockets have no header.
            _ => cookie(headers, TENANT_COOKIE),
        };
        if headers.get_all(id::HEADER).iter().count() > 1 {
            let text = "the header X-Scope-OrgID is given twice; send it once";
            return Err((StatusCode::BAD_REQUEST, text.into()));
        }
        let name = match headers.get(id::HEADER).map(HeaderValue::as_bytes) {
            None if without_header.is_some() => without_header.unwrap_or(""),
            None | Some(b"") => return Err((StatusCode::UNAUTHORIZED, "no org id".into())),
            Some(_) => header(headers, id::HEADER),
        };
        // A value that is no ASCII text comes as an empty one.
        let name = if name.is_empty() { "\u{fffd}" } else { name };
        id::check(name).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
        if !principal.may_use(name) {
            let text = format!("tenant '{name}' is not among those that you may use");
            return Err((StatusCode::FORBIDDEN, text));
        }
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(tenant) = known.get(name) {
                return Ok(Arc::clone(tenant));
            }
        }
        if !writes {
            return Ok(Arc::new(self.tenant(name)));
        }
        self.named(name)
            .map_err(|text| (StatusCode::TOO_MANY_REQUESTS, text))
    }

    /// The tenant of a name, who becomes known by that; the only one while tenants are off.
    ///
    /// # Errors
    /// When there are too many.
    pub fn named(&self, name: &str) -> Result<Arc<Tenant>, String> {
        if !self.is_on() {
            return Ok(Arc::clone(&self.default));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let max = self.settings.max_tenants as usize;
        if known.len() >= max && !known.contains_key(name) {
            return Err(format!(
                "there are {max} tenants already and '{name}' would be another; raise --tenants.max"
            ));
        }
        let known = known.entry(name.to_owned());
        Ok(Arc::clone(
            known.or_insert_with(|| Arc::new(self.tenant(name))),
        ))
    }

    /// Closes the stores that nobody has used for a while.
    pub fn close_idle(&self) {
        let now_ms = clock::now_ms();
        for tenant in self.all() {
            match tenant.close_when_idle(self.settings.tenant_idle, now_ms) {
                Ok(false) => {}
                Ok(true) => journal::debug(&format!("the store{} is closed", tenant.shown())),
                Err(error) => journal::warn(&format!(
                    "the store{} is idle but cannot be written out: {error}",
                    tenant.shown()
                )),
            }
        }
    }

    /// Does the upkeep of one tenant whose store has been closed for an hour. True: there was one.
    pub fn sweep(&self, keep: impl Fn(&Store) -> Result<bool, String>) -> bool {
        let now_ms = clock::now_ms();
        let is_due = |t: &Arc<Tenant>| t.kept_ms().saturating_add(SWEEP_MS) <= now_ms;
        let due = self
            .all()
            .into_iter()
            .find(|t| is_due(t) && t.open_store().is_none());
        let Some(tenant) = due else {
            return false;
        };
        tenant.set_kept(now_ms);
        let done = match tenant.existing_store(&self.opener) {
            Ok(Some(store)) => {
                let mut steps = 0..SWEEP_STEPS_MAX;
                steps.try_for_each(|_| match keep(&store) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(Ok(())),
                    Err(e) => Err(Err(e)),
                })
            }
            Ok(None) => return true,
            Err(e) => Err(Err(e.to_string())),
        };
        if let Err(Err(error)) = done {
            journal::error(&format!(
                "upkeep of the store{} failed: {error}",
                tenant.shown()
            ));
        }
        if let Err(error) = tenant.close_when_idle(std::time::Duration::ZERO, clock::now_ms()) {
            journal::warn(&format!(
                "the store{} cannot be written out: {error}",
                tenant.shown()
            ));
        }
        true
    }
}
