//! The change of floats over windows, extrapolated to the whole of each: what `rate` and its like do most of the time.
//!
//! What depends on the times alone is worked out once for all series of a scrape; of the values only the ends of windows
//! are looked at, and the resets of counters that fall. Results are to the bit those of one window after the other.

use kansoku_model::FloatsView;

use super::super::error::QueryError;
use super::super::evaluate::Stop;
use super::super::of_times::Advance;
use super::super::value::{ABSENT, Grid, Windows};

/// Steps between two looks at whether to go on.
const STEPS_PER_CHECK: usize = 4096;

/// The times of one window.
pub(super) struct SampledWindow {
    /// Of its first and last sample; equal when it holds fewer than two.
    first: u32,
    last: u32,
    /// Samples in it.
    pub n_samples: u32,
    sampled_s: f64,
    to_start_s: f64,
    to_end_s: f64,
    /// How much longer the whole window is than what was sampled.
    stretch: f64,
}

/// The windows of all steps over these times, which are not extended.
pub(super) fn spans(
    times: &[i64],
    grid: &Grid,
    windows: &Windows,
    check: Stop<'_>,
) -> Result<Vec<SampledWindow>, QueryError> {
    let (mut from, mut to) = (Advance::default(), Advance::default());
    let mut spans = Vec::with_capacity(grid.n_steps);
    for step in 0..grid.n_steps {
        if step % STEPS_PER_CHECK == 0 {
            check()?;
        }
        let end_ms = windows.reference.time(grid.time(step));
        let start_ms = end_ms.saturating_sub(windows.range_ms);
        let rows = from.to(times, start_ms)..to.to(times, end_ms);
        spans.push(match rows.len() {
            n_samples @ (0 | 1) => SampledWindow {
                first: 0,
                last: 0,
                n_samples: n_samples as u32,
                sampled_s: 0.0,
                to_start_s: 0.0,
                to_end_s: 0.0,
                stretch: 1.0,
            },
            n => SampledWindow::new(times, rows.start, n, (start_ms, end_ms)),
        });
    }
    Ok(spans)
}

impl SampledWindow {
    fn new(times: &[i64], first: usize, n: usize, (start_ms, end_ms): (i64, i64)) -> Self {
        let last = first + n - 1;
        let (first_ms, last_ms) = (times[first], times[last]);
        let sampled_s = (last_ms - first_ms) as f64 / 1000.0;
        let interval_s = sampled_s / (n - 1) as f64;
        // Further away than this, the series is taken to start or end within the range.
        let threshold_s = interval_s * 1.1;
        let near = |distance_s: f64| {
            if distance_s >= threshold_s {
                interval_s / 2.0
            } else {
                distance_s
            }
        };
        let to_start_s = near((first_ms - start_ms) as f64 / 1000.0);
        let to_end_s = near((end_ms - last_ms) as f64 / 1000.0);
        Self {
            first: first as u32,
            last: last as u32,
            n_samples: n as u32,
            sampled_s,
            to_start_s,
            to_end_s,
            stretch: stretch(sampled_s, to_start_s, to_end_s),
        }
    }

    /// The change from `first` to `last`, resets made up for, as if the whole window had been sampled.
    #[inline]
    fn extrapolated(&self, change: f64, first: f64, is_counter: bool) -> f64 {
        if is_counter && change > 0.0 && first >= 0.0 && !self.starts_after_zero(change, first) {
            // No further back than to where a counter showed zero.
            let to_start_s = self.to_start_s.min(self.sampled_s * (first / change));
            return change * stretch(self.sampled_s, to_start_s, self.to_end_s);
        }
        change * self.stretch
    }

    /// Whether the counter surely showed zero before the window: most did, and a division is saved. The margin is many times
    /// what rounding can make of either side.
    #[inline]
    fn starts_after_zero(&self, change: f64, first: f64) -> bool {
        const MARGIN: f64 = 1.000_001;
        /// Below it products of small numbers lose digits.
        const LEAST: f64 = 1e-290;
        let to_start = self.to_start_s * change;
        to_start > LEAST && self.sampled_s * first > to_start * MARGIN
    }
}

/// How much longer than what was sampled it is with what lies before and behind.
#[inline]
fn stretch(sampled_s: f64, to_start_s: f64, to_end_s: f64) -> f64 {
    (sampled_s + to_start_s + to_end_s) / sampled_s
}

/// The change over each window times `factor`.
pub(super) fn changes(
    spans: &[SampledWindow],
    values: FloatsView<'_>,
    is_counter: bool,
    factor: f64,
) -> Vec<f64> {
    let falls = is_counter && values.falls();
    match values {
        FloatsView::Scaled(scaled, 1.0) => {
            let value = |at: usize| scaled[at] as f64;
            changes_of(spans, scaled.len(), falls, value, is_counter, factor)
        }
        FloatsView::Scaled(scaled, power) => {
            let value = |at: usize| scaled[at] as f64 / power;
            changes_of(spans, scaled.len(), falls, value, is_counter, factor)
        }
        FloatsView::Plain(plain) => changes_of(
            spans,
            plain.len(),
            falls,
            |at| plain[at],
            is_counter,
            factor,
        ),
    }
}

#[inline]
fn changes_of(
    spans: &[SampledWindow],
    n: usize,
    falls: bool,
    value: impl Fn(usize) -> f64,
    is_counter: bool,
    factor: f64,
) -> Vec<f64> {
    let resets = if falls { resets(n, &value) } else { Vec::new() };
    let (mut passed, mut reached) = (0, 0);
    let change_of = |span: &SampledWindow| {
        if span.first == span.last {
            return ABSENT;
        }
        let first = value(span.first as usize);
        let mut change = value(span.last as usize) - first;
        if falls {
            // Falls from the first sample of the window on, up to the one to its last.
            while resets.get(passed).is_some_and(|(at, _)| *at < span.first) {
                passed += 1;
            }
            reached = reached.max(passed);
            while resets.get(reached).is_some_and(|(at, _)| *at < span.last) {
                reached += 1;
            }
            for (_, before) in &resets[passed..reached] {
                change += before;
            }
        }
        span.extrapolated(change, first, is_counter) * factor
    };
    spans.iter().map(change_of).collect()
}

/// The samples that are followed by a lower one, and their values.
fn resets(n: usize, value: impl Fn(usize) -> f64) -> Vec<(u32, f64)> {
    let pairs = (1..n).map(|at| (at - 1, value(at - 1), value(at)));
    pairs
        .filter(|(_, before, after)| after < before)
        .map(|(at, before, _)| (at as u32, before))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_division_saved_changes_a_bit() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut n_capped, mut n_saved) = (0, 0);
        for round in 0..200_000 {
            let times: Vec<i64> = (0..2 + random() % 5)
                .scan(0, |time, _| {
                    *time += 1 + (random() % 20_000) as i64;
                    Some(*time)
                })
                .collect();
            let (first_ms, last_ms) = (times[0], times[times.len() - 1]);
            let ends = (
                first_ms - (random() % 30_000) as i64,
                last_ms + (random() % 30_000) as i64,
            );
            let span = SampledWindow::new(&times, 0, times.len(), ends);
            // About where a counter began at the window's start, and anything.
            let (first, change) = match round % 4 {
                0 => (f64::from_bits(random()), f64::from_bits(random())),
                1 => (
                    f64::from_bits(random() % (1 << 40)),
                    f64::from_bits(random() % (1 << 40)),
                ),
                _ => {
                    let change = (random() % 1_000_000) as f64 / 128.0;
                    let share = span.to_start_s / span.sampled_s;
                    let off = 1.0 + (random() % 9) as f64 * f64::EPSILON * (random() % 3) as f64;
                    let far = [off, 2.0 - off, 0.1, 7.0][(random() % 4) as usize];
                    (change * share * far, change)
                }
            };
            let to_zero_s = span.sampled_s * (first / change);
            let is_capped = change > 0.0 && first >= 0.0;
            let to_start_s = match is_capped {
                true => span.to_start_s.min(to_zero_s),
                false => span.to_start_s,
            };
            n_capped += u32::from(to_start_s < span.to_start_s);
            n_saved += u32::from(is_capped && span.starts_after_zero(change, first));
            let expected =
                change * ((span.sampled_s + to_start_s + span.to_end_s) / span.sampled_s);
            let got = span.extrapolated(change, first, true);
            assert!(
                got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()),
                "{first} {change} {got} {expected}"
            );
        }
        assert!(
            n_capped > 10_000 && n_saved > 10_000,
            "{n_capped} {n_saved}"
        );
    }
}
