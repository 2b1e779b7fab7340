//! The quantiles of many windows over the same values.
//!
//! Where windows overlap little, the values of each are selected from; where a value is in many, all values are ranked once and
//! a tree counts which ranks are in the window at hand, so that a value costs its entry and its leave. Both give the same bits.

use std::cmp::Ordering;

/// Reads of a value by selection that cost about what the tree costs for it.
const READS_PER_VALUE: usize = 16;

/// The quantile by linear interpolation between the two nearest values, of each window of `values`; windows begin and end in order,
/// and none is empty.
pub fn of_windows(values: &[f64], windows: &[(usize, usize)], q: f64) -> Vec<f64> {
    if q.is_nan() {
        return vec![f64::NAN; windows.len()];
    }
    if !(0.0..=1.0).contains(&q) {
        let end = f64::INFINITY.copysign(q);
        return vec![end; windows.len()];
    }
    let n_reads: usize = windows.iter().map(|(from, to)| to - from).sum();
    match n_reads / READS_PER_VALUE <= values.len() {
        true => selected(values, windows, q),
        false => ranked(values, windows, q),
    }
}

/// NaN counts as less than anything.
fn order(a: &f64, b: &f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b))
}

/// The number of the lower of the two values, and the weight of the upper one.
fn place(n: usize, q: f64) -> (usize, f64) {
    let rank = q * (n - 1) as f64;
    (rank.floor() as usize, rank - rank.floor())
}

fn between(low: f64, high: f64, weight: f64) -> f64 {
    low * (1.0 - weight) + high * weight
}

fn selected(values: &[f64], windows: &[(usize, usize)], q: f64) -> Vec<f64> {
    let mut own = Vec::new();
    let of_window = |(from, to): &(usize, usize)| {
        own.clear();
        own.extend_from_slice(&values[*from..*to]);
        let (at, weight) = place(own.len(), q);
        let (_, low, above) = own.select_nth_unstable_by(at, order);
        let low = *low;
        let high = above.iter().copied().min_by(order).unwrap_or(low);
        between(low, high, weight)
    };
    windows.iter().map(of_window).collect()
}

fn ranked(values: &[f64], windows: &[(usize, usize)], q: f64) -> Vec<f64> {
    // Positions by value; equal values keep their own ranks.
    let mut by_rank: Vec<u32> = (0..values.len() as u32).collect();
    by_rank
        .sort_unstable_by(|a, b| order(&values[*a as usize], &values[*b as usize]).then(a.cmp(b)));
    let mut ranks = vec![0u32; values.len()];
    for (rank, at) in (0..).zip(&by_rank) {
        ranks[*at as usize] = rank;
    }
    let mut counts = Counts::new(values.len());
    let (mut first, mut last) = (0, 0);
    let of_window = |(from, to): &(usize, usize)| {
        while last < *to {
            counts.add(ranks[last], 1);
            last += 1;
        }
        while first < *from {
            counts.add(ranks[first], -1);
            first += 1;
        }
        let (at, weight) = place(to - from, q);
        let value = |number: usize| values[by_rank[counts.find(number)] as usize];
        let low = value(at);
        let high = if at + 1 < to - from {
            value(at + 1)
        } else {
            low
        };
        between(low, high, weight)
    };
    windows.iter().map(of_window).collect()
}

/// Which ranks are there: a binary indexed tree of sums.
struct Counts {
    sums: Vec<i32>,
    /// The greatest power of two that is a place of it.
    top: usize,
}

impl Counts {
    fn new(n: usize) -> Self {
        Self {
            sums: vec![0; n + 1],
            top: 1 << n.max(1).ilog2(),
        }
    }

    fn add(&mut self, rank: u32, change: i32) {
        let mut at = rank as usize + 1;
        while at < self.sums.len() {
            self.sums[at] += change;
            at += at & at.wrapping_neg();
        }
    }

    /// The rank of which `number` others that are there stand before.
    fn find(&self, number: usize) -> usize {
        let (mut at, mut left, mut step) = (0, number as i32, self.top);
        while step > 0 {
            if let Some(sum) = self.sums.get(at + step)
                && *sum <= left
            {
                left -= sum;
                at += step;
            }
            step /= 2;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_one_window() {
        let of = |values: &[f64], q: f64| of_windows(values, &[(0, values.len())], q)[0];
        let values = [4.0, 1.0, 3.0, 2.0];
        for (q, expected) in [
            (0.0, 1.0),
            (0.5, 2.5),
            (1.0, 4.0),
            (-1.0, f64::NEG_INFINITY),
            (2.0, f64::INFINITY),
        ] {
            assert_eq!(of(&values, q), expected);
        }
        assert!(of(&values, f64::NAN).is_nan());
        assert_eq!(of(&[f64::NAN, 1.0], 1.0), 1.0);
    }

    #[test]
    fn both_ways_give_the_same_bits() {
        let mut state = 7u64;
        let mut random = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        let odd = [
            f64::NAN,
            -0.0,
            0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -1e-300,
        ];
        for n in [1, 2, 3, 17, 64, 300] {
            let mut values = Vec::new();
            for _ in 0..n {
                values.push(match random(5) {
                    0 => odd[random(6) as usize],
                    1 => random(4) as f64,
                    _ => random(1 << 30) as f64 / 7.0 - 1e7,
                });
            }
            for width in [1, 2, 5, n] {
                let windows: Vec<(usize, usize)> =
                    (0..n).map(|from| (from, (from + width).min(n))).collect();
                for q in [0.0, 0.1, 0.5, 0.99, 1.0] {
                    let bits = |v: Vec<f64>| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    let both = (selected(&values, &windows, q), ranked(&values, &windows, q));
                    // The sign of NaN that a sum of infinities gives is not the same everywhere.
                    let plain = |v: Vec<f64>| {
                        v.iter()
                            .map(|v| if v.is_nan() { f64::NAN } else { *v })
                            .collect()
                    };
                    assert_eq!(bits(plain(both.0)), bits(plain(both.1)), "{n} {width} {q}");
                }
            }
        }
    }
}
