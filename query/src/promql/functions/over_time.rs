//! Aggregations over the samples of a range: avg_over_time and its kin.

use super::super::aggregations::quantile_of;
use std::sync::Arc;

use super::super::ast::Span;
use super::super::ast::ValueType::{Matrix, Scalar, Vector};
use super::super::error::QueryError;
use super::super::evaluate::Evaluator;
use super::super::kahan::{Mean, SlidingSum, Sum};
use super::super::native::{FloatHistogram, ResetHint, Total};
use super::super::notes::{bounds_differed, hints_collide, mixed_kinds, mixed_schemas};
use super::super::value::{Point, RangeSeries, Value, Window};
use super::{Body, Call, Function, quantile_warning};

pub(super) const AVG_OVER_TIME: Function = Function::whole(
    "avg_over_time",
    &[Matrix],
    Vector,
    "Mean of the values in the range.",
    |call| {
        sums(call, true, |window, sum| {
            let count = window.values.len() as f64;
            if sum.is_finite() {
                return sum.value_over(count);
            }
            // The sum may overflow where the mean does not.
            let mut mean = Mean::default();
            window.values.iter().for_each(|v| mean.add(*v));
            mean.value()
        })
    },
);

pub(super) const SUM_OVER_TIME: Function = Function::whole(
    "sum_over_time",
    &[Matrix],
    Vector,
    "Sum of the values in the range.",
    |call| sums(call, false, |_, sum| sum.value()),
);

/// Gives `finish` the sum of each window.
fn sums(
    call: &Call<'_, '_>,
    is_mean: bool,
    finish: fn(&Window<'_>, Sum) -> f64,
) -> Result<Value, QueryError> {
    let (data, span) = call.range()?;
    let sliding = |_: &Call<'_, '_>, series: &RangeSeries| SlidingSum::of_series(&series.values);
    call.over_samples(&data, false, sliding, |sliding, call, series, window| {
        let name = series.labels.metric_name();
        if !window.histograms.is_empty() {
            if !window.values.is_empty() {
                call.evaluator.warn(span, mixed_kinds(name));
                return Ok(None);
            }
            let all = window.histograms.iter().map(|h| &**h);
            let sum = total(call.evaluator, span, name, all, is_mean);
            return Ok(sum.map(|sum| Point::Histogram(Arc::new(sum))));
        }
        let sum = sliding.of(window.first, window.values);
        Ok(Some(Point::Float(finish(window, sum))))
    })
}

/// The sum or the mean of histograms, unless they do not go together.
pub(in super::super) fn total<'h>(
    evaluator: &Evaluator<'_>,
    span: Span,
    name: &str,
    all: impl Iterator<Item = &'h FloatHistogram> + Clone,
    is_mean: bool,
) -> Option<FloatHistogram> {
    let mut rest = all.clone();
    let first = rest.next()?;
    let mut sum = Total::of(first);
    let (mut count, mut differed) = (1.0, false);
    for histogram in rest {
        count += 1.0;
        match sum.add(histogram) {
            Ok(joined) => differed |= joined.bounds_differed,
            Err(_) => {
                evaluator.warn(span, mixed_schemas(name));
                return None;
            }
        }
    }
    let has = |hint| all.clone().any(|h| h.hint == hint);
    if has(ResetHint::Yes) && has(ResetHint::No) {
        evaluator.warn(span, hints_collide("aggregation"));
    }
    if differed {
        evaluator.inform(span, bounds_differed("aggregation"));
    }
    if is_mean && sum.has_overflow() {
        return running_mean(all);
    }
    let mut sum = sum.finish();
    if is_mean {
        sum.divide(count);
    }
    Some(sum.compact())
}

/// The mean of histograms whose sum is beyond what a float holds.
fn running_mean<'h>(mut all: impl Iterator<Item = &'h FloatHistogram>) -> Option<FloatHistogram> {
    let mut mean = Total::of(all.next()?);
    let mut count = 1.0;
    for histogram in all {
        count += 1.0;
        mean.scale((count - 1.0) / count);
        let mut share = histogram.clone();
        share.divide(count);
        // Whether they go together was seen when they were added up.
        mean.add(&share).ok()?;
    }
    Some(mean.finish().compact())
}

pub(super) const COUNT_OVER_TIME: Function = Function::samples(
    "count_over_time",
    "Number of samples in the range.",
    |_, _, window| {
        let n = window.values.len() + window.histograms.len();
        Some(Point::Float(n as f64))
    },
);

pub(super) const MIN_OVER_TIME: Function = Function::window(
    "min_over_time",
    "Smallest value in the range; NaN only when there is nothing else.",
    |window| extreme(window, |value, held| value < held).map(|at| window.values[at]),
);

pub(super) const MAX_OVER_TIME: Function = Function::window(
    "max_over_time",
    "Largest value in the range; NaN only when there is nothing else.",
    |window| extreme(window, |value, held| value > held).map(|at| window.values[at]),
);

pub(super) const TS_OF_MIN_OVER_TIME: Function = Function::window(
    "ts_of_min_over_time",
    "Time in seconds of the last smallest value in the range.",
    |window| extreme(window, |value, held| value <= held).map(|at| seconds(window.times[at])),
);

pub(super) const TS_OF_MAX_OVER_TIME: Function = Function::window(
    "ts_of_max_over_time",
    "Time in seconds of the last largest value in the range.",
    |window| extreme(window, |value, held| value >= held).map(|at| seconds(window.times[at])),
);

pub(super) const TS_OF_FIRST_OVER_TIME: Function = Function::samples(
    "ts_of_first_over_time",
    "Time in seconds of the oldest sample in the range.",
    |_, _, window| {
        let firsts = window.times.first().into_iter();
        let oldest = firsts.chain(window.histogram_times.first()).min();
        oldest.map(|t| Point::Float(seconds(*t)))
    },
);

pub(super) const TS_OF_LAST_OVER_TIME: Function = Function::samples(
    "ts_of_last_over_time",
    "Time in seconds of the newest sample in the range.",
    |_, _, window| {
        let lasts = window.times.last().into_iter();
        let newest = lasts.chain(window.histogram_times.last()).max();
        newest.map(|t| Point::Float(seconds(*t)))
    },
);

pub(super) const FIRST_OVER_TIME: Function = Function {
    body: Body::SamplesKeepingName(|_, _, window| {
        match (window.times.first(), window.histogram_times.first()) {
            (Some(float), Some(histogram)) if histogram < float => {
                histogram_at(window.histograms.first())
            }
            (None, _) => histogram_at(window.histograms.first()),
            _ => window.values.first().copied().map(Point::Float),
        }
    }),
    ..Function::window("first_over_time", "Oldest value in the range.", |_| None)
};

pub(super) const LAST_OVER_TIME: Function = Function {
    body: Body::SamplesKeepingName(|_, _, window| {
        match (window.times.last(), window.histogram_times.last()) {
            (Some(float), Some(histogram)) if histogram > float => {
                histogram_at(window.histograms.last())
            }
            (None, _) => histogram_at(window.histograms.last()),
            _ => window.values.last().copied().map(Point::Float),
        }
    }),
    ..Function::window("last_over_time", "Newest value in the range.", |_| None)
};

fn histogram_at(histogram: Option<&Arc<FloatHistogram>>) -> Option<Point> {
    histogram.map(|h| Point::Histogram(Arc::clone(h)))
}

pub(super) const STDVAR_OVER_TIME: Function = Function::window(
    "stdvar_over_time",
    "Population variance of the values in the range.",
    |window| Some(variance(window.values)),
);

pub(super) const STDDEV_OVER_TIME: Function = Function::window(
    "stddev_over_time",
    "Population standard deviation of the values in the range.",
    |window| Some(variance(window.values).sqrt()),
);

pub(super) const MAD_OVER_TIME: Function = Function::window(
    "mad_over_time",
    "Median absolute deviation of the values in the range.",
    |window| {
        if window.values.iter().any(|v| v.is_nan()) {
            return Some(f64::NAN);
        }
        let mut values = window.values.to_vec();
        let median = quantile_of(0.5, &mut values);
        values.iter_mut().for_each(|v| *v = (*v - median).abs());
        Some(quantile_of(0.5, &mut values))
    },
);

pub(super) const QUANTILE_OVER_TIME: Function = Function::whole(
    "quantile_over_time",
    &[Scalar, Matrix],
    Vector,
    "The φ-quantile of the values in the range.",
    |call| {
        let (data, _) = call.range()?;
        call.over(&data, Vec::new, |sorted, call, window| {
            let phi = window.scalars.first().copied().unwrap_or(f64::NAN);
            quantile_warning(call.evaluator, phi, call.args[0].span);
            sorted.clear();
            sorted.extend_from_slice(window.values);
            Ok(Some(quantile_of(phi, sorted)))
        })
    },
);

fn seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}

/// Index of the value that beats all before it; NaN is beaten by anything.
fn extreme(window: &Window<'_>, beats: fn(f64, f64) -> bool) -> Option<usize> {
    let mut held = 0;
    for (at, value) in window.values.iter().enumerate() {
        if beats(*value, window.values[held]) || window.values[held].is_nan() {
            held = at;
        }
    }
    (!window.values.is_empty()).then_some(held)
}

fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        let delta = value - mean.value();
        mean.add(delta / count);
        squares.add(delta * (value - mean.value()));
    }
    squares.value() / count
}
