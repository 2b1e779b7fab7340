//! `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0, told apart by the content type.
//!
//! The rule of its senders decides the statuses: they repeat a 5xx for ever and drop a 4xx. So a
//! fault of the data, or a series too many, is 400 with what was good kept, and only the store's own
//! trouble is 5xx.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use kansoku_model::{Labels, RecordBatch};
use kansoku_parsers::wire::remote_write;
use kansoku_store::{Incoming, SampleWriter};

use super::{Ingest, IngestError, Outcome};
use crate::app::App;
use crate::http::body::Coding;
use crate::http::{Call, Reply};
use crate::telemetry::Protocol;

const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Takes a write request.
pub async fn receive(app: Arc<App>, call: Call) -> Reply {
    let none = Written::default();
    let version = match version_of(call.header(header::CONTENT_TYPE)) {
        Ok(version) => version,
        Err(message) => {
            return none.on(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    };
    // The protocol has one coding, and the first senders did not name it.
    let coding = match Coding::of(&call.headers) {
        Ok(Coding::Identity | Coding::Snappy) => Coding::Snappy,
        Ok(other) => {
            let text = format!("remote write is compressed with snappy, not with {other:?}");
            return none.on(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        Err(error) => return none.on(error.reply()),
    };
    let max_bytes = super::max_bytes(&app);
    let done = super::run(
        &app,
        Protocol::RemoteWrite,
        call,
        coding,
        max_bytes,
        move |ingest, body| {
            let Ingest { app, tenant, store } = ingest;
            let series = store.series();
            let mut sink = Sink(SampleWriter::new(&series));
            let limits = app.remote_write_limits(tenant);
            let request = match version {
                Version::One => remote_write::decode_into(body, &limits, &mut sink),
                Version::Two => remote_write::decode_symbols_into(body, &limits, &mut sink),
            };
            let request =
                request.map_err(|e| IngestError::Bad(StatusCode::BAD_REQUEST, e.to_string()))?;
            let mut outcome = Outcome {
                refused: request.refused.count as u64,
                ..Outcome::default()
            };
            let batch = request.batch;
            let samples = sink.0.finish();
            let mut incoming = Vec::with_capacity(2);
            if batch.n_samples() > 0 || !batch.families().is_empty() {
                incoming.push(Incoming::Batch(RecordBatch::Metrics(batch)));
            }
            if !samples.is_empty() {
                incoming.push(Incoming::Samples(samples));
            }
            if !incoming.is_empty() {
                outcome.add(store.append(incoming)?);
            }
            // Those that a limit keeps out were good to the decoder.
            let limited = outcome.limit_text(tenant);
            let n_limited = outcome.limited.total() as usize;
            let mut refused = request.refused;
            refused.count += n_limited;
            refused.first = refused.first.or(limited);
            let n_histograms_limited = n_limited.saturating_sub(request.n_samples);
            let written = Written {
                samples: request.n_samples.saturating_sub(n_limited),
                histograms: request.n_histograms.saturating_sub(n_histograms_limited),
                exemplars: request.n_exemplars,
            };
            Ok((outcome, (written, refused)))
        },
    );
    match done.await {
        Ok((written, refused)) => match refused.first {
            None => written.on(Reply::empty(StatusCode::NO_CONTENT)),
            Some(first) => {
                let text = format!("{} samples refused, the first: {first}", refused.count);
                written.on(Reply::text(StatusCode::BAD_REQUEST, text))
            }
        },
        Err(reply) => none.on(reply),
    }
}

/// The store's table of series as the decoder sees it.
struct Sink<'a>(SampleWriter<'a>);

impl remote_write::SeriesSink for Sink<'_> {
    fn find(&mut self, spelling: &[u8]) -> Option<u32> {
        self.0.find(spelling)
    }

    fn define(&mut self, spelling: &[u8], labels: &[(&str, &str)]) -> Option<u32> {
        let labels = Labels::from_pairs(labels.iter().copied());
        self.0.define(spelling, labels)
    }

    fn push(&mut self, series: u32, time_ms: i64, value: f64) {
        self.0.push(series, time_ms, value);
    }

    fn push_started(&mut self, series: u32, time_ms: i64, value: f64, start_ms: i64) {
        self.0.push_started(series, time_ms, value, start_ms);
    }
}

/// What was taken, as every answer says.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl Written {
    fn on(self, reply: Reply) -> Reply {
        reply
            .with(SAMPLES_WRITTEN, self.samples as u64)
            .with(HISTOGRAMS_WRITTEN, self.histograms as u64)
            .with(EXEMPLARS_WRITTEN, self.exemplars as u64)
    }
}

/// Which message a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The version that a content type names. Senders choose another one on 415.
fn version_of(content_type: &str) -> Result<Version, String> {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or("");
    if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!(
            "content type '{kind}' is not supported; expected application/x-protobuf"
        ));
    }
    match parts.find_map(|p| p.strip_prefix("proto=")) {
        None | Some("prometheus.WriteRequest") => Ok(Version::One),
        Some("io.prometheus.write.v2.Request") => Ok(Version::Two),
        Some(proto) => Err(format!(
            "remote write message '{proto}' is not supported; send prometheus.WriteRequest (remote write 1.0) or \
             io.prometheus.write.v2.Request (2.0)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_names_the_version() {
        for (good, version) in [
            ("", Version::One),
            ("application/x-protobuf", Version::One),
            (
                "Application/X-Protobuf; proto=prometheus.WriteRequest",
                Version::One,
            ),
            (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                Version::Two,
            ),
        ] {
            assert_eq!(version_of(good), Ok(version), "{good}");
        }
        let three = "application/x-protobuf;proto=io.prometheus.write.v3.Request";
        let message = version_of(three).unwrap_err();
        assert!(message.contains("remote write 1.0"), "{message}");
        assert!(version_of("application/json").is_err());
    }
}
