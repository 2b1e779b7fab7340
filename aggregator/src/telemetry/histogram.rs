//! A histogram with fixed bounds that many threads may add to.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds in seconds: from a cached answer to the default timeout.
pub const BOUNDS: [f64; 12] = [
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0,
];

/// Counts of observations up to each bound, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last counts what is beyond every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

/// A reading of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bound and cumulative count, the last with an infinite bound.
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
}

impl Histogram {
    /// Adds an observation in seconds.
    pub fn observe(&self, seconds: f64) {
        let at = BOUNDS.iter().position(|bound| seconds <= *bound);
        let at = at.unwrap_or(BOUNDS.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        // Microseconds fit 64 bits for half a million years.
        self.sum_us
            .fetch_add((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn read(&self) -> Reading {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let mut total = 0;
        let buckets = bounds.zip(&self.counts).map(|(bound, count)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        });
        Reading {
            buckets: buckets.collect(),
            sum: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_are_cumulative() {
        let h = Histogram::default();
        for seconds in [0.0005, 0.001, 0.5, 1000.0] {
            h.observe(seconds);
        }
        let reading = h.read();
        assert_eq!(reading.buckets[0], (0.001, 2));
        assert_eq!(reading.buckets[6], (1.0, 3));
        assert_eq!(reading.buckets[12], (f64::INFINITY, 4));
        assert_eq!(reading.sum, 1000.5015);
    }
}
