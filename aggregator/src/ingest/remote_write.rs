//! `POST /api/v1/write`: Prometheus remote write 1.0.
//!
//! The rule of its senders decides the statuses: they repeat a 5xx for ever and drop a 4xx. So a
//! fault of the data, or a series too many, is 400 with what was good kept, and only the store's own
//! trouble is 5xx.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
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
    if let Err(message) = check_type(call.header(header::CONTENT_TYPE)) {
        return written(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message), 0);
    }
    // The protocol has one coding, and the first senders did not name it.
    let coding = match Coding::of(&call.headers) {
        Ok(Coding::Identity | Coding::Snappy) => Coding::Snappy,
        Ok(other) => {
            let text = format!("remote write is compressed with snappy, not with {other:?}");
            return written(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text), 0);
        }
        Err(error) => return written(error.reply(), 0),
    };
    let max_bytes = super::max_bytes(&app);
    let done = super::run(
        &app,
        Protocol::RemoteWrite,
        call,
        coding,
        max_bytes,
        |ingest, body| {
            let Ingest { app, tenant, store } = ingest;
            let series = store.series();
            let mut sink = Sink(SampleWriter::new(&series));
            let request =
                remote_write::decode_into(body, &app.remote_write_limits(tenant), &mut sink)
                    .map_err(|e| IngestError::Bad(StatusCode::BAD_REQUEST, e.to_string()))?;
            let mut outcome = Outcome {
                refused: request.refused.count as u64,
                ..Outcome::default()
            };
            let batch = request.batch;
            let samples = sink.0.finish();
            let mut incoming = Vec::with_capacity(2);
            if !batch.points().is_empty() || !batch.families().is_empty() {
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
            let n_samples = request.n_samples.saturating_sub(n_limited);
            Ok((outcome, (n_samples, refused)))
        },
    );
    match done.await {
        Ok((n_samples, refused)) => match refused.first {
            None => written(Reply::empty(StatusCode::NO_CONTENT), n_samples),
            Some(first) => {
                let text = format!("{} samples refused, the first: {first}", refused.count);
                written(Reply::text(StatusCode::BAD_REQUEST, text), n_samples)
            }
        },
        Err(reply) => written(reply, 0),
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
}

fn written(reply: Reply, n_samples: usize) -> Reply {
    reply
        .with(SAMPLES_WRITTEN, n_samples as u64)
        .with(HISTOGRAMS_WRITTEN, HeaderValue::from_static("0"))
        .with(EXEMPLARS_WRITTEN, HeaderValue::from_static("0"))
}

/// Whether a content type is remote write 1.0; senders of 2.0 fall back on 415.
fn check_type(content_type: &str) -> Result<(), String> {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or("");
    if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!(
            "content type '{kind}' is not supported; expected application/x-protobuf"
        ));
    }
    match parts.find_map(|p| p.strip_prefix("proto=")) {
        None | Some("prometheus.WriteRequest") => Ok(()),
        Some(proto) => Err(format!(
            "remote write message '{proto}' is not supported; send prometheus.WriteRequest (remote write 1.0)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_is_told_to_fall_back() {
        for good in [
            "",
            "application/x-protobuf",
            "Application/X-Protobuf; proto=prometheus.WriteRequest",
        ] {
            assert_eq!(check_type(good), Ok(()), "{good}");
        }
        let two = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        let message = check_type(two).unwrap_err();
        assert!(message.contains("remote write 1.0"), "{message}");
        assert!(check_type("application/json").is_err());
    }
}
