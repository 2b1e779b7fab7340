//! What some samples of a series have beside a float: a histogram in its place, or the time at which
//! counting began.
//!
//! It stands beside a `Run`, whose rows it counts; a series of plain floats has none. Histograms are
//! kept packed, as a frame has them: a tenth of what they take when they are read.

use std::sync::Arc;

use kansoku_model::frame::{put_histogram, take_histogram};
use kansoku_model::histogram::NativeHistogram;

/// Histograms and start times of the rows of a run.
#[derive(Debug, Default)]
pub struct More {
    n_rows: u32,
    /// Row and place in `packed` of each histogram.
    histograms: Vec<(u32, u32)>,
    packed: Vec<u8>,
    /// From which row on which start time holds.
    starts: Vec<(u32, i64)>,
}

/// A row's histogram and start time.
pub type Row = (Option<Arc<NativeHistogram>>, i64);

impl More {
    /// For a run that has so many plain floats so far.
    pub fn behind(n_floats: usize) -> Self {
        Self {
            n_rows: n_floats as u32,
            ..Self::default()
        }
    }

    /// Adds a row and returns by how many bytes the memory grew.
    pub fn push(&mut self, histogram: Option<&NativeHistogram>, start: i64) -> usize {
        let before = self.bytes();
        if let Some(histogram) = histogram {
            let at = self.packed.len();
            self.packed.reserve(32);
            put_histogram(&mut self.packed, histogram);
            self.histograms.push((self.n_rows, at as u32));
        }
        if self.last_start() != start {
            self.starts.push((self.n_rows, start));
        }
        self.n_rows += 1;
        self.bytes() - before
    }

    fn bytes(&self) -> usize {
        self.packed.capacity() + self.histograms.capacity() * 8 + self.starts.capacity() * 16
    }

    fn last_start(&self) -> i64 {
        self.starts.last().map_or(0, |(_, start)| *start)
    }

    /// Whether the newest row has this histogram and start time.
    pub fn last_is(&self, histogram: Option<&NativeHistogram>, start: i64) -> bool {
        let last = self
            .histograms
            .last()
            .filter(|(row, _)| row + 1 == self.n_rows);
        let is_same = match (last, histogram) {
            (None, None) => true,
            (Some((_, at)), Some(histogram)) => {
                let mut packed = Vec::new();
                put_histogram(&mut packed, histogram);
                self.packed[*at as usize..] == packed
            }
            _ => false,
        };
        is_same && self.last_start() == start
    }

    /// What the rows have, in their order; those at which `wanted` says no are not unpacked.
    pub fn rows<'a>(
        &'a self,
        mut wanted: impl FnMut(usize) -> bool + 'a,
    ) -> impl Iterator<Item = Row> + 'a {
        let mut histograms = self.histograms.iter().peekable();
        let mut starts = self.starts.iter().peekable();
        let mut start = 0;
        (0..self.n_rows).map(move |row| {
            if let Some((_, new)) = starts.next_if(|(from, _)| *from == row) {
                start = *new;
            }
            let own = histograms.next_if(|(at, _)| *at == row);
            let own = own.filter(|_| wanted(row as usize));
            let histogram = own.map(|(_, at)| {
                let (histogram, _) = take_histogram(&self.packed[*at as usize..])
                    .expect("histograms are packed whole");
                Arc::new(histogram)
            });
            (histogram, start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, any_histogram};

    #[test]
    fn rows_have_what_was_pushed_with_them() {
        let mut random = Random(4);
        let (mut more, mut expected, mut bytes) = (More::behind(3), Vec::new(), 0);
        expected.resize_with(3, || (None, 0));
        for i in 0..200i64 {
            let histogram = (random.below(2) == 0).then(|| any_histogram(&mut random));
            let start = i / 50 * 1000;
            bytes += more.push(histogram.as_ref(), start);
            assert!(more.last_is(histogram.as_ref(), start));
            assert!(!more.last_is(histogram.as_ref(), start + 1));
            assert!(!more.last_is(Some(&NativeHistogram::empty(0.5)), start));
            expected.push((histogram, start));
        }
        assert_eq!(bytes, more.bytes());
        let got: Vec<Row> = more.rows(|row| row != 7).collect();
        assert_eq!(got.len(), expected.len());
        for (row, ((histogram, start), (wanted, wanted_start))) in
            got.iter().zip(&expected).enumerate()
        {
            assert_eq!(start, wanted_start);
            match (histogram, wanted) {
                (Some(a), Some(b)) => assert!(a.is_same(b)),
                (None, None) => {}
                _ => assert_eq!(row, 7),
            }
        }
    }
}
