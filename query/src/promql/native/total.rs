//! Sums of many histograms that do not lose small counts beside large ones, as those of floats.

use super::arithmetic::{Incompatible, Joined};
use super::{FloatHistogram, ResetHint};

/// A running sum, and what its roundings lost so far, bucket by bucket.
pub(crate) struct Total {
    sum: FloatHistogram,
    lost: FloatHistogram,
}

impl Total {
    pub(crate) fn of(first: &FloatHistogram) -> Self {
        let mut lost = first.clone();
        lost.multiply(0.0);
        clear(&mut lost);
        Self {
            sum: first.clone(),
            lost,
        }
    }

    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Joined, Incompatible> {
        let (a, b) = (&self.sum, other);
        let is_alike =
            a.schema == b.schema && a.zero_threshold == b.zero_threshold && a.bounds == b.bounds;
        if !is_alike {
            // Rare: what was lost goes in first, and the layouts are joined.
            let lost = self.lost.clone();
            self.sum.add(&lost)?;
            clear(&mut self.lost);
            let joined = self.sum.add(other)?;
            let mut lost = self.sum.clone();
            clear(&mut lost);
            self.lost = lost;
            return Ok(joined);
        }
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        increment(&mut sum.count, &mut lost.count, other.count);
        increment(&mut sum.sum, &mut lost.sum, other.sum);
        increment(&mut sum.zero_count, &mut lost.zero_count, other.zero_count);
        for (sum, lost, other) in [
            (&mut sum.positive, &mut lost.positive, &other.positive),
            (&mut sum.negative, &mut lost.negative, &other.negative),
        ] {
            for (index, count) in other {
                let (at, of_lost) = (place(sum, *index), place(lost, *index));
                increment(&mut sum[at].1, &mut lost[of_lost].1, *count);
            }
        }
        Ok(Joined {
            hints_collide: sum.join_hint(other.hint),
            bounds_differed: false,
        })
    }

    /// Multiplies the sum.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.sum.multiply(factor);
        self.lost.multiply(factor);
    }

    /// Whether a count went beyond what a float holds.
    pub(crate) fn has_overflow(&self) -> bool {
        let h = &self.sum;
        let buckets = h.positive.iter().chain(&h.negative).map(|b| b.1);
        let mut all = buckets.chain([h.count, h.sum, h.zero_count]);
        all.any(f64::is_infinite)
    }

    pub(crate) fn finish(self) -> FloatHistogram {
        let (mut sum, lost) = (self.sum, self.lost);
        let hint = sum.hint;
        // They are of one layout.
        let joined = sum.add(&lost);
        debug_assert!(joined.is_ok());
        sum.hint = hint;
        sum
    }
}

/// Leaves the layout alone.
fn clear(histogram: &mut FloatHistogram) {
    (histogram.count, histogram.sum, histogram.zero_count) = (0.0, 0.0, 0.0);
    histogram.positive.clear();
    histogram.negative.clear();
    histogram.hint = ResetHint::Unknown;
}

/// Where a bucket is; it is made when it is not there.
fn place(buckets: &mut Vec<(i32, f64)>, index: i32) -> usize {
    let found = buckets.binary_search_by_key(&index, |(index, _)| *index);
    found.unwrap_or_else(|at| {
        buckets.insert(at, (index, 0.0));
        at
    })
}

fn increment(sum: &mut f64, lost: &mut f64, more: f64) {
    let total = *sum + more;
    if total.is_infinite() {
        *lost = 0.0;
    } else if sum.abs() >= more.abs() {
        *lost += (*sum - total) + more;
    } else {
        *lost += (more - total) + *sum;
    }
    *sum = total;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_not_lost_beside_large_ones() {
        let of = |sum: f64, count: f64| FloatHistogram {
            sum,
            count,
            positive: vec![(1, count)],
            ..FloatHistogram::empty(0, &[])
        };
        let mut total = Total::of(&of(1e100, 1.0));
        for (sum, count) in [(2.5, 1e20), (-1e100, 1.0), (0.5, -1e20)] {
            total.add(&of(sum, count)).unwrap();
        }
        assert!(!total.has_overflow());
        let sum = total.finish();
        assert_eq!((sum.sum, sum.count), (3.0, 2.0));
        assert_eq!(sum.positive, [(1, 2.0)]);
        let mut total = Total::of(&of(f64::MAX, 1.0));
        total.add(&of(f64::MAX, 1.0)).unwrap();
        assert!(total.has_overflow());
        let mut coarse = Total::of(&of(1.0, 1.0));
        coarse
            .add(&FloatHistogram {
                schema: -1,
                ..of(1.0, 1.0)
            })
            .unwrap();
        assert_eq!(coarse.finish().schema, -1);
    }
}
