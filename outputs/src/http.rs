//! `http`: posts records to any HTTP endpoint.
//!
//! Each request carries an `Idempotency-Key` made from the sources and ranges in it, so a receiver
//! can drop the repeat of a request whose answer was lost.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::plugin::Setting;
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined,
};

use crate::accessor::Accessor;
use crate::client::{self, HttpClient};
use crate::compress::Compression;
use crate::gelf::message::{self, Gelf};
use crate::render::{DATE_KEY, Format, Layout, date_format_option, kubernetes_json};
use crate::rows::Object;
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, aws, oauth2,
};

const OWN: &[OptionSpec] = &[
    OptionSpec::new("uri", OptionKind::Text, "/", "path of the request"),
    OptionSpec::new(
        "http_method",
        OptionKind::Choice(&["POST", "PUT"]),
        "POST",
        "method of the request",
    ),
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["json", "json_lines", "json_stream", "msgpack", "gelf"]),
        "json",
        "body of the request",
    ),
    DATE_KEY,
    date_format_option("double"),
    OptionSpec::new(
        "header_tag",
        OptionKind::Text,
        "",
        "name of a header that carries the tag",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip", "zstd", "snappy"]),
        "",
        "compress the body",
    ),
    OptionSpec::new(
        "body_key",
        OptionKind::Text,
        "",
        "field that is the body of a request of its own: $key",
    ),
    OptionSpec::new(
        "headers_key",
        OptionKind::Text,
        "",
        "field whose members are the headers of that request: $key",
    ),
    OptionSpec::new(
        "log_response_payload",
        OptionKind::Bool,
        "on",
        "tell the text of an answer with an error",
    ),
    OptionSpec::new(
        "allow_duplicated_headers",
        OptionKind::Bool,
        "on",
        "off: of several 'header' of one name the last is sent",
    ),
];

const SHARED: &[OptionSpec] =
    &joined::<{ client::OPTIONS.len() + aws::OPTIONS.len() }>(client::OPTIONS, aws::OPTIONS);
const SHARED_2: &[OptionSpec] =
    &joined::<{ SHARED.len() + oauth2::OPTIONS.len() }>(SHARED, oauth2::OPTIONS);
const OWN_2: &[OptionSpec] =
    &joined::<{ OWN.len() + message::OPTIONS.len() }>(OWN, message::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN_2.len() + SHARED_2.len() }>(OWN_2, SHARED_2);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "http",
    about: "Posts records to an HTTP endpoint.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name    http\n    Match   *\n    Host    logs.example.org\n    Port    443\n    URI     /ingest\n    Format  json_lines\n    tls     on\n",
    build,
};

struct Http {
    client: HttpClient,
    method: Method,
    uri: String,
    format: Format,
    header_tag: Option<HeaderName>,
    compression: Compression,
    /// Messages instead of `format`, a line each.
    gelf: Option<Gelf>,
    /// Body and headers of a request per record.
    single: Option<(Accessor, Accessor)>,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let header_tag = match settings.get("header_tag") {
        None => None,
        Some(s) => Some(HeaderName::from_bytes(s.value.as_bytes()).map_err(|_| {
            ConfigError::new(
                &s.place,
                format!("'header_tag' is '{}', which is no header name", s.value),
            )
        })?),
    };
    let layout = match settings
        .text("format", "json")
        .to_ascii_lowercase()
        .as_str()
    {
        "json_lines" => Layout::Lines,
        "json_stream" => Layout::Stream,
        "msgpack" => Layout::Msgpack,
        _ => Layout::Json,
    };
    let mut client = HttpClient::build(settings, environment, 80)?;
    if !settings.bool("allow_duplicated_headers", true)? {
        client.keep_last_headers();
    }
    Ok(Box::new(Http {
        client,
        method: match settings
            .text("http_method", "POST")
            .to_ascii_uppercase()
            .as_str()
        {
            "PUT" => Method::PUT,
            _ => Method::POST,
        },
        uri: path_of(settings.text("uri", "/")),
        format: Format::of(settings, layout)?.with(environment.unicode),
        header_tag,
        compression: Compression::of(settings),
        gelf: match settings.text("format", "json").eq_ignore_ascii_case("gelf") {
            true => Some(Gelf::of(settings)?),
            false => None,
        },
        single: single(settings)?,
    }))
}

/// A path with its slash.
pub(crate) fn path_of(uri: &str) -> String {
    if uri.starts_with('/') {
        uri.to_owned()
    } else {
        format!("/{uri}")
    }
}

fn single(settings: &Settings) -> Result<Option<(Accessor, Accessor)>, ConfigError> {
    let accessor = |s: &Setting| {
        Accessor::new(&s.value).map_err(|e| ConfigError::new(&s.place, format!("'{}': {e}", s.key)))
    };
    match (settings.get("body_key"), settings.get("headers_key")) {
        (None, None) => Ok(None),
        (Some(body), Some(headers)) => Ok(Some((accessor(body)?, accessor(headers)?))),
        (Some(s), None) | (None, Some(s)) => Err(ConfigError::new(
            &s.place,
            "'body_key' and 'headers_key' need each other; set both or none",
        )),
    }
}

/// The log batches among a request's.
pub(crate) fn logs(batches: &[Arc<RecordBatch>]) -> impl Iterator<Item = &LogBatch> {
    batches.iter().filter_map(|b| match &**b {
        RecordBatch::Logs(b) => Some(b),
        RecordBatch::Metrics(_) => None,
    })
}

/// The header that names a request for ever.
pub(crate) fn idempotency_key(id: &str) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::from_str(id).expect("an id is printable ASCII");
    (HeaderName::from_static("idempotency-key"), value)
}

impl Http {
    fn body(
        &self,
        batches: &[Arc<RecordBatch>],
        refused: &mut Vec<(RecordRef, String)>,
    ) -> Vec<u8> {
        let mut body = self.client.buffer();
        match &self.gelf {
            None => self.format.write_batches(&mut body, logs(batches)),
            Some(gelf) => write_gelf(&mut body, gelf, batches, refused),
        }
        self.client.note_body(batches, body.len());
        self.packed(body)
    }

    fn packed(&self, body: Vec<u8>) -> Vec<u8> {
        if self.compression == Compression::None {
            return body;
        }
        let into = self.client.buffer();
        self.compression
            .apply(body, into, |b| self.client.recycle(b))
    }

    fn headers(&self, id: &str, tag: &str) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![idempotency_key(id)];
        headers.extend(self.compression.header());
        if let Some(name) = &self.header_tag
            && let Ok(tag) = HeaderValue::from_str(tag)
        {
            headers.push((name.clone(), tag));
        }
        headers
    }

    async fn send_all(&self, request: Request<'_>) -> Outcome {
        let batches = request.batches;
        // A header carries one tag only.
        let one_tag = batches.iter().all(|b| b.tag() == batches[0].tag());
        if self.header_tag.is_some() && !one_tag {
            return Outcome::TooLarge;
        }
        let content_type = match self.format.layout {
            Layout::Json | Layout::Stream => "application/json",
            Layout::Lines => "application/x-ndjson",
            Layout::Msgpack => "application/msgpack",
        };
        let mut headers = self.headers(request.id, batches[0].tag());
        headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        let mut rejected = Vec::new();
        let body = self.body(batches, &mut rejected);
        let method = self.method.clone();
        let outcome = self.client.send(method, &self.uri, &headers, body).await;
        if outcome != Outcome::Delivered || rejected.is_empty() {
            return outcome;
        }
        Outcome::Partial {
            retry: Vec::new(),
            rejected,
            reason: String::new(),
            after: None,
        }
    }

    /// A request per record, in order; at the first that has to wait, the rest waits with it.
    async fn send_each(&self, request: Request<'_>, body: &Accessor, heads: &Accessor) -> Outcome {
        let mut refused = Refused::default();
        for (at, batch) in request.batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let (bodies, heads) = (body.over(batch), heads.over(batch));
            for row in 0..batch.len() {
                let here = RecordRef {
                    batch: at as u32,
                    row: row as u32,
                };
                if refused.waits() {
                    refused.retry.push(here);
                    continue;
                }
                let found = bodies.text(row).zip(heads.text(row));
                let parts = found.and_then(|(body, heads)| Some((body, record_headers(&heads)?)));
                let Some((body, mut headers)) = parts else {
                    let reason = "the record has no text body or no map of headers".to_owned();
                    refused.rejected.push((here, reason));
                    continue;
                };
                let id = format!("{}-{at}.{row}", request.id);
                headers.extend(self.headers(&id, &batch.tag));
                let body = self.packed(body.into_owned());
                let method = self.method.clone();
                let outcome = self.client.send(method, &self.uri, &headers, body).await;
                refused.note(here, outcome);
            }
        }
        refused.outcome()
    }
}

/// GELF messages, a line each; records that can be none are refused.
fn write_gelf(
    out: &mut Vec<u8>,
    gelf: &Gelf,
    batches: &[Arc<RecordBatch>],
    refused: &mut Vec<(RecordRef, String)>,
) {
    for (at, batch) in batches.iter().enumerate() {
        let RecordBatch::Logs(batch) = &**batch else {
            continue;
        };
        let kubernetes = kubernetes_json(batch);
        for row in 0..batch.len() {
            if gelf.write(out, batch, row, &kubernetes) {
                out.push(b'\n');
                continue;
            }
            let record = RecordRef {
                batch: at as u32,
                row: row as u32,
            };
            let reason = "the record has no short message or a level that is none".to_owned();
            refused.push((record, reason));
        }
    }
}

/// What came of the records of a request so far.
#[derive(Default)]
struct Refused {
    retry: Vec<RecordRef>,
    rejected: Vec<(RecordRef, String)>,
    reason: String,
    after: Option<Duration>,
}

impl Refused {
    fn waits(&self) -> bool {
        !self.retry.is_empty()
    }

    fn note(&mut self, record: RecordRef, outcome: Outcome) {
        match outcome {
            Outcome::Delivered => {}
            Outcome::Rejected { reason } | Outcome::SomeRejected { reason, .. } => {
                self.rejected.push((record, reason));
            }
            Outcome::TooLarge => {
                let reason = "one record is too large for the server".to_owned();
                self.rejected.push((record, reason));
            }
            Outcome::Retry { reason, after } | Outcome::Partial { reason, after, .. } => {
                self.retry.push(record);
                self.reason = reason;
                self.after = after;
            }
        }
    }

    fn outcome(self) -> Outcome {
        if self.retry.is_empty() && self.rejected.is_empty() {
            return Outcome::Delivered;
        }
        Outcome::Partial {
            retry: self.retry,
            rejected: self.rejected,
            reason: self.reason,
            after: self.after,
        }
    }
}

/// The members of a JSON object as headers; those that can be none are left out, as in Fluent Bit.
fn record_headers(json: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let object: Object<'_> = serde_json::from_slice(json).ok()?;
    let header = |(name, value): &(std::borrow::Cow<'_, str>, &serde_json::value::RawValue)| {
        let value: String = serde_json::from_str(value.get()).ok()?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(&value).ok()?))
    };
    Some(object.0.iter().filter_map(header).collect())
}

impl Output for Http {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            match &self.single {
                None => self.send_all(request).await,
                Some((body, headers)) => self.send_each(request, body, headers).await,
            }
        })
    }

    fn max_request_bytes(&self) -> usize {
        self.client.request_bytes().min(512 << 10)
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}
