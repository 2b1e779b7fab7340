//! `http`: posts records to any HTTP endpoint.
//!
//! Each request carries an `Idempotency-Key` made from the sources and ranges in it, so a receiver
//! can drop the repeat of a request whose answer was lost.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined,
};

use crate::client::{self, HttpClient};
use crate::render::{DATE_FORMATS, FORMATS, Format, Layout};
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

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
        OptionKind::Choice(FORMATS),
        "msgpack",
        "body of the request",
    ),
    OptionSpec::new(
        "json_date_key",
        OptionKind::Text,
        "date",
        "key of the time; false leaves it out",
    ),
    OptionSpec::new(
        "json_date_format",
        OptionKind::Choice(DATE_FORMATS),
        "double",
        "form of the time",
    ),
    OptionSpec::new(
        "header_tag",
        OptionKind::Text,
        "",
        "name of a header that carries the tag",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip", "zstd"]),
        "",
        "compress the body",
    ),
];

const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + client::OPTIONS.len() }>(OWN, client::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "http",
    about: "Posts records to an HTTP endpoint.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name    http\n    Match   *\n    Host    logs.example.org\n    Port    443\n    URI     /ingest\n    Format  json_lines\n    tls     on\n",
    build,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

struct Http {
    client: HttpClient,
    method: Method,
    uri: String,
    format: Format,
    header_tag: Option<HeaderName>,
    compression: Compression,
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
    let uri = settings.text("uri", "/");
    Ok(Box::new(Http {
        client: HttpClient::build(settings, environment, 80)?,
        method: match settings
            .text("http_method", "POST")
            .to_ascii_uppercase()
            .as_str()
        {
            "PUT" => Method::PUT,
            _ => Method::POST,
        },
        uri: if uri.starts_with('/') {
            uri.to_owned()
        } else {
            format!("/{uri}")
        },
        format: Format::of(settings, Layout::of(settings))?,
        header_tag,
        compression: match settings.text("compress", "").to_ascii_lowercase().as_str() {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            _ => Compression::None,
        },
    }))
}

impl Http {
    fn body(&self, batches: &[Arc<RecordBatch>]) -> Vec<u8> {
        let logs = batches.iter().filter_map(|b| match &**b {
            RecordBatch::Logs(b) => Some(b),
            RecordBatch::Metrics(_) => None,
        });
        let mut body = Vec::new();
        self.format.write_batches(&mut body, logs);
        match self.compression {
            Compression::None => body,
            Compression::Gzip => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&body).expect("writing to memory succeeds");
                gzip.finish().expect("writing to memory succeeds")
            }
            Compression::Zstd => zstd::bulk::compress(&body, 1).expect("zstd compresses any bytes"),
        }
    }

    fn headers(&self, request: Request<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let content_type = match self.format.layout {
            Layout::Json | Layout::Lines | Layout::Stream => "application/json",
            Layout::Msgpack => "application/msgpack",
        };
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
        let key = HeaderValue::from_str(request.id).expect("an id is printable ASCII");
        headers.push((HeaderName::from_static("idempotency-key"), key));
        match self.compression {
            Compression::None => {}
            Compression::Gzip => headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
            Compression::Zstd => headers.push((CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
        }
        if let (Some(name), Some(first)) = (&self.header_tag, request.batches.first())
            && let Ok(tag) = HeaderValue::from_str(first.tag())
        {
            headers.push((name.clone(), tag));
        }
        headers
    }
}

impl Output for Http {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let batches = request.batches;
        Box::pin(async move {
            // A header carries one tag only.
            let one_tag = batches.iter().all(|b| b.tag() == batches[0].tag());
            if self.header_tag.is_some() && !one_tag {
                return Outcome::TooLarge;
            }
            let body = Bytes::from(self.body(batches));
            let headers = self.headers(request);
            self.client
                .send(self.method.clone(), &self.uri, &headers, body)
                .await
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(LogBatch { .. }))
    }
}
