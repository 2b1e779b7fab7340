//! Records as text and as msgpack: the body formats that several outputs share.
//!
//! Rendering depends on nothing but the batch and the format, so a repeat is byte for byte the same.

use jiff::Timestamp;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Settings, Value, json};

use crate::rows::{DateWriter, Rows, digits};
use crate::tree::Tree;
use crate::{Unicode, msgpack};

/// How the time of a record is written under its date key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateFormat {
    /// Seconds, rounded to microseconds, without idle zeros.
    #[default]
    Double,
    Epoch,
    EpochMs,
    Iso8601,
    JavaSqlTimestamp,
}

/// The words of `json_date_format`, in the order of [`DateFormat`].
const DATE_FORMATS: &[&str] = &[
    "double",
    "epoch",
    "epoch_ms",
    "iso8601",
    "java_sql_timestamp",
];

/// The option for the key of a record's time.
pub const DATE_KEY: OptionSpec = OptionSpec::new(
    "json_date_key",
    OptionKind::Text,
    "date",
    "key of the time; false leaves it out",
);

/// The option for the form of a record's time.
#[must_use]
pub const fn date_format_option(default: &'static str) -> OptionSpec {
    OptionSpec::new(
        "json_date_format",
        OptionKind::Choice(DATE_FORMATS),
        default,
        "form of the time",
    )
}

/// How records follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// One array.
    #[default]
    Json,
    /// One object per line.
    Lines,
    /// Objects without anything between them.
    Stream,
    /// Fluent Bit's event stream in msgpack.
    Msgpack,
}

/// The words of `format`, in the order of their documentation.
pub const FORMATS: &[&str] = &["msgpack", "json", "json_lines", "json_stream"];

impl Layout {
    /// The layout that `format` asks for; msgpack when it is not set, as in Fluent Bit.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        match settings
            .text("format", "msgpack")
            .to_ascii_lowercase()
            .as_str()
        {
            "json" => Self::Json,
            "json_lines" => Self::Lines,
            "json_stream" => Self::Stream,
            _ => Self::Msgpack,
        }
    }
}

/// A record format with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub layout: Layout,
    /// Empty = no date.
    pub date_key: String,
    pub date: DateFormat,
    /// Of the layouts that are JSON.
    pub unicode: Unicode,
}

impl Format {
    /// Reads `json_date_key` and `json_date_format`.
    ///
    /// # Errors
    /// When the date format is unknown.
    pub fn of(settings: &Settings, layout: Layout) -> Result<Self, ConfigError> {
        let date_key = settings.text("json_date_key", "date");
        let word = settings.text("json_date_format", "double");
        let date = match word.to_ascii_lowercase().as_str() {
            "double" => DateFormat::Double,
            "epoch" => DateFormat::Epoch,
            "epoch_ms" => DateFormat::EpochMs,
            "iso8601" => DateFormat::Iso8601,
            "java_sql_timestamp" => DateFormat::JavaSqlTimestamp,
            _ => {
                let message = format!(
                    "'json_date_format' is '{word}', but must be one of {}",
                    DATE_FORMATS.join(", ")
                );
                return Err(ConfigError::new(&settings.place, message));
            }
        };
        Ok(Self {
            layout,
            date_key: if date_key.eq_ignore_ascii_case("false") {
                String::new()
            } else {
                date_key.to_owned()
            },
            date,
            unicode: Unicode::default(),
        })
    }

    /// The same with another way to write what lies beyond ASCII.
    #[must_use]
    pub fn with(self, unicode: Unicode) -> Self {
        Self { unicode, ..self }
    }

    /// Appends the records of one batch.
    pub fn write_batches<'a>(
        &self,
        out: &mut Vec<u8>,
        batches: impl IntoIterator<Item = &'a LogBatch>,
    ) {
        if self.layout == Layout::Msgpack {
            for batch in batches {
                let kubernetes = msgpack::from_json(&kubernetes_json(batch));
                for row in 0..batch.len() {
                    msgpack::write_event(out, batch, row, &kubernetes);
                }
            }
            return;
        }
        let mut key = Vec::new();
        if !self.date_key.is_empty() {
            json::write_str(&mut key, self.date_key.as_bytes());
            key.push(b':');
        }
        let mut dates = DateWriter::new(self.date);
        let start = out.len();
        for batch in batches {
            let rows = Rows::new(batch);
            out.reserve(batch.arena().len());
            for row in 0..batch.len() {
                if self.layout == Layout::Json {
                    out.push(if out.len() == start { b'[' } else { b',' });
                }
                self.write_record(out, batch, row, &rows, &key, &mut dates);
                if self.layout == Layout::Lines {
                    out.push(b'\n');
                }
            }
        }
        if self.layout == Layout::Json {
            if out.len() == start {
                out.push(b'[');
            }
            out.push(b']');
        }
        self.unicode.apply(out, start);
    }

    fn write_record(
        &self,
        out: &mut Vec<u8>,
        batch: &LogBatch,
        row: usize,
        rows: &Rows<'_>,
        key: &[u8],
        dates: &mut DateWriter,
    ) {
        out.push(b'{');
        out.extend_from_slice(key);
        if !key.is_empty() {
            dates.write(out, batch.times()[row]);
        }
        let mut first = key.is_empty();
        // Fluent Bit shows what came with a record besides its fields under this name.
        if let Some(metadata) = batch.metadata(row).filter(|m| *m != b"{}") {
            out.extend_from_slice(&b",\"__internal__\":{\"log_metadata\":"[usize::from(first)..]);
            out.extend_from_slice(metadata);
            out.push(b'}');
            first = false;
        }
        rows.write(out, row, first);
        out.push(b'}');
    }
}

/// The `kubernetes` object of a batch as JSON, made once for all its records; empty when there is none.
#[must_use]
pub fn kubernetes_json(batch: &LogBatch) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(meta) = batch.kubernetes() {
        json::write_kubernetes(&mut out, meta);
    }
    out
}

/// Appends a record's fields and its `kubernetes` object without braces.
pub fn write_fields(
    out: &mut Vec<u8>,
    batch: &LogBatch,
    row: usize,
    first: bool,
    kubernetes: &[u8],
) {
    let first = json::write_fields(out, batch, row, first);
    if !kubernetes.is_empty() {
        if !first {
            out.push(b',');
        }
        out.extend_from_slice(b"\"kubernetes\":");
        out.extend_from_slice(kubernetes);
    }
}

/// Appends one record as a JSON object without a date.
pub fn write_object(out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
    out.push(b'{');
    write_fields(out, batch, row, true, kubernetes);
    out.push(b'}');
}

/// Whole seconds and the nanoseconds after them; both for times before 1970 too.
#[must_use]
pub fn split_seconds(time_ns: i64) -> (i64, u32) {
    (
        time_ns.div_euclid(1_000_000_000),
        time_ns.rem_euclid(1_000_000_000) as u32,
    )
}

/// Appends a time in one of the forms of `json_date_format`.
pub(crate) fn write_date(out: &mut Vec<u8>, time_ns: i64, format: DateFormat) {
    let (seconds, nanos) = split_seconds(time_ns);
    let mut number = itoa::Buffer::new();
    let number = match format {
        DateFormat::Double => return write_seconds(out, time_ns),
        DateFormat::Epoch => number.format(seconds),
        DateFormat::EpochMs => number.format(time_ns.div_euclid(1_000_000)),
        DateFormat::Iso8601 | DateFormat::JavaSqlTimestamp => {
            let (form, end) = match format {
                DateFormat::Iso8601 => ("\"%Y-%m-%dT%H:%M:%S.", "Z\""),
                _ => ("\"%Y-%m-%d %H:%M:%S.", "\""),
            };
            out.extend_from_slice(utc(seconds, form).as_bytes());
            out.extend_from_slice(&digits::<6>(nanos / 1000));
            return out.extend_from_slice(end.as_bytes());
        }
    };
    out.extend_from_slice(number.as_bytes());
}

/// Appends seconds as Fluent Bit prints its doubles (`%.16g`): rounded to microseconds, without
/// zeros at the end but with one digit after the point.
pub fn write_seconds(out: &mut Vec<u8>, time_ns: i64) {
    let (seconds, micros) = rounded_seconds(time_ns);
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    out.push(b'.');
    write_fraction(out, micros);
}

/// Seconds and microseconds as Fluent Bit's doubles have them.
pub(crate) fn rounded_seconds(time_ns: i64) -> (i64, u32) {
    /// Added and taken away again, it leaves a number rounded, halves to even: its last bit is worth one.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let (seconds, nanos) = split_seconds(time_ns);
    // Through the double that Fluent Bit makes of a time, which is rounded itself: the last digit is its.
    let whole = seconds as f64;
    let fraction = whole + f64::from(nanos) / 1e9 - whole;
    let micros = (fraction * 1e6 + ROUNDER - ROUNDER) as u32;
    if micros >= 1_000_000 {
        (seconds + 1, 0)
    } else {
        (seconds, micros)
    }
}

/// Appends the digits behind the point: at least one, without zeros at the end.
pub(crate) fn write_fraction(out: &mut Vec<u8>, micros: u32) {
    let digits = digits::<6>(micros);
    let kept = digits.iter().rposition(|&d| d != b'0').unwrap_or(0) + 1;
    out.extend_from_slice(&digits[..kept]);
}

fn utc(seconds: i64, format: &str) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime(format)
        .to_string()
}

/// Appends a value as Fluent Bit's text printer shows msgpack: `"text"`, `{"k"=>1}`, `nil`, `%f`.
pub fn write_text_value(out: &mut Vec<u8>, batch: &LogBatch, value: Value) {
    match value {
        Value::Absent => {}
        Value::Null => out.extend_from_slice(b"nil"),
        Value::Float(f) => out.extend_from_slice(format!("{f:.6}").as_bytes()),
        Value::Text(s) => {
            out.push(b'"');
            out.extend_from_slice(batch.bytes(s));
            out.push(b'"');
        }
        Value::Json(s) => match Tree::read(batch.bytes(s)) {
            Some(tree) => write_text_tree(out, &tree),
            None => out.extend_from_slice(batch.bytes(s)),
        },
        Value::Bool(_) | Value::Int(_) => json::write_value(out, batch, value),
    }
}

/// Appends a JSON tree in the same text form.
pub fn write_text_tree(out: &mut Vec<u8>, tree: &Tree) {
    match tree {
        Tree::Null => out.extend_from_slice(b"nil"),
        Tree::Bool(b) => out.extend_from_slice(b.to_string().as_bytes()),
        Tree::Int(i) => out.extend_from_slice(i.to_string().as_bytes()),
        Tree::Uint(u) => out.extend_from_slice(u.to_string().as_bytes()),
        Tree::Float(f) => out.extend_from_slice(format!("{f:.6}").as_bytes()),
        Tree::Text(s) => {
            out.push(b'"');
            out.extend_from_slice(s.as_bytes());
            out.push(b'"');
        }
        Tree::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write_text_tree(out, item);
            }
            out.push(b']');
        }
        Tree::Object(pairs) => {
            out.push(b'{');
            for (i, (key, item)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(format!("\"{key}\"=>").as_bytes());
                write_text_tree(out, item);
            }
            out.push(b'}');
        }
    }
}

/// Appends one record as Fluent Bit's text printer shows its map.
pub fn write_text_record(out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
    out.push(b'{');
    let mut first = true;
    for column in batch.columns() {
        if column.values[row] == Value::Absent {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(format!("\"{}\"=>", column.name).as_bytes());
        write_text_value(out, batch, column.values[row]);
    }
    if !kubernetes.is_empty() {
        if !first {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(b"\"kubernetes\"=>");
        if let Some(tree) = Tree::read(kubernetes) {
            write_text_tree(out, &tree);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use kansoku_model::{KubernetesMetadata, Position, Resource};

    use super::*;

    /// Two records, one with a nested field, of a container.
    pub(crate) fn batch() -> LogBatch {
        let resource = Resource {
            kubernetes: Some(KubernetesMetadata {
                pod_name: "web-1".into(),
                labels: vec![("app".into(), "web".into())],
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut b = LogBatch::new("kube.web".into(), Arc::new(resource), Vec::new());
        for (i, text) in ["a \"quoted\" line", "観測\t"].iter().enumerate() {
            let row = b.push(
                1_700_000_000_123_456_789 + i as i64,
                Position::at(i as u64 + 1),
            );
            b.set_text("log", row, text.as_bytes());
        }
        let nested = Value::Json(b.store(br#"{"a":[1,null,true,2.5]}"#));
        let at = b.column_index_or_insert("nested");
        b.set(at, 1, nested);
        b
    }

    fn text(layout: Layout, pairs: &[(&str, &str)]) -> String {
        let format = Format::of(&Settings::of("stdout", pairs), layout).expect("valid settings");
        let mut out = Vec::new();
        format.write_batches(&mut out, [&batch()]);
        String::from_utf8(out).expect("rendered text is UTF-8")
    }

    /// As Fluent Bit 5.1.1 printed these times.
    #[test]
    fn seconds_are_rounded_as_the_double_is() {
        for (time_ns, expected) in [
            (1_795_282_315_144_652_490, "1795282315.144653"),
            (1_795_282_320_931_100_499, "1795282320.931101"),
            (1_795_282_320_931_100_300, "1795282320.9311"),
            (1_700_000_000_999_999_900, "1700000001.0"),
            (1_700_000_000_500_000_000, "1700000000.5"),
            (0, "0.0"),
        ] {
            let mut out = Vec::new();
            write_seconds(&mut out, time_ns);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }

    #[test]
    fn json_lines_and_stream_hold_the_same_objects() {
        let k = r#""kubernetes":{"pod_name":"web-1","labels":{"app":"web"}}"#;
        let first = format!(r#"{{"date":1700000000.123457,"log":"a \"quoted\" line",{k}}}"#);
        let second = format!(
            r#"{{"date":1700000000.123457,"log":"観測\t","nested":{{"a":[1,null,true,2.5]}},{k}}}"#
        );
        assert_eq!(text(Layout::Lines, &[]), format!("{first}\n{second}\n"));
        assert_eq!(text(Layout::Json, &[]), format!("[{first},{second}]"));
        assert_eq!(text(Layout::Stream, &[]), format!("{first}{second}"));
    }

    #[test]
    fn dates_take_every_form() {
        let date = |format: &str| {
            let all = text(
                Layout::Lines,
                &[("json_date_key", "t"), ("json_date_format", format)],
            );
            all.split_once(",\"log\"")
                .expect("log follows the date")
                .0
                .to_owned()
        };
        assert_eq!(date("epoch"), r#"{"t":1700000000"#);
        assert_eq!(date("epoch_ms"), r#"{"t":1700000000123"#);
        assert_eq!(date("iso8601"), r#"{"t":"2023-11-14T22:13:20.123456Z""#);
        assert_eq!(
            date("java_sql_timestamp"),
            r#"{"t":"2023-11-14 22:13:20.123456""#
        );
        assert!(text(Layout::Lines, &[("json_date_key", "false")]).starts_with(r#"{"log""#));
        let bad = Settings::of("stdout", &[("json_date_format", "rfc")]);
        assert!(Format::of(&bad, Layout::Json).is_err());
    }

    #[test]
    fn text_records_look_like_fluent_bits() {
        let b = batch();
        let mut out = Vec::new();
        write_text_record(&mut out, &b, 1, &kubernetes_json(&b));
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "{\"log\"=>\"観測\t\", \"nested\"=>{\"a\"=>[1, nil, true, 2.500000]}, \
             \"kubernetes\"=>{\"pod_name\"=>\"web-1\", \"labels\"=>{\"app\"=>\"web\"}}}"
        );
    }
}
