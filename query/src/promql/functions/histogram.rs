//! Quantiles and shares from histograms: histogram_quantile, histogram_quantiles,
//! histogram_fraction.
//!
//! Native ones compute themselves. Buckets of classic ones are the series of one label set that differ in `le`; counts are cumulative.

use std::collections::HashMap;

use kansoku_model::Labels;

use super::super::ast::Span;
use super::super::ast::ValueType::{Scalar, String as Text, Vector};
use super::super::error::QueryError;
use super::super::label_groups::LabelGroups;
use super::super::native::{Doubt, FloatHistogram};
use super::super::notes::for_metric;
use super::super::value::{ABSENT, Column, Point, Value, is_absent};
use super::{Call, Function, quantile_warning};
use crate::number::{format_g, parse_float, quote};

pub(super) const HISTOGRAM_QUANTILE: Function = Function::whole(
    "histogram_quantile",
    &[Scalar, Vector],
    Vector,
    "The φ-quantile of histograms, interpolated within a bucket.",
    |call| {
        let phis = call.evaluator.scalar(&call.args[0], call.grid)?;
        for phi in &phis {
            quantile_warning(call.evaluator, *phi, call.args[0].span);
        }
        let native = |h: &FloatHistogram, step: usize| h.quantile(phis[step]);
        over_histograms(call, 1, None, &native, &mut |buckets, step, fixed| {
            quantile(phis[step], buckets, fixed)
        })
    },
);

pub(super) const HISTOGRAM_QUANTILES: Function = Function {
    variadic: 10,
    ..Function::whole(
        "histogram_quantiles",
        &[Vector, Text, Scalar],
        Vector,
        "Several quantiles of histograms; each stands in the named label.",
        histogram_quantiles,
    )
};

pub(super) const HISTOGRAM_FRACTION: Function = Function::whole(
    "histogram_fraction",
    &[Scalar, Scalar, Vector],
    Vector,
    "Share of the observations of histograms between two values.",
    |call| {
        let lower = call.evaluator.scalar(&call.args[0], call.grid)?;
        let upper = call.evaluator.scalar(&call.args[1], call.grid)?;
        let native = |h: &FloatHistogram, step: usize| h.fraction(lower[step], upper[step]);
        over_histograms(call, 2, None, &native, &mut |buckets, step, _| {
            fraction(lower[step], upper[step], buckets)
        })
    },
);

fn histogram_quantiles(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    let label = call.text(1)?.to_lossy().into_owned();
    if label.is_empty() {
        let message = format!("invalid label name {}", quote(&label));
        return Err(QueryError::Execution(message));
    }
    let mut columns = Vec::new();
    for arg in &call.args[2..] {
        let phis = call.evaluator.scalar(arg, call.grid)?;
        let Some(phi) = phis.first() else {
            continue;
        };
        quantile_warning(call.evaluator, *phi, arg.span);
        let text = open_metrics_float(*phi);
        let result = over_histograms(
            call,
            0,
            Some((&label, &text)),
            &|h, step| h.quantile(phis[step]),
            &mut |buckets, step, fixed| quantile(phis[step], buckets, fixed),
        )?;
        if let Value::Vector(mut more) = result {
            columns.append(&mut more);
        }
    }
    call.joined(columns)
}

/// A float as OpenMetrics writes it: whole numbers with `.0`.
fn open_metrics_float(value: f64) -> String {
    let text = format_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        format!("{text}.0")
    } else {
        text
    }
}

/// A bucket: its upper bound and the number of observations up to it.
type Bucket = (f64, f64);

/// The columns of one histogram.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    name: String,
    /// Upper bound and column, by bound.
    buckets: Vec<(f64, usize)>,
}

/// What computes a value from the buckets at a step. It sets the flag when it had to correct
/// counts that fall.
type Compute<'f> = &'f mut dyn FnMut(&mut Vec<Bucket>, usize, &mut bool) -> f64;

/// What computes a value from a native histogram at a step.
type OfNative<'f> = &'f dyn Fn(&FloatHistogram, usize) -> (f64, Option<Doubt>);

fn over_histograms(
    call: &Call<'_, '_>,
    index: usize,
    extra: Option<(&str, &str)>,
    native: OfNative<'_>,
    compute: Compute<'_>,
) -> Result<Value, QueryError> {
    let columns = call.vector(index)?;
    let span = call.args[index].span;
    let mut out = Vec::new();
    let mut buckets: Vec<Bucket> = Vec::new();
    let labelled = |labels: &Labels| match extra {
        Some((label, text)) => labels.with(label, text),
        None => labels.clone(),
    };
    let classic = histograms(call, &columns, span);
    let mut is_classic: HashMap<&Labels, Vec<bool>> = HashMap::new();
    for histogram in &classic {
        let present = |step| {
            histogram
                .buckets
                .iter()
                .any(|(_, c)| !is_absent(columns[*c].values[step]))
        };
        let steps = (0..call.grid.n_steps).map(present).collect();
        is_classic.insert(&histogram.labels, steps);
    }
    // Steps at which both kinds of one series meet give nothing.
    let mut conflicts: HashMap<Labels, Vec<bool>> = HashMap::new();
    for column in columns.iter().filter(|c| !c.histograms.is_empty()) {
        (call.evaluator.check)()?;
        let name = column.labels.metric_name();
        let mut result = Column::new(labelled(&column.labels), column.drop_name);
        for step in 0..call.grid.n_steps {
            let Some(histogram) = column.histogram(step) else {
                result.push(None);
                continue;
            };
            if is_classic
                .get(&column.labels)
                .is_some_and(|steps| steps[step])
            {
                let text = "vector contains a mix of classic and native histograms";
                call.evaluator
                    .warn(span, format!("{text}{}", for_metric(name)));
                let steps = conflicts.entry(column.labels.clone());
                steps.or_insert_with(|| vec![false; call.grid.n_steps])[step] = true;
                result.push(None);
                continue;
            }
            let (value, doubt) = native(histogram, step);
            if let Some(doubt) = doubt {
                call.evaluator.inform(span, describe(doubt, name));
            }
            result.push(Some(Point::Float(value)));
        }
        call.evaluator.drop_name(&mut result);
        out.push(result);
    }
    drop(is_classic);
    for histogram in classic {
        (call.evaluator.check)()?;
        call.evaluator.hold(call.grid.n_steps)?;
        let mut fixed = false;
        let values = (0..call.grid.n_steps)
            .map(|step| {
                buckets.clear();
                buckets.extend(
                    histogram
                        .buckets
                        .iter()
                        .map(|(bound, column)| (*bound, columns[*column].values[step]))
                        .filter(|(_, count)| !is_absent(*count)),
                );
                let is_conflict = |steps: &Vec<bool>| steps[step];
                if buckets.is_empty() || conflicts.get(&histogram.labels).is_some_and(is_conflict) {
                    ABSENT
                } else {
                    compute(&mut buckets, step, &mut fixed)
                }
            })
            .collect();
        if fixed {
            call.evaluator.inform(
                span,
                format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                    for_metric(&histogram.name)
                ),
            );
        }
        let labels = labelled(&histogram.labels);
        let mut column = Column::floats(labels, histogram.drop_name, values);
        call.evaluator.drop_name(&mut column);
        out.push(column);
    }
    call.joined(out)
}

fn describe(doubt: Doubt, name: &str) -> String {
    let text = match doubt {
        Doubt::NoResult => "input to histogram_quantile has NaN observations, result is NaN",
        Doubt::Skewed => {
            "input to histogram_quantile has NaN observations, result is skewed higher"
        }
        Doubt::Excluded => {
            "input to histogram_fraction has NaN observations, which are excluded from all fractions"
        }
    };
    format!("{text}{}", for_metric(name))
}

/// Groups bucket series by their labels without `le`; series without a number there are left out.
fn histograms(call: &Call<'_, '_>, columns: &[Column], span: Span) -> Vec<Histogram> {
    let mut found = LabelGroups::default();
    let mut histograms: Vec<Histogram> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        if column.values.iter().all(|v| is_absent(*v)) {
            continue;
        }
        let le = column.labels.get("le").unwrap_or("");
        let name = column.labels.metric_name();
        let Some(bound) = parse_float(le) else {
            let message = format!(
                "bucket label \"le\" is missing or has a malformed value of {}{}",
                quote(le),
                for_metric(name)
            );
            call.evaluator.warn(span, message);
            continue;
        };
        let (at, new) = found.number(&column.labels, |label| label != "le");
        histograms.extend(new.map(|labels| Histogram {
            drop_name: column.drop_name,
            name: labels.metric_name().to_owned(),
            buckets: Vec::new(),
            labels,
        }));
        histograms[at].buckets.push((bound, index));
    }
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    histograms
}

/// Adds up counts of equal bounds (`1` and `1.0`).
fn join_equal_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|later, earlier| {
        let equal = later.0 == earlier.0;
        if equal {
            earlier.1 += later.1;
        }
        equal
    });
}

/// A relative difference of counts that can only be rounding.
const ROUNDING: f64 = 1e-12;

/// Lifts counts that fall. Returns whether any fell by more than rounding.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut fell = false;
    let Some(mut before) = buckets.first().map(|b| b.1) else {
        return false;
    };
    for (_, count) in &mut buckets[1..] {
        let difference = (*count - before).abs();
        if *count == before || difference <= ROUNDING * (before.abs() + count.abs()) {
            *count = before;
        } else if *count < before {
            *count = before;
            fell = true;
        } else {
            before = *count;
        }
    }
    fell
}

fn quantile(phi: f64, buckets: &mut Vec<Bucket>, fixed: &mut bool) -> f64 {
    if phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return f64::NAN;
    }
    join_equal_bounds(buckets);
    *fixed |= make_monotonic(buckets);
    let observations = buckets[buckets.len() - 1].1;
    if buckets.len() < 2 || observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = phi * observations;
    let finite = &buckets[..buckets.len() - 1];
    let at = finite.partition_point(|b| b.1 < rank);
    if at == finite.len() {
        return finite[at - 1].0;
    }
    let (end, count) = finite[at];
    if at == 0 {
        return if end <= 0.0 {
            end
        } else {
            end * (rank / count)
        };
    }
    let (start, below) = finite[at - 1];
    start + (end - start) * ((rank - below) / (count - below))
}

fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return f64::NAN;
    }
    join_equal_bounds(buckets);
    let observations = buckets[buckets.len() - 1].1;
    if observations == 0.0 || observations.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value| rank_of(value, buckets).min(observations);
    (rank(upper) - rank(lower)) / observations
}

/// How many observations lie at or below `value`.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let mut below = 0.0;
    for (i, (end, count)) in buckets.iter().enumerate() {
        let start = match i.checked_sub(1) {
            Some(before) => buckets[before].0,
            // Nothing is observed below zero when the first bound is above it.
            None if *end > 0.0 => 0.0,
            None => f64::NEG_INFINITY,
        };
        if start >= value {
            return below;
        }
        if *end > value {
            // Nothing can be interpolated in a bucket without a lower end; in one without an
            // upper end the quotient is zero.
            let share = if start.is_infinite() {
                1.0
            } else {
                (value - start) / (end - start)
            };
            return below + (count - below) * share;
        }
        below = *count;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_buckets() {
        let inf = f64::INFINITY;
        let cases: [(f64, &[Bucket], f64, bool); 7] = [
            (0.5, &[(1.0, 2.0), (2.0, 4.0), (inf, 4.0)], 1.0, false),
            (0.75, &[(1.0, 2.0), (2.0, 4.0), (inf, 4.0)], 1.5, false),
            (1.0, &[(1.0, 2.0), (inf, 4.0)], 1.0, false),
            (0.5, &[(-1.0, 2.0), (inf, 2.0)], -1.0, false),
            (0.25, &[(1.0, 4.0), (inf, 4.0)], 0.25, false),
            (0.5, &[(1.0, 4.0), (2.0, 3.0), (inf, 8.0)], 1.0, true),
            (0.5, &[(1.0, 1.0), (1.0, 3.0), (inf, 8.0)], 1.0, false),
        ];
        for (phi, buckets, expected, expected_fixed) in cases {
            let mut fixed = false;
            let got = quantile(phi, &mut buckets.to_vec(), &mut fixed);
            assert_eq!(
                (got, fixed),
                (expected, expected_fixed),
                "{phi} {buckets:?}"
            );
        }
        let mut fixed = false;
        assert!(quantile(0.5, &mut vec![(1.0, 2.0)], &mut fixed).is_nan());
        assert!(quantile(0.5, &mut vec![(1.0, 0.0), (inf, 0.0)], &mut fixed).is_nan());
    }

    #[test]
    fn fractions_of_buckets() {
        let buckets = || vec![(1.0, 2.0), (2.0, 4.0), (f64::INFINITY, 8.0)];
        let cases = [
            (0.0, 1.0, 0.25),
            (0.5, 1.5, 0.25),
            (f64::NEG_INFINITY, f64::INFINITY, 1.0),
            (2.0, f64::INFINITY, 0.5),
            (3.0, 2.0, 0.0),
        ];
        for (lower, upper, expected) in cases {
            assert_eq!(
                fraction(lower, upper, &mut buckets()),
                expected,
                "{lower} {upper}"
            );
        }
    }
}
