//! The functions of PromQL.
//!
//! A function is one constant (name, signature, documentation, body) and one line in [`ALL`].
//! Bodies come in three shapes, see [`Body`]; most need no more than numbers in, number out.

mod absent;
mod change;
mod elementwise;
mod float_change;
mod histogram;
mod info;
mod labels;
mod native;
mod over_time;
mod query_times;
mod rate;
mod regression;
mod sort;
mod time;
mod trigonometry;
mod values;
mod windows;

pub(super) use over_time::total;

use super::ast::{Expr, ExprKind, Span, ValueType};
use super::error::QueryError;
use super::evaluate::{Evaluator, SAME_LABELSET};
use super::text::Text;
use super::value::{Column, Grid, Point, RangeData, RangeSeries, Value, Window, is_absent};
use crate::number::{format_g, quote};

/// One function.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub args: &'static [ValueType],
    /// 0: all arguments are needed. n: the last may be missing or stand up to n times. -1: the last
    /// may be missing or stand any number of times.
    pub variadic: i8,
    pub returns: ValueType,
    /// The result depends on the time of the step even when the arguments do not.
    pub uses_time: bool,
    pub doc: &'static str,
    pub(super) body: Body,
}

/// What a function does.
#[derive(Debug)]
pub(super) enum Body {
    /// One value of a vector after the other, with the scalar arguments of its step. [`ABSENT`]
    /// leaves the sample out.
    Map(fn(f64, &[f64]) -> f64),
    /// One window of a range after the other. Windows are never empty.
    Window(fn(&Window<'_>) -> Option<f64>),
    /// As `Window`, of floats and histograms.
    Samples(OfSamples),
    /// As `Samples`, and the result is still that metric.
    SamplesKeepingName(OfSamples),
    /// Part of a date: of each value, or of the step's time without an argument.
    Date(fn(&time::Date) -> f64),
    /// Anything else.
    Whole(fn(&Call<'_, '_>) -> Result<Value, QueryError>),
}

/// What a function makes of a window of samples of either kind.
pub(super) type OfSamples = fn(&Call<'_, '_>, &RangeSeries, &Window<'_>) -> Option<Point>;

impl Function {
    const fn samples(name: &'static str, doc: &'static str, body: OfSamples) -> Self {
        Self {
            body: Body::Samples(body),
            ..Self::window(name, doc, |_| None)
        }
    }

    const fn map(name: &'static str, doc: &'static str, map: fn(f64, &[f64]) -> f64) -> Self {
        Self {
            name,
            args: &[ValueType::Vector],
            variadic: 0,
            returns: ValueType::Vector,
            uses_time: false,
            doc,
            body: Body::Map(map),
        }
    }

    const fn window(
        name: &'static str,
        doc: &'static str,
        window: fn(&Window<'_>) -> Option<f64>,
    ) -> Self {
        Self {
            name,
            args: &[ValueType::Matrix],
            variadic: 0,
            returns: ValueType::Vector,
            uses_time: false,
            doc,
            body: Body::Window(window),
        }
    }

    const fn whole(
        name: &'static str,
        args: &'static [ValueType],
        returns: ValueType,
        doc: &'static str,
        body: fn(&Call<'_, '_>) -> Result<Value, QueryError>,
    ) -> Self {
        Self {
            name,
            args,
            variadic: 0,
            returns,
            uses_time: false,
            doc,
            body: Body::Whole(body),
        }
    }

    /// The least and the most arguments.
    #[must_use]
    pub fn n_args(&self) -> (usize, usize) {
        let n = self.args.len();
        match self.variadic {
            0 => (n, n),
            extra => (
                n.saturating_sub(1),
                usize::try_from(extra).map_or(usize::MAX, |extra| n - 1 + extra),
            ),
        }
    }
}

/// All functions, in the order of their files.
pub const ALL: &[&Function] = &[
    &absent::ABSENT_FUNCTION,
    &absent::ABSENT_OVER_TIME,
    &absent::PRESENT_OVER_TIME,
    &change::CHANGES,
    &change::RESETS,
    &elementwise::ABS,
    &elementwise::CEIL,
    &elementwise::CLAMP,
    &elementwise::CLAMP_MAX,
    &elementwise::CLAMP_MIN,
    &elementwise::EXP,
    &elementwise::FLOOR,
    &elementwise::LN,
    &elementwise::LOG10,
    &elementwise::LOG2,
    &elementwise::ROUND,
    &elementwise::SGN,
    &elementwise::SQRT,
    &native::HISTOGRAM_AVG,
    &native::HISTOGRAM_COUNT,
    &native::HISTOGRAM_STDDEV,
    &native::HISTOGRAM_STDVAR,
    &native::HISTOGRAM_SUM,
    &histogram::HISTOGRAM_FRACTION,
    &histogram::HISTOGRAM_QUANTILE,
    &histogram::HISTOGRAM_QUANTILES,
    &info::INFO,
    &labels::LABEL_JOIN,
    &labels::LABEL_REPLACE,
    &over_time::AVG_OVER_TIME,
    &over_time::COUNT_OVER_TIME,
    &over_time::FIRST_OVER_TIME,
    &over_time::LAST_OVER_TIME,
    &over_time::MAD_OVER_TIME,
    &over_time::MAX_OVER_TIME,
    &over_time::MIN_OVER_TIME,
    &over_time::QUANTILE_OVER_TIME,
    &over_time::STDDEV_OVER_TIME,
    &over_time::STDVAR_OVER_TIME,
    &over_time::SUM_OVER_TIME,
    &over_time::TS_OF_FIRST_OVER_TIME,
    &over_time::TS_OF_LAST_OVER_TIME,
    &over_time::TS_OF_MAX_OVER_TIME,
    &over_time::TS_OF_MIN_OVER_TIME,
    &query_times::END,
    &query_times::MAX_OF,
    &query_times::MIN_OF,
    &query_times::RANGE,
    &query_times::START,
    &query_times::STEP,
    &rate::DELTA,
    &rate::IDELTA,
    &rate::INCREASE,
    &rate::IRATE,
    &rate::RATE,
    &regression::DERIV,
    &regression::DOUBLE_EXPONENTIAL_SMOOTHING,
    &regression::PREDICT_LINEAR,
    &sort::SORT,
    &sort::SORT_BY_LABEL,
    &sort::SORT_BY_LABEL_DESC,
    &sort::SORT_DESC,
    &time::DAY_OF_MONTH,
    &time::DAY_OF_WEEK,
    &time::DAY_OF_YEAR,
    &time::DAYS_IN_MONTH,
    &time::HOUR,
    &time::MINUTE,
    &time::MONTH,
    &time::START_TIMESTAMP,
    &time::TIME,
    &time::TIMESTAMP,
    &time::YEAR,
    &trigonometry::ACOS,
    &trigonometry::ACOSH,
    &trigonometry::ASIN,
    &trigonometry::ASINH,
    &trigonometry::ATAN,
    &trigonometry::ATANH,
    &trigonometry::COS,
    &trigonometry::COSH,
    &trigonometry::DEG,
    &trigonometry::PI,
    &trigonometry::RAD,
    &trigonometry::SIN,
    &trigonometry::SINH,
    &trigonometry::TAN,
    &trigonometry::TANH,
    &values::SCALAR,
    &values::VECTOR,
];

/// The function called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    ALL.iter().find(|f| f.name == name).copied()
}

/// Why a function that Prometheus has is not in [`ALL`].
#[must_use]
pub fn why_absent(name: &str) -> Option<&'static str> {
    match name {
        "holt_winters" => Some("it is now called \"double_exponential_smoothing\""),
        _ => None,
    }
}

/// One call in a query.
pub(super) struct Call<'e, 'a> {
    pub evaluator: &'e Evaluator<'a>,
    pub grid: &'e Grid,
    pub function: &'static Function,
    pub args: &'e [Expr],
    pub span: Span,
}

pub(super) fn eval(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    match call.function.body {
        Body::Map(map) => call.map(map),
        Body::Window(window) => call.windows(window),
        Body::Samples(body) => call.of_samples(false, body),
        Body::SamplesKeepingName(body) => call.of_samples(true, body),
        Body::Date(part) => time::date_part(call, part),
        Body::Whole(body) => body(call),
    }
}

impl<'a> Call<'_, 'a> {
    /// The scalar arguments, in order, each at all steps.
    fn scalars(&self) -> Result<Vec<Vec<f64>>, QueryError> {
        self.args
            .iter()
            .filter(|arg| arg.value_type() == ValueType::Scalar)
            .map(|arg| self.evaluator.scalar(arg, self.grid))
            .collect()
    }

    /// The text of a string argument; the type check has seen that it is one.
    fn text(&self, index: usize) -> Result<Text, QueryError> {
        match self.evaluator.eval(&self.args[index], self.grid)? {
            Value::String(text) => Ok(text),
            _ => Err(QueryError::Execution("expected a string".to_owned())),
        }
    }

    fn vector(&self, index: usize) -> Result<Vec<Column>, QueryError> {
        self.evaluator.vector(&self.args[index], self.grid)
    }

    /// The argument that is a range.
    fn range(&self) -> Result<(RangeData<'a>, Span), QueryError> {
        let arg = self
            .args
            .iter()
            .find(|arg| arg.value_type() == ValueType::Matrix)
            .ok_or_else(|| QueryError::Execution("expected a range vector".to_owned()))?;
        if let ExprKind::Matrix { selector, .. } = &arg.unwrap_parens().kind
            && let Some(extension) = selector.extension
        {
            rate::check_extension(extension, self.function.name)?;
        }
        Ok((self.evaluator.range_data(arg, self.grid)?, arg.span))
    }

    pub(super) fn map(&self, map: impl Fn(f64, &[f64]) -> f64) -> Result<Value, QueryError> {
        let scalars = self.scalars()?;
        let mut columns = self.vector(0)?;
        let mut at_step = vec![0.0; scalars.len()];
        for column in &mut columns {
            (self.evaluator.check)()?;
            // Of no use to a function of numbers.
            column.histograms.clear();
            for (step, value) in column.values.iter_mut().enumerate() {
                if is_absent(*value) {
                    continue;
                }
                for (slot, values) in at_step.iter_mut().zip(&scalars) {
                    *slot = values[step];
                }
                *value = map(*value, &at_step);
            }
            self.evaluator.drop_name(column);
        }
        self.joined(columns)
    }

    /// A result vector: without empty columns, one column per label set.
    fn joined(&self, mut columns: Vec<Column>) -> Result<Value, QueryError> {
        columns.retain(Column::any_present);
        self.evaluator
            .merge(columns, SAME_LABELSET)
            .map(Value::Vector)
    }

    fn windows(&self, window: fn(&Window<'_>) -> Option<f64>) -> Result<Value, QueryError> {
        let (data, _) = self.range()?;
        self.over(&data, || (), |(), _, w| Ok(window(w)))
    }

    fn of_samples(&self, keeps_name: bool, body: OfSamples) -> Result<Value, QueryError> {
        let (data, _) = self.range()?;
        let state = |_: &Call<'_, '_>, _: &RangeSeries| ();
        self.over_samples(&data, keeps_name, state, |(), call, series, w| {
            Ok(body(call, series, w))
        })
    }

    /// As [`Self::over_samples`], of the floats alone.
    fn over<S>(
        &self,
        data: &RangeData<'_>,
        state: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, &Call<'_, '_>, &Window<'_>) -> Result<Option<f64>, QueryError> + Sync,
    ) -> Result<Value, QueryError> {
        let state = |_: &Call<'_, '_>, _: &RangeSeries| state();
        self.over_samples(data, false, state, |state, call, series, window| {
            if window.values.is_empty() {
                return Ok(None);
            }
            if !window.histograms.is_empty() {
                let name = quote(series.labels.metric_name());
                let text = format!(
                    "ignored histograms in a range containing both floats and histograms for metric name {name}"
                );
                call.evaluator.inform(call.range_span(), text);
            }
            Ok(body(state, call, window)?.map(Point::Float))
        })
    }

    /// The place of the argument that is a range.
    fn range_span(&self) -> Span {
        let is_range = |arg: &&Expr| arg.value_type() == ValueType::Matrix;
        self.args
            .iter()
            .find(is_range)
            .map_or(self.span, |arg| arg.span)
    }
}

/// Warns about a quantile outside 0..1.
pub(super) fn quantile_warning(evaluator: &Evaluator<'_>, phi: f64, span: Span) {
    if !(0.0..=1.0).contains(&phi) {
        evaluator.warn(
            span,
            format!(
                "quantile value should be between 0 and 1, got {}",
                format_g(phi)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let mut names: Vec<&str> = ALL.iter().map(|f| f.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for function in ALL {
            assert!(function.doc.ends_with('.'), "{}", function.name);
            assert!(find(function.name).is_some());
        }
    }
}
