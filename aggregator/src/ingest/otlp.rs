//! OTLP over HTTP, protobuf or JSON: metrics as Prometheus takes them, logs as Loki does.
//!
//! The statuses are OTLP's: 200 with a partial success when something was refused and the rest kept; 400 when nothing was
//! good, since most senders log no partial success; 429, 503 and 507 ask for the same again. Failures are told as a
//! `google.rpc.Status`, in the form of the request.

use std::sync::Arc;

use hyper::{StatusCode, header};
use kansoku_model::RecordBatch;
use kansoku_parsers::wire::{WireError, otlp};
use kansoku_store::Incoming;

use super::{Ingest, IngestError, Outcome};
use crate::app::App;
use crate::clock;
use crate::http::body::Coding;
use crate::http::{Call, Reply};
use crate::telemetry::Protocol;

const PROTOBUF: &str = "application/x-protobuf";

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Logs,
    Metrics,
}

/// Takes an export request.
pub async fn receive(app: Arc<App>, call: Call, signal: Signal) -> Reply {
    let content_type = call.header(header::CONTENT_TYPE);
    let is_json = match content_type.split(';').next().unwrap_or("").trim() {
        "application/json" => true,
        PROTOBUF | "application/protobuf" => false,
        other => {
            let text = format!(
                "content type '{other}' is not supported; expected {PROTOBUF} or application/json"
            );
            return Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
    };
    let coding = match Coding::of(&call.headers) {
        Ok(coding) => coding,
        Err(error) => return as_status(error.reply(), is_json),
    };
    let max_bytes = super::max_bytes(&app);
    let work = move |ingest: &Ingest<'_>, body: &[u8]| take(ingest, body, signal, is_json);
    let done = super::run(&app, Protocol::Otlp, call, coding, max_bytes, work).await;
    match done {
        Ok(told) => told.reply(signal, is_json),
        Err(reply) => as_status(reply, is_json),
    }
}

/// Decodes and stores a request.
fn take(
    ingest: &Ingest<'_>,
    body: &[u8],
    signal: Signal,
    is_json: bool,
) -> Result<(Outcome, Told), IngestError> {
    let bad = |e: WireError| IngestError::Bad(StatusCode::BAD_REQUEST, e.to_string());
    let rewritten = match (is_json, signal) {
        (false, _) => None,
        (true, Signal::Logs) => Some(otlp::json::logs(body).map_err(bad)?),
        (true, Signal::Metrics) => Some(otlp::json::metrics(body).map_err(bad)?),
    };
    let body = rewritten.as_deref().unwrap_or(body);
    let config = &ingest.app.settings.config.otlp;
    let (incoming, refused): (Vec<RecordBatch>, (usize, Option<String>)) = match signal {
        Signal::Logs => {
            let limits = ingest.app.loki_limits(ingest.tenant);
            let push = otlp::loki::decode(body, clock::now_ns(), &config.index_attributes, &limits);
            let push = push.map_err(bad)?;
            let batches = push.batches.into_iter().map(RecordBatch::Logs);
            (batches.collect(), (push.refused.count, push.refused.text()))
        }
        Signal::Metrics => {
            let limits = ingest.app.remote_write_limits(ingest.tenant);
            let got = otlp::prometheus::translate(body, &config.rules, &limits).map_err(bad)?;
            let has_any = got.batch.n_samples() > 0;
            let batch = has_any.then_some(RecordBatch::Metrics(got.batch));
            (
                batch.into_iter().collect(),
                (got.refused.count, got.refused.first),
            )
        }
    };
    let mut outcome = Outcome {
        refused: refused.0 as u64,
        ..Outcome::default()
    };
    if !incoming.is_empty() {
        let incoming = incoming.into_iter().map(Incoming::Batch).collect();
        outcome.add(ingest.store.append(incoming)?);
    }
    let limited = outcome.limit_text(ingest.tenant);
    let told = Told {
        n_refused: outcome.refused,
        first: refused.1.or(limited),
        nothing_kept: outcome.accepted + outcome.duplicates == 0,
    };
    Ok((outcome, told))
}

/// What is told of records that were not taken.
struct Told {
    n_refused: u64,
    first: Option<String>,
    nothing_kept: bool,
}

impl Told {
    fn reply(self, signal: Signal, is_json: bool) -> Reply {
        let reason = self.first.unwrap_or_default();
        if self.n_refused > 0 && self.nothing_kept {
            let text = match self.n_refused {
                1 => reason,
                n if signal == Signal::Metrics => {
                    format!("{reason}; {n} records in all were refused")
                }
                _ => reason,
            };
            return as_status(Reply::text(StatusCode::BAD_REQUEST, text), is_json);
        }
        if is_json {
            let counted = match signal {
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
            };
            let body = match self.n_refused {
                0 => serde_json::json!({}),
                n => serde_json::json!({
                    "partialSuccess": { counted: n.to_string(), "errorMessage": reason }
                }),
            };
            return Reply::json(StatusCode::OK, body.to_string());
        }
        let mut body = Vec::new();
        otlp::write_response(&mut body, self.n_refused, &reason);
        Reply::new(StatusCode::OK, PROTOBUF, body)
    }
}

/// The same failure as a `google.rpc.Status`.
fn as_status(reply: Reply, is_json: bool) -> Reply {
    // Of gRPC: invalid argument, resource exhausted, unavailable, internal.
    let code = match reply.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => 8,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => 14,
        status if status.is_server_error() => 13,
        _ => 3,
    };
    let text = String::from_utf8_lossy(&reply.body).trim_end().to_owned();
    let (content_type, body) = if is_json {
        let body = serde_json::json!({ "code": code, "message": text });
        ("application/json", body.to_string().into_bytes())
    } else {
        let mut body = Vec::new();
        otlp::write_status(&mut body, code, &text);
        (PROTOBUF, body)
    };
    Reply {
        content_type,
        body: body.into(),
        ..reply
    }
}
