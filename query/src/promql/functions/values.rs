//! Between scalars and vectors: scalar, vector.

use kansoku_model::Labels;

use super::super::ast::ValueType;
use super::super::value::{Column, Value, is_absent};
use super::Function;

pub(super) const SCALAR: Function = Function::whole(
    "scalar",
    &[ValueType::Vector],
    ValueType::Scalar,
    "The value of the only series; NaN when there is none or more than one.",
    |call| {
        let columns = call.vector(0)?;
        let mut values = Vec::with_capacity(call.grid.n_steps);
        for step in 0..call.grid.n_steps {
            let mut present = columns
                .iter()
                .map(|c| c.values[step])
                .filter(|v| !is_absent(*v));
            let first = present.next();
            values.push(match (first, present.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            });
        }
        Ok(Value::Scalar(values))
    },
);

pub(super) const VECTOR: Function = Function::whole(
    "vector",
    &[ValueType::Scalar],
    ValueType::Vector,
    "The scalar as a series without labels.",
    |call| {
        let values = call.evaluator.scalar(&call.args[0], call.grid)?;
        Ok(Value::Vector(vec![Column::floats(
            Labels::default(),
            false,
            values,
        )]))
    },
);
