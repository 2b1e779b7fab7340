//! How many series have each value; the value becomes a label.

use std::collections::HashMap;

use super::super::ast::ValueType;
use super::super::error::QueryError;
use super::super::value::{ABSENT, Column, Point, Value, is_absent};
use super::{Aggregation, Input};
use crate::number::{format_f, quote};

pub(super) const COUNT_VALUES: Aggregation = Aggregation {
    name: "count_values",
    parameter: Some(ValueType::String),
    doc: "Number of series with each value; the value stands in the named label.",
    eval: count_values,
};

fn count_values(input: Input<'_, '_>) -> Result<Vec<Column>, QueryError> {
    let label = match &input.parameter {
        Some(Value::String(label)) if !label.is_empty() => label.as_str(),
        other => {
            let label = match other {
                Some(Value::String(label)) => label.as_str(),
                _ => "",
            };
            let message = format!("invalid label name {}", quote(label));
            return Err(QueryError::Execution(message));
        }
    };
    let mut out: Vec<Column> = Vec::new();
    for group in &input.groups {
        (input.ev.check)()?;
        // Keyed by text, as several NaN payloads print alike.
        let mut found: HashMap<String, usize> = HashMap::new();
        for member in &group.members {
            for step in 0..input.grid.n_steps {
                let text = match input.columns[*member].point(step) {
                    None => continue,
                    Some(Point::Float(value)) => format_f(value),
                    Some(Point::Histogram(histogram)) => histogram.to_string(),
                };
                let at = match found.get(&text) {
                    Some(at) => *at,
                    None => {
                        input.ev.hold(input.grid.n_steps)?;
                        out.push(Column::floats(
                            group.labels.with(label, &text),
                            group.drop_name,
                            vec![ABSENT; input.grid.n_steps],
                        ));
                        found.insert(text, out.len() - 1);
                        out.len() - 1
                    }
                };
                let count = &mut out[at].values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
    }
    // The label may have overwritten the one that told groups apart.
    Ok(add_up(out))
}

/// Adds counts of columns whose labels became equal.
fn add_up(columns: Vec<Column>) -> Vec<Column> {
    let mut seen: HashMap<kansoku_model::Labels, usize> = HashMap::new();
    let mut out: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let Some(&at) = seen.get(&column.labels) else {
            seen.insert(column.labels.clone(), out.len());
            out.push(column);
            continue;
        };
        for (sum, value) in out[at].values.iter_mut().zip(column.values) {
            if is_absent(*sum) {
                *sum = value;
            } else if !is_absent(value) {
                *sum += value;
            }
        }
    }
    out
}
