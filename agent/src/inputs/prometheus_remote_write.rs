//! `prometheus_remote_write`: samples that a Prometheus (or anything that speaks remote write 1.0) sends.
//!
//! Series that cannot be taken do not take the others along: they are counted and named in the answer,
//! which is then 400, as Prometheus' own receiver does; its sender does not repeat those.

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Resource, Settings, joined};
use kansoku_parsers::wire::{Window, remote_write, snappy};

use super::net::http::{
    ALL_OPTIONS, ALPN, Call, Client, HttpOptions, N_OPTIONS, Reply, Server, Service, refusal,
    reply, success_status,
};
use super::net::listen::Listen;
use super::net::{clean_tag, resource, stamp};
use crate::log;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "uri",
        OptionKind::Text,
        "",
        "take this path only; default any",
    ),
    OptionSpec::new(
        "tag_from_uri",
        OptionKind::Bool,
        "on",
        "make the tag of the path",
    ),
    OptionSpec::new(
        "successful_response_code",
        OptionKind::Int,
        "201",
        "answer to samples that are delivered: 200, 201 or 204",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + N_OPTIONS] = joined(OWN, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "prometheus_remote_write",
    about: "Takes samples over Prometheus' remote write.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    prometheus_remote_write\n    Listen  0.0.0.0\n    Port    8080\n    Uri     /api/prom/push\n",
    build,
};

const PORT: u16 = 8080;
/// In the log.
const NAME: &str = "input:prometheus_remote_write";
/// Label pairs of one series.
const LIMITS: remote_write::Limits = remote_write::Limits {
    max_labels: 128,
    window: Window::ANY,
};

struct Requests {
    uri: Option<String>,
    tag_from_uri: bool,
    success: StatusCode,
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
            uri: s.get("uri").map(|k| k.value.clone()),
            tag_from_uri: s.bool("tag_from_uri", true)?,
            success: success_status(s)?,
            max_plain: options.max_plain(),
            resource: resource(environment),
        },
    }))
}

impl Service for Requests {
    /// The body is always snappy, whether the header says so or not.
    fn unpacks(&self, _headers: &HeaderMap) -> bool {
        false
    }

    async fn answer(&self, call: Call, client: &Client) -> Reply {
        if call.method != Method::POST {
            return refusal(StatusCode::BAD_REQUEST, "invalid HTTP method");
        }
        if self.uri.as_ref().is_some_and(|uri| *uri != call.path) {
            return refusal(StatusCode::NOT_FOUND, "invalid endpoint");
        }
        if call
            .header("content-type")
            .contains("io.prometheus.write.v2")
        {
            let what = "remote write 2.0 is not taken, send 1.0";
            return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, what);
        }
        let tag: Arc<str> = match call.path.strip_prefix('/').filter(|p| !p.is_empty()) {
            Some(path) if self.tag_from_uri => clean_tag(path).into(),
            _ => client.pipe.link.tag.clone(),
        };
        let taken = client.take(|stream| {
            let body = snappy::decompress(&call.body, self.max_plain).map_err(|e| e.to_string())?;
            let mut request = remote_write::decode(&body, &LIMITS).map_err(|e| e.to_string())?;
            request.batch.tag = tag;
            request.batch.resource = self.resource.clone();
            let n_lost = request.refused.count;
            if n_lost > 0 {
                log::warn(
                    NAME,
                    format_args!("{n_lost} samples and histograms were not taken"),
                );
            }
            let batches = if request.n_samples + request.n_histograms == 0 {
                Vec::new()
            } else {
                vec![stamp(request.batch, stream)]
            };
            Ok::<_, String>((batches, request.refused))
        });
        match taken.await {
            Ok(Ok(refused)) if refused.count == 0 => reply(self.success, ""),
            Ok(Ok(refused)) => {
                let first = refused.first.unwrap_or_default();
                let text = format!("{} samples were not taken: {first}", refused.count);
                refusal(StatusCode::BAD_REQUEST, &text)
            }
            Ok(Err(not_taken)) => refusal(StatusCode::SERVICE_UNAVAILABLE, &not_taken.to_string()),
            Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
        }
    }
}
