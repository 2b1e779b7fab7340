//! Native histograms as the engine computes with them: float counts by bucket index.
//!
//! What a store gives is decoded once. Buckets are pairs of index and count in ascending order, so
//! that spans need not be kept right through arithmetic. Bounds and rules are Prometheus's.

mod arithmetic;
mod bounds;
mod statistics;
mod total;
mod trim;

pub(crate) use statistics::Doubt;
pub(crate) use total::Total;

use std::fmt;

use kansoku_model::histogram::{CUSTOM_SCHEMA, Counts, NativeHistogram, Span};

pub use kansoku_model::histogram::ResetHint;

use crate::number::format_g;

/// A histogram with float counts.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatHistogram {
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    /// Index and count, by index.
    pub positive: Vec<(i32, f64)>,
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of the custom schema, without infinity.
    pub bounds: Vec<f64>,
    pub hint: ResetHint,
}

/// One bucket as it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub count: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
}

impl FloatHistogram {
    /// Without observations.
    #[must_use]
    pub fn empty(schema: i32, bounds: &[f64]) -> Self {
        Self {
            schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            bounds: bounds.to_vec(),
            hint: ResetHint::Unknown,
        }
    }

    /// As it is stored.
    #[must_use]
    pub fn of(stored: &NativeHistogram) -> Self {
        let (count, zero_count, negative, positive) = match &stored.counts {
            Counts::Integer {
                count,
                zero,
                negative,
                positive,
            } => (
                *count as f64,
                *zero as f64,
                indexed(&stored.negative_spans, summed(negative)),
                indexed(&stored.positive_spans, summed(positive)),
            ),
            Counts::Float {
                count,
                zero,
                negative,
                positive,
            } => (
                *count,
                *zero,
                indexed(&stored.negative_spans, negative.iter().copied()),
                indexed(&stored.positive_spans, positive.iter().copied()),
            ),
        };
        Self {
            schema: stored.schema,
            zero_threshold: stored.zero_threshold,
            zero_count,
            count,
            sum: stored.sum,
            positive,
            negative,
            bounds: stored.custom_bounds.clone(),
            hint: stored.reset_hint,
        }
    }

    /// Whether the bounds are named.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// How many floats take as much memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        8 + self.positive.len() + self.negative.len() + self.bounds.len() / 2
    }

    /// Without empty buckets.
    #[must_use]
    pub fn compact(mut self) -> Self {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
        self
    }

    /// All buckets from the lowest up, the zero bucket among them.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let negative = self.negative.iter().rev().map(|(index, count)| {
            let (lower, upper) = (-self.bound(*index), -self.bound(index.wrapping_sub(1)));
            self.bucket(*index, lower, upper, *count)
        });
        let zero = (self.zero_count > 0.0).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            count: self.zero_count,
            lower_inclusive: true,
            upper_inclusive: true,
        });
        let positive = self.positive.iter().map(|(index, count)| {
            let (lower, upper) = (self.bound(index.wrapping_sub(1)), self.bound(*index));
            self.bucket(*index, lower, upper, *count)
        });
        negative.chain(zero).chain(positive)
    }

    fn bucket(&self, index: i32, lower: f64, upper: f64, count: f64) -> Bucket {
        let threshold = self.zero_threshold;
        // What the zero bucket covers is not covered twice.
        let (lower, upper) = if upper < 0.0 && upper > -threshold {
            (lower, -threshold)
        } else if lower > 0.0 && lower < threshold {
            (threshold, upper)
        } else {
            (lower, upper)
        };
        let is_custom = self.is_custom();
        Bucket {
            lower,
            upper,
            count,
            lower_inclusive: if is_custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: is_custom || upper > 0.0,
        }
    }

    /// The upper bound of the positive bucket with this index.
    fn bound(&self, index: i32) -> f64 {
        if !self.is_custom() {
            return bounds::exponential(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => self.bounds.get(at).copied().unwrap_or(f64::INFINITY),
        }
    }
}

/// As Prometheus writes it where a text stands for a histogram.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = format_g;
        write!(f, "{{count:{}, sum:{}", g(self.count), g(self.sum))?;
        for bucket in self.buckets() {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (g(bucket.lower), g(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", g(bucket.count))?;
        }
        f.write_str("}")
    }
}

fn summed(differences: &[i64]) -> impl Iterator<Item = f64> {
    let mut count = 0i64;
    differences.iter().map(move |d| {
        count = count.wrapping_add(*d);
        count as f64
    })
}

fn indexed(spans: &[Span], counts: impl Iterator<Item = f64>) -> Vec<(i32, f64)> {
    let mut next = 0i32;
    let indexes = spans.iter().flat_map(|span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add(span.length.cast_signed());
        (0..span.length).map(move |at| first.wrapping_add(at.cast_signed()))
    });
    let mut buckets: Vec<(i32, f64)> = indexes.zip(counts).collect();
    // Spans that go back are a mistake of the sender; what follows relies on the order.
    if !buckets.windows(2).all(|w| w[0].0 < w[1].0) {
        buckets.sort_by_key(|(index, _)| *index);
        buckets.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                earlier.1 += later.1;
            }
            is_same
        });
    }
    buckets
}
