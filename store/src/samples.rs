//! Runs of samples of one series: ordering them and laying a newer run over an older one.
//!
//! Plain vectors. The rule: each time is there once, and of two samples of one time the one that
//! was appended later counts, whatever kind they are of.

use std::ops::Range;
use std::sync::Arc;

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::metric::STALE_BITS;

/// The value that stands at the place of a histogram.
pub const NO_FLOAT: f64 = f64::from_bits(STALE_BITS);
/// As many bytes of a histogram count as a sample.
const SAMPLE_BYTES: usize = 16;

/// Samples of one series in columns of the same length; the last two are empty when nobody has any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleColumns {
    /// Unix ms.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    /// At the places of histograms the values are `NO_FLOAT`.
    pub histograms: Vec<Option<Arc<NativeHistogram>>>,
    /// Unix ms, 0 for none.
    pub starts: Vec<i64>,
}

impl SampleColumns {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// How many floats take about as much memory.
    pub fn weight(&self) -> usize {
        let histograms = self.histograms.iter().flatten();
        let bytes: usize = histograms.map(|h| h.size_bytes()).sum();
        self.len() + bytes / SAMPLE_BYTES
    }

    /// Appends samples that are floats.
    pub fn append_floats(&mut self, times: &[i64], values: &[f64]) {
        self.times.extend_from_slice(times);
        self.values.extend_from_slice(values);
        if !self.histograms.is_empty() {
            self.histograms.resize(self.times.len(), None);
        }
        if !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
        }
    }

    /// Appends rows of another run.
    pub fn append(&mut self, other: &Self, rows: Range<usize>) {
        let (before, n) = (self.len(), rows.len());
        self.times.extend_from_slice(&other.times[rows.clone()]);
        self.values.extend_from_slice(&other.values[rows.clone()]);
        if !other.histograms.is_empty() {
            self.histograms.resize(before, None);
            self.histograms
                .extend_from_slice(&other.histograms[rows.clone()]);
        } else if !self.histograms.is_empty() {
            self.histograms.resize(before + n, None);
        }
        if !other.starts.is_empty() {
            self.starts.resize(before, 0);
            self.starts.extend_from_slice(&other.starts[rows]);
        } else if !self.starts.is_empty() {
            self.starts.resize(before + n, 0);
        }
    }

    /// Adds one sample.
    pub fn push(
        &mut self,
        time: i64,
        value: f64,
        histogram: Option<Arc<NativeHistogram>>,
        start: i64,
    ) {
        let before = self.len();
        self.times.push(time);
        self.values.push(value);
        if histogram.is_some() || !self.histograms.is_empty() {
            self.histograms.resize(before, None);
            self.histograms.push(histogram);
        }
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(before, 0);
            self.starts.push(start);
        }
    }

    /// Takes rows away.
    pub fn remove(&mut self, rows: Range<usize>) {
        self.times.drain(rows.clone());
        self.values.drain(rows.clone());
        if !self.histograms.is_empty() {
            self.histograms.drain(rows.clone());
        }
        if !self.starts.is_empty() {
            self.starts.drain(rows);
        }
    }

    /// Sorts by time and keeps the last sample of each time.
    pub fn tidy(&mut self) {
        if self.times.windows(2).all(|w| w[0] < w[1]) {
            return;
        }
        let mut rows: Vec<u32> = (0..self.len() as u32).collect();
        rows.sort_by_key(|&row| self.times[row as usize]);
        // The last row of each time.
        let mut kept: Vec<usize> = Vec::with_capacity(rows.len());
        for row in rows.into_iter().map(|row| row as usize) {
            match kept.last_mut() {
                Some(last) if self.times[*last] == self.times[row] => *last = row,
                _ => kept.push(row),
            }
        }
        self.times = kept.iter().map(|&row| self.times[row]).collect();
        self.values = kept.iter().map(|&row| self.values[row]).collect();
        if !self.histograms.is_empty() {
            let all = &mut self.histograms;
            self.histograms = kept.iter().map(|&row| all[row].take()).collect();
        }
        if !self.starts.is_empty() {
            self.starts = kept.iter().map(|&row| self.starts[row]).collect();
        }
    }

    /// Adds a tidy newer run to this tidy older one.
    pub fn lay_over(&mut self, newer: &Self) {
        let Some(&first) = newer.times.first() else {
            return;
        };
        let overlaps = self.times.last().is_some_and(|&last| last >= first);
        self.append(newer, 0..newer.len());
        if overlaps {
            self.tidy();
        }
    }
}

/// The run of samples with `from_ms <= time <= to_ms` in tidy times.
pub fn range(times: &[i64], from_ms: i64, to_ms: i64) -> Range<usize> {
    let start = times.partition_point(|&t| t < from_ms);
    let end = times.partition_point(|&t| t <= to_ms);
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(times: &[i64], values: &[f64]) -> SampleColumns {
        SampleColumns {
            times: times.to_vec(),
            values: values.to_vec(),
            ..SampleColumns::default()
        }
    }

    #[test]
    fn the_later_value_of_a_time_counts() {
        let mut all = run(&[3, 1, 3, 2, 1], &[3.0, 1.0, 3.5, 2.0, 1.5]);
        all.tidy();
        assert_eq!(all, run(&[1, 2, 3], &[1.5, 2.0, 3.5]));
        all.lay_over(&run(&[0, 2, 9], &[0.0, 2.5, 9.0]));
        assert_eq!(all, run(&[0, 1, 2, 3, 9], &[0.0, 1.5, 2.5, 3.5, 9.0]));
        all.lay_over(&run(&[10], &[10.0]));
        assert_eq!(all.times, [0, 1, 2, 3, 9, 10]);
        assert_eq!(range(&all.times, 1, 9), 1..5);
        assert_eq!(range(&all.times, 4, 8), 4..4);
        assert_eq!(range(&all.times, 8, 4), 4..4);
    }

    #[test]
    fn a_histogram_replaces_a_float_of_its_time_and_the_other_way_round() {
        let histogram = |sum| Some(Arc::new(NativeHistogram::empty(sum)));
        let mut all = run(&[1, 2, 3], &[1.0, 2.0, 3.0]);
        let mut newer = SampleColumns::default();
        newer.push(2, NO_FLOAT, histogram(9.0), 0);
        newer.push(4, 4.0, None, 7);
        all.lay_over(&newer);
        assert_eq!(all.times, [1, 2, 3, 4]);
        assert_eq!(all.histograms, [None, histogram(9.0), None, None]);
        assert_eq!(all.starts, [0, 0, 0, 7]);
        all.lay_over(&run(&[2], &[2.5]));
        assert_eq!(all.values, [1.0, 2.5, 3.0, 4.0]);
        assert_eq!(all.histograms, [None, None, None, None]);
        all.remove(0..3);
        assert_eq!((all.starts.len(), all.histograms.len()), (1, 1));
    }
}
