//! What Loki adds to what comes in: the label `service_name`, and the level of each line as `detected_level`. Pushes get both
//! while they are decoded, batches of agents when they are stored ([`Discovery::complete`]).
//!
//! Source: Loki, `pkg/distributor/field_detection.go` and `pkg/loghttp/push/push.go`; the order in which fields are looked at
//! and the words that count are the same. Not here: whether to do it, which is the configuration's.

use std::fmt;
use std::sync::Arc;

use kansoku_model::log::{Column, Slice};
use kansoku_model::stream::{added_column, as_stream_or, default_labels};
use kansoku_model::{Labels, LogBatch, Resource, Streams, Value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::line::logfmt;

/// The structured metadata that holds the level.
pub const LEVEL: &str = "detected_level";
/// The label that says which program a stream is of.
pub const SERVICE: &str = "service_name";
/// Its value when nothing tells.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What is looked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Labels that `service_name` is taken from, the first that a stream has; without any it is not set.
    pub service_labels: Vec<String>,
    /// Whether levels are looked for.
    pub levels: bool,
    /// Labels, metadata and fields of lines that hold a level, in this order.
    pub level_fields: Vec<String>,
    /// How deep the objects of a line in JSON are searched for them; 0 is no bound of its own.
    pub json_depth: usize,
}

impl Discovery {
    /// Nothing is added.
    pub const NONE: &Self = &Self {
        service_labels: Vec::new(),
        levels: false,
        level_fields: Vec::new(),
        json_depth: 0,
    };

    /// The value of `service_name` for a stream without one.
    #[must_use]
    pub fn service<'a>(&self, labels: &'a Labels) -> Option<&'a str> {
        if self.service_labels.is_empty() || labels.get(SERVICE).is_some() {
            return None;
        }
        let mut found = self.service_labels.iter().filter_map(|n| labels.get(n));
        Some(found.find(|v| !v.is_empty()).unwrap_or(UNKNOWN_SERVICE))
    }

    /// The level that a stream's labels tell for each of its entries.
    #[must_use]
    pub fn level_of_labels(&self, labels: &Labels) -> Option<Box<str>> {
        let found = self.level_fields.iter().find_map(|name| labels.get(name))?;
        Some(normal(found).unwrap_or(found).into())
    }

    /// The level of an entry of a stream whose labels tell none.
    #[must_use]
    pub fn level<'a>(&self, metadata: &[(&str, &'a [u8])], line: &[u8]) -> &'a [u8] {
        let of = |wanted: &str| metadata.iter().find(|(name, _)| *name == wanted);
        if let Some((_, value)) = self.level_fields.iter().find_map(|name| of(name)) {
            let text = std::str::from_utf8(value).unwrap_or_default();
            return normal(text).map_or(value, str::as_bytes);
        }
        let found = match of("severity_number") {
            Some((_, number)) if !number.is_empty() => of_severity(number),
            _ => self.of_line(line),
        };
        found.as_bytes()
    }

    /// Adds both to a batch, where they are missing: what is complete stays as it is.
    pub fn complete(&self, batch: &mut LogBatch) {
        let labels = default_labels(&batch.resource, &batch.tag);
        if let Some(service) = self.service_of_rows(&labels, batch) {
            batch.resource = Arc::new(Resource {
                labels: labels.with(SERVICE, &service),
                ..Resource::clone(&batch.resource)
            });
        }
        if self.levels {
            self.add_levels(&labels, batch);
        }
    }

    /// As [`Discovery::service`], for the streams of a batch, which differ by `stream` alone.
    fn service_of_rows(&self, labels: &Labels, batch: &LogBatch) -> Option<String> {
        let service = self.service(labels)?;
        let wins = self.service_labels.iter().find(|name| {
            *name == "stream" || labels.get(name).is_some_and(|value| !value.is_empty())
        });
        let is_of_row = wins.is_some_and(|name| name == "stream") && labels.get("stream").is_none();
        Some(if is_of_row && batch.column("stream").is_some() {
            as_stream_or(service)
        } else {
            service.to_owned()
        })
    }

    fn add_levels(&self, labels: &Labels, batch: &mut LogBatch) {
        let added = added_column(LEVEL);
        let is_there = |row: usize| {
            let columns = [batch.column(LEVEL), batch.column(&added)];
            let mut present = columns.into_iter().flatten();
            present.any(|column| column.values[row] != Value::Absent)
        };
        let rows: Vec<usize> = (0..batch.len()).filter(|row| !is_there(*row)).collect();
        if rows.is_empty() {
            return;
        }
        let found = match self.level_of_labels(labels) {
            Some(level) => vec![Found::Owned(level); rows.len()],
            None => self.levels_of(batch, &rows),
        };
        let mut values = match batch.remove_column(&added) {
            Some(column) => column.values,
            None => vec![Value::Absent; batch.len()],
        };
        // A batch has a few levels, which stand in its memory once.
        let mut known: Vec<(Found, Slice)> = Vec::new();
        for (row, found) in rows.into_iter().zip(found) {
            let slice = match &found {
                Found::In(slice) => *slice,
                Found::Word(_) | Found::Owned(_) => {
                    match known.iter().find(|(level, _)| *level == found) {
                        Some((_, slice)) => *slice,
                        None => {
                            let slice = batch.store(found.text().as_bytes());
                            known.push((found, slice));
                            slice
                        }
                    }
                }
            };
            values[row] = Value::Text(slice);
        }
        batch.put_column(Column {
            name: added.into(),
            values,
        });
    }

    /// The levels of entries whose stream's labels tell none.
    fn levels_of(&self, batch: &LogBatch, rows: &[usize]) -> Vec<Found> {
        let columns = |names: &mut dyn Iterator<Item = &str>| -> Vec<&Column> {
            names.filter_map(|name| batch.column(name)).collect()
        };
        let fields = columns(&mut self.level_fields.iter().map(String::as_str));
        let severity = columns(&mut std::iter::once("severity_number"));
        let streams = Streams::of(batch);
        let (mut line, mut text) = (Vec::new(), Vec::new());
        let mut level_of = |row: usize| {
            let present = |column: &&&Column| column.values[row] != Value::Absent;
            if let Some(column) = fields.iter().find(present) {
                let value = column.values[row];
                let shown = batch.display(value, &mut text).unwrap_or_default();
                let shown = std::str::from_utf8(shown).unwrap_or_default();
                return match (normal(shown), value) {
                    (Some(level), _) => Found::Word(level),
                    (None, Value::Text(slice)) => Found::In(slice),
                    (None, _) => Found::Owned(shown.into()),
                };
            }
            let number = severity.iter().find(present).and_then(|column| {
                let shown = batch.display(column.values[row], &mut text);
                shown.filter(|number| !number.is_empty())
            });
            Found::Word(match number {
                Some(number) => of_severity(number),
                None => self.of_line(streams.line(row, &mut line)),
            })
        };
        rows.iter().map(|row| level_of(*row)).collect()
    }

    fn of_line(&self, line: &[u8]) -> &'static str {
        let trimmed = line.trim_ascii();
        let is_json = trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}');
        let field = if is_json {
            self.of_json(line)
        } else if line.contains(&b'=') {
            self.of_logfmt(line)
        } else {
            None
        };
        field.unwrap_or_else(|| of_text(line))
    }

    /// The level of the first field of a level in an object.
    fn of_json(&self, line: &[u8]) -> Option<&'static str> {
        let mut found = None;
        let search = Search {
            discovery: self,
            depth: 0,
            found: &mut found,
        };
        // The error is a line that is cut off, or the stop behind what was looked for.
        let _ = search.deserialize(&mut serde_json::Deserializer::from_slice(line));
        found.flatten()
    }

    /// The level of the field that comes first in the list, its name in any case.
    fn of_logfmt(&self, line: &[u8]) -> Option<&'static str> {
        let mut best = self.level_fields.len();
        let mut found = None;
        logfmt::pairs(line, |key, value| {
            let key = &line[key];
            let mut better = self.level_fields[..best].iter();
            if let Some(at) = better.position(|f| f.as_bytes().eq_ignore_ascii_case(key)) {
                best = at;
                found = match value {
                    logfmt::LogfmtValue::Bare => None,
                    logfmt::LogfmtValue::Text { range, .. } => {
                        std::str::from_utf8(&line[range]).ok().and_then(normal)
                    }
                };
            }
            best > 0
        });
        found
    }
}

/// A level and where its text is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Word(&'static str),
    Owned(Box<str>),
    /// In the batch's own memory.
    In(Slice),
}

impl Found {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) => text,
            Self::Owned(text) => text,
            Self::In(_) => "",
        }
    }
}

impl Default for Discovery {
    /// Loki's.
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            service_labels: owned(&[
                "service",
                "app",
                "application",
                "app_name",
                "name",
                "app_kubernetes_io_name",
                "container",
                "container_name",
                "k8s_container_name",
                "component",
                "workload",
                "job",
                "k8s_job_name",
            ]),
            levels: true,
            level_fields: owned(&[
                "level",
                "LEVEL",
                "Level",
                "log.level",
                "severity",
                "SEVERITY",
                "Severity",
                "SeverityText",
                "lvl",
                "LVL",
                "Lvl",
                "severity_text",
                "Severity_Text",
                "SEVERITY_TEXT",
            ]),
            json_depth: 2,
        }
    }
}

/// A level's own word for what others call it; `None` for what is no level.
#[must_use]
pub fn normal(text: &str) -> Option<&'static str> {
    const WORDS: &[(&str, &[&str])] = &[
        ("info", &["info", "inf", "information"]),
        ("error", &["error", "err"]),
        ("warn", &["warn", "wrn", "warning"]),
        ("debug", &["debug", "dbg"]),
        ("trace", &["trace", "trc"]),
        ("critical", &["critical"]),
        ("fatal", &["fatal"]),
    ];
    let is = |words: &&[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let found = WORDS.iter().find(|(_, words)| is(words));
    found.map(|(level, _)| *level)
}

/// Of OpenTelemetry's severity number.
fn of_severity(number: &[u8]) -> &'static str {
    let number = std::str::from_utf8(number).ok();
    match number.and_then(|n| n.parse::<i64>().ok()) {
        None => "info",
        Some(0) => "unknown",
        Some(..=4) => "trace",
        Some(5..=8) => "debug",
        Some(9..=12) => "info",
        Some(13..=16) => "warn",
        Some(17..=20) => "error",
        Some(21..=24) => "fatal",
        Some(_) => "unknown",
    }
}

/// Of the first word of a line that is a level.
fn of_text(line: &[u8]) -> &'static str {
    const WORDS: &[(&[u8], &str)] = &[
        (b"trace", "trace"),
        (b"debug", "debug"),
        (b"fatal", "fatal"),
        (b"critical", "critical"),
        (b"error", "error"),
        (b"err", "error"),
        (b"warning", "warn"),
        (b"warn", "warn"),
        (b"info", "info"),
    ];
    let mut is_start = true;
    for (at, byte) in line.iter().enumerate() {
        if is_start && matches!(byte | 0x20, b't' | b'd' | b'f' | b'c' | b'e' | b'w' | b'i') {
            for (word, level) in WORDS {
                let rest = &line[at..];
                if rest.len() >= word.len()
                    && rest[..word.len()].eq_ignore_ascii_case(word)
                    && rest.get(word.len()).is_none_or(|b| ends_word(*b))
                {
                    return level;
                }
            }
        }
        is_start = starts_word(*byte);
    }
    "unknown"
}

/// Whether a word may begin behind it. Not behind a colon: `misc:error` is one name.
fn starts_word(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'[' | b'(' | b'{' | b'"' | b'\'' | b'=' | b'|'
    )
}

/// Whether a word may end before it.
fn ends_word(byte: u8) -> bool {
    starts_word(byte) || matches!(byte, b']' | b')' | b'}' | b':' | b',' | b'!')
}

/// Looks for a level in an object; ends with an error as soon as it has one.
struct Search<'d, 'f> {
    discovery: &'d Discovery,
    depth: usize,
    /// The level of the first field that is one; `Some(None)` when what it holds is no level.
    found: &'f mut Option<Option<&'static str>>,
}

/// A key, and whether it is that of a level.
struct Key<'d>(&'d Discovery);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(self.0.level_fields.iter().any(|field| field == name))
    }
}

/// A value: of a field of a level, or one that may hold objects.
struct Inner<'d, 'f> {
    search: Search<'d, 'f>,
    is_level: bool,
}

impl<'de> DeserializeSeed<'de> for Search<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        let inner = Inner {
            search: self,
            is_level: false,
        };
        d.deserialize_any(inner)
    }
}

impl<'de> DeserializeSeed<'de> for Inner<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if !self.is_level {
            return Ok(());
        }
        *self.search.found = Some(normal(text));
        Err(E::custom("found"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Search {
            discovery,
            depth,
            found,
        } = self.search;
        let is_too_deep = discovery.json_depth > 0 && depth >= discovery.json_depth;
        while let Some(is_level) = map.next_key_seed(Key(discovery))? {
            if is_too_deep {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let search = Search {
                discovery,
                depth: depth + 1,
                found: &mut *found,
            };
            map.next_value_seed(Inner { search, is_level })?;
        }
        Ok(())
    }

    /// Objects in lists are not looked into.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{KubernetesMetadata, Position};

    use super::*;

    #[test]
    fn services_are_named_by_the_first_label_of_the_list() {
        let discovery = Discovery::default();
        for (labels, expected) in [
            (&[("app", "a"), ("job", "j")][..], Some("a")),
            (&[("job", "j"), ("container", "c")], Some("c")),
            (&[("job", "j")], Some("j")),
            (&[("x", "y")], Some("unknown_service")),
            (&[("app", "a"), ("service_name", "s")], None),
        ] {
            let labels = Labels::from_pairs(labels.iter().copied());
            assert_eq!(discovery.service(&labels), expected, "{labels}");
            assert_eq!(Discovery::NONE.service(&labels), None);
        }
    }

    #[test]
    fn levels_of_lines() {
        let discovery = Discovery::default();
        for (line, expected) in [
            ("", "unknown"),
            ("nothing of it", "unknown"),
            ("ERROR: it broke", "error"),
            ("[warning] careful, an error", "warn"),
            ("misc:error and so", "unknown"),
            ("an error, then a warning", "error"),
            ("terror informs", "unknown"),
            ("(info) x", "info"),
            ("err", "error"),
            ("errors", "unknown"),
            ("2026-01-01 FATAL|x", "fatal"),
            ("x level=warn y", "warn"),
            ("msg=error LEVEL=Inf", "info"),
            ("level=strange then error", "error"),
            ("lvl=debug severity=err", "error"),
            (r#"level="warn""#, "warn"),
            (r#"{"level":"WRN","msg":"error"}"#, "warn"),
            (r#" {"msg":"x","log":{"severity":"critical"}} "#, "critical"),
            (r#"{"a":{"b":{"level":"error"}},"x":1}"#, "error"),
            (
                r#"{"a":{"b":{"level":"trace"}},"msg":"an error here"}"#,
                "trace",
            ),
            (r#"{"list":[{"level":"debug"}]}"#, "debug"),
            (r#"{"level":3,"x":null,"severity":"error"}"#, "error"),
            (r#"{"level":"5","msg":"info"}"#, "info"),
            (r#"{"a": broken, "level":"fatal"}"#, "fatal"),
            (r#"{"msg":"x"}"#, "unknown"),
        ] {
            assert_eq!(discovery.of_line(line.as_bytes()), expected, "{line}");
        }
    }

    /// Labels and, of each record, level and line of a batch that was completed twice, which is as once.
    fn completed(discovery: &Discovery, mut batch: LogBatch) -> (String, Vec<(String, String)>) {
        discovery.complete(&mut batch);
        let once = batch.clone();
        discovery.complete(&mut batch);
        assert_eq!(batch, once);
        let streams = Streams::of(&batch);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of_row = |row: usize| {
            let mut levels = Vec::new();
            streams.metadata(row, |name, value| {
                if name == LEVEL {
                    levels.push(text(value));
                }
            });
            assert!(levels.len() <= 1, "{levels:?}");
            (levels.concat(), text(streams.line(row, &mut Vec::new())))
        };
        (
            streams.labels[0].to_string(),
            (0..batch.len()).map(of_row).collect(),
        )
    }

    fn batch(pod_labels: &[(&str, &str)], rows: &[&[(&str, &str)]]) -> LogBatch {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let kubernetes = KubernetesMetadata {
            pod_name: "p".into(),
            namespace_name: "ns".into(),
            container_name: "c".into(),
            labels: pod_labels.iter().map(owned).collect(),
            ..KubernetesMetadata::default()
        };
        let resource = Resource {
            kubernetes: Some(kubernetes),
            ..Resource::default()
        };
        let mut batch = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
        for (at, fields) in rows.iter().enumerate() {
            let row = batch.push(at as i64, Position::at(at as u64));
            for (name, value) in *fields {
                batch.set_text(name, row, value.as_bytes());
            }
        }
        batch
    }

    #[test]
    fn a_batch_of_an_agent_gets_both() {
        let discovery = Discovery::default();
        let rows: [&[(&str, &str)]; 7] = [
            &[("log", "ERROR: it broke")],
            &[("log", "fine")],
            &[("log", "an error"), ("level", "WARNING")],
            &[("log", "an error"), ("level", "Notice")],
            &[("log", "x"), ("severity_number", "21")],
            &[("log", "x"), ("detected_level", "mine")],
            // Without a line the fields are it.
            &[("level", "info"), ("msg", "m")],
        ];
        let (labels, got) = completed(&discovery, batch(&[("app", "shop")], &rows));
        assert_eq!(
            labels,
            r#"{app="shop", container="c", namespace="ns", pod="p", service_name="shop"}"#
        );
        let expected = [
            ("error", "ERROR: it broke"),
            ("unknown", "fine"),
            ("warn", "an error"),
            ("Notice", "an error"),
            ("fatal", "x"),
            ("mine", "x"),
            ("info", r#"{"level":"info","msg":"m"}"#),
        ];
        let expected = expected.map(|(level, line)| (level.to_owned(), line.to_owned()));
        assert_eq!(got, expected);
        let (_, got) = completed(&discovery, batch(&[("severity", "ERR")], &rows[..2]));
        assert_eq!((&*got[0].0, &*got[1].0), ("error", "error"));
        let (labels, _) = completed(&discovery, batch(&[("service_name", "own")], &rows));
        assert!(labels.contains(r#"service_name="own""#), "{labels}");
        let (labels, got) = completed(Discovery::NONE, batch(&[], &rows[..1]));
        assert_eq!(labels, r#"{container="c", namespace="ns", pod="p"}"#);
        assert_eq!(got[0].0, "");
    }

    #[test]
    fn the_service_may_be_the_stream_of_each_line() {
        let rows: [&[(&str, &str)]; 3] = [
            &[("log", "x"), ("stream", "stdout")],
            &[("log", "x"), ("stream", "stderr")],
            &[("log", "x")],
        ];
        for (names, expected) in [
            (&["stream", "app"][..], ["stdout", "stderr", "shop"]),
            (&["none", "stream"], ["stdout", "stderr", "unknown_service"]),
            (&["app", "stream"], ["shop", "shop", "shop"]),
        ] {
            let discovery = Discovery {
                service_labels: names.iter().map(ToString::to_string).collect(),
                ..Discovery::default()
            };
            let mut batch = batch(&[("app", "shop")], &rows);
            discovery.complete(&mut batch);
            let once = batch.clone();
            discovery.complete(&mut batch);
            assert_eq!(batch, once);
            let streams = Streams::of(&batch);
            let of_row = |at: &u32| streams.labels[*at as usize].get(SERVICE);
            let got: Vec<_> = streams.of_row.iter().map(of_row).collect();
            assert_eq!(got, expected.map(Some), "{names:?}");
        }
    }

    #[test]
    fn metadata_comes_before_the_line() {
        let discovery = Discovery::default();
        let level = |metadata: &[(&str, &'static [u8])]| {
            let level = discovery.level(metadata, b"level=error");
            String::from_utf8_lossy(level).into_owned()
        };
        assert_eq!(level(&[("x", b"y")]), "error");
        assert_eq!(level(&[("severity", b"x"), ("level", b"INFO")]), "info");
        assert_eq!(level(&[("severity_text", b"Notice")]), "Notice");
        for (number, expected) in [
            ("0", "unknown"),
            ("1", "trace"),
            ("8", "debug"),
            ("9", "info"),
            ("16", "warn"),
            ("17", "error"),
            ("24", "fatal"),
            ("25", "unknown"),
            ("x", "info"),
        ] {
            assert_eq!(of_severity(number.as_bytes()), expected);
        }
        let labels = Labels::from_pairs([("severity", "WARNING"), ("x", "y")]);
        let of_labels = discovery.level_of_labels(&labels);
        assert_eq!(of_labels.as_deref(), Some("warn"));
    }
}
