//! `/api/v1/admin/tsdb/`: deleting series, cleaning up after it, snapshots.
//!
//! Paths, parameters and answers are Prometheus's but for `compact`, which it has not; like there
//! they answer only with `--web.enable-admin-api`. A delete takes what was stored before it; what is written later to the
//! same times stays.

use std::sync::Arc;

use hyper::StatusCode;
use kansoku_store::{DeleteKind, DeleteRequest, Store};
use serde_json::json;

use super::envelope::{self, ApiError};
use super::params::{self, TIME_MAX_MS, TIME_MIN_MS};
use crate::api::deletes;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};

/// `/api/v1/admin/tsdb/delete_series`
pub async fn delete_series(app: Arc<App>, call: Call) -> Reply {
    let requests = allowed(&app).and_then(|()| requests(&call));
    let requests = match requests {
        Ok(requests) => requests,
        Err(error) => return error.reply(),
    };
    let selectors: Vec<&str> = requests.iter().map(|r| r.selector.as_str()).collect();
    let what = format!("delete series {}", selectors.join(" "));
    let done = deletes::run(&app, &call.tenant, what, move |store| {
        store.delete_all(requests)
    })
    .await;
    match done {
        Ok(()) => Reply::empty(StatusCode::NO_CONTENT),
        Err(failed) => told(failed),
    }
}

fn requests(call: &Call) -> Result<Vec<DeleteRequest>, ApiError> {
    if call.form.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let from = params::time_ms(&call.form, "start", Some(TIME_MIN_MS))?;
    let to = params::time_ms(&call.form, "end", Some(TIME_MAX_MS))?;
    let request = |selector: &str| {
        deletes::parse_selector(DeleteKind::Samples, selector)
            .map_err(|e| ApiError::parameter("match[]", e))?;
        Ok(DeleteRequest {
            id: deletes::new_id(),
            kind: DeleteKind::Samples,
            selector: selector.to_owned(),
            from,
            to,
            now_ms: clock::now_ms(),
            can_be_cancelled: false,
        })
    };
    call.form.all("match[]").map(request).collect()
}

/// `/api/v1/admin/tsdb/clean_tombstones`
pub async fn clean_tombstones(app: Arc<App>, call: Call) -> Reply {
    if let Err(error) = allowed(&app) {
        return error.reply();
    }
    let what = "clean deleted series".to_owned();
    match deletes::run(&app, &call.tenant, what, Store::clean_deleted_samples).await {
        Ok(_) => Reply::empty(StatusCode::NO_CONTENT),
        Err(failed) => told(failed),
    }
}

/// `/api/v1/admin/tsdb/snapshot`
pub async fn snapshot(app: Arc<App>, call: Call) -> Reply {
    let skip_head = allowed(&app).and_then(|()| match call.form.get("skip_head") {
        "" => Ok(false),
        text => text.parse().map_err(|_| {
            let message = format!("unable to parse boolean \"skip_head\" argument: {text:?}");
            ApiError::parameter("skip_head", message)
        }),
    });
    let skip_head: bool = match skip_head {
        Ok(skip_head) => skip_head,
        Err(error) => return error.reply(),
    };
    let time: String = clock::rfc3339_ms(clock::now_ms())
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .take("20260102T030405".len())
        .collect();
    let name = format!("{time}Z-{}", deletes::new_id());
    let wanted = name.clone();
    let what = format!("snapshot {name}");
    let linked = deletes::run(&app, &call.tenant, what, move |store| {
        store.link_snapshot(&wanted, !skip_head).map(Some)
    });
    match linked.await {
        Ok(None) => told((StatusCode::BAD_REQUEST, "the tenant has no data".into())),
        Ok(Some(_)) => envelope::success(json!({ "name": name }).to_string().as_bytes()),
        Err(failed) => told(failed),
    }
}

/// `/api/v1/admin/tsdb/compact`: everything into as few parts as may be, logs as well.
pub async fn compact(app: Arc<App>, call: Call) -> Reply {
    if let Err(error) = allowed(&app) {
        return error.reply();
    }
    match deletes::run(&app, &call.tenant, "compact".to_owned(), Store::compact).await {
        Ok(_) => Reply::empty(StatusCode::NO_CONTENT),
        Err(failed) => told(failed),
    }
}

fn allowed(app: &App) -> Result<(), ApiError> {
    if app.settings.enable_admin_api {
        return Ok(());
    }
    Err(ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "unavailable",
        message: "admin APIs disabled; start with --web.enable-admin-api".into(),
    })
}

fn told((status, message): (StatusCode, String)) -> Reply {
    let kind = match status {
        StatusCode::BAD_REQUEST => "bad_data",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => "unavailable",
        _ => "internal",
    };
    envelope::error(status, kind, &message)
}
