//! Ingest: native frames, Prometheus remote write, Loki push.
//!
//! One file a protocol: it decodes and words the answer; what they share is here. The one rule: a
//! 2xx answer leaves only after the store has said that everything is on the disk.

pub mod frames;
pub mod loki;
pub mod remote_write;

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use kansoku_store::{Store, StoreError};

use crate::app::App;
use crate::http::Reply;
use crate::http::body::{BodyError, Coding};
use crate::journal;
use crate::telemetry::Protocol;

/// What a decoded body takes at the most while it becomes batches, in multiples of its length:
/// texts, slices and times, measured on one-byte lines.
const BATCH_FACTOR: usize = 8;

/// The bound of a push, compressed or not.
#[must_use]
pub fn max_bytes(app: &App) -> usize {
    app.settings.config.max_request_bytes
}

/// What a protocol made of a body.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records that the store took.
    pub accepted: u64,
    /// Records that the store had already.
    pub duplicates: u64,
    /// Records that were not taken.
    pub refused: u64,
}

/// Why a body as a whole was not taken.
#[derive(Debug)]
pub enum IngestError {
    /// The sender's fault: repeating it is useless.
    Bad(StatusCode, String),
    Store(StoreError),
}

impl From<BodyError> for IngestError {
    fn from(error: BodyError) -> Self {
        Self::Bad(error.status, error.message)
    }
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Decompresses `body` and runs `work` (decode and append) on a thread that may block, within the
/// budget for decoded bodies; counts what came of it; words failures.
pub async fn run<T: Send + 'static>(
    app: &Arc<App>,
    protocol: Protocol,
    body: Bytes,
    coding: Coding,
    max_bytes: usize,
    work: impl FnOnce(&App, &Store, &[u8]) -> Result<(Outcome, T), IngestError> + Send + 'static,
) -> Result<T, Reply> {
    let bound = coding.decoded_bound(&body, max_bytes);
    let Some(share) = app.decoded.take(bound.saturating_mul(BATCH_FACTOR)).await else {
        let text = "too many requests are being decoded; try again later";
        app.telemetry.ingest_failed(protocol);
        return Err(Reply::text(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(5));
    };
    let n_bytes = body.len();
    let worker = app.clone();
    // The share moves along: a client that leaves does not end the work it has begun.
    let done = tokio::task::spawn_blocking(move || {
        let _share = share;
        let store = worker.store().ok_or_else(not_open)?;
        let plain = coding.decode(&body, max_bytes)?;
        work(&worker, store, &plain)
    });
    let done = done.await.unwrap_or_else(|panic| {
        journal::error(&format!(
            "ingest failed by a mistake of this program: {panic}"
        ));
        let text = "failed by a mistake of this program; see its log".into();
        Err(IngestError::Bad(StatusCode::INTERNAL_SERVER_ERROR, text))
    });
    match done {
        Ok((outcome, value)) => {
            app.telemetry.ingested(protocol, n_bytes, &outcome);
            Ok(value)
        }
        Err(error) => {
            app.telemetry.ingest_failed(protocol);
            Err(error_reply(app, error))
        }
    }
}

fn not_open() -> IngestError {
    let text = "not ready: the store is being recovered".into();
    IngestError::Bad(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// A status that tells a sender what to do: 4xx drop it, 503 and 507 come back with it.
fn error_reply(app: &App, error: IngestError) -> Reply {
    let error = match error {
        IngestError::Bad(status, message) => return Reply::text(status, message),
        IngestError::Store(error) => error,
    };
    let text = error.to_string();
    match error {
        StoreError::Invalid(_) => Reply::text(StatusCode::BAD_REQUEST, text),
        StoreError::Full { .. } => {
            app.troubles.error(&text);
            Reply::text(StatusCode::INSUFFICIENT_STORAGE, text).retry_after(30)
        }
        StoreError::Busy { .. } => {
            Reply::text(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1)
        }
        StoreError::Poisoned(_) => {
            app.troubles.error(&text);
            Reply::text(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(30)
        }
        StoreError::Locked { .. } | StoreError::Damaged { .. } | StoreError::Io { .. } => {
            app.troubles.error(&text);
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}
