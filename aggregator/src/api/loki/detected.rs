//! What clients offer for choice: `/loki/api/v1/detected_labels`, `/detected_fields`,
//! `/detected_field/<name>/values`, `/patterns`; and `/format_query`.
//!
//! Parameters and answers are Loki's. Fields are of the newest entries, as many as `line_limit` says.

use std::sync::Arc;

use hyper::StatusCode;
use kansoku_model::select::Direction;
use kansoku_query::logql::output::Streams;
use kansoku_query::logql::{
    self, Context, Engine, Expr, Limits, LogExpr, QueryError, detected, patterns,
};
use serde_json::{Value, json};

use super::errors::ApiError;
use super::labels::{Wanted, run};
use super::{params, query};
use crate::api::gate;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;

/// Fields of an answer, when the request does not say.
const FIELDS: usize = 1000;
/// Labels that are told whatever their values look like.
const ALWAYS_TOLD: &[&str] = &["cluster", "namespace", "instance", "pod"];

/// `/loki/api/v1/detected_labels`: labels that are worth choosing from, and how many values they have.
pub async fn labels(app: Arc<App>, call: Call) -> Reply {
    let wanted = Wanted::of(&call.form, &["query"], &[""]);
    run(app, call.tenant, wanted, |s, w, interrupt| {
        let mut labels = Vec::new();
        for name in s.log_label_names(&w.any_of, w.from_ns, w.to_ns)? {
            interrupt.check()?;
            let values = s.log_label_values(&name, &w.any_of, w.from_ns, w.to_ns)?;
            if ALWAYS_TOLD.contains(&name.as_str()) || !are_ids(&values) {
                labels.push(json!({"label": name, "cardinality": values.len()}));
            }
        }
        // As there: without the list when there is none.
        let body = match labels.is_empty() {
            true => "{}".to_owned(),
            false => json!({"detectedLabels": labels}).to_string(),
        };
        Ok(Reply::json(StatusCode::OK, body))
    })
    .await
}

/// Whether all values are numbers or UUIDs; 0 and 1 alone are a choice.
fn are_ids(values: &[String]) -> bool {
    let is_flag = |v: &String| matches!(v.as_str(), "0" | "1");
    if values.len() <= 2 && !values.is_empty() && values.iter().all(is_flag) {
        return false;
    }
    values
        .iter()
        .all(|v| v.parse::<f64>().is_ok() || is_uuid(v))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// `/loki/api/v1/detected_fields`
pub async fn fields(app: Arc<App>, call: Call) -> Reply {
    let answer = |streams: &Streams, limit: usize| {
        let fields = detected::fields(streams, limit);
        let shown: Vec<Value> = fields.iter().map(show).collect();
        match shown.is_empty() {
            true => json!({}),
            false => json!({"fields": shown, "limit": limit}),
        }
    };
    of_newest(app, call, answer).await
}

fn show(field: &detected::DetectedField) -> Value {
    let mut shown = json!({
        "label": field.label,
        "type": field.kind,
        "cardinality": field.cardinality,
        "parsers": field.parsers,
    });
    if field.parsers.is_empty() {
        shown["parsers"] = Value::Null;
    }
    if !field.json_path.is_empty() {
        shown["jsonPath"] = json!(field.json_path);
    }
    shown
}

/// `/loki/api/v1/detected_field/<name>/values`
pub async fn values(app: Arc<App>, call: Call) -> Reply {
    let name = call.path_value.clone();
    let answer = move |streams: &Streams, limit: usize| {
        let values = detected::values(streams, &name, limit);
        match values.is_empty() {
            true => json!({}),
            false => json!({"values": values, "limit": limit}),
        }
    };
    of_newest(app, call, answer).await
}

/// `/loki/api/v1/patterns`: what lines look like, and how many of each there are per step.
pub async fn patterns(app: Arc<App>, call: Call) -> Reply {
    let request = PatternsRequest::of(&call.form);
    let request = match request {
        Ok(request) => request,
        Err(error) => return error.reply(),
    };
    let tenant = call.tenant;
    let (timeout, own) = (app.query_timeout(&tenant), tenant.clone());
    let kind = QueryKind::LogqlRange;
    let done = gate::run(&app, &tenant, kind, timeout, move |app, interrupt| {
        let snapshot = own.snapshot(&app.tenants.opener)?;
        let check = || {
            let checked = interrupt.check();
            checked.map_err(|why| QueryError::Cancelled(why.message().into()))
        };
        let share = app.query_share(&own);
        let context = Context {
            memory: Some(&share),
            check: &check,
        };
        let PatternsRequest { log, span, step_ns } = request;
        let patterns = patterns::mine(&snapshot, &log, span, step_ns, &context)?;
        let shown: Vec<Value> = patterns.iter().map(show_pattern).collect();
        Ok(query::envelope(
            json!(shown).to_string().as_bytes(),
            &snapshot.warnings(),
        ))
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

struct PatternsRequest {
    log: LogExpr,
    span: (i64, i64),
    step_ns: i64,
}

impl PatternsRequest {
    fn of(form: &Form) -> Result<Self, ApiError> {
        let span = params::bounds(form, clock::now_ns())?;
        let Expr::Log(log) = logql::parse(form.get("query"))? else {
            return Err(ApiError::bad_request("only log selector is supported"));
        };
        let step_ns = params::step_ns(form, span.0, span.1)?;
        Ok(Self { log, span, step_ns })
    }
}

fn show_pattern(pattern: &patterns::Pattern) -> Value {
    let points = pattern.points.iter();
    let points: Vec<Value> = points
        .map(|(time_ns, n)| json!([time_ns.div_euclid(1_000_000_000), n]))
        .collect();
    json!({"pattern": pattern.text, "level": pattern.level, "samples": points})
}

/// Answers from the newest entries of a log query.
async fn of_newest(
    app: Arc<App>,
    call: Call,
    answer: impl FnOnce(&Streams, usize) -> Value + Send + 'static,
) -> Reply {
    let request = match Request::of(&call) {
        Ok(request) => request,
        Err(error) => return error.reply(),
    };
    let tenant = call.tenant;
    let (timeout, own) = (app.query_timeout(&tenant), tenant.clone());
    let kind = QueryKind::LogqlLabels;
    let done = gate::run(&app, &tenant, kind, timeout, move |app, interrupt| {
        let snapshot = own.snapshot(&app.tenants.opener)?;
        let check = || {
            let checked = interrupt.check();
            checked.map_err(|why| QueryError::Cancelled(why.message().into()))
        };
        let limits = Limits {
            max_entries: own.limits.query_max_entries,
            ..Limits::default()
        };
        let share = app.query_share(&own);
        let context = Context {
            memory: Some(&share),
            check: &check,
        };
        let streams = Engine { limits }.log_query(
            &snapshot,
            &request.log,
            request.start_ns,
            request.end_ns,
            Direction::Backward,
            request.line_limit,
            &context,
        )?;
        let body = answer(&streams, request.field_limit).to_string();
        Ok(Reply::json(StatusCode::OK, body))
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

struct Request {
    log: LogExpr,
    start_ns: i64,
    end_ns: i64,
    line_limit: usize,
    field_limit: usize,
}

impl Request {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let form = &call.form;
        let (start_ns, end_ns) = params::bounds(form, clock::now_ns())?;
        params::step_ns(form, start_ns, end_ns)?;
        let Expr::Log(log) = logql::parse(form.get("query"))? else {
            return Err(ApiError::bad_request("only log selector is supported"));
        };
        let field_limit = match (form.get("limit"), form.get("field_limit")) {
            ("", "") => FIELDS,
            ("", _) => params::limit_of(form, "field_limit", usize::MAX)?,
            _ => params::limit_of(form, "limit", usize::MAX)?,
        };
        Ok(Self {
            log,
            start_ns,
            end_ns,
            line_limit: params::limit_of(form, "line_limit", call.tenant.limits.query_max_entries)?,
            field_limit,
        })
    }
}

/// `/loki/api/v1/format_query`
pub fn format_query(_: &App, call: &Call) -> Reply {
    let (status, body) = match logql::parse(call.form.get("query")) {
        Ok(expr) => {
            let data = logql::pretty(&expr);
            (StatusCode::OK, json!({"status": "success", "data": data}))
        }
        Err(error) => {
            let body = json!({"status": "invalid-query", "error": error.to_string()});
            (StatusCode::BAD_REQUEST, body)
        }
    };
    Reply::json(status, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_no_choice() {
        for (values, expected) in [
            (&["1", "2", "3"][..], true),
            (&["0", "1"], false),
            (&["1"], false),
            (&["7"], true),
            (&["a", "7"], false),
            (&["13b17094-4249-480d-a7e9-77f36b11034b", "5"], true),
            (&[], true),
        ] {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            assert_eq!(are_ids(&values), expected, "{values:?}");
        }
    }
}
