//! How often values changed in a range: changes, resets.

use super::super::native::{FloatHistogram, ResetHint};
use super::super::value::{Point, Window};
use super::Function;

pub(super) const CHANGES: Function = Function::samples(
    "changes",
    "Number of times the value changed in the range.",
    |_, _, window| {
        let differs = |a: &Sample<'_>, b: &Sample<'_>| match (a, b) {
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
        let falls = |before: &Sample<'_>, after: &Sample<'_>| match (before, after) {
            (Sample::Float(before), Sample::Float(after)) => after < before,
            (Sample::Histogram(before), Sample::Histogram(after)) => after.is_reset_after(before),
            _ => true,
        };
        Some(Point::Float(count(window, falls)))
    },
);

/// A sample of a window.
enum Sample<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

/// How often two neighbours in time are such a pair.
fn count(window: &Window<'_>, is_one: impl Fn(&Sample<'_>, &Sample<'_>) -> bool) -> f64 {
    let floats = window.times.iter().zip(window.values);
    let floats = floats.map(|(time, value)| (*time, Sample::Float(*value)));
    let histograms = window.histogram_times.iter().zip(window.histograms);
    let histograms = histograms.map(|(time, h)| (*time, Sample::Histogram(h)));
    let mut all: Vec<(i64, Sample<'_>)> = floats.chain(histograms).collect();
    if !window.histograms.is_empty() {
        all.sort_by_key(|(time, _)| *time);
    }
    let pairs = all.windows(2);
    pairs.filter(|pair| is_one(&pair[0].1, &pair[1].1)).count() as f64
}
