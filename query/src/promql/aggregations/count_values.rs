//! How many series have each value; the value becomes a label.

use std::collections::HashMap;

use kansoku_model::labels::METRIC_NAME;

use super::super::ast::ValueType;
use super::super::error::QueryError;
use super::super::text::Text;
use super::super::value::{ABSENT, Column, Value, is_absent};
use super::{Aggregation, Group, Input};
use crate::number::format_f;

pub(super) const COUNT_VALUES: Aggregation = Aggregation {
    name: "count_values",
    parameter: Some(ValueType::String),
    doc: "Number of series with each value; the value stands in the named label.",
    eval: count_values,
};

fn count_values(input: Input<'_, '_>) -> Result<Vec<Column>, QueryError> {
    let label = match &input.parameter {
        Some(Value::String(label)) => label,
        _ => &Text::default(),
    };
    let Some(label) = label.as_label_name() else {
        let message = format!("invalid label name {label}");
        return Err(QueryError::Execution(message));
    };
    let mut out: Vec<Column> = Vec::new();
    // `without` takes the new label away as well.
    let (node, mut overwrites) = (input.node, false);
    let taken = node.without && (label == METRIC_NAME || node.grouping.iter().any(|l| l == label));
    for group in &input.groups {
        overwrites |= taken || group.labels.get(label).is_some();
        let mut counts = Counts {
            input: &input,
            group,
            label: (!taken).then_some(label),
            columns: Vec::new(),
            by_text: HashMap::new(),
            by_bits: HashMap::new(),
        };
        for member in &group.members {
            (input.ev.check)()?;
            counts.add(&input.columns[*member])?;
        }
        out.append(&mut counts.columns);
    }
    // The label may have overwritten the one that told groups apart, or be gone.
    Ok(if overwrites { add_up(out) } else { out })
}

/// The values of a group and how many series have each.
struct Counts<'i, 'e, 'a> {
    input: &'i Input<'e, 'a>,
    group: &'i Group,
    /// What gets the value, unless the label is grouped away.
    label: Option<&'i str>,
    columns: Vec<Column>,
    /// The column of each value. By its text, as several NaN payloads print alike.
    by_text: HashMap<String, usize>,
    /// The same for the bits of floats: printing one costs ten times as much as to find it here.
    by_bits: HashMap<u64, usize>,
}

impl Counts<'_, '_, '_> {
    fn add(&mut self, column: &Column) -> Result<(), QueryError> {
        // A value that stays is looked for once.
        let mut last: Option<(u64, usize)> = None;
        for (step, value) in column.values.iter().enumerate() {
            let bits = value.to_bits();
            let at = match last {
                Some((held, at)) if held == bits => at,
                _ if is_absent(*value) => match column.histogram(step) {
                    Some(histogram) => self.place_of(histogram.to_string())?,
                    None => continue,
                },
                _ => {
                    let known = self.by_bits.get(&bits).copied();
                    let at = known.map_or_else(|| self.place_of(format_f(*value)), Ok)?;
                    self.by_bits.insert(bits, at);
                    last = Some((bits, at));
                    at
                }
            };
            let count = &mut self.columns[at].values[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
        Ok(())
    }

    fn place_of(&mut self, text: String) -> Result<usize, QueryError> {
        if let Some(at) = self.by_text.get(&text) {
            return Ok(*at);
        }
        let n_steps = self.input.grid.n_steps;
        self.input.ev.hold(n_steps)?;
        let labels = match self.label {
            Some(label) => self.group.labels.with(label, &text),
            None => self.group.labels.clone(),
        };
        self.columns.push(Column::floats(
            labels,
            self.group.drop_name,
            vec![ABSENT; n_steps],
        ));
        self.by_text.insert(text, self.columns.len() - 1);
        Ok(self.columns.len() - 1)
    }
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
