//! A batch of log records: one arena of bytes, columns of slices into it, one source.
//!
//! There is no map per record. A parsed field is a column; what is equal for all records lives in
//! the resource. Filters change columns in place.

mod rows;

use std::sync::Arc;

pub use rows::{KUBERNETES, MAX_SPLIT, Rows};

use crate::{KubernetesMetadata, Position, Resource, Source};

/// A run of bytes in a batch's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slice {
    pub start: u32,
    pub len: u32,
}

impl Slice {
    /// The part of this slice from `from` to `to`, counted from its own start.
    #[must_use]
    pub fn sub(self, from: usize, to: usize) -> Self {
        debug_assert!(from <= to && to <= self.len as usize);
        Self {
            start: self.start + from as u32,
            len: (to - from) as u32,
        }
    }
}

/// One field of one record.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Value {
    /// The record does not have this field.
    #[default]
    Absent,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text, mostly but not surely UTF-8.
    Text(Slice),
    /// An array or object as valid JSON text, or a whole number above `i64::MAX` in digits.
    Json(Slice),
}

/// One field over all records.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: Arc<str>,
    /// One value per record.
    pub values: Vec<Value>,
}

/// Log records of one source, in source order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogBatch {
    pub source: Source,
    /// Fluent Bit's routing tag.
    pub tag: Arc<str>,
    pub resource: Arc<Resource>,
    /// Whether the records hold the pod's metadata as a field (or a filter has removed it), so that
    /// outputs must not add it. Set by [`kubernetes_to_column`](Self::kubernetes_to_column).
    pub kubernetes_is_column: bool,
    /// The outputs that get the batch, a bit for each by its number, whatever they match; else their
    /// match decides. Set by the routes of an input.
    pub wanted_by: Option<u64>,
    arena: Vec<u8>,
    times: Vec<i64>,
    positions: Vec<Position>,
    columns: Vec<Column>,
    /// Empty, or for each record its metadata: an object as JSON, or absent.
    metadata: Vec<Value>,
}

/// The most bytes one arena may hold: slices count in u32.
pub const ARENA_MAX_BYTES: usize = u32::MAX as usize;

impl LogBatch {
    /// An empty batch whose arena starts with `arena` (the buffer that was read from the source).
    #[must_use]
    pub fn new(tag: Arc<str>, resource: Arc<Resource>, arena: Vec<u8>) -> Self {
        assert!(arena.len() <= ARENA_MAX_BYTES, "arena of more than 4 GiB");
        Self {
            tag,
            resource,
            arena,
            ..Self::default()
        }
    }

    /// The pod's metadata that outputs add to each record under `kubernetes`.
    #[must_use]
    pub fn kubernetes(&self) -> Option<&KubernetesMetadata> {
        let meta = self.resource.kubernetes.as_ref();
        meta.filter(|_| !self.kubernetes_is_column)
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Bytes of memory held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let n_columns = self.columns.len() + usize::from(!self.metadata.is_empty());
        self.arena.len() + self.len() * (24 + 16 * n_columns)
    }

    /// Bytes of memory set aside, used or not: what an unfinished batch costs.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        let columns = self.columns.iter().map(|c| c.values.capacity() * 16);
        self.arena.capacity() + self.times.capacity() * 24 + columns.sum::<usize>()
    }

    /// All bytes that slices point into.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// The bytes of a slice.
    #[must_use]
    pub fn bytes(&self, slice: Slice) -> &[u8] {
        &self.arena[slice.start as usize..][..slice.len as usize]
    }

    /// Appends bytes to the arena and names them.
    pub fn store(&mut self, bytes: &[u8]) -> Slice {
        assert!(
            self.arena.len() + bytes.len() <= ARENA_MAX_BYTES,
            "arena of more than 4 GiB"
        );
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Slice {
            start,
            len: bytes.len() as u32,
        }
    }

    /// Appends what `write` writes to the arena and names it.
    pub fn store_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Slice {
        let start = self.arena.len();
        write(&mut self.arena);
        assert!(
            self.arena.len() <= ARENA_MAX_BYTES,
            "arena of more than 4 GiB"
        );
        Slice {
            start: start as u32,
            len: (self.arena.len() - start) as u32,
        }
    }

    /// Appends a record without fields and returns its row.
    pub fn push(&mut self, time_ns: i64, position: Position) -> usize {
        self.times.push(time_ns);
        self.positions.push(position);
        for column in &mut self.columns {
            column.values.push(Value::Absent);
        }
        if !self.metadata.is_empty() {
            self.metadata.push(Value::Absent);
        }
        self.times.len() - 1
    }

    /// What came with record `row` besides its fields (Fluent Bit's event metadata), a JSON object.
    #[must_use]
    pub fn metadata(&self, row: usize) -> Option<&[u8]> {
        match self.metadata.get(row) {
            Some(Value::Json(slice)) => Some(self.bytes(*slice)),
            _ => None,
        }
    }

    /// The metadata of all records: empty when none has any.
    #[must_use]
    pub fn metadata_values(&self) -> &[Value] {
        &self.metadata
    }

    /// Sets the metadata of record `row`: valid JSON of an object that lies in the arena.
    pub fn set_metadata(&mut self, row: usize, object: Slice) {
        self.metadata.resize(self.times.len(), Value::Absent);
        self.metadata[row] = Value::Json(object);
    }

    /// Takes over the metadata of all records at once.
    ///
    /// # Panics
    /// When there is neither none nor one value per record.
    pub fn put_metadata(&mut self, values: Vec<Value>) {
        assert!(
            values.is_empty() || values.len() == self.len(),
            "one value per record"
        );
        self.metadata = values;
    }

    /// The column called `name`, made when it is not there yet.
    pub fn column_mut(&mut self, name: &str) -> &mut Column {
        let at = self.column_index_or_insert(name);
        &mut self.columns[at]
    }

    /// The index of the column called `name`, made when it is not there yet.
    pub fn column_index_or_insert(&mut self, name: &str) -> usize {
        if let Some(at) = self.column_index(name) {
            return at;
        }
        self.add_column(name.into())
    }

    /// As [`column_index_or_insert`](Self::column_index_or_insert); a new column shares the name.
    pub fn column_index_or_share(&mut self, name: &Arc<str>) -> usize {
        match self.column_index(name) {
            Some(at) => at,
            None => self.add_column(name.clone()),
        }
    }

    /// As [`column_index_or_share`](Self::column_index_or_share), quickly when the column `guess` is
    /// the one: batches that are copied from each other share names and their order.
    pub fn column_index_near(&mut self, guess: usize, name: &Arc<str>) -> usize {
        match self.columns.get(guess) {
            Some(column) if Arc::ptr_eq(&column.name, name) => guess,
            _ => self.column_index_or_share(name),
        }
    }

    fn add_column(&mut self, name: Arc<str>) -> usize {
        self.columns.push(Column {
            name,
            values: vec![Value::Absent; self.times.len()],
        });
        self.columns.len() - 1
    }

    /// The index of the column called `name`.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| &*c.name == name)
    }

    /// The column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| &*c.name == name)
    }

    /// All columns in order of first appearance.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Sets the field at column index `column` of record `row`.
    pub fn set(&mut self, column: usize, row: usize, value: Value) {
        self.columns[column].values[row] = value;
    }

    /// Sets the field `name` of record `row` to a copy of `text`.
    pub fn set_text(&mut self, name: &str, row: usize, text: &[u8]) {
        let value = Value::Text(self.store(text));
        let column = self.column_index_or_insert(name);
        self.set(column, row, value);
    }

    /// Removes the column called `name` and returns it.
    pub fn remove_column(&mut self, name: &str) -> Option<Column> {
        self.column_index(name).map(|at| self.columns.remove(at))
    }

    /// Adds a whole column, replacing one of the same name.
    ///
    /// # Panics
    /// When it has not one value per record.
    pub fn put_column(&mut self, column: Column) {
        assert_eq!(column.values.len(), self.len(), "one value per record");
        match self.column_index(&column.name) {
            Some(at) => self.columns[at] = column,
            None => self.columns.push(column),
        }
    }

    /// Unix nanoseconds of each record.
    #[must_use]
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Changes the time of a record.
    pub fn set_time(&mut self, row: usize, time_ns: i64) {
        self.times[row] = time_ns;
    }

    /// Where each record ends in the source.
    #[must_use]
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Keeps the records for which `keep` is true. `source` still covers the dropped ones.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let kept: Vec<bool> = (0..self.len()).map(&mut keep).collect();
        if kept.iter().all(|&k| k) {
            return;
        }
        retain_by(&mut self.times, &kept);
        retain_by(&mut self.positions, &kept);
        for column in &mut self.columns {
            retain_by(&mut column.values, &kept);
        }
        if !self.metadata.is_empty() {
            retain_by(&mut self.metadata, &kept);
        }
    }

    /// The value as text bytes: text as it is, JSON as its text, numbers in `buf`. `None` when absent.
    #[must_use]
    pub fn display<'a>(&'a self, value: Value, buf: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match value {
            Value::Absent => None,
            Value::Text(s) | Value::Json(s) => Some(self.bytes(s)),
            other => {
                buf.clear();
                crate::json::write_value(buf, self, other);
                Some(buf)
            }
        }
    }
}

fn retain_by<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut flags = kept.iter();
    items.retain(|_| *flags.next().expect("one flag per item"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_as_long_as_the_batch() {
        let mut b = LogBatch::new("t".into(), Arc::default(), b"hello world".to_vec());
        let r0 = b.push(1, Position::at(6));
        let log = b.column_index_or_insert("log");
        b.set(log, r0, Value::Text(Slice { start: 0, len: 5 }));
        let r1 = b.push(2, Position::at(12));
        b.set_text("log", r1, b"again");
        b.set_text("extra", r1, b"x");
        assert_eq!(b.column("extra").unwrap().values[0], Value::Absent);
        let Value::Text(s) = b.column("log").unwrap().values[1] else {
            panic!("text")
        };
        assert_eq!(b.bytes(s), b"again");
        b.retain(|row| row == 1);
        assert_eq!(
            (b.len(), b.times(), b.positions()[0].offset),
            (1, &[2i64][..], 12)
        );
        assert_eq!(b.column("log").unwrap().values.len(), 1);
    }
}
