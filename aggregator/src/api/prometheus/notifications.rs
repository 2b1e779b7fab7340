//! `/api/v1/notifications`: what the web page of Prometheus tells its readers at once.
//!
//! There is one notification here: the store is being recovered. Nobody can subscribe to more, which a client that asks
//! for a stream learns as from Prometheus: 204, and its browser does not ask again.

use hyper::StatusCode;
use serde_json::json;

use super::envelope;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};

/// `/api/v1/notifications`
pub fn list(app: &App, _: &Call) -> Reply {
    let recovering = json!({
        "text": "kansoku-aggregator is starting and recovering the store.",
        "date": clock::rfc3339_ms(app.started_ms),
        "active": true,
    });
    let active: Vec<_> = (!app.tenants.is_ready())
        .then_some(recovering)
        .into_iter()
        .collect();
    envelope::success(json!(active).to_string().as_bytes())
}

/// `/api/v1/notifications/live`
pub fn live(_: &App, _: &Call) -> Reply {
    Reply::empty(StatusCode::NO_CONTENT)
}
