//! What goes on besides requests: the store's upkeep and the aggregator's record of itself.
//!
//! One thread each. The one rule: a failure is told and counted and tried again; it never ends
//! the program, since queries and the WAL still work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kansoku_model::{MetricKind, RecordBatch};
use kansoku_store::{Incoming, Maintained, Store, StoreError};

use crate::app::App;
use crate::ingest::Outcome;
use crate::telemetry::{Protocol, metrics};
use crate::tenants::Tenant;
use crate::{clock, journal};

/// How long the upkeep rests when there is nothing to do; a full head wakes it earlier.
const REST: Duration = Duration::from_millis(500);
/// How long it rests after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often threads look whether they should stop.
const TICK: Duration = Duration::from_millis(200);

/// Tells the threads to stop.
pub type Stop = Arc<AtomicBool>;

/// Starts the thread that flushes, merges and drops, for one tenant after the other.
pub fn start_upkeep(app: Arc<App>, stop: Stop) -> std::io::Result<JoinHandle<()>> {
    let upkeep = std::thread::Builder::new().name("upkeep".into());
    upkeep.spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let mut is_idle = true;
            for (tenant, store) in app.tenants.open_stores() {
                is_idle &= stop.load(Ordering::Relaxed) || !keep_up(&app, &tenant, &store);
            }
            is_idle &= !flush_largest(&app);
            if app.tenants.is_on() {
                app.tenants.close_idle();
                let step = |store: &Store| maintain(store).map(|done| !done.is_idle());
                is_idle &= !app.tenants.sweep(step);
            }
            if is_idle {
                wait_for_work(&app, &stop);
            }
        }
    })
}

/// Starts the thread that writes out full heads while the other one merges: no tenant's merge holds up what
/// the others send.
pub fn start_flushes(app: Arc<App>, stop: Stop) -> std::io::Result<JoinHandle<()>> {
    let flushes = std::thread::Builder::new().name("flushes".into());
    flushes.spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for (tenant, store) in app.tenants.open_stores() {
                if !tenant.rests() && store.wants_flush_now() {
                    let flushed = caught(|| store.flush_when_full(clock::now_ms()));
                    tell_failure(&app, &tenant, flushed);
                }
            }
            flush_largest(&app);
            wait_for_work(&app, &stop);
        }
    })
}

/// One step for a tenant. True: something was done.
fn keep_up(app: &App, tenant: &Tenant, store: &Store) -> bool {
    if tenant.rests() {
        return false;
    }
    match tell_failure(app, tenant, maintain(store)) {
        Some(done) if !done.is_idle() => {
            journal::debug(&format!("upkeep{}: {done:?}", tenant.shown()));
            true
        }
        _ => false,
    }
}

/// What failed is told and left alone for a while.
fn tell_failure<T>(app: &App, tenant: &Tenant, done: Result<T, String>) -> Option<T> {
    let message = match done {
        Ok(done) => return Some(done),
        Err(message) => message,
    };
    let failed = &app.telemetry.failed_maintenance;
    failed.fetch_add(1, Ordering::Relaxed);
    let text = format!("upkeep of the store{} failed: {message}", tenant.shown());
    app.troubles.error(&text);
    tenant.rest(REST_AFTER_FAILURE);
    None
}

/// Writes out the largest head when all together are too large, although each is within its own bound.
fn flush_largest(app: &App) -> bool {
    let memory = app.tenants.opener.memory();
    let stores = app.tenants.open_stores();
    if stores.len() < 2 || !memory.wants_flush() {
        return false;
    }
    let awake = stores.iter().filter(|(tenant, _)| !tenant.rests());
    let Some((tenant, store)) = awake.max_by_key(|(_, store)| store.head_bytes()) else {
        return false;
    };
    let flushed = caught(|| store.flush());
    tell_failure(app, tenant, flushed).is_some()
}

/// Rests until a head is full, a little while at the most.
fn wait_for_work(app: &App, stop: &Stop) {
    let memory = app.tenants.opener.memory();
    // Who rests holds no store open.
    let stores = app.tenants.open_stores().into_iter();
    let stores: Vec<_> = stores
        .map(|(t, store)| (t, Arc::downgrade(&store)))
        .collect();
    memory.wait_while(REST, || {
        let mut awake = stores.iter().filter(|(tenant, _)| !tenant.rests());
        let is_full = awake.any(|(_, store)| store.upgrade().is_some_and(|s| s.wants_flush_now()));
        !stop.load(Ordering::Relaxed) && !is_full
    });
}

/// One step.
fn maintain(store: &Store) -> Result<Maintained, String> {
    caught(|| store.maintain(clock::now_ms()))
}

/// A mistake of this program must not end the upkeep silently, or memory would fill up with what is never
/// written out.
fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("a mistake of this program; see the lines above".into()),
    }
}

/// Starts the thread that stores the aggregator's own metrics, if that is wanted.
pub fn start_own_metrics(app: Arc<App>, stop: Stop) -> std::io::Result<Option<JoinHandle<()>>> {
    let interval = app.settings.config.own_metrics_interval;
    if interval.is_zero() || app.settings.test_mode {
        return Ok(None);
    }
    let recorder = std::thread::Builder::new().name("own-metrics".into());
    let thread = recorder.spawn(move || {
        let mut failing = false;
        while !stop.load(Ordering::Relaxed) {
            let recorded = record(&app);
            if let Err(error) = &recorded
                && !failing
            {
                journal::warn(&format!("failed to store metrics of its own: {error}"));
            }
            failing = recorded.is_err();
            rest(interval, &stop);
        }
    })?;
    Ok(Some(thread))
}

fn record(app: &App) -> Result<(), StoreError> {
    let tenant = app.tenants.default();
    let Some(store) = tenant.open_store() else {
        return Ok(());
    };
    let mut batch = metrics::collect(app, clock::now_ms());
    // What Prometheus writes for a target it could read.
    let up = batch.new_family("up", MetricKind::Gauge, "");
    batch.sample(up, &[], 1.0);
    let appended = store.append(vec![Incoming::Batch(RecordBatch::Metrics(batch))])?;
    let outcome = Outcome {
        accepted: appended.accepted,
        duplicates: appended.duplicates,
        refused: appended.refused.total(),
        limited: appended.refused,
    };
    tenant.discard_refused(&outcome.limited);
    app.telemetry.ingested(Protocol::Own, 0, &outcome);
    Ok(())
}

fn rest(duration: Duration, stop: &Stop) {
    let until = Instant::now() + duration;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(TICK));
    }
}
