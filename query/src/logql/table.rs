//! What a metric expression evaluates to: series in rows, steps in columns.
//!
//! A value that is not there is a NaN of its own bit pattern, so that a row is one plain vector
//! and a computed NaN stays a value.

use kansoku_model::Labels;

/// The bits of a value that is not there: a NaN that arithmetic does not produce.
const ABSENT_BITS: u64 = 0x7ff4_0000_0000_0a55;

/// A value that is not there.
pub const ABSENT: f64 = f64::from_bits(ABSENT_BITS);

/// Whether a value is there.
#[inline]
#[must_use]
pub fn present(value: f64) -> bool {
    value.to_bits() != ABSENT_BITS
}

/// Memory of a series besides its labels and values, with its place in a table of groups.
pub const ROW_BYTES: usize = 160;

/// One series.
#[derive(Debug, Clone)]
pub struct Row {
    pub labels: Labels,
    /// One per step.
    pub values: Vec<f64>,
}

/// Series over the same steps.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    /// One series without labels that is always `value`.
    #[must_use]
    pub fn constant(value: f64, n_steps: usize) -> Self {
        Self {
            rows: vec![Row {
                labels: Labels::default(),
                values: vec![value; n_steps],
            }],
        }
    }

    /// About the memory that it takes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let of = |row: &Row| ROW_BYTES + row.labels.as_bytes().len() + 8 * row.values.len();
        self.rows.iter().map(of).sum()
    }

    /// Removes series without any value.
    pub fn drop_empty(&mut self) {
        self.rows
            .retain(|row| row.values.iter().any(|v| present(*v)));
    }

    /// The rows that have a value at `step`, with it.
    pub fn at(&self, step: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.rows
            .iter()
            .enumerate()
            .map(move |(i, row)| (i, row.values[step]))
            .filter(|(_, value)| present(*value))
    }
}
