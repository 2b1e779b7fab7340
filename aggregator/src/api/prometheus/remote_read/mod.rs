//! `POST /api/v1/read`: another Prometheus, or what speaks like one, reads samples.
//!
//! Answers come in both of the protocol's forms: all samples in one message, or a stream of frames with chunks. Errors
//! are plain text with Prometheus's statuses. The one rule: the length that a body declares is checked before it is
//! decompressed, and all queries of a request together hold no more samples than one query may. Source: Prometheus,
//! `storage/remote/read_handler.go`, `codec.go`, `chunked.go`.

mod bits;
mod chunks;
mod histograms;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderValue};
use kansoku_model::select::{SelectError, SeriesData, SeriesSource};
use kansoku_model::{Labels, MatchOp, Matcher, protobuf};
use kansoku_parsers::wire::remote_read::{self, ReadMatcher, ReadQuery};
use kansoku_store::Snapshot;

use self::chunks::Chunk;
use super::envelope::ApiError;
use super::external_labels;
use super::params::{TIME_MAX_MS, TIME_MIN_MS};
use super::plain::{self, Allowance};
use crate::api::gate::Interrupt;
use crate::app::App;
use crate::http::body::Coding;
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;

/// A request, compressed or not; Prometheus's own bound.
pub const REQUEST_MAX_BYTES: usize = 32 << 20;
/// A frame holds no further chunk once it has so many bytes: Prometheus's default.
const FRAME_BYTES: usize = 1 << 20;

/// Answers a read request.
pub async fn receive(app: Arc<App>, call: Call) -> Reply {
    plain::run(app, call, QueryKind::PromqlRemoteRead, answer).await
}

/// The forms of an answer; the numbers are those of `ReadRequest.ResponseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Samples = 0,
    StreamedChunks = 1,
}

impl Form {
    /// The first form that the client takes and this server has.
    fn negotiate(accepted: &[u64]) -> Result<Self, ApiError> {
        let known = |number: &u64| match number {
            0 => Some(Self::Samples),
            1 => Some(Self::StreamedChunks),
            _ => None,
        };
        match accepted {
            [] => Ok(Self::Samples),
            _ => accepted.iter().find_map(known).ok_or_else(|| {
                ApiError::bad_data(format!(
                    "server does not support any of the requested response types: {accepted:?}; supported: 0 (SAMPLES), 1 (STREAMED_XOR_CHUNKS)"
                ))
            }),
        }
    }
}

fn answer(app: &App, call: &Call, interrupt: &Interrupt) -> Result<Reply, ApiError> {
    let wrong = |message: String| ApiError::bad_data(message);
    let coding = match Coding::of(&call.headers).map_err(|e| wrong(e.message))? {
        // The protocol has one coding, whether it is named or not.
        Coding::Identity | Coding::Snappy => Coding::Snappy,
        other => {
            let text = format!("remote read is compressed with snappy, not with {other:?}");
            return Err(wrong(text));
        }
    };
    let body = coding.decode(&call.body, REQUEST_MAX_BYTES);
    let body = body.map_err(|e| wrong(e.message))?;
    let request = remote_read::decode(&body).map_err(|e| wrong(e.to_string()))?;
    let form = Form::negotiate(&request.accepted)?;
    let external = app.rules.external_labels();
    let reader = Reader {
        snapshot: call.tenant.snapshot(&app.tenants.opener)?,
        external: &external,
    };
    let mut allowance = Allowance::new(app, &call.tenant);
    let mut out = Vec::new();
    for (index, query) in request.queries.iter().enumerate() {
        interrupt.check()?;
        let matchers = query.matchers.iter().map(|m| reader.matcher(m));
        let matchers = matchers.collect::<Result<Vec<_>, _>>()?;
        let of_samples = |_| {
            let max = app.query_max_samples(&call.tenant);
            wrong(format!("exceeded sample limit ({max})"))
        };
        let series = reader.select(query, matchers, allowance.max_samples());
        let series = series.map_err(|e| allowance.refused(e, of_samples))?;
        allowance.take(&series, out.capacity())?;
        match form {
            Form::Samples => write_samples(&mut out, &series),
            Form::StreamedChunks => write_frames(&mut out, index as u64, &series),
        }
        allowance.take(&[], out.capacity())?;
    }
    Ok(match form {
        Form::Samples => {
            allowance.hold(out.capacity().saturating_mul(2))?;
            let packed = snap::raw::Encoder::new().compress_vec(&out);
            let packed = packed.map_err(|e| ApiError {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                kind: "internal",
                message: format!("the answer is too large for one message: {e}"),
            })?;
            Reply::new(StatusCode::OK, "application/x-protobuf", packed)
                .with(CONTENT_ENCODING, HeaderValue::from_static("snappy"))
                .packed()
        }
        Form::StreamedChunks => Reply::new(
            StatusCode::OK,
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
            out,
        )
        .packed(),
    })
}

/// Where the samples come from.
struct Reader<'a> {
    snapshot: Snapshot,
    external: &'a [(String, String)],
}

impl Reader<'_> {
    /// The series of a query, sorted by what they are called in the store.
    fn select(
        &self,
        query: &ReadQuery,
        matchers: Vec<Matcher>,
        max: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        // The hints say what of the range is needed.
        let (from_ms, to_ms) = match query.hints {
            Some(h) if h.to_ms != 0 => (h.from_ms, h.to_ms),
            _ => (query.from_ms, query.to_ms),
        };
        let from_ms = from_ms.clamp(TIME_MIN_MS, TIME_MAX_MS);
        let to_ms = to_ms.clamp(TIME_MIN_MS, TIME_MAX_MS);
        if to_ms < from_ms {
            return Ok(Vec::new());
        }
        let mut series = if query.hints.is_some_and(|h| h.labels_only) {
            let named = |labels| SeriesData {
                labels,
                ..SeriesData::default()
            };
            let found = self.snapshot.metric_series(&[matchers], from_ms, to_ms)?;
            found.into_iter().map(named).collect()
        } else {
            self.snapshot.select(&matchers, from_ms, to_ms, max)?
        };
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        for one in &mut series {
            one.labels = external_labels::added(&one.labels, self.external);
        }
        Ok(series)
    }

    /// Series have no external labels here: who asks for one asks for those that lack it.
    fn matcher(&self, asked: &ReadMatcher) -> Result<Matcher, ApiError> {
        let is_external = self
            .external
            .iter()
            .any(|(name, value)| (name, value) == (&asked.name, &asked.value));
        let value = match asked.op {
            MatchOp::Equal if is_external => "",
            _ => &asked.value,
        };
        Matcher::new(&asked.name, asked.op, value)
            .map_err(|e| ApiError::bad_data(format!("invalid matcher of {:?}: {e}", asked.name)))
    }
}

fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        protobuf::message(out, 1, |out| {
            protobuf::bytes(out, 1, name.as_bytes());
            protobuf::bytes(out, 2, value.as_bytes());
        });
    }
}

/// Appends a `QueryResult` to a `ReadResponse`.
fn write_samples(out: &mut Vec<u8>, series: &[SeriesData]) {
    protobuf::message(out, 1, |out| {
        for one in series {
            protobuf::message(out, 1, |out| write_time_series(out, one));
        }
    });
}

/// A `prometheus.TimeSeries`.
fn write_time_series(out: &mut Vec<u8>, series: &SeriesData) {
    write_labels(out, &series.labels);
    for (i, (&time_ms, &value)) in series.times.iter().zip(&series.values).enumerate() {
        match series.histograms.get(i) {
            Some(Some(histogram)) => {
                protobuf::message(out, 4, |out| histogram.write_remote(out, time_ms));
            }
            _ => protobuf::message(out, 2, |out| {
                protobuf::double(out, 1, value);
                protobuf::int(out, 2, time_ms.cast_unsigned());
            }),
        }
    }
}

/// Appends the frames of a query's series: length, CRC32C and a `ChunkedReadResponse` of one series each.
fn write_frames(out: &mut Vec<u8>, query: u64, series: &[SeriesData]) {
    for one in series {
        let mut chunks = chunks::of_series(one);
        if chunks.is_empty() {
            chunks.push(Chunk::empty(0));
        }
        let mut labels = Vec::new();
        write_labels(&mut labels, &one.labels);
        let mut rest = &chunks[..];
        while !rest.is_empty() {
            let mut message = Vec::new();
            let mut n_taken = 0;
            protobuf::message(&mut message, 1, |out| {
                out.extend_from_slice(&labels);
                while n_taken < rest.len() && (n_taken == 0 || out.len() < FRAME_BYTES) {
                    protobuf::message(out, 2, |out| rest[n_taken].write(out));
                    n_taken += 1;
                }
            });
            rest = &rest[n_taken..];
            if query > 0 {
                protobuf::int(&mut message, 2, query);
            }
            protobuf::varint(out, message.len() as u64);
            out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
            out.extend_from_slice(&message);
        }
    }
}
