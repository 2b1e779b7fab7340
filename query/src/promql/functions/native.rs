//! What native histograms alone have: histogram_count, histogram_sum, histogram_avg, histogram_stddev,
//! histogram_stdvar. Floats are left out.

use super::super::ast::ValueType::Vector;
use super::super::error::QueryError;
use super::super::native::FloatHistogram;
use super::super::value::{ABSENT, Value};
use super::{Call, Function};

pub(super) const HISTOGRAM_COUNT: Function = Function::whole(
    "histogram_count",
    &[Vector],
    Vector,
    "Number of observations of native histograms.",
    |call| each(call, |h| h.count),
);

pub(super) const HISTOGRAM_SUM: Function = Function::whole(
    "histogram_sum",
    &[Vector],
    Vector,
    "Sum of the observations of native histograms.",
    |call| each(call, |h| h.sum),
);

pub(super) const HISTOGRAM_AVG: Function = Function::whole(
    "histogram_avg",
    &[Vector],
    Vector,
    "Mean of the observations of native histograms.",
    |call| each(call, |h| h.sum / h.count),
);

pub(super) const HISTOGRAM_STDVAR: Function = Function::whole(
    "histogram_stdvar",
    &[Vector],
    Vector,
    "Variance of the observations of native histograms, estimated by their buckets.",
    |call| each(call, FloatHistogram::variance),
);

pub(super) const HISTOGRAM_STDDEV: Function = Function::whole(
    "histogram_stddev",
    &[Vector],
    Vector,
    "Standard deviation of the observations of native histograms, estimated by their buckets.",
    |call| each(call, |h| h.variance().sqrt()),
);

fn each(call: &Call<'_, '_>, map: fn(&FloatHistogram) -> f64) -> Result<Value, QueryError> {
    let mut columns = call.vector(0)?;
    for column in &mut columns {
        (call.evaluator.check)()?;
        let histograms = std::mem::take(&mut column.histograms);
        column.values.fill(ABSENT);
        for (value, histogram) in column.values.iter_mut().zip(&histograms) {
            if let Some(histogram) = histogram {
                *value = map(histogram);
            }
        }
        call.evaluator.drop_name(column);
    }
    call.joined(columns)
}
