//! `/api/v1/query`, `/api/v1/query_range`, `/api/v1/format_query`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::json::write_str;
use kansoku_query::promql::{
    self, Engine, Options, Query, QueryError, QueryOutput, QueryValue, json,
};

use super::envelope::{self, ApiError};
use super::params::{self, Range};
use crate::api::gate::{self, Interrupt, Interrupted};
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::Tenant;

/// `/api/v1/query`
pub async fn instant(app: Arc<App>, call: Call) -> Reply {
    let time_ms = params::time_ms(&call.form, "time", Some(clock::now_ms()));
    match time_ms {
        Ok(time_ms) => evaluate(app, &call, Times::At(time_ms)).await,
        Err(error) => error.reply(),
    }
}

/// `/api/v1/query_range`
pub async fn range(app: Arc<App>, call: Call) -> Reply {
    match Range::of(&call.form) {
        Ok(range) => evaluate(app, &call, Times::Over(range)).await,
        Err(error) => error.reply(),
    }
}

/// `/api/v1/format_query`
pub fn format(_: &App, call: &Call) -> Reply {
    match parse(&call.form) {
        Ok(query) => {
            let mut data = Vec::new();
            write_str(&mut data, query.to_string().as_bytes());
            envelope::success(&data)
        }
        Err(error) => error.reply(),
    }
}

#[derive(Debug, Clone, Copy)]
enum Times {
    At(i64),
    Over(Range),
}

/// Everything a query needs besides the data.
struct Job {
    tenant: Arc<Tenant>,
    query: Query,
    times: Times,
    options: Options,
    /// Series that are answered; `None` is all.
    limit: Option<usize>,
    with_stats: bool,
}

async fn evaluate(app: Arc<App>, call: &Call, times: Times) -> Reply {
    match try_evaluate(app, call, times).await {
        Ok(reply) => reply,
        Err(error) => error.reply(),
    }
}

async fn try_evaluate(app: Arc<App>, call: &Call, times: Times) -> Result<Reply, ApiError> {
    let (form, tenant) = (&call.form, &call.tenant);
    let timeout = params::timeout(form, app.query_timeout(tenant))?;
    let job = Job {
        limit: params::limit(form)?,
        options: options(&app, tenant, form)?,
        tenant: tenant.clone(),
        with_stats: !form.get("stats").is_empty(),
        query: parse(form)?,
        times,
    };
    let kind = match times {
        Times::At(_) => QueryKind::PromqlInstant,
        Times::Over(_) => QueryKind::PromqlRange,
    };
    let done = gate::run(&app, tenant, kind, timeout, move |app, interrupt| {
        job.run(app, interrupt)
    });
    done.await?
}

fn parse(form: &Form) -> Result<Query, ApiError> {
    promql::parse(form.get("query")).map_err(|e| ApiError::parameter("query", e))
}

fn options(app: &App, tenant: &Tenant, form: &Form) -> Result<Options, ApiError> {
    let lookback_ms = match form.get("lookback_delta") {
        "" => i64::try_from(app.settings.query_lookback.as_millis()).unwrap_or(i64::MAX),
        text => match params::duration_ms("lookback_delta", text)? {
            ms if ms > 0 => ms,
            _ => {
                return Err(ApiError::parameter(
                    "lookback_delta",
                    "must be longer than 0",
                ));
            }
        },
    };
    Ok(Options {
        lookback_ms,
        max_samples: app.query_max_samples(tenant),
        delayed_name_removal: app.settings.test_mode,
        start_timestamps: app.settings.test_mode,
        ..Options::default()
    })
}

impl Job {
    /// Evaluates and writes the answer.
    fn run(self, app: &App, interrupt: &Interrupt) -> Result<Reply, ApiError> {
        let snapshot = self.tenant.snapshot(&app.tenants.opener)?;
        let begun = Instant::now();
        let check = || interrupt.check().map_err(stopped);
        let engine = Engine::new(self.options);
        let mut output = match self.times {
            Times::At(time_ms) => engine.instant(&snapshot, &self.query, time_ms, &check)?,
            Times::Over(r) => engine.range(
                &snapshot,
                &self.query,
                r.start_ms,
                r.end_ms,
                r.step_ms,
                &check,
            )?,
        };
        let took = begun.elapsed();
        output.warnings.extend(snapshot.warnings());
        if let Some(limit) = self.limit
            && truncate(&mut output.value, limit)
        {
            output
                .warnings
                .push("results truncated due to limit".into());
        }
        Ok(write(&output, self.with_stats, took))
    }
}

fn stopped(why: Interrupted) -> QueryError {
    match why {
        Interrupted::TimedOut | Interrupted::TimedOutInQueue => {
            QueryError::Timeout(why.message().into())
        }
        Interrupted::Abandoned | Interrupted::Panicked => {
            QueryError::Cancelled(why.message().into())
        }
    }
}

/// Whether something was cut off.
fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    let len = match value {
        QueryValue::Vector(samples) => {
            let len = samples.len();
            samples.truncate(limit);
            len
        }
        QueryValue::Matrix(series) => {
            let len = series.len();
            series.truncate(limit);
            len
        }
        QueryValue::Scalar { .. } | QueryValue::String { .. } => 0,
    };
    len > limit
}

fn write(output: &QueryOutput, with_stats: bool, took: Duration) -> Reply {
    let mut data = Vec::new();
    json::write_data(&mut data, output);
    if with_stats && data.pop() == Some(b'}') {
        let stats = format!(
            r#","stats":{{"timings":{{"evalTotalTime":{t},"resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":{t},"execQueueTime":0,"execTotalTime":{t}}},"samples":{{"totalQueryableSamples":{},"peakSamples":{}}}}}}}"#,
            output.stats.samples_read,
            output.stats.peak_samples,
            t = took.as_secs_f64(),
        );
        data.extend_from_slice(stats.as_bytes());
    }
    envelope::success_with(&data, &output.warnings, &output.infos)
}
