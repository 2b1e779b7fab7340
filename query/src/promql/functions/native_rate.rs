//! rate, increase, delta, irate and idelta of native histograms.

use std::sync::Arc;

use super::super::super::ast::{Extension, Span};
use super::super::super::native::{FloatHistogram, ResetHint};
use super::super::super::notes;
use super::super::super::value::{Point, RangeSeries, Window};
use super::super::Call;
use super::{Sampled, begins_anew, new_starts, warn_of_overlap};

/// What is said of one series.
pub(super) struct Notes<'c> {
    call: &'c Call<'c, 'c>,
    series: &'c RangeSeries,
    name: &'c str,
    span: Span,
}

impl<'c> Notes<'c> {
    pub(super) fn new<'a: 'c>(call: &'c Call<'_, 'a>, series: &'c RangeSeries) -> Self {
        Self {
            call,
            series,
            name: series.labels.metric_name(),
            span: call.range_span(),
        }
    }

    pub(super) fn mixed_kinds(&self) {
        self.warn(notes::mixed_kinds(self.name));
    }

    fn warn(&self, text: String) {
        self.call.evaluator.warn(self.span, text);
    }

    fn subtract(&self, from: &mut FloatHistogram, other: &FloatHistogram) -> Option<()> {
        match from.subtract(other) {
            Ok(joined) => {
                if joined.bounds_differed {
                    let text = notes::bounds_differed("subtraction");
                    self.call.evaluator.inform(self.span, text);
                }
                Some(())
            }
            Err(_) => {
                self.warn(notes::mixed_schemas(self.name));
                None
            }
        }
    }

    fn add(&self, to: &mut FloatHistogram, other: &FloatHistogram) -> Option<()> {
        match to.add(other) {
            Ok(joined) => {
                if joined.bounds_differed {
                    let text = notes::bounds_differed("addition");
                    self.call.evaluator.inform(self.span, text);
                }
                Some(())
            }
            Err(_) => {
                self.warn(notes::mixed_schemas(self.name));
                None
            }
        }
    }

    fn check_gauges(&self, ends: [&FloatHistogram; 2], is_counter: bool) {
        let is_gauge = |h: &&FloatHistogram| h.hint == ResetHint::Gauge;
        if is_counter && ends.iter().any(is_gauge) {
            self.warn(notes::not_a_counter(self.name));
        }
        if !is_counter && !ends.iter().all(is_gauge) {
            self.warn(notes::not_a_gauge(self.name));
        }
    }
}

/// The change over the range, times `factor`.
pub(super) fn change(
    notes: &Notes<'_>,
    window: &Window<'_>,
    is_counter: bool,
    factor: f64,
) -> Option<FloatHistogram> {
    if let Some(extension) = window.extension {
        return exact(notes, window, is_counter, factor, extension);
    }
    let (times, starts) = (window.histogram_times, window.histogram_starts);
    let sampled = Sampled::of(window, times, starts, is_counter)?;
    let first = window.histograms.first()?;
    let mut sum = if window.histograms.len() > 1 {
        between_ends(notes, window, is_counter)?
    } else {
        FloatHistogram::empty(first.schema, &first.bounds)
    };
    if sampled.begins_within {
        notes.add(&mut sum, first)?;
    }
    // A counter that shows few observations began not long before the first of them.
    let is_counted = is_counter && sum.count > 0.0 && first.count >= 0.0;
    let to_zero = is_counted.then(|| first.count / sum.count);
    sum.multiply(sampled.extrapolation((window.start_ms, window.end_ms), to_zero) * factor);
    sum.hint = ResetHint::Gauge;
    Some(sum.compact())
}

/// The last of two or more less the first, with what was counted before each reset.
fn between_ends(
    notes: &Notes<'_>,
    window: &Window<'_>,
    is_counter: bool,
) -> Option<FloatHistogram> {
    let all = window.histograms;
    let (first, last) = (all.first()?, all.last()?);
    let is_new = new_starts(window.histogram_times, window.histogram_starts);
    notes.check_gauges([first, last], is_counter);
    let within = &all[1..all.len() - 1];
    if is_counter && within.iter().any(|h| h.hint == ResetHint::Gauge) {
        notes.warn(notes::not_a_counter(notes.name));
    }
    let mut before: &FloatHistogram = first;
    // What is counted between the first two then began at nothing.
    let zero = FloatHistogram::empty(all[1].schema, &all[1].bounds);
    if is_counter && (is_new(1) || all[1].is_reset_after(before)) {
        before = &zero;
    }
    let compared: &[Arc<FloatHistogram>] = if is_counter {
        &all[1..]
    } else {
        std::slice::from_ref(last)
    };
    if compared.iter().any(|h| h.is_custom() != before.is_custom()) {
        notes.warn(notes::mixed_schemas(notes.name));
        return None;
    }
    let mut sum = FloatHistogram::clone(last);
    if is_counter {
        let schemas = all[1..].iter().map(|h| h.schema);
        sum.reduce(schemas.fold(before.schema, i32::min));
        let starts = window.histogram_starts;
        warn_of_overlap(notes.call, notes.series, window.histogram_times, starts);
    }
    notes.subtract(&mut sum, before)?;
    if is_counter {
        for (at, histogram) in all.iter().enumerate().skip(1) {
            if is_new(at) || histogram.is_reset_after(before) {
                notes.add(&mut sum, before)?;
            }
            before = histogram;
        }
    }
    Some(sum)
}

/// The change between the ends of an extended range, without any extrapolation.
fn exact(
    notes: &Notes<'_>,
    window: &Window<'_>,
    is_counter: bool,
    factor: f64,
    extension: Extension,
) -> Option<FloatHistogram> {
    let (all, times) = (window.histograms, window.histogram_times);
    let (first, last) = (all.first()?, all.last()?);
    if all.iter().any(|h| h.is_custom() != first.is_custom()) {
        notes.warn(notes::mixed_schemas(notes.name));
        return None;
    }
    let is_gauge = |h: &&Arc<FloatHistogram>| h.hint == ResetHint::Gauge;
    if is_counter && all.iter().any(|h| is_gauge(&h)) {
        notes.warn(notes::not_a_counter(notes.name));
    }
    let n = all.len();
    let is_smoothed = extension == Extension::Smoothed && n > 1;
    let cuts_left = is_smoothed && times[0] < window.start_ms;
    let left = if cuts_left {
        between(notes, window, 0, window.start_ms, is_counter)?
    } else {
        FloatHistogram::clone(first)
    };
    let cuts_right = is_smoothed && times[n - 1] > window.end_ms;
    let right = if cuts_right {
        between(notes, window, n - 2, window.end_ms, is_counter)?
    } else {
        FloatHistogram::clone(last)
    };
    if !is_counter && [&left, &right].iter().any(|h| h.hint != ResetHint::Gauge) {
        notes.warn(notes::not_a_gauge(notes.name));
    }
    let mut sum = right.clone();
    notes.subtract(&mut sum, &left)?;
    if is_counter {
        let mut before = &left;
        let mut next = 1;
        if cuts_left && all[1].is_reset_after(first) {
            // The left end lies behind the reset already.
            (before, next) = (&*all[1], 2);
        }
        for histogram in all.get(next..n - 1).unwrap_or_default() {
            if histogram.is_reset_after(before) {
                notes.add(&mut sum, before)?;
            }
            before = histogram;
        }
        if n > 1 && next < n && right.is_reset_after(before) {
            notes.add(&mut sum, before)?;
        }
    }
    sum.multiply(factor);
    sum.hint = ResetHint::Gauge;
    Some(sum.compact())
}

/// The histogram at a time on the line between two that follow each other.
fn between(
    notes: &Notes<'_>,
    window: &Window<'_>,
    at: usize,
    time_ms: i64,
    is_counter: bool,
) -> Option<FloatHistogram> {
    let (before, after) = (&window.histograms[at], &window.histograms[at + 1]);
    let (from_ms, to_ms) = (window.histogram_times[at], window.histogram_times[at + 1]);
    let share = (time_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
    let mut result = FloatHistogram::clone(after);
    if is_counter && after.is_reset_after(before) {
        result.multiply(share);
        return Some(result);
    }
    notes.subtract(&mut result, before)?;
    result.multiply(share);
    notes.add(&mut result, before)?;
    Some(result)
}

/// Between the last two samples, of either kind, of a window that has a histogram.
pub(super) fn last_two(
    call: &Call<'_, '_>,
    series: &RangeSeries,
    window: &Window<'_>,
    is_rate: bool,
) -> Option<Point> {
    let notes = Notes::new(call, series);
    let (histograms, times) = (window.histograms, window.histogram_times);
    let n = histograms.len();
    let newest_float = window.times.last().copied().unwrap_or(i64::MIN);
    if n < 2 || newest_float > times[n - 2] {
        if !window.values.is_empty() {
            // Two floats behind the histograms are alone.
            let is_last = |back: usize| {
                let at = window.times.len().checked_sub(back);
                at.is_some_and(|at| window.times[at] > times[n - 1])
            };
            if is_last(2) {
                let [(before_ms, before), (last_ms, last)] = window.last_two()?;
                let [before_start, last_start] = window.last_two_starts();
                let is_new = begins_anew((before_start, before_ms), (last_start, last_ms));
                let fell = is_rate && (last < before || is_new);
                let change = if fell { last } else { last - before };
                let interval_s = (last_ms - before_ms) as f64 / 1000.0;
                let value = if is_rate { change / interval_s } else { change };
                return Some(Point::Float(value));
            }
            notes.mixed_kinds();
        }
        return None;
    }
    let (before, last) = (&histograms[n - 2], &histograms[n - 1]);
    notes.check_gauges([before, last], is_rate);
    let mut change = FloatHistogram::clone(last);
    let is_new = new_starts(times, window.histogram_starts)(n - 1);
    if !is_rate || !(is_new || last.is_reset_after(before)) {
        notes.subtract(&mut change, before)?;
    }
    if is_rate {
        change.divide((times[n - 1] - times[n - 2]) as f64 / 1000.0);
    }
    change.hint = ResetHint::Gauge;
    Some(Point::Histogram(Arc::new(change.compact())))
}
