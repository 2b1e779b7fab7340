//! `/api/v1/query`, `/api/v1/query_range`, `/api/v1/format_query`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::json::write_str;
use kansoku_query::number::quote;
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
    // As there, the limit is looked at first.
    let limit = params::limit(&call.form);
    let time_ms = limit.and_then(|_| params::time_ms(&call.form, "time", Some(clock::now_ms())));
    match time_ms {
        Ok(time_ms) => evaluate(app, &call, Times::At(time_ms)).await,
        Err(error) => error.reply(),
    }
}

/// `/api/v1/query_range`
pub async fn range(app: Arc<App>, call: Call) -> Reply {
    match params::limit(&call.form).and_then(|_| Range::of(&call.form)) {
        Ok(range) => evaluate(app, &call, Times::Over(range)).await,
        Err(error) => error.reply(),
    }
}

/// `/api/v1/format_query`
pub fn format(_: &App, call: &Call) -> Reply {
    match parse(&call.form) {
        Ok(query) => {
            let mut data = Vec::new();
            write_str(&mut data, query.expr.pretty().as_bytes());
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
    /// What was asked for of statistics; empty is none.
    stats: String,
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
        stats: form.get("stats").to_owned(),
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

pub(super) fn parse(form: &Form) -> Result<Query, ApiError> {
    promql::parse(form.get("query")).map_err(|e| ApiError::parameter("query", e))
}

fn options(app: &App, tenant: &Tenant, form: &Form) -> Result<Options, ApiError> {
    let lookback_ms = match form.get("lookback_delta") {
        "" => 0,
        text => params::parse_duration_ms(text).map_err(|e| {
            ApiError::bad_data(format!("error parsing lookback delta duration: {e}"))
        })?,
    };
    let default_ms = i64::try_from(app.settings.query_lookback.as_millis()).unwrap_or(i64::MAX);
    // As there, what is not longer than nothing means the default.
    let lookback_ms = if lookback_ms > 0 {
        lookback_ms
    } else {
        default_ms
    };
    Ok(Options {
        lookback_ms,
        max_samples: app.query_max_samples(tenant),
        threads: Arc::clone(&app.query_threads),
        delayed_name_removal: app.settings.test_mode,
        start_timestamps: app.settings.test_mode,
        ..Options::default()
    })
}

impl Job {
    /// Evaluates and writes the answer.
    fn run(self, app: &App, interrupt: &Interrupt) -> Result<Reply, ApiError> {
        let snapshot = self.tenant.snapshot(&app.tenants.opener)?;
        let active = app.active_queries.get();
        let _active = active.and_then(|all| all.begin(self.query.text(), clock::now_ms()));
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
        if !matches!(self.stats.as_str(), "" | "true" | "all") {
            output.warnings.push(format!(
                "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
                quote(&self.stats)
            ));
        }
        Ok(write(&output, !self.stats.is_empty(), took))
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
            r#","stats":{{"timings":{{"evalTotalTime":{t},"resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":{t},"execQueueTime":0,"execTotalTime":{t}}},"samples":{{"totalQueryableSamples":{n},"samplesRead":{n},"peakSamples":{}}}}}}}"#,
            output.stats.peak_samples,
            n = output.stats.samples_read,
            t = took.as_secs_f64(),
        );
        data.extend_from_slice(stats.as_bytes());
    }
    envelope::success_with(&data, &output.warnings, &output.infos)
}
