//! Sums, differences and multiples of histograms, and whether counters were reset between two.

use std::cmp::Ordering;

use super::{FloatHistogram, ResetHint};

/// What came of adding or subtracting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Joined {
    /// One hint says that there was a reset, the other that there was none.
    pub hints_collide: bool,
    /// Custom bounds differed: only those of both are left.
    pub bounds_differed: bool,
}

/// Exponential and custom buckets do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incompatible;

impl FloatHistogram {
    /// Multiplies all counts and the sum.
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.each_count(|count| *count *= factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum; by zero no bucket is left.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.each_count(|count| *count /= divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        } else if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn each_count(&mut self, change: impl Fn(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        let buckets = self.positive.iter_mut().chain(&mut self.negative);
        buckets.for_each(|(_, count)| change(count));
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<Joined, Incompatible> {
        self.join(other, 1.0)
    }

    pub(crate) fn subtract(&mut self, other: &Self) -> Result<Joined, Incompatible> {
        self.join(other, -1.0)
    }

    fn join(&mut self, other: &Self, sign: f64) -> Result<Joined, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut joined = Joined {
            hints_collide: self.join_hint(other.hint),
            bounds_differed: false,
        };
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if self.is_custom() {
            if self.bounds == other.bounds {
                self.positive = merged(&self.positive, &other.positive, sign);
                return Ok(joined);
            }
            joined.bounds_differed = true;
            let common = common_bounds(&self.bounds, &other.bounds);
            let own = regrouped(&self.positive, &self.bounds, &common);
            let others = regrouped(&other.positive, &other.bounds, &common);
            self.positive = merged(&own, &others, sign);
            self.bounds = common;
            return Ok(joined);
        }
        let mut other = other.clone();
        self.share_zero_bucket(&mut other);
        self.zero_count += sign * other.zero_count;
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        other.reduce(schema);
        self.positive = merged(&self.positive, &other.positive, sign);
        self.negative = merged(&self.negative, &other.negative, sign);
        Ok(joined)
    }

    pub(super) fn join_hint(&mut self, other: ResetHint) -> bool {
        let (hint, collides) = match (self.hint, other) {
            (a, b) if a == b => (a, false),
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
            _ => (ResetHint::Unknown, true),
        };
        self.hint = hint;
        collides
    }

    /// Widens the zero buckets of both until they are the same.
    fn share_zero_bucket(&mut self, other: &mut Self) {
        while self.zero_threshold != other.zero_threshold {
            // NaN would never be equal.
            let Some(order) = self.zero_threshold.partial_cmp(&other.zero_threshold) else {
                return;
            };
            if order == Ordering::Less {
                self.widen_zero_bucket(other.zero_threshold);
            } else {
                other.widen_zero_bucket(self.zero_threshold);
            }
        }
    }

    /// Moves what lies below `threshold` to the zero bucket; the threshold becomes the end of the last bucket
    /// that it cut.
    fn widen_zero_bucket(&mut self, threshold: f64) {
        let (mut zero_count, mut threshold) = (self.zero_count, threshold);
        let mut taken = (0, 0);
        // Each cut may widen it over a bucket of the other side.
        loop {
            let before = threshold;
            for side in [false, true] {
                let buckets = if side { &self.negative } else { &self.positive };
                let at = if side { &mut taken.1 } else { &mut taken.0 };
                while let Some((index, count)) = buckets.get(*at) {
                    if self.bound(index.wrapping_sub(1)) >= threshold {
                        break;
                    }
                    zero_count += count;
                    *at += 1;
                    let upper = self.bound(*index);
                    if upper > threshold {
                        if *count != 0.0 {
                            threshold = upper;
                        }
                        break;
                    }
                }
            }
            if threshold == before {
                break;
            }
        }
        self.positive.drain(..taken.0);
        self.negative.drain(..taken.1);
        self.zero_count = zero_count;
        self.zero_threshold = threshold;
    }

    /// Joins buckets to those of a coarser schema.
    pub(crate) fn reduce(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let shift = (self.schema - schema).clamp(0, 31);
        for side in [&mut self.positive, &mut self.negative] {
            for (index, _) in side.iter_mut() {
                *index = (index.wrapping_sub(1) >> shift).wrapping_add(1);
            }
            side.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    earlier.1 += later.1;
                }
                is_same
            });
        }
        self.schema = schema;
    }

    /// Whether this one, the later, does not go on counting from `before`.
    pub(crate) fn is_reset_after(&self, before: &Self) -> bool {
        match self.hint {
            ResetHint::Yes => return true,
            ResetHint::No => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < before.count || (self.is_custom() && !before.is_custom()) {
            return true;
        }
        if self.is_custom() {
            if self.bounds == before.bounds {
                return any_fell(&self.positive, &before.positive);
            }
            let common = common_bounds(&self.bounds, &before.bounds);
            let own = regrouped(&self.positive, &self.bounds, &common);
            let old = regrouped(&before.positive, &before.bounds, &common);
            return any_fell(&own, &old);
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let mut before = before.clone();
        if before.zero_threshold < self.zero_threshold {
            before.widen_zero_bucket(self.zero_threshold);
        }
        if before.zero_threshold != self.zero_threshold || self.zero_count < before.zero_count {
            return true;
        }
        before.reduce(self.schema);
        any_fell(&self.positive, &before.positive) || any_fell(&self.negative, &before.negative)
    }
}

/// Whether a bucket has fewer observations than before.
fn any_fell(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    before.iter().any(|(index, count)| {
        let at = now.binary_search_by_key(index, |(index, _)| *index);
        at.map_or(*count != 0.0, |at| now[at].1 < *count)
    })
}

/// Both lists by index, the counts of the second times `sign`.
fn merged(a: &[(i32, f64)], b: &[(i32, f64)], sign: f64) -> Vec<(i32, f64)> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => a.0.cmp(&b.0),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return out,
        };
        match order {
            Ordering::Less => out.extend(a.next().copied()),
            Ordering::Greater => out.extend(b.next().map(|(index, count)| (*index, sign * count))),
            Ordering::Equal => {
                if let (Some((index, x)), Some((_, y))) = (a.next(), b.next()) {
                    out.push((*index, x + sign * y));
                }
            }
        }
    }
}

fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter()
        .copied()
        .filter(|bound| b.contains(bound))
        .collect()
}

/// The buckets of `bounds` joined to those of fewer bounds.
fn regrouped(buckets: &[(i32, f64)], bounds: &[f64], fewer: &[f64]) -> Vec<(i32, f64)> {
    let mut out: Vec<(i32, f64)> = Vec::new();
    for (index, count) in buckets {
        let upper = usize::try_from(*index).ok().and_then(|at| bounds.get(at));
        let at = upper.map_or(fewer.len(), |upper| fewer.partition_point(|b| b < upper));
        let index = at as i32;
        match out.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => out.push((index, *count)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(
        schema: i32,
        threshold: f64,
        zero: f64,
        positive: &[(i32, f64)],
    ) -> FloatHistogram {
        FloatHistogram {
            zero_threshold: threshold,
            zero_count: zero,
            count: zero + positive.iter().map(|b| b.1).sum::<f64>(),
            positive: positive.to_vec(),
            ..FloatHistogram::empty(schema, &[])
        }
    }

    #[test]
    fn sums_of_other_schemas_and_zero_buckets() {
        let mut fine = histogram(1, 0.25, 1.0, &[(-2, 4.0), (1, 2.0), (2, 3.0)]);
        let coarse = histogram(0, 0.6, 5.0, &[(1, 10.0)]);
        fine.add(&coarse).unwrap();
        // The bucket up to 0.5 lies below 0.6 and is zero now.
        assert_eq!((fine.zero_threshold, fine.zero_count), (0.6, 10.0));
        assert_eq!((fine.schema, &fine.positive[..]), (0, &[(1, 15.0)][..]));
        assert_eq!(fine.count, 25.0);
        let mut cut = histogram(0, 0.25, 1.0, &[(0, 4.0), (1, 1.0)]);
        cut.add(&histogram(0, 0.6, 0.0, &[])).unwrap();
        // 0.6 lies in the bucket up to 1, which has observations.
        assert_eq!((cut.zero_threshold, cut.zero_count), (1.0, 5.0));
    }

    #[test]
    fn custom_bounds_that_differ_leave_those_of_both() {
        let custom = |bounds: &[f64], positive: &[(i32, f64)]| FloatHistogram {
            positive: positive.to_vec(),
            ..FloatHistogram::empty(kansoku_model::histogram::CUSTOM_SCHEMA, bounds)
        };
        let mut a = custom(&[1.0, 2.0, 3.0], &[(0, 1.0), (1, 1.0), (3, 1.0)]);
        let b = custom(&[2.0, 4.0], &[(0, 5.0), (1, 7.0)]);
        let joined = a.add(&b).unwrap();
        assert!(joined.bounds_differed);
        assert_eq!(
            (&a.bounds[..], &a.positive[..]),
            (&[2.0][..], &[(0, 7.0), (1, 8.0)][..])
        );
        assert_eq!(a.add(&histogram(0, 0.0, 0.0, &[])), Err(Incompatible));
    }

    #[test]
    fn resets_are_seen_in_any_bucket() {
        let before = histogram(1, 0.0, 1.0, &[(1, 2.0), (2, 3.0)]);
        let more = histogram(1, 0.0, 1.0, &[(1, 2.0), (2, 4.0)]);
        assert!(!more.is_reset_after(&before));
        let moved = histogram(1, 0.0, 1.0, &[(1, 1.0), (2, 9.0)]);
        assert!(moved.is_reset_after(&before));
        let coarser = histogram(0, 0.0, 1.0, &[(1, 5.0)]);
        assert!(!coarser.is_reset_after(&before) && before.is_reset_after(&coarser));
        let told = FloatHistogram {
            hint: ResetHint::No,
            ..moved
        };
        assert!(!told.is_reset_after(&before));
    }
}
