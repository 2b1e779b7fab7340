//! Ingest: native frames, Prometheus remote write, Loki push, OTLP, pushes to a Pushgateway.
//!
//! One file a protocol: it decodes and words the answer; what they share is here. The one rule: a
//! 2xx answer leaves only after the store has said that everything is on the disk.

pub mod frames;
pub mod loki;
pub mod otlp;
pub mod pushgateway;
pub mod remote_write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use kansoku_store::{Appended, Refused, Store, StoreError};

use crate::app::App;
use crate::http::body::{BodyError, Coding};
use crate::http::{Call, Reply};
use crate::journal;
use crate::telemetry::Protocol;
use crate::tenants::{Discard, NoStore, TenantInfo};

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
    /// Those of them that limits of the tenant kept out.
    pub limited: Refused,
}

impl Outcome {
    /// Adds what an append did.
    pub fn add(&mut self, appended: Appended) {
        self.accepted += appended.accepted;
        self.duplicates += appended.duplicates;
        self.refused += appended.refused.total();
        self.limited = appended.refused;
    }

    /// What the limits of the tenant kept out, as it is told.
    #[must_use]
    pub fn limit_text(&self, tenant: &TenantInfo) -> Option<String> {
        let first = self.limited.first.as_deref()?;
        Some(format!("{first} ({}){}", tenant.section(), tenant.shown()))
    }
}

/// Why a body as a whole was not taken.
#[derive(Debug)]
pub enum IngestError {
    /// The sender's fault: repeating it is useless.
    Bad(StatusCode, String),
    /// More than the tenant may send now.
    TooFast {
        n_bytes: usize,
        wait: Duration,
    },
    NotOpen(NoStore),
    Store(StoreError),
}

impl From<BodyError> for IngestError {
    fn from(error: BodyError) -> Self {
        Self::Bad(error.status, error.message)
    }
}

impl From<NoStore> for IngestError {
    fn from(why: NoStore) -> Self {
        Self::NotOpen(why)
    }
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What decoding and appending a body may use.
#[derive(Debug)]
pub struct Ingest<'a> {
    pub app: &'a App,
    pub tenant: &'a TenantInfo,
    pub store: &'a Store,
}

/// Decompresses the body of a call and runs `work` (decode and append) on a thread that may block, within the
/// budget for decoded bodies; counts what came of it; words failures.
pub async fn run<T: Send + 'static>(
    app: &Arc<App>,
    protocol: Protocol,
    call: Call,
    coding: Coding,
    max_bytes: usize,
    work: impl FnOnce(&Ingest<'_>, &[u8]) -> Result<(Outcome, T), IngestError> + Send + 'static,
) -> Result<T, Reply> {
    let Call { tenant, body, .. } = call;
    let bound = coding.decoded_bound(&body, max_bytes);
    let Some(share) = app.decoded.take(bound.saturating_mul(BATCH_FACTOR)).await else {
        let text = "too many requests are being decoded; try again later";
        app.telemetry.ingest_failed(protocol);
        return Err(Reply::text(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(5));
    };
    let n_bytes = body.len();
    let own = match tenant.whole() {
        Ok(tenant) => tenant.clone(),
        Err(why) => return Err(Reply::text(StatusCode::FORBIDDEN, why)),
    };
    let worker = app.clone();
    // The share moves along: a client that leaves does not end the work it has begun.
    let done = tokio::task::spawn_blocking(move || {
        let _share = share;
        let plain = coding.decode(&body, max_bytes)?;
        let taken = own.rate.take(plain.len(), Instant::now());
        taken.map_err(|wait| IngestError::TooFast {
            n_bytes: plain.len(),
            wait,
        })?;
        let store = own.store(&worker.tenants.opener)?;
        let ingest = Ingest {
            app: &worker,
            tenant: &own,
            store: &store,
        };
        work(&ingest, &plain)
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
            tenant.discard_refused(&outcome.limited);
            let invalid = outcome.refused - outcome.limited.total();
            tenant.discard(Discard::Invalid, invalid);
            Ok(value)
        }
        Err(error) => {
            app.telemetry.ingest_failed(protocol);
            Err(error_reply(app, &tenant, error))
        }
    }
}

/// A status that tells a sender what to do: 4xx drop it, 503 and 507 come back with it.
fn error_reply(app: &App, tenant: &TenantInfo, error: IngestError) -> Reply {
    let error = match error {
        IngestError::Bad(status, message) => return Reply::text(status, message),
        IngestError::NotOpen(why) => {
            let text = why.to_string();
            app.troubles.error(&text);
            return Reply::text(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(5);
        }
        IngestError::TooFast { n_bytes, wait } => {
            tenant.discard(Discard::RateLimited, 1);
            let text = format!(
                "ingestion rate limit exceeded{}: {} bytes/sec, while attempting to ingest {n_bytes} bytes; send less, or raise ingestion_rate ({})",
                tenant.shown(),
                tenant.limits.ingestion_rate_bytes,
                tenant.section()
            );
            let seconds = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
            return Reply::text(StatusCode::TOO_MANY_REQUESTS, text).retry_after(seconds);
        }
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
