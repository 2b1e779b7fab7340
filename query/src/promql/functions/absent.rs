//! Is there anything at all: absent, absent_over_time, present_over_time.

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::{Labels, MatchOp};

use super::super::ast::{Expr, ExprKind, ValueType};
use super::super::error::QueryError;
use super::super::value::{ABSENT, Column, Point, Value};
use super::{Call, Function};

pub(super) const ABSENT_FUNCTION: Function = Function::whole(
    "absent",
    &[ValueType::Vector],
    ValueType::Vector,
    "1, with the labels that the selector demands, when the vector is empty.",
    |call| {
        let columns = call.vector(0)?;
        let present = |step: usize| columns.iter().any(|c| c.is_present(step));
        absent(call, present)
    },
);

pub(super) const ABSENT_OVER_TIME: Function = Function::whole(
    "absent_over_time",
    &[ValueType::Matrix],
    ValueType::Vector,
    "1, with the labels that the selector demands, when the range has no sample.",
    |call| {
        let (data, _) = call.range()?;
        let windows = data.windows;
        let series = call.evaluator.read_all(data)?;
        let present = |step: usize| {
            let end_ms = windows.reference.time(call.grid.time(step));
            let start_ms = end_ms.saturating_sub(windows.range_ms);
            let holds = |times: &[i64]| {
                let last = times.partition_point(|t| *t <= end_ms);
                last > 0 && times[last - 1] > start_ms
            };
            let mut series = series.iter();
            series.any(|one| holds(&one.times) || holds(&one.histogram_times))
        };
        absent(call, present)
    },
);

pub(super) const PRESENT_OVER_TIME: Function = Function::samples(
    "present_over_time",
    "1 for each series with a sample in the range.",
    |_, _, _| Some(Point::Float(1.0)),
);

fn absent(call: &Call<'_, '_>, present: impl Fn(usize) -> bool) -> Result<Value, QueryError> {
    let mut values = Vec::with_capacity(call.grid.n_steps);
    for step in 0..call.grid.n_steps {
        (call.evaluator.check)()?;
        values.push(if present(step) { ABSENT } else { 1.0 });
    }
    let labels = labels_of(&call.args[0]);
    call.joined(vec![Column::floats(labels, false, values)])
}

/// The labels that a selector fixes to one value.
fn labels_of(expr: &Expr) -> Labels {
    let (ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. }) =
        &expr.unwrap_parens().kind
    else {
        return Labels::default();
    };
    let fixed = selector.matchers.iter().filter(|matcher| {
        let n_of_name = selector.matchers.iter().filter(|m| m.name == matcher.name);
        matcher.op == MatchOp::Equal && matcher.name != METRIC_NAME && n_of_name.count() == 1
    });
    Labels::from_pairs(fixed.map(|m| (m.name.as_str(), m.value.as_str())))
}
