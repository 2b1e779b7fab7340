//! A record that waits for more lines.
//!
//! While its lines are in the batch at hand it is only the number of its first row; it is copied out
//! when the batch goes on without it.

use std::sync::Arc;
use std::time::Instant;

use kansoku_model::{Column, LogBatch, Position, Value};

use crate::plugin::Hold;

/// Where the fields of the first line are.
pub(super) enum First {
    /// In the batch at hand.
    Row(usize),
    /// In a batch of one record.
    Kept(Box<LogBatch>),
}

pub(super) struct Pending {
    pub(super) first: First,
    /// The field that is joined.
    pub(super) key: Arc<str>,
    /// The joined text; empty while there is one line.
    pub(super) text: Vec<u8>,
    pub(super) n_lines: usize,
    /// Of its last line.
    pub(super) position: Position,
    /// When its last line came.
    pub(super) touched: Instant,
    /// Of the batches that its lines came in.
    pub(super) holds: Vec<Hold>,
    /// Lines of the batch at hand are in it.
    pub(super) is_touched: bool,
    /// The rest did not fit.
    pub(super) is_cut: bool,
}

impl Pending {
    pub(super) fn new(first: First, key: Arc<str>, position: Position, now: Instant) -> Self {
        Self {
            first,
            key,
            text: Vec::new(),
            n_lines: 1,
            position,
            touched: now,
            holds: Vec::new(),
            is_touched: true,
            is_cut: false,
        }
    }

    /// Adds a line; `batch` is the one at hand.
    pub(super) fn join(
        &mut self,
        batch: &LogBatch,
        newlines: usize,
        text: &[u8],
        position: Position,
        now: Instant,
    ) {
        if self.n_lines == 1 {
            let (batch, row) = self.first(batch);
            let first = text_of(batch, row, &self.key).unwrap_or_default();
            let mut joined = Vec::with_capacity(2 * (first.len() + text.len()));
            joined.extend_from_slice(first);
            self.text = joined;
        }
        self.text.resize(self.text.len() + newlines, b'\n');
        self.text.extend_from_slice(text);
        self.n_lines += 1;
        self.position = position;
        self.touched = now;
        self.is_touched = true;
    }

    /// Takes the first line out of the batch at hand.
    pub(super) fn keep(&mut self, batch: &LogBatch) {
        if let First::Row(row) = self.first {
            let copy = batch.copy_rows(&[row], batch.tag.clone());
            self.first = First::Kept(Box::new(copy));
        }
        self.is_touched = false;
    }

    /// Writes the record to the end of `out`.
    pub(super) fn write(&self, batch: &LogBatch, position: Position, out: &mut LogBatch) {
        let (from, row) = self.first(batch);
        let at = push_row(from, row, position, out);
        if self.n_lines > 1 {
            out.set_text(&self.key, at, &self.text);
        }
        if self.is_cut {
            mark_cut(out, at);
        }
    }

    fn first<'a>(&'a self, batch: &'a LogBatch) -> (&'a LogBatch, usize) {
        match &self.first {
            First::Row(row) => (batch, *row),
            First::Kept(kept) => (kept, 0),
        }
    }
}

/// The text of a field.
pub(super) fn text_of<'a>(batch: &'a LogBatch, row: usize, key: &str) -> Option<&'a [u8]> {
    text_in(batch, row, batch.column_index(key)?)
}

/// The text of a field by its column.
pub(super) fn text_in(batch: &LogBatch, row: usize, column: usize) -> Option<&[u8]> {
    match batch.columns()[column].values[row] {
        Value::Text(slice) => Some(batch.bytes(slice)),
        _ => None,
    }
}

/// Copies a record to the end of another batch and returns its row there.
pub(super) fn push_row(from: &LogBatch, row: usize, at: Position, out: &mut LogBatch) -> usize {
    let new = out.push(from.times()[row], at);
    for (guess, Column { name, values }) in from.columns().iter().enumerate() {
        let value = match values[row] {
            Value::Absent => continue,
            Value::Text(slice) => Value::Text(out.store(from.bytes(slice))),
            Value::Json(slice) => Value::Json(out.store(from.bytes(slice))),
            other => other,
        };
        let column = out.column_index_near(guess, name);
        out.set(column, new, value);
    }
    if let Some(metadata) = from.metadata(row) {
        let object = out.store(metadata);
        out.set_metadata(new, object);
    }
    new
}

/// Fluent Bit's mark of a record whose rest did not fit.
fn mark_cut(out: &mut LogBatch, row: usize) {
    let mut object = b"{\"multiline_truncated\":true".to_vec();
    if let Some(members) = out.metadata(row).and_then(|m| m.strip_prefix(b"{")) {
        if members.trim_ascii_start() != b"}" {
            object.push(b',');
        }
        object.extend_from_slice(members);
    } else {
        object.push(b'}');
    }
    let object = out.store(&object);
    out.set_metadata(row, object);
}
