//! What all handlers share: the settings, the tenants with their stores, budgets and counters.
//!
//! The one rule: everything here may be used from any thread at any time; nothing is set twice.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kansoku_parsers::wire::{Window, loki_push, remote_write};
use kansoku_query::memory::{Memory, Share};
use kansoku_query::promql::Threads;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::active_queries::ActiveQueries;
use crate::api::gate::Gate;
use crate::api::loki::tail::TAILS_MAX;
use crate::api::prometheus::RangeCache;
use crate::clock;
use crate::documents::Documents;
use crate::http::budget::Budget;
use crate::http::web::Web;
use crate::journal::Sparing;
use crate::rules::manager::Rules;
use crate::settings::{Settings, no_limit_of_0};
use crate::telemetry::Telemetry;
use crate::tenants::{TenantInfo, Tenants};

/// Bodies on their way in, as they are sent: two of the largest frames.
const BODIES_BYTES: usize = 256 << 20;
/// What becomes of them while they are decoded and appended.
const DECODED_BYTES: usize = 512 << 20;
/// How long a request waits for room in a budget; senders' own timeouts are 10 s and more.
const BUDGET_PATIENCE: Duration = Duration::from_secs(8);

/// In test mode nothing is kept: names go from results at the end there, whatever their steps.
fn range_cache_bytes(settings: &Settings) -> usize {
    if settings.test_mode {
        return 0;
    }
    usize::try_from(settings.query_cache_bytes).unwrap_or(usize::MAX)
}

/// The running aggregator.
#[derive(Debug)]
pub struct App {
    pub settings: Settings,
    /// The way to all data.
    pub tenants: Tenants,
    pub telemetry: Telemetry,
    /// TLS and passwords of the listener.
    pub web: Web,
    /// Users, tokens, sessions and the audit log.
    pub access: Access,
    /// For troubles of the store that every request would repeat.
    pub troubles: Sparing,
    pub gate: Gate,
    /// Where queries under way are noted, once the store is open.
    pub active_queries: OnceLock<ActiveQueries>,
    /// Threads that PromQL queries may use besides their own.
    pub query_threads: Arc<Threads>,
    /// What queries hold together.
    pub query_memory: Arc<Memory>,
    /// Results of range queries of metrics.
    pub range_cache: RangeCache,
    pub rules: Rules,
    pub documents: Documents,
    /// A slot for each tail of logs.
    pub tails: Arc<Semaphore>,
    pub bodies: Budget,
    pub decoded: Budget,
    /// When the process began to serve, Unix milliseconds.
    pub started_ms: i64,
    /// The same as a monotonic time.
    pub started: Instant,
    /// Where it really listens, for `instance` of its own metrics.
    pub address: String,
}

impl App {
    /// An aggregator none of whose stores is open yet.
    ///
    /// # Errors
    /// What is wrong with the files that the settings name.
    pub fn new(settings: Settings, address: String) -> Result<Self, String> {
        Ok(Self {
            web: Web::new(settings.web_config_path.as_deref())?,
            access: Access::new(&settings)?,
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
            gate: Gate::new(settings.query_max_concurrency as usize),
            active_queries: OnceLock::new(),
            query_threads: Arc::new(Threads::new(settings.query_threads())),
            query_memory: Arc::new(Memory::new(settings.query_max_memory_total())),
            range_cache: RangeCache::new(range_cache_bytes(&settings)),
            rules: Rules::new(settings.query_max_concurrency as usize),
            tenants: Tenants::new(&settings),
            documents: Documents::new(settings.dashboards_path.clone()),
            settings,
            telemetry: Telemetry::default(),
            troubles: Sparing::default(),
            bodies: Budget::new(BODIES_BYTES, BUDGET_PATIENCE),
            decoded: Budget::new(DECODED_BYTES, BUDGET_PATIENCE),
            started_ms: clock::now_ms(),
            started: Instant::now(),
            address,
        })
    }

    /// The times that samples and lines pushed by a tenant may have now.
    #[must_use]
    pub fn window(&self, tenant: &TenantInfo) -> Window {
        if self.settings.test_mode {
            return Window::ANY;
        }
        let now_ms = clock::now_ms();
        let ahead_ms = i64::try_from(self.settings.config.max_ahead.as_millis());
        let oldest_ms = match self.settings.retention_ms_of(&tenant.limits) {
            Some(retention_ms) => now_ms.saturating_sub(retention_ms),
            None => i64::MIN,
        };
        Window {
            oldest_ms: oldest_ms.max(Window::ANY.oldest_ms),
            newest_ms: now_ms
                .saturating_add(ahead_ms.unwrap_or(i64::MAX))
                .min(Window::ANY.newest_ms),
        }
    }

    /// How long a query of a tenant may take.
    #[must_use]
    pub fn query_timeout(&self, tenant: &TenantInfo) -> Duration {
        let own = tenant.limits.query_timeout;
        own.unwrap_or(self.settings.query_timeout)
    }

    /// How many samples a query of a tenant may hold in memory.
    #[must_use]
    pub fn query_max_samples(&self, tenant: &TenantInfo) -> usize {
        let own = tenant.limits.query_max_samples;
        own.unwrap_or(self.settings.query_max_samples)
    }

    /// How much memory a query of a tenant may hold.
    #[must_use]
    pub fn query_max_bytes(&self, tenant: &TenantInfo) -> usize {
        let own = tenant.limits.query_max_memory;
        no_limit_of_0(own.unwrap_or(self.settings.query_max_memory_bytes))
    }

    /// What a query of a tenant takes its memory of.
    #[must_use]
    pub fn query_share(&self, tenant: &TenantInfo) -> Share {
        Share::new(Arc::clone(&self.query_memory), self.query_max_bytes(tenant))
    }

    /// What a remote write may hold now.
    #[must_use]
    pub fn remote_write_limits(&self, tenant: &TenantInfo) -> remote_write::Limits {
        remote_write::Limits {
            max_labels: tenant.limits.max_labels,
            window: self.window(tenant),
        }
    }

    /// What a Loki push may hold now.
    #[must_use]
    pub fn loki_limits<'t>(&self, tenant: &'t TenantInfo) -> loki_push::Limits<'t> {
        loki_push::Limits {
            max_labels: tenant.limits.max_labels,
            max_line_bytes: tenant.limits.max_line_bytes,
            max_metadata: tenant.limits.max_metadata,
            max_metadata_bytes: tenant.limits.max_metadata_bytes,
            window: self.window(tenant),
            discovery: &tenant.limits.discovery,
        }
    }
}
