//! `POST /loki/api/v1/push` and `/api/prom/push`: Loki's push, JSON or snappy-compressed protobuf.
//!
//! The statuses are Loki's: 204 when all was taken; 400 with the first reason when something was
//! refused, and what was good is kept; 429 when there are too many streams and nothing of the push was kept,
//! since senders repeat that, and what was kept would be there twice.

use std::sync::Arc;

use hyper::{StatusCode, header};
use kansoku_model::RecordBatch;
use kansoku_parsers::wire::{loki_json, loki_push};
use kansoku_store::Incoming;

use super::{IngestError, Outcome};
use crate::app::App;
use crate::http::body::Coding;
use crate::http::{Call, Reply};
use crate::telemetry::Protocol;

/// What a push in JSON looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonForm {
    Today,
    /// That of `/api/prom/push`.
    Legacy,
}

/// Takes a push.
pub async fn receive(app: Arc<App>, call: Call, form: JsonForm) -> Reply {
    let is_json = is_json(call.header(header::CONTENT_TYPE));
    let coding = match Coding::of(&call.headers) {
        // Protobuf pushes are snappy whether they say so or not.
        Ok(Coding::Identity) if !is_json => Coding::Snappy,
        Ok(coding) => coding,
        Err(error) => return error.reply(),
    };
    let max_bytes = super::max_bytes(&app);
    let done = super::run(
        &app,
        Protocol::Loki,
        call,
        coding,
        max_bytes,
        move |ingest, body| {
            let limits = ingest.app.loki_limits(ingest.tenant);
            let push = match (is_json, form) {
                (true, JsonForm::Today) => loki_json::decode(body, &limits),
                (true, JsonForm::Legacy) => loki_json::decode_legacy(body, &limits),
                (false, _) => loki_push::decode(body, &limits).map_err(|e| e.to_string()),
            };
            let push = push.map_err(|e| IngestError::Bad(StatusCode::BAD_REQUEST, e))?;
            if push.n_streams == 0 {
                let text = "error at least one valid stream is required for ingestion";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(IngestError::Bad(status, text.into()));
            }
            let mut outcome = Outcome {
                refused: push.refused.count as u64,
                ..Outcome::default()
            };
            if !push.batches.is_empty() {
                let batches = push.batches.into_iter().map(RecordBatch::Logs);
                let batches = batches.map(Incoming::Batch).collect();
                outcome.add(ingest.store.append(batches)?);
            }
            let limited = outcome.limit_text(ingest.tenant);
            // Nothing was stored, so it may come again without being there twice.
            let comes_again = limited.is_some()
                && outcome.accepted == 0
                && push.refused.count == 0
                && outcome.limited.is_of_streams_only();
            let told = Told {
                reasons: [push.refused.text(), limited]
                    .into_iter()
                    .flatten()
                    .collect(),
                comes_again,
            };
            Ok((outcome, told))
        },
    );
    match done.await {
        Ok(told) => told.reply(),
        Err(reply) => reply,
    }
}

/// What is told of entries that were not taken.
struct Told {
    reasons: Vec<String>,
    comes_again: bool,
}

impl Told {
    fn reply(self) -> Reply {
        let text = self.reasons.join("; ");
        if text.is_empty() {
            Reply::empty(StatusCode::NO_CONTENT)
        } else if self.comes_again {
            Reply::text(StatusCode::TOO_MANY_REQUESTS, text).retry_after(30)
        } else {
            Reply::text(StatusCode::BAD_REQUEST, text)
        }
    }
}

/// Whether the content type is JSON; whatever is not is protobuf, as in Loki.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_the_content_type() {
        assert!(is_json("application/json; charset=utf-8"));
        for protobuf in ["application/x-protobuf", "", "text/plain"] {
            assert!(!is_json(protobuf));
        }
    }
}
