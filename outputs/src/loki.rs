//! `loki`: pushes records to Grafana Loki.
//!
//! Fluent Bit makes a stream per record as soon as a label comes from the record; here records with
//! equal labels that follow each other share one, which Loki stores the same way.

mod labels;
mod line;

use std::sync::Arc;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined, json,
    plugin,
};

use crate::accessor::Accessor;
use crate::client::{self, HttpClient};
use crate::compress::Compression;
use crate::http::{idempotency_key, path_of};
use crate::rows::{QuotedRows, RowOptions, Rows};
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, Unicode,
};
use labels::{MapField, Members, Pairs, Text};

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const fn list(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::List, default, about)
}

const OWN: &[OptionSpec] = &[
    text("uri", "/loki/api/v1/push", "path of the request"),
    text("tenant_id", "", "tenant (X-Scope-OrgID)"),
    text("tenant_id_key", "", "field that is the tenant: $key"),
    OptionSpec::new(
        "tenant_id_key_error_handling",
        OptionKind::Choice(&["partial_success", "partial_error"]),
        "partial_success",
        "no effect: the records of the tenants that failed are repeated, and only they",
    ),
    list(
        "labels",
        "job=fluent-bit",
        "stream labels: name=value, name=$field or $field",
    ),
    list("label_keys", "", "fields that are stream labels: $field"),
    text(
        "label_map_path",
        "",
        "JSON file that maps fields to label names",
    ),
    list(
        "structured_metadata",
        "",
        "structured metadata, written like labels",
    ),
    list(
        "structured_metadata_map_keys",
        "",
        "objects whose members are structured metadata",
    ),
    OptionSpec::new(
        "auto_kubernetes_labels",
        OptionKind::Bool,
        "off",
        "the pod's labels are stream labels",
    ),
    list("remove_keys", "", "fields to leave out of the line"),
    text(
        "drop_single_key",
        "off",
        "of a record with one field send the value alone: on, off, or raw without quotes",
    ),
    OptionSpec::new(
        "line_format",
        OptionKind::Choice(&["json", "key_value"]),
        "json",
        "form of the line",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip"]),
        "",
        "compress the body",
    ),
    text(
        "buffer_size",
        "512KB",
        "no effect: answers are read up to 64 KiB",
    ),
];

const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + client::OPTIONS.len() }>(OWN, client::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "loki",
    about: "Pushes records to Grafana Loki.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name    loki\n    Match   kube.*\n    Host    loki.logging\n    Labels  job=kansoku, pod=$kubernetes['pod_name']\n",
    build,
};

const DEFAULT_PORT: u16 = 3100;
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Single {
    Keep,
    Json,
    Raw,
}

/// How records become streams.
struct Streams {
    labels: Pairs,
    metadata: Pairs,
    metadata_maps: Vec<Accessor>,
    pod_labels: Option<Accessor>,
    /// Keys that do not stand in the line.
    without: Vec<Vec<String>>,
    single: Single,
    is_json: bool,
    has_metadata: bool,
    unicode: Unicode,
}

struct Loki {
    client: HttpClient,
    uri: String,
    streams: Streams,
    tenant: Option<HeaderValue>,
    tenant_key: Option<Accessor>,
    compression: Compression,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let tenant = match settings.get("tenant_id") {
        None => None,
        Some(s) => Some(HeaderValue::from_str(&s.value).map_err(|_| {
            ConfigError::new(
                &s.place,
                "'tenant_id' has characters that no header may have",
            )
        })?),
    };
    let tenant_key = match settings.get("tenant_id_key") {
        None => None,
        Some(s) => Some(
            Accessor::new(&s.value)
                .map_err(|e| ConfigError::new(&s.place, format!("'tenant_id_key': {e}")))?,
        ),
    };
    let mut streams = Streams::of(settings)?;
    streams.unicode = environment.unicode;
    Ok(Box::new(Loki {
        client: HttpClient::build(settings, environment, DEFAULT_PORT)?,
        uri: path_of(settings.text("uri", "/loki/api/v1/push")),
        streams,
        tenant,
        tenant_key,
        compression: Compression::of(settings),
    }))
}

impl Streams {
    fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let mut labels = Pairs::default();
        labels.add_list(settings, "labels")?;
        labels.add_fields(settings, "label_keys")?;
        labels.add_map(settings)?;
        let mut metadata = Pairs::default();
        metadata.add_list(settings, "structured_metadata")?;
        let metadata_maps = accessors(settings, "structured_metadata_map_keys", false)?;
        let removed = accessors(settings, "remove_keys", true)?;
        let mut without: Vec<Vec<String>> = labels.keys().chain(metadata.keys()).collect();
        without.extend(
            metadata_maps
                .iter()
                .chain(&removed)
                .filter_map(Accessor::keys),
        );
        let pod_labels = settings
            .bool("auto_kubernetes_labels", false)?
            .then(|| Accessor::new("$kubernetes['labels']").expect("an accessor"));
        Ok(Self {
            has_metadata: settings.get("structured_metadata").is_some()
                || !metadata_maps.is_empty(),
            labels,
            metadata,
            metadata_maps,
            pod_labels,
            without,
            single: single(settings)?,
            is_json: !settings
                .text("line_format", "json")
                .eq_ignore_ascii_case("key_value"),
            unicode: Unicode::default(),
        })
    }

    /// Appends streams with the rows that `wanted` is true for.
    fn write(&self, out: &mut Vec<u8>, batch: &LogBatch, wanted: impl Fn(usize) -> bool) {
        let options = RowOptions {
            replace_dots: false,
            without: &self.without,
        };
        let rows = Rows::with(batch, options);
        let mut work = Work {
            streams: self,
            quoted: QuotedRows::new(&rows, self.unicode),
            rows: &rows,
            labels: self.labels.over(batch),
            metadata: self.metadata.over(batch),
            maps: self
                .metadata_maps
                .iter()
                .map(|a| MapField::new(a, batch))
                .collect(),
            pod_labels: self.pod_labels.as_ref().map(|a| MapField::new(a, batch)),
            value: Vec::new(),
            record: Vec::new(),
        };
        let is_constant = work.labels.iter().all(|(_, text)| text.is_constant())
            && work.pod_labels.as_ref().is_none_or(MapField::is_constant);
        let (mut known, mut stream) = (Vec::new(), Vec::new());
        let mut is_open = false;
        out.reserve(batch.arena().len() * 5 / 4);
        for row in (0..batch.len()).filter(|row| wanted(*row)) {
            if !is_open || !is_constant {
                stream.clear();
                work.write_labels(&mut stream, row);
            }
            if is_open && stream == known {
                out.push(b',');
            } else {
                if is_open {
                    out.extend_from_slice(b"]},");
                } else if out.last() == Some(&b'}') {
                    out.push(b',');
                }
                out.extend_from_slice(b"{\"stream\":{");
                out.extend_from_slice(&stream);
                out.extend_from_slice(b"},\"values\":[");
                known.clone_from(&stream);
                is_open = true;
            }
            work.write_entry(out, batch, row);
        }
        if is_open {
            out.extend_from_slice(b"]}");
        }
    }
}

/// A batch while it is written.
struct Work<'a> {
    streams: &'a Streams,
    rows: &'a Rows<'a>,
    quoted: QuotedRows<'a, 'a>,
    labels: Vec<(&'a str, Text<'a>)>,
    metadata: Vec<(&'a str, Text<'a>)>,
    maps: Vec<MapField<'a>>,
    pod_labels: Option<MapField<'a>>,
    value: Vec<u8>,
    record: Vec<u8>,
}

impl Work<'_> {
    fn write_labels(&mut self, out: &mut Vec<u8>, row: usize) {
        let mut members = Members::new(out);
        for (name, text) in &self.labels {
            text.read(&mut self.value, row);
            members.add(name, &self.value);
        }
        if let Some(pod_labels) = &self.pod_labels {
            pod_labels.add(&mut members, row, true);
        }
        if members.is_empty() {
            members.add("job", b"fluent-bit");
        }
        self.streams.unicode.apply(out, 0);
    }

    fn write_entry(&mut self, out: &mut Vec<u8>, batch: &LogBatch, row: usize) {
        out.extend_from_slice(b"[\"");
        out.extend_from_slice(itoa::Buffer::new().format(batch.times()[row]).as_bytes());
        out.extend_from_slice(b"\",");
        self.write_line(out, row);
        if self.streams.has_metadata {
            out.extend_from_slice(b",{");
            let start = out.len();
            let mut members = Members::new(out);
            // What is named one by one counts before what comes with an object.
            for (name, text) in &self.metadata {
                text.read(&mut self.value, row);
                members.add(name, &self.value);
            }
            for map in &self.maps {
                map.add(&mut members, row, false);
            }
            self.streams.unicode.apply(out, start);
            out.push(b'}');
        }
        out.push(b']');
    }

    fn write_line(&mut self, out: &mut Vec<u8>, row: usize) {
        let streams = self.streams;
        let only = match streams.single {
            Single::Keep => None,
            _ => self.rows.only_value(row),
        };
        let is_raw = streams.single == Single::Raw || !streams.is_json;
        if only.is_none() && streams.is_json {
            out.push(b'"');
            self.quoted.write(out, row);
            out.push(b'"');
            return;
        }
        let start = out.len();
        self.record.clear();
        match only {
            Some(Ok(text)) if is_raw => self.record.extend_from_slice(text),
            Some(Ok(text)) => {
                json::write_str(&mut self.record, text);
                // A line is JSON in a string of JSON.
                streams.unicode.apply(&mut self.record, 0);
            }
            Some(Err(value)) if streams.is_json => {
                self.record.extend_from_slice(&value);
                streams.unicode.apply(&mut self.record, 0);
            }
            Some(Err(value)) => {
                line::write_value(&mut self.record, &String::from_utf8_lossy(&value));
            }
            None => {
                let mut object = vec![b'{'];
                self.rows.write(&mut object, row, true);
                object.push(b'}');
                line::write_pairs(&mut self.record, &object);
            }
        }
        json::write_str(out, &self.record);
        streams.unicode.apply(out, start);
    }
}

fn accessors(settings: &Settings, key: &str, bare: bool) -> Result<Vec<Accessor>, ConfigError> {
    let mut found = Vec::new();
    for s in settings.all(key) {
        for word in s.value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            if !bare && !word.starts_with('$') {
                let message = format!("'{key}' has '{word}', which must begin with '$'");
                return Err(ConfigError::new(&s.place, message));
            }
            let accessor = Accessor::new(word)
                .map_err(|e| ConfigError::new(&s.place, format!("'{key}': {e}")))?;
            found.push(accessor);
        }
    }
    Ok(found)
}

fn single(settings: &Settings) -> Result<Single, ConfigError> {
    let Some(s) = settings.get("drop_single_key") else {
        return Ok(Single::Keep);
    };
    if s.value.eq_ignore_ascii_case("raw") {
        return Ok(Single::Raw);
    }
    match plugin::parse_bool(&s.value) {
        Some(true) => Ok(Single::Json),
        Some(false) => Ok(Single::Keep),
        None => Err(ConfigError::new(
            &s.place,
            format!(
                "'drop_single_key' is '{}', but must be on, off or raw",
                s.value
            ),
        )),
    }
}

/// The records of one tenant, and the tenant.
type Group = (Vec<u8>, Vec<RecordRef>);

impl Loki {
    fn body(&self, batches: &[Arc<RecordBatch>], group: Option<&[RecordRef]>) -> Vec<u8> {
        let mut body = self.client.buffer();
        body.extend_from_slice(b"{\"streams\":[");
        for (at, batch) in batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let is_in = |row: usize| match group {
                None => true,
                Some(records) => {
                    let record = RecordRef {
                        batch: at as u32,
                        row: row as u32,
                    };
                    records.binary_search(&record).is_ok()
                }
            };
            self.streams.write(&mut body, batch, is_in);
        }
        body.extend_from_slice(b"]}");
        if group.is_none() {
            self.client.note_body(batches, body.len());
        }
        if self.compression == Compression::None {
            return body;
        }
        let into = self.client.buffer();
        self.compression
            .apply(body, into, |b| self.client.recycle(b))
    }

    async fn push(&self, id: &str, tenant: Option<HeaderValue>, body: Vec<u8>) -> Outcome {
        let mut headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            idempotency_key(id),
        ];
        headers.extend(self.compression.header());
        headers.extend(tenant.map(|t| (TENANT, t)));
        self.client
            .send(Method::POST, &self.uri, &headers, body)
            .await
    }

    /// The records by tenant, in the order in which the tenants appear.
    fn groups(&self, batches: &[Arc<RecordBatch>], key: &Accessor) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let reading = key.over(batch);
            for row in 0..batch.len() {
                let tenant = reading.text(row).unwrap_or_default();
                let record = RecordRef {
                    batch: at as u32,
                    row: row as u32,
                };
                match groups.iter_mut().find(|(name, _)| **name == *tenant) {
                    Some((_, records)) => records.push(record),
                    None => groups.push((tenant.into_owned(), vec![record])),
                }
            }
        }
        groups
    }

    /// A request per tenant; what one refuses does not hold for the others.
    async fn push_groups(&self, request: Request<'_>, key: &Accessor) -> Outcome {
        let groups = self.groups(request.batches, key);
        let (mut retry, mut rejected) = (Vec::new(), Vec::new());
        let (mut reason, mut wait) = (String::new(), None);
        let n_groups = groups.len();
        for (n, (name, records)) in groups.into_iter().enumerate() {
            let tenant = match HeaderValue::from_bytes(&name) {
                Ok(tenant) if !name.is_empty() => Some(tenant),
                _ => self.tenant.clone(),
            };
            let body = self.body(request.batches, Some(&records));
            match self
                .push(&format!("{}-{n}", request.id), tenant, body)
                .await
            {
                Outcome::Delivered => {}
                Outcome::TooLarge if n_groups == 1 => return Outcome::TooLarge,
                // Alone it is smaller.
                Outcome::TooLarge => retry.extend(records),
                Outcome::Rejected { reason } | Outcome::SomeRejected { reason, .. } => {
                    rejected.extend(records.into_iter().map(|r| (r, reason.clone())));
                }
                Outcome::Retry { reason: why, after }
                | Outcome::Partial {
                    reason: why, after, ..
                } => {
                    retry.extend(records);
                    reason = why;
                    wait = wait.max(after);
                }
            }
        }
        if retry.is_empty() && rejected.is_empty() {
            return Outcome::Delivered;
        }
        retry.sort_unstable();
        Outcome::Partial {
            retry,
            rejected,
            reason,
            after: wait,
        }
    }
}

impl Output for Loki {
    fn max_request_bytes(&self) -> usize {
        self.client.request_bytes()
    }

    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            if let Some(key) = &self.tenant_key {
                return self.push_groups(request, key).await;
            }
            let body = self.body(request.batches, None);
            self.push(request.id, self.tenant.clone(), body).await
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pairs: &[(&str, &str)]) -> String {
        let settings = Settings::of("loki", pairs);
        settings.check(PLUGIN.options).expect("known options");
        let streams = Streams::of(&settings).expect("valid settings");
        let mut out = Vec::new();
        streams.write(&mut out, &crate::render::tests::batch(), |_| true);
        String::from_utf8(out).expect("text")
    }

    const TIMES: [&str; 2] = ["1700000000123456789", "1700000000123456790"];

    #[test]
    fn equal_labels_share_a_stream_and_leave_the_line() {
        let [a, b] = TIMES;
        assert_eq!(
            body(&[
                ("labels", "job=x, app=$kubernetes['labels']['app']"),
                ("label_keys", "$kubernetes['pod_name']"),
            ]),
            format!(
                r#"{{"stream":{{"job":"x","app":"web","kubernetes_pod_name":"web-1"}},"values":[["{a}","{{\"log\":\"a \\\"quoted\\\" line\",\"kubernetes\":{{\"labels\":{{}}}}}}"],["{b}","{{\"log\":\"観測\\t\",\"nested\":{{\"a\":[1,null,true,2.5]}},\"kubernetes\":{{\"labels\":{{}}}}}}"]]}}"#
            )
        );
        let own = body(&[("labels", "l=$log"), ("remove_keys", "kubernetes,nested")]);
        assert_eq!(own.matches("\"stream\":").count(), 2, "{own}");
        assert!(
            own.contains(&format!(r#""values":[["{a}","{{}}"]]"#)),
            "{own}"
        );
    }

    #[test]
    fn single_values_and_pod_labels() {
        let [a, b] = TIMES;
        assert_eq!(
            body(&[
                ("auto_kubernetes_labels", "on"),
                ("remove_keys", "kubernetes, $nested"),
                ("drop_single_key", "raw"),
            ]),
            format!(
                r#"{{"stream":{{"app":"web"}},"values":[["{a}","a \"quoted\" line"],["{b}","観測\t"]]}}"#
            )
        );
        let quoted = body(&[
            ("remove_keys", "kubernetes,nested"),
            ("drop_single_key", "on"),
        ]);
        assert!(
            quoted.starts_with(r#"{"stream":{"job":"fluent-bit"},"#),
            "{quoted}"
        );
        assert!(
            quoted.contains(r#""\"a \\\"quoted\\\" line\"""#),
            "{quoted}"
        );
    }

    #[test]
    fn metadata_is_a_third_element() {
        let text = body(&[
            ("structured_metadata", "pod=$kubernetes['pod_name'],z=1"),
            (
                "structured_metadata_map_keys",
                "$nested,$kubernetes['labels']",
            ),
            ("line_format", "key_value"),
        ]);
        assert!(
            text.contains(r#"log=\"a \"quoted\" line\" kubernetes=\"map[]\"",{"pod":"web-1","z":"1","app":"web"}]"#),
            "{text}"
        );
        assert!(
            text.contains(r#"{"pod":"web-1","z":"1","a":"[1,null,true,2.5]","app":"web"}]"#),
            "{text}"
        );
    }

    #[test]
    fn bad_labels_are_refused() {
        for pairs in [
            [("labels", "job")],
            [("label_keys", "level")],
            [("labels", "a=$b['c")],
            [("drop_single_key", "perhaps")],
            [("label_map_path", "/no/such")],
        ] {
            assert!(
                Streams::of(&Settings::of("loki", &pairs)).is_err(),
                "{pairs:?}"
            );
        }
    }
}
