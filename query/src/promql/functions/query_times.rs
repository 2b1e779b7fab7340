//! How the query is run: start, end, step, range; and the smaller and larger of two scalars.

use super::super::ast::ValueType::Scalar;
use super::super::error::QueryError;
use super::super::value::Value;
use super::{Call, Function};

pub(super) const START: Function = Function::whole(
    "start",
    &[],
    Scalar,
    "First time of the query in seconds.",
    |call| constant(call, call.evaluator.query_start_ms),
);

pub(super) const END: Function = Function::whole(
    "end",
    &[],
    Scalar,
    "Last time of the query in seconds.",
    |call| constant(call, call.evaluator.query_end_ms),
);

pub(super) const STEP: Function = Function::whole(
    "step",
    &[],
    Scalar,
    "Step of the query in seconds; 0 for an instant query.",
    |call| constant(call, call.evaluator.times.step_ms),
);

pub(super) const RANGE: Function = Function::whole(
    "range",
    &[],
    Scalar,
    "Time between start and end of the query in seconds.",
    |call| constant(call, call.evaluator.times.range_ms),
);

pub(super) const MIN_OF: Function = Function::whole(
    "min_of",
    &[Scalar, Scalar],
    Scalar,
    "The smaller of two scalars; NaN when either is.",
    |call| pairs(call, f64::min),
);

pub(super) const MAX_OF: Function = Function::whole(
    "max_of",
    &[Scalar, Scalar],
    Scalar,
    "The larger of two scalars; NaN when either is.",
    |call| pairs(call, f64::max),
);

fn constant(call: &Call<'_, '_>, time_ms: i64) -> Result<Value, QueryError> {
    Ok(Value::Scalar(vec![
        time_ms as f64 / 1000.0;
        call.grid.n_steps
    ]))
}

fn pairs(call: &Call<'_, '_>, pick: fn(f64, f64) -> f64) -> Result<Value, QueryError> {
    let mut first = call.evaluator.scalar(&call.args[0], call.grid)?;
    let second = call.evaluator.scalar(&call.args[1], call.grid)?;
    for (a, b) in first.iter_mut().zip(second) {
        *a = if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            pick(*a, b)
        };
    }
    Ok(Value::Scalar(first))
}
