//! What all handlers share: the settings, the store once it is open, budgets and counters.
//!
//! The one rule: everything here may be used from any thread at any time; nothing is set twice.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kansoku_parsers::wire::{Window, loki_push, remote_write};
use kansoku_store::Store;

use crate::api::gate::Gate;
use crate::clock;
use crate::http::budget::Budget;
use crate::journal::Sparing;
use crate::settings::Settings;
use crate::telemetry::Telemetry;

/// Bodies on their way in, as they are sent: two of the largest frames.
const BODIES_BYTES: usize = 256 << 20;
/// What becomes of them while they are decoded and appended.
const DECODED_BYTES: usize = 512 << 20;
/// How long a request waits for room in a budget; senders' own timeouts are 10 s and more.
const BUDGET_PATIENCE: Duration = Duration::from_secs(8);

/// The running aggregator.
#[derive(Debug)]
pub struct App {
    pub settings: Settings,
    /// Set once recovery has finished.
    store: OnceLock<Arc<Store>>,
    pub telemetry: Telemetry,
    /// For troubles of the store that every request would repeat.
    pub troubles: Sparing,
    pub gate: Gate,
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
    /// An aggregator whose store is not open yet.
    #[must_use]
    pub fn new(settings: Settings, address: String) -> Self {
        Self {
            gate: Gate::new(settings.query_max_concurrency as usize),
            settings,
            store: OnceLock::new(),
            telemetry: Telemetry::default(),
            troubles: Sparing::default(),
            bodies: Budget::new(BODIES_BYTES, BUDGET_PATIENCE),
            decoded: Budget::new(DECODED_BYTES, BUDGET_PATIENCE),
            started_ms: clock::now_ms(),
            started: Instant::now(),
            address,
        }
    }

    /// Makes the store available: the aggregator is ready.
    pub fn set_store(&self, store: Arc<Store>) {
        let unset = self.store.set(store).is_ok();
        debug_assert!(unset, "the store is opened once");
    }

    /// The store, when it is open.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.get()
    }

    /// The times that pushed samples and lines may have now.
    #[must_use]
    pub fn window(&self) -> Window {
        if self.settings.test_mode {
            return Window::ANY;
        }
        let now_ms = clock::now_ms();
        let ahead_ms = i64::try_from(self.settings.config.max_ahead.as_millis());
        let oldest_ms = match self.settings.retention_ms() {
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

    /// What a remote write may hold now.
    #[must_use]
    pub fn remote_write_limits(&self) -> remote_write::Limits {
        remote_write::Limits {
            max_labels: self.settings.config.max_labels,
            window: self.window(),
        }
    }

    /// What a Loki push may hold now.
    #[must_use]
    pub fn loki_limits(&self) -> loki_push::Limits {
        loki_push::Limits {
            max_labels: self.settings.config.max_labels,
            max_line_bytes: self.settings.config.max_line_bytes,
            // Loki's default.
            max_metadata: 128,
            window: self.window(),
        }
    }
}
