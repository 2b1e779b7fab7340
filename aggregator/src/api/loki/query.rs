//! `/loki/api/v1/query` and `/loki/api/v1/query_range`.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use kansoku_model::select::Direction;
use kansoku_query::logql::output::Streams;
use kansoku_query::logql::{
    self, Context, Engine, Expr, LOG_INSTANT_ERROR, Limits, LogExpr, MetricExpr, QueryError, json,
};

use super::errors::ApiError;
use super::params;
use crate::api::gate::{self, Interrupt};
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::View;

/// What a client sends to have structured metadata and parsed labels apart from the stream's.
const ENCODING_FLAGS: &str = "x-loki-response-encoding-flags";

/// Whether the client asks for that.
pub(super) fn categorizes(call: &Call) -> bool {
    let mut flags = call.header(ENCODING_FLAGS).split(',');
    flags.any(|flag| flag.trim() == "categorize-labels")
}

/// `/loki/api/v1/query`
pub async fn instant(app: Arc<App>, call: Call) -> Reply {
    match try_instant(app, &call).await {
        Ok(reply) => reply,
        Err(error) => error.reply(),
    }
}

async fn try_instant(app: Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let (form, tenant) = (&call.form, &call.tenant);
    let time_ns = params::time_ns(form, "time", clock::now_ns())?;
    params::limit(form, usize::MAX)?;
    let expr = match logql::parse(form.get("query"))? {
        Expr::Log(_) => return Err(ApiError::bad_request(LOG_INSTANT_ERROR)),
        Expr::Metric(expr) => expr,
    };
    let job = Job::Instant { expr, time_ns };
    run(app, tenant, QueryKind::LogqlInstant, job).await
}

/// `/loki/api/v1/query_range`
pub async fn range(app: Arc<App>, call: Call) -> Reply {
    match try_range(app, &call).await {
        Ok(reply) => reply,
        Err(error) => error.reply(),
    }
}

async fn try_range(app: Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let form = &call.form;
    let (start_ns, end_ns) = params::bounds(form, clock::now_ns())?;
    let limit = params::limit(form, usize::MAX)?;
    let direction = params::direction(form)?;
    let interval_ns = params::interval_ns(form)?;
    let expr = logql::parse(form.get("query"))?;
    if matches!(expr, Expr::Log(_)) {
        params::check_entries(limit, call.tenant.limits.query_max_entries)?;
    }
    // Also of log queries, which have none, it must be one.
    let step_ns = params::step_ns(form, start_ns, end_ns)?;
    let job = match expr {
        Expr::Log(expr) => Job::Logs {
            expr,
            start_ns,
            end_ns,
            direction,
            limit,
            interval_ns,
            categorize: categorizes(call),
        },
        Expr::Metric(expr) => {
            let (start_ns, end_ns, step_ns) = if params::aligns(form)? {
                params::steps_ns(start_ns, end_ns, step_ns)?
            } else {
                (start_ns, end_ns, step_ns)
            };
            Job::Range {
                expr,
                start_ns,
                end_ns,
                step_ns,
            }
        }
    };
    run(app, &call.tenant, QueryKind::LogqlRange, job).await
}

/// Everything a query needs besides the data.
enum Job {
    Instant {
        expr: MetricExpr,
        time_ns: i64,
    },
    Range {
        expr: MetricExpr,
        start_ns: i64,
        end_ns: i64,
        step_ns: i64,
    },
    Logs {
        expr: LogExpr,
        start_ns: i64,
        end_ns: i64,
        direction: Direction,
        limit: usize,
        interval_ns: i64,
        categorize: bool,
    },
}

async fn run(app: Arc<App>, tenant: &View, kind: QueryKind, job: Job) -> Result<Reply, ApiError> {
    let timeout = app.query_timeout(tenant);
    let own = tenant.clone();
    let done = gate::run(&app, tenant, kind, timeout, move |app, interrupt| {
        job.run(app, &own, interrupt)
    });
    done.await?
}

impl Job {
    /// Evaluates and writes the answer.
    fn run(self, app: &App, tenant: &View, interrupt: &Interrupt) -> Result<Reply, ApiError> {
        let snapshot = tenant.snapshot(&app.tenants.opener)?;
        let check = || {
            let stopped = |why: gate::Interrupted| QueryError::Cancelled(why.message().into());
            interrupt.check().map_err(stopped)
        };
        let share = app.query_share(tenant);
        let context = Context {
            memory: Some(&share),
            check: &check,
        };
        let engine = Engine {
            limits: Limits {
                max_samples: app.query_max_samples(tenant),
                max_entries: tenant.limits.query_max_entries,
                max_steps: params::MAX_POINTS,
                ..Limits::default()
            },
        };
        let begun = Instant::now();
        let seconds = || begun.elapsed().as_secs_f64();
        // What the engine counted while it computed is gone by then, but for the answer.
        let fits = |n_bytes| share.grow_to(n_bytes).map_err(QueryError::from);
        let mut data = Vec::new();
        match self {
            Self::Instant { expr, time_ns } => {
                let answer = engine.metric_instant(&snapshot, &expr, time_ns, &context)?;
                fits(answer.n_bytes())?;
                json::write_instant(&mut data, &answer, seconds());
            }
            Self::Range {
                expr,
                start_ns,
                end_ns,
                step_ns,
            } => {
                let answer =
                    engine.metric_range(&snapshot, &expr, start_ns, end_ns, step_ns, &context)?;
                fits(answer.n_bytes())?;
                json::write_matrix(&mut data, &answer, seconds());
            }
            Self::Logs {
                expr,
                start_ns,
                end_ns,
                direction,
                limit,
                interval_ns,
                categorize,
            } => {
                let mut answer = engine.log_query(
                    &snapshot, &expr, start_ns, end_ns, direction, limit, &context,
                )?;
                thin_out(&mut answer, interval_ns);
                fits(answer.n_bytes())?;
                json::write_streams(&mut data, &answer, categorize, seconds());
            }
        }
        Ok(envelope(&data, &snapshot.warnings()))
    }
}

/// Keeps of each stream only entries that are at least `interval_ns` apart.
fn thin_out(answer: &mut Streams, interval_ns: i64) {
    if interval_ns <= 0 {
        return;
    }
    for stream in &mut answer.streams {
        let mut last: Option<i64> = None;
        stream.entries.retain(|entry| {
            let far = last.is_none_or(|t| t.abs_diff(entry.time_ns) >= interval_ns.unsigned_abs());
            if far {
                last = Some(entry.time_ns);
            }
            far
        });
    }
}

/// A success around `data`, which is JSON text.
pub(super) fn envelope(data: &[u8], warnings: &[String]) -> Reply {
    let mut out = Vec::with_capacity(data.len() + 64);
    out.extend_from_slice(br#"{"status":"success","data":"#);
    out.extend_from_slice(data);
    if !warnings.is_empty() {
        out.extend_from_slice(br#","warnings":"#);
        let texts = warnings.iter().take(10).map(String::as_str);
        crate::api::prometheus::envelope::write_list(&mut out, texts);
    }
    out.push(b'}');
    Reply::json(StatusCode::OK, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kansoku_query::logql::output::{Entry, LabelGroups, Stream};

    #[test]
    fn an_interval_thins_out_each_stream() {
        let entry = |time_ns| Entry {
            time_ns,
            line: Box::default(),
        };
        let stream = Stream {
            labels: LabelGroups::default(),
            entries: [30, 25, 20, 9, 5].map(entry).into(),
        };
        let mut answer = Streams {
            streams: vec![stream],
            ..Streams::default()
        };
        thin_out(&mut answer, 0);
        assert_eq!(answer.streams[0].entries.len(), 5);
        thin_out(&mut answer, 10);
        let times: Vec<i64> = answer.streams[0]
            .entries
            .iter()
            .map(|e| e.time_ns)
            .collect();
        assert_eq!(times, [30, 20, 9]);
    }
}
