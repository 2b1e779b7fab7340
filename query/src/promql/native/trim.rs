//! The trimming operators: `h </ x` keeps what was observed below x, `h >/ x` what was observed above.
//!
//! A bucket that x lies in is divided as for quantiles. Sums are estimated anew from the middles of the
//! buckets, unless nothing was cut.

use super::statistics::share_below;
use super::{Bucket, FloatHistogram};

impl FloatHistogram {
    /// Without the observations above `limit`, or below it.
    pub(crate) fn trim(mut self, limit: f64, keeps_below: bool) -> Self {
        let cut = Cut {
            limit,
            keeps_below,
            is_linear: self.is_custom(),
        };
        let (mut count, mut sum, mut is_cut) = (0.0, 0.0, false);
        let mut sides = [
            std::mem::take(&mut self.positive),
            std::mem::take(&mut self.negative),
        ];
        let has_any = |side: &[(i32, f64)]| side.iter().any(|(_, count)| *count != 0.0);
        let [has_positive, has_negative] = [has_any(&sides[0]), has_any(&sides[1])];
        for (side, is_positive) in sides.iter_mut().zip([true, false]) {
            for (index, held) in side.iter_mut().filter(|(_, count)| *count != 0.0) {
                let (inner, outer) = (self.bound(index.wrapping_sub(1)), self.bound(*index));
                let (lower, upper) = match is_positive {
                    true => (inner, outer),
                    false => (-outer, -inner),
                };
                let (kept, middle) = cut.bucket((lower, upper), *held, is_positive);
                count += kept;
                sum += middle * kept;
                is_cut |= kept != *held;
                *held = kept;
            }
        }
        [self.positive, self.negative] = sides;
        if self.zero_count > 0.0 {
            let lower = if has_positive && !has_negative {
                0.0
            } else {
                -self.zero_threshold
            };
            let upper = if has_negative && !has_positive {
                0.0
            } else {
                self.zero_threshold
            };
            let (share, middle) = cut.zero(lower, upper);
            let kept = self.zero_count * share;
            count += kept;
            sum += middle * kept;
            is_cut |= kept != self.zero_count;
            self.zero_count = kept;
        }
        if !is_cut {
            return self;
        }
        self.count = count;
        self.sum = sum;
        self.compact()
    }
}

/// Where it is cut and what stays.
#[derive(Clone, Copy)]
struct Cut {
    limit: f64,
    keeps_below: bool,
    /// Observations are taken to be spread evenly, not by powers.
    is_linear: bool,
}

impl Cut {
    /// How many of a bucket's observations stay, and the middle of those.
    fn bucket(self, (lower, upper): (f64, f64), count: f64, is_positive: bool) -> (f64, f64) {
        let (is_kept, is_gone) = match self.keeps_below {
            true => (upper <= self.limit, lower >= self.limit),
            false => (lower >= self.limit, upper <= self.limit),
        };
        if is_kept {
            return (count, self.middle(lower, upper, is_positive));
        }
        if is_gone {
            return (0.0, 0.0);
        }
        if lower == f64::NEG_INFINITY {
            return self.without_start(upper, count);
        }
        if upper == f64::INFINITY {
            // Nobody knows how far up they are.
            return match self.keeps_below || self.limit < lower {
                true => (0.0, 0.0),
                false => (count, self.limit),
            };
        }
        let bucket = Bucket {
            lower,
            upper,
            count,
            lower_inclusive: false,
            upper_inclusive: true,
        };
        let below = count * share_below(&bucket, self.limit, self.is_linear);
        match self.keeps_below {
            true => (below, self.middle(lower, self.limit, is_positive)),
            false => (count - below, self.middle(self.limit, upper, is_positive)),
        }
    }

    /// As `bucket`, of one without a lower end: if it ends above zero, it is taken to begin there.
    fn without_start(self, upper: f64, count: f64) -> (f64, f64) {
        let limit = self.limit;
        let starts_at_zero = upper > 0.0 && upper.is_finite();
        match self.keeps_below {
            true if limit > 0.0 && starts_at_zero => (count * limit / upper, limit / 2.0),
            true if upper <= 0.0 => (count, limit),
            false if limit >= 0.0 && starts_at_zero => {
                (count * (1.0 - limit / upper), f64::midpoint(limit, upper))
            }
            _ => (0.0, 0.0),
        }
    }

    /// The share of the zero bucket that stays, and its middle.
    fn zero(self, lower: f64, upper: f64) -> (f64, f64) {
        let limit = self.limit;
        let (is_kept, is_gone) = match self.keeps_below {
            true => (limit >= upper, limit <= lower),
            false => (limit <= lower, limit >= upper),
        };
        if is_gone {
            return (0.0, 0.0);
        }
        if is_kept {
            return (1.0, f64::midpoint(lower, upper));
        }
        match self.keeps_below {
            true => (
                (limit - lower) / (upper - lower),
                f64::midpoint(lower, limit),
            ),
            false => (
                (upper - limit) / (upper - lower),
                f64::midpoint(limit, upper),
            ),
        }
    }

    /// The value that stands for observations between two bounds.
    fn middle(self, lower: f64, upper: f64, is_positive: bool) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.is_linear => f64::midpoint(lower, upper),
            (false, false) => {
                let middle = (lower * upper).abs().sqrt();
                if is_positive { middle } else { -middle }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_divided_and_the_rest_untouched() {
        let histogram = FloatHistogram {
            count: 10.0,
            sum: 77.0,
            zero_threshold: 0.5,
            zero_count: 2.0,
            positive: vec![(1, 4.0), (2, 4.0)],
            ..FloatHistogram::empty(0, &[])
        };
        let whole = histogram.clone().trim(f64::INFINITY, true);
        assert_eq!(
            whole, histogram,
            "nothing was cut, so the sum is the true one"
        );
        let below = histogram.clone().trim(8f64.sqrt(), true);
        assert_eq!(below.positive, [(1, 4.0), (2, 2.0)]);
        assert_eq!((below.count, below.zero_count), (8.0, 2.0));
        let above = histogram.trim(0.25, false);
        assert_eq!((above.count, above.zero_count), (9.0, 1.0));
        let custom = FloatHistogram {
            count: 6.0,
            positive: vec![(0, 2.0), (1, 2.0), (2, 2.0)],
            ..FloatHistogram::empty(kansoku_model::histogram::CUSTOM_SCHEMA, &[1.0, 3.0])
        };
        let below = custom.clone().trim(2.0, true);
        assert_eq!(below.positive, [(0, 2.0), (1, 1.0)]);
        let above = custom.trim(0.5, false);
        assert_eq!(above.positive, [(0, 1.0), (1, 2.0), (2, 2.0)]);
    }
}
