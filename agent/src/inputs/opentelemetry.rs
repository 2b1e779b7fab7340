//! `opentelemetry`: OTLP logs and metrics over HTTP (protobuf, JSON) and gRPC on one port.
//!
//! Resource and scope attributes go to the batch's resource, all of a log record but its body to its
//! metadata. Traces are refused: nothing here can hold them. The rule: a request is answered with
//! success only when its records are delivered.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use kansoku_model::{
    ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Resource, Settings, joined,
};
use kansoku_parsers::wire::compressed::unpack;
use kansoku_parsers::wire::otlp::{self, logs, metrics};
use kansoku_parsers::wire::records::{Records, Stream};

use super::net::http::{
    self, ALL_OPTIONS, ALPN, Call, Client, HttpOptions, N_OPTIONS, Reply, Server, Service, refusal,
    reply_with, success_status,
};
use super::net::listen::Listen;
use super::net::tag_key::TagKey;
use super::net::{clean_tag, resource, stamp};
use crate::filters::parser::now_ns;
use crate::plugin::{Environment, Input, InputPlugin};

/// What experimental options of Fluent Bit may be set to.
const OFF: OptionKind = OptionKind::Choice(&["off", "false", "no"]);

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "tag_from_uri",
        OptionKind::Bool,
        "on",
        "make the tag of the path: v1_logs, v1_metrics",
    ),
    OptionSpec::new(
        "tag_key",
        OptionKind::Text,
        "",
        "field of a log record whose text is its tag",
    ),
    OptionSpec::new(
        "successful_response_code",
        OptionKind::Int,
        "201",
        "answer over HTTP to what is delivered: 200, 201 or 204",
    ),
    OptionSpec::new(
        "logs_metadata_key",
        OptionKind::Text,
        "otlp",
        "key of a log record's metadata",
    ),
    OptionSpec::new(
        "logs_body_key",
        OptionKind::Text,
        "",
        "key for each body; without it a map gives the fields and all else goes to log",
    ),
    OptionSpec::new("raw_traces", OFF, "off", "traces are not taken"),
    OptionSpec::new("profiles_support", OFF, "off", "profiles are not taken"),
    OptionSpec::new(
        "encode_profiles_as_log",
        OFF,
        "off",
        "profiles are not taken",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + N_OPTIONS] = joined(OWN, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "opentelemetry",
    about: "Takes OpenTelemetry logs and metrics over HTTP and gRPC.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    opentelemetry\n    Listen  0.0.0.0\n    Port    4318\n",
    build,
};

const PORT: u16 = 4318;
/// In the log.
const NAME: &str = "input:opentelemetry";
/// Numbers of gRPC's codes.
const GRPC_INVALID_ARGUMENT: u8 = 3;
const GRPC_UNAUTHENTICATED: u8 = 16;
const GRPC_RESOURCE_EXHAUSTED: u8 = 8;
const GRPC_UNIMPLEMENTED: u8 = 12;
const GRPC_UNAVAILABLE: u8 = 14;

struct Requests {
    tag_from_uri: bool,
    tag_key: TagKey,
    success: StatusCode,
    names: logs::Names,
    max_plain: usize,
    resource: Arc<Resource>,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    let mut listen = Listen::of(s, environment, PORT, ALPN)?;
    let options = HttpOptions::of(s, &mut listen)?;
    Ok(Box::new(Server {
        name: NAME,
        options: options.clone(),
        listen,
        service: Requests {
            tag_from_uri: s.bool("tag_from_uri", true)?,
            tag_key: TagKey::of(s)?,
            success: success_status(s)?,
            names: logs::Names {
                metadata_key: s.text("logs_metadata_key", "otlp").to_owned(),
                body_key: s.get("logs_body_key").map(|k| k.value.clone()),
            },
            max_plain: options.max_plain(),
            resource: resource(environment),
        },
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Logs,
    Metrics,
}

/// Why a request was not taken.
enum No {
    /// It will never be.
    Bad(String),
    /// Nothing of this kind is.
    Unsupported(String),
    TryAgain(String),
}

/// Points that were not taken while the rest was.
struct Partial {
    n: u64,
    reason: String,
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    value.is_some_and(|v| v.starts_with("application/grpc"))
}

impl Service for Requests {
    async fn answer(&self, call: Call, client: &Client) -> Reply {
        if is_grpc(&call.headers) {
            return match self.grpc(call, client).await {
                Ok(partial) => grpc_reply(&partial),
                Err(No::Bad(reason)) => grpc_refusal(GRPC_INVALID_ARGUMENT, &reason),
                Err(No::Unsupported(reason)) => grpc_refusal(GRPC_UNIMPLEMENTED, &reason),
                Err(No::TryAgain(reason)) => grpc_refusal(GRPC_UNAVAILABLE, &reason),
            };
        }
        if call.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "invalid HTTP method");
        }
        let is_json = call.content_type() == "application/json";
        match self.over_http(call, client, is_json).await {
            Ok(partial) => self.http_reply(&partial, is_json),
            Err(No::Bad(reason)) => refusal(StatusCode::BAD_REQUEST, &reason),
            Err(No::Unsupported(reason)) => refusal(StatusCode::NOT_IMPLEMENTED, &reason),
            Err(No::TryAgain(reason)) => refusal(StatusCode::SERVICE_UNAVAILABLE, &reason),
        }
    }

    /// gRPC compresses messages, not bodies.
    fn unpacks(&self, headers: &HeaderMap) -> bool {
        !is_grpc(headers)
    }

    fn refusal(&self, headers: &HeaderMap, status: StatusCode, reason: &str) -> Reply {
        if !is_grpc(headers) {
            return refusal(status, reason);
        }
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => GRPC_RESOURCE_EXHAUSTED,
            StatusCode::UNAUTHORIZED => GRPC_UNAUTHENTICATED,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => GRPC_UNAVAILABLE,
            _ => GRPC_INVALID_ARGUMENT,
        };
        grpc_refusal(code, reason)
    }
}

impl Requests {
    async fn over_http(&self, call: Call, client: &Client, is_json: bool) -> Result<Partial, No> {
        let signal = match call.path.as_str() {
            "/v1/logs" => Signal::Logs,
            "/v1/metrics" => Signal::Metrics,
            "/v1/traces" => return Err(No::Unsupported("traces are not taken here".into())),
            other => {
                return Err(No::Bad(format!(
                    "no such path {other}; use /v1/logs or /v1/metrics"
                )));
            }
        };
        let body = match call.content_type().as_str() {
            "application/json" if signal == Signal::Logs => otlp::json::logs(&call.body),
            "application/json" => otlp::json::metrics(&call.body),
            "application/x-protobuf" | "application/protobuf" => Ok(call.body),
            _ => {
                let what = "'Content-Type' must be application/x-protobuf or application/json";
                return Err(No::Bad(what.into()));
            }
        };
        let body = body.map_err(|error| No::Bad(error.to_string()))?;
        debug_assert!(
            !is_json || body.first() != Some(&b'{'),
            "rewritten as protobuf"
        );
        self.take(signal, &body, client).await
    }

    async fn grpc(&self, call: Call, client: &Client) -> Result<Partial, No> {
        let service = call
            .path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        let signal = match service {
            "opentelemetry.proto.collector.logs.v1.LogsService" => Signal::Logs,
            "opentelemetry.proto.collector.metrics.v1.MetricsService" => Signal::Metrics,
            other => {
                return Err(No::Unsupported(format!(
                    "{other} is not taken here; logs and metrics are"
                )));
            }
        };
        let encoding = call.header("grpc-encoding");
        let message = grpc_message(encoding, &call.body, self.max_plain);
        let message = message.map_err(|what| No::Bad(format!("grpc: {what}")))?;
        self.take(signal, &message, client).await
    }

    async fn take(&self, signal: Signal, body: &[u8], client: &Client) -> Result<Partial, No> {
        let own_tag = client.pipe.link.tag.clone();
        let path = if signal == Signal::Logs {
            "v1_logs"
        } else {
            "v1_metrics"
        };
        let tag: Arc<str> = if self.tag_from_uri {
            clean_tag(path).into()
        } else {
            own_tag
        };
        let taken = client.take(|stream| match signal {
            Signal::Logs => self.logs(body, tag, stream),
            Signal::Metrics => self.metrics(body, &tag, stream),
        });
        match taken.await {
            Ok(Ok(partial)) => Ok(partial),
            Ok(Err(not_taken)) => Err(No::TryAgain(not_taken.to_string())),
            Err(error) => Err(No::Bad(error)),
        }
    }

    fn logs(
        &self,
        body: &[u8],
        tag: Arc<str>,
        stream: &mut Stream,
    ) -> Result<(Vec<RecordBatch>, Partial), String> {
        let mut records = Records::new(stream, tag, self.resource.clone());
        logs::decode(body, now_ns(), &self.names, &self.resource, &mut records)
            .map_err(|error| error.to_string())?;
        let batches = records.finish();
        let batches = self.tag_key.split(batches).into_iter();
        let batches: Vec<RecordBatch> = batches.map(RecordBatch::Logs).collect();
        Ok((
            batches,
            Partial {
                n: 0,
                reason: String::new(),
            },
        ))
    }

    fn metrics(
        &self,
        body: &[u8],
        tag: &Arc<str>,
        stream: &mut Stream,
    ) -> Result<(Vec<RecordBatch>, Partial), String> {
        let found = metrics::decode(body, now_ns() / 1_000_000, tag, &self.resource)
            .map_err(|error| error.to_string())?;
        let batches = found.batches.into_iter().map(|batch| stamp(batch, stream));
        let partial = Partial {
            n: found.refused.count as u64,
            reason: found.refused.first.unwrap_or_default(),
        };
        if partial.n > 0 {
            crate::log::warn(
                NAME,
                format_args!("{} points were not taken: {}", partial.n, partial.reason),
            );
        }
        Ok((batches.collect(), partial))
    }

    fn http_reply(&self, partial: &Partial, is_json: bool) -> Reply {
        if self.success == StatusCode::NO_CONTENT {
            return http::reply(self.success, "");
        }
        if is_json {
            let body = match partial.n {
                0 => "{}".to_owned(),
                // Logs are never refused in part.
                n => serde_json::json!({ "partialSuccess": {
                    "rejectedDataPoints": n.to_string(), "errorMessage": partial.reason,
                }})
                .to_string(),
            };
            return reply_with(self.success, "application/json", body.into_bytes());
        }
        let mut body = Vec::new();
        otlp::write_response(&mut body, partial.n, &partial.reason);
        reply_with(self.success, "application/x-protobuf", body)
    }
}

/// The one message of a gRPC request, unpacked.
///
/// # Errors
/// When there is another number of them, or it cannot be unpacked.
pub(crate) fn grpc_message<'a>(
    encoding: &str,
    body: &'a [u8],
    max_plain: usize,
) -> Result<Cow<'a, [u8]>, String> {
    let [is_compressed, a, b, c, d, message @ ..] = body else {
        return Err("the message has no head".to_owned());
    };
    if u32::from_be_bytes([*a, *b, *c, *d]) as usize != message.len() {
        return Err("there must be one message of the length it says".to_owned());
    }
    if *is_compressed == 0 {
        return Ok(Cow::Borrowed(message));
    }
    let plain = unpack(encoding, message, max_plain).map_err(|e| e.to_string())?;
    Ok(Cow::Owned(plain))
}

fn grpc_reply(partial: &Partial) -> Reply {
    let mut message = Vec::new();
    otlp::write_response(&mut message, partial.n, &partial.reason);
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(body)).with_trailers(async move { Some(Ok(trailers)) });
    let mut reply = Response::new(body.boxed());
    let content_type = HeaderValue::from_static("application/grpc");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// A status without a message: everything stands in the headers.
fn grpc_refusal(code: u8, reason: &str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()).boxed());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    // Percent and all that is no printable ASCII must be escaped.
    let escape = |b: u8| match b {
        b' '..=b'~' if b != b'%' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    };
    let text: String = reason.bytes().map(escape).collect();
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert("grpc-message", text);
    }
    reply
}
