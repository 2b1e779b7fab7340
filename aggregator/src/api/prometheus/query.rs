//! `/api/v1/query`, `/api/v1/query_range`, `/api/v1/format_query`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use kansoku_model::json::write_str;
use kansoku_query::number::quote;
use kansoku_query::promql::{
    self, Engine, Options, Query, QueryError, QueryOutput, QueryValue, Trace, json, reuse,
};

use super::envelope::{self, ApiError};
use super::params::{self, Range};
use super::range_cache::Key;
use crate::api::gate::{self, Interrupt, Interrupted};
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::{TenantInfo, View};

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

/// `/api/v1/explain`: what evaluating a query does, as a tree or as text.
pub async fn explain(app: Arc<App>, call: Call) -> Reply {
    let form = &call.form;
    let is_text = match form.get("format") {
        "" | "json" => false,
        "text" => true,
        other => {
            let message = format!("unknown format {}; expected json or text", quote(other));
            return ApiError::parameter("format", message).reply();
        }
    };
    let times = match form.get("step") {
        "" => params::time_ms(form, "time", Some(clock::now_ms())).map(Times::At),
        _ => Range::of(form).map(Times::Over),
    };
    let trace = Arc::new(Trace::new(nanoseconds));
    let asked = Asked {
        trace: Some((trace, is_text)),
    };
    let done = match times {
        Ok(times) => try_evaluate(app, &call, times, asked).await,
        Err(error) => Err(error),
    };
    done.unwrap_or_else(|error| error.reply())
}

/// Since the first call.
fn nanoseconds() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let since = BEGUN.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What is wanted besides the result.
#[derive(Debug, Default)]
struct Asked {
    /// The plan, in the place of the result; true for text.
    trace: Option<(Arc<Trace>, bool)>,
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
    tenant: View,
    query: Query,
    times: Times,
    options: Options,
    /// Series that are answered; `None` is all.
    limit: Option<usize>,
    /// What was asked for of statistics; empty is none.
    stats: String,
    /// Steps of earlier answers may be used again.
    may_reuse: bool,
    asked: Asked,
    /// Since when it waits for its turn.
    asked_at: Instant,
}

async fn evaluate(app: Arc<App>, call: &Call, times: Times) -> Reply {
    match try_evaluate(app, call, times, Asked::default()).await {
        Ok(reply) => reply,
        Err(error) => error.reply(),
    }
}

async fn try_evaluate(
    app: Arc<App>,
    call: &Call,
    times: Times,
    asked: Asked,
) -> Result<Reply, ApiError> {
    let (form, tenant) = (&call.form, &call.tenant);
    let timeout = params::timeout(form, app.query_timeout(tenant))?;
    let job = Job {
        limit: params::limit(form)?,
        options: Options {
            counts_steps: !form.get("stats").is_empty(),
            trace: asked.trace.as_ref().map(|(trace, _)| Arc::clone(trace)),
            ..options(&app, tenant, form)?
        },
        tenant: tenant.clone(),
        may_reuse: may_reuse(form) && asked.trace.is_none(),
        asked,
        stats: form.get("stats").to_owned(),
        query: parse(form)?,
        times,
        asked_at: Instant::now(),
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

/// Who asks what a query costs, or not to be given what was kept (as VictoriaMetrics is asked), has it evaluated.
fn may_reuse(form: &Form) -> bool {
    let nocache = form.get("nocache");
    form.get("stats").is_empty() && matches!(nocache, "" | "0" | "false")
}

fn options(app: &App, tenant: &TenantInfo, form: &Form) -> Result<Options, ApiError> {
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
        max_bytes: app.query_max_bytes(tenant),
        memory: Arc::clone(&app.query_memory),
        threads: Arc::clone(&app.query_threads),
        delayed_name_removal: app.settings.test_mode,
        start_timestamps: app.settings.test_mode,
        ..Options::default()
    })
}

impl Job {
    /// Evaluates and writes the answer.
    fn run(self, app: &App, interrupt: &Interrupt) -> Result<Reply, ApiError> {
        let queued = self.asked_at.elapsed();
        let (snapshot, changes) = self.tenant.snapshot_and_changes(&app.tenants.opener)?;
        let active = app.active_queries.get();
        let _active = active.and_then(|all| all.begin(self.query.text(), clock::now_ms()));
        let begun = Instant::now();
        let check = || interrupt.check().map_err(stopped);
        let lookback_ms = self.options.lookback_ms;
        let held = app.query_share(&self.tenant);
        let engine = Engine::new(self.options);
        let evaluate = |r: &Range| {
            let output = engine.range(
                &snapshot,
                &self.query,
                r.start_ms,
                r.end_ms,
                r.step_ms,
                &check,
            )?;
            let warnings = [output.warnings, snapshot.warnings()].concat();
            Ok::<_, QueryError>(QueryOutput { warnings, ..output })
        };
        // Who is restricted to namespaces is told of no changes: they neither get nor leave answers for others.
        let is_reusable = self.may_reuse && app.range_cache.is_on();
        let reach_ms = is_reusable
            .then(|| reuse::reach_ms(&self.query, lookback_ms))
            .flatten();
        let mut output = match self.times {
            Times::At(time_ms) => {
                let mut output = engine.instant(&snapshot, &self.query, time_ms, &check)?;
                output.warnings.extend(snapshot.warnings());
                output
            }
            Times::Over(range) => match (&changes, reach_ms) {
                (Some(changes), Some(reach_ms)) => {
                    let key = Key::new(self.tenant.name(), self.query.text(), lookback_ms, &range);
                    let since = |mark| changes.since(mark);
                    let cache = &app.range_cache;
                    cache.answer(key, &range, reach_ms, changes.mark, since, evaluate)?
                }
                _ => evaluate(&range)?,
            },
        };
        let took = begun.elapsed();
        if let Some((trace, is_text)) = &self.asked.trace {
            let plan = trace.plan(&self.query.expr, self.query.text());
            return Ok(write_plan(plan, &output, *is_text, took));
        }
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
        // What was counted while it was computed is given back by now.
        held.grow_to(answer_bytes(&output.value))
            .map_err(QueryError::from)?;
        Ok(write(&output, &self.stats, queued, took))
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

/// About what a result and its text take.
fn answer_bytes(value: &QueryValue) -> usize {
    /// Time and value, and both as text.
    const POINT_BYTES: usize = 16 + 32;
    let labels = |labels: &kansoku_model::Labels| 3 * labels.as_bytes().len();
    match value {
        QueryValue::Vector(samples) => {
            let of = |sample: &promql::Sample| labels(&sample.labels) + POINT_BYTES;
            samples.iter().map(of).sum()
        }
        QueryValue::Matrix(series) => {
            let n_points = |one: &promql::Series| one.times.len() + 10 * one.histograms.len();
            let of = |one: &promql::Series| labels(&one.labels) + n_points(one) * POINT_BYTES;
            series.iter().map(of).sum()
        }
        QueryValue::Scalar { .. } | QueryValue::String { .. } => POINT_BYTES,
    }
}

fn write_plan(
    plan: serde_json::Value,
    output: &QueryOutput,
    is_text: bool,
    took: Duration,
) -> Reply {
    if is_text {
        let text = format!(
            "{}total: {:.3} ms, {} samples read, at most {} values held\n",
            promql::plan_as_text(&plan),
            took.as_secs_f64() * 1000.0,
            output.stats.samples_read,
            output.stats.peak_samples
        );
        return Reply::text(StatusCode::OK, text);
    }
    let data = serde_json::json!({
        "plan": plan,
        "seconds": took.as_secs_f64(),
        "samplesRead": output.stats.samples_read,
        "peakSamples": output.stats.peak_samples,
    });
    envelope::success_with(data.to_string().as_bytes(), &output.warnings, &output.infos)
}

/// The answer of a query that waited and then ran for so long.
fn write(output: &QueryOutput, stats: &str, queued: Duration, took: Duration) -> Reply {
    let mut data = Vec::new();
    json::write_data(&mut data, output);
    if !stats.is_empty() && data.pop() == Some(b'}') {
        let steps = &output.stats.steps;
        let per_step = match stats {
            "all" => {
                let of = |(time_ms, n): &(i64, u64)| format!("[{},{n}]", *time_ms as f64 / 1000.0);
                let all: Vec<String> = steps.iter().map(of).collect();
                format!(r#""totalQueryableSamplesPerStep":[{}],"#, all.join(","))
            }
            _ => String::new(),
        };
        let stats = format!(
            r#","stats":{{"timings":{{"evalTotalTime":{t},"resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":{t},"execQueueTime":{q},"execTotalTime":{all}}},"samples":{{{per_step}"totalQueryableSamples":{},"samplesRead":{},"peakSamples":{}}}}}}}"#,
            steps.iter().map(|(_, n)| n).sum::<u64>(),
            output.stats.samples_read,
            output.stats.peak_samples,
            t = took.as_secs_f64(),
            q = queued.as_secs_f64(),
            all = (queued + took).as_secs_f64(),
        );
        data.extend_from_slice(stats.as_bytes());
    }
    envelope::success_with(&data, &output.warnings, &output.infos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_tell_how_long_a_query_waited() {
        let output = QueryOutput {
            value: QueryValue::Scalar {
                time_ms: 0,
                value: 1.0,
            },
            warnings: Vec::new(),
            infos: Vec::new(),
            stats: promql::QueryStats::default(),
        };
        let (queued, took) = (Duration::from_millis(250), Duration::from_millis(500));
        let reply = write(&output, "true", queued, took);
        let answer: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        let timings = &answer["data"]["stats"]["timings"];
        assert_eq!(timings["execQueueTime"], 0.25);
        assert_eq!(timings["evalTotalTime"], 0.5);
        assert_eq!(timings["execTotalTime"], 0.75);
    }
}
