//! Queries whose answers and errors are not in the JSON envelope: remote read and federation.

use std::sync::Arc;

use kansoku_model::select::{SelectError, SeriesData};
use kansoku_query::memory::{Share, TooMuch};
use kansoku_query::promql::QueryError;

use super::envelope::ApiError;
use crate::api::gate::{self, Interrupt};
use crate::app::App;
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::TenantInfo;

/// Time and value of a sample.
const SAMPLE_BYTES: usize = 16;

/// Samples and memory that one such query may still have.
#[derive(Debug)]
pub struct Allowance {
    share: Share,
    max_bytes: usize,
    n_samples_left: usize,
}

impl Allowance {
    /// Of a query of this tenant.
    pub fn new(app: &App, tenant: &TenantInfo) -> Self {
        Self {
            share: app.query_share(tenant),
            max_bytes: app.query_max_bytes(tenant),
            n_samples_left: app.query_max_samples(tenant),
        }
    }

    /// The most samples that may be selected at once.
    pub fn max_samples(&self) -> usize {
        self.n_samples_left.min(self.max_bytes / SAMPLE_BYTES)
    }

    /// What to tell when `max_samples` were too few: memory, unless it is the number of samples that was passed.
    pub fn refused(
        &self,
        error: SelectError,
        of_samples: impl FnOnce(String) -> ApiError,
    ) -> ApiError {
        match error {
            SelectError::Limit(_) if self.max_samples() < self.n_samples_left => {
                QueryError::from(TooMuch::OfOne(self.max_bytes)).into()
            }
            SelectError::Limit(text) => of_samples(text),
            other => other.into(),
        }
    }

    /// Counts what was selected, beside `kept_bytes` of the answer.
    pub fn take(&mut self, series: &[SeriesData], kept_bytes: usize) -> Result<(), ApiError> {
        let n_samples: usize = series.iter().map(|one| one.times.len()).sum();
        self.n_samples_left = self.n_samples_left.saturating_sub(n_samples);
        let n_bytes: usize = series.iter().map(SeriesData::held_bytes).sum();
        self.hold(kept_bytes.saturating_add(n_bytes))
    }

    /// The query holds so many bytes.
    pub fn hold(&self, n_bytes: usize) -> Result<(), ApiError> {
        Ok(self.share.grow_to(n_bytes).map_err(QueryError::from)?)
    }
}

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
