//! One stream of records and what is pending of it.
//!
//! Records leave in the order in which they are complete, under a source id of the filter's own, at
//! the position of their last line. The rule: positions only grow, so that after a crash a repeat
//! can be told from news.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::{LogBatch, Position, SourceId, Value};
use kansoku_parsers::line::Parsed;
use kansoku_parsers::line::multiline::{Content, Flush, Joiner, Multiline, Place, Step, Stream};

use super::pending::{First, Pending, push_row, text_in};
use crate::plugin::Hold;

/// A record that is complete.
enum Done {
    /// As it stands in the batch at hand.
    Row(usize),
    Joined(Pending),
}

pub(super) struct StreamState {
    source: SourceId,
    /// Of the last record that was sent on.
    last: Position,
    seen: Instant,
    stream: Stream,
    slots: Vec<Option<Pending>>,
    /// Of mode partial_message, by id, the oldest first.
    pub(super) parts: Vec<(Box<[u8]>, Pending)>,
    /// The batch at hand; empty between batches.
    pub(super) batch: LogBatch,
    done: Vec<Done>,
    parsed: Parsed,
    /// For each multiline parser, where its fields are in the batch at hand.
    columns: Vec<FieldColumns>,
    /// Scratch space: the text of a line that is joined.
    text: Vec<u8>,
}

/// Where the fields that a multiline parser looks at are in a batch.
#[derive(Clone, Copy)]
struct FieldColumns {
    content: Option<usize>,
    pattern: Option<usize>,
    group: Option<usize>,
}

impl FieldColumns {
    fn of(multiline: &Multiline, batch: &LogBatch) -> Self {
        let column = |name: Option<&str>| batch.column_index(name?);
        Self {
            content: column(multiline.key_content()),
            pattern: column(multiline.key_pattern()),
            group: column(multiline.key_group()),
        }
    }
}

impl StreamState {
    pub(super) fn new(batch: &LogBatch, source: SourceId) -> Self {
        Self {
            source,
            last: batch.source.from,
            seen: Instant::now(),
            stream: Stream::default(),
            slots: Vec::new(),
            parts: Vec::new(),
            batch: LogBatch::default(),
            done: Vec::new(),
            parsed: Parsed::default(),
            columns: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether nothing is pending and nothing came for that long.
    pub(super) fn is_idle(&self, now: Instant, after: Duration) -> bool {
        self.all_pending().next().is_none() && now.duration_since(self.seen) > after
    }

    fn all_pending(&self) -> impl Iterator<Item = &Pending> {
        let parts = self.parts.iter().map(|(_, part)| part);
        self.slots.iter().flatten().chain(parts)
    }

    /// Takes a batch as the one at hand.
    pub(super) fn begin(&mut self, batch: LogBatch, now: Instant) {
        self.batch = batch;
        self.seen = now;
    }

    /// Joins the records of a batch.
    pub(super) fn join(&mut self, joiner: &Joiner, batch: LogBatch, now: Instant) {
        self.begin(batch, now);
        self.columns.clear();
        let parsers = joiner.parsers().iter();
        self.columns
            .extend(parsers.map(|m| FieldColumns::of(m, &self.batch)));
        for row in 0..self.batch.len() {
            self.join_row(joiner, row, now);
        }
    }

    fn join_row(&mut self, joiner: &Joiner, row: usize, now: Instant) {
        for parser in joiner.order(&self.stream) {
            let multiline = &joiner.parsers()[parser];
            let key = multiline.key_content().unwrap_or_default();
            let columns = self.columns[parser];
            let line = columns.content.and_then(|c| text_in(&self.batch, row, c));
            let Some(line) = line else {
                continue;
            };
            let time_ns = self.batch.times()[row];
            let parsed = match multiline.parser() {
                None => None,
                Some(parser) if parser.parse(line, time_ns, &mut self.parsed) => Some(&self.parsed),
                Some(_) => continue,
            };
            let Some(content) = content_of(multiline, columns, &self.batch, row, line, parsed)
            else {
                continue;
            };
            let Some(step) = joiner.offer(&mut self.stream, parser, content) else {
                continue;
            };
            let mut text = std::mem::take(&mut self.text);
            text.clear();
            if let Place::Join { .. } = step.place {
                text.extend_from_slice(content.text);
            }
            let first = if multiline.parser().is_some() && step.place == Place::Start {
                first_of(&mut self.parsed, &self.batch, row, key)
            } else {
                First::Row(row)
            };
            self.take(step, first, key, &text, row, now);
            self.text = text;
            return;
        }
        let step = joiner.alone(&mut self.stream);
        self.take(step, First::Row(row), "", b"", row, now);
    }

    fn take(&mut self, step: Step, first: First, key: &str, text: &[u8], row: usize, now: Instant) {
        if self.slots.len() <= step.slot {
            self.slots.resize_with(step.slot + 1, || None);
        }
        match step.flush {
            Flush::Nothing => {}
            Flush::Slot => self.finish_slot(step.slot, step.cut),
            Flush::All => self.finish_all(|_| true),
        }
        let position = self.batch.positions()[row];
        match step.place {
            Place::Alone => self.done.push(Done::Row(row)),
            Place::Start => {
                self.slots[step.slot] = Some(Pending::new(first, Arc::from(key), position, now));
            }
            Place::Join { newlines } => {
                if let Some(pending) = &mut self.slots[step.slot] {
                    pending.join(&self.batch, newlines, text, position, now);
                }
            }
        }
        if step.complete {
            self.finish_slot(step.slot, false);
        }
    }

    fn finish_slot(&mut self, slot: usize, cut: bool) {
        if let Some(mut pending) = self.slots[slot].take() {
            pending.is_cut = cut;
            self.finish(pending);
        }
    }

    /// The record is complete.
    pub(super) fn finish(&mut self, pending: Pending) {
        self.done.push(match pending.first {
            First::Row(row) if pending.n_lines == 1 && !pending.is_cut => Done::Row(row),
            _ => Done::Joined(pending),
        });
    }

    /// A record passes as it is.
    pub(super) fn pass(&mut self, row: usize) {
        self.done.push(Done::Row(row));
    }

    fn finish_all(&mut self, is_due: impl Fn(&Pending) -> bool) {
        let mut due: Vec<Pending> = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Some(pending) = slot.take_if(|p| is_due(p)) {
                self.stream.flushed(at);
                due.push(pending);
            }
        }
        let parts = self.parts.extract_if(.., |(_, part)| is_due(part));
        due.extend(parts.map(|(_, part)| part));
        due.sort_by_key(|p| p.position);
        for pending in due {
            self.finish(pending);
        }
    }

    /// Gives up waiting for records whose last line came at `until` or before.
    pub(super) fn finish_until(&mut self, until: Instant) {
        self.finish_all(|pending| pending.touched <= until);
    }

    /// Holds back the acknowledgement of the batch at hand for each record that keeps lines of it.
    pub(super) fn hold(&mut self, mut hold: impl FnMut() -> Hold) {
        let parts = self.parts.iter_mut().map(|(_, part)| part);
        for pending in self.slots.iter_mut().flatten().chain(parts) {
            if pending.is_touched {
                pending.holds.push(hold());
            }
        }
    }

    /// What has waited for long enough.
    pub(super) fn flush(&mut self, until: Instant) -> Option<(LogBatch, Vec<Hold>)> {
        self.finish_until(until);
        self.send()
    }

    /// What is complete, in a batch of its own, and the holds of the lines in it. The batch at hand
    /// is gone afterwards.
    pub(super) fn send(&mut self) -> Option<(LogBatch, Vec<Hold>)> {
        let batch = std::mem::take(&mut self.batch);
        let parts = self.parts.iter_mut().map(|(_, part)| part);
        for pending in self.slots.iter_mut().flatten().chain(parts) {
            pending.keep(&batch);
        }
        let mut done = std::mem::take(&mut self.done);
        if done.is_empty() {
            return None;
        }
        let mut holds = Vec::new();
        for one in &mut done {
            if let Done::Joined(pending) = one {
                holds.append(&mut pending.holds);
            }
        }
        let from = self.last;
        let mut out = if is_as_it_was(&done, &batch, from) {
            self.last = batch.positions()[batch.len() - 1];
            batch
        } else {
            self.rebuilt(&done, batch)
        };
        out.source.id = self.source;
        out.source.from = from;
        out.source.to = self.last;
        done.clear();
        self.done = done;
        Some((out, holds))
    }

    fn rebuilt(&mut self, done: &[Done], batch: LogBatch) -> LogBatch {
        let kept = done.iter().find_map(|one| match one {
            Done::Joined(Pending {
                first: First::Kept(kept),
                ..
            }) => Some(&**kept),
            _ => None,
        });
        let like = if batch.is_empty() {
            kept.unwrap_or(&batch)
        } else {
            &batch
        };
        let mut out = LogBatch::new(like.tag.clone(), like.resource.clone(), Vec::new());
        out.kubernetes_is_column = like.kubernetes_is_column;
        for one in done {
            let wanted = match one {
                Done::Row(row) => batch.positions()[*row],
                Done::Joined(pending) => pending.position,
            };
            self.last = if wanted > self.last {
                wanted
            } else {
                Position {
                    ordinal: self.last.ordinal.saturating_add(1),
                    ..self.last
                }
            };
            match one {
                Done::Row(row) => {
                    push_row(&batch, *row, self.last, &mut out);
                }
                Done::Joined(pending) => pending.write(&batch, self.last, &mut out),
            }
        }
        out
    }
}

/// Whether what is complete is the whole batch in its own order.
fn is_as_it_was(done: &[Done], batch: &LogBatch, last: Position) -> bool {
    let rows = done.iter().enumerate();
    done.len() == batch.len()
        && rows
            .into_iter()
            .all(|(at, one)| matches!(one, Done::Row(row) if *row == at))
        && batch.positions().is_sorted()
        && batch.positions().first().is_some_and(|first| *first > last)
}

/// What a multiline parser looks at.
fn content_of<'a>(
    multiline: &Multiline,
    columns: FieldColumns,
    batch: &'a LogBatch,
    row: usize,
    line: &'a [u8],
    parsed: Option<&'a Parsed>,
) -> Option<Content<'a>> {
    let Some(parsed) = parsed else {
        let field = |column: Option<usize>| text_in(batch, row, column?);
        return Some(Content {
            text: line,
            pattern: field(columns.pattern),
            group: field(columns.group).unwrap_or_default(),
        });
    };
    let field = |name: Option<&str>| parsed.text(line, name?);
    Some(Content {
        text: field(multiline.key_content())?,
        pattern: field(multiline.key_pattern()),
        group: field(multiline.key_group()).unwrap_or_default(),
    })
}

/// The record that the multiline parser's own parser makes of the line, in place of the whole one.
fn first_of(parsed: &mut Parsed, batch: &LogBatch, row: usize, key: &str) -> First {
    let mut kept = LogBatch::new(batch.tag.clone(), batch.resource.clone(), Vec::new());
    let line = match batch.column(key).map(|c| c.values[row]) {
        Some(Value::Text(slice)) => kept.store(batch.bytes(slice)),
        _ => return First::Row(row),
    };
    let time_ns = parsed.time_ns.unwrap_or(batch.times()[row]);
    let new = kept.push(time_ns, batch.positions()[row]);
    if parsed.write(&mut kept, new, line) {
        First::Kept(Box::new(kept))
    } else {
        First::Row(row)
    }
}
