//! How often values changed in a range: changes, resets.

use super::super::native::{FloatHistogram, ResetHint};
use super::super::value::{Point, Window};
use super::Function;
use super::rate::begins_anew;

pub(super) const CHANGES: Function = Function::samples(
    "changes",
    "Number of times the value changed in the range.",
    |_, _, window| {
        let differs = |a: &Timed<'_>, b: &Timed<'_>| match (&a.sample, &b.sample) {
            (Sample::Float(a), Sample::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
            (Sample::Histogram(a), Sample::Histogram(b)) => {
                let compact = |h: &FloatHistogram| FloatHistogram {
                    hint: ResetHint::Unknown,
                    ..h.clone().compact()
                };
                compact(a) != compact(b)
            }
            _ => true,
        };
        Some(Point::Float(count(window, differs)))
    },
);

pub(super) const RESETS: Function = Function::samples(
    "resets",
    "Number of times the value fell, or a histogram was reset, in the range.",
    |_, _, window| {
        let falls = |before: &Timed<'_>, after: &Timed<'_>| {
            let is_new = begins_anew(
                (before.start_ms, before.time_ms),
                (after.start_ms, after.time_ms),
            );
            match (&before.sample, &after.sample) {
                (Sample::Float(before), Sample::Float(after)) => after < before || is_new,
                (Sample::Histogram(before), Sample::Histogram(after)) => {
                    is_new || after.is_reset_after(before)
                }
                _ => true,
            }
        };
        Some(Point::Float(count(window, falls)))
    },
);

/// A sample of a window.
enum Sample<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

/// A sample with its time, and when what it counts began (0: not known).
struct Timed<'a> {
    time_ms: i64,
    start_ms: i64,
    sample: Sample<'a>,
}

/// How often two neighbours in time are such a pair.
fn count(window: &Window<'_>, is_one: impl Fn(&Timed<'_>, &Timed<'_>) -> bool) -> f64 {
    let timed = |times: &[i64], starts: &[i64], at: usize, sample| Timed {
        time_ms: times[at],
        start_ms: starts.get(at).copied().unwrap_or(0),
        sample,
    };
    let floats = window.values.iter().enumerate();
    let floats =
        floats.map(|(at, value)| timed(window.times, window.starts, at, Sample::Float(*value)));
    let histograms = window.histograms.iter().enumerate();
    let histograms = histograms.map(|(at, histogram)| {
        let (times, starts) = (window.histogram_times, window.histogram_starts);
        timed(times, starts, at, Sample::Histogram(histogram))
    });
    let mut all: Vec<Timed<'_>> = floats.chain(histograms).collect();
    if !window.histograms.is_empty() {
        all.sort_by_key(|timed| timed.time_ms);
    }
    let pairs = all.windows(2);
    pairs.filter(|pair| is_one(&pair[0], &pair[1])).count() as f64
}
