//! `prometheus_remote_write`: writes metrics to Prometheus, Mimir, Thanos or anything that takes
//! remote write 1.0.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::protobuf as proto;
use kansoku_model::{
    ConfigError, Labels, MetricBatch, MetricKind, OptionKind, OptionSpec, Plugin, RecordBatch,
    Settings, joined,
};

use crate::client::{self, HttpClient};
use crate::compress::Compression;
use crate::http::{idempotency_key, path_of};
use crate::{Output, OutputEnvironment, OutputPlugin, Request, SendFuture, aws, oauth2};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "uri",
        OptionKind::Text,
        "/",
        "path of the request, mostly /api/v1/write",
    ),
    OptionSpec::new(
        "add_label",
        OptionKind::Pair,
        "",
        "a label for every series: NAME VALUE",
    )
    .repeated(),
    OptionSpec::new(
        "compression",
        OptionKind::Choice(&["snappy", "gzip", "zstd"]),
        "snappy",
        "compression of the body; the protocol has snappy only",
    ),
    OptionSpec::new(
        "log_response_payload",
        OptionKind::Bool,
        "on",
        "tell the text of an answer with an error",
    ),
];

const HTTP: &[OptionSpec] =
    &joined::<{ client::OPTIONS.len() + aws::OPTIONS.len() }>(client::OPTIONS, aws::OPTIONS);
const SHARED: &[OptionSpec] =
    &joined::<{ HTTP.len() + oauth2::OPTIONS.len() }>(HTTP, oauth2::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + SHARED.len() }>(OWN, SHARED);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "prometheus_remote_write",
    about: "Writes metrics to Prometheus and what speaks its remote write protocol.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name       prometheus_remote_write\n    Match      metrics\n    Host       prometheus.monitoring\n    Port       9090\n    URI        /api/v1/write\n    Add_Label  cluster east\n",
    build,
};

struct RemoteWrite {
    client: HttpClient,
    uri: String,
    labels: Vec<(String, String)>,
    compression: Compression,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(RemoteWrite {
        client: HttpClient::build(settings, environment, 80)?,
        uri: path_of(settings.text("uri", "/")),
        labels: added_labels(settings),
        compression: match settings
            .text("compression", "snappy")
            .to_ascii_lowercase()
            .as_str()
        {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            _ => Compression::Snappy,
        },
    }))
}

/// The pairs of `add_label`.
pub(crate) fn added_labels(settings: &Settings) -> Vec<(String, String)> {
    let pairs = settings.all("add_label").filter_map(|s| {
        let (name, value) = s.value.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    pairs.collect()
}

/// The labels of a point with those of `add_label`, where it has none of that name.
pub(crate) fn with_added(mut labels: Labels, added: &[(String, String)]) -> Labels {
    for (name, value) in added {
        if labels.get(name).is_none() {
            labels = labels.with(name, value);
        }
    }
    labels
}

/// The metric batches among a request's.
pub(crate) fn metrics(batches: &[Arc<RecordBatch>]) -> impl Iterator<Item = &MetricBatch> {
    batches.iter().filter_map(|b| match &**b {
        RecordBatch::Metrics(b) => Some(b),
        RecordBatch::Logs(_) => None,
    })
}

fn write_series(out: &mut Vec<u8>, batch: &MetricBatch, added: &[(String, String)]) {
    for (point, histogram) in batch.samples() {
        let labels = with_added(batch.series_of(point), added);
        let time_ms = batch.time_of(point);
        proto::message(out, 1, |out| {
            for (name, value) in &labels {
                proto::message(out, 1, |out| {
                    proto::bytes(out, 1, name.as_bytes());
                    proto::bytes(out, 2, value.as_bytes());
                });
            }
            match histogram {
                None => proto::message(out, 2, |out| {
                    proto::double(out, 1, point.value);
                    proto::int(out, 2, time_ms as u64);
                }),
                Some(histogram) => {
                    proto::message(out, 4, |out| histogram.write_remote(out, time_ms));
                }
            }
        });
    }
}

fn write_metadata<'a>(out: &mut Vec<u8>, batch: &'a MetricBatch, told: &mut HashSet<&'a str>) {
    for family in batch.families() {
        let name = batch.text(family.name);
        if !told.insert(name) {
            continue;
        }
        let kind = match family.kind {
            MetricKind::Unknown => 0,
            MetricKind::Counter => 1,
            MetricKind::Gauge => 2,
            MetricKind::Histogram => 3,
            MetricKind::Summary => 5,
        };
        proto::message(out, 3, |out| {
            proto::int(out, 1, kind);
            proto::bytes(out, 2, name.as_bytes());
            proto::bytes(out, 4, batch.text(family.help).as_bytes());
        });
    }
}

impl Output for RemoteWrite {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let mut body = self.client.buffer();
            for batch in metrics(request.batches) {
                write_series(&mut body, batch, &self.labels);
            }
            let mut told = HashSet::new();
            for batch in metrics(request.batches) {
                write_metadata(&mut body, batch, &mut told);
            }
            let into = self.client.buffer();
            let body = self
                .compression
                .apply(body, into, |b| self.client.recycle(b));
            let mut headers = vec![
                (
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-protobuf"),
                ),
                (
                    HeaderName::from_static("x-prometheus-remote-write-version"),
                    HeaderValue::from_static("0.1.0"),
                ),
                idempotency_key(request.id),
            ];
            if let Some((_, name)) = self.compression.header() {
                headers.push((CONTENT_ENCODING, name));
            }
            self.client
                .send(Method::POST, &self.uri, &headers, body)
                .await
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Metrics(_))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::histogram::NativeHistogram;

    use super::*;

    #[test]
    fn series_are_sorted_labels_and_a_sample() {
        let mut b = MetricBatch::new("m".into(), Arc::default(), 1000);
        let family = b.family("up", MetricKind::Gauge, "h");
        b.sample(family, &[("job", "x")], 1.0);
        let mut out = Vec::new();
        let added = [
            ("zone".to_owned(), "a".to_owned()),
            ("job".to_owned(), "y".to_owned()),
        ];
        write_series(&mut out, &b, &added);
        let mut expected = b"\x0a\x37\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01x\x0a\x09\x0a\x04zone\x12\x01a".to_vec();
        expected.extend_from_slice(b"\x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07");
        expected[1] = (expected.len() - 2) as u8;
        assert_eq!(out, expected);
        out.clear();
        let (histogram, mut b) = (NativeHistogram::empty(2.0), b);
        let family = b.family("h", MetricKind::Histogram, "");
        let labels = b.label_set([]);
        let point = kansoku_model::metric::Point {
            family,
            labels,
            ..b.points()[0]
        };
        b.push_sample(point, Some(histogram));
        b.retain(|_| false);
        write_series(&mut out, &b, &[]);
        let mut expected =
            b"\x0a\x00\x0a\x0d\x0a\x08__name__\x12\x01h\x22\x1b\x08\x00\x19".to_vec();
        expected.extend_from_slice(&2f64.to_le_bytes());
        expected.extend_from_slice(b"\x20\x00\x29\0\0\0\0\0\0\0\0\x30\x00\x78\xe8\x07");
        expected[1] = (expected.len() - 2) as u8;
        assert_eq!(out, expected);
        let mut b = MetricBatch::new("m".into(), Arc::default(), 1000);
        b.family("up", MetricKind::Gauge, "h");
        out.clear();
        write_metadata(&mut out, &b, &mut HashSet::new());
        assert_eq!(out, b"\x1a\x09\x08\x02\x12\x02up\x22\x01h");
    }
}
