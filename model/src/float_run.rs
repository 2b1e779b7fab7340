//! The floats of one series as a store has them: decoded only as far as it takes to look at some of them.
//!
//! Most samples of most series are decimal numbers with the same few places, kept as integers over a power of ten. Who
//! looks at the ends of windows only need not have all the others made floats. The rule: [`FloatRun::at`] gives the bits that
//! were stored.

use std::convert::Infallible;
use std::sync::Arc;

use crate::metric::STALE_BITS;

/// The largest power of ten that is looked for; it is exact, as are all below it.
const POWER_MAX: f64 = 1e15;
/// Integers up to this one are all floats.
const INTEGER_MAX: i64 = 1 << 53;

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
    /// there are others already that cannot be integers over one power with these: then nothing happens.
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
        if !self.plain.is_empty() {
            return Ok(false);
        }
        if self.n_scaled == 0 {
            self.power = power;
        }
        let factor = match factor(power, self.power) {
            Some(factor) => factor,
            None if self.raise(power) => 1,
            None => return Ok(false),
        };
        let from = self.n_scaled;
        if self.scaled.len() < from + n {
            self.scaled.resize(from + n, 0);
        }
        fill(&mut self.scaled[from..from + n])?;
        if rows.start > 0 {
            self.scaled
                .copy_within(from + rows.start..from + rows.end, from);
        }
        let end = from + rows.len();
        if !multiply(&mut self.scaled[from..end], factor) {
            return Ok(false);
        }
        self.n_scaled = end;
        Ok(true)
    }

    /// Adds `n` times a value, as integers if that loses nothing.
    pub fn push_repeated(&mut self, value: f64, n: usize) {
        if let Some((power, integer)) = self.exact(value) {
            let all = |slots: &mut [i64]| {
                slots.fill(integer);
                Ok::<_, Infallible>(())
            };
            if matches!(self.fill_scaled(power, n, 0..n, all), Ok(true)) {
                return;
            }
        }
        let plain = self.plain();
        plain.resize(plain.len() + n, value);
    }

    /// Adds floats, as integers if there are some already and that loses nothing.
    pub fn extend_from_floats(&mut self, values: &[f64]) {
        let from = self.n_scaled;
        let mut rest = values;
        while self.n_scaled > 0 && !rest.is_empty() {
            let to = self.n_scaled + rest.len();
            if self.scaled.len() < to {
                self.scaled.resize(to, 0);
            }
            let n = scale(rest, self.power, &mut self.scaled[self.n_scaled..to]);
            self.n_scaled += n;
            rest = &rest[n..];
            // The next one is none over this power: over a larger one perhaps all are.
            let power = rest.first().and_then(|value| self.exact(*value));
            if power.is_none_or(|(power, _)| !self.raise(power)) {
                break;
            }
        }
        if !rest.is_empty() {
            if self.n_scaled > 0 {
                self.n_scaled = from;
            }
            self.plain().extend_from_slice(values);
        }
    }

    /// The least power, not below the one there is, over which a value is an integer, and that.
    fn exact(&self, value: f64) -> Option<(f64, i64)> {
        if !self.plain.is_empty() {
            return None;
        }
        let mut power = if self.n_scaled > 0 { self.power } else { 1.0 };
        while power <= POWER_MAX {
            let mut integer = [0];
            if scale(&[value], power, &mut integer) == 1 {
                return Some((power, integer[0]));
            }
            power *= 10.0;
        }
        None
    }

    /// Makes the integers ones over `power` if none of them becomes too large.
    fn raise(&mut self, power: f64) -> bool {
        let Some(factor) = factor(self.power, power) else {
            return false;
        };
        let is_raised = multiply(&mut self.scaled[..self.n_scaled], factor);
        if is_raised {
            self.power = power;
        }
        is_raised
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

/// By what integers over `from` are multiplied to be integers over `to`; none when that is no integer.
fn factor(from: f64, to: f64) -> Option<i64> {
    let factor = to / from;
    // Powers of ten up to the largest that is looked for: their quotients are exact.
    let is_exact = factor >= 1.0 && factor.fract() == 0.0 && factor * from == to;
    (is_exact && factor <= POWER_MAX).then_some(factor as i64)
}

/// Multiplies all, unless one of them would become an integer that is no float: then none. A quotient of exact floats is
/// rounded once, so that m / p and (m * f) / (p * f) are the same bits.
fn multiply(integers: &mut [i64], factor: i64) -> bool {
    if factor == 1 {
        return true;
    }
    let most = INTEGER_MAX / factor;
    let is_small = |m: &i64| (-most..=most).contains(m);
    // Without an early end it is a loop of vectors.
    if !integers.iter().fold(true, |all, m| all & is_small(m)) {
        return false;
    }
    integers.iter_mut().for_each(|m| *m *= factor);
    true
}

/// Adding it rounds floats below 2^51 to an integer, which then stands in the lowest bits.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// Values between two looks at whether all were exact; without them the loop is one of vectors.
const SCALE_RUN: usize = 32;

/// Makes the first values integers over `power`, as long as that gives back their bits; returns how many.
fn scale(values: &[f64], power: f64, out: &mut [i64]) -> usize {
    let mut n = 0;
    for (run, slots) in values.chunks(SCALE_RUN).zip(out.chunks_mut(SCALE_RUN)) {
        let mut differ = 0;
        for (value, slot) in run.iter().zip(&mut *slots) {
            let rounded = value * power + ROUNDING;
            *slot = (rounded.to_bits() as i64).wrapping_sub(ROUNDING.to_bits() as i64);
            let back = (rounded - ROUNDING) / power;
            differ |= back.to_bits() ^ value.to_bits();
            // Further away than that it stands elsewhere.
            differ |= (slot.wrapping_add(1 << 51) as u64) >> 52;
        }
        if differ == 0 {
            n += run.len();
            continue;
        }
        let is_exact = |(m, value): &(&i64, &f64)| {
            m.unsigned_abs() <= INTEGER_MAX as u64
                && (**m as f64 / power).to_bits() == value.to_bits()
        };
        return n + slots.iter().zip(run).take_while(is_exact).count();
    }
    n
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
        values.push_repeated(0.1 + 0.2, 1);
        assert!(matches!(values.view(), FloatsView::Plain(_)));
        assert!(!scaled(&mut values, 10.0, &[1]), "there are plain ones");
        values.clear();
        assert!(scaled(&mut values, 10.0, &[1, 2, 25]));
        values.push_repeated(2.5, 2);
        assert!(matches!(
            values.view(),
            FloatsView::Scaled(&[1, 2, 25, 25, 25], 10.0)
        ));
        // What is no number, minus zero and what no power makes an integer make all of them plain.
        for value in [-0.0, f64::NAN, f64::INFINITY, 1e300, 1.0 / 3.0] {
            for at_once in [false, true] {
                values.clear();
                assert!(scaled(&mut values, 10.0, &[1, 2]));
                match at_once {
                    true => values.extend_from_floats(&[3.0, value]),
                    false => values.push_repeated(value, 1),
                }
                assert_eq!(all(&values)[..2], [0.1, 0.2]);
                assert_eq!(all(&values).pop().map(f64::to_bits), Some(value.to_bits()));
                assert_eq!(values.len(), 3 + usize::from(at_once));
                assert!(matches!(values.view(), FloatsView::Plain(_)));
            }
        }
        values.clear();
        assert!(values.is_empty() && values.plain().is_empty());
        values.extend_from_floats(&[1.0]);
        assert!(matches!(values.view(), FloatsView::Plain([1.0])));
    }

    #[test]
    fn integers_over_different_powers_meet_over_the_largest() {
        let mut values = Floats::default();
        values.push_repeated(2.0, 2);
        assert!(scaled(&mut values, 100.0, &[1, 2]));
        assert!(scaled(&mut values, 10.0, &[7]));
        values.push_repeated(0.5, 1);
        values.extend_from_floats(&[0.25, 0.125, 4.0]);
        assert!(matches!(
            values.view(),
            FloatsView::Scaled(&[2000, 2000, 10, 20, 700, 500, 250, 125, 4000], 1000.0)
        ));
        // One becomes too large to be a float.
        let most = 1 << 53;
        assert!(!scaled(&mut values, 1.0, &[most]));
        assert_eq!(values.len(), 9);
        values.clear();
        assert!(scaled(&mut values, 1.0, &[most, -most]));
        assert!(!scaled(&mut values, 10.0, &[1]));
        values.extend_from_floats(&[0.5]);
        assert_eq!(all(&values), [most as f64, -most as f64, 0.5]);
    }

    #[test]
    fn every_bit_comes_back_whatever_the_mixture() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let powers = [1.0, 10.0, 100.0, 1e3, 1e6, 1e15];
        let (mut n_scaled, mut n_plain) = (0, 0);
        for _ in 0..3000 {
            let (mut values, mut expected) = (Floats::default(), Vec::new());
            let wildness = random() % 40;
            for _ in 0..1 + random() % 6 {
                let size = 1 << (random() % 56);
                let power = powers[random() as usize % powers.len()];
                let (kind, n) = (random() % 3, 1 + (random() % 70) as usize);
                let mut value = || {
                    let integer = (random() % size) as i64 - (size / 2) as i64;
                    if random() % 40 < wildness / 8 {
                        return f64::from_bits(random());
                    }
                    // Minus zero is no integer.
                    integer as f64 / power
                };
                match kind {
                    0 => {
                        let value = value();
                        values.push_repeated(value, n);
                        expected.resize(expected.len() + n, value.to_bits());
                    }
                    1 => {
                        let all: Vec<f64> = (0..n).map(|_| value()).collect();
                        values.extend_from_floats(&all);
                        expected.extend(all.iter().map(|v| v.to_bits()));
                    }
                    _ => {
                        let all: Vec<i64> = (0..n).map(|_| value() as i64 >> 11).collect();
                        let floats = all.iter().map(|m| *m as f64 / power);
                        if !scaled(&mut values, power, &all) {
                            values.plain().extend(floats.clone());
                        }
                        expected.extend(floats.map(f64::to_bits));
                    }
                }
            }
            match values.view() {
                FloatsView::Scaled(..) => n_scaled += 1,
                FloatsView::Plain(_) => n_plain += 1,
            }
            let got: Vec<u64> = all(&values).iter().map(|v| v.to_bits()).collect();
            assert_eq!(got, expected);
        }
        assert!(n_scaled > 300 && n_plain > 300, "{n_scaled} {n_plain}");
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
