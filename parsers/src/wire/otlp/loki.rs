//! OTLP log records as Loki stores them: chosen resource attributes are the stream's labels, all else is structured
//! metadata, the body is the line.
//!
//! Source: Loki, `pkg/loghttp/push/otlp.go` and `otlplabels`. Not here: what the agent makes of OTLP for its outputs
//! (`logs.rs`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use kansoku_model::Labels;

use super::super::WireError;
use super::super::loki_push::{Limits, Push, PushBuilder};
use super::super::protobuf::{Field, Message};
use super::any::write_hex;
use super::names::{LabelRules, label_name};
use super::parts::{Pairs, Scope, each_resource, read_pairs};
use super::text::{pairs, text};
use super::{any, fixed64};

/// The resource attributes that become labels of the stream unless the configuration names others.
pub const INDEX_ATTRIBUTES: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// How deep maps of maps may nest.
const MAX_DEPTH: u32 = 64;

/// A label or a piece of metadata.
type Pair<'a> = (String, Cow<'a, str>);

/// Reads a whole `ExportLogsServiceRequest`; a record without a time has the time `now_ns`.
///
/// # Errors
/// When it is no such message.
pub fn decode(
    body: &[u8],
    now_ns: i64,
    index_attributes: &BTreeSet<String>,
    limits: &Limits<'_>,
) -> Result<Push, WireError> {
    let mut builder = PushBuilder::new(limits);
    each_resource(body, |resource, scopes| {
        let found = of_resource(resource, index_attributes)?;
        let (labels, metadata) = match found {
            Ok((labels, metadata)) => (Ok(labels), metadata),
            Err(reason) => (Err(reason), Vec::new()),
        };
        let n_records = scopes.iter().map(n_records).sum::<Result<usize, _>>()?;
        if n_records == 0 {
            return Ok(());
        }
        builder.start_stream(labels, n_records);
        for scope in scopes {
            let of_scope = of_scope(&scope)?;
            let mut message = scope.part;
            while let Some((number, field)) = message.next()? {
                if number != 2 {
                    continue;
                }
                let mut own = Vec::new();
                let record = Record::read(field.message()?)?;
                let named = of_record(&record, &mut own)?;
                match named.and_then(|()| of_scope.as_ref().map_err(Clone::clone)) {
                    Ok(of_scope) => {
                        let all = own.iter().chain(&metadata).chain(of_scope);
                        let all = all.filter(|(_, value)| !value.is_empty());
                        let all: Vec<(&str, &[u8])> =
                            all.map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
                        let line = text(record.body)?;
                        builder.entry(Some(record.time_ns(now_ns)), line.as_bytes(), &all);
                    }
                    Err(reason) => builder.refuse(&reason),
                }
            }
        }
        Ok(())
    })?;
    Ok(builder.finish())
}

fn n_records(scope: &Scope<'_>) -> Result<usize, WireError> {
    let (mut n, mut message) = (0, scope.part.clone());
    while let Some((number, _)) = message.next()? {
        n += usize::from(number == 2);
    }
    Ok(n)
}

/// Labels of the stream, and what is metadata of each of its entries.
fn of_resource<'a>(
    resource: &Pairs<'a>,
    index_attributes: &BTreeSet<String>,
) -> Result<Result<(Labels, Vec<Pair<'a>>), String>, WireError> {
    let (mut labels, mut metadata) = (Vec::new(), Vec::new());
    for (name, value) in resource {
        let out = match index_attributes.contains(*name) {
            true => &mut labels,
            false => &mut metadata,
        };
        if let Err(reason) = flatten(name, *value, 0, out)? {
            return Ok(Err(reason));
        }
    }
    // Of two attributes that have one name as labels the last one counts, as in Loki.
    labels.reverse();
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.dedup_by(|a, b| a.0 == b.0);
    let labels = Labels::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), &**v)));
    Ok(Ok((labels, metadata)))
}

fn of_scope<'a>(scope: &Scope<'a>) -> Result<Result<Vec<Pair<'a>>, String>, WireError> {
    let mut metadata = Vec::new();
    for (name, value) in &scope.attributes {
        if let Err(reason) = flatten(name, *value, 0, &mut metadata)? {
            return Ok(Err(reason));
        }
    }
    put(&mut metadata, "scope_name", scope.name);
    put(&mut metadata, "scope_version", scope.version);
    let n_dropped = scope.n_dropped;
    put_number(&mut metadata, "scope_dropped_attributes_count", n_dropped);
    Ok(Ok(metadata))
}

fn put<'a>(metadata: &mut Vec<Pair<'a>>, name: &str, value: impl Into<Cow<'a, str>>) {
    metadata.push((name.to_owned(), value.into()));
}

fn put_number(metadata: &mut Vec<Pair<'_>>, name: &str, n: u64) {
    if n > 0 {
        put(metadata, name, n.to_string());
    }
}

/// Attributes and fields of a record, in Loki's order.
fn of_record<'a>(
    record: &Record<'a>,
    metadata: &mut Vec<Pair<'a>>,
) -> Result<Result<(), String>, WireError> {
    for (name, value) in &record.attributes {
        let is_given_apart = *name == "event_name" && !record.event.is_empty();
        if !is_given_apart && let Err(reason) = flatten(name, *value, 0, metadata)? {
            return Ok(Err(reason));
        }
    }
    if record.time > 0 {
        put_number(metadata, "observed_timestamp", record.observed);
    }
    put_number(metadata, "severity_number", record.severity);
    put(metadata, "severity_text", record.severity_text);
    put_number(metadata, "dropped_attributes_count", record.n_dropped);
    put_number(metadata, "flags", u64::from(record.flags));
    for (name, id) in [("trace_id", record.trace), ("span_id", record.span)] {
        if id.iter().any(|byte| *byte != 0) {
            let mut hex = Vec::new();
            write_hex(&mut hex, id);
            put(metadata, name, String::from_utf8_lossy(&hex).into_owned());
        }
    }
    put(metadata, "event_name", record.event);
    Ok(Ok(()))
}

/// Appends an attribute under its name as a label; a map as one for each of its keys.
fn flatten<'a>(
    name: &str,
    value: Option<Field<'a>>,
    depth: u32,
    out: &mut Vec<Pair<'a>>,
) -> Result<Result<(), String>, WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::new(0, "otlp: more than 64 nested levels"));
    }
    let name = match label_name(name, &LabelRules::default()) {
        Ok(name) => name,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(mut map) = pairs(value)? else {
        out.push((name.into_owned(), text(value)?));
        return Ok(Ok(()));
    };
    while let Some((number, field)) = map.next()? {
        if number == 1 {
            let (key, value) = any::key_value(field)?;
            let found = flatten(&format!("{name}_{key}"), value, depth + 1, out)?;
            if found.is_err() {
                return Ok(found);
            }
        }
    }
    Ok(Ok(()))
}

/// The fields of a log record.
#[derive(Default)]
struct Record<'a> {
    time: u64,
    observed: u64,
    severity: u64,
    severity_text: &'a str,
    body: Option<Field<'a>>,
    attributes: Pairs<'a>,
    n_dropped: u64,
    flags: u32,
    trace: &'a [u8],
    span: &'a [u8],
    event: &'a str,
}

impl<'a> Record<'a> {
    fn read(message: Message<'a>) -> Result<Self, WireError> {
        let mut record = Self::default();
        read_pairs(message.clone(), 6, &mut record.attributes)?;
        let mut message = message;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => record.time = fixed64(field)?,
                2 => record.severity = field.int()?.cast_unsigned(),
                3 => record.severity_text = field.text()?,
                5 => record.body = Some(field),
                7 => record.n_dropped = field.int()?.cast_unsigned(),
                8 => {
                    record.flags = match field {
                        Field::Fixed32(n) => n,
                        other => other.int()? as u32,
                    }
                }
                9 => record.trace = field.bytes()?.0,
                10 => record.span = field.bytes()?.0,
                11 => record.observed = fixed64(field)?,
                12 => record.event = field.text()?,
                _ => {}
            }
        }
        Ok(record)
    }

    fn time_ns(&self, now_ns: i64) -> i64 {
        let given = [self.time, self.observed].into_iter().find(|t| *t > 0);
        // Beyond 64 signed bits is later than any window.
        given.map_or(now_ns, |t| i64::try_from(t).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use kansoku_model::Streams;

    use super::super::super::Window;
    use super::super::super::loki_discover::Discovery;
    use super::super::json;
    use super::*;

    static DISCOVERY: LazyLock<Discovery> = LazyLock::new(|| Discovery {
        levels: false,
        ..Discovery::default()
    });

    fn read(body: &str) -> (Vec<String>, Option<String>) {
        let body = json::logs(body.as_bytes()).unwrap();
        let index = INDEX_ATTRIBUTES.map(str::to_owned).into();
        let limits = Limits {
            max_labels: 15,
            max_line_bytes: 100,
            max_metadata: 20,
            max_metadata_bytes: 0,
            window: Window::ANY,
            discovery: &DISCOVERY,
        };
        let push = decode(&body, 77, &index, &limits).unwrap();
        let mut out = Vec::new();
        for batch in &push.batches {
            let streams = Streams::of(batch);
            for row in 0..batch.len() {
                let mut buf = Vec::new();
                let line = String::from_utf8_lossy(streams.line(row, &mut buf)).into_owned();
                let mut text = format!("{} {} {line}", batch.times()[row], streams.labels[0]);
                streams.metadata(row, |n, v| {
                    text.push_str(&format!(" {n}={}", String::from_utf8_lossy(v)));
                });
                out.push(text);
            }
        }
        (out, push.refused.text())
    }

    #[test]
    fn records_become_entries_as_in_loki() {
        let (lines, refused) = read(
            r#"{"resourceLogs":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},{"key":"k8s.pod.name","value":{"stringValue":"p-1"}},
            {"key":"host","value":{"kvlistValue":{"values":[{"key":"os.type","value":{"stringValue":"linux"}},
              {"key":"n","value":{"intValue":2}}]}}}]},
            "scopeLogs":[{"scope":{"name":"lib","version":"1","attributes":[{"key":"sa","value":{"boolValue":true}}]},"logRecords":[
            {"timeUnixNano":"5","observedTimeUnixNano":"6","severityNumber":9,"severityText":"INFO","body":{"stringValue":"paid"},
             "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":1,"droppedAttributesCount":3,
             "attributes":[{"key":"user.id","value":{"intValue":"4"}}]},
            {"observedTimeUnixNano":6,"body":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},
            {"body":{"stringValue":"now"},"attributes":[{"key":"é","value":{"intValue":1}}]},
            {"body":{"intValue":-3},"eventName":"e","attributes":[{"key":"event_name","value":{"stringValue":"other"}}]}]}]},
            {"resource":{"attributes":[{"key":"k8s.container.name","value":{"stringValue":"c"}}]},
             "scopeLogs":[{"logRecords":[{"timeUnixNano":1,"body":{"stringValue":"x"}}]}]},
            {"scopeLogs":[{"logRecords":[{"timeUnixNano":1,"body":{"stringValue":"y"}}]}]}]}"#,
        );
        let resource = "host_os_type=linux host_n=2 sa=true scope_name=lib scope_version=1";
        let stream = r#"{k8s_pod_name="p-1", service_name="shop"}"#;
        let own = "user_id=4 observed_timestamp=6 severity_number=9 severity_text=INFO dropped_attributes_count=3 flags=1 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174";
        assert_eq!(
            lines,
            [
                format!("5 {stream} paid {own} {resource}"),
                format!(r#"6 {stream} {{"k":"v"}} {resource}"#),
                format!("77 {stream} -3 {resource} event_name=e"),
                r#"1 {k8s_container_name="c", service_name="c"} x"#.to_owned(),
                r#"1 {service_name="unknown_service"} y"#.to_owned(),
            ]
        );
        let reason = r#"nothing of the attribute name "é" can be a name of a label"#;
        assert_eq!(refused.as_deref(), Some(reason));
    }

    #[test]
    fn limits_are_those_of_a_push() {
        let long = "x".repeat(101);
        let body = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{long}"}}}}]}}]}}]}}"#
        );
        let (lines, refused) = read(&body);
        assert!(lines.is_empty());
        assert!(refused.unwrap().starts_with("max entry size '100' bytes"));
    }
}
