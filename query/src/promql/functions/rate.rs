//! How fast values change over a range: rate, increase, delta, irate, idelta.
//!
//! Results are extrapolated to the whole range, as Prometheus does: up to half a sample interval
//! past the first and last sample, and for counters never below zero.

use std::sync::Arc;

use super::super::ast::Extension;
use super::super::ast::ValueType::{Matrix, Vector};
use super::super::error::QueryError;
use super::super::selectors::interpolate;
use super::super::value::{Point, RangeSeries, Value, Window};
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

pub(super) const DELTA: Function = Function::samples(
    "delta",
    "Difference between the ends of the range, for gauges.",
    |call, series, window| {
        of_kind(call, series, window, false, 1.0, |w| {
            extrapolated(w, false, 1.0)
        })
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
        // A counter that fell was reset and has counted from zero since.
        let increase = if last < before { last } else { last - before };
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
    let suspects: Vec<String> = data
        .series
        .iter()
        .filter(|series| !series.times.is_empty())
        .map(|series| series.labels.metric_name())
        .filter(|name| !name.is_empty() && !COUNTER_SUFFIXES.iter().any(|s| name.ends_with(s)))
        .map(str::to_owned)
        .collect();
    let mut last = "";
    for name in &suspects {
        // Series of one metric stand together.
        if name != last {
            call.evaluator.inform(
                span,
                format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                    quote(name)
                ),
            );
        }
        last = name;
    }
    call.over_samples(data, false, |series, window| {
        let range_s = (window.end_ms - window.start_ms) as f64 / 1000.0;
        let factor = if is_rate { 1.0 / range_s } else { 1.0 };
        Ok(of_kind(call, series, window, true, factor, |w| {
            extrapolated(w, true, factor)
        }))
    })
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

fn extrapolated(window: &Window<'_>, is_counter: bool, factor: f64) -> Option<f64> {
    if window.extension.is_some() {
        return exact(window, is_counter, factor);
    }
    let (times, values) = (window.times, window.values);
    let (first, last) = (*values.first()?, *values.last()?);
    if values.len() < 2 {
        return None;
    }
    let mut change = last - first;
    if is_counter {
        for pair in values.windows(2) {
            if pair[1] < pair[0] {
                change += pair[0];
            }
        }
    }
    // A counter that fell to what it shows began within the range.
    let to_zero = (is_counter && change > 0.0 && first >= 0.0).then(|| first / change);
    Some(change * extrapolation(times, window, to_zero)? * factor)
}

/// By how much the change between the first and the last sample is less than that of the whole range.
/// `to_zero`: how many times the time between them it was before that when a counter showed zero.
fn extrapolation(times: &[i64], window: &Window<'_>, to_zero: Option<f64>) -> Option<f64> {
    let (first_ms, last_ms) = (*times.first()?, *times.last()?);
    let sampled_s = (last_ms - first_ms) as f64 / 1000.0;
    let interval_s = sampled_s / (times.len() - 1) as f64;
    // Further away than this, the series is taken to start or end within the range.
    let threshold_s = interval_s * 1.1;
    let mut to_start_s = (first_ms - window.start_ms) as f64 / 1000.0;
    let mut to_end_s = (window.end_ms - last_ms) as f64 / 1000.0;
    if to_start_s >= threshold_s {
        to_start_s = interval_s / 2.0;
    }
    if let Some(to_zero) = to_zero {
        to_start_s = to_start_s.min(sampled_s * to_zero);
    }
    if to_end_s >= threshold_s {
        to_end_s = interval_s / 2.0;
    }
    Some((sampled_s + to_start_s + to_end_s) / sampled_s)
}
