//! Operators between two vectors, or a vector and a number.
//!
//! Matching follows Loki: series meet when their labels, less `ignoring` or only `on`, are equal.

use std::collections::{HashMap, HashSet};

use kansoku_model::Labels;

use super::ast::{BinaryExpr, BinaryOp, Cardinality, Matching};
use super::error::QueryError;
use super::table::{ABSENT, Row, Table, present};

/// An operator on two numbers; comparisons give one or zero.
#[must_use]
pub fn scalar(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |b: bool| f64::from(u8::from(b));
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        // Loki gives NaN for anything divided by zero, not an infinity.
        BinaryOp::Div if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterEqual => truth(left >= right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessEqual => truth(left <= right),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}

/// The value of `left op right`; a comparison without `bool` keeps `kept` or nothing.
fn combine(expr: &BinaryExpr, left: f64, right: f64, kept: f64) -> f64 {
    if !present(left) || !present(right) {
        return ABSENT;
    }
    let value = scalar(expr.op, left, right);
    if !expr.op.is_comparison() || expr.return_bool {
        value
    } else if value == 1.0 {
        kept
    } else {
        ABSENT
    }
}

/// Every series with a number; `number_left` tells which side the number is on.
#[must_use]
pub fn with_scalar(expr: &BinaryExpr, mut table: Table, number: f64, number_left: bool) -> Table {
    for row in &mut table.rows {
        for value in &mut row.values {
            *value = if number_left {
                combine(expr, number, *value, *value)
            } else {
                combine(expr, *value, number, *value)
            };
        }
    }
    table.drop_empty();
    table
}

/// What two series must have in common to meet.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    labels.filtered(|n| matching.names.iter().any(|x| x == n) == matching.on)
}

/// Two vectors.
///
/// # Errors
/// When a series could meet more than one of the other side and the query does not say which.
pub fn vectors(
    expr: &BinaryExpr,
    left: Table,
    right: Table,
    n_steps: usize,
) -> Result<Table, QueryError> {
    if expr.op.is_set() {
        return Ok(set(expr, left, right, n_steps));
    }
    let swapped = expr.matching.cardinality == Cardinality::OneToMany;
    // The side that may have many series per signature, and the one that must not.
    let (many, one) = if swapped {
        (right, left)
    } else {
        (left, right)
    };
    let sides = Sides {
        expr,
        many: &many,
        one: &one,
        swapped,
    };
    sides.join(n_steps)
}

struct Sides<'a> {
    expr: &'a BinaryExpr,
    many: &'a Table,
    one: &'a Table,
    swapped: bool,
}

impl Sides<'_> {
    fn join(&self, n_steps: usize) -> Result<Table, QueryError> {
        let matching = &self.expr.matching;
        let mut ones: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (i, row) in self.one.rows.iter().enumerate() {
            ones.entry(signature(&row.labels, matching))
                .or_default()
                .push(i);
        }
        for rows in ones.values() {
            self.check_unique(rows, n_steps)?;
        }
        let mut out: Vec<Row> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        for many in &self.many.rows {
            let Some(ones) = ones.get(&signature(&many.labels, matching)) else {
                continue;
            };
            for one in ones.iter().map(|i| &self.one.rows[*i]) {
                let labels = self.result_labels(&many.labels, &one.labels);
                let at = *index.entry(labels).or_insert_with_key(|labels| {
                    out.push(Row {
                        labels: labels.clone(),
                        values: vec![ABSENT; n_steps],
                    });
                    out.len() - 1
                });
                self.join_rows(many, one, &mut out[at])?;
            }
        }
        let mut table = Table { rows: out };
        table.drop_empty();
        Ok(table)
    }

    /// At no step may two series of the one side have the same signature.
    fn check_unique(&self, rows: &[usize], n_steps: usize) -> Result<(), QueryError> {
        if rows.len() < 2 {
            return Ok(());
        }
        for step in 0..n_steps {
            let n = rows
                .iter()
                .filter(|i| present(self.one.rows[**i].values[step]))
                .count();
            if n > 1 {
                let side = if self.swapped { "left" } else { "right" };
                return Err(QueryError::Evaluation(format!(
                    "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be unique on one side"
                )));
            }
        }
        Ok(())
    }

    fn join_rows(&self, many: &Row, one: &Row, out: &mut Row) -> Result<(), QueryError> {
        for ((many, one), out) in many.values.iter().zip(&one.values).zip(&mut out.values) {
            if !present(*many) || !present(*one) {
                continue;
            }
            let (left, right) = if self.swapped {
                (*one, *many)
            } else {
                (*many, *one)
            };
            let value = combine(self.expr, left, right, left);
            if present(*out) {
                let one_to_one = self.expr.matching.cardinality == Cardinality::OneToOne;
                return Err(QueryError::Evaluation(
                    if one_to_one {
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                    } else {
                        "multiple matches for labels: grouping labels must ensure unique matches"
                    }
                    .into(),
                ));
            }
            *out = value;
        }
        Ok(())
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.expr.matching;
        let mut labels = if matching.cardinality == Cardinality::OneToOne {
            signature(many, matching)
        } else {
            many.clone()
        };
        for name in &matching.include {
            labels = labels.with(name, one.get(name).unwrap_or(""));
        }
        labels
    }
}

fn set(expr: &BinaryExpr, left: Table, right: Table, n_steps: usize) -> Table {
    let matching = &expr.matching;
    let signatures = |table: &Table| -> Vec<Labels> {
        let rows = table.rows.iter();
        rows.map(|row| signature(&row.labels, matching)).collect()
    };
    let (left_signatures, right_signatures) = (signatures(&left), signatures(&right));
    let at_step = |table: &Table, signatures: &[Labels], step: usize| -> HashSet<Labels> {
        table.at(step).map(|(i, _)| signatures[i].clone()).collect()
    };
    let (mut left, mut right) = (left, right);
    for step in 0..n_steps {
        if expr.op == BinaryOp::Or {
            let taken = at_step(&left, &left_signatures, step);
            for (row, signature) in right.rows.iter_mut().zip(&right_signatures) {
                if taken.contains(signature) {
                    row.values[step] = ABSENT;
                }
            }
            continue;
        }
        let wanted = expr.op == BinaryOp::And;
        let found = at_step(&right, &right_signatures, step);
        for (row, signature) in left.rows.iter_mut().zip(&left_signatures) {
            if found.contains(signature) != wanted {
                row.values[step] = ABSENT;
            }
        }
    }
    if expr.op == BinaryOp::Or {
        merge(&mut left, right);
    }
    left.drop_empty();
    left
}

/// Adds rows; a series that is there already gets the values it lacks.
fn merge(into: &mut Table, from: Table) {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for (i, row) in into.rows.iter().enumerate() {
        index.insert(row.labels.clone(), i);
    }
    for row in from.rows {
        match index.get(&row.labels) {
            Some(at) => {
                for (old, new) in into.rows[*at].values.iter_mut().zip(row.values) {
                    if !present(*old) {
                        *old = new;
                    }
                }
            }
            None => into.rows.push(row),
        }
    }
}
