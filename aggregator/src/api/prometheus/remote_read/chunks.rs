//! Samples as the chunks of Prometheus's TSDB, which a streamed remote read answers with.
//!
//! Floats become XOR chunks, native histograms chunks of one layout (`histograms.rs`). The one rule: a chunk ends where
//! its reader would read something else than was stored: at a change of kind, layout or bounds, at a reset, behind a
//! staleness marker. Source: Prometheus, `tsdb/chunkenc`.

use std::sync::Arc;

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::protobuf;
use kansoku_model::select::SeriesData;

use super::bits::{BitWriter, XorValue, fits};
use super::histograms::HistogramChunk;

/// Prometheus's own.
const SAMPLES_PER_CHUNK: usize = 120;

/// An encoded chunk; both times are included, Unix milliseconds.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    pub encoding: Encoding,
    pub min_time_ms: i64,
    pub max_time_ms: i64,
    pub data: Vec<u8>,
}

/// The numbers are those of `prometheus.Chunk.Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Xor = 1,
    Histogram = 2,
    FloatHistogram = 3,
}

impl Chunk {
    /// Appends a `prometheus.Chunk`.
    pub fn write(&self, out: &mut Vec<u8>) {
        protobuf::int(out, 1, self.min_time_ms.cast_unsigned());
        protobuf::int(out, 2, self.max_time_ms.cast_unsigned());
        protobuf::int(out, 3, self.encoding as u64);
        protobuf::bytes(out, 4, &self.data);
    }

    /// A chunk without samples: there is a series, and its samples are not asked for.
    #[must_use]
    pub fn empty(time_ms: i64) -> Self {
        Self {
            encoding: Encoding::Xor,
            min_time_ms: time_ms,
            max_time_ms: time_ms,
            data: vec![0; 2],
        }
    }
}

/// All samples of a series, in chunks in order of time.
#[must_use]
pub fn of_series(series: &SeriesData) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let n = series.times.len();
    let mut at = 0;
    while at < n {
        let end = (at + SAMPLES_PER_CHUNK).min(n);
        let (chunk, n_taken) = match histogram_at(series, at) {
            None => {
                let n_floats = (at..end)
                    .take_while(|i| histogram_at(series, *i).is_none())
                    .count();
                (xor(series, at..at + n_floats), n_floats)
            }
            Some(first) => histograms(series, first, at..end),
        };
        chunks.push(chunk);
        at += n_taken;
    }
    chunks
}

fn histogram_at(series: &SeriesData, at: usize) -> Option<&Arc<NativeHistogram>> {
    series.histograms.get(at)?.as_ref()
}

/// Begins the bytes of a chunk with the number of its samples.
fn header(n_samples: usize) -> Vec<u8> {
    u16::try_from(n_samples)
        .expect("a chunk has at most SAMPLES_PER_CHUNK samples")
        .to_be_bytes()
        .to_vec()
}

fn xor(series: &SeriesData, rows: std::ops::Range<usize>) -> Chunk {
    let (times, values) = (&series.times[rows.clone()], &series.values[rows]);
    let mut out = BitWriter::behind(header(times.len()));
    out.varint(times[0]);
    out.bits(values[0].to_bits(), 64);
    let mut last_value = XorValue::new(values[0]);
    let mut last_delta = 0u64;
    for i in 1..times.len() {
        let delta = times[i].wrapping_sub(times[i - 1]).cast_unsigned();
        if i == 1 {
            out.uvarint(delta);
        } else {
            write_time(&mut out, delta.wrapping_sub(last_delta).cast_signed());
        }
        last_delta = delta;
        last_value.write(&mut out, values[i]);
    }
    Chunk {
        encoding: Encoding::Xor,
        min_time_ms: times[0],
        max_time_ms: times[times.len() - 1],
        data: out.into_bytes(),
    }
}

/// A difference of differences of times.
fn write_time(out: &mut BitWriter, change: i64) {
    let sizes = [(14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4)];
    let size = sizes.into_iter().find(|(n_bits, ..)| fits(change, *n_bits));
    match size {
        _ if change == 0 => out.bits(0, 1),
        Some((n_bits, code, n_code)) => {
            out.bits(code, n_code);
            out.bits(change.cast_unsigned(), n_bits);
        }
        None => {
            out.bits(0b1111, 4);
            out.bits(change.cast_unsigned(), 64);
        }
    }
}

/// A chunk of the histograms from the start of `rows` on, and how many fit it.
fn histograms(
    series: &SeriesData,
    first: &Arc<NativeHistogram>,
    rows: std::ops::Range<usize>,
) -> (Chunk, usize) {
    let mut chunk = HistogramChunk::new(series.times[rows.start], first);
    let mut n_samples = 1;
    for i in rows.start + 1..rows.end {
        let taken = histogram_at(series, i).is_some_and(|h| chunk.push(series.times[i], h));
        if !taken {
            break;
        }
        n_samples += 1;
    }
    let encoded = Chunk {
        encoding: chunk.encoding(),
        min_time_ms: series.times[rows.start],
        max_time_ms: series.times[rows.start + n_samples - 1],
        data: chunk.finish(header(n_samples)),
    };
    (encoded, n_samples)
}
