//! Prometheus' native histograms: one sample that holds all buckets, whose bounds are powers of a base.
//!
//! The counts stay as they come: integer histograms as differences from bucket to bucket, so that a relay gives away exactly what it
//! took. Source: Prometheus, `model/histogram`.

pub mod remote;

/// The lowest and highest schema: a bucket's upper bound is the one below it times 2^(2^-schema).
pub const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// The schema of histograms that name their bounds (`custom_bounds`), as classic ones do.
pub const CUSTOM_SCHEMA: i32 = -53;

/// The most buckets or bounds of one histogram: some hundred times what instrumented programs have. More is
/// damage or an attack.
pub const BUCKETS_MAX: usize = 1 << 16;

/// What is known of the histogram before this one in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Counts must be compared to tell whether they were reset.
    #[default]
    Unknown,
    /// This is the first one behind a reset.
    Yes,
    /// There was no reset before this one.
    No,
    /// It may go down without having been reset.
    Gauge,
}

impl ResetHint {
    /// The number in Prometheus' protobuf and in what is stored.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The hint of a number; `None` for one without a meaning.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        [Self::Unknown, Self::Yes, Self::No, Self::Gauge]
            .into_iter()
            .find(|hint| u64::from(hint.number()) == number)
    }
}

/// Buckets that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Buckets left out before; of the first span the index of its first bucket.
    pub offset: i32,
    pub length: u32,
}

/// The counts of a histogram, by bucket in the order of the spans.
#[derive(Debug, Clone, PartialEq)]
pub enum Counts {
    Integer {
        count: u64,
        zero: u64,
        /// Differences from the bucket before; of the first bucket its count.
        negative: Vec<i64>,
        positive: Vec<i64>,
    },
    Float {
        count: f64,
        zero: f64,
        negative: Vec<f64>,
        positive: Vec<f64>,
    },
}

/// The counts of a histogram as floats, by bucket in the order of the spans.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatCounts {
    pub count: f64,
    pub zero: f64,
    pub negative: Vec<f64>,
    pub positive: Vec<f64>,
}

/// One native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeHistogram {
    pub schema: i32,
    /// Observations from minus this to this are in the zero bucket.
    pub zero_threshold: f64,
    /// Prometheus' staleness marker here ends the series.
    pub sum: f64,
    pub negative_spans: Vec<Span>,
    pub positive_spans: Vec<Span>,
    pub counts: Counts,
    /// Upper bounds of the buckets, ascending, without the one of infinity; of the custom schema only. Bucket
    /// `i` of the positive spans ends at bound `i`.
    pub custom_bounds: Vec<f64>,
    pub reset_hint: ResetHint,
}

impl NativeHistogram {
    /// A histogram without observations whose sum is `sum`.
    #[must_use]
    pub fn empty(sum: f64) -> Self {
        Self {
            schema: 0,
            zero_threshold: 0.0,
            sum,
            negative_spans: Vec::new(),
            positive_spans: Vec::new(),
            counts: Counts::Integer {
                count: 0,
                zero: 0,
                negative: Vec::new(),
                positive: Vec::new(),
            },
            custom_bounds: Vec::new(),
            reset_hint: ResetHint::Unknown,
        }
    }

    /// Whether the bounds are named.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether it ends its series.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == crate::metric::STALE_BITS
    }

    /// Whether all bits are the same; `==` takes no NaN for itself.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        crate::frame::put_histogram(&mut a, self);
        crate::frame::put_histogram(&mut b, other);
        a == b
    }

    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> f64 {
        match &self.counts {
            Counts::Integer { count, .. } => *count as f64,
            Counts::Float { count, .. } => *count,
        }
    }

    /// The counts, each for itself.
    #[must_use]
    pub fn float_counts(&self) -> FloatCounts {
        match &self.counts {
            Counts::Integer {
                count,
                zero,
                negative,
                positive,
            } => FloatCounts {
                count: *count as f64,
                zero: *zero as f64,
                negative: summed(negative),
                positive: summed(positive),
            },
            Counts::Float {
                count,
                zero,
                negative,
                positive,
            } => FloatCounts {
                count: *count,
                zero: *zero,
                negative: negative.clone(),
                positive: positive.clone(),
            },
        }
    }

    /// The buckets above zero with the index of each, which of custom ones is that of its bound.
    pub fn indexes_above(&self) -> impl Iterator<Item = i64> {
        indexes(&self.positive_spans)
    }

    /// Bytes of memory held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let n_spans = self.negative_spans.len() + self.positive_spans.len();
        let n_buckets = match &self.counts {
            Counts::Integer {
                negative, positive, ..
            } => negative.len() + positive.len(),
            Counts::Float {
                negative, positive, ..
            } => negative.len() + positive.len(),
        };
        let n_bounds = self.custom_bounds.len();
        size_of::<Self>() + n_spans * size_of::<Span>() + (n_buckets + n_bounds) * 8
    }

    /// Whether the schema is known, the spans have as many buckets as there are counts, and none of it is
    /// beyond [`BUCKETS_MAX`].
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let n = |spans: &[Span]| spans.iter().map(|s| u64::from(s.length)).sum::<u64>();
        let bounds = &self.custom_bounds;
        let fits = |n: usize| n <= BUCKETS_MAX;
        let has_bounds = if self.is_custom() {
            bounds.windows(2).all(|w| w[0] < w[1]) && fits(bounds.len())
        } else {
            SCHEMAS.contains(&self.schema) && bounds.is_empty()
        };
        let (n_negative, n_positive) = match &self.counts {
            Counts::Integer {
                negative, positive, ..
            } => (negative.len(), positive.len()),
            Counts::Float {
                negative, positive, ..
            } => (negative.len(), positive.len()),
        };
        has_bounds
            && [n_negative, n_positive].into_iter().all(fits)
            && [&self.negative_spans, &self.positive_spans]
                .iter()
                .all(|spans| fits(spans.len()))
            && n(&self.negative_spans) == n_negative as u64
            && n(&self.positive_spans) == n_positive as u64
    }

    /// Upper bounds and cumulative counts, as a classic histogram has them, without the last one for
    /// infinity. Empty buckets are left out.
    #[must_use]
    pub fn classic_buckets(&self) -> Vec<(f64, f64)> {
        let FloatCounts {
            zero,
            negative,
            positive,
            ..
        } = self.float_counts();
        let mut below: Vec<(f64, f64)> = indexes(&self.negative_spans)
            .zip(negative)
            .map(|(index, count)| (-self.bound(index - 1), count))
            .collect();
        below.reverse();
        let above = indexes(&self.positive_spans)
            .zip(positive)
            .map(|(index, count)| (self.bound(index), count));
        let mut buckets = Vec::with_capacity(below.len() + 1);
        let mut total = 0.0;
        let all = below
            .into_iter()
            .chain([(self.zero_threshold, zero)])
            .chain(above);
        for (bound, count) in all.filter(|(_, count)| *count != 0.0) {
            total += count;
            buckets.push((bound, total));
        }
        buckets
    }

    /// The upper bound of the bucket with this index.
    fn bound(&self, index: i64) -> f64 {
        if self.is_custom() {
            let at = usize::try_from(index).ok();
            let bound = at.and_then(|at| self.custom_bounds.get(at));
            return bound.copied().unwrap_or(f64::INFINITY);
        }
        (index as f64 * (-f64::from(self.schema)).exp2()).exp2()
    }
}

fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> {
    let mut next = 0i64;
    spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    })
}

fn summed(differences: &[i64]) -> Vec<f64> {
    let mut count = 0i64;
    let counts = differences.iter().map(|d| {
        count = count.wrapping_add(*d);
        count as f64
    });
    counts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn classic_buckets_have_the_bounds_of_the_schema() {
        let histogram = NativeHistogram {
            schema: 1,
            zero_threshold: 0.001,
            sum: 5.0,
            negative_spans: vec![span(1, 1)],
            positive_spans: vec![span(-2, 2), span(1, 1)],
            counts: Counts::Integer {
                count: 11,
                zero: 2,
                negative: vec![1],
                positive: vec![3, -1, 1],
            },
            custom_bounds: Vec::new(),
            reset_hint: ResetHint::Unknown,
        };
        assert!(histogram.is_consistent());
        let root = std::f64::consts::SQRT_2;
        let expected = [
            (-1.0, 1.0),
            (0.001, 3.0),
            (0.5, 6.0),
            (root / 2.0, 8.0),
            (root, 11.0),
        ];
        let buckets = histogram.classic_buckets();
        assert_eq!(buckets.len(), expected.len());
        for ((bound, count), (expected_bound, expected_count)) in buckets.iter().zip(expected) {
            assert!((bound - expected_bound).abs() < 1e-12, "{bound}");
            assert_eq!(*count, expected_count);
        }
        let torn = NativeHistogram {
            positive_spans: vec![span(0, 4)],
            ..histogram.clone()
        };
        assert!(!torn.is_consistent());
        let unknown = NativeHistogram {
            schema: 9,
            ..histogram
        };
        assert!(!unknown.is_consistent());
        assert!(NativeHistogram::empty(1.0).classic_buckets().is_empty());
    }

    #[test]
    fn custom_bounds_are_those_of_the_classic_buckets() {
        let mut histogram = NativeHistogram {
            schema: CUSTOM_SCHEMA,
            positive_spans: vec![span(0, 1), span(1, 2)],
            counts: Counts::Integer {
                count: 6,
                zero: 0,
                negative: Vec::new(),
                positive: vec![1, 1, 1],
            },
            custom_bounds: vec![0.1, 1.0, 10.0],
            ..NativeHistogram::empty(1.0)
        };
        assert!(histogram.is_consistent());
        let expected = [(0.1, 1.0), (10.0, 3.0), (f64::INFINITY, 6.0)];
        assert_eq!(histogram.classic_buckets(), expected);
        histogram.custom_bounds[1] = 0.1;
        assert!(!histogram.is_consistent(), "bounds must ascend");
        histogram.schema = 0;
        assert!(!histogram.is_consistent(), "no other schema has bounds");
    }
}
