//! Functions of one value: rounding, clamping, logarithms, roots.

use super::super::ast::ValueType::{Scalar, Vector};
use super::super::value::ABSENT;
use super::Function;
use crate::number::{larger, smaller};

pub(super) const ABS: Function = Function::map("abs", "Absolute value.", |v, _| v.abs());
pub(super) const CEIL: Function = Function::map("ceil", "Next whole number up.", |v, _| v.ceil());
pub(super) const FLOOR: Function =
    Function::map("floor", "Next whole number down.", |v, _| v.floor());
pub(super) const EXP: Function =
    Function::map("exp", "e to the power of the value.", |v, _| v.exp());
pub(super) const LN: Function = Function::map("ln", "Natural logarithm.", |v, _| v.ln());
pub(super) const LOG2: Function = Function::map("log2", "Binary logarithm.", |v, _| v.log2());
pub(super) const LOG10: Function = Function::map("log10", "Decimal logarithm.", |v, _| v.log10());
pub(super) const SQRT: Function = Function::map("sqrt", "Square root.", |v, _| v.sqrt());

pub(super) const SGN: Function = Function::map("sgn", "Sign: -1, 0 or 1.", |v, _| {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
});

pub(super) const ROUND: Function = Function {
    args: &[Vector, Scalar],
    variadic: 1,
    ..Function::map(
        "round",
        "Nearest multiple of the second argument (1 by default); ties go up.",
        |v, scalars| {
            // Dividing by the inverse keeps multiples of 0.1 and the like exact.
            let inverse = 1.0 / scalars.first().copied().unwrap_or(1.0);
            (v * inverse + 0.5).floor() / inverse
        },
    )
};

pub(super) const CLAMP: Function = Function {
    args: &[Vector, Scalar, Scalar],
    ..Function::map(
        "clamp",
        "The value, but not below the first and not above the second limit.",
        |v, scalars| match scalars {
            [min, max] if max < min => ABSENT,
            [min, max] => larger(*min, smaller(*max, v)),
            _ => v,
        },
    )
};

pub(super) const CLAMP_MIN: Function = Function {
    args: &[Vector, Scalar],
    ..Function::map(
        "clamp_min",
        "The value, but not below the limit.",
        |v, s| s.first().map_or(v, |min| larger(*min, v)),
    )
};

pub(super) const CLAMP_MAX: Function = Function {
    args: &[Vector, Scalar],
    ..Function::map(
        "clamp_max",
        "The value, but not above the limit.",
        |v, s| s.first().map_or(v, |max| smaller(*max, v)),
    )
};
