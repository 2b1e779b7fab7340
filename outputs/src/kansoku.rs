//! `kansoku`: ships batches to kansoku-aggregator as native frames.
//!
//! The aggregator answers once the frames are on its disk, and drops what it has seen before by
//! source and position: a repeat after a lost answer or a crash stores nothing twice.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::frame::{self, Compression};
use kansoku_model::{
    ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined, tenant,
};

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
        "tenant_id",
        OptionKind::Text,
        "",
        "tenant of an aggregator that runs with --tenants.enabled (X-Scope-OrgID)",
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
    let mut client = HttpClient::build(settings, environment, DEFAULT_PORT)?;
    if let Some(s) = settings.get("tenant_id") {
        let bad = |what: String| ConfigError::new(&s.place, format!("'tenant_id': {what}"));
        tenant::check(&s.value).map_err(bad)?;
        let value = HeaderValue::from_str(&s.value).map_err(|e| bad(e.to_string()))?;
        client.set_header(HeaderName::from_static(tenant::HEADER), value);
    }
    Ok(Box::new(Kansoku {
        client,
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

/// What an answer says of records that the aggregator's limits kept out.
fn taken(answer: &[u8]) -> Outcome {
    let refused = serde_json::from_slice::<Taken>(answer).unwrap_or_default();
    match refused {
        Taken { refused: 0, .. } => Outcome::Delivered,
        Taken { refused, error } => Outcome::SomeRejected {
            n_records: refused,
            reason: error,
        },
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Taken {
    refused: u64,
    error: String,
}

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
            let body = Bytes::from(body);
            let sent = self
                .client
                .exchange(Method::POST, &self.uri, &HEADERS, body)
                .await;
            match sent {
                Ok(answer) => match self.client.outcome(&answer) {
                    Outcome::Delivered => taken(&answer.body),
                    other => other,
                },
                Err(reason) => self.client.retry(reason, None),
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_kept_out_is_told() {
        let delivered = [&br#"{"accepted":1,"duplicates":0}"#[..], b"", b"ok"];
        for answer in delivered {
            assert!(matches!(taken(answer), Outcome::Delivered));
        }
        let answer = br#"{"accepted":1,"duplicates":0,"refused":3,"error":"too many streams"}"#;
        let Outcome::SomeRejected { n_records, reason } = taken(answer) else {
            panic!("some are refused");
        };
        assert_eq!((n_records, reason.as_str()), (3, "too many streams"));
    }

    #[test]
    fn a_tenant_has_a_name_that_the_aggregator_takes() {
        let build = |tenant: &str| {
            let settings = Settings::of("kansoku", &[("tenant_id", tenant)]);
            (PLUGIN.build)(&settings, &OutputEnvironment::default()).map(drop)
        };
        assert!(build("team-a").is_ok());
        let error = build("a/b").unwrap_err().to_string();
        assert!(error.contains("unsupported character '/'"), "{error}");
    }
}
