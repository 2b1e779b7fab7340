//! Native histograms as a chunk: the layout of the first, then what changes from one to the next.
//!
//! All histograms of a chunk have the same buckets, and their reader takes each but the first for one without a reset
//! before it. Where Prometheus would write earlier histograms anew because a bucket has come to be, a new chunk begins
//! here. Source: Prometheus, `tsdb/chunkenc/histogram.go`, `float_histogram.go`, `histogram_meta.go`.

use std::sync::Arc;

use kansoku_model::histogram::{Counts, NativeHistogram, ResetHint, Span};

use super::bits::{BitWriter, XorValue};
use super::chunks::Encoding;

/// A chunk that is being written.
pub struct HistogramChunk {
    out: BitWriter,
    last: Arc<NativeHistogram>,
    time_ms: i64,
    time_delta: i64,
    sum: XorValue,
    counts: Written,
}

/// What the next counts are written as a difference from.
enum Written {
    Integer {
        count: Difference,
        zero: Difference,
        /// Positive ones first.
        buckets: Vec<Difference>,
    },
    Float {
        count: XorValue,
        zero: XorValue,
        buckets: Vec<XorValue>,
    },
}

/// A whole number that is written as the change of its change.
#[derive(Clone, Copy)]
struct Difference {
    value: i64,
    delta: i64,
}

impl Difference {
    fn new(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    fn write(&mut self, out: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.value);
        out.varbit_int(delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }
}

impl HistogramChunk {
    /// A chunk that begins with a histogram.
    #[must_use]
    pub fn new(time_ms: i64, first: &Arc<NativeHistogram>) -> Self {
        // A staleness marker has no buckets.
        let first = match first.is_stale() {
            true => Arc::new(NativeHistogram::empty(first.sum)),
            false => first.clone(),
        };
        let mut out = BitWriter::default();
        write_layout(&mut out, &first);
        out.varbit_int(time_ms);
        let counts = write_counts(&mut out, &first);
        Self {
            out,
            sum: XorValue::new(first.sum),
            last: first,
            time_ms,
            time_delta: 0,
            counts,
        }
    }

    /// Appends a histogram; false when it needs another chunk.
    pub fn push(&mut self, time_ms: i64, next: &Arc<NativeHistogram>) -> bool {
        if !may_follow(&self.last, next) {
            return false;
        }
        let out = &mut self.out;
        let delta = time_ms.wrapping_sub(self.time_ms);
        out.varbit_int(delta.wrapping_sub(self.time_delta));
        (self.time_ms, self.time_delta) = (time_ms, delta);
        match (&mut self.counts, &next.counts) {
            (
                Written::Integer {
                    count,
                    zero,
                    buckets,
                },
                Counts::Integer {
                    count: n,
                    zero: z,
                    negative,
                    positive,
                },
            ) => {
                count.write(out, n.cast_signed());
                zero.write(out, z.cast_signed());
                self.sum.write(out, next.sum);
                let all = positive.iter().chain(negative);
                buckets
                    .iter_mut()
                    .zip(all)
                    .for_each(|(b, d)| b.write(out, *d));
            }
            (
                Written::Float {
                    count,
                    zero,
                    buckets,
                },
                Counts::Float {
                    count: n,
                    zero: z,
                    negative,
                    positive,
                },
            ) => {
                count.write(out, *n);
                zero.write(out, *z);
                self.sum.write(out, next.sum);
                let all = positive.iter().chain(negative);
                buckets
                    .iter_mut()
                    .zip(all)
                    .for_each(|(b, c)| b.write(out, *c));
            }
            _ => unreachable!("may_follow compared the kinds"),
        }
        self.last = next.clone();
        true
    }

    /// What its reader must know of it.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match self.counts {
            Written::Integer { .. } => Encoding::Histogram,
            Written::Float { .. } => Encoding::FloatHistogram,
        }
    }

    /// The chunk behind the number of its samples.
    #[must_use]
    pub fn finish(self, mut bytes: Vec<u8>) -> Vec<u8> {
        // The hint of all of them: counters that may have been reset before this chunk need none.
        bytes.push(match self.last.reset_hint {
            ResetHint::Gauge => 0b1100_0000,
            _ => 0,
        });
        bytes.extend(self.out.into_bytes());
        bytes
    }
}

/// Whether a chunk that ends in `last` can go on with `next`.
fn may_follow(last: &NativeHistogram, next: &NativeHistogram) -> bool {
    let same_buckets = last.schema == next.schema
        && last.zero_threshold == next.zero_threshold
        && last.positive_spans == next.positive_spans
        && last.negative_spans == next.negative_spans
        && last.custom_bounds == next.custom_bounds;
    let is_gauge = |h: &NativeHistogram| h.reset_hint == ResetHint::Gauge;
    same_buckets
        && !last.is_stale()
        && !next.is_stale()
        && is_gauge(last) == is_gauge(next)
        && next.reset_hint != ResetHint::Yes
        && match (&last.counts, &next.counts) {
            (Counts::Integer { .. }, Counts::Integer { .. })
            | (Counts::Float { .. }, Counts::Float { .. }) => {
                is_gauge(last) || !was_reset(last, next)
            }
            _ => false,
        }
}

/// Whether a count went down; both have the same buckets.
fn was_reset(last: &NativeHistogram, next: &NativeHistogram) -> bool {
    let fell = |a: &[f64], b: &[f64]| a.iter().zip(b).any(|(a, b)| b < a);
    let (last, next) = (last.float_counts(), next.float_counts());
    next.count < last.count
        || next.zero < last.zero
        || fell(&last.positive, &next.positive)
        || fell(&last.negative, &next.negative)
}

fn write_layout(out: &mut BitWriter, histogram: &NativeHistogram) {
    write_zero_threshold(out, histogram.zero_threshold);
    out.varbit_int(i64::from(histogram.schema));
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        out.varbit_uint(spans.len() as u64);
        for Span { offset, length } in spans {
            out.varbit_uint(u64::from(*length));
            out.varbit_int(i64::from(*offset));
        }
    }
    if histogram.is_custom() {
        out.varbit_uint(histogram.custom_bounds.len() as u64);
        for bound in &histogram.custom_bounds {
            write_bound(out, *bound);
        }
    }
}

/// Zero and the common powers of two take a byte.
fn write_zero_threshold(out: &mut BitWriter, threshold: f64) {
    if threshold == 0.0 {
        out.bits(0, 8);
        return;
    }
    let bits = threshold.to_bits();
    // As Go's Frexp tells it: the number is half of two to this.
    let exponent = (bits >> 52 & 0x7ff) as i64 - 1022;
    let is_power = bits & ((1 << 52) - 1) == 0 && threshold > 0.0;
    if is_power && (-242..=11).contains(&exponent) {
        out.bits((exponent + 243).cast_unsigned(), 8);
    } else {
        out.bits(255, 8);
        out.bits(bits, 64);
    }
}

/// Whole thousandths take few bits.
fn write_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let is_whole =
        (0.0..=33_554_430.0).contains(&thousandths) && thousandths.round() / 1000.0 == bound;
    if is_whole {
        out.varbit_uint(thousandths.round() as u64 + 1);
    } else {
        out.bits(0, 1);
        out.bits(bound.to_bits(), 64);
    }
}

/// The counts and the sum of the first histogram, in full.
fn write_counts(out: &mut BitWriter, first: &NativeHistogram) -> Written {
    match &first.counts {
        Counts::Integer {
            count,
            zero,
            negative,
            positive,
        } => {
            out.varbit_uint(*count);
            out.varbit_uint(*zero);
            out.bits(first.sum.to_bits(), 64);
            let all = positive.iter().chain(negative);
            all.clone().for_each(|d| out.varbit_int(*d));
            Written::Integer {
                count: Difference::new(count.cast_signed()),
                zero: Difference::new(zero.cast_signed()),
                buckets: all.map(|d| Difference::new(*d)).collect(),
            }
        }
        Counts::Float {
            count,
            zero,
            negative,
            positive,
        } => {
            for value in [*count, *zero, first.sum] {
                out.bits(value.to_bits(), 64);
            }
            let all = positive.iter().chain(negative);
            all.clone().for_each(|c| out.bits(c.to_bits(), 64));
            Written::Float {
                count: XorValue::new(*count),
                zero: XorValue::new(*zero),
                buckets: all.map(|c| XorValue::new(*c)).collect(),
            }
        }
    }
}
