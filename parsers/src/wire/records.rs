//! Log batches made of records that arrive field by field: what every network reader fills.
//!
//! Fields become columns as they come; records of one stream in one order find their columns without
//! a search. The rule: a batch stays bounded in bytes, rows and columns, whatever a peer sends, and
//! nothing of a record is left out: fields past [`MAX_FIELDS`] go into one object under [`MORE`].

use std::sync::Arc;

use kansoku_model::{LogBatch, Position, Resource, Slice, Source, SourceId, Value, json};

use crate::line::{MAX_COLUMNS, Parsed, Parser};

/// The most fields of one record that get columns of their own.
pub const MAX_FIELDS: usize = 256;
/// Where the others are.
pub const MORE: &str = "_more";
/// A batch is ended when it has grown this large.
const BATCH_BYTES: usize = 1 << 20;
/// A batch is ended when it has so many records.
const BATCH_RECORDS: usize = 8192;

/// One peer's records in order: who it is to those that drop repeats, and how many came.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub id: SourceId,
    /// Records so far.
    pub n: u64,
}

impl Stream {
    /// A stream that starts.
    #[must_use]
    pub fn new(id: SourceId) -> Self {
        Self { id, n: 0 }
    }
}

/// Batches under construction.
#[derive(Debug)]
pub struct Records<'a> {
    stream: &'a mut Stream,
    tag: Arc<str>,
    resource: Arc<Resource>,
    done: Vec<LogBatch>,
    batch: LogBatch,
    first: u64,
    row: usize,
    /// Columns in the order of the last record's fields, and the place in it.
    order: Vec<usize>,
    at: usize,
    n_fields: usize,
    /// `"key":value` pairs of the record that found no column.
    more: Vec<u8>,
    parsed: Parsed,
    n_records: u64,
}

impl<'a> Records<'a> {
    /// Records of `stream` under `tag`.
    #[must_use]
    pub fn new(stream: &'a mut Stream, tag: Arc<str>, resource: Arc<Resource>) -> Self {
        let first = stream.n;
        Self {
            batch: LogBatch::new(tag.clone(), resource.clone(), Vec::new()),
            stream,
            tag,
            resource,
            done: Vec::new(),
            first,
            row: 0,
            order: Vec::new(),
            at: 0,
            n_fields: 0,
            more: Vec::new(),
            parsed: Parsed::default(),
            n_records: 0,
        }
    }

    /// Records from here on have this tag.
    pub fn set_tag(&mut self, tag: &str) {
        if *self.tag != *tag {
            self.end_batch();
            self.tag = tag.into();
            self.batch = LogBatch::new(self.tag.clone(), self.resource.clone(), Vec::new());
        }
    }

    /// Records from here on come from this resource.
    pub fn set_resource(&mut self, resource: Arc<Resource>) {
        if self.resource != resource {
            self.end_batch();
            self.resource = resource;
            self.batch = LogBatch::new(self.tag.clone(), self.resource.clone(), Vec::new());
        }
    }

    /// The tag of the records at hand.
    #[must_use]
    pub fn tag(&self) -> Arc<str> {
        self.tag.clone()
    }

    /// How many records were begun.
    #[must_use]
    pub fn n_records(&self) -> u64 {
        self.n_records
    }

    /// Starts a record; its fields follow.
    pub fn begin(&mut self, time_ns: i64) {
        self.end_record();
        let is_full = self.batch.arena().len() >= BATCH_BYTES
            || self.batch.len() >= BATCH_RECORDS
            || self.batch.columns().len() + MAX_FIELDS + 8 > MAX_COLUMNS;
        if is_full {
            self.end_batch();
            self.batch = LogBatch::new(self.tag.clone(), self.resource.clone(), Vec::new());
        }
        self.stream.n += 1;
        self.n_records += 1;
        self.row = self.batch.push(time_ns, Position::at(self.stream.n));
        self.at = 0;
        self.n_fields = 0;
    }

    /// Changes the time of the record at hand.
    pub fn set_time(&mut self, time_ns: i64) {
        self.batch.set_time(self.row, time_ns);
    }

    /// Sets the metadata of the record at hand: an object as JSON in the batch's arena.
    pub fn set_metadata(&mut self, object: Slice) {
        self.batch.set_metadata(self.row, object);
    }

    /// The batch at hand, to store texts in its arena before they are set as values.
    pub fn batch(&mut self) -> &mut LogBatch {
        &mut self.batch
    }

    /// Copies a text into the batch.
    pub fn text(&mut self, text: &[u8]) -> Value {
        Value::Text(self.batch.store(text))
    }

    /// Copies valid JSON of an object or an array into the batch.
    pub fn json(&mut self, text: &[u8]) -> Value {
        Value::Json(self.batch.store(text))
    }

    /// Sets a field of the record at hand; of a repeated name the last one stays.
    pub fn set(&mut self, name: &[u8], value: Value) {
        let guess = self.order.get(self.at).copied();
        let fits = |c: &usize| {
            let column = self.batch.columns().get(*c);
            column.is_some_and(|c| c.name.as_bytes() == name)
        };
        let column = guess
            .filter(fits)
            .or_else(|| (0..self.batch.columns().len()).find(fits));
        let column = match column {
            Some(column) => column,
            None if self.n_fields >= MAX_FIELDS => return self.set_more(name, value),
            None => {
                let name = String::from_utf8_lossy(name);
                self.batch.column_index_or_insert(&name)
            }
        };
        if let Some(slot) = self.order.get_mut(self.at) {
            *slot = column;
        } else if self.at < MAX_FIELDS {
            self.order.push(column);
        }
        self.at += 1;
        self.n_fields += 1;
        self.batch.set(column, self.row, value);
    }

    /// Whether the record at hand has a field of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let column = self.batch.column(name);
        column.is_some_and(|c| c.values[self.row] != Value::Absent)
    }

    /// The text of a field of the record at hand.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&[u8]> {
        match self.batch.column(name)?.values[self.row] {
            Value::Text(slice) => Some(self.batch.bytes(slice)),
            _ => None,
        }
    }

    fn set_more(&mut self, name: &[u8], value: Value) {
        self.more
            .push(if self.more.is_empty() { b'{' } else { b',' });
        json::write_str(&mut self.more, name);
        self.more.push(b':');
        json::write_value(&mut self.more, &self.batch, value);
    }

    /// Adds the fields that `parser` finds in `text`; false, and no field, when it does not fit.
    pub fn parse(&mut self, parser: &Parser, text: &[u8]) -> bool {
        let now_ns = self.batch.times()[self.row];
        if !parser.parse(text, now_ns, &mut self.parsed) {
            return false;
        }
        let line = self.batch.store(text);
        if !self.parsed.write(&mut self.batch, self.row, line) {
            return false;
        }
        self.n_fields += self.parsed.len();
        if let Some(time_ns) = self.parsed.time_ns {
            self.batch.set_time(self.row, time_ns);
        }
        true
    }

    /// The bytes of a slice of the batch at hand.
    #[must_use]
    pub fn bytes(&self, slice: Slice) -> &[u8] {
        self.batch.bytes(slice)
    }

    fn end_record(&mut self) {
        if self.more.is_empty() {
            return;
        }
        self.more.push(b'}');
        let value = Value::Json(self.batch.store(&self.more));
        self.more.clear();
        let column = self.batch.column_index_or_insert(MORE);
        self.batch.set(column, self.row, value);
    }

    fn end_batch(&mut self) {
        self.end_record();
        let mut batch = std::mem::take(&mut self.batch);
        self.order.clear();
        if !batch.is_empty() {
            batch.source = Source {
                id: self.stream.id,
                from: Position::at(self.first),
                to: Position::at(self.stream.n),
            };
            self.done.push(batch);
        }
        self.first = self.stream.n;
    }

    /// All batches, in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<LogBatch> {
        self.end_batch();
        self.done
    }

    /// The place behind the last record, to come back to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            n_done: self.done.len(),
            n_rows: self.batch.len(),
            n_records: self.n_records,
        }
    }

    /// Takes back what came since `mark`, for a message that turned out wrong. Positions that were
    /// given stay used: a gap does no harm.
    pub fn rollback(&mut self, mark: Mark) {
        self.more.clear();
        self.n_records = mark.n_records;
        if self.done.len() > mark.n_done {
            // The batch that was open at the mark has been ended since.
            self.done.truncate(mark.n_done + 1);
            if let Some(batch) = self.done.last_mut() {
                batch.retain(|row| row < mark.n_rows);
            }
            self.batch.retain(|_| false);
        } else {
            self.batch.retain(|row| row < mark.n_rows);
        }
    }
}

/// A place between two records; see [`Records::mark`].
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    n_done: usize,
    n_rows: usize,
    n_records: u64,
}

/// The records of batches as `time tag {json}` lines, for the tests of readers.
#[cfg(test)]
pub(crate) fn lines(batches: &[LogBatch]) -> Vec<String> {
    let mut out = Vec::new();
    for batch in batches {
        for row in 0..batch.len() {
            let mut text = Vec::new();
            json::write_fields(&mut text, batch, row, true);
            out.push(format!(
                "{} {} {{{}}}",
                batch.times()[row],
                batch.tag,
                String::from_utf8_lossy(&text)
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_batches_that_follow_each_other() {
        let mut stream = Stream::new(SourceId(7));
        let mut records = Records::new(&mut stream, "a".into(), Arc::default());
        for (i, tag) in ["a", "a", "b"].iter().enumerate() {
            records.set_tag(tag);
            records.begin(i as i64);
            let text = records.text(b"x");
            records.set(b"k", text);
            records.set(b"n", Value::Int(i as i64));
        }
        let batches = records.finish();
        assert_eq!(
            lines(&batches),
            [
                r#"0 a {"k":"x","n":0}"#,
                r#"1 a {"k":"x","n":1}"#,
                r#"2 b {"k":"x","n":2}"#
            ]
        );
        assert_eq!(batches[0].source.to, batches[1].source.from);
        assert_eq!(batches[1].source.to, Position::at(3));
        assert_eq!(stream.n, 3);
    }

    #[test]
    fn a_wrong_message_is_taken_back() {
        for n_wrong in [1, BATCH_RECORDS + 5] {
            let mut stream = Stream::new(SourceId(7));
            let mut records = Records::new(&mut stream, "a".into(), Arc::default());
            records.begin(1);
            let mark = records.mark();
            for _ in 0..n_wrong {
                records.begin(2);
            }
            records.rollback(mark);
            records.begin(3);
            let batches = records.finish();
            assert_eq!(lines(&batches), ["1 a {}", "3 a {}"]);
            let last = batches.last().expect("a batch");
            assert!(last.positions()[0] <= last.source.to);
        }
    }

    #[test]
    fn columns_are_bounded_and_no_field_is_lost() {
        let mut stream = Stream::new(SourceId(7));
        let mut records = Records::new(&mut stream, "a".into(), Arc::default());
        for r in 0..4 {
            records.begin(0);
            for f in 0..MAX_FIELDS + 2 {
                records.set(format!("{r}.{f}").as_bytes(), Value::Int(1));
            }
        }
        let batches = records.finish();
        let all = lines(&batches);
        assert_eq!(all.len(), 4);
        assert!(
            all[3].ends_with(r#","_more":{"3.256":1,"3.257":1}}"#),
            "{}",
            all[3]
        );
        assert!(batches.iter().all(|b| b.columns().len() <= MAX_COLUMNS));
    }
}
