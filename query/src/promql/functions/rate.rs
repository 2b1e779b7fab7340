//! How fast values change over a range: rate, increase, delta, irate, idelta.
//!
//! Results are extrapolated to the whole range, as Prometheus does: up to half a sample interval
//! past the first and last sample, and for counters never below zero.

use std::sync::Arc;

use kansoku_model::Labels;

use super::super::ast::Extension;
use super::super::ast::ValueType::{Matrix, Vector};
use super::super::error::QueryError;
use super::super::selectors::interpolate;
use super::super::value::{Point, RangeData, RangeSeries, Value, Window};
use super::{Call, Function};
use crate::number::quote;

#[path = "native_rate.rs"]
mod native_rate;

pub(super) const RATE: Function = Function::whole(
    "rate",
    &[Matrix],
    Vector,
    "Increase of a counter per second, averaged over the range.",
    |call| counter(call, true),
);

pub(super) const INCREASE: Function = Function::whole(
    "increase",
    &[Matrix],
    Vector,
    "Increase of a counter over the range.",
    |call| counter(call, false),
);

pub(super) const DELTA: Function = Function::whole(
    "delta",
    &[Matrix],
    Vector,
    "Difference between the ends of the range, for gauges.",
    |call| {
        let (data, _) = call.range()?;
        change_of(call, &data, &|_, _| (), false, 1.0)
    },
);

pub(super) const IRATE: Function = Function::samples(
    "irate",
    "Increase of a counter per second between the last two samples of the range.",
    |call, series, window| {
        if !window.histograms.is_empty() {
            return native_rate::last_two(call, series, window, true);
        }
        let [(before_ms, before), (last_ms, last)] = window.last_two()?;
        let interval_s = (last_ms - before_ms) as f64 / 1000.0;
        let [before_start, last_start] = window.last_two_starts();
        let is_new = begins_anew((before_start, before_ms), (last_start, last_ms));
        // A counter that fell was reset and has counted from zero since.
        let increase = if last < before || is_new {
            last
        } else {
            last - before
        };
        (interval_s > 0.0).then(|| Point::Float(increase / interval_s))
    },
);

pub(super) const IDELTA: Function = Function::samples(
    "idelta",
    "Difference between the last two samples of the range.",
    |call, series, window| {
        if !window.histograms.is_empty() {
            return native_rate::last_two(call, series, window, false);
        }
        let [(_, before), (_, last)] = window.last_two()?;
        Some(Point::Float(last - before))
    },
);

/// Endings of the names of counters.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// Evaluates windows of a counter and says so when its name is not that of one.
fn counter(call: &Call<'_, '_>, is_rate: bool) -> Result<Value, QueryError> {
    let (data, span) = call.range()?;
    let suspect = |call: &Call<'_, '_>, labels: &Labels| {
        let name = labels.metric_name();
        let is_counter = COUNTER_SUFFIXES.iter().any(|s| name.ends_with(s));
        if !name.is_empty() && !is_counter {
            let text = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quote(name)
            );
            call.evaluator.inform(span, text);
        }
    };
    let range_s = data.windows.range_ms as f64 / 1000.0;
    let factor = if is_rate { 1.0 / range_s } else { 1.0 };
    change_of(call, &data, &suspect, true, factor)
}

/// The change over each window times `factor`; `look` sees the labels of each series of floats first.
fn change_of(
    call: &Call<'_, '_>,
    data: &RangeData<'_>,
    look: &(dyn Fn(&Call<'_, '_>, &Labels) + Sync),
    is_counter: bool,
    factor: f64,
) -> Result<Value, QueryError> {
    call.float_changes(data, is_counter, factor, look, |call, series, window| {
        of_kind(call, series, window, is_counter, factor, |w| {
            extrapolated(call, series, w, is_counter, factor)
        })
    })
}

/// The change over a window of floats alone, extrapolated to the whole of it.
fn plain_change(window: &Window<'_>, is_counter: bool) -> Option<f64> {
    let (times, values) = (window.times, window.values);
    let ([first_ms, .., last_ms], [first, .., last]) = (times, values) else {
        return None;
    };
    let mut change = last - first;
    if is_counter && window.falls {
        for pair in values.windows(2) {
            if pair[1] < pair[0] {
                change += pair[0];
            }
        }
    }
    let sampled = Sampled {
        first_ms: *first_ms,
        last_ms: *last_ms,
        n_intervals: times.len() - 1,
        start_ms: 0,
        begins_within: false,
    };
    let to_zero = (is_counter && change > 0.0 && *first >= 0.0).then(|| first / change);
    Some(change * sampled.extrapolation((window.start_ms, window.end_ms), to_zero))
}

/// Gives floats to `of_floats` and histograms to their own file.
fn of_kind(
    call: &Call<'_, '_>,
    series: &RangeSeries,
    window: &Window<'_>,
    is_counter: bool,
    factor: f64,
    of_floats: impl Fn(&Window<'_>) -> Option<f64>,
) -> Option<Point> {
    if window.histograms.is_empty() {
        return of_floats(window).map(Point::Float);
    }
    let notes = native_rate::Notes::new(call, series);
    if !window.values.is_empty() {
        notes.mixed_kinds();
        return None;
    }
    let change = native_rate::change(&notes, window, is_counter, factor)?;
    Some(Point::Histogram(Arc::new(change)))
}

/// Refuses extended ranges where a function has no meaning for them.
pub(super) fn check_extension(extension: Extension, function: &str) -> Result<(), QueryError> {
    let allowed: &[&str] = match extension {
        Extension::Anchored => &["changes", "delta", "increase", "rate", "resets"],
        Extension::Smoothed => &["delta", "increase", "rate"],
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    Err(QueryError::Execution(format!(
        "{} modifier can only be used with: {} - not with {function}",
        extension.as_str(),
        allowed.join(", ")
    )))
}

/// The change between the ends of an extended range, without any extrapolation.
fn exact(window: &Window<'_>, is_counter: bool, factor: f64) -> Option<f64> {
    let samples: Vec<(i64, f64)> = window
        .times
        .iter()
        .copied()
        .zip(window.values.iter().copied())
        .collect();
    let smoothed = window.extension == Some(Extension::Smoothed);
    let (first, last) = (*samples.first()?, *samples.last()?);
    // A counter that fell between two samples is taken to rise from zero between them.
    let between = |before: (i64, f64), after: (i64, f64), at_ms| {
        let fell = is_counter && after.1 < before.1;
        interpolate((before.0, if fell { 0.0 } else { before.1 }), after, at_ms)
    };
    let left = if smoothed && first.0 < window.start_ms && samples.len() > 1 {
        between(first, samples[1], window.start_ms)
    } else {
        first.1
    };
    let right = if smoothed && last.0 > window.end_ms && samples.len() > 1 {
        between(samples[samples.len() - 2], last, window.end_ms)
    } else {
        last.1
    };
    let mut change = right - left;
    if is_counter {
        let inside = samples
            .iter()
            .filter(|(t, _)| *t > window.start_ms && *t < window.end_ms)
            .map(|(_, value)| *value);
        let mut before = left;
        for value in inside.chain([right]) {
            if value < before {
                change += before;
            }
            before = value;
        }
    }
    Some(change * factor)
}

/// Whether what a sample counts began after the sample before it; both as (start, time) in
/// milliseconds, a start of 0 is not known.
pub(super) fn begins_anew(before: (i64, i64), after: (i64, i64)) -> bool {
    let (start_ms, time_ms) = after;
    if start_ms == 0 || start_ms >= time_ms || start_ms < before.1 {
        return false;
    }
    if start_ms > before.1 {
        return true;
    }
    // It began at the sample before: so does each sample of a delta, and the second one of a counter
    // of which the start is not known.
    before.0 != 0 && before.0 < before.1
}

/// Places of the samples that [`begins_anew`] behind the one before them.
fn new_starts<'a>(times: &'a [i64], starts: &'a [i64]) -> impl Fn(usize) -> bool + 'a {
    move |at| {
        let at_most = starts.len().min(times.len());
        at > 0
            && at < at_most
            && begins_anew((starts[at - 1], times[at - 1]), (starts[at], times[at]))
    }
}

/// Warns once per series of starts that lie before the sample before and are not its own.
fn warn_of_overlap(call: &Call<'_, '_>, series: &RangeSeries, times: &[i64], starts: &[i64]) {
    let overlaps = |at: usize| {
        let start_ms = starts[at];
        start_ms != 0 && start_ms < times[at - 1] && start_ms != starts[at - 1]
    };
    if (1..starts.len().min(times.len())).any(overlaps) {
        let name = quote(series.labels.metric_name());
        call.evaluator.warn(
            call.range_span(),
            format!(
                "sample has start time that overlaps with previous sample timestamp for metric {name}"
            ),
        );
    }
}

fn extrapolated(
    call: &Call<'_, '_>,
    series: &RangeSeries,
    window: &Window<'_>,
    is_counter: bool,
    factor: f64,
) -> Option<f64> {
    if window.extension.is_some() {
        return exact(window, is_counter, factor);
    }
    let (times, values, starts) = (window.times, window.values, window.starts);
    if starts.is_empty() {
        return plain_change(window, is_counter).map(|change| change * factor);
    }
    let (first, last) = (*values.first()?, *values.last()?);
    let sampled = Sampled::of(window, times, starts, is_counter)?;
    let mut change = last - first;
    if is_counter {
        warn_of_overlap(call, series, times, starts);
        let is_new = new_starts(times, starts);
        for (at, pair) in values.windows(2).enumerate() {
            if pair[1] < pair[0] || is_new(at + 1) {
                change += pair[0];
            }
        }
    }
    if sampled.begins_within {
        change += first;
    }
    // A counter that fell to what it shows began within the range.
    let to_zero = (is_counter && change > 0.0 && first >= 0.0).then(|| first / change);
    let ends = (window.start_ms, window.end_ms);
    Some(change * sampled.extrapolation(ends, to_zero) * factor)
}

/// The time that the samples of a window cover.
struct Sampled {
    first_ms: i64,
    last_ms: i64,
    n_intervals: usize,
    /// What the first sample counts began at this time, when that is known.
    start_ms: i64,
    /// It began within the range: from nothing, at a time that is known.
    begins_within: bool,
}

impl Sampled {
    /// `None` for samples that tell nothing about a change.
    fn of(window: &Window<'_>, times: &[i64], starts: &[i64], is_counter: bool) -> Option<Self> {
        let (first_ms, last_ms) = (*times.first()?, *times.last()?);
        let start_ms = starts.first().copied().unwrap_or(0);
        let is_inside = start_ms != 0 && start_ms > window.start_ms && start_ms < first_ms;
        let sampled = Self {
            first_ms,
            last_ms,
            n_intervals: times.len() - 1,
            start_ms,
            begins_within: is_counter && is_inside,
        };
        (sampled.n_intervals > 0 || sampled.begins_within).then_some(sampled)
    }

    /// By how much the change between the first and the last sample is less than that of the whole
    /// range. `to_zero`: how many times the time between them it was before that when a counter showed
    /// zero.
    #[inline]
    fn extrapolation(&self, (start_ms, end_ms): (i64, i64), to_zero: Option<f64>) -> f64 {
        let mut sampled_s = (self.last_ms - self.first_ms) as f64 / 1000.0;
        let interval_s = match self.n_intervals {
            0 => 0.0,
            n => sampled_s / n as f64,
        };
        // Further away than this, the series is taken to start or end within the range.
        let threshold_s = interval_s * 1.1;
        let mut to_start_s = (self.first_ms - start_ms) as f64 / 1000.0;
        let mut to_end_s = (end_ms - self.last_ms) as f64 / 1000.0;
        if self.begins_within {
            to_start_s = 0.0;
            sampled_s = (self.last_ms - self.start_ms) as f64 / 1000.0;
        } else {
            if to_start_s >= threshold_s {
                to_start_s = interval_s / 2.0;
            }
            if let Some(to_zero) = to_zero {
                to_start_s = to_start_s.min(sampled_s * to_zero);
            }
        }
        if to_end_s >= threshold_s {
            to_end_s = interval_s / 2.0;
        }
        (sampled_s + to_start_s + to_end_s) / sampled_s
    }
}
