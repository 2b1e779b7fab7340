//! Evaluates metric expressions over steps, from the leaves up.

use std::collections::HashMap;

use kansoku_model::{Labels, LogSource};

use super::aggregate;
use super::ast::{AggregateExpr, AggregateOp, Grouping, LabelReplaceExpr, MetricExpr};
use super::binary;
use super::engine::{Limits, Watch};
use super::error::QueryError;
use super::output::Statistics;
use super::range::Steps;
use super::range_query;
use super::table::{Table, present};
use crate::relabel::expanded;

/// What an expression gives.
pub enum Value {
    Scalar(f64),
    Vector(Table),
}

/// One evaluation.
pub struct Evaluation<'a, 'w> {
    pub source: &'a dyn LogSource,
    pub steps: Steps,
    pub limits: &'a Limits,
    pub watch: &'a mut Watch<'w>,
    pub statistics: Statistics,
}

impl Evaluation<'_, '_> {
    /// Evaluates an expression.
    pub fn eval(&mut self, expr: &MetricExpr) -> Result<Value, QueryError> {
        let table = match expr {
            MetricExpr::Literal(number) => return Ok(Value::Scalar(*number)),
            MetricExpr::Vector(number) => self.constant(*number)?,
            MetricExpr::Range(range) => self.eval_range(range, None)?,
            MetricExpr::Aggregate(aggregate) => self.eval_aggregate(aggregate)?,
            MetricExpr::LabelReplace(replace) => {
                let inner = self.eval_vector(&replace.inner)?;
                self.reworked(inner.n_bytes(), |_| label_replace(replace, inner))?
            }
            MetricExpr::Binary(binary) => {
                let left = self.eval(&binary.left)?;
                let right = self.eval(&binary.right)?;
                match (left, right) {
                    (Value::Scalar(l), Value::Scalar(r)) => {
                        return Ok(Value::Scalar(binary::scalar(binary.op, l, r)));
                    }
                    (Value::Scalar(n), Value::Vector(table)) => {
                        let n_bytes = table.n_bytes();
                        let work = |_| Ok(binary::with_scalar(binary, table, n, true));
                        self.reworked(n_bytes, work)?
                    }
                    (Value::Vector(table), Value::Scalar(n)) => {
                        let n_bytes = table.n_bytes();
                        let work = |_| Ok(binary::with_scalar(binary, table, n, false));
                        self.reworked(n_bytes, work)?
                    }
                    (Value::Vector(l), Value::Vector(r)) => {
                        let n_bytes = l.n_bytes() + r.n_bytes();
                        let work = |n_steps| binary::vectors(binary, l, r, n_steps);
                        self.reworked(n_bytes, work)?
                    }
                }
            }
        };
        self.watch.check()?;
        Ok(Value::Vector(table))
    }

    /// What `work` makes of tables of so many bytes, which are counted. It is no larger than they are, and is there beside
    /// them for a while.
    fn reworked(
        &mut self,
        n_bytes: usize,
        work: impl FnOnce(usize) -> Result<Table, QueryError>,
    ) -> Result<Table, QueryError> {
        self.watch.hold(n_bytes)?;
        let table = work(self.steps.n)?;
        self.watch.release(2 * n_bytes);
        self.watch.hold(table.n_bytes())?;
        Ok(table)
    }

    /// Evaluates an expression where a vector must stand; a number becomes one.
    fn eval_vector(&mut self, expr: &MetricExpr) -> Result<Table, QueryError> {
        Ok(match self.eval(expr)? {
            Value::Vector(table) => table,
            Value::Scalar(number) => self.constant(number)?,
        })
    }

    fn constant(&mut self, number: f64) -> Result<Table, QueryError> {
        let table = Table::constant(number, self.steps.n);
        self.watch.hold(table.n_bytes())?;
        Ok(table)
    }

    fn eval_range(
        &mut self,
        expr: &super::ast::RangeExpr,
        outer: Option<&Grouping>,
    ) -> Result<Table, QueryError> {
        range_query::run(
            self.source,
            expr,
            outer,
            self.steps,
            self.limits,
            self.watch,
            &mut self.statistics,
        )
    }

    fn eval_aggregate(&mut self, expr: &AggregateExpr) -> Result<Table, QueryError> {
        let inner = match expr.inner.as_ref() {
            // A sum of sums: group the entries at once and keep only as many series as come out.
            MetricExpr::Range(range)
                if expr.op == AggregateOp::Sum && range.function.is_additive() =>
            {
                let everything = Grouping {
                    without: false,
                    names: Vec::new(),
                };
                self.eval_range(range, Some(expr.grouping.as_ref().unwrap_or(&everything)))?
            }
            other => self.eval_vector(other)?,
        };
        self.reworked(inner.n_bytes(), |n_steps| {
            let mut table = aggregate::aggregate(expr, inner, n_steps);
            table.drop_empty();
            Ok(table)
        })
    }
}

/// Whether the order of an instant answer is what the query asked for.
pub fn is_sorted(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Aggregate(a) => {
            matches!(a.op, AggregateOp::Sort | AggregateOp::SortDesc) || is_sorted(&a.inner)
        }
        MetricExpr::Binary(b) => is_sorted(&b.left) || is_sorted(&b.right),
        MetricExpr::LabelReplace(r) => is_sorted(&r.inner),
        MetricExpr::Range(_) | MetricExpr::Literal(_) | MetricExpr::Vector(_) => false,
    }
}

/// Series whose labels become the same are one series, unless both have a value at one step.
fn label_replace(expr: &LabelReplaceExpr, table: Table) -> Result<Table, QueryError> {
    let mut replaced = Table::default();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for mut row in table.rows {
        let value = row.labels.get(&expr.source).unwrap_or("");
        if let Some(captures) = expr.regex.captures(value) {
            let text = expanded(&captures, &expr.replacement).map_err(QueryError::Limit)?;
            row.labels = row.labels.with(&expr.destination, &text);
        }
        let Some(at) = index.get(&row.labels) else {
            index.insert(row.labels.clone(), replaced.rows.len());
            replaced.rows.push(row);
            continue;
        };
        let taken = replaced.rows[*at].values.iter_mut().zip(&row.values);
        for (old, new) in taken.filter(|(_, new)| present(**new)) {
            if present(*old) {
                return Err(QueryError::Evaluation(format!(
                    "label_replace gives several series the labels {}",
                    row.labels
                )));
            }
            *old = *new;
        }
    }
    Ok(replaced)
}
