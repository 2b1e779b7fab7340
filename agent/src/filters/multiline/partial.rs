//! Mode partial_message: docker's fluentd driver splits lines over 16 KiB and says so in fields.
//!
//! `partial_message` is true in each part, `partial_id` is the same in all, `partial_last` is true in
//! the last. The joined record has the first part's fields without those, and the text at its end.

use std::sync::Arc;
use std::time::Instant;

use kansoku_model::{LogBatch, Value};

use super::pending::{First, Pending, text_of};
use super::stream::StreamState;

/// Split lines of one stream that are pending at a time; beyond it the oldest goes on as it is.
const MAX_PARTS: usize = 1024;
const PREFIX: &str = "partial_";

impl StreamState {
    /// Joins the parts in a batch; other records pass.
    pub(super) fn join_parts(
        &mut self,
        key: &str,
        limit_bytes: usize,
        batch: LogBatch,
        now: Instant,
    ) {
        self.begin(batch, now);
        for row in 0..self.batch.len() {
            if !self.join_part(key, limit_bytes, row, now) {
                self.pass(row);
            }
        }
    }

    /// False for a record that is no part, or that lacks what a part must have.
    fn join_part(&mut self, key: &str, limit_bytes: usize, row: usize, now: Instant) -> bool {
        if !is_true(&self.batch, row, "partial_message") {
            return false;
        }
        let Some(id) = text_of(&self.batch, row, "partial_id") else {
            return false;
        };
        let Some(text) = text_of(&self.batch, row, key) else {
            return false;
        };
        let position = self.batch.positions()[row];
        let at = self.parts.iter().position(|(of, _)| **of == *id);
        let fits = |part: &Pending| part.text.len() + text.len() <= limit_bytes;
        match at {
            Some(at) if fits(&self.parts[at].1) => {
                let part = &mut self.parts[at].1;
                part.join(&self.batch, 0, text, position, now);
            }
            _ => {
                let mut first = first_of(&self.batch, row, key);
                let column = first.column_index_or_insert(key);
                let content = Value::Text(first.store(text));
                first.set(column, 0, content);
                let first = First::Kept(Box::new(first));
                let mut part = Pending::new(first, Arc::from(key), position, now);
                part.text = text.to_vec();
                // Its text is complete already; see `Pending::join`.
                part.n_lines = 2;
                let id = Box::from(id);
                self.make_room(at);
                self.parts.push((id, part));
            }
        }
        if is_true(&self.batch, row, "partial_last") {
            let id = text_of(&self.batch, row, "partial_id").unwrap_or_default();
            if let Some(at) = self.parts.iter().position(|(of, _)| **of == *id) {
                let (_, part) = self.parts.remove(at);
                self.finish(part);
            }
        }
        true
    }

    /// Sends on the part that has no room for more, or the oldest when there are too many.
    fn make_room(&mut self, full: Option<usize>) {
        if let Some(at) = full.or((self.parts.len() >= MAX_PARTS).then_some(0)) {
            let (_, mut part) = self.parts.remove(at);
            part.is_cut = true;
            self.finish(part);
        }
    }
}

/// The fields of the first part without its marks and its text.
fn first_of(batch: &LogBatch, row: usize, key: &str) -> LogBatch {
    let mut first = batch.copy_rows(&[row], batch.tag.clone());
    first.retain_columns(|name| !name.starts_with(PREFIX) && name != key);
    first
}

fn is_true(batch: &LogBatch, row: usize, key: &str) -> bool {
    match batch.column(key).map(|c| c.values[row]) {
        Some(Value::Bool(value)) => value,
        Some(Value::Text(slice)) => {
            let head = batch.bytes(slice).get(..4);
            head.is_some_and(|head| head.eq_ignore_ascii_case(b"true"))
        }
        _ => false,
    }
}
