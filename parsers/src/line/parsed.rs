//! The fields of one line between parser and batch.
//!
//! A parser fills it from a line without touching the batch, so that a line that does not fit
//! changes nothing; [`Parsed::write`] then puts the fields into columns. Values are ranges of the
//! line; only what had to be unescaped is copied. It is kept between lines for its memory.

use std::ops::Range;
use std::sync::Arc;

use super::json::{self, Item};
use super::pattern::Groups;
use kansoku_model::{LogBatch, Slice, Value};

/// The most columns that parsing makes in one batch: a column costs 16 bytes in every record, and
/// lines whose every key is new would otherwise multiply. Lines beyond it stay unparsed.
pub const MAX_COLUMNS: usize = 512;

/// A range of fewer than 4 GiB, like all text of a batch: a field of a line is 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    start: u32,
    end: u32,
}

impl Extent {
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The same bytes where the whole text lies in an arena.
    fn of(self, text: Slice) -> Slice {
        text.sub(self.start as usize, self.end as usize)
    }
}

impl From<Range<usize>> for Extent {
    #[inline(always)]
    fn from(range: Range<usize>) -> Self {
        debug_assert!(range.end <= u32::MAX as usize);
        Self {
            start: range.start as u32,
            end: range.end as u32,
        }
    }
}

/// Bytes of the line, or of [`Parsed::own`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span {
    Line(Extent),
    Own(Extent),
}

impl Span {
    #[inline(always)]
    pub(super) fn line(range: Range<usize>) -> Self {
        Self::Line(range.into())
    }

    pub(super) fn own(range: Range<usize>) -> Self {
        Self::Own(range.into())
    }

    /// The same bytes when what was a line lies at `line` of [`Parsed::own`], and what was `own` at `own`.
    pub(super) fn moved(self, line: usize, own: usize) -> Self {
        let (base, extent) = match self {
            Self::Line(extent) => (line, extent),
            Self::Own(extent) => (own, extent),
        };
        let range = extent.range();
        Self::own(base + range.start..base + range.end)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// One of [`Parsed::known`].
    Known(u32),
    Span(Span),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum FieldValue {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Span),
    /// A valid JSON array or object in UTF-8, or a whole number above `i64::MAX`.
    Json(Span),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub name: Name,
    pub value: FieldValue,
}

/// A time as text and as nanoseconds, for the parser with the address `of`; 0 is none.
#[derive(Debug, Default)]
pub(super) struct LastTime {
    pub of: usize,
    pub text: Vec<u8>,
    pub ns: i64,
}

/// The names of a parser's fields, shared by all lines.
pub(super) type KnownNames = Arc<[Arc<str>]>;

/// The fields that a parser found in one line.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The line's own time, Unix nanoseconds.
    pub time_ns: Option<i64>,
    /// Whether the line has a time that could not be read.
    pub time_failed: bool,
    pub(super) fields: Vec<Field>,
    /// The names that a [`Name::Known`] counts.
    known: Option<KnownNames>,
    /// Texts that differ from what stands in the line.
    pub(super) own: Vec<u8>,
    /// Scratch space of the JSON reader.
    pub(super) json: Vec<json::Field>,
    /// Scratch space of patterns.
    pub(super) groups: Groups,
    /// The last time that was read.
    pub(super) last_time: LastTime,
    /// For each field its column; at the next line the first guess.
    columns: Vec<usize>,
    name: String,
}

impl Parsed {
    pub(super) fn clear(&mut self) {
        self.time_ns = None;
        self.time_failed = false;
        self.fields.clear();
        self.own.clear();
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the line gave no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The text of a field of the line that was parsed.
    #[must_use]
    pub fn text<'a>(&'a self, line: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let field = self.fields.iter().find(|f| self.name_is(line, f, name))?;
        match &field.value {
            FieldValue::Text(span) => Some(self.bytes(line, span)),
            _ => None,
        }
    }

    /// Says what the names of the fields are that a pattern gives.
    pub(super) fn set_known(&mut self, names: &KnownNames) {
        if !self.known.as_ref().is_some_and(|k| Arc::ptr_eq(k, names)) {
            self.known = Some(names.clone());
        }
    }

    fn known_name(&self, index: u32) -> &Arc<str> {
        let known = self.known.as_ref().expect("set before the fields");
        &known[index as usize]
    }

    #[inline(always)]
    pub(super) fn push(&mut self, name: Name, value: FieldValue) {
        self.fields.push(Field { name, value });
    }

    pub(super) fn bytes<'a>(&'a self, line: &'a [u8], span: &Span) -> &'a [u8] {
        match span {
            Span::Line(extent) => &line[extent.range()],
            Span::Own(extent) => &self.own[extent.range()],
        }
    }

    pub(super) fn name_is(&self, line: &[u8], field: &Field, wanted: &str) -> bool {
        match &field.name {
            Name::Known(name) => **self.known_name(*name) == *wanted,
            Name::Span(span) => self.bytes(line, span) == wanted.as_bytes(),
        }
    }

    /// A copy of `text` with its escapes resolved.
    pub(super) fn unescaped(&mut self, text: &[u8]) -> Span {
        let start = self.own.len();
        json::unescape(text, &mut self.own);
        Span::own(start..self.own.len())
    }

    /// A whole number above `i64::MAX`, with all its digits.
    fn large(&mut self, number: u64) -> FieldValue {
        let start = self.own.len();
        self.own.extend_from_slice(number.to_string().as_bytes());
        FieldValue::Json(Span::own(start..self.own.len()))
    }

    /// A nested value of the line, as it stands when every reader of JSON will take it.
    pub(super) fn nested(&mut self, line: &[u8], range: Range<usize>) -> FieldValue {
        let text = &line[range.clone()];
        if std::str::from_utf8(text).is_ok() && json::lone_surrogate(text, 0).is_none() {
            return FieldValue::Json(Span::line(range));
        }
        self.readable_json(text)
    }

    /// A copy of valid JSON in which U+FFFD stands for bytes that are not UTF-8 and for surrogates
    /// without their other half, as in texts that are unescaped.
    pub(super) fn readable_json(&mut self, text: &[u8]) -> FieldValue {
        let start = self.own.len();
        self.own
            .extend_from_slice(String::from_utf8_lossy(text).as_bytes());
        let copy = &mut self.own[start..];
        let mut from = 0;
        while let Some(at) = json::lone_surrogate(copy, from) {
            copy[at + 2..at + 6].copy_from_slice(b"fffd");
            from = at + 6;
        }
        FieldValue::Json(Span::own(start..self.own.len()))
    }

    /// Adds every field of the JSON object `line[at..]`; false when it is none.
    pub(super) fn push_json(&mut self, line: &[u8]) -> bool {
        let mut found = std::mem::take(&mut self.json);
        let valid = json::fields(line, &mut found).is_ok();
        if valid {
            for field in found.drain(..) {
                let name = if field.key_escaped {
                    self.unescaped(&line[field.key])
                } else {
                    Span::line(field.key)
                };
                let value = match field.value {
                    Item::Null => FieldValue::Null,
                    Item::Bool(b) => FieldValue::Bool(b),
                    Item::Int(i) => FieldValue::Int(i),
                    Item::Uint(n) => self.large(n),
                    Item::Float(f) => FieldValue::Float(f),
                    Item::Text {
                        range,
                        escaped: true,
                    } => FieldValue::Text(self.unescaped(&line[range])),
                    Item::Text { range, .. } => FieldValue::Text(Span::line(range)),
                    Item::Nested(range) => self.nested(line, range),
                };
                self.push(Name::Span(name), value);
            }
        }
        self.json = found;
        valid
    }

    /// Cuts a trailing line end and the blanks around it off every text, also a literal `\n` or `\r`
    /// (Fluent Bit's `merge_log_trim`).
    pub fn trim_texts(&mut self, line: &[u8]) {
        for i in 0..self.fields.len() {
            let FieldValue::Text(span) = &self.fields[i].value else {
                continue;
            };
            let mut text = self.bytes(line, span);
            let before = text.len();
            while let Some(shorter) = [&b"\n"[..], b"\r", b"\\n", b"\\r"]
                .iter()
                .find_map(|end| text.strip_suffix(*end))
            {
                text = shorter;
            }
            let cut = before - text.len();
            if cut > 0
                && let FieldValue::Text(Span::Line(extent) | Span::Own(extent)) =
                    &mut self.fields[i].value
            {
                extent.end -= cut as u32;
            }
        }
    }

    /// Puts the fields into record `row`. `line` is where the parsed bytes lie in the batch's arena.
    /// Returns false, and changes nothing, when the batch would get more than [`MAX_COLUMNS`] columns.
    #[must_use]
    pub fn write(&mut self, batch: &mut LogBatch, row: usize, line: Slice) -> bool {
        if !self.find_columns(batch, line) {
            return false;
        }
        let own = if self.own.is_empty() {
            Slice::default()
        } else {
            batch.store(&self.own)
        };
        let slice = |span: &Span| match span {
            Span::Line(extent) => extent.of(line),
            Span::Own(extent) => extent.of(own),
        };
        for (field, column) in self.fields.iter().zip(&self.columns) {
            let value = match &field.value {
                FieldValue::Null => Value::Null,
                FieldValue::Bool(b) => Value::Bool(*b),
                FieldValue::Int(i) => Value::Int(*i),
                FieldValue::Float(f) => Value::Float(*f),
                FieldValue::Text(span) => Value::Text(slice(span)),
                FieldValue::Json(span) => Value::Json(slice(span)),
            };
            batch.set(*column, row, value);
        }
        true
    }

    /// The columns of the fields, in their order: after [`write`](Self::write).
    #[must_use]
    pub fn columns(&self) -> &[usize] {
        &self.columns[..self.fields.len().min(self.columns.len())]
    }

    /// Whether the last field is text.
    #[must_use]
    pub fn last_is_text(&self) -> bool {
        (self.fields.last()).is_some_and(|f| matches!(f.value, FieldValue::Text(_)))
    }

    /// The column and the text of the last field, when it is text: after [`write`](Self::write).
    #[must_use]
    pub fn last_text_column(&self, batch: &LogBatch, row: usize) -> Option<(usize, Slice)> {
        let column = *self.columns.get(self.fields.len().checked_sub(1)?)?;
        match batch.columns().get(column)?.values.get(row)? {
            Value::Text(text) if self.last_is_text() => Some((column, *text)),
            _ => None,
        }
    }

    /// Fills `columns`; makes the ones that are missing unless there are too many.
    fn find_columns(&mut self, batch: &mut LogBatch, line: Slice) -> bool {
        self.columns.resize(self.fields.len(), usize::MAX);
        let mut n_missing = 0;
        for i in 0..self.fields.len() {
            let guess = batch.columns().get(self.columns[i]);
            let name = match &self.fields[i].name {
                Name::Known(name) => {
                    let name = self.known_name(*name);
                    if guess.is_some_and(|c| Arc::ptr_eq(&c.name, name)) {
                        continue;
                    }
                    name.as_bytes()
                }
                Name::Span(span) => self.bytes(batch.bytes(line), span),
            };
            let is = |c: &kansoku_model::Column| c.name.as_bytes() == name;
            if guess.is_some_and(is) {
                continue;
            }
            self.columns[i] = batch.columns().iter().position(is).unwrap_or(usize::MAX);
            n_missing += usize::from(self.columns[i] == usize::MAX);
        }
        if n_missing == 0 {
            return true;
        }
        if batch.columns().len() + n_missing > MAX_COLUMNS {
            return false;
        }
        for i in 0..self.fields.len() {
            if self.columns[i] != usize::MAX {
                continue;
            }
            self.columns[i] = match &self.fields[i].name {
                Name::Known(name) => batch.column_index_or_share(self.known_name(*name)),
                Name::Span(span) => {
                    self.name.clear();
                    let bytes = match span {
                        Span::Line(extent) => &batch.bytes(line)[extent.range()],
                        Span::Own(extent) => &self.own[extent.range()],
                    };
                    self.name.push_str(&String::from_utf8_lossy(bytes));
                    batch.column_index_or_insert(&self.name)
                }
            };
        }
        true
    }

    /// Puts the fields as one JSON object into the arena and returns it, for a column of its own.
    #[must_use]
    pub fn write_object(&self, batch: &mut LogBatch, line: Slice) -> Value {
        let mut text = vec![b'{'];
        let bytes = batch.bytes(line);
        for (i, field) in self.fields.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            let name = match &field.name {
                Name::Known(name) => self.known_name(*name).as_bytes(),
                Name::Span(span) => self.bytes(bytes, span),
            };
            kansoku_model::json::write_str(&mut text, name);
            text.push(b':');
            match &field.value {
                FieldValue::Null => text.extend_from_slice(b"null"),
                FieldValue::Bool(b) => text.extend_from_slice(if *b { b"true" } else { b"false" }),
                FieldValue::Int(i) => text.extend_from_slice(i.to_string().as_bytes()),
                FieldValue::Float(f) => kansoku_model::json::write_f64(&mut text, *f),
                FieldValue::Text(span) => {
                    kansoku_model::json::write_str(&mut text, self.bytes(bytes, span));
                }
                FieldValue::Json(span) => text.extend_from_slice(self.bytes(bytes, span)),
            }
        }
        text.push(b'}');
        Value::Json(batch.store(&text))
    }
}
