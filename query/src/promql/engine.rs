//! Runs parsed queries: at one time or over a range of times.
//!
//! The engine has no clock: the caller gives the time, a `check` that says when to stop, and the threads
//! that may be used besides its own.

use std::sync::Arc;

use kansoku_model::SeriesSource;

use super::ast::ValueType;
use super::duration::QueryTimes;
use super::error::QueryError;
use super::evaluate::{Evaluator, Stop, describes_metric};
use super::notes::Severity;
use super::output::{QueryOutput, QueryValue, Sample, Series};
use super::parallel::Threads;
use super::parser::Query;
use super::trace::Trace;
use super::value::{Column, Grid, Point, Value, is_absent};
use crate::memory::Memory;

/// How queries are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far back an instant selector looks for a sample.
    pub lookback_ms: i64,
    /// The most samples and intermediate values a query may hold. A series counts for every step
    /// of the query, whether it has a sample there or not.
    pub max_samples: usize,
    /// The most memory a query may hold, in bytes.
    pub max_bytes: usize,
    /// What all queries may hold together.
    pub memory: Arc<Memory>,
    /// Step of subqueries that name none.
    pub default_subquery_step_ms: i64,
    /// Remove metric names at the end instead of in each function, so that `label_replace` and
    /// `by (__name__)` still see them. Prometheus's feature flag of this name; off by default.
    pub delayed_name_removal: bool,
    /// Let rates and resets look at when a counter began. Prometheus's feature flag
    /// `use-start-timestamps`; off by default.
    pub start_timestamps: bool,
    /// Count the samples that each step looks at.
    pub counts_steps: bool,
    /// Where it is noted what the query does.
    pub trace: Option<Arc<Trace>>,
    /// Threads that queries may use besides their own, for all who share this.
    pub threads: Arc<Threads>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            max_samples: 50_000_000,
            max_bytes: usize::MAX,
            memory: Arc::default(),
            default_subquery_step_ms: 60_000,
            delayed_name_removal: false,
            start_timestamps: false,
            counts_steps: false,
            trace: None,
            threads: Arc::default(),
        }
    }
}

/// Runs queries.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    pub options: Options,
}

/// The most steps of one evaluation, subqueries included: a bound on loops that hold no samples.
const MAX_STEPS: i64 = 10_000_000;

/// The furthest time a query may ask for, either way: sums of times and durations then stay within
/// 64 bits. Some 290,000 years.
pub(super) const MAX_TIME_MS: i64 = 9_200_000_000_000_000;

fn check_times(times_ms: &[i64]) -> Result<(), QueryError> {
    if times_ms
        .iter()
        .any(|t| t.unsigned_abs() > MAX_TIME_MS.unsigned_abs())
    {
        return Err(QueryError::Parse(format!(
            "time out of range: at most {MAX_TIME_MS} milliseconds before or after 1970"
        )));
    }
    Ok(())
}

impl Engine {
    /// An engine with these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Evaluates at one time. `check` is called often; its error ends the query.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        source: &dyn SeriesSource,
        query: &Query,
        time_ms: i64,
        check: Stop<'_>,
    ) -> Result<QueryOutput, QueryError> {
        check_times(&[time_ms])?;
        let grid = Grid {
            start_ms: time_ms,
            step_ms: 0,
            n_steps: 1,
        };
        let evaluator = Evaluator::new(&self.options, source, grid, QueryTimes::default(), check);
        let value = if query.expr.value_type() == ValueType::Matrix {
            matrix_at_top(&evaluator, query, &grid)?
        } else {
            match evaluator.eval(&query.expr, &grid)? {
                Value::Scalar(values) => QueryValue::Scalar {
                    time_ms,
                    value: values.first().copied().unwrap_or(f64::NAN),
                },
                Value::String(text) => QueryValue::String {
                    time_ms,
                    value: text.to_lossy().into_owned(),
                },
                Value::Vector(columns) => instant_vector(evaluator.finish(columns)?, time_ms),
            }
        };
        Ok(output(&evaluator, query, value))
    }

    /// Evaluates at `start_ms` and every `step_ms` after it up to `end_ms`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn range(
        &self,
        source: &dyn SeriesSource,
        query: &Query,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        check: Stop<'_>,
    ) -> Result<QueryOutput, QueryError> {
        let found = query.expr.value_type();
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            return Err(QueryError::Parse(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                found.describe()
            )));
        }
        check_times(&[start_ms, end_ms, step_ms])?;
        if step_ms <= 0 || end_ms < start_ms {
            return Err(QueryError::Parse(
                "range query needs a positive step and an end not before its start".to_owned(),
            ));
        }
        let range_ms = end_ms.saturating_sub(start_ms);
        if range_ms / step_ms >= MAX_STEPS {
            return Err(QueryError::Limit(format!(
                "query has more than {MAX_STEPS} steps; use a longer step"
            )));
        }
        let grid = Grid {
            start_ms,
            step_ms,
            n_steps: (range_ms / step_ms) as usize + 1,
        };
        let times = QueryTimes { step_ms, range_ms };
        let evaluator = Evaluator::new(&self.options, source, grid, times, check).until(end_ms);
        let mut series = match evaluator.eval(&query.expr, &grid)? {
            Value::Scalar(values) => vec![Series {
                labels: kansoku_model::Labels::default(),
                times: grid.times().collect(),
                values,
                histograms: Vec::new(),
            }],
            Value::Vector(columns) => evaluator
                .finish(columns)?
                .into_iter()
                .map(|column| present_series(column, &grid))
                .filter(|series| !series.times.is_empty() || !series.histograms.is_empty())
                .collect(),
            Value::String(_) => Vec::new(),
        };
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(output(&evaluator, query, QueryValue::Matrix(series)))
    }
}

/// A selector with a range, or a subquery, as the whole of an instant query.
fn matrix_at_top(
    evaluator: &Evaluator<'_>,
    query: &Query,
    grid: &Grid,
) -> Result<QueryValue, QueryError> {
    let data = evaluator.range_data(query.expr.unwrap_parens(), grid)?;
    let end_ms = data.windows.reference.time(grid.start_ms);
    let start_ms = end_ms - data.windows.range_ms;
    let mut series: Vec<Series> = evaluator
        .read_all(data)?
        .into_iter()
        .map(|one| {
            let within = |times: &[i64]| {
                let from = times.partition_point(|t| *t <= start_ms);
                from..times.partition_point(|t| *t <= end_ms).max(from)
            };
            let rows = within(&one.times);
            let of_histograms = within(&one.histogram_times);
            let times = one.histogram_times[of_histograms.clone()].iter().copied();
            let histograms = one.histograms[of_histograms].iter().cloned();
            let labels = if one.drop_name {
                one.labels.filtered(|name| !describes_metric(name))
            } else {
                one.labels
            };
            Series {
                labels,
                times: one.times[rows.clone()].to_vec(),
                values: one.values[rows].to_vec(),
                histograms: times.zip(histograms).collect(),
            }
        })
        .filter(|one| !one.times.is_empty() || !one.histograms.is_empty())
        .collect();
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    if series
        .windows(2)
        .any(|pair| pair[0].labels == pair[1].labels)
    {
        return Err(QueryError::Execution(
            super::evaluate::SAME_LABELSET.to_owned(),
        ));
    }
    Ok(QueryValue::Matrix(series))
}

fn instant_vector(columns: Vec<Column>, time_ms: i64) -> QueryValue {
    let samples = columns.into_iter().filter_map(|column| {
        let (value, histogram) = match column.point(0)? {
            Point::Float(value) => (value, None),
            Point::Histogram(histogram) => (histogram.count, Some(histogram)),
        };
        Some(Sample {
            labels: column.labels,
            time_ms,
            value,
            histogram,
        })
    });
    QueryValue::Vector(samples.collect())
}

fn present_series(column: Column, grid: &Grid) -> Series {
    let n_present = column.values.iter().filter(|v| !is_absent(**v)).count();
    if n_present == column.values.len() {
        return Series {
            labels: column.labels,
            times: grid.times().collect(),
            values: column.values,
            histograms: Vec::new(),
        };
    }
    let histograms = grid.times().zip(column.histograms);
    let histograms = histograms.filter_map(|(time_ms, h)| Some((time_ms, h?)));
    let mut times = Vec::with_capacity(n_present);
    let mut values = Vec::with_capacity(n_present);
    for (time_ms, value) in grid.times().zip(&column.values) {
        if !is_absent(*value) {
            times.push(time_ms);
            values.push(*value);
        }
    }
    Series {
        labels: column.labels,
        times,
        values,
        histograms: histograms.collect(),
    }
}

fn output(evaluator: &Evaluator<'_>, query: &Query, value: QueryValue) -> QueryOutput {
    let notes = evaluator.notes();
    QueryOutput {
        value,
        warnings: notes.texts(Severity::Warning, query.text()),
        infos: notes.texts(Severity::Info, query.text()),
        stats: evaluator.stats(),
    }
}
