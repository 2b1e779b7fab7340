//! Queries whose answers and errors are not in the JSON envelope: remote read and federation.

use std::sync::Arc;

use super::envelope::ApiError;
use crate::api::gate::{self, Interrupt};
use crate::app::App;
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;

/// Runs `answer` through the gate; an error is its status and its text.
pub async fn run(
    app: Arc<App>,
    call: Call,
    kind: QueryKind,
    answer: fn(&App, &Call, &Interrupt) -> Result<Reply, ApiError>,
) -> Reply {
    let timeout = app.query_timeout(&call.tenant);
    let tenant = call.tenant.clone();
    let done = gate::run(&app, &tenant, kind, timeout, move |app, interrupt| {
        answer(app, &call, interrupt)
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => Reply::text(error.status, error.message),
    }
}
