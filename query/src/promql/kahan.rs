//! Sums and means that do not lose small numbers beside large ones (Neumaier's variant of Kahan's
//! summation), as Prometheus computes them.

/// A running compensated sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    sum: f64,
    compensation: f64,
}

impl Sum {
    pub(crate) fn of(sum: f64) -> Self {
        Self {
            sum,
            compensation: 0.0,
        }
    }

    pub(crate) fn add(&mut self, increment: f64) {
        let total = self.sum + increment;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= increment.abs() {
            self.compensation += (self.sum - total) + increment;
        } else {
            self.compensation += (increment - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn value(self) -> f64 {
        self.sum + self.compensation
    }

    pub(crate) fn is_finite(self) -> bool {
        self.sum.is_finite()
    }

    /// The mean of `count` values, divided before the two parts are joined.
    pub(crate) fn value_over(self, count: f64) -> f64 {
        self.sum / count + self.compensation / count
    }

    /// Adds another sum with what it has lost.
    fn merge(&mut self, other: Self) {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.compensation += other.compensation;
        }
    }

    fn scaled(self, factor: f64) -> Self {
        Self {
            sum: self.sum * factor,
            compensation: self.compensation * factor,
        }
    }
}

/// A running mean: of the sum while that fits a float, incremental once it would overflow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    /// The sum, or the mean itself when `incremental`.
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::of(value);
            return;
        }
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum = Sum {
                sum: self.sum.sum / (self.count - 1.0),
                compensation: self.sum.compensation / (self.count - 1.0),
            };
        }
        self.sum = self.sum.scaled((self.count - 1.0) / self.count);
        self.sum.add(value / self.count);
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.sum.value()
        } else {
            self.sum.value_over(self.count)
        }
    }
}

/// Sums over windows that slide along one series: whole blocks are summed once, only the ends of a
/// window sample by sample.
#[derive(Debug, Default)]
pub(crate) struct SlidingSum {
    blocks: Vec<Sum>,
}

/// Samples per block: windows of some hundred samples then cost a tenth.
const BLOCK: usize = 16;

impl SlidingSum {
    /// Sums over the values of a series.
    pub(crate) fn of_series(values: &[f64]) -> Self {
        let blocks = values.chunks_exact(BLOCK).map(sum_of).collect();
        Self { blocks }
    }

    /// The sum of `window`, which begins at index `first` of the series.
    pub(crate) fn of(&self, first: usize, window: &[f64]) -> Sum {
        let end = first + window.len();
        let (from, to) = (first.div_ceil(BLOCK), end / BLOCK);
        if from >= to {
            return sum_of(window);
        }
        let mut sum = sum_of(&window[..from * BLOCK - first]);
        for block in &self.blocks[from..to] {
            sum.merge(*block);
        }
        for value in &window[to * BLOCK - first..] {
            sum.add(*value);
        }
        sum
    }
}

fn sum_of(values: &[f64]) -> Sum {
    let mut sum = Sum::default();
    values.iter().for_each(|v| sum.add(*v));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_survive_large_ones() {
        let mut sum = Sum::default();
        let mut mean = Mean::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
            mean.add(value);
        }
        assert_eq!(sum.value(), 2.0);
        assert_eq!(mean.value(), 0.5);
    }

    #[test]
    fn sliding_sums_equal_plain_ones() {
        // Values that lose digits, cancel, and end in what no sum recovers from.
        let mut values: Vec<f64> = (0..100)
            .map(|i| f64::from(i) * 0.1 + if i % 17 == 0 { 1e16 } else { 0.0 })
            .map(|v| if v > 1e15 && v as i64 % 2 == 0 { -v } else { v })
            .collect();
        values.extend([f64::INFINITY, 1.0, f64::NEG_INFINITY, f64::NAN]);
        let sliding = SlidingSum::of_series(&values);
        for first in 0..values.len() {
            for end in first + 1..=values.len() {
                let window = &values[first..end];
                let (fast, plain) = (sliding.of(first, window).value(), sum_of(window).value());
                let scale = window.iter().fold(1.0f64, |a, v| a.max(v.abs()));
                let close = (fast - plain).abs() <= scale * 1e-15;
                assert!(
                    close || fast == plain || (fast.is_nan() && plain.is_nan()),
                    "{first}..{end}: {fast} {plain}"
                );
            }
        }
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let big = 8e307;
        let mut mean = Mean::default();
        for _ in 0..4 {
            mean.add(big);
        }
        assert_eq!(mean.value(), big);
        mean.add(f64::INFINITY);
        mean.add(0.0);
        assert_eq!(mean.value(), f64::INFINITY);
        mean.add(f64::NEG_INFINITY);
        assert!(mean.value().is_nan());
    }
}
