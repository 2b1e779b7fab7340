//! `POST /api/v1/frames`: native frames of agents, one after the other in a body.
//!
//! The store gets the frames as they came: their bytes are its WAL entries. The one rule: all
//! frames of a request are stored or none, and a repeat is answered like the first time.

use std::sync::Arc;

use hyper::StatusCode;
use kansoku_model::frame::{HEADER_BYTES, MAX_PAYLOAD_BYTES};
use kansoku_model::{Frame, FrameError};
use kansoku_store::Incoming;
use serde_json::json;

use super::{IngestError, Outcome};
use crate::app::App;
use crate::http::body::Coding;
use crate::http::{Call, Reply};
use crate::telemetry::Protocol;
use crate::tenants::TenantInfo;

/// One frame of the largest size.
#[must_use]
pub fn max_bytes(_: &App) -> usize {
    HEADER_BYTES + MAX_PAYLOAD_BYTES
}

/// Takes the frames of a body.
pub async fn receive(app: Arc<App>, call: Call) -> Reply {
    let coding = match Coding::of(&call.headers) {
        Ok(coding) => coding,
        Err(error) => return error.reply(),
    };
    let max_bytes = max_bytes(&app);
    let done = super::run(
        &app,
        Protocol::Frames,
        call,
        coding,
        max_bytes,
        |ingest, body| {
            let frames = split(body).map_err(|e| IngestError::Bad(StatusCode::BAD_REQUEST, e))?;
            let mut outcome = Outcome::default();
            outcome.add(ingest.store.append(frames)?);
            let answer = answer(&outcome, ingest.tenant);
            Ok((outcome, answer))
        },
    );
    match done.await {
        Ok(answer) => Reply::json(StatusCode::OK, answer),
        Err(reply) => reply,
    }
}

/// How many records were taken. What limits kept out is told and never wanted again: the rest of its range is
/// delivered, and existing series and streams behind it must not wait.
fn answer(outcome: &Outcome, tenant: &TenantInfo) -> String {
    let (accepted, duplicates) = (outcome.accepted, outcome.duplicates);
    match outcome.limit_text(tenant) {
        None => format!(r#"{{"accepted":{accepted},"duplicates":{duplicates}}}"#),
        Some(error) => json!({
            "accepted": accepted,
            "duplicates": duplicates,
            "refused": outcome.refused,
            "error": error,
        })
        .to_string(),
    }
}

/// The frames of a body, checked but not decoded.
fn split(body: &[u8]) -> Result<Vec<Incoming<'_>>, String> {
    if body.is_empty() {
        return Err("the body is empty; expected one frame or more".into());
    }
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let frame = Frame::parse(&body[at..]).map_err(|e| describe(at, &e))?;
        at += frame.as_bytes().len();
        frames.push(Incoming::Frame(frame));
    }
    Ok(frames)
}

fn describe(at: usize, error: &FrameError) -> String {
    format!("frame at byte {at}: {error}; nothing of this request was stored")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named_with_its_offset() {
        let mut body = Vec::new();
        let batch = kansoku_model::LogBatch::new("t".into(), Arc::default(), Vec::new());
        let batch = kansoku_model::RecordBatch::Logs(batch);
        let len = kansoku_model::frame::encode(&batch, &mut body).unwrap();
        body.extend_from_within(..);
        assert_eq!(split(&body).unwrap().len(), 2);
        let cut = split(&body[..body.len() - 1]).unwrap_err();
        let expected = format!(
            "frame at byte {len}: frame is cut off: {} of {len} bytes; nothing of this request was stored",
            len - 1
        );
        assert_eq!(cut, expected);
        body[len] = b'X';
        let expected = format!(
            "frame at byte {len}: damaged frame: no frame magic; nothing of this request was stored"
        );
        assert_eq!(split(&body).unwrap_err(), expected);
        assert!(split(b"").is_err());
    }
}
