//! `kansoku`: ships batches to kansoku-aggregator as native frames.
//!
//! The aggregator answers once the frames are on its disk, and drops what it has seen before by
//! source and position: a repeat after a lost answer or a crash stores nothing twice.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::frame::{self, Compression};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined};

use crate::client::{self, HttpClient};
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

/// Where kansoku-aggregator listens by default.
pub const DEFAULT_PORT: u16 = 9428;

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "uri",
        OptionKind::Text,
        "/api/v1/frames",
        "path of the request",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["lz4", "zstd", "none"]),
        "lz4",
        "lz4 costs the node about half of zstd's CPU, zstd half of lz4's bytes on the network",
    ),
];

const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + client::OPTIONS.len() }>(OWN, client::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "kansoku",
    about: "Ships logs and metrics to kansoku-aggregator: compressed, acknowledged, never twice.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name   kansoku\n    Match  *\n    Host   kansoku-aggregator.kansoku\n",
    build,
};

struct Kansoku {
    client: HttpClient,
    uri: String,
    compression: Compression,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Kansoku {
        client: HttpClient::build(settings, environment, DEFAULT_PORT)?,
        uri: settings.text("uri", "/api/v1/frames").to_owned(),
        compression: match settings.text("compress", "lz4") {
            "zstd" => Compression::Zstd,
            "none" => Compression::None,
            _ => Compression::Lz4,
        },
    }))
}

const HEADERS: [(HeaderName, HeaderValue); 1] = [(
    CONTENT_TYPE,
    HeaderValue::from_static("application/vnd.kansoku.frames"),
)];

impl Output for Kansoku {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let batches = request.batches;
        Box::pin(async move {
            let mut body = self.client.buffer();
            for batch in batches {
                if let Err(e) = frame::encode_as(self.compression, batch, &mut body) {
                    return Outcome::Rejected {
                        reason: format!("batch of {} cannot be encoded: {e}", batch.tag()),
                    };
                }
            }
            self.client
                .send(Method::POST, &self.uri, &HEADERS, Bytes::from(body))
                .await
        })
    }

    fn max_request_bytes(&self) -> usize {
        1 << 20
    }

    fn drops_repeats(&self) -> bool {
        true
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}
