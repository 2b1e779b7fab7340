//! The entry points: a parsed query, a source and times in, an answer out.
//!
//! The engine asks no clock and starts no thread. How much a query may take stands in [`Limits`];
//! whether it should go on is asked of the caller through [`Context`].

use std::ops::ControlFlow;

use kansoku_model::LogSource;
use kansoku_model::select::{Direction, LogBlockRef, LogSelect};

use super::ast::{LogExpr, MetricExpr};
use super::error::QueryError;
use super::log_query::{self, LogRequest};
use super::metric_query::{self, Evaluation, Value};
use super::output::{Instant, InstantValue, Matrix, Sample, Series, Statistics, Streams};
use super::range::Steps;
use super::table::{Table, present};
use crate::memory::Share;

/// How much one query may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Series in the answer of a metric query.
    pub max_series: usize,
    /// Entries a log query may ask for.
    pub max_entries: usize,
    /// Points per series of a range query.
    pub max_steps: usize,
    /// Points (series times steps) that one range function may hold; about 24 bytes each.
    pub max_points: usize,
    /// Unwrapped values that functions which need all of them (quantile_over_time, rate_counter)
    /// may hold at once; 16 bytes each.
    pub max_samples: usize,
}

impl Default for Limits {
    /// Loki's defaults where it has one; the others keep a query within some hundred megabytes.
    fn default() -> Self {
        Self {
            max_series: 500,
            max_entries: 5000,
            max_steps: 11_000,
            max_points: 10_000_000,
            max_samples: 20_000_000,
        }
    }
}

/// What the caller adds to one query.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What the query's memory is taken of; unbounded without it.
    pub memory: Option<&'a Share>,
    /// Asked at every block and every few thousand entries; an error ends the query with it.
    pub check: &'a (dyn Fn() -> Result<(), QueryError> + Sync),
}

impl Context<'_> {
    /// A query that nobody interrupts.
    #[must_use]
    pub fn uninterrupted() -> Context<'static> {
        Context {
            memory: None,
            check: &|| Ok(()),
        }
    }
}

/// Entries between two questions whether to go on: some milliseconds of work.
const ENTRIES_PER_CHECK: u32 = 4096;

/// Asks the caller from time to time whether to go on, and counts the memory that a query holds.
pub struct Watch<'a> {
    ctx: &'a Context<'a>,
    entries: u32,
    held_bytes: usize,
    /// Of these what the block that was read last takes, until the next one is read in its place.
    block_bytes: usize,
}

type Visit<'v> =
    dyn FnMut(&dyn LogBlockRef, &mut Watch<'_>) -> Result<ControlFlow<()>, QueryError> + 'v;

impl<'a> Watch<'a> {
    /// Asks through `ctx`.
    pub fn new(ctx: &'a Context<'a>) -> Self {
        Self {
            ctx,
            entries: 0,
            held_bytes: 0,
            block_bytes: 0,
        }
    }

    /// Counts memory that is about to be taken.
    #[inline]
    pub fn hold(&mut self, n_bytes: usize) -> Result<(), QueryError> {
        self.held_bytes = self.held_bytes.saturating_add(n_bytes);
        match self.ctx.memory {
            Some(share) => Ok(share.grow_to(self.held_bytes)?),
            None => Ok(()),
        }
    }

    /// Counts memory that was given back.
    #[inline]
    pub fn release(&mut self, n_bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(n_bytes);
    }

    /// Counts what loading a block may take, besides `kept_bytes` of buffers that stay, in the place of the one before.
    /// Asked before it is loaded, so that what does not fit is not read.
    pub fn hold_loading(
        &mut self,
        block: &dyn LogBlockRef,
        kept_bytes: usize,
    ) -> Result<(), QueryError> {
        self.hold_block(kept_bytes.saturating_add(block.loading_bytes()))
    }

    /// Counts the memory of a block that was read, in the place of the one before.
    pub fn hold_block(&mut self, n_bytes: usize) -> Result<(), QueryError> {
        let before = std::mem::replace(&mut self.block_bytes, n_bytes);
        self.release(before);
        self.hold(n_bytes)
    }

    /// Asks now.
    pub fn check(&mut self) -> Result<(), QueryError> {
        (self.ctx.check)()
    }

    /// Counts an entry and asks when it is time.
    #[inline]
    pub fn tick(&mut self) -> Result<(), QueryError> {
        self.entries += 1;
        if self.entries < ENTRIES_PER_CHECK {
            return Ok(());
        }
        self.entries = 0;
        self.check()
    }

    /// Walks the blocks of a source and asks at each; `visit` may fail in its own way.
    pub fn select(
        &mut self,
        source: &dyn LogSource,
        wanted: &LogSelect,
        visit: &mut Visit<'_>,
    ) -> Result<(), QueryError> {
        let mut failure = None;
        let selected = source.select(wanted, &mut |block| {
            let visited = self.check().and_then(|()| visit(block, self));
            Ok(visited.unwrap_or_else(|error| {
                failure = Some(error);
                ControlFlow::Break(())
            }))
        });
        // Whoever read the blocks lets the last one go.
        let last = std::mem::take(&mut self.block_bytes);
        self.release(last);
        selected?;
        failure.map_or(Ok(()), Err)
    }
}

/// Answers parsed queries.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    pub limits: Limits,
}

impl Engine {
    /// Entries in `start_ns..end_ns` that pass every stage, at most `limit`, newest or oldest first.
    ///
    /// # Errors
    /// When a limit is passed, the caller interrupts, or the source fails.
    #[allow(clippy::too_many_arguments)]
    pub fn log_query(
        &self,
        source: &dyn LogSource,
        expr: &LogExpr,
        start_ns: i64,
        end_ns: i64,
        direction: Direction,
        limit: usize,
        ctx: &Context<'_>,
    ) -> Result<Streams, QueryError> {
        if limit > self.limits.max_entries {
            return Err(QueryError::Limit(format!(
                "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {})",
                self.limits.max_entries
            )));
        }
        let request = LogRequest {
            expr,
            start_ns,
            end_ns,
            direction,
            limit,
        };
        log_query::run(source, &request, &mut Watch::new(ctx))
    }

    /// The value at one time.
    ///
    /// # Errors
    /// As `log_query`; also when entries carry `__error__` or vectors cannot be matched.
    pub fn metric_instant(
        &self,
        source: &dyn LogSource,
        expr: &MetricExpr,
        time_ns: i64,
        ctx: &Context<'_>,
    ) -> Result<Instant, QueryError> {
        let steps = Steps::instant(time_ns);
        let (value, mut statistics) = self.evaluate(source, expr, steps, &mut Watch::new(ctx))?;
        let value = match value {
            Value::Scalar(value) => InstantValue::Scalar { time_ns, value },
            Value::Vector(mut table) => {
                if !metric_query::is_sorted(expr) {
                    table.rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                let samples = table.rows.into_iter().map(|row| Sample {
                    value: row.values[0],
                    labels: row.labels,
                    time_ns,
                });
                InstantValue::Vector(samples.collect())
            }
        };
        statistics.entries_returned = match &value {
            InstantValue::Scalar { .. } => 1,
            InstantValue::Vector(samples) => samples.len() as u64,
        };
        Ok(Instant { value, statistics })
    }

    /// The values at `start_ns`, `start_ns + step_ns` and so on up to `end_ns` (included).
    ///
    /// # Errors
    /// As `metric_instant`; also when the times make no sense.
    pub fn metric_range(
        &self,
        source: &dyn LogSource,
        expr: &MetricExpr,
        start_ns: i64,
        end_ns: i64,
        step_ns: i64,
        ctx: &Context<'_>,
    ) -> Result<Matrix, QueryError> {
        let steps = self.steps(start_ns, end_ns, step_ns)?;
        let mut watch = Watch::new(ctx);
        let (value, mut statistics) = self.evaluate(source, expr, steps, &mut watch)?;
        let mut table = match value {
            Value::Scalar(number) => Table::constant(number, steps.n),
            Value::Vector(table) => table,
        };
        table.rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        // Points are twice as large as the values they are made of.
        watch.hold(2 * table.n_bytes())?;
        let series: Vec<Series> = table
            .rows
            .into_iter()
            .map(|row| Series {
                labels: row.labels,
                points: row
                    .values
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| present(**value))
                    .map(|(k, value)| (steps.time_ns(k), *value))
                    .collect(),
            })
            .collect();
        statistics.entries_returned = series.iter().map(|s| s.points.len() as u64).sum();
        Ok(Matrix { series, statistics })
    }

    fn steps(&self, start_ns: i64, end_ns: i64, step_ns: i64) -> Result<Steps, QueryError> {
        if step_ns <= 0 {
            return Err(QueryError::BadRequest(
                "zero or negative query resolution step widths are not accepted. Try a positive integer".into(),
            ));
        }
        if end_ns < start_ns {
            return Err(QueryError::BadRequest(
                "end timestamp must not be before or equal to start time".into(),
            ));
        }
        let n = (i128::from(end_ns) - i128::from(start_ns)) / i128::from(step_ns) + 1;
        match usize::try_from(n) {
            Ok(n) if n <= self.limits.max_steps => Ok(Steps {
                start_ns,
                step_ns,
                n,
            }),
            _ => Err(QueryError::BadRequest(format!(
                "exceeded maximum resolution of {} points per time series. Try increasing the value of the step parameter",
                self.limits.max_steps
            ))),
        }
    }

    fn evaluate(
        &self,
        source: &dyn LogSource,
        expr: &MetricExpr,
        steps: Steps,
        watch: &mut Watch<'_>,
    ) -> Result<(Value, Statistics), QueryError> {
        let mut evaluation = Evaluation {
            source,
            steps,
            limits: &self.limits,
            watch,
            statistics: Statistics::default(),
        };
        let value = evaluation.eval(expr)?;
        let statistics = evaluation.statistics;
        if let Value::Vector(table) = &value
            && table.rows.len() > self.limits.max_series
        {
            return Err(QueryError::Limit(format!(
                "maximum number of series ({}) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()",
                self.limits.max_series
            )));
        }
        Ok((value, statistics))
    }
}
