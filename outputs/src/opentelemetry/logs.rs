//! Log records as OTLP.
//!
//! Fluent Bit sends the body and, unless told otherwise, drops every other field; here they become
//! attributes unless `logs_body_key_attributes off` is written.

use kansoku_model::{ConfigError, LogBatch, Resource, Settings, Value};
use serde_json::Value as Tree;

use super::value::{write_json, write_pair, write_text, write_text_pair, write_value};
use crate::accessor::{Accessor, Reading};
use crate::render::kubernetes_json;
use kansoku_model::protobuf as proto;

/// How records become log records.
pub struct Logs {
    /// The fields that may be the body; the first that a record has is.
    bodies: Vec<Accessor>,
    with_attributes: bool,
    labels: Vec<(String, String)>,
    /// Under which key of the metadata an OTLP input left what it got.
    metadata_key: String,
    own_metadata: MetadataKeys,
    trace_id: Accessor,
    span_id: Accessor,
    severity_text: Accessor,
    severity_number: Accessor,
}

struct MetadataKeys {
    observed: String,
    time: String,
    severity_text: String,
    severity_number: String,
    flags: String,
    span_id: String,
    trace_id: String,
    attributes: String,
}

impl Logs {
    /// Reads the `logs_*` options.
    ///
    /// # Errors
    /// When an accessor is none.
    pub fn of(settings: &Settings, labels: &[(String, String)]) -> Result<Self, ConfigError> {
        let accessor = |key: &str, default: &str| {
            let place = settings.get(key).map_or(&settings.place, |s| &s.place);
            Accessor::new(settings.text(key, default))
                .map_err(|e| ConfigError::new(place, format!("'{key}': {e}")))
        };
        let name = |key: &str, default: &str| {
            settings
                .text(key, default)
                .trim_start_matches('$')
                .to_owned()
        };
        let mut bodies = Vec::new();
        for s in settings.all("logs_body_key") {
            let found = Accessor::new(&s.value)
                .map_err(|e| ConfigError::new(&s.place, format!("'logs_body_key': {e}")))?;
            bodies.push(found);
        }
        if bodies.is_empty() {
            bodies = ["$log", "$message"]
                .map(|k| Accessor::new(k).expect("an accessor"))
                .into();
        }
        Ok(Self {
            bodies,
            with_attributes: settings.bool("logs_body_key_attributes", true)?,
            labels: labels.to_vec(),
            metadata_key: settings.text("logs_metadata_key", "otlp").to_owned(),
            own_metadata: MetadataKeys {
                observed: name("logs_observed_timestamp_metadata_key", "$ObservedTimestamp"),
                time: name("logs_timestamp_metadata_key", "$Timestamp"),
                severity_text: name("logs_severity_text_metadata_key", "$SeverityText"),
                severity_number: name("logs_severity_number_metadata_key", "$SeverityNumber"),
                flags: name("logs_trace_flags_metadata_key", "$TraceFlags"),
                span_id: name("logs_span_id_metadata_key", "$SpanId"),
                trace_id: name("logs_trace_id_metadata_key", "$TraceId"),
                attributes: name("logs_attributes_metadata_key", "$Attributes"),
            },
            trace_id: accessor("logs_trace_id_message_key", "$TraceId")?,
            span_id: accessor("logs_span_id_message_key", "$SpanId")?,
            severity_text: accessor("logs_severity_text_message_key", "$SeverityText")?,
            severity_number: accessor("logs_severity_number_message_key", "$SeverityNumber")?,
        })
    }

    /// Appends a batch as one `ResourceLogs`.
    pub fn write(&self, out: &mut Vec<u8>, batch: &LogBatch) {
        out.reserve(batch.arena().len() * 3 / 2);
        let fields = Fields {
            bodies: self
                .bodies
                .iter()
                .map(|a| (body_column(a, batch), a.over(batch)))
                .collect(),
            trace_id: self.trace_id.over(batch),
            span_id: self.span_id.over(batch),
            severity_text: self.severity_text.over(batch),
            severity_number: self.severity_number.over(batch),
            pod: kubernetes_json(batch),
        };
        proto::message(out, 1, |out| {
            proto::message(out, 1, |out| {
                write_resource(out, &batch.resource, &self.labels);
            });
            proto::message(out, 2, |out| {
                proto::message(out, 1, |_| {});
                for row in 0..batch.len() {
                    proto::message(out, 2, |out| self.write_record(out, batch, row, &fields));
                }
            });
        });
    }

    fn write_record(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize, fields: &Fields<'_>) {
        let metadata: Tree = batch
            .metadata(row)
            .and_then(|json| serde_json::from_slice(json).ok())
            .unwrap_or_default();
        let otlp = metadata.get(&self.metadata_key);
        let own = &self.own_metadata;
        let found =
            |key: &str, own: &str| otlp.and_then(|o| o.get(key)).or_else(|| metadata.get(own));
        let time = found("timestamp", &own.time).and_then(Tree::as_u64);
        proto::fixed64(out, 1, time.unwrap_or(batch.times()[row] as u64));
        let number = found("severity_number", &own.severity_number).and_then(Tree::as_u64);
        let number = number.or_else(|| parse(fields.severity_number.text(row)?.as_ref()));
        if let Some(number) = number.filter(|n| (1..=24).contains(n)) {
            proto::int(out, 2, number);
        }
        match found("severity_text", &own.severity_text).and_then(Tree::as_str) {
            Some(text) => proto::bytes(out, 3, text.as_bytes()),
            None => {
                if let Some(text) = fields.severity_text.text(row) {
                    proto::bytes(out, 3, String::from_utf8_lossy(&text).as_bytes());
                }
            }
        }
        let body = self.write_body(out, batch, row, fields);
        if let Some(attributes) = found("attributes", &own.attributes).and_then(Tree::as_object) {
            for (key, value) in attributes {
                write_pair(out, 6, key, |out| {
                    write_json(out, value.to_string().as_bytes());
                });
            }
        }
        if body.is_some() && self.with_attributes {
            write_attributes(out, batch, row, body.flatten());
        }
        let flags = found("trace_flags", &own.flags).and_then(Tree::as_u64);
        if let Some(flags) = flags.and_then(|f| u32::try_from(f).ok()) {
            proto::fixed32(out, 8, flags);
        }
        for (field, key, own, reading, len) in [
            (9, "trace_id", &own.trace_id, &fields.trace_id, 16),
            (10, "span_id", &own.span_id, &fields.span_id, 8),
        ] {
            let id = found(key, own).and_then(Tree::as_str).map(str::to_owned);
            let id = id.or_else(|| Some(String::from_utf8_lossy(&reading.text(row)?).into_owned()));
            if let Some(id) = id.and_then(|id| from_hex(&id)).filter(|id| id.len() == len) {
                proto::bytes(out, field, &id);
            }
        }
        let observed = found("observed_timestamp", &own.observed).and_then(Tree::as_u64);
        if let Some(observed) = observed {
            proto::fixed64(out, 11, observed);
        }
    }

    /// Writes the body. `None`: the whole record is it; otherwise the column that is it, if it is one.
    fn write_body(
        &self,
        out: &mut Vec<u8>,
        batch: &LogBatch,
        row: usize,
        fields: &Fields<'_>,
    ) -> Option<Option<usize>> {
        for (column, reading) in &fields.bodies {
            if let Some(at) = *column {
                let value = batch.columns()[at].values[row];
                if value != Value::Absent {
                    proto::message(out, 5, |out| write_value(out, batch, value));
                    return Some(Some(at));
                }
            } else if let Some(text) = reading.text(row) {
                proto::message(out, 5, |out| write_text(out, &text));
                return Some(None);
            }
        }
        proto::message(out, 5, |out| {
            proto::message(out, 6, |out| {
                for column in batch
                    .columns()
                    .iter()
                    .filter(|c| c.values[row] != Value::Absent)
                {
                    let value = column.values[row];
                    write_pair(out, 1, &column.name, |out| write_value(out, batch, value));
                }
                if !fields.pod.is_empty() {
                    write_pair(out, 1, "kubernetes", |out| write_json(out, &fields.pod));
                }
            });
        });
        None
    }
}

struct Fields<'a> {
    /// Each with its column when it is a whole one.
    bodies: Vec<(Option<usize>, Reading<'a>)>,
    trace_id: Reading<'a>,
    span_id: Reading<'a>,
    severity_text: Reading<'a>,
    severity_number: Reading<'a>,
    /// The `kubernetes` object, for records that are their own body.
    pod: Vec<u8>,
}

fn body_column(accessor: &Accessor, batch: &LogBatch) -> Option<usize> {
    match accessor.keys()?.as_slice() {
        [name] => batch.column_index(name),
        _ => None,
    }
}

/// The fields that are not the body. The pod is in the resource.
fn write_attributes(out: &mut Vec<u8>, batch: &LogBatch, row: usize, body: Option<usize>) {
    for (at, column) in batch.columns().iter().enumerate() {
        let value = column.values[row];
        if value != Value::Absent && Some(at) != body {
            write_pair(out, 6, &column.name, |out| write_value(out, batch, value));
        }
    }
}

/// Appends the attributes of a `Resource`: what the batch says, the pod in OpenTelemetry's words, and
/// the labels of `add_label`.
pub fn write_resource(out: &mut Vec<u8>, resource: &Resource, added: &[(String, String)]) {
    for (name, value) in &resource.attributes {
        write_text_pair(out, 1, name, value);
    }
    if let Some(pod) = &resource.kubernetes {
        for (name, value) in [
            ("k8s.namespace.name", &pod.namespace_name),
            ("k8s.pod.name", &pod.pod_name),
            ("k8s.pod.uid", &pod.pod_id),
            ("k8s.pod.ip", &pod.pod_ip),
            ("k8s.node.name", &pod.host),
            ("k8s.container.name", &pod.container_name),
            ("container.id", &pod.docker_id),
            ("container.image.name", &pod.container_image),
        ] {
            if !value.is_empty() && resource.attribute(name).is_none() {
                write_text_pair(out, 1, name, value);
            }
        }
        for (kind, pairs) in [("label", &pod.labels), ("annotation", &pod.annotations)] {
            for (name, value) in pairs {
                write_text_pair(out, 1, &format!("k8s.pod.{kind}.{name}"), value);
            }
        }
    }
    for (name, value) in added {
        write_text_pair(out, 1, name, value);
    }
}

fn parse(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(byte).collect()
}
