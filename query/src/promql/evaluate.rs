//! Walks a tree and computes each node over all steps at once.
//!
//! The one rule: every value held is counted, and every loop over samples asks `check`.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::prehashed::Prehashed;
use kansoku_model::{Labels, SeriesSource};

use super::aggregations;
use super::ast::{Expr, ExprKind, Span};
use super::binary;
use super::duration::QueryTimes;
use super::engine::Options;
use super::error::QueryError;
use super::functions::{self, Call};
use super::notes::{Notes, Severity};
use super::output::QueryStats;
use super::steps::StepCounts;
use super::trace::Trace;
use super::value::{Column, Grid, Value, is_absent};
use crate::memory::Share;

/// Tells a query to stop: its error ends it. Any thread of the query may ask.
pub type Stop<'a> = &'a (dyn Fn() -> Result<(), QueryError> + Sync);

pub(crate) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

/// What a value counts for: a time and a float, or a float of a result and what is made of it.
const VALUE_BYTES: usize = 16;
const TOO_MANY_SAMPLES: &str =
    "query processing would load too many samples into memory in query execution";

/// Counters that all threads of a query share.
#[derive(Debug)]
struct Counters {
    samples_read: AtomicU64,
    current_samples: AtomicUsize,
    peak_samples: AtomicUsize,
    /// Labels of the series that selectors found; held to the end.
    label_bytes: AtomicUsize,
    /// The memory of `peak_samples` and of labels.
    share: Share,
    steps: Option<StepCounts>,
}

/// The state of one running query; each of its threads has one.
pub(crate) struct Evaluator<'a> {
    pub options: &'a Options,
    pub source: &'a dyn SeriesSource,
    /// The times of the whole query, for `@ start()` and `@ end()`.
    pub query_start_ms: i64,
    pub query_end_ms: i64,
    pub times: QueryTimes,
    pub check: Stop<'a>,
    /// Locked for as long as a note is added.
    notes: Mutex<Notes>,
    counters: Arc<Counters>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        options: &'a Options,
        source: &'a dyn SeriesSource,
        grid: Grid,
        times: QueryTimes,
        check: Stop<'a>,
    ) -> Self {
        Self {
            options,
            source,
            query_start_ms: grid.start_ms,
            query_end_ms: grid.end_ms(),
            times,
            check,
            notes: Mutex::default(),
            counters: Arc::new(Counters {
                samples_read: AtomicU64::new(0),
                current_samples: AtomicUsize::new(0),
                peak_samples: AtomicUsize::new(0),
                label_bytes: AtomicUsize::new(0),
                share: Share::new(Arc::clone(&options.memory), options.max_bytes),
                steps: options.counts_steps.then(|| StepCounts::new(grid)),
            }),
        }
    }

    /// The same query on another thread, with notes of its own.
    pub(super) fn fork(&self) -> Self {
        Self {
            notes: Mutex::default(),
            counters: Arc::clone(&self.counters),
            ..*self
        }
    }

    /// What was noted so far.
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn into_notes(self) -> Notes {
        self.notes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the notes of a thread that has ended.
    pub(super) fn take_notes(&self, notes: Notes) {
        self.notes().append(notes);
    }

    /// What the query cost so far.
    pub(super) fn stats(&self) -> QueryStats {
        QueryStats {
            samples_read: self.counters.samples_read.load(Ordering::Relaxed),
            peak_samples: self.counters.peak_samples.load(Ordering::Relaxed) as u64,
            steps: self
                .counters
                .steps
                .as_ref()
                .map(StepCounts::read)
                .unwrap_or_default(),
        }
    }

    /// Where the samples that steps look at are counted, if that is wanted.
    pub(super) fn step_counts(&self) -> Option<&StepCounts> {
        self.counters.steps.as_ref()
    }

    pub(super) fn n_samples_read(&self) -> u64 {
        self.counters.samples_read.load(Ordering::Relaxed)
    }

    pub(super) fn count_samples(&self, n: usize) {
        let counter = &self.counters.samples_read;
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The end that the client named, which may lie after the last step.
    pub(crate) fn until(mut self, end_ms: i64) -> Self {
        self.query_end_ms = end_ms;
        self
    }

    /// Evaluates a scalar, string or instant vector.
    pub(crate) fn eval(&self, expr: &Expr, grid: &Grid) -> Result<Value, QueryError> {
        (self.check)()?;
        let trace = self.options.trace.as_deref();
        let begun_ns = trace.map_or(0, Trace::now_ns);
        let held = &self.counters.current_samples;
        let held_before = held.load(Ordering::Relaxed);
        let value = if grid.n_steps > 1 && is_step_invariant(expr) && has_selector(expr) {
            let once = Grid {
                n_steps: 1,
                ..*grid
            };
            let value = self.eval_node(expr, &once)?;
            self.hold(value.n_values().saturating_mul(grid.n_steps))?;
            repeat(value, grid.n_steps)
        } else {
            self.eval_node(expr, grid)?
        };
        // What the children held is gone by now; only the result remains.
        held.store(held_before, Ordering::Relaxed);
        self.hold(value.n_values())?;
        if let Some(trace) = trace {
            trace.evaluated(expr, begun_ns, &value);
        }
        Ok(value)
    }

    fn eval_node(&self, expr: &Expr, grid: &Grid) -> Result<Value, QueryError> {
        match &expr.kind {
            ExprKind::Number { value, .. } => Ok(Value::Scalar(vec![*value; grid.n_steps])),
            ExprKind::String(text) => Ok(Value::String(text.clone())),
            ExprKind::Paren(inner) => self.eval(inner, grid),
            ExprKind::Unary { negative, operand } => self.unary(*negative, operand, grid),
            ExprKind::Binary(node) => binary::eval(self, node, grid),
            ExprKind::Aggregate(node) => aggregations::eval(self, node, grid).map(Value::Vector),
            ExprKind::Call { function, args } => functions::eval(&Call {
                evaluator: self,
                grid,
                function,
                args,
                span: expr.span,
            }),
            ExprKind::Vector(selector) => self.instant_selector(selector, grid).map(Value::Vector),
            ExprKind::Matrix { .. } | ExprKind::Subquery(_) => Err(QueryError::Execution(
                "range vector where a vector or scalar is needed".to_owned(),
            )),
        }
    }

    /// Evaluates what the type check knows to be an instant vector.
    pub(crate) fn vector(&self, expr: &Expr, grid: &Grid) -> Result<Vec<Column>, QueryError> {
        match self.eval(expr, grid)? {
            Value::Vector(columns) => Ok(columns),
            _ => Err(QueryError::Execution(
                "expected an instant vector".to_owned(),
            )),
        }
    }

    /// Evaluates what the type check knows to be a scalar.
    pub(crate) fn scalar(&self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, grid)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(QueryError::Execution("expected a scalar".to_owned())),
        }
    }

    fn unary(&self, negative: bool, operand: &Expr, grid: &Grid) -> Result<Value, QueryError> {
        let value = self.eval(operand, grid)?;
        if !negative {
            return Ok(value);
        }
        match value {
            Value::Scalar(mut values) => {
                values.iter_mut().for_each(|v| *v = -*v);
                Ok(Value::Scalar(values))
            }
            Value::Vector(mut columns) => {
                for column in &mut columns {
                    self.drop_name(column);
                    for value in column.values.iter_mut().filter(|v| !is_absent(**v)) {
                        *value = -*value;
                    }
                    for histogram in column.histograms.iter_mut().flatten() {
                        Arc::make_mut(histogram).multiply(-1.0);
                    }
                }
                self.merge(columns, SAME_LABELSET).map(Value::Vector)
            }
            Value::String(_) => Ok(value),
        }
    }

    /// Counts values that are about to be held.
    pub(crate) fn hold(&self, n_values: usize) -> Result<(), QueryError> {
        let counter = &self.counters.current_samples;
        // Far from the largest number, so that several threads may be beyond the limit at once.
        let n_values = n_values.min(usize::MAX / 4);
        let now = counter
            .fetch_add(n_values, Ordering::Relaxed)
            .saturating_add(n_values);
        if now > self.options.max_samples {
            counter.fetch_sub(n_values, Ordering::Relaxed);
            return Err(QueryError::Limit(TOO_MANY_SAMPLES.to_owned()));
        }
        let peak = &self.counters.peak_samples;
        if now > peak.load(Ordering::Relaxed) {
            self.grow_to(now).inspect_err(|_| {
                counter.fetch_sub(n_values, Ordering::Relaxed);
            })?;
            peak.fetch_max(now, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Counts the labels of series that are held to the end of the query.
    pub(crate) fn hold_labels<'l>(
        &self,
        all: impl Iterator<Item = &'l Labels>,
    ) -> Result<(), QueryError> {
        let n_bytes: usize = all.map(|labels| labels.as_bytes().len()).sum();
        self.counters
            .label_bytes
            .fetch_add(n_bytes, Ordering::Relaxed);
        self.grow_to(self.counters.current_samples.load(Ordering::Relaxed))
    }

    fn grow_to(&self, n_values: usize) -> Result<(), QueryError> {
        let label_bytes = self.counters.label_bytes.load(Ordering::Relaxed);
        let n_bytes = n_values
            .saturating_mul(VALUE_BYTES)
            .saturating_add(label_bytes);
        Ok(self.counters.share.grow_to(n_bytes)?)
    }

    /// Counts values that are held no longer.
    pub(super) fn release(&self, n_values: usize) {
        let counter = &self.counters.current_samples;
        counter.fetch_sub(n_values, Ordering::Relaxed);
    }

    /// How many more values may be held.
    pub(crate) fn samples_left(&self) -> usize {
        let current = self.counters.current_samples.load(Ordering::Relaxed);
        self.options.max_samples.saturating_sub(current)
    }

    pub(crate) fn too_many_samples() -> QueryError {
        QueryError::Limit(TOO_MANY_SAMPLES.to_owned())
    }

    pub(crate) fn warn(&self, span: Span, text: String) {
        self.notes().add(Severity::Warning, text, span);
    }

    pub(crate) fn inform(&self, span: Span, text: String) {
        self.notes().add(Severity::Info, text, span);
    }

    /// The metric name no longer fits: removes it, now or at the end.
    pub(crate) fn drop_name(&self, column: &mut Column) {
        if self.options.delayed_name_removal {
            column.drop_name = true;
        } else if column.labels.iter().any(|(name, _)| describes_metric(name)) {
            column.labels = column.labels.filtered(|name| !describes_metric(name));
        }
    }

    /// Joins columns of one label set.
    ///
    /// # Errors
    /// With `conflict` when two of them have a sample at the same step.
    pub(crate) fn merge(
        &self,
        columns: Vec<Column>,
        conflict: &str,
    ) -> Result<Vec<Column>, QueryError> {
        let mut hashes = HashSet::with_capacity_and_hasher(columns.len(), Prehashed::default());
        if columns.iter().all(|c| hashes.insert(c.labels.hash64())) {
            return Ok(columns);
        }
        let mut seen: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
        let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
        for column in columns {
            let Some(&at) = seen.get(&column.labels) else {
                seen.insert(column.labels.clone(), merged.len());
                merged.push(column);
                continue;
            };
            let into = &mut merged[at];
            into.drop_name |= column.drop_name;
            if !into.histograms.is_empty() || !column.histograms.is_empty() {
                merge_points(into, &column, conflict)?;
                continue;
            }
            for (held, value) in into.values.iter_mut().zip(column.values) {
                if is_absent(value) {
                    continue;
                }
                if !is_absent(*held) {
                    return Err(QueryError::Execution(conflict.to_owned()));
                }
                *held = value;
            }
        }
        Ok(merged)
    }

    /// Removes names whose removal was delayed; the last thing done to a result.
    pub(crate) fn finish(&self, mut columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
        for column in columns.iter_mut().filter(|c| c.drop_name) {
            column.labels = column.labels.filtered(|name| !describes_metric(name));
        }
        self.merge(columns, SAME_LABELSET)
    }
}

/// Labels that say what a metric is: its name, type and unit. They go together.
pub(crate) fn describes_metric(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Puts the samples of a column of the same labels between those of another.
fn merge_points(into: &mut Column, column: &Column, conflict: &str) -> Result<(), QueryError> {
    let mut merged = Column::new(into.labels.clone(), into.drop_name);
    for step in 0..into.values.len() {
        merged.push(match (into.point(step), column.point(step)) {
            (Some(_), Some(_)) => return Err(QueryError::Execution(conflict.to_owned())),
            (held, None) => held,
            (None, new) => new,
        });
    }
    *into = merged;
    Ok(())
}

fn repeat(value: Value, n_steps: usize) -> Value {
    let spread = |values: Vec<f64>| vec![values[0]; n_steps];
    match value {
        Value::Scalar(values) => Value::Scalar(spread(values)),
        Value::String(_) => value,
        Value::Vector(columns) => Value::Vector(
            columns
                .into_iter()
                .map(|column| {
                    let histogram = column.histograms.first().cloned();
                    Column {
                        values: spread(column.values),
                        histograms: histogram.map_or(Vec::new(), |h| vec![h; n_steps]),
                        ..column
                    }
                })
                .collect(),
        ),
    }
}

/// Whether an expression gives the same at every step: all its selectors are fixed by `@`, and
/// nothing in it asks for the time.
fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => is_step_invariant(inner),
        ExprKind::Binary(b) => is_step_invariant(&b.left) && is_step_invariant(&b.right),
        ExprKind::Aggregate(a) => {
            is_step_invariant(&a.operand) && a.parameter.as_ref().is_none_or(is_step_invariant)
        }
        ExprKind::Call { function, args } => {
            !function.uses_time && args.iter().all(is_step_invariant)
        }
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            selector.modifiers.at.is_some()
        }
        // Its own `@` fixes the times of everything inside.
        ExprKind::Subquery(subquery) => subquery.modifiers.at.is_some(),
    }
}

fn has_selector(expr: &Expr) -> bool {
    !expr.selectors().is_empty()
}
