//! Quantiles, shares, means and variances out of histograms.

use super::super::kahan::Sum;
use super::{Bucket, FloatHistogram};

/// What a reader of the result should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Observations that are no numbers make the result none.
    NoResult,
    /// They count, but lie in no bucket.
    Skewed,
    /// They are in none of the shares.
    Excluded,
}

impl FloatHistogram {
    /// The φ-quantile, interpolated within a bucket.
    pub(crate) fn quantile(&self, phi: f64) -> (f64, Option<Doubt>) {
        if phi < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if phi > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || phi.is_nan() {
            return (f64::NAN, None);
        }
        // Observations that are no numbers are in no bucket, so counting from the top would go wrong.
        let from_below = self.sum.is_nan() || phi < 0.5;
        let rank = if from_below { phi } else { 1.0 - phi } * self.count;
        let mut found: Option<Bucket> = None;
        let mut count = 0.0;
        let mut rest = 0.0;
        let mut visit = |bucket: Bucket| {
            if bucket.count == 0.0 {
                return;
            }
            if found.is_some() && count >= rank {
                rest += bucket.count;
                return;
            }
            count += bucket.count;
            found = Some(bucket);
        };
        if from_below {
            self.buckets().for_each(&mut visit);
        } else {
            self.buckets().rev().for_each(&mut visit);
        }
        let Some(mut bucket) = found else {
            return (f64::NAN, self.sum.is_nan().then_some(Doubt::NoResult));
        };
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else {
            self.cut_zero_bucket(&mut bucket, |b| b.lower < 0.0 && b.upper > 0.0);
        }
        let count = count.min(self.count);
        if count < rank {
            return if self.sum.is_nan() {
                (f64::NAN, Some(Doubt::NoResult))
            } else {
                (bucket.upper, None)
            };
        }
        let rank = if from_below {
            rank - (count - bucket.count)
        } else {
            count - rank
        };
        let is_skewed = self.sum.is_nan() && count + rest < self.count;
        let doubt = is_skewed.then_some(Doubt::Skewed);
        let share = rank / bucket.count;
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return (bucket.lower + (bucket.upper - bucket.lower) * share, doubt);
        }
        // On a logarithmic scale exponential buckets are all of one width.
        let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            return ((low + (high - low) * share).exp2(), doubt);
        }
        (-(high + (low - high) * (1.0 - share)).exp2(), doubt)
    }

    /// Where all buckets but the zero bucket are on one side, it ends at zero on the other.
    fn cut_zero_bucket(&self, bucket: &mut Bucket, is_zero: fn(&Bucket) -> bool) {
        if !is_zero(bucket) {
            return;
        }
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }

    /// The share of observations between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<Doubt>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let (mut rank, mut count) = (0.0, 0.0);
        let (mut lower_rank, mut upper_rank) = (None, None);
        for mut bucket in self.buckets() {
            count += bucket.count;
            let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            self.cut_zero_bucket(&mut bucket, |b| b.lower <= 0.0 && b.upper >= 0.0);
            for (value, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
                if found.is_some() {
                    continue;
                }
                if bucket.lower >= value {
                    *found = Some(rank);
                } else if bucket.upper > value {
                    *found = Some(self.rank_within(&bucket, is_zero, rank, value));
                }
            }
            rank += bucket.count;
        }
        let has_nan = self.sum.is_nan() && count < self.count;
        let limit = if self.sum.is_nan() { count } else { self.count };
        let capped = |rank: Option<f64>| rank.filter(|rank| *rank <= limit).unwrap_or(limit);
        let share = (capped(upper_rank) - capped(lower_rank)) / self.count;
        (share, has_nan.then_some(Doubt::Excluded))
    }

    /// How many observations lie below a value within a bucket, with those below the bucket.
    fn rank_within(&self, bucket: &Bucket, is_zero: bool, rank: f64, value: f64) -> f64 {
        let share = if self.is_custom() || is_zero {
            if bucket.lower == f64::NEG_INFINITY {
                return bucket.count;
            }
            share_below(bucket, value, true)
        } else {
            share_below(bucket, value, false)
        };
        rank + bucket.count * share
    }

    /// The variance around the mean, each observation taken for the middle of its bucket.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut squares = Sum::default();
        for bucket in self.buckets().filter(|b| b.count != 0.0) {
            let middle = if self.is_custom() {
                f64::midpoint(bucket.upper, bucket.lower)
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let distance = middle - mean;
            squares.add(bucket.count * distance * distance);
        }
        squares.value() / self.count
    }
}

/// The share of a bucket's observations below a value in it: evenly spread, or on a logarithmic scale.
pub(super) fn share_below(bucket: &Bucket, value: f64, is_linear: bool) -> f64 {
    if is_linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let log = |value: f64| value.abs().log2();
    let (low, high) = (log(bucket.lower), log(bucket.upper));
    if value > 0.0 {
        (log(value) - low) / (high - low)
    } else {
        1.0 - (log(value) - high) / (low - high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram() -> FloatHistogram {
        FloatHistogram {
            count: 12.0,
            sum: 100.0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive: vec![(1, 3.0), (2, 2.0), (3, 5.0)],
            ..FloatHistogram::empty(0, &[])
        }
    }

    #[test]
    fn quantiles_and_shares_are_interpolated_by_powers() {
        let h = histogram();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(h.quantile(0.25).0, 2f64.powf(1.0 / 3.0)));
        assert!(close(h.quantile(0.5).0, 2f64.powf(1.5)));
        assert_eq!(h.quantile(1.0).0, 8.0);
        assert_eq!(h.quantile(0.0).0, 0.0);
        assert_eq!(h.quantile(1.5).0, f64::INFINITY);
        assert!(close(h.fraction(0.0, 2.0).0, 5.0 / 12.0));
        assert!(close(h.fraction(8f64.sqrt(), 100.0).0, 0.5));
        assert_eq!(h.fraction(2.0, 2.0).0, 0.0);
        let nan = FloatHistogram {
            sum: f64::NAN,
            count: 14.0,
            ..h
        };
        assert_eq!(nan.quantile(0.9).1, Some(Doubt::NoResult));
        assert_eq!(nan.quantile(0.2).1, Some(Doubt::Skewed));
        assert_eq!(nan.fraction(0.0, 2.0).1, Some(Doubt::Excluded));
    }
}
