//! `opentelemetry`: sends logs and metrics over OTLP, as protobuf over HTTP or gRPC.

mod answer;
mod logs;
mod metrics;
mod value;

use std::sync::Arc;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use kansoku_model::{
    ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined, plugin,
};

use crate::client::{self, Answer, HttpClient, Protocol};
use crate::compress::Compression;
use crate::http::{idempotency_key, path_of};
use crate::prometheus_remote_write::added_labels;
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture, aws, oauth2};
use logs::Logs;

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "add_label",
        OptionKind::Pair,
        "",
        "a label for everything: NAME VALUE",
    )
    .repeated(),
    text(
        "http2",
        "off",
        "speak HTTP/2: on (over TLS, when the server agrees), force, or off",
    ),
    OptionSpec::new("grpc", OptionKind::Bool, "off", "speak gRPC"),
    text("metrics_uri", "/v1/metrics", "path of metrics"),
    text("logs_uri", "/v1/logs", "path of logs"),
    text(
        "grpc_metrics_uri",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "gRPC method of metrics",
    ),
    text(
        "grpc_logs_uri",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "gRPC method of logs",
    ),
    text(
        "traces_uri",
        "/v1/traces",
        "no effect: no input makes traces",
    ),
    text("grpc_traces_uri", "", "no effect: no input makes traces"),
    text(
        "profiles_uri",
        "/v1development/profiles",
        "no effect: no input makes profiles",
    ),
    text(
        "grpc_profiles_uri",
        "",
        "no effect: no input makes profiles",
    ),
    OptionSpec::new(
        "batch_size",
        OptionKind::Int,
        "1000",
        "no effect: requests are bounded by their bytes",
    ),
    OptionSpec::new(
        "logs_max_resources",
        OptionKind::Int,
        "0",
        "no effect: a request has one resource per source",
    ),
    OptionSpec::new(
        "logs_max_scopes",
        OptionKind::Int,
        "0",
        "no effect: a resource has one scope",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip", "zstd"]),
        "",
        "compress the body",
    ),
    OptionSpec::new(
        "log_response_payload",
        OptionKind::Bool,
        "on",
        "tell the text of an answer with an error",
    ),
    text(
        "logs_body_key",
        "$log, else $message",
        "field that is the body; without one the whole record is",
    )
    .repeated(),
    OptionSpec::new(
        "logs_body_key_attributes",
        OptionKind::Bool,
        "on",
        "send the other fields as attributes (Fluent Bit drops them unless this is on)",
    ),
    text(
        "logs_metadata_key",
        "otlp",
        "key of the metadata under which an OTLP input left its own",
    ),
    text(
        "logs_observed_timestamp_metadata_key",
        "$ObservedTimestamp",
        "observed time in the metadata",
    ),
    text(
        "logs_timestamp_metadata_key",
        "$Timestamp",
        "time in the metadata",
    ),
    text(
        "logs_severity_text_metadata_key",
        "$SeverityText",
        "severity in the metadata",
    ),
    text(
        "logs_severity_number_metadata_key",
        "$SeverityNumber",
        "severity number in the metadata",
    ),
    text(
        "logs_trace_flags_metadata_key",
        "$TraceFlags",
        "trace flags in the metadata",
    ),
    text(
        "logs_span_id_metadata_key",
        "$SpanId",
        "span id in the metadata",
    ),
    text(
        "logs_trace_id_metadata_key",
        "$TraceId",
        "trace id in the metadata",
    ),
    text(
        "logs_attributes_metadata_key",
        "$Attributes",
        "attributes in the metadata",
    ),
    text(
        "logs_instrumentation_scope_metadata_key",
        "InstrumentationScope",
        "no effect: scopes have no name",
    ),
    text(
        "logs_resource_metadata_key",
        "Resource",
        "no effect: the resource comes from the source",
    ),
    text(
        "logs_span_id_message_key",
        "$SpanId",
        "field that is the span id",
    ),
    text(
        "logs_trace_id_message_key",
        "$TraceId",
        "field that is the trace id",
    ),
    text(
        "logs_severity_text_message_key",
        "$SeverityText",
        "field that is the severity",
    ),
    text(
        "logs_severity_number_message_key",
        "$SeverityNumber",
        "field that is the severity number",
    ),
];

const HTTP: &[OptionSpec] =
    &joined::<{ client::OPTIONS.len() + aws::OPTIONS.len() }>(client::OPTIONS, aws::OPTIONS);
const SHARED: &[OptionSpec] =
    &joined::<{ HTTP.len() + oauth2::OPTIONS.len() }>(HTTP, oauth2::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + SHARED.len() }>(OWN, SHARED);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "opentelemetry",
    about: "Sends logs and metrics over OTLP (HTTP or gRPC).",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name       opentelemetry\n    Match      *\n    Host       otel-collector.observability\n    Port       4318\n    Add_Label  cluster east\n",
    build,
};

struct OpenTelemetry {
    client: HttpClient,
    logs: Logs,
    labels: Vec<(String, String)>,
    logs_uri: String,
    metrics_uri: String,
    is_grpc: bool,
    compression: Compression,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    for key in [
        "logs_instrumentation_scope_metadata_key",
        "logs_resource_metadata_key",
    ] {
        if let Some(s) = settings.get(key) {
            environment.warn(&s.place, format!("'{key}' has no effect"));
        }
    }
    let is_grpc = settings.bool("grpc", false)?;
    let http2 = settings.text("http2", "off");
    let protocol = match (is_grpc, plugin::parse_bool(http2)) {
        (true, _) => Protocol::Http2,
        _ if http2.eq_ignore_ascii_case("force") => Protocol::Http2,
        // Without TLS there is nothing to agree with: Fluent Bit asks for an upgrade, we say no.
        (_, Some(true)) => Protocol::Negotiated,
        (_, Some(false)) => Protocol::Http1,
        (_, None) => {
            let place = settings.get("http2").map_or(&settings.place, |s| &s.place);
            let message = format!("'http2' is '{http2}', but must be on, force or off");
            return Err(ConfigError::new(place, message));
        }
    };
    let uri = |http: &str, grpc: &str| {
        let of = |key: &str| {
            let spec = OWN.iter().find(|o| o.name == key).expect("an option");
            path_of(settings.text(key, spec.default))
        };
        of(if is_grpc { grpc } else { http })
    };
    let labels = added_labels(settings);
    Ok(Box::new(OpenTelemetry {
        client: HttpClient::with_protocol(settings, environment, 80, protocol)?,
        logs: Logs::of(settings, &labels)?,
        labels,
        logs_uri: uri("logs_uri", "grpc_logs_uri"),
        metrics_uri: uri("metrics_uri", "grpc_metrics_uri"),
        is_grpc,
        compression: Compression::of(settings),
    }))
}

impl OpenTelemetry {
    async fn export(&self, uri: &str, id: &str, body: Vec<u8>) -> Outcome {
        let body = if self.compression == Compression::None {
            body
        } else {
            let into = self.client.buffer();
            self.compression
                .apply(body, into, |b| self.client.recycle(b))
        };
        let mut headers = vec![idempotency_key(id)];
        if self.is_grpc {
            return self.call(uri, headers, body).await;
        }
        headers.push((
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        ));
        headers.extend(self.compression.header());
        match self
            .client
            .exchange(Method::POST, uri, &headers, body)
            .await
        {
            Err(reason) => self.client.retry(reason, None),
            Ok(answer) => match self.client.outcome(&answer) {
                Outcome::Delivered => answer::outcome(&answer, false),
                other => other,
            },
        }
    }

    async fn call(
        &self,
        uri: &str,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        message: Vec<u8>,
    ) -> Outcome {
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
        headers.push((TE, HeaderValue::from_static("trailers")));
        if let Some((_, name)) = self.compression.header() {
            headers.push((HeaderName::from_static("grpc-encoding"), name));
        }
        let mut body = self.client.buffer();
        body.push(u8::from(self.compression != Compression::None));
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(&message);
        self.client.recycle(message);
        match self
            .client
            .exchange(Method::POST, uri, &headers, body)
            .await
        {
            Err(reason) => self.client.retry(reason, None),
            Ok(answer) if answer.status.is_success() => self.grpc_outcome(&answer),
            Ok(answer) => self.client.outcome(&answer),
        }
    }

    fn grpc_outcome(&self, answer: &Answer) -> Outcome {
        let (code, message) = grpc_status(&answer.headers);
        let reason = format!("gRPC status {code}: {message}");
        match code {
            0 => answer::outcome(answer, true),
            // What the server will not take however often it comes.
            3 | 6 | 9 => Outcome::Rejected { reason },
            8 if message.contains("larger than max") => Outcome::TooLarge,
            _ => self.client.retry(reason, None),
        }
    }
}

fn grpc_status(headers: &HeaderMap) -> (u32, String) {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    // An answer without a status is a broken one: 2 is "unknown".
    let code = text("grpc-status")
        .and_then(|t| t.parse().ok())
        .unwrap_or(2);
    (code, text("grpc-message").unwrap_or_default().to_owned())
}

impl Output for OpenTelemetry {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let (mut logs, mut metrics) = (self.client.buffer(), self.client.buffer());
            for batch in request.batches {
                match &**batch {
                    RecordBatch::Logs(batch) => self.logs.write(&mut logs, batch),
                    RecordBatch::Metrics(batch) => {
                        metrics::write(&mut metrics, batch, &self.labels);
                    }
                }
            }
            match (logs.is_empty(), metrics.is_empty()) {
                // Two requests would need two answers: each kind on its own.
                (false, false) => halves(self, request, logs, metrics).await,
                (false, true) => {
                    let outcome = self.export(&self.logs_uri, request.id, logs).await;
                    at_most(outcome, request.batches, true)
                }
                (true, false) => {
                    let outcome = self.export(&self.metrics_uri, request.id, metrics).await;
                    at_most(outcome, request.batches, false)
                }
                (true, true) => Outcome::Delivered,
            }
        })
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

/// Sends both kinds; when one fails its batches are named record by record.
async fn halves(
    output: &OpenTelemetry,
    request: Request<'_>,
    logs: Vec<u8>,
    metrics: Vec<u8>,
) -> Outcome {
    let id = format!("{}-logs", request.id);
    let first = output.export(&output.logs_uri, &id, logs).await;
    let id = format!("{}-metrics", request.id);
    let second = output.export(&output.metrics_uri, &id, metrics).await;
    if first == Outcome::TooLarge || second == Outcome::TooLarge {
        return Outcome::TooLarge;
    }
    let (mut retry, mut rejected, mut why, mut wait) =
        (Vec::new(), Vec::new(), String::new(), None);
    let (mut n_refused, mut reasons) = (0, Vec::new());
    for (outcome, is_logs) in [(first, true), (second, false)] {
        let records = records(request.batches, is_logs);
        match at_most(outcome, request.batches, is_logs) {
            Outcome::Retry { reason, after } => {
                retry.extend(records);
                (why, wait) = (reason, after);
            }
            Outcome::Rejected { reason } => {
                rejected.extend(records.into_iter().map(|r| (r, reason.clone())));
            }
            Outcome::SomeRejected { n_records, reason } => {
                n_refused += n_records;
                reasons.push(reason);
            }
            _ => {}
        }
    }
    if retry.is_empty() && rejected.is_empty() {
        return match reasons.is_empty() {
            true => Outcome::Delivered,
            false => Outcome::SomeRejected {
                n_records: n_refused,
                reason: reasons.join("; "),
            },
        };
    }
    if n_refused > 0 {
        // The other kind comes again; what was refused is at least told.
        let refused = format!("{n_refused} records refused: {}", reasons.join("; "));
        why = if why.is_empty() {
            refused
        } else {
            format!("{why}; {refused}")
        };
    }
    retry.sort_unstable();
    Outcome::Partial {
        retry,
        rejected,
        reason: why,
        after: wait,
    }
}

/// A server may say that it refused any number; it is no more than it was sent of that kind.
fn at_most(outcome: Outcome, batches: &[Arc<RecordBatch>], are_logs: bool) -> Outcome {
    let of_kind = batches
        .iter()
        .filter(|batch| matches!(***batch, RecordBatch::Logs(_)) == are_logs);
    let n_sent: usize = of_kind.map(|batch| batch.n_records()).sum();
    match outcome {
        Outcome::SomeRejected { n_records, reason } => Outcome::SomeRejected {
            n_records: n_records.min(n_sent as u64),
            reason,
        },
        other => other,
    }
}

fn records(batches: &[Arc<RecordBatch>], are_logs: bool) -> Vec<crate::RecordRef> {
    let mut found = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        if matches!(**batch, RecordBatch::Logs(_)) == are_logs {
            let rows = 0..batch.n_records() as u32;
            found.extend(rows.map(|row| crate::RecordRef {
                batch: at as u32,
                row,
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests;
