//! Which queries give the same at a step whatever other steps are asked for, so that results of some steps can be kept and
//! put together with those of others, to the bit.
//!
//! That takes three things: a step looks back only, and not at how the query is run; nothing is computed across steps or from
//! where reading began; and values are added in an order that does not depend on which series other steps see. What is not
//! known to be so is left out. The rule: what is put together equals the one evaluation it stands for.

use std::collections::BTreeMap;

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::{Labels, MatchOp};

use super::ast::{Duration, Expr, ExprKind, Modifiers, Selector, ValueType};
use super::output::Series;
use super::parser::Query;

/// Functions of which a step depends on more than its own window: on how the query is run, on other steps, or on where
/// reading began (running sums are made of whole blocks of samples).
const NOT_ALONE: &[&str] = &[
    "avg_over_time",
    "end",
    "info",
    "range",
    "start",
    "start_timestamp",
    "step",
    "sum_over_time",
];

/// Aggregations whose result does not depend on the order of their series.
const OF_ANY_ORDER: &[&str] = &["count", "group", "count_values"];

/// Functions that give samples of the range as they are.
const PASSING_ON: &[&str] = &["first_over_time", "last_over_time"];

/// Functions that give their series in another order or under other labels.
const REORDERING: &[&str] = &[
    "absent",
    "absent_over_time",
    "histogram_fraction",
    "histogram_quantile",
    "histogram_quantiles",
    "label_join",
    "label_replace",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "vector",
];

/// How far back a step of the query looks, in milliseconds, if steps stand alone.
#[must_use]
pub fn reach_ms(query: &Query, lookback_ms: i64) -> Option<i64> {
    let expr = &query.expr;
    let has_selector = !expr.selectors().is_empty();
    let is_vector = expr.value_type() == ValueType::Vector;
    let seen = of(expr, lookback_ms)?;
    (has_selector && is_vector).then_some(seen.reach_ms)
}

/// What is known of an expression whose steps stand alone.
#[derive(Debug, Clone, Copy)]
struct Seen {
    reach_ms: i64,
    /// Series come in the order of their labels, whichever of them there are.
    is_ordered: bool,
}

impl Seen {
    const NOTHING: Self = Self {
        reach_ms: 0,
        is_ordered: false,
    };

    fn with(self, other: Self) -> Self {
        Self {
            reach_ms: self.reach_ms.max(other.reach_ms),
            is_ordered: false,
        }
    }
}

fn of(expr: &Expr, lookback_ms: i64) -> Option<Seen> {
    let of = |expr: &Expr| of(expr, lookback_ms);
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => Some(Seen::NOTHING),
        ExprKind::Paren(inner) => of(inner),
        ExprKind::Unary { operand, .. } => of(operand),
        // What it says of resets, and so what is warned of, depends on where reading began.
        ExprKind::Vector(selector) if selector.is_bucketless => None,
        ExprKind::Vector(selector) => of_selector(selector, lookback_ms),
        ExprKind::Matrix { selector, range } => {
            let range_ms = literal_ms(range)?;
            of_selector(selector, selector.reach_ms(range_ms, lookback_ms))
        }
        // Its steps are computed together, and histograms of one look at the one before.
        ExprKind::Subquery(_) => None,
        ExprKind::Binary(binary) => {
            let (left, right) = (of(&binary.left)?, of(&binary.right)?);
            let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
            let both = left.with(right);
            Some(Seen {
                is_ordered: (left.is_ordered && is_scalar(&binary.right))
                    || (right.is_ordered && is_scalar(&binary.left)),
                ..both
            })
        }
        ExprKind::Aggregate(node) => {
            let operand = of(&node.operand)?;
            let parameter = node.parameter.as_ref().map_or(Some(Seen::NOTHING), of)?;
            let is_exact = operand.is_ordered || OF_ANY_ORDER.contains(&node.op.name);
            is_exact.then(|| operand.with(parameter))
        }
        ExprKind::Call { function, args } => {
            let is_bucketless = |arg: &Expr| match &arg.kind {
                ExprKind::Matrix { selector, .. } => selector.is_bucketless,
                _ => false,
            };
            if NOT_ALONE.contains(&function.name)
                || (PASSING_ON.contains(&function.name) && args.iter().any(is_bucketless))
            {
                return None;
            }
            let mut all = Seen::NOTHING;
            let mut is_ordered = !REORDERING.contains(&function.name);
            for arg in args {
                let seen = of(arg)?;
                all = all.with(seen);
                let has_series = matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix);
                is_ordered &= seen.is_ordered || !has_series;
            }
            let has_series = function.returns == ValueType::Vector && !args.is_empty();
            Some(Seen {
                is_ordered: is_ordered && has_series,
                ..all
            })
        }
    }
}

fn of_selector(selector: &Selector, range_ms: i64) -> Option<Seen> {
    let Modifiers { offset, at } = &selector.modifiers;
    if at.is_some() || selector.extension.is_some() {
        return None;
    }
    let offset_ms = offset.as_ref().map_or(Some(0), literal_ms)?;
    // Looking ahead, a step depends on samples that may come later.
    if offset_ms < 0 {
        return None;
    }
    // Series of several names may become one when the name goes, and stand where the first of them stood.
    let is_one_name = |m: &kansoku_model::Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
    Some(Seen {
        reach_ms: range_ms.checked_add(offset_ms)?,
        is_ordered: selector.matchers.iter().any(is_one_name),
    })
}

fn literal_ms(duration: &Duration) -> Option<i64> {
    match duration {
        Duration::Literal { .. } => duration.evaluate_ms(Default::default()).ok(),
        Duration::Paren(inner) | Duration::Positive(inner) => literal_ms(inner),
        _ => None,
    }
}

/// The series of a piece whose times lie in `from_ms..=to_ms`.
#[must_use]
pub fn cut(series: &[Series], from_ms: i64, to_ms: i64) -> Vec<Series> {
    let of = |one: &Series| {
        let start = one.times.partition_point(|t| *t < from_ms);
        let end = one.times.partition_point(|t| *t <= to_ms).max(start);
        (start < end).then(|| Series {
            labels: one.labels.clone(),
            times: one.times[start..end].to_vec(),
            values: one.values[start..end].to_vec(),
            histograms: Vec::new(),
        })
    };
    series.iter().filter_map(of).collect()
}

/// Puts pieces that follow each other in time together, as one sorted matrix of floats.
#[must_use]
pub fn join(pieces: Vec<Vec<Series>>) -> Vec<Series> {
    let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let Some(first) = pieces.next() else {
        return Vec::new();
    };
    let mut rest = pieces.peekable();
    if rest.peek().is_none() {
        return first;
    }
    let mut all: BTreeMap<Labels, Series> = BTreeMap::new();
    for one in first.into_iter().chain(rest.flatten()) {
        match all.get_mut(&one.labels) {
            Some(known) => {
                known.times.extend_from_slice(&one.times);
                known.values.extend_from_slice(&one.values);
            }
            None => {
                all.insert(one.labels.clone(), one);
            }
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn steps_that_stand_alone_are_told_from_others() {
        let minute = 60_000;
        let cases = [
            ("up", Some(5)),
            ("rate(x_total[10m])", Some(10)),
            ("rate(x_total[10m] offset 1h)", Some(70)),
            ("sum by (job) (rate(x_total[2m]))", Some(2)),
            ("sum(rate(a[2m])) / sum(rate(b[3m]))", Some(3)),
            (
                "histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m])))",
                Some(1),
            ),
            ("topk(3, x * 2 + 1)", Some(5)),
            ("topk(scalar(y), x)", Some(5)),
            ("max_over_time(up[10m])", Some(10)),
            ("count(count by (a) (up))", Some(5)),
            ("up + hour()", Some(5)),
            ("label_replace(up, \"a\", \"b\", \"c\", \"d\")", Some(5)),
            ("-(up)", Some(5)),
            ("histogram_count(rate(x[5m]))", Some(10)),
            ("histogram_quantile(0.9, last_over_time(x[5m]))", Some(5)),
            // Sums of series whose order depends on which others there are.
            ("sum(sum by (a) (up))", None),
            ("sum(a / b)", None),
            ("avg({job=\"x\"})", None),
            ("topk(1, sum by (a) (up))", None),
            ("sum(sort(up))", None),
            // Of other steps, other times, or the whole query.
            ("max_over_time(rate(x_total[1m])[5m:])", None),
            ("up offset -1m", None),
            ("up offset step()", None),
            ("rate(x_total[range()])", None),
            ("up @ 5", None),
            ("up @ end()", None),
            ("up + start()", None),
            ("sum_over_time(x[5m])", None),
            ("avg_over_time(x[5m])", None),
            ("increase(x_total[5m] smoothed)", None),
            ("rate(x_total[5m] anchored)", None),
            ("histogram_count(sum(x))", None),
            ("histogram_count(last_over_time(x[5m]))", None),
            ("info(up)", None),
            // No samples are read, or there are no series.
            ("vector(1)", None),
            ("time()", None),
            ("scalar(up)", None),
        ];
        for (text, minutes) in cases {
            let query = parse(text).unwrap();
            let expected = minutes.map(|n: i64| n * minute);
            assert_eq!(reach_ms(&query, 5 * minute), expected, "{text}");
        }
    }

    fn series(name: &str, times: &[i64]) -> Series {
        Series {
            labels: Labels::from_pairs([("n", name)]),
            times: times.to_vec(),
            values: times.iter().map(|t| *t as f64).collect(),
            histograms: Vec::new(),
        }
    }

    #[test]
    fn what_is_cut_and_joined_is_what_it_was() {
        let whole = vec![
            series("a", &[1, 2, 3, 4, 5, 6]),
            series("b", &[2, 6]),
            series("c", &[3]),
        ];
        for (first, second) in [(0, 3), (1, 4), (3, 3), (6, 7), (0, 0)] {
            let pieces = vec![
                cut(&whole, i64::MIN, first),
                cut(&whole, first + 1, second),
                cut(&whole, second + 1, i64::MAX),
            ];
            assert_eq!(join(pieces), whole);
        }
        assert_eq!(cut(&whole, 3, 3), [series("a", &[3]), series("c", &[3])]);
        assert!(join(Vec::new()).is_empty() && cut(&whole, 4, 3).is_empty());
    }
}
