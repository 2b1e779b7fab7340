//! Which fields entries have: what Loki's `detected_fields` tells a client that offers them for choice.
//!
//! Structured metadata and what a query's own parsers found count, and what a line gives when it is
//! read as JSON, or else as logfmt. Cardinalities are exact.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::output::{Entry, Stream, Streams};
use super::record::{Category, ERROR_DETAILS_LABEL, ERROR_LABEL, Record, sanitized_name};
use super::stages::LINE_PARSERS;
use super::units;

/// One field of some entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedField {
    pub label: String,
    /// `int`, `float`, `boolean`, `duration`, `bytes` or `string`.
    pub kind: &'static str,
    /// Distinct values.
    pub cardinality: usize,
    /// What reads it out of a line: `json`, `logfmt`; none for metadata.
    pub parsers: Vec<&'static str>,
    /// The names on the way to it in a JSON line.
    pub json_path: Vec<String>,
}

struct Found {
    field: DetectedField,
    values: HashSet<String>,
}

/// At most `limit` fields of the entries, in order of their labels.
#[must_use]
pub fn fields(streams: &Streams, limit: usize) -> Vec<DetectedField> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for_each_value(streams, &mut |label, value, parser, line| {
        let n = found.len();
        if n >= limit && !found.contains_key(label) {
            return true;
        }
        let one = found.entry(label.to_owned()).or_insert_with(|| Found {
            field: DetectedField {
                label: label.to_owned(),
                kind: kind_of(value),
                cardinality: 0,
                parsers: Vec::new(),
                json_path: match parser {
                    Some("json") => json_path(line, label),
                    _ => Vec::new(),
                },
            },
            values: HashSet::new(),
        });
        if let Some(parser) = parser.filter(|parser| !one.field.parsers.contains(parser)) {
            one.field.parsers.push(parser);
        }
        if !one.values.contains(value) {
            one.values.insert(value.to_owned());
        }
        true
    });
    let counted = found.into_values().map(|one| DetectedField {
        cardinality: one.values.len(),
        ..one.field
    });
    counted.collect()
}

/// At most `limit` values of a field, in order. Sizes are written so that a query can hold them.
#[must_use]
pub fn values(streams: &Streams, name: &str, limit: usize) -> Vec<String> {
    let mut values = HashSet::new();
    for_each_value(streams, &mut |label, value, _, _| {
        if label == name {
            values.insert(match size_text(value) {
                Some(size) => size,
                None => value.to_owned(),
            });
        }
        values.len() < limit
    });
    let mut values: Vec<String> = values.into_iter().collect();
    values.sort();
    values
}

type VisitValue<'v> = dyn FnMut(&str, &str, Option<&'static str>, &[u8]) -> bool + 'v;

/// Calls `visit` with label, value, parser and line until it has enough.
fn for_each_value(streams: &Streams, visit: &mut VisitValue<'_>) {
    for stream in &streams.streams {
        for entry in &stream.entries {
            if !of_entry(stream, entry, visit) {
                return;
            }
        }
    }
}

fn of_entry(stream: &Stream, entry: &Entry, visit: &mut VisitValue<'_>) -> bool {
    let is_failure = |name: &str| name == ERROR_LABEL || name == ERROR_DETAILS_LABEL;
    for (name, value) in &stream.labels.metadata {
        if !visit(name, value, None, &entry.line) {
            return false;
        }
    }
    let mut record = Record::new(&stream.labels.stream);
    let mut parser = None;
    for (name, stage) in LINE_PARSERS {
        record.reset(entry.time_ns, &entry.line);
        stage.process(&mut record);
        if record.labels.error().is_empty() {
            parser = Some(*name);
            break;
        }
    }
    let mut goes_on = true;
    let parsed = stream.labels.parsed.iter();
    for (name, value) in parsed.filter(|(name, _)| !is_failure(name)) {
        goes_on = goes_on && visit(name, value, parser, &entry.line);
    }
    if parser.is_some() {
        record.labels.for_each(|name, value, category| {
            if category == Category::Parsed {
                goes_on = goes_on && visit(name, value, parser, &entry.line);
            }
        });
    }
    goes_on
}

fn kind_of(value: &str) -> &'static str {
    const BOOLEANS: &[&str] = &[
        "t", "T", "TRUE", "true", "True", "f", "F", "FALSE", "false", "False",
    ];
    if value.parse::<i64>().is_ok() {
        "int"
    } else if units::go_float(value).is_ok() {
        "float"
    } else if BOOLEANS.contains(&value) {
        "boolean"
    } else if units::go_duration(value).is_ok() {
        "duration"
    } else if units::byte_size(value).is_ok() {
        "bytes"
    } else {
        "string"
    }
}

/// A size with its unit, without a blank: `1.5kB`. None for what has no unit.
fn size_text(value: &str) -> Option<String> {
    const UNITS: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if !value.ends_with(|c: char| {
        matches!(
            c.to_ascii_lowercase(),
            'b' | 'i' | 'k' | 'm' | 'g' | 't' | 'p' | 'e'
        )
    }) {
        return None;
    }
    let bytes = units::byte_size(value).ok()?;
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1000.0, unit + 1);
    }
    let unit_text = UNITS[unit];
    Some(match unit {
        0 => format!("{bytes}B"),
        _ => {
            let rounded = (size * 10.0 + 0.5).floor() / 10.0;
            let digits = usize::from(rounded < 10.0);
            format!("{rounded:.digits$}{unit_text}")
        }
    })
}

/// The names whose values, joined as `| json` joins them, give the label.
fn json_path(line: &[u8], label: &str) -> Vec<String> {
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(line) else {
        return Vec::new();
    };
    let mut open = vec![(String::new(), Vec::new(), object)];
    while let Some((prefix, path, object)) = open.pop() {
        for (key, value) in object {
            let mut buf = String::new();
            let part = sanitized_name(&key, &mut buf);
            let name = match prefix.is_empty() {
                true => part.to_owned(),
                false => format!(
                    "{prefix}_{}",
                    part.strip_prefix('_')
                        .filter(|_| !key.starts_with('_'))
                        .unwrap_or(part)
                ),
            };
            let mut path = path.clone();
            path.push(key);
            match value {
                Value::Object(inner) => open.push((name, path, inner)),
                _ if name == label || format!("{name}_extracted") == label => return path,
                _ => {}
            }
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::output::LabelGroups;
    use kansoku_model::Labels;

    fn streams(lines: &[&str]) -> Streams {
        let entry = |line: &&str| Entry {
            time_ns: 1,
            line: line.as_bytes().into(),
        };
        Streams {
            streams: vec![Stream {
                labels: LabelGroups {
                    stream: Labels::from_pairs([("app", "api")]),
                    metadata: Labels::from_pairs([("trace_id", "t1")]),
                    ..LabelGroups::default()
                },
                entries: lines.iter().map(entry).collect(),
            }],
            ..Streams::default()
        }
    }

    #[test]
    fn fields_have_types_parsers_and_paths() {
        let streams = streams(&[
            r#"{"status":200,"user":{"id":"u1","1x":2},"took":"5ms","app":"x"}"#,
            r#"{"status":404,"user":{"id":"u1"},"took":"7ms","size":"10KB"}"#,
            "status=500 ratio=0.5 ok=true some text",
        ]);
        let found = fields(&streams, 100);
        let shown: Vec<String> = found
            .iter()
            .map(|f| {
                let (path, parsers) = (f.json_path.join("."), f.parsers.join("+"));
                format!("{} {} {} {parsers} {path}", f.label, f.kind, f.cardinality)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "app_extracted string 1 json app",
                "ok boolean 1 logfmt ",
                "ratio float 1 logfmt ",
                "size bytes 1 json size",
                "status int 3 json+logfmt status",
                "took duration 2 json took",
                "trace_id string 1  ",
                "user_1x int 1 json user.1x",
                "user_id string 1 json user.id",
            ]
        );
        assert_eq!(fields(&streams, 2).len(), 2);
        assert_eq!(values(&streams, "status", 10), ["200", "404", "500"]);
        assert_eq!(values(&streams, "status", 1).len(), 1);
        assert_eq!(values(&streams, "size", 10), ["10kB"]);
        assert_eq!(values(&streams, "trace_id", 10), ["t1"]);
    }

    #[test]
    fn sizes_are_written_as_queries_read_them() {
        for (text, expected) in [
            ("999B", Some("999B")),
            ("1536B", Some("1.5kB")),
            ("25MiB", Some("26MB")),
            ("12", None),
            ("abc", None),
            ("web", None),
        ] {
            assert_eq!(size_text(text).as_deref(), expected, "{text}");
        }
    }
}
