//! The metric side of the language: range functions, aggregations, operators.
//!
//! What Loki checks while it builds its tree (parameters, groupings, literals beside set
//! operators) is checked here in the same words.

use super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, Cardinality, Expr, Grouping,
    LabelReplaceExpr, LogExpr, Matching, MetricExpr, RangeExpr,
};
use super::error::ParseError;
use super::lexer::Kind;
use super::parser::{Parser, check_matchers};
use super::pattern_syntax;
use super::range::{self, RangeFunction};
use super::stages;
use super::stages::unwrap::Unwrap;
use super::{binary, units};

/// Reads an expression whose operators bind tighter than `above`.
pub fn parse_expr(parser: &mut Parser<'_>, above: u8) -> Result<Expr, ParseError> {
    parser.enter()?;
    let mut left = parse_primary(parser)?;
    while let Some((op, precedence)) = binary_op(parser) {
        if precedence <= above {
            break;
        }
        parser.advance();
        let (return_bool, matching) = parse_modifiers(parser)?;
        // `^` groups to the right, everything else to the left.
        let right_above = if op == BinaryOp::Pow {
            precedence - 1
        } else {
            precedence
        };
        let right = parse_expr(parser, right_above)?;
        left = Expr::Metric(join(op, left, right, return_bool, matching)?);
    }
    parser.leave();
    Ok(left)
}

fn binary_op(parser: &Parser<'_>) -> Option<(BinaryOp, u8)> {
    let text = match parser.kind() {
        Kind::Punctuation(text) | Kind::Keyword(text) => *text,
        _ => return None,
    };
    BinaryOp::ALL
        .iter()
        .find(|(_, t, _)| *t == text)
        .map(|(op, _, precedence)| (*op, *precedence))
}

fn parse_primary(parser: &mut Parser<'_>) -> Result<Expr, ParseError> {
    if parser.at("{") {
        return parser.log_expr().map(Expr::Log);
    }
    if parser.accept("(") {
        let inner = parse_expr(parser, 0)?;
        parser.expect_plainly(")")?;
        return Ok(inner);
    }
    if let Kind::Function(name) = *parser.kind() {
        return parse_call(parser, name).map(Expr::Metric);
    }
    if matches!(parser.kind(), Kind::Number(_)) || parser.at("+") || parser.at("-") {
        return parser
            .number()
            .map(|n| Expr::Metric(MetricExpr::Literal(n)));
    }
    Err(parser.unexpected(""))
}

fn parse_call(parser: &mut Parser<'_>, name: &'static str) -> Result<MetricExpr, ParseError> {
    if let Some(function) = range::find(name) {
        parser.advance();
        return parse_range_function(parser, function).map(MetricExpr::Range);
    }
    if let Some((op, _)) = AggregateOp::ALL.iter().find(|(_, n)| *n == name) {
        parser.advance();
        return parse_aggregate(parser, *op).map(MetricExpr::Aggregate);
    }
    if parser.accept_function("vector") {
        parser.expect("(")?;
        let Kind::Number(_) = parser.kind() else {
            return Err(parser.unexpected("NUMBER"));
        };
        let value = parser.number()?;
        parser.expect(")")?;
        return Ok(MetricExpr::Vector(value));
    }
    if parser.accept_function("label_replace") {
        return parse_label_replace(parser);
    }
    Err(parser.unexpected(""))
}

fn metric(expr: Expr, parser: &Parser<'_>) -> Result<MetricExpr, ParseError> {
    match expr {
        Expr::Metric(metric) => Ok(metric),
        Expr::Log(_) => Err(parser.unexpected("")),
    }
}

fn parse_label_replace(parser: &mut Parser<'_>) -> Result<MetricExpr, ParseError> {
    parser.expect("(")?;
    let inner = parse_expr(parser, 0)?;
    let inner = metric(inner, parser)?;
    let mut texts = Vec::with_capacity(4);
    for _ in 0..4 {
        parser.expect(",")?;
        texts.push(parser.text()?);
    }
    parser.expect(")")?;
    let [destination, replacement, source, pattern] =
        <[String; 4]>::try_from(texts).unwrap_or_default();
    let regex = pattern_syntax::compile_text(&format!("^(?s:{pattern})$"))
        .map_err(|e| ParseError::of(format!("invalid regex in label_replace: {e}")))?;
    Ok(MetricExpr::LabelReplace(Box::new(LabelReplaceExpr {
        inner,
        destination,
        replacement,
        source,
        pattern,
        regex,
    })))
}

/// `by (a, b)` or `without (a)` if one comes next.
fn parse_grouping(parser: &mut Parser<'_>) -> Result<Option<Grouping>, ParseError> {
    let without = if parser.accept_keyword("by") {
        false
    } else if parser.accept_keyword("without") {
        true
    } else {
        return Ok(None);
    };
    let mut names = parse_names(parser)?;
    names.sort();
    names.dedup();
    Ok(Some(Grouping { without, names }))
}

/// `(a, b)`
fn parse_names(parser: &mut Parser<'_>) -> Result<Vec<String>, ParseError> {
    parser.expect("(")?;
    let mut names = Vec::new();
    if parser.accept(")") {
        return Ok(names);
    }
    loop {
        let wanted = if names.is_empty() {
            "IDENTIFIER or )"
        } else {
            "IDENTIFIER"
        };
        names.push(parser.identifier_expecting(wanted)?);
        if parser.accept(")") {
            return Ok(names);
        }
        if !parser.accept(",") {
            return Err(parser.unexpected(") or ,"));
        }
    }
}

/// A number and a comma, as the first of two arguments.
fn parse_parameter(parser: &mut Parser<'_>) -> Result<Option<String>, ParseError> {
    let Kind::Number(text) = parser.kind() else {
        return Ok(None);
    };
    let text = text.clone();
    if !parser.number_then_comma() {
        return Ok(None);
    }
    Ok(Some(text))
}

fn parse_aggregate(parser: &mut Parser<'_>, op: AggregateOp) -> Result<AggregateExpr, ParseError> {
    let before = parse_grouping(parser)?;
    parser.expect("(")?;
    let parameter = parse_parameter(parser)?;
    let inner = parse_expr(parser, 0)?;
    let inner = metric(inner, parser)?;
    parser.expect_plainly(")")?;
    let grouping = match before {
        Some(grouping) => Some(grouping),
        None => parse_grouping(parser)?,
    };
    let name = op.as_str();
    let parameter = match (op, parameter) {
        (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::ApproxTopk, None) => {
            return Err(ParseError::of(format!(
                "parameter required for operation {name}"
            )));
        }
        (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::ApproxTopk, Some(text)) => {
            let n: i64 = text
                .parse()
                .map_err(|_| ParseError::of(format!("invalid parameter {name}({text},")))?;
            let n = usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
                ParseError::of(format!(
                    "invalid parameter (must be greater than 0) {name}({text}"
                ))
            })?;
            Some(n)
        }
        (_, Some(text)) => {
            return Err(ParseError::of(format!(
                "unsupported parameter for operation {name}({text},"
            )));
        }
        (_, None) => None,
    };
    if op == AggregateOp::ApproxTopk && grouping.is_some() {
        return Err(ParseError::of(
            "grouping not allowed for approx_topk aggregation",
        ));
    }
    let sorts = matches!(op, AggregateOp::Sort | AggregateOp::SortDesc);
    if sorts && grouping.as_ref().is_some_and(|g| !g.names.is_empty()) {
        return Err(ParseError::of(
            "sort and sort_desc doesn't allow grouping by ",
        ));
    }
    Ok(AggregateExpr {
        op,
        parameter,
        grouping,
        inner: Box::new(inner),
    })
}

/// What stands in the parentheses of a range function, as far as it was read.
struct RangeParts {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: i64,
}

fn parse_range_function(
    parser: &mut Parser<'_>,
    function: &'static RangeFunction,
) -> Result<RangeExpr, ParseError> {
    parser.expect("(")?;
    let parameter = parse_parameter(parser)?;
    let parts = parse_range_parts(parser)?;
    let Some(range_ns) = parts.range_ns else {
        return Err(parser.unexpected(match parts.unwrap {
            Some(_) => "RANGE or |",
            None => "",
        }));
    };
    parser.expect(")")?;
    let grouping = parse_grouping(parser)?;
    let parameter = check_range_function(
        function,
        parameter,
        grouping.is_some(),
        parts.unwrap.is_some(),
    )?;
    if range_ns <= 0 {
        return Err(ParseError::of(format!(
            "range of {} must be longer than zero",
            function.name
        )));
    }
    check_matchers(&parts.log.matchers)?;
    Ok(RangeExpr {
        function,
        parameter,
        log: parts.log,
        unwrap: parts.unwrap,
        range_ns,
        offset_ns: parts.offset_ns,
        grouping,
    })
}

/// A selector with its range before or after the stages, perhaps in parentheses.
fn parse_range_parts(parser: &mut Parser<'_>) -> Result<RangeParts, ParseError> {
    let mut parts = if parser.accept("(") {
        parser.enter()?;
        let inner = parse_range_parts(parser)?;
        parser.expect(")")?;
        parser.leave();
        inner
    } else {
        if !parser.at("{") {
            return Err(parser.unexpected("NUMBER or { or ("));
        }
        let matchers = parser.selector()?;
        let (stages, unwrap) = stages::parse(parser, true)?;
        RangeParts {
            log: LogExpr { matchers, stages },
            unwrap,
            range_ns: None,
            offset_ns: 0,
        }
    };
    if parts.range_ns.is_none()
        && let Kind::Range(ns) = *parser.kind()
    {
        parser.advance();
        parts.range_ns = Some(ns);
        if parser.accept_keyword("offset") {
            let Kind::Duration(ns) = *parser.kind() else {
                return Err(parser.unexpected("DURATION"));
            };
            parser.advance();
            parts.offset_ns = ns;
        }
        if parts.log.stages.is_empty() && parts.unwrap.is_none() {
            (parts.log.stages, parts.unwrap) = stages::parse(parser, true)?;
        }
    }
    Ok(parts)
}

fn check_range_function(
    function: &RangeFunction,
    parameter: Option<String>,
    has_grouping: bool,
    has_unwrap: bool,
) -> Result<Option<f64>, ParseError> {
    let name = function.name;
    let parameter =
        match (function.parameter, parameter) {
            (false, None) => None,
            (false, Some(text)) => {
                return Err(ParseError::of(format!(
                    "parameter {text} not supported for operation {name}"
                )));
            }
            (true, None) => {
                return Err(ParseError::of(format!(
                    "parameter required for operation {name}"
                )));
            }
            (true, Some(text)) => Some(units::go_float(&text).map_err(|e| {
                ParseError::of(format!("invalid parameter for operation {name}: {e}"))
            })?),
        };
    if has_grouping && !function.grouping {
        return Err(ParseError::of(format!(
            "grouping not allowed for {name} aggregation"
        )));
    }
    match (function.body(has_unwrap), has_unwrap) {
        (Some(_), _) => Ok(parameter),
        (None, true) => Err(ParseError::of(format!(
            "invalid aggregation {name} with unwrap"
        ))),
        (None, false) => Err(ParseError::of(format!(
            "invalid aggregation {name} without unwrap"
        ))),
    }
}

fn parse_modifiers(parser: &mut Parser<'_>) -> Result<(bool, Matching), ParseError> {
    let return_bool = parser.accept_keyword("bool");
    let mut matching = Matching {
        on: parser.accept_keyword("on"),
        ..Matching::default()
    };
    if !matching.on && !parser.accept_keyword("ignoring") {
        return Ok((return_bool, matching));
    }
    matching.names = parse_names(parser)?;
    matching.cardinality = if parser.accept_keyword("group_left") {
        Cardinality::ManyToOne
    } else if parser.accept_keyword("group_right") {
        Cardinality::OneToMany
    } else {
        return Ok((return_bool, matching));
    };
    // What stands in parentheses may be the right side instead of label names.
    if parser.at("(") && parser.names_follow() {
        matching.include = parse_names(parser)?;
    }
    Ok((return_bool, matching))
}

/// Loki's name for a log expression in an error.
fn log_type(log: &LogExpr) -> &'static str {
    if log.is_selector() {
        "*syntax.MatchersExpr"
    } else {
        "*syntax.PipelineExpr"
    }
}

fn join(
    op: BinaryOp,
    left: Expr,
    right: Expr,
    return_bool: bool,
    matching: Matching,
) -> Result<MetricExpr, ParseError> {
    let leg = |expr: Expr, side: &str| match expr {
        Expr::Metric(metric) => Ok(metric),
        Expr::Log(log) => Err(ParseError::of(format!(
            "unexpected type for {side} leg of binary operation ({}): {}",
            op.as_str(),
            log_type(&log)
        ))),
    };
    let left = leg(left, "left")?;
    let right = leg(right, "right")?;
    if op.is_set() {
        for (expr, side) in [(&left, "left"), (&right, "right")] {
            if let MetricExpr::Literal(n) = expr {
                return Err(ParseError::of(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({}): {n:.6}",
                    op.as_str()
                )));
            }
        }
    }
    if let (MetricExpr::Literal(l), MetricExpr::Literal(r)) = (&left, &right) {
        return Ok(MetricExpr::Literal(binary::scalar(op, *l, *r)));
    }
    Ok(MetricExpr::Binary(Box::new(BinaryExpr {
        op,
        left,
        right,
        return_bool,
        matching,
    })))
}
