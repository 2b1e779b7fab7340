//! The floats of one series as a store has them: decoded only as far as it takes to look at some of them.
//!
//! Most samples of most series are decimal numbers with the same few places, kept as integers over a power of ten. Who
//! looks at the ends of windows only need not have all the others made floats. The rule: [`FloatRun::at`] gives the bits that
//! were stored.

use std::sync::Arc;

use crate::metric::STALE_BITS;

/// Floats of one series, in order of time, each time once.
#[derive(Debug, Default)]
pub struct FloatRun {
    /// Unix milliseconds. Series that were scraped together may share one list.
    pub times: Arc<Vec<i64>>,
    pub values: Floats,
}

/// A list of floats: all of them integers over one power of ten, or as they are.
#[derive(Debug, Default)]
pub struct Floats {
    /// The first `n_scaled` count; what is behind them is memory that need not be cleared again.
    scaled: Vec<i64>,
    n_scaled: usize,
    /// The value of an integer is it over this.
    power: f64,
    /// All values, unless they are integers.
    plain: Vec<f64>,
}

/// What a list of floats is made of.
#[derive(Debug, Clone, Copy)]
pub enum FloatsView<'a> {
    /// Each is an integer over the power; none is a staleness marker.
    Scaled(&'a [i64], f64),
    Plain(&'a [f64]),
}

impl Floats {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_scaled + self.plain.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.n_scaled = 0;
        self.plain.clear();
    }

    /// All of them, in the form they have.
    #[must_use]
    pub fn view(&self) -> FloatsView<'_> {
        if self.n_scaled > 0 {
            FloatsView::Scaled(&self.scaled[..self.n_scaled], self.power)
        } else {
            FloatsView::Plain(&self.plain)
        }
    }

    /// One of them.
    #[must_use]
    pub fn at(&self, index: usize) -> f64 {
        match self.view() {
            FloatsView::Scaled(scaled, power) => scaled[index] as f64 / power,
            FloatsView::Plain(plain) => plain[index],
        }
    }

    /// Room for `n` more, to be filled with integers over `power` by `fill`, of which those in `rows` are kept. False when
    /// there are others already, which are not of this power: then nothing happens.
    ///
    /// # Errors
    /// Those of `fill`; nothing is added then.
    pub fn fill_scaled<E>(
        &mut self,
        power: f64,
        n: usize,
        rows: std::ops::Range<usize>,
        fill: impl FnOnce(&mut [i64]) -> Result<(), E>,
    ) -> Result<bool, E> {
        if !self.is_empty() && (self.n_scaled == 0 || self.power.to_bits() != power.to_bits()) {
            return Ok(false);
        }
        let from = self.n_scaled;
        if self.scaled.len() < from + n {
            self.scaled.resize(from + n, 0);
        }
        fill(&mut self.scaled[from..from + n])?;
        if rows.start > 0 {
            self.scaled
                .copy_within(from + rows.start..from + rows.end, from);
        }
        self.n_scaled = from + rows.len();
        self.power = power;
        Ok(true)
    }

    /// Adds `n` times a value, as integers if that loses nothing.
    pub fn push_repeated(&mut self, value: f64, n: usize) {
        let power = if self.n_scaled > 0 { self.power } else { 1.0 };
        let integer = (value * power).round() as i64;
        if self.plain.is_empty() && (integer as f64 / power).to_bits() == value.to_bits() {
            let all = |slots: &mut [i64]| {
                slots.fill(integer);
                Ok::<_, std::convert::Infallible>(())
            };
            if matches!(self.fill_scaled(power, n, 0..n, all), Ok(true)) {
                return;
            }
        }
        let plain = self.plain();
        plain.resize(plain.len() + n, value);
    }

    /// All of them as they are, to add to.
    pub fn plain(&mut self) -> &mut Vec<f64> {
        if self.n_scaled > 0 {
            let power = self.power;
            let scaled = self.scaled[..self.n_scaled].iter();
            self.plain.extend(scaled.map(|m| *m as f64 / power));
            self.n_scaled = 0;
        }
        &mut self.plain
    }
}

impl FloatsView<'_> {
    /// Whether some value is lower than the one before it. It may say so of scaled ones that are not.
    #[must_use]
    pub fn falls(&self) -> bool {
        /// Values between two looks at whether that is known; without them the loop is one of vectors.
        const RUN: usize = 256;
        match self {
            // The sign of a difference: integers that stand for floats are far from overflowing.
            Self::Scaled(scaled, _) => {
                let mut ends = scaled.iter().skip(RUN).step_by(RUN);
                scaled.chunks(RUN).any(|run| {
                    let pairs = run.iter().zip(&run[1..]);
                    let signs = pairs.fold(0, |signs, (a, b)| signs | b.wrapping_sub(*a));
                    let next = ends.next().zip(run.last());
                    signs < 0 || next.is_some_and(|(next, last)| next < last)
                })
            }
            Self::Plain(plain) => plain.windows(2).any(|pair| pair[1] < pair[0]),
        }
    }

    /// Whether a staleness marker is among them.
    #[must_use]
    pub fn has_markers(&self) -> bool {
        match self {
            Self::Scaled(..) => false,
            Self::Plain(plain) => plain.iter().any(|v| v.to_bits() == STALE_BITS),
        }
    }
}

impl FloatRun {
    /// Takes the staleness markers away.
    pub fn drop_markers(&mut self) {
        if !self.values.view().has_markers() {
            return;
        }
        let plain = self.values.plain();
        let is_kept = |value: &f64| value.to_bits() != STALE_BITS;
        let pairs = self.times.iter().zip(&*plain);
        let times = pairs.filter(|(_, v)| is_kept(v)).map(|(t, _)| *t).collect();
        plain.retain(is_kept);
        self.times = Arc::new(times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(values: &mut Floats, power: f64, add: &[i64]) -> bool {
        let fill = |slots: &mut [i64]| {
            slots.copy_from_slice(add);
            Ok::<_, ()>(())
        };
        values
            .fill_scaled(power, add.len(), 0..add.len(), fill)
            .unwrap()
    }

    fn all(values: &Floats) -> Vec<f64> {
        (0..values.len()).map(|i| values.at(i)).collect()
    }

    #[test]
    fn what_is_added_comes_back_in_either_form() {
        let mut values = Floats::default();
        values.push_repeated(2.5, 1);
        assert!(matches!(values.view(), FloatsView::Plain([v]) if *v == 2.5));
        assert!(!scaled(&mut values, 10.0, &[1]), "there are plain ones");
        values.clear();
        assert!(scaled(&mut values, 10.0, &[1, 2, 25]));
        values.push_repeated(2.5, 2);
        assert!(matches!(
            values.view(),
            FloatsView::Scaled(&[1, 2, 25, 25, 25], 10.0)
        ));
        assert!(!scaled(&mut values, 100.0, &[1]), "another power");
        // What is no multiple of a tenth, and minus zero, make all of them plain.
        for value in [0.25, -0.0, f64::NAN, f64::INFINITY, 1e300] {
            values.clear();
            assert!(scaled(&mut values, 10.0, &[1, 2]));
            values.push_repeated(value, 1);
            assert_eq!(all(&values)[..2], [0.1, 0.2]);
            assert_eq!(values.at(2).to_bits(), value.to_bits());
            assert!(matches!(values.view(), FloatsView::Plain(_)));
        }
        values.clear();
        assert!(values.is_empty() && values.plain().is_empty());
    }

    #[test]
    fn only_the_wanted_rows_are_kept_and_nothing_of_what_failed() {
        let mut values = Floats::default();
        assert!(scaled(&mut values, 1.0, &[7]));
        let fill = |slots: &mut [i64]| {
            slots.copy_from_slice(&[1, 2, 3, 4, 5]);
            Ok::<_, ()>(())
        };
        assert_eq!(values.fill_scaled(1.0, 5, 2..4, fill), Ok(true));
        assert_eq!(all(&values), [7.0, 3.0, 4.0]);
        assert_eq!(values.fill_scaled(1.0, 5, 2..4, |_| Err(())), Err(()));
        assert_eq!(all(&values), [7.0, 3.0, 4.0]);
    }

    #[test]
    fn falls_are_found_wherever_they_are() {
        for n in [2usize, 255, 256, 257, 258, 513, 700] {
            for fall in 0..n {
                let ints: Vec<i64> = (0..n as i64)
                    .map(|i| i - 10 * i64::from(i as usize >= fall))
                    .collect();
                let floats: Vec<f64> = ints.iter().map(|m| *m as f64).collect();
                let expected = fall > 0;
                assert_eq!(
                    FloatsView::Scaled(&ints, 1.0).falls(),
                    expected,
                    "{n} {fall}"
                );
                assert_eq!(FloatsView::Plain(&floats).falls(), expected, "{n} {fall}");
            }
        }
        assert!(!FloatsView::Scaled(&[], 1.0).falls());
        assert!(!FloatsView::Scaled(&[3, 3, 3], 1.0).falls());
    }

    #[test]
    fn markers_go_with_their_times() {
        let marker = f64::from_bits(STALE_BITS);
        let mut run = FloatRun {
            times: Arc::new(vec![1, 2, 3]),
            ..FloatRun::default()
        };
        run.values.plain().extend([1.5, marker, f64::NAN]);
        run.drop_markers();
        assert_eq!(*run.times, [1, 3]);
        assert_eq!(run.values.len(), 2);
        let before = Arc::clone(&run.times);
        run.drop_markers();
        assert!(Arc::ptr_eq(&before, &run.times), "there is none");
    }
}
