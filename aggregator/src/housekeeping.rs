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
use kansoku_store::{Incoming, Maintained, Store};

use crate::app::App;
use crate::ingest::Outcome;
use crate::telemetry::{Protocol, metrics};
use crate::{clock, journal};

/// How long the upkeep rests when there is nothing to do; a full head wakes it earlier.
const REST: Duration = Duration::from_millis(500);
/// How long it rests after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often threads look whether they should stop.
const TICK: Duration = Duration::from_millis(200);

/// Tells the threads to stop.
pub type Stop = Arc<AtomicBool>;

/// Starts the thread that flushes, merges and drops.
pub fn start_upkeep(
    app: Arc<App>,
    store: Arc<Store>,
    stop: Stop,
) -> std::io::Result<JoinHandle<()>> {
    let upkeep = std::thread::Builder::new().name("upkeep".into());
    upkeep.spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            match maintain(&store) {
                Ok(done) if done.is_idle() => {
                    store.wait_for_work(REST);
                }
                Ok(done) => journal::debug(&format!("upkeep: {done:?}")),
                Err(message) => {
                    app.telemetry
                        .failed_maintenance
                        .fetch_add(1, Ordering::Relaxed);
                    let text = format!("upkeep of the store failed: {message}");
                    app.troubles.error(&text);
                    rest(REST_AFTER_FAILURE, &stop);
                }
            }
        }
    })
}

/// One step. A mistake of this program must not end the upkeep silently, or memory would fill up
/// with what is never written out.
fn maintain(store: &Store) -> Result<Maintained, String> {
    let step = AssertUnwindSafe(|| store.maintain(clock::now_ms()));
    match catch_unwind(step) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("a mistake of this program; see the lines above".into()),
    }
}

/// Starts the thread that stores the aggregator's own metrics, if that is wanted.
pub fn start_own_metrics(
    app: Arc<App>,
    store: Arc<Store>,
    stop: Stop,
) -> std::io::Result<Option<JoinHandle<()>>> {
    let interval = app.settings.config.own_metrics_interval;
    if interval.is_zero() || app.settings.test_mode {
        return Ok(None);
    }
    let recorder = std::thread::Builder::new().name("own-metrics".into());
    let thread = recorder.spawn(move || {
        let mut failing = false;
        while !stop.load(Ordering::Relaxed) {
            let recorded = record(&app, &store);
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

fn record(app: &App, store: &Store) -> Result<(), kansoku_store::StoreError> {
    let mut batch = metrics::collect(app, clock::now_ms());
    // What Prometheus writes for a target it could read.
    let up = batch.new_family("up", MetricKind::Gauge, "");
    batch.sample(up, &[], 1.0);
    let appended = store.append(vec![Incoming::Batch(RecordBatch::Metrics(batch))])?;
    let outcome = Outcome {
        accepted: appended.accepted,
        duplicates: appended.duplicates,
        refused: 0,
    };
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
