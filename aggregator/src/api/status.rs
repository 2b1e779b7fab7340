//! The aggregator's word on itself: health, readiness, metrics.

use std::sync::Arc;

use hyper::StatusCode;

use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};
use crate::telemetry::{exposition, metrics};

/// `/-/healthy`: the process answers.
pub fn healthy(_: &App, _: &Call) -> Reply {
    Reply::text(StatusCode::OK, "kansoku-aggregator is healthy.")
}

/// `/-/ready`: recovery has finished and writes are taken.
pub fn ready(app: &App, _: &Call) -> Reply {
    readiness(app, "kansoku-aggregator is ready.")
}

/// `/ready`: the same in Loki's words.
pub fn ready_loki(app: &App, _: &Call) -> Reply {
    readiness(app, "ready")
}

/// `/-/reload`: reads what the configuration says of rules and alerts again.
pub async fn reload(app: Arc<App>) -> Reply {
    if !app.settings.rules.enable_lifecycle {
        let text =
            "Lifecycle API is not enabled; start with --web.enable-lifecycle, or send SIGHUP.";
        return Reply::text(StatusCode::FORBIDDEN, text);
    }
    if !app.tenants.is_ready() {
        let text = "not ready: the store is being recovered; try again later";
        return Reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match app.rules.reload(&app).await {
        Ok(()) => Reply::empty(StatusCode::OK),
        Err(error) => Reply::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to reload config: {error}"),
        ),
    }
}

fn readiness(app: &App, good: &str) -> Reply {
    let bad = |text: &str| Reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
    if !app.tenants.is_ready() {
        return bad("not ready: the store is being recovered");
    }
    let stores = app.tenants.open_stores();
    if stores.iter().any(|(_, store)| store.is_poisoned()) {
        return bad(
            "not ready: the store refuses writes since a write failed; check the disk and restart",
        );
    }
    Reply::text(StatusCode::OK, good)
}

/// `/metrics`: its own metrics.
pub fn metrics(app: &App, _: &Call) -> Reply {
    let batch = metrics::collect(app, clock::now_ms());
    let text = exposition::render(&batch);
    Reply::new(StatusCode::OK, exposition::CONTENT_TYPE, text)
}
