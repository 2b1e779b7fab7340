//! Aggregations over the samples of a range: avg_over_time and its kin.

use super::super::aggregations::quantile_of;
use super::super::ast::ValueType::{Matrix, Scalar, Vector};
use super::super::error::QueryError;
use super::super::kahan::{Mean, SlidingSum, Sum};
use super::super::value::{RangeSeries, Value, Window};
use super::{Body, Call, Function, quantile_warning};

pub(super) const AVG_OVER_TIME: Function = Function::whole(
    "avg_over_time",
    &[Matrix],
    Vector,
    "Mean of the values in the range.",
    |call| {
        sums(call, |window, sum| {
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
    |call| sums(call, |_, sum| sum.value()),
);

/// Gives `finish` the sum of each window.
fn sums(call: &Call<'_, '_>, finish: fn(&Window<'_>, Sum) -> f64) -> Result<Value, QueryError> {
    let (data, _) = call.range()?;
    let mut sliding = SlidingSum::default();
    let mut current: Option<*const RangeSeries> = None;
    call.over(data, false, |series, window| {
        if current != Some(std::ptr::from_ref(series)) {
            current = Some(std::ptr::from_ref(series));
            sliding.restart(&series.values);
        }
        Ok(Some(finish(
            window,
            sliding.of(window.first, window.values),
        )))
    })
}

pub(super) const COUNT_OVER_TIME: Function = Function::window(
    "count_over_time",
    "Number of samples in the range.",
    |window| Some(window.values.len() as f64),
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

pub(super) const TS_OF_FIRST_OVER_TIME: Function = Function::window(
    "ts_of_first_over_time",
    "Time in seconds of the oldest sample in the range.",
    |window| window.times.first().map(|t| seconds(*t)),
);

pub(super) const TS_OF_LAST_OVER_TIME: Function = Function::window(
    "ts_of_last_over_time",
    "Time in seconds of the newest sample in the range.",
    |window| window.times.last().map(|t| seconds(*t)),
);

pub(super) const FIRST_OVER_TIME: Function = Function {
    body: Body::WindowKeepingName(|window| window.values.first().copied()),
    ..Function::window("first_over_time", "Oldest value in the range.", |_| None)
};

pub(super) const LAST_OVER_TIME: Function = Function {
    body: Body::WindowKeepingName(|window| window.values.last().copied()),
    ..Function::window("last_over_time", "Newest value in the range.", |_| None)
};

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
        let mut sorted = Vec::new();
        call.over(data, false, |_, window| {
            let phi = window.scalars.first().copied().unwrap_or(f64::NAN);
            quantile_warning(call.evaluator, phi, call.args[0].span);
            sorted.clear();
            sorted.extend_from_slice(window.values);
            Ok(Some(quantile_of(phi, &mut sorted)))
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
