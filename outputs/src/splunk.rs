//! `splunk`: sends records to Splunk's HTTP Event Collector.

use std::fmt::Write;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use kansoku_model::plugin::Setting;
use kansoku_model::{
    ConfigError, LogBatch, MetricBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings,
    Value, joined, json,
};

use crate::accessor::{Accessor, Template, TemplateReading};
use crate::client::{self, HttpClient};
use crate::compress::Compression;
use crate::http::idempotency_key;
use crate::render::write_seconds;
use crate::rows::Rows;
use crate::{Output, OutputEnvironment, OutputPlugin, Request, SendFuture, Unicode};

const fn text(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

const OWN: &[OptionSpec] = &[
    text(
        "splunk_token",
        "token of the collector; http_user works instead",
    ),
    OptionSpec::new(
        "splunk_send_raw",
        OptionKind::Bool,
        "off",
        "send the record as it is, which then has to be an event of Splunk's",
    ),
    text("event_key", "field that is the event: $key"),
    text("event_host", "host of the event; may be a field"),
    text("event_source", "source of the event; may be a field"),
    text("event_sourcetype", "source type of the event"),
    text(
        "event_sourcetype_key",
        "field that is the source type, where a record has it",
    ),
    text("event_index", "index of the event"),
    text(
        "event_index_key",
        "field that is the index, where a record has it",
    ),
    OptionSpec::new(
        "event_field",
        OptionKind::Pair,
        "",
        "an indexed field: NAME $key",
    )
    .repeated(),
    OptionSpec::new(
        "auto_extract_timestamp",
        OptionKind::Bool,
        "off",
        "send no time: Splunk finds it in the event",
    ),
    text("channel", "channel (X-Splunk-Request-Channel)"),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip"]),
        "",
        "compress the body",
    ),
    text(
        "http_buffer_size",
        "no effect: answers are read up to 64 KiB",
    ),
    OptionSpec::new(
        "http_debug_bad_request",
        OptionKind::Bool,
        "off",
        "no effect: refused records are kept with the answer",
    ),
];

const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + client::OPTIONS.len() }>(OWN, client::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "splunk",
    about: "Sends records to Splunk's HTTP Event Collector.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name          splunk\n    Match         *\n    Host          splunk.example.org\n    Splunk_Token  11111111-2222-3333-4444-555555555555\n    tls           On\n",
    build,
};

const DEFAULT_PORT: u16 = 8088;

/// How records become events.
struct Events {
    is_raw: bool,
    with_time: bool,
    key: Option<Template>,
    /// `,"host":` and where its text comes from, in the order in which they are written. Of several
    /// for one name the first that has a text counts.
    meta: Vec<(&'static str, Template)>,
    fields: Vec<(String, Accessor)>,
    unicode: Unicode,
}

struct Splunk {
    client: HttpClient,
    events: Events,
    /// Host, index, source and source type of metrics.
    of_metrics: String,
    channel: Option<HeaderValue>,
    compression: Compression,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let mut client = HttpClient::build(settings, environment, DEFAULT_PORT)?;
    let value = |s: &Setting, text: String| {
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            ConfigError::new(
                &s.place,
                format!("'{}' has characters that no header may have", s.key),
            )
        })?;
        value.set_sensitive(true);
        Ok::<_, ConfigError>(value)
    };
    match settings.get("splunk_token") {
        // A user counts before a token, as in Fluent Bit.
        _ if settings.get("http_user").is_some() => {}
        Some(s) => client.set_header(AUTHORIZATION, value(s, format!("Splunk {}", s.value))?),
        None => {
            let message = "splunk needs 'splunk_token' (or 'http_user' and 'http_passwd')";
            return Err(ConfigError::new(&settings.place, message));
        }
    }
    let mut events = Events::of(settings)?;
    events.unicode = environment.unicode;
    let channel = settings.get("channel");
    Ok(Box::new(Splunk {
        client,
        events,
        of_metrics: metrics_head(settings),
        channel: channel.map(|s| value(s, s.value.clone())).transpose()?,
        compression: Compression::of(settings),
    }))
}

fn metrics_head(settings: &Settings) -> String {
    let mut head = String::from("{\"event\":\"metric\"");
    for (key, name, default) in [
        ("event_host", "host", "localhost"),
        ("event_index", "index", ""),
        ("event_source", "source", ""),
        ("event_sourcetype", "sourcetype", ""),
    ] {
        let text = settings.text(key, default);
        if !text.is_empty() {
            let mut member = Vec::new();
            json::write_str(&mut member, text.as_bytes());
            let _ = write!(head, ",\"{name}\":{}", String::from_utf8_lossy(&member));
        }
    }
    head
}

impl Events {
    fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let fail = |s: &Setting, e: String| ConfigError::new(&s.place, format!("'{}': {e}", s.key));
        let template = |s: &Setting| Template::new(&s.value).map_err(|e| fail(s, e));
        let mut meta = Vec::new();
        for (key, name) in [
            ("event_host", "host"),
            ("event_source", "source"),
            ("event_sourcetype_key", "sourcetype"),
            ("event_sourcetype", "sourcetype"),
            ("event_index_key", "index"),
            ("event_index", "index"),
        ] {
            if let Some(s) = settings.get(key) {
                meta.push((name, template(s)?));
            }
        }
        let mut fields = Vec::new();
        for s in settings.all("event_field") {
            let (name, key) = s
                .value
                .split_once(char::is_whitespace)
                .unwrap_or((&s.value, ""));
            let accessor = Accessor::new(key.trim()).map_err(|e| fail(s, e))?;
            fields.push((name.to_owned(), accessor));
        }
        Ok(Self {
            is_raw: settings.bool("splunk_send_raw", false)?,
            with_time: !settings.bool("auto_extract_timestamp", false)?,
            key: settings.get("event_key").map(template).transpose()?,
            meta,
            fields,
            unicode: Unicode::default(),
        })
    }

    fn write(&self, out: &mut Vec<u8>, batch: &LogBatch) {
        let rows = Rows::new(batch);
        let key = self.key.as_ref().map(|t| t.over(batch));
        let meta: Vec<(&str, TemplateReading<'_>)> = self
            .meta
            .iter()
            .map(|(name, t)| (*name, t.over(batch)))
            .collect();
        out.reserve(batch.arena().len() * 5 / 4);
        let mut event = Vec::new();
        for row in 0..batch.len() {
            event.clear();
            if let Some(key) = &key {
                key.write(&mut event, row);
            }
            if !self.is_raw {
                self.write_head(out, batch, row, &meta);
            }
            if event.is_empty() {
                out.push(b'{');
                rows.write(out, row, true);
                out.push(b'}');
            } else {
                json::write_str(out, &event);
            }
            out.push(if self.is_raw { b'\n' } else { b'}' });
        }
    }

    /// Writes everything before the event.
    fn write_head(
        &self,
        out: &mut Vec<u8>,
        batch: &LogBatch,
        row: usize,
        meta: &[(&str, TemplateReading<'_>)],
    ) {
        out.push(b'{');
        if self.with_time {
            out.extend_from_slice(b"\"time\":");
            write_seconds(out, batch.times()[row]);
            out.push(b',');
        }
        let (mut text, mut written) = (Vec::new(), "");
        for (name, reading) in meta.iter().filter(|(name, _)| !name.is_empty()) {
            text.clear();
            reading.write(&mut text, row);
            if *name == written || text.is_empty() {
                continue;
            }
            written = name;
            json::write_str(out, name.as_bytes());
            out.push(b':');
            json::write_str(out, &text);
            out.push(b',');
        }
        if !self.fields.is_empty() {
            out.extend_from_slice(b"\"fields\":{");
            let start = out.len();
            for (name, accessor) in &self.fields {
                if out.len() > start {
                    out.push(b',');
                }
                let before = out.len();
                json::write_str(out, name.as_bytes());
                out.push(b':');
                if !write_field(out, batch, accessor, row) {
                    out.truncate(before.max(start));
                    if out.len() > start {
                        out.pop();
                    }
                }
            }
            out.extend_from_slice(b"},");
        }
        out.extend_from_slice(b"\"event\":");
    }
}

/// Appends a field with its type: a column as it is, anything nested as text.
fn write_field(out: &mut Vec<u8>, batch: &LogBatch, accessor: &Accessor, row: usize) -> bool {
    if let Some([name]) = accessor.keys().as_deref()
        && let Some(column) = batch.column(name)
    {
        let value = column.values[row];
        json::write_value(out, batch, value);
        return value != Value::Absent;
    }
    match accessor.over(batch).text(row) {
        Some(text) => {
            json::write_str(out, &text);
            true
        }
        None => false,
    }
}

impl Splunk {
    fn write_metrics(&self, out: &mut Vec<u8>, batch: &MetricBatch) {
        let batch = &*batch.with_classic_histograms();
        for point in batch.points().iter().filter(|p| p.value.is_finite()) {
            out.extend_from_slice(self.of_metrics.as_bytes());
            out.extend_from_slice(b",\"time\":");
            write_seconds(out, batch.time_of(point).saturating_mul(1_000_000));
            out.extend_from_slice(b",\"fields\":{");
            let labels = batch.series_of(point);
            let name = format!("metric_name:{}", labels.metric_name());
            json::write_str(out, name.as_bytes());
            out.push(b':');
            json::write_f64(out, point.value);
            for (label, value) in labels.iter().filter(|(l, _)| *l != "__name__") {
                out.push(b',');
                json::write_str(out, label.as_bytes());
                out.push(b':');
                json::write_str(out, value.as_bytes());
            }
            out.extend_from_slice(b"}}");
        }
    }
}

impl Output for Splunk {
    fn max_request_bytes(&self) -> usize {
        self.client.request_bytes()
    }

    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let mut body = self.client.buffer();
            for batch in request.batches {
                match &**batch {
                    RecordBatch::Logs(batch) => self.events.write(&mut body, batch),
                    RecordBatch::Metrics(batch) => self.write_metrics(&mut body, batch),
                }
            }
            self.events.unicode.apply(&mut body, 0);
            self.client.note_body(request.batches, body.len());
            if self.compression != Compression::None {
                let into = self.client.buffer();
                body = self
                    .compression
                    .apply(body, into, |b| self.client.recycle(b));
            }
            let mut headers = vec![idempotency_key(request.id)];
            headers.extend(self.compression.header());
            if let Some(channel) = &self.channel {
                let name = HeaderName::from_static("x-splunk-request-channel");
                headers.push((name, channel.clone()));
            }
            let uri = "/services/collector/event";
            self.client.send(Method::POST, uri, &headers, body).await
        })
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pairs: &[(&str, &str)]) -> String {
        let settings = Settings::of("splunk", pairs);
        settings.check(PLUGIN.options).expect("known options");
        let events = Events::of(&settings).expect("valid settings");
        let mut out = Vec::new();
        events.write(&mut out, &crate::render::tests::batch());
        String::from_utf8(out).expect("text")
    }

    /// The order of members and the empty `fields` are Fluent Bit's (5.1.1).
    #[test]
    fn events_are_fluent_bits() {
        let text = body(&[
            ("event_key", "$log"),
            ("event_host", "h"),
            ("event_field", "lev $level"),
            ("event_field", "n $nested"),
            ("event_source", "$TAG"),
            ("event_sourcetype_key", "$no"),
            ("event_sourcetype", "st"),
            ("event_index", "ix"),
        ]);
        let head = r#"{"time":1700000000.123457,"host":"h","source":"kube.web","sourcetype":"st","index":"ix","fields":"#;
        assert_eq!(
            text,
            format!(
                "{head}{{}},\"event\":\"a \\\"quoted\\\" line\"}}{head}{{\"n\":{{\"a\":[1,null,true,2.5]}}}},\"event\":\"観測\\t\"}}"
            )
        );
        let text = body(&[("auto_extract_timestamp", "on")]);
        assert!(
            text.starts_with(r#"{"event":{"log":"a \"quoted\" line","kubernetes":{"#),
            "{text}"
        );
        let raw = body(&[("splunk_send_raw", "on")]);
        assert!(raw.starts_with("{\"log\":") && raw.ends_with("}\n") && raw.lines().count() == 2);
    }

    #[test]
    fn a_token_is_needed() {
        let environment = OutputEnvironment::default();
        assert!(build(&Settings::of("splunk", &[]), &environment).is_err());
        assert!(
            build(
                &Settings::of("splunk", &[("splunk_token", "t")]),
                &environment
            )
            .is_ok()
        );
    }
}
