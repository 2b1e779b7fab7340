//! Angles: trigonometric and hyperbolic functions, degrees and radians, pi.

use super::super::ast::ValueType;
use super::super::value::Value;
use super::Function;

pub(super) const ACOS: Function = Function::map("acos", "Arccosine.", |v, _| v.acos());
pub(super) const ACOSH: Function =
    Function::map("acosh", "Inverse hyperbolic cosine.", |v, _| v.acosh());
pub(super) const ASIN: Function = Function::map("asin", "Arcsine.", |v, _| v.asin());
pub(super) const ASINH: Function =
    Function::map("asinh", "Inverse hyperbolic sine.", |v, _| v.asinh());
pub(super) const ATAN: Function = Function::map("atan", "Arctangent.", |v, _| v.atan());
pub(super) const ATANH: Function =
    Function::map("atanh", "Inverse hyperbolic tangent.", |v, _| v.atanh());
pub(super) const COS: Function = Function::map("cos", "Cosine.", |v, _| v.cos());
pub(super) const COSH: Function = Function::map("cosh", "Hyperbolic cosine.", |v, _| v.cosh());
pub(super) const SIN: Function = Function::map("sin", "Sine.", |v, _| v.sin());
pub(super) const SINH: Function = Function::map("sinh", "Hyperbolic sine.", |v, _| v.sinh());
pub(super) const TAN: Function = Function::map("tan", "Tangent.", |v, _| v.tan());
pub(super) const TANH: Function = Function::map("tanh", "Hyperbolic tangent.", |v, _| v.tanh());
pub(super) const DEG: Function = Function::map("deg", "Radians in degrees.", |v, _| {
    v * 180.0 / std::f64::consts::PI
});
pub(super) const RAD: Function = Function::map("rad", "Degrees in radians.", |v, _| {
    v * std::f64::consts::PI / 180.0
});

pub(super) const PI: Function =
    Function::whole("pi", &[], ValueType::Scalar, "The number pi.", |call| {
        Ok(Value::Scalar(vec![std::f64::consts::PI; call.grid.n_steps]))
    });
