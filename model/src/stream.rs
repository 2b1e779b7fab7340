//! What the aggregator makes of a log batch: streams (label sets), lines and structured metadata.
//!
//! The rule is deterministic, because a WAL replay must give the same streams as the first time.
//! Columns with a fixed part:
//! - `log`, else `message`, else `MESSAGE` is the line; a record with none of them becomes one JSON object;
//! - `stream` is a label;
//! - `time`, `_p` and `logtag` repeat what the record holds elsewhere and are dropped;
//! - every other column is structured metadata;
//! - a column made by [`metadata_column`] or [`added_column`] is structured metadata whatever its name, and no part of such an
//!   object.

use std::borrow::Cow;

use crate::{Labels, LogBatch, Resource, Value, json};

const BODY_COLUMNS: [&str; 3] = ["log", "message", "MESSAGE"];
const DROPPED_COLUMNS: [&str; 3] = ["time", "_p", "logtag"];

/// Stands before the name of a column that is structured metadata although its name has a fixed
/// part. No name of a field begins with it.
const METADATA_MARK: char = '\u{1}';

/// Begins the value of a label that is the `stream` of each row. No sender writes it.
const STREAM_MARK: &str = "\u{1}stream\u{1}";

/// The column that holds structured metadata called `name`, for senders who tell metadata and line
/// apart: a plain column called `stream` or `log` would mean something else.
#[must_use]
pub fn metadata_column(name: &str) -> Cow<'_, str> {
    let has_a_part =
        name == "stream" || BODY_COLUMNS.contains(&name) || DROPPED_COLUMNS.contains(&name);
    if has_a_part || name.starts_with(METADATA_MARK) {
        Cow::Owned(format!("{METADATA_MARK}{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The column that holds structured metadata that no sender chose: also of a record without a line it is no field.
#[must_use]
pub fn added_column(name: &str) -> String {
    format!("{METADATA_MARK}{name}")
}

/// The value of a label that is the row's `stream`, and `other` in rows without one.
#[must_use]
pub fn as_stream_or(other: &str) -> String {
    format!("{STREAM_MARK}{other}")
}

/// The labels of rows whose `stream` is `name`, empty when they have none.
fn labels_of_stream(base: &Labels, name: &str) -> Labels {
    let mut labels = base.clone();
    for (label, value) in base {
        if let Some(other) = value.strip_prefix(STREAM_MARK) {
            labels = labels.with(label, if name.is_empty() { other } else { name });
        }
    }
    if name.is_empty() {
        labels
    } else {
        labels.with("stream", name)
    }
}

/// The streams of a batch and how to read its rows.
#[derive(Debug)]
pub struct Streams<'a> {
    batch: &'a LogBatch,
    /// The distinct label sets.
    pub labels: Vec<Labels>,
    /// For each row the index of its label set.
    pub of_row: Vec<u32>,
    bodies: Vec<usize>,
    metadata: Vec<usize>,
}

/// Labels that controllers put on pods to tell their own revisions apart.
const GENERATED_POD_LABELS: [&str; 4] = [
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// A Kubernetes label's name as a LogQL label: what is no letter, digit or underscore becomes one.
fn label_name(name: &str) -> String {
    let mut text: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.insert(0, '_');
    }
    text
}

/// The labels of a source whose sender chose none: in a cluster the pod's coordinates and labels,
/// else the file. `app` is the pod's `app.kubernetes.io/name` where it has one. `container_id` tells
/// what a container wrote from what it wrote before its restart: a restart is a stream of its own.
#[must_use]
pub fn default_labels(resource: &Resource, tag: &str) -> Labels {
    if !resource.labels.is_empty() {
        return resource.labels.clone();
    }
    let host = resource.attribute("host.name").unwrap_or("");
    if let Some(k) = &resource.kubernetes {
        let node = if k.host.is_empty() { host } else { &k.host };
        // A stream is one container anyway, so its pod's labels cost no cardinality. The fixed names
        // come last and win.
        let own = k
            .labels
            .iter()
            .filter(|(name, _)| !GENERATED_POD_LABELS.contains(&name.as_str()))
            .map(|(name, value)| (label_name(name), value.as_str()));
        let name = k.labels.iter().find(|(n, _)| n == "app.kubernetes.io/name");
        let app = name.map(|(_, value)| ("app".to_owned(), value.as_str()));
        let fixed = [
            ("namespace", k.namespace_name.as_str()),
            ("pod", &k.pod_name),
            ("container", &k.container_name),
            ("container_id", &k.docker_id),
            ("node", node),
        ];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
        return Labels::from_pairs(own.chain(app).chain(fixed));
    }
    Labels::from_pairs([
        (
            "filename",
            resource.attribute("log.file.path").unwrap_or(""),
        ),
        ("host", host),
        ("tag", tag),
    ])
}

impl<'a> Streams<'a> {
    /// Splits a batch.
    #[must_use]
    pub fn of(batch: &'a LogBatch) -> Self {
        let base = default_labels(&batch.resource, &batch.tag);
        let mut labels: Vec<Labels> = Vec::new();
        let mut of_row = Vec::with_capacity(batch.len());
        let stream = batch.column("stream");
        let mut seen: Vec<&[u8]> = Vec::new();
        for row in 0..batch.len() {
            let name: &[u8] = match stream.map_or(Value::Absent, |c| c.values[row]) {
                Value::Text(s) => batch.bytes(s),
                _ => b"",
            };
            // Two empty names are compared without memcmp, which is slow on those.
            let is_it = |s: &&[u8]| s.len() == name.len() && (name.is_empty() || *s == name);
            let at = seen.iter().position(is_it).unwrap_or_else(|| {
                seen.push(name);
                let name = std::str::from_utf8(name).unwrap_or_default();
                labels.push(labels_of_stream(&base, name));
                seen.len() - 1
            });
            of_row.push(at as u32);
        }
        let bodies: Vec<usize> = BODY_COLUMNS
            .iter()
            .filter_map(|name| batch.column_index(name))
            .collect();
        let metadata = (0..batch.columns().len())
            .filter(|at| !bodies.contains(at))
            .filter(|at| {
                let name = &*batch.columns()[*at].name;
                name != "stream" && !DROPPED_COLUMNS.contains(&name)
            })
            .collect();
        Self {
            batch,
            labels,
            of_row,
            bodies,
            metadata,
        }
    }

    fn body(&self, row: usize) -> Option<usize> {
        let present = |at: &usize| self.batch.columns()[*at].values[row] != Value::Absent;
        self.bodies.iter().copied().find(present)
    }

    /// The line of a row; `buf` is used when it has to be written out.
    #[must_use]
    pub fn line<'b>(&'b self, row: usize, buf: &'b mut Vec<u8>) -> &'b [u8] {
        match self.body(row) {
            Some(at) => {
                let value = self.batch.columns()[at].values[row];
                self.batch.display(value, buf).unwrap_or_default()
            }
            None => {
                buf.clear();
                buf.push(b'{');
                let mut first = true;
                for &at in &self.metadata {
                    let column = &self.batch.columns()[at];
                    let is_field = !column.name.starts_with(METADATA_MARK);
                    if is_field && column.values[row] != Value::Absent {
                        if !std::mem::take(&mut first) {
                            buf.push(b',');
                        }
                        json::write_str(buf, column.name.as_bytes());
                        buf.push(b':');
                        json::write_value(buf, self.batch, column.values[row]);
                    }
                }
                buf.push(b'}');
                buf
            }
        }
    }

    /// Calls `each` with name and text of every structured metadata pair of a row.
    pub fn metadata(&self, row: usize, mut each: impl FnMut(&str, &[u8])) {
        let body = self.body(row);
        let mut buf = Vec::new();
        let others = self.bodies.iter().filter(|&&at| Some(at) != body);
        for &at in self.metadata.iter().chain(others) {
            let column = &self.batch.columns()[at];
            if body.is_none() && !column.name.starts_with(METADATA_MARK) {
                // Fields that are the line.
                continue;
            }
            if let Some(text) = self.batch.display(column.values[row], &mut buf) {
                each(
                    column
                        .name
                        .strip_prefix(METADATA_MARK)
                        .unwrap_or(&column.name),
                    text,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{KubernetesMetadata, Position};

    fn cri(rows: &[(&str, &str)]) -> LogBatch {
        let resource = Resource {
            kubernetes: Some(KubernetesMetadata {
                pod_name: "p".into(),
                namespace_name: "ns".into(),
                container_name: "c".into(),
                docker_id: "1f".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut b = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
        for (i, (stream, log)) in rows.iter().enumerate() {
            let row = b.push(i as i64, Position::at(i as u64));
            b.set_text("time", row, b"2026");
            b.set_text("stream", row, stream.as_bytes());
            b.set_text("log", row, log.as_bytes());
        }
        b
    }

    #[test]
    fn a_container_log_gives_a_stream_each_for_stdout_and_stderr() {
        let b = cri(&[("stdout", "a"), ("stderr", "b"), ("stdout", "c")]);
        let s = Streams::of(&b);
        assert_eq!(s.of_row, [0, 1, 0]);
        assert_eq!(
            s.labels[0].to_string(),
            r#"{container="c", container_id="1f", namespace="ns", pod="p", stream="stdout"}"#
        );
        assert_eq!(s.line(2, &mut Vec::new()), b"c");
        s.metadata(0, |name, _| panic!("no metadata, got {name}"));
    }

    #[test]
    fn marked_columns_are_metadata_whatever_their_name() {
        let mut b = cri(&[("stdout", "a")]);
        for name in ["stream", "log", "time", "level", "\u{1}x"] {
            b.set_text(&metadata_column(name), 0, name.as_bytes());
        }
        let streams = Streams::of(&b);
        assert_eq!(streams.labels[0].get("stream"), Some("stdout"));
        let mut got = Vec::new();
        streams.metadata(0, |n, v| {
            assert_eq!(n.as_bytes(), v);
            got.push(n.to_owned());
        });
        assert_eq!(got, ["stream", "log", "time", "level", "\u{1}x"]);
    }

    #[test]
    fn pod_labels_are_stream_labels_and_fixed_names_win() {
        let labels = [
            ("app", "old"),
            ("app.kubernetes.io/name", "shop"),
            ("version", "v1"),
            ("pod", "mine"),
            ("1st", "x"),
            ("pod-template-hash", "7886cf59d6"),
        ];
        let resource = Resource {
            kubernetes: Some(KubernetesMetadata {
                pod_name: "p".into(),
                namespace_name: "ns".into(),
                labels: labels.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            default_labels(&resource, "t").to_string(),
            r#"{_1st="x", app="shop", app_kubernetes_io_name="shop", namespace="ns", pod="p", version="v1"}"#
        );
    }

    #[test]
    fn other_columns_are_metadata_or_the_whole_record() {
        let mut b = cri(&[("stdout", "a")]);
        b.set_text("level", 0, b"info");
        let mut got = Vec::new();
        Streams::of(&b).metadata(0, |n, v| got.push((n.to_owned(), v.to_vec())));
        assert_eq!(got, [("level".to_owned(), b"info".to_vec())]);
        b.remove_column("log");
        b.set_text(&added_column("detected_level"), 0, b"info");
        let streams = Streams::of(&b);
        assert_eq!(streams.line(0, &mut Vec::new()), br#"{"level":"info"}"#);
        got.clear();
        streams.metadata(0, |n, v| got.push((n.to_owned(), v.to_vec())));
        assert_eq!(got, [("detected_level".to_owned(), b"info".to_vec())]);
    }
}
