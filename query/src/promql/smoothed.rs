//! `x smoothed` of series that hold histograms: what lies on the line between the samples around a step.
//!
//! The rule is Prometheus's: a step whose surroundings hold both floats and histograms has no result.

use std::sync::Arc;

use kansoku_model::select::SeriesData;

use super::ast::Span;
use super::evaluate::Evaluator;
use super::native::{FloatHistogram, ResetHint};
use super::notes;
use super::selectors::interpolate;
use super::value::{Column, Grid, Point, is_absent};

/// The column of a series; `reference` gives the time that a step looks at.
pub(super) fn column(
    ev: &Evaluator<'_>,
    span: Span,
    series: &SeriesData,
    grid: &Grid,
    reference: impl Fn(i64) -> i64,
) -> Column {
    let mut column = Column::new(series.labels.clone(), false);
    let histogram = |row: usize| series.histograms.get(row).and_then(Option::as_ref);
    let is_present = |row: &usize| match histogram(*row) {
        Some(stored) => !stored.is_stale(),
        None => !is_absent(series.values[*row]),
    };
    let rows: Vec<usize> = (0..series.times.len()).filter(is_present).collect();
    let times: Vec<i64> = rows.iter().map(|row| series.times[*row]).collect();
    let lookback_ms = ev.options.lookback_ms;
    for t_ms in grid.times() {
        let at_ms = reference(t_ms);
        let first = times.partition_point(|t| *t <= at_ms - lookback_ms);
        let end = times.partition_point(|t| *t <= at_ms + lookback_ms);
        let near = &rows[first..end.max(first)];
        let n_histograms = near.iter().filter(|row| histogram(**row).is_some()).count();
        if n_histograms > 0 && n_histograms < near.len() {
            ev.warn(span, notes::mixed_kinds(series.labels.metric_name()));
            column.push(None);
            continue;
        }
        let place = near.partition_point(|row| series.times[*row] <= at_ms);
        let Some(&before) = place.checked_sub(1).and_then(|at| near.get(at)) else {
            column.push(None);
            continue;
        };
        let is_there = series.times[before] == at_ms;
        let after = near.get(place).filter(|_| !is_there).copied();
        let pair = (before, after);
        column.push(match n_histograms {
            0 => Some(Point::Float(float(series, pair, at_ms))),
            _ => between(ev, span, series, pair, at_ms),
        });
    }
    column
}

fn float(series: &SeriesData, (before, after): (usize, Option<usize>), at_ms: i64) -> f64 {
    let sample = |row: usize| (series.times[row], series.values[row]);
    match after {
        Some(after) => interpolate(sample(before), sample(after), at_ms),
        None => series.values[before],
    }
}

fn between(
    ev: &Evaluator<'_>,
    span: Span,
    series: &SeriesData,
    (before, after): (usize, Option<usize>),
    at_ms: i64,
) -> Option<Point> {
    let histogram = |row: usize| series.histograms[row].as_ref();
    let first = FloatHistogram::of(histogram(before)?);
    let found = |h: FloatHistogram| Some(Point::Histogram(Arc::new(h)));
    let Some(row) = after else {
        let is_there = series.times[before] == at_ms;
        // What it is carried to is not behind the sample before it.
        let hint = if is_there {
            first.hint
        } else {
            ResetHint::Unknown
        };
        return found(FloatHistogram { hint, ..first });
    };
    let second = FloatHistogram::of(histogram(row)?);
    let name = series.labels.metric_name();
    if first.is_custom() != second.is_custom() {
        ev.warn(span, notes::mixed_schemas(name));
        return None;
    }
    let (from_ms, to_ms) = (series.times[before], series.times[row]);
    let share = (at_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
    let is_gauge = |h: &FloatHistogram| h.hint == ResetHint::Gauge;
    let is_counter = !(is_gauge(&first) && is_gauge(&second));
    let mut result = second.clone();
    if is_counter && second.is_reset_after(&first) {
        // It has counted from nothing since.
        result.multiply(share);
        return found(result);
    }
    // They are of one kind, so they can be joined.
    let subtracted = result.subtract(&first).ok()?;
    result.multiply(share);
    let added = result.add(&first).ok()?;
    for (joined, operation) in [(subtracted, "subtraction"), (added, "addition")] {
        if joined.bounds_differed {
            ev.inform(span, notes::bounds_differed(operation));
        }
    }
    found(result)
}
