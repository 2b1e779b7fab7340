//! Type rules of PromQL, checked on each node as it is built.
//!
//! The children of a node were checked before it. Messages are Prometheus's.

use super::ast::{
    Binary, BinaryOp, Cardinality, Expr, ExprKind, Selector, Span, Subquery, ValueType,
};
use super::error::ParseError;
use super::functions::Function;
use crate::number::quote;

/// Checks one node, not its children.
///
/// # Errors
/// When the types do not fit.
pub(super) fn check(text: &str, expr: &Expr) -> Result<(), ParseError> {
    let fail = |span: Span, message: String| Err(ParseError::new(text, span, message));
    match &expr.kind {
        ExprKind::Unary { operand, .. } => match operand.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => fail(
                expr.span,
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    quote(other.describe())
                ),
            ),
        },
        ExprKind::Binary(binary) => match check_binary(text, binary) {
            Some((span, message)) => fail(span, message),
            None => Ok(()),
        },
        ExprKind::Aggregate(aggregate) => {
            expect_type(
                text,
                &aggregate.operand,
                ValueType::Vector,
                "aggregation expression",
            )?;
            match (&aggregate.parameter, aggregate.op.parameter) {
                (Some(parameter), Some(wanted)) => {
                    expect_type(text, parameter, wanted, "aggregation parameter")
                }
                _ => Ok(()),
            }
        }
        ExprKind::Call { function, args } => check_call(text, function, args, expr.span),
        ExprKind::Vector(selector) => check_selector(text, selector),
        ExprKind::Subquery(subquery) => check_subquery(text, subquery, expr.span),
        ExprKind::Number { .. }
        | ExprKind::String(_)
        | ExprKind::Paren(_)
        | ExprKind::Matrix { .. } => Ok(()),
    }
}

fn expect_type(text: &str, expr: &Expr, wanted: ValueType, place: &str) -> Result<(), ParseError> {
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!(
        "expected type {} in {place}, got {}",
        wanted.describe(),
        got.describe()
    );
    Err(ParseError::new(text, expr.span, message))
}

fn check_call(
    text: &str,
    function: &Function,
    args: &[Expr],
    span: Span,
) -> Result<(), ParseError> {
    let name = quote(function.name);
    let (at_least, at_most) = function.n_args();
    let message = if function.variadic == 0 && args.len() != at_least {
        format!(
            "expected {at_least} argument(s) in call to {name}, got {}",
            args.len()
        )
    } else if args.len() < at_least {
        format!(
            "expected at least {at_least} argument(s) in call to {name}, got {}",
            args.len()
        )
    } else if args.len() > at_most {
        format!(
            "expected at most {at_most} argument(s) in call to {name}, got {}",
            args.len()
        )
    } else {
        let place = format!("call to function {name}");
        if function.name == "info"
            && let Some(labels) = args.get(1)
        {
            expect_type(text, labels, ValueType::Vector, &place)?;
            let message = match &labels.kind {
                ExprKind::Vector(selector) if selector.name.is_none() => "",
                ExprKind::Vector(_) => "expected label selectors only, got vector selector instead",
                _ => "expected label selectors only",
            };
            if !message.is_empty() {
                return Err(ParseError::new(text, labels.span, message));
            }
        }
        for (i, arg) in args.iter().enumerate() {
            // The last type stands for all further arguments.
            let wanted = function.args.get(i).or_else(|| function.args.last());
            if let Some(wanted) = wanted {
                expect_type(text, arg, *wanted, &place)?;
            }
        }
        return Ok(());
    };
    Err(ParseError::new(text, span, message))
}

fn check_selector(text: &str, selector: &Selector) -> Result<(), ParseError> {
    let selects = selector.matchers.iter().any(|m| !m.matches(""));
    if selects {
        return Ok(());
    }
    let message = "vector selector must contain at least one non-empty matcher";
    Err(ParseError::new(text, selector.span, message))
}

fn check_subquery(text: &str, subquery: &Subquery, span: Span) -> Result<(), ParseError> {
    let got = subquery.operand.value_type();
    if got == ValueType::Vector {
        return Ok(());
    }
    let message = format!(
        "subquery is only allowed on instant vector, got {} instead",
        got.as_str()
    );
    Err(ParseError::new(text, span, message))
}

fn check_binary(text: &str, binary: &Binary) -> Option<(Span, String)> {
    let Binary {
        op,
        left,
        right,
        matching,
        ..
    } = binary;
    let (lt, rt) = (left.value_type(), right.value_type());
    let both_scalars = lt == ValueType::Scalar && rt == ValueType::Scalar;
    let whole = left.span.to(right.span);
    if binary.return_bool && !op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return Some((operator_span(text, left, right), message.to_owned()));
    }
    if op.is_comparison() && !binary.return_bool && both_scalars {
        let message = "comparisons between scalars must use BOOL modifier";
        return Some((operator_span(text, left, right), message.to_owned()));
    }
    if matching.on
        && let Some(label) = matching
            .labels
            .iter()
            .find(|l| matching.include.contains(l))
    {
        let message = format!(
            "label {} must not occur in ON and GROUP clause at once",
            quote(label)
        );
        return Some((operator_span(text, left, right), message));
    }
    for (side, found) in [(left, lt), (right, rt)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Some((side.span, message.to_owned()));
        }
    }
    let has_fill = matching.fill.iter().any(Option::is_some);
    if lt != ValueType::Vector || rt != ValueType::Vector {
        if !matching.labels.is_empty() {
            let message = "vector matching only allowed between instant vectors";
            return Some((whole, message.to_owned()));
        }
        if has_fill {
            let message = "filling in missing series only allowed between instant vectors";
            return Some((whole, message.to_owned()));
        }
        if op.is_set() {
            let message = format!(
                "set operator {} not allowed in binary scalar expression",
                quote(op.as_str())
            );
            return Some((whole, message));
        }
        return None;
    }
    if op.is_set() && matching.cardinality != Cardinality::ManyToMany {
        let message = format!("no grouping allowed for {} operation", quote(op.as_str()));
        return Some((whole, message));
    }
    if op.is_set() && has_fill {
        let message = "filling in missing series not allowed for set operators";
        return Some((whole, message.to_owned()));
    }
    None
}

/// The text between the operands without the spaces around it.
fn operator_span(text: &str, left: &Expr, right: &Expr) -> Span {
    let between = text.get(left.span.end..right.span.start).unwrap_or("");
    let start = left.span.end + (between.len() - between.trim_start().len());
    Span {
        start,
        end: left.span.end + between.trim_end().len(),
    }
}

impl BinaryOp {
    /// Whether a result of this operator is a new quantity, so that the metric name no longer
    /// fits it.
    #[must_use]
    pub fn drops_name(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2
        )
    }
}
