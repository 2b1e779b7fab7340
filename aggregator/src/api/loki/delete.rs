//! `/loki/api/v1/delete`: asks for deletes of log lines, lists them, takes them back.
//!
//! Parameters and answers are Loki's. Unlike there the lines are gone from queries as soon as the
//! request is answered, and what is pushed later to the same times stays. Only with
//! `--web.enable-admin-api`.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use kansoku_store::{DeleteInfo, DeleteKind, DeleteRequest};
use serde_json::{Value, json};

use super::errors::ApiError;
use super::params;
use crate::api::deletes;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};

/// Answers all methods of the path.
pub async fn answer(app: Arc<App>, call: Call) -> Reply {
    if !app.settings.enable_admin_api {
        let text = "deletes are not enabled; start with --web.enable-admin-api";
        return Reply::text(StatusCode::FORBIDDEN, text);
    }
    match call.method {
        Method::GET => list(&app, &call).await,
        Method::DELETE => cancel(&app, &call).await,
        _ => delete(&app, &call).await,
    }
}

async fn delete(app: &Arc<App>, call: &Call) -> Reply {
    let request = match request(&call.form, clock::now_ns()) {
        Ok(request) => request,
        Err(error) => return error.reply(),
    };
    let what = format!("delete logs {} ({})", request.selector, request.id);
    match deletes::run(app, &call.tenant, what, move |store| store.delete(request)).await {
        Ok(()) => Reply::empty(StatusCode::NO_CONTENT),
        Err((status, message)) => Reply::text(status, message),
    }
}

fn request(form: &Form, now_ns: i64) -> Result<DeleteRequest, ApiError> {
    let selector = form.get("query");
    if selector.is_empty() {
        return Err(ApiError::bad_request("query not set"));
    }
    deletes::parse_selector(DeleteKind::Logs, selector).map_err(ApiError::bad_request)?;
    if form.get("start").is_empty() {
        return Err(ApiError::bad_request("start time not set"));
    }
    let time_ns = |name: &str, none: i64| {
        params::time_ns(form, name, none).map_err(|_| {
            ApiError::bad_request(format!(
                "invalid {name} time: require unix seconds or RFC3339 format"
            ))
        })
    };
    let (from, to) = (time_ns("start", 0)?, time_ns("end", now_ns)?);
    if to > now_ns {
        return Err(ApiError::bad_request(
            "deletes in the future are not allowed",
        ));
    }
    if from >= to {
        return Err(ApiError::bad_request(
            "start time can't be greater than or equal to end time",
        ));
    }
    Ok(DeleteRequest {
        id: deletes::new_id(),
        kind: DeleteKind::Logs,
        selector: selector.to_owned(),
        from,
        to,
        now_ms: now_ns / 1_000_000,
        can_be_cancelled: true,
    })
}

async fn list(app: &Arc<App>, call: &Call) -> Reply {
    let what = "list deletes".to_owned();
    let all = match deletes::run_quietly(app, &call.tenant, what, |store| Ok(store.deletes())).await
    {
        Ok(all) => all,
        Err((status, message)) => return Reply::text(status, message),
    };
    let logs = all.iter().filter(|d| d.kind == DeleteKind::Logs);
    let shown: Value = logs.map(show).collect();
    Reply::json(StatusCode::OK, shown.to_string())
}

fn show(delete: &DeleteInfo) -> Value {
    json!({
        "request_id": delete.id,
        "start_time": seconds(delete.from.div_euclid(1_000_000)),
        "end_time": seconds(delete.to.div_euclid(1_000_000)),
        "query": delete.selector,
        "status": if delete.is_done { "processed" } else { "received" },
        "created_at": seconds(delete.asked_ms),
        "user_id": "",
    })
}

/// Milliseconds as seconds; whole ones without a fraction, which logcli cannot read.
fn seconds(ms: i64) -> Value {
    match ms % 1000 {
        0 => json!(ms / 1000),
        _ => json!(ms as f64 / 1e3),
    }
}

async fn cancel(app: &Arc<App>, call: &Call) -> Reply {
    let id = call.form.get("request_id").to_owned();
    let wanted = id.clone();
    let what = format!("take the delete {id} back");
    let done = deletes::run(app, &call.tenant, what, move |store| {
        let is_known = store.deletes().iter().any(|d| d.id == wanted);
        Ok((is_known, store.cancel_delete(&wanted)?))
    });
    match done.await {
        Ok((_, true)) => Reply::empty(StatusCode::NO_CONTENT),
        Ok((true, false)) => {
            let text =
                "deletion of request which is in process or already processed is not allowed";
            Reply::text(StatusCode::BAD_REQUEST, text)
        }
        Ok((false, false)) => {
            let text = "could not find delete request with given id";
            Reply::text(StatusCode::NOT_FOUND, text)
        }
        Err((status, message)) => Reply::text(status, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_have_no_fraction() {
        for (ms, expected) in [(5000, "5"), (5001, "5.001"), (-1000, "-1")] {
            assert_eq!(seconds(ms).to_string(), expected);
        }
    }

    #[test]
    fn wrong_requests_are_told_as_loki_tells_them() {
        let ask = |text: &str| {
            let mut form = Form::default();
            form.read(text).expect("a form");
            request(&form, 100_000_000_000).map_err(|e| e.message)
        };
        let query = "query=%7Bapp%3D%22a%22%7D";
        for (text, expected) in [
            ("start=1".to_owned(), "query not set"),
            (query.to_owned(), "start time not set"),
            (
                format!("{query}&start=1&end=101"),
                "deletes in the future are not allowed",
            ),
            (
                format!("{query}&start=x"),
                "invalid start time: require unix seconds or RFC3339 format",
            ),
            (
                format!("{query}&start=9&end=9"),
                "start time can't be greater than or equal to end time",
            ),
        ] {
            assert_eq!(ask(&text).unwrap_err(), expected, "{text}");
        }
        let good = ask(&format!("{query}&start=2")).unwrap();
        assert_eq!((good.from, good.to), (2_000_000_000, 100_000_000_000));
        assert!(
            ask("query=%7B&start=1")
                .unwrap_err()
                .contains("parse error")
        );
    }
}
