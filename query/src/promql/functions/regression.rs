//! Trends in a range: deriv, predict_linear, double_exponential_smoothing.

use super::super::ast::ValueType::{Matrix, Scalar, Vector};
use super::super::error::QueryError;
use super::super::kahan::Sum;
use super::super::value::Window;
use super::Function;

pub(super) const DERIV: Function = Function::window(
    "deriv",
    "Slope per second of a line through the samples of the range.",
    |window| {
        if window.values.len() < 2 {
            return None;
        }
        // Times relative to the first sample keep the squares small.
        let (slope, _) = line(window, window.times[0]);
        Some(slope)
    },
);

pub(super) const PREDICT_LINEAR: Function = Function {
    args: &[Matrix, Scalar],
    uses_time: true,
    ..Function::window(
        "predict_linear",
        "Value in that many seconds on a line through the samples of the range.",
        |window| {
            if window.values.len() < 2 {
                return None;
            }
            let ahead_s = window.scalars.first().copied().unwrap_or(f64::NAN);
            let (slope, intercept) = line(window, window.eval_ms);
            Some(slope * ahead_s + intercept)
        },
    )
};

pub(super) const DOUBLE_EXPONENTIAL_SMOOTHING: Function = Function::whole(
    "double_exponential_smoothing",
    &[Matrix, Scalar, Scalar],
    Vector,
    "The range smoothed with a smoothing factor and a trend factor.",
    |call| {
        let (data, _) = call.range()?;
        call.over(
            &data,
            || (),
            |(), _, window| {
                let [smoothing, trend] = *window.scalars else {
                    return Ok(None);
                };
                factor("smoothing", "sf", smoothing)?;
                factor("trend", "tf", trend)?;
                Ok(smooth(window.values, smoothing, trend))
            },
        )
    },
);

fn factor(word: &str, symbol: &str, value: f64) -> Result<(), QueryError> {
    if value <= 0.0 || value >= 1.0 {
        return Err(QueryError::Execution(format!(
            "invalid {word} factor. Expected: 0 < {symbol} < 1, got: {value:.6}"
        )));
    }
    Ok(())
}

fn smooth(values: &[f64], smoothing: f64, trend: f64) -> Option<f64> {
    let [first, second, ..] = *values else {
        return None;
    };
    let (mut before, mut smoothed, mut slope) = (0.0, first, second - first);
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + slope);
        before = smoothed;
        smoothed = next;
    }
    Some(smoothed)
}

/// Slope per second and value at `origin_ms` of the least-squares line.
fn line(window: &Window<'_>, origin_ms: i64) -> (f64, f64) {
    let first = window.values[0];
    if window.values.iter().all(|v| *v == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let (mut x, mut y, mut xy, mut xx) = (
        Sum::default(),
        Sum::default(),
        Sum::default(),
        Sum::default(),
    );
    for (time_ms, value) in window.times.iter().zip(window.values) {
        let at_s = (time_ms - origin_ms) as f64 / 1000.0;
        x.add(at_s);
        y.add(*value);
        xy.add(at_s * value);
        xx.add(at_s * at_s);
    }
    let n = window.values.len() as f64;
    let (x, y, xy, xx) = (x.value(), y.value(), xy.value(), xx.value());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}
