//! Records of a batch as JSON members, with everything that is constant for the batch made once: quoted
//! keys, the `kubernetes` object, the digits of the current second.
//!
//! A record costs a copy of its prepared keys and one pass over its values.

use std::borrow::Cow;
use std::fmt;

use kansoku_model::{LogBatch, Value, json};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Unicode;
use crate::render::{
    DateFormat, kubernetes_json, rounded_seconds, split_seconds, write_date, write_fraction,
};

struct Member<'a> {
    /// `,"name":`
    key: Vec<u8>,
    values: Cow<'a, [Value]>,
}

/// What of a batch is written, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOptions<'a> {
    /// Dots in keys become underscores, at every depth.
    pub replace_dots: bool,
    /// Paths to leave out: a key alone, or keys below it.
    pub without: &'a [Vec<String>],
}

/// A batch ready to be written as JSON.
pub struct Rows<'a> {
    batch: &'a LogBatch,
    members: Vec<Member<'a>>,
    /// JSON values that had to be changed; their slices count from the arena's end.
    changed: Vec<u8>,
    /// `,"kubernetes":{...}`, or nothing.
    tail: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// Prepares a batch.
    #[must_use]
    pub fn new(batch: &'a LogBatch) -> Self {
        Self::with(batch, RowOptions::default())
    }

    /// Prepares a batch with changed keys.
    #[must_use]
    pub fn with(batch: &'a LogBatch, options: RowOptions<'_>) -> Self {
        let mut rows = Self {
            batch,
            members: Vec::with_capacity(batch.columns().len()),
            changed: Vec::new(),
            tail: Vec::new(),
        };
        for column in batch.columns() {
            let name: &str = &column.name;
            let below: Vec<&[String]> = paths_below(options.without, name);
            if below.iter().any(|path| path.is_empty()) {
                continue;
            }
            let changes = options.replace_dots || !below.is_empty();
            let values = if changes && column.values.iter().any(|v| matches!(v, Value::Json(_))) {
                Cow::Owned(rows.change(&column.values, &below, options.replace_dots))
            } else {
                Cow::Borrowed(column.values.as_slice())
            };
            rows.members.push(Member {
                key: member_key(name, options.replace_dots),
                values,
            });
        }
        let below = paths_below(options.without, "kubernetes");
        if !below.iter().any(|path| path.is_empty()) {
            let mut pod = kubernetes_json(batch);
            if !pod.is_empty() {
                pod = changed_json(&pod, &below, options.replace_dots);
                rows.tail = member_key("kubernetes", options.replace_dots);
                rows.tail.extend_from_slice(&pod);
            }
        }
        rows
    }

    fn change(&mut self, values: &[Value], below: &[&[String]], dots: bool) -> Vec<Value> {
        let base = self.batch.arena().len();
        let change = |value: &Value| match value {
            Value::Json(slice) => {
                let json = changed_json(self.batch.bytes(*slice), below, dots);
                let start = base + self.changed.len();
                self.changed.extend_from_slice(&json);
                match u32::try_from(start) {
                    Ok(start) => Value::Json(kansoku_model::Slice {
                        start,
                        len: json.len() as u32,
                    }),
                    Err(_) => *value,
                }
            }
            other => *other,
        };
        values.iter().map(change).collect()
    }

    /// Appends the members of record `row`. `first` tells whether no comma is owed before them;
    /// the answer, whether none is owed after them.
    pub fn write(&self, out: &mut Vec<u8>, row: usize, mut first: bool) -> bool {
        for member in &self.members {
            let value = member.values[row];
            if value == Value::Absent {
                continue;
            }
            out.extend_from_slice(&member.key[usize::from(first)..]);
            first = false;
            self.write_value(out, value);
        }
        if self.tail.is_empty() {
            return first;
        }
        out.extend_from_slice(&self.tail[usize::from(first)..]);
        false
    }

    fn write_value(&self, out: &mut Vec<u8>, value: Value) {
        match value {
            Value::Json(s) if s.start as usize >= self.batch.arena().len() && s.len > 0 => {
                let start = s.start as usize - self.batch.arena().len();
                out.extend_from_slice(&self.changed[start..][..s.len as usize]);
            }
            value => json::write_value(out, self.batch, value),
        }
    }

    /// How many members record `row` has.
    #[must_use]
    pub fn count(&self, row: usize) -> usize {
        let present = |m: &&Member<'_>| m.values[row] != Value::Absent;
        self.members.iter().filter(present).count() + usize::from(!self.tail.is_empty())
    }

    /// Key (quoted) and value of record `row` when it has one member only: a text as it stands
    /// (`Ok`), anything else as JSON (`Err`).
    #[must_use]
    pub fn only_value(&self, row: usize) -> Option<Result<&[u8], Vec<u8>>> {
        if self.count(row) != 1 {
            return None;
        }
        let found = self.members.iter().find(|m| m.values[row] != Value::Absent);
        let Some(member) = found else {
            let colon = b",\"kubernetes\":".len();
            return Some(Err(self.tail[colon..].to_vec()));
        };
        if let Value::Text(slice) = member.values[row] {
            return Some(Ok(self.batch.bytes(slice)));
        }
        let mut all = Vec::new();
        self.write(&mut all, row, true);
        all.drain(..member.key.len() - 1);
        Some(Err(all))
    }
}

/// Records as what stands between the quotes of a JSON string: JSON in JSON.
///
/// Keys are escaped once per batch, plain texts are copied with their quotes escaped; only what needs
/// escapes of its own is written twice.
pub struct QuotedRows<'r, 'a> {
    rows: &'r Rows<'a>,
    keys: Vec<Vec<u8>>,
    tail: Vec<u8>,
    unicode: Unicode,
    value: Vec<u8>,
}

impl<'r, 'a> QuotedRows<'r, 'a> {
    /// Prepares the batch of `rows`; `unicode` is for the inner JSON.
    #[must_use]
    pub fn new(rows: &'r Rows<'a>, unicode: Unicode) -> Self {
        let quoted = |json: &[u8]| {
            let mut json = json.to_vec();
            unicode.apply(&mut json, 0);
            let mut out = Vec::new();
            json::write_content(&mut out, &json);
            out
        };
        Self {
            keys: rows.members.iter().map(|m| quoted(&m.key)).collect(),
            tail: quoted(&rows.tail),
            rows,
            unicode,
            value: Vec::new(),
        }
    }

    /// Appends record `row` as an object.
    pub fn write(&mut self, out: &mut Vec<u8>, row: usize) {
        out.push(b'{');
        let mut first = true;
        for (member, key) in self.rows.members.iter().zip(&self.keys) {
            let value = member.values[row];
            if value == Value::Absent {
                continue;
            }
            out.extend_from_slice(&key[usize::from(first)..]);
            first = false;
            match value {
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                    json::write_value(out, self.rows.batch, value);
                }
                Value::Text(s) if json::is_plain(self.rows.batch.bytes(s)) => {
                    out.extend_from_slice(b"\\\"");
                    out.extend_from_slice(self.rows.batch.bytes(s));
                    out.extend_from_slice(b"\\\"");
                }
                value => {
                    self.value.clear();
                    self.rows.write_value(&mut self.value, value);
                    self.unicode.apply(&mut self.value, 0);
                    json::write_content(out, &self.value);
                }
            }
        }
        if !self.tail.is_empty() {
            out.extend_from_slice(&self.tail[usize::from(first)..]);
        }
        out.push(b'}');
    }
}

fn member_key(name: &str, replace_dots: bool) -> Vec<u8> {
    let mut key = vec![b','];
    if replace_dots {
        json::write_str(&mut key, name.replace('.', "_").as_bytes());
    } else {
        json::write_str(&mut key, name.as_bytes());
    }
    key.push(b':');
    key
}

/// What follows `name` in the paths that begin with it.
fn paths_below<'p>(paths: &'p [Vec<String>], name: &str) -> Vec<&'p [String]> {
    paths
        .iter()
        .filter(|path| path.first().is_some_and(|first| first == name))
        .map(|path| &path[1..])
        .collect()
}

/// JSON without some members, and without dots in keys. Text that is no JSON stays as it is.
fn changed_json(json: &[u8], without: &[&[String]], dots: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    match (
        without.is_empty(),
        serde_json::from_slice::<Object<'_>>(json),
    ) {
        (false, Ok(object)) => object.write_without(&mut out, without),
        _ => out.extend_from_slice(json),
    }
    if dots {
        replace_dots_in_keys(&mut out);
    }
    out
}

/// A JSON object whose values stay text, in its own order.
pub struct Object<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, &'de RawValue>()? {
                    pairs.push((Cow::Owned(pair.0), pair.1));
                }
                Ok(Object(pairs))
            }
        }
        reader.deserialize_map(Pairs)
    }
}

impl Object<'_> {
    fn write_without(&self, out: &mut Vec<u8>, without: &[&[String]]) {
        let mut separator = b'{';
        for (key, value) in &self.0 {
            let below: Vec<&[String]> = without
                .iter()
                .filter(|path| path.first().is_some_and(|first| *first == **key))
                .map(|path| &path[1..])
                .collect();
            if below.iter().any(|path| path.is_empty()) {
                continue;
            }
            out.push(separator);
            separator = b',';
            json::write_str(out, key.as_bytes());
            out.push(b':');
            out.extend_from_slice(&changed_json(value.get().as_bytes(), &below, false));
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

/// A string that a colon follows is a key.
fn replace_dots_in_keys(json: &mut [u8]) {
    let mut at = 0;
    while let Some(open) = memchr::memchr(b'"', &json[at..]).map(|i| at + i) {
        let mut close = open + 1;
        while close < json.len() && json[close] != b'"' {
            close += if json[close] == b'\\' { 2 } else { 1 };
        }
        let close = close.min(json.len());
        let after = json.get(close + 1..).unwrap_or_default();
        if after.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':') {
            for byte in &mut json[open..close] {
                if *byte == b'.' {
                    *byte = b'_';
                }
            }
        }
        at = (close + 1).min(json.len());
    }
}

/// Writes dates; the part up to the second is made once per second.
pub struct DateWriter {
    format: DateFormat,
    second: Option<i64>,
    text: Vec<u8>,
}

impl DateWriter {
    /// A writer of one form.
    #[must_use]
    pub fn new(format: DateFormat) -> Self {
        Self {
            format,
            second: None,
            text: Vec::new(),
        }
    }

    /// Appends a time.
    pub fn write(&mut self, out: &mut Vec<u8>, time_ns: i64) {
        if self.format == DateFormat::Double {
            let (second, micros) = rounded_seconds(time_ns);
            if self.second != Some(second) {
                self.text.clear();
                self.text
                    .extend_from_slice(itoa::Buffer::new().format(second).as_bytes());
                self.text.push(b'.');
                self.second = Some(second);
            }
            out.extend_from_slice(&self.text);
            return write_fraction(out, micros);
        }
        let (second, nanos) = split_seconds(time_ns);
        let end: &[u8] = match self.format {
            DateFormat::Iso8601 => b"Z\"",
            DateFormat::JavaSqlTimestamp => b"\"",
            _ => return write_date(out, time_ns, self.format),
        };
        if self.second != Some(second) {
            self.text.clear();
            write_date(&mut self.text, second * 1_000_000_000, self.format);
            // Without the digits of the fraction and what follows them.
            self.text.truncate(self.text.len() - end.len() - 6);
            self.second = Some(second);
        }
        out.extend_from_slice(&self.text);
        out.extend_from_slice(&digits::<6>(nanos / 1000));
        out.extend_from_slice(end);
    }
}

/// The last `N` decimal digits of a number.
#[must_use]
pub fn digits<const N: usize>(mut number: u32) -> [u8; N] {
    let mut out = [b'0'; N];
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: RowOptions<'_>) -> Vec<String> {
        let mut batch = crate::render::tests::batch();
        let value = Value::Json(batch.store(br#"{"a.b":{"c.d":"x.y","e":1},"z":[{"q.q":2}]}"#));
        let at = batch.column_index_or_insert("m.n");
        batch.set(at, 0, value);
        let rows = Rows::with(&batch, options);
        (0..batch.len())
            .map(|row| {
                let mut out = vec![b'{'];
                rows.write(&mut out, row, true);
                out.push(b'}');
                String::from_utf8(out).expect("text")
            })
            .collect()
    }

    #[test]
    fn keys_lose_dots_and_paths_are_left_out() {
        assert_eq!(
            text(RowOptions::default())[0],
            r#"{"log":"a \"quoted\" line","m.n":{"a.b":{"c.d":"x.y","e":1},"z":[{"q.q":2}]},"kubernetes":{"pod_name":"web-1","labels":{"app":"web"}}}"#
        );
        let dots = RowOptions {
            replace_dots: true,
            ..RowOptions::default()
        };
        assert!(text(dots)[0].contains(r#""m_n":{"a_b":{"c_d":"x.y","e":1},"z":[{"q_q":2}]}"#));
        let path = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let without = [
            path(&["log"]),
            path(&["m.n", "a.b", "c.d"]),
            path(&["m.n", "z"]),
            path(&["kubernetes", "labels", "app"]),
        ];
        let options = RowOptions {
            replace_dots: false,
            without: &without,
        };
        assert_eq!(
            text(options),
            [
                r#"{"m.n":{"a.b":{"e":1}},"kubernetes":{"pod_name":"web-1","labels":{}}}"#,
                r#"{"nested":{"a":[1,null,true,2.5]},"kubernetes":{"pod_name":"web-1","labels":{}}}"#
            ]
        );
    }

    #[test]
    fn quoted_rows_are_the_rows_as_a_json_string() {
        let mut batch = crate::render::tests::batch();
        let whole = Value::Json(batch.store(r#"{"é":["\"\\",18446744073709551615]}"#.as_bytes()));
        for (name, value) in [
            ("ke\"y é", whole),
            ("null", Value::Null),
            ("bool", Value::Bool(true)),
            ("int", Value::Int(-5)),
            ("float", Value::Float(2.5e-9)),
        ] {
            let at = batch.column_index_or_insert(name);
            batch.set(at, 0, value);
        }
        batch.set_text("plain", 1, b"plain text, longer than a block of 32 bytes");
        batch.set_text("bad", 1, b"x\xff\x01\"");
        let rows = Rows::new(&batch);
        for unicode in [Unicode::Plain, Unicode::Escaped] {
            let mut quoted = QuotedRows::new(&rows, unicode);
            for row in 0..batch.len() {
                let mut record = vec![b'{'];
                rows.write(&mut record, row, true);
                record.push(b'}');
                unicode.apply(&mut record, 0);
                let mut expected = Vec::new();
                json::write_content(&mut expected, &record);
                let mut out = Vec::new();
                quoted.write(&mut out, row);
                assert_eq!(String::from_utf8(out), String::from_utf8(expected));
            }
        }
    }

    #[test]
    fn a_single_member_gives_its_value() {
        let mut batch = LogBatch::new("t".into(), std::sync::Arc::default(), Vec::new());
        for n in 1..=3 {
            batch.push(0, kansoku_model::Position::at(n));
        }
        batch.set_text("log", 0, b"a \"b\"");
        let at = batch.column_index_or_insert("n");
        batch.set(at, 1, Value::Int(7));
        batch.set(at, 2, Value::Int(7));
        batch.set_text("log", 2, b"x");
        let rows = Rows::new(&batch);
        assert_eq!(rows.only_value(0), Some(Ok(&b"a \"b\""[..])));
        assert_eq!(rows.only_value(1), Some(Err(b"7".to_vec())));
        assert_eq!(rows.only_value(2), None);
    }

    #[test]
    fn cached_seconds_change_nothing() {
        for format in [
            DateFormat::Iso8601,
            DateFormat::JavaSqlTimestamp,
            DateFormat::Double,
        ] {
            let mut writer = DateWriter::new(format);
            for time in [
                0,
                1_700_000_000_123_456_789,
                1_700_000_000_999_999_999,
                -1,
                5,
            ] {
                let (mut cached, mut plain) = (Vec::new(), Vec::new());
                writer.write(&mut cached, time);
                write_date(&mut plain, time, format);
                assert_eq!(cached, plain, "{time}");
            }
        }
    }
}
