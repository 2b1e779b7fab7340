//! Template functions on numbers, and comparisons.

use std::cmp::Ordering;

use super::Scope;
use super::value::Value;
use crate::logql::units;
use crate::number::{larger, smaller};

type Result<T = Value> = std::result::Result<T, String>;

fn fold_int(a: &[Value], f: impl Fn(i64, i64) -> i64) -> Result {
    let numbers = a.iter().map(Value::to_int);
    Ok(Value::Int(numbers.reduce(f).unwrap_or(0)))
}

fn fold_float(a: &[Value], f: impl Fn(f64, f64) -> f64) -> Result {
    let numbers = a.iter().map(Value::to_float);
    Ok(Value::Float(numbers.reduce(f).unwrap_or(0.0)))
}

pub fn add(a: &[Value], _: Scope<'_>) -> Result {
    fold_int(a, i64::wrapping_add)
}

pub fn sub(a: &[Value], _: Scope<'_>) -> Result {
    fold_int(a, i64::wrapping_sub)
}

pub fn mul(a: &[Value], _: Scope<'_>) -> Result {
    fold_int(a, i64::wrapping_mul)
}

pub fn div(a: &[Value], _: Scope<'_>) -> Result {
    checked(a, i64::checked_div)
}

pub fn modulo(a: &[Value], _: Scope<'_>) -> Result {
    checked(a, i64::checked_rem)
}

fn checked(a: &[Value], f: fn(i64, i64) -> Option<i64>) -> Result {
    f(a[0].to_int(), a[1].to_int())
        .map(Value::Int)
        .ok_or_else(|| "integer divide by zero".into())
}

pub fn addf(a: &[Value], _: Scope<'_>) -> Result {
    fold_float(a, |x, y| x + y)
}

pub fn subf(a: &[Value], _: Scope<'_>) -> Result {
    fold_float(a, |x, y| x - y)
}

pub fn mulf(a: &[Value], _: Scope<'_>) -> Result {
    fold_float(a, |x, y| x * y)
}

pub fn divf(a: &[Value], _: Scope<'_>) -> Result {
    fold_float(a, |x, y| x / y)
}

pub fn max(a: &[Value], _: Scope<'_>) -> Result {
    fold_int(a, i64::max)
}

pub fn min(a: &[Value], _: Scope<'_>) -> Result {
    fold_int(a, i64::min)
}

pub fn maxf(a: &[Value], _: Scope<'_>) -> Result {
    fold_float(a, larger)
}

pub fn minf(a: &[Value], _: Scope<'_>) -> Result {
    fold_float(a, smaller)
}

/// `round x places [from]`: up from `from` (a half unless given), as sprig does.
pub fn round(a: &[Value], _: Scope<'_>) -> Result {
    let n = a[0].to_float();
    let places = a.get(1).map_or(0, Value::to_int).clamp(-300, 300) as i32;
    let from = a.get(2).map_or(0.5, Value::to_float);
    let scale = 10f64.powi(places);
    let scaled = n * scale;
    let part = scaled.fract();
    let rounded = if part >= from {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    Ok(Value::Float(rounded / scale))
}

/// `1KB` as a number of bytes.
pub fn bytes(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Float(units::byte_size(a[0].as_text()?)? as f64))
}

/// `1m30s` as a number of seconds.
pub fn duration(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Float(
        units::go_duration(a[0].as_text()?)? as f64 / 1e9,
    ))
}

/// Whether the first equals any of the others.
pub fn equal(a: &[Value], _: Scope<'_>) -> Result {
    for other in &a[1..] {
        let equal = match (&a[0], other) {
            (Value::Text(x), Value::Text(y)) => x == y,
            (Value::Int(x), Value::Int(y)) => x == y,
            (Value::Float(x), Value::Float(y)) => x == y,
            (Value::Bool(x), Value::Bool(y)) => x == y,
            (Value::Nil, _) | (_, Value::Nil) => a[0] == *other,
            _ => return Err("incompatible types for comparison".into()),
        };
        if equal {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub fn compare(a: &[Value]) -> Result<Ordering> {
    match (&a[0], &a[1]) {
        (Value::Text(x), Value::Text(y)) => Ok(x.cmp(y)),
        (Value::Int(x), Value::Int(y)) => Ok(x.cmp(y)),
        (Value::Float(x), Value::Float(y)) => x
            .partial_cmp(y)
            .ok_or_else(|| "NaN cannot be compared".to_owned()),
        _ => Err("incompatible types for comparison".into()),
    }
}
