//! Prints a tree as Prometheus's canonical text. What it prints parses to the same tree.

use std::fmt::{self, Display, Formatter};

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::{MatchOp, Matcher};

use super::ast::{
    Aggregate, At, Binary, Cardinality, Duration, Expr, ExprKind, Matching, Modifiers, Selector,
    Subquery,
};
use super::text::quote_bytes;
use crate::number::{format_duration_ms, format_f, quote};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, is_duration } => number(f, *value, *is_duration),
            ExprKind::String(text) => text.fmt(f),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary { negative, operand } => {
                write!(f, "{}{operand}", if *negative { "-" } else { "+" })
            }
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Call { function, args } => {
                write!(f, "{}(", function.name)?;
                list(f, args)?;
                f.write_str(")")
            }
            ExprKind::Vector(selector) => {
                write!(f, "{selector}{}", selector.modifiers)?;
                extension(f, selector)
            }
            ExprKind::Matrix { selector, range } => {
                write!(f, "{selector}[{range}]{}", selector.modifiers)?;
                extension(f, selector)
            }
            ExprKind::Subquery(s) => write!(f, "{}{}", s.operand, subquery_times(s)),
        }
    }
}

/// What stands behind the expression of a subquery.
pub(super) fn subquery_times(subquery: &Subquery) -> String {
    let step = subquery.step.as_ref().map(ToString::to_string);
    let step = step.unwrap_or_default();
    format!("[{}:{step}]{}", subquery.range, subquery.modifiers)
}

/// What stands between the sides of a binary operator.
pub(super) fn operator(binary: &Binary) -> String {
    let bool = if binary.return_bool { " bool" } else { "" };
    format!("{}{bool}{}", binary.op.as_str(), binary.matching)
}

/// What stands before the parenthesis of an aggregation.
pub(super) fn aggregate_head(aggregate: &Aggregate) -> String {
    let name = aggregate.op.name;
    if !aggregate.without && aggregate.grouping.is_empty() {
        return name.to_owned();
    }
    let grouping: Vec<String> = aggregate.grouping.iter().map(|n| label(n)).collect();
    let keyword = if aggregate.without { "without" } else { "by" };
    format!("{name} {keyword} ({}) ", grouping.join(", "))
}

fn extension(f: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    match selector.extension {
        Some(extension) => write!(f, " {}", extension.as_str()),
        None => Ok(()),
    }
}

fn number(f: &mut Formatter<'_>, value: f64, is_duration: bool) -> fmt::Result {
    let duration_ms = value * 1000.0;
    if is_duration && duration_ms.fract() == 0.0 && duration_ms.abs() < 9e15 {
        f.write_str(&format_duration_ms(duration_ms as i64))
    } else {
        f.write_str(&format_f(value))
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// A label name, quoted when it is not made of letters, digits and underscores.
fn label(name: &str) -> String {
    if is_plain(name, false) {
        name.to_owned()
    } else {
        quote(name)
    }
}

fn is_plain(name: &str, colon: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'))
}

fn label_list(f: &mut Formatter<'_>, names: &[String]) -> fmt::Result {
    f.write_str("(")?;
    list(f, &names.iter().map(|name| label(name)).collect::<Vec<_>>())?;
    f.write_str(")")
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, operator(self), self.right)
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            Cardinality::ManyToOne => " group_left ",
            Cardinality::OneToMany => " group_right ",
            Cardinality::OneToOne | Cardinality::ManyToMany => "",
        };
        if self.on || !self.labels.is_empty() || !group.is_empty() {
            f.write_str(if self.on { " on " } else { " ignoring " })?;
            label_list(f, &self.labels)?;
        }
        if !group.is_empty() {
            f.write_str(group)?;
            label_list(f, &self.include)?;
        }
        match self.fill {
            [Some(l), Some(r)] if l.to_bits() == r.to_bits() => {
                write!(f, " fill ({})", format_f(l))
            }
            [left, right] => {
                if let Some(left) = left {
                    write!(f, " fill_left ({})", format_f(left))?;
                }
                if let Some(right) = right {
                    write!(f, " fill_right ({})", format_f(right))?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", aggregate_head(self))?;
        if let Some(parameter) = &self.parameter {
            write!(f, "{parameter}, ")?;
        }
        write!(f, "{})", self.operand)
    }
}

impl Display for Selector {
    /// Name and braces, without modifiers.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let plain = match &self.name {
            Some(name) if is_plain(name, true) => {
                f.write_str(name)?;
                true
            }
            Some(name) => {
                parts.push(quote(name));
                false
            }
            None => false,
        };
        let is_name = |m: &&Matcher| {
            m.name == METRIC_NAME && m.op == MatchOp::Equal && self.name.as_ref() == Some(&m.value)
        };
        for matcher in self.matchers.iter().filter(|m| !is_name(m)) {
            let (name, value) = matcher.asked();
            let name = std::str::from_utf8(name).map_or_else(|_| quote_bytes(name), label);
            let (op, value) = (matcher.op.as_str(), quote_bytes(value));
            parts.push(format!("{name}{op}{value}"));
        }
        if parts.is_empty() && plain {
            return Ok(());
        }
        write!(f, "{{{}}}", parts.join(","))
    }
}

impl Display for Modifiers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            Some(At::Time(time_ms)) => {
                let sign = if time_ms < 0 { "-" } else { "" };
                let time_ms = time_ms.unsigned_abs();
                write!(f, " @ {sign}{}.{:03}", time_ms / 1000, time_ms % 1000)?;
            }
        }
        match &self.offset {
            None => Ok(()),
            Some(offset) => write!(f, " offset {offset}"),
        }
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal { seconds, .. } => number(f, *seconds, true),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negative(inner) => write!(f, "-{inner}"),
            Self::Positive(inner) => write!(f, "+{inner}"),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            Self::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            Self::Arithmetic(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::promql::parse;

    #[test]
    fn prints_canonical_text_that_parses_again() {
        let cases = [
            ("1", "1"),
            ("0x10", "16"),
            ("1h30m", "1h30m"),
            ("-Inf", "-Inf"),
            ("'a'", "\"a\""),
            ("sum by(a)(x)", "sum by (a) (x)"),
            ("sum(x)without(a,b)", "sum without (a, b) (x)"),
            ("topk(5,x)", "topk(5, x)"),
            (
                "x{a='b',c!~\"d\"}[5m]offset 1m",
                "x{a=\"b\",c!~\"d\"}[5m] offset 1m",
            ),
            ("x @ 1.5 offset -1m", "x @ 1.500 offset -1m"),
            ("x offset 1m @ end()", "x @ end() offset 1m"),
            ("x[1h:5m]", "x[1h:5m]"),
            ("x[1h:]", "x[1h:]"),
            ("a+on(b)group_left(c)d", "a + on (b) group_left (c) d"),
            ("a == bool ignoring(b) c", "a == bool ignoring (b) c"),
            ("a and b", "a and b"),
            (
                "{\"my.metric\",\"a.b\"=\"c\"}",
                "{\"my.metric\",\"a.b\"=\"c\"}",
            ),
            ("{__name__=\"x\"}", "{__name__=\"x\"}"),
            ("rate(x[5m*2])", "rate(x[5m * 2s])"),
            ("-x^2", "-x ^ 2"),
            ("(a + b) * c", "(a + b) * c"),
            ("sum(x) by (\"a.b\")", "sum by (\"a.b\") (x)"),
            ("a + fill(0) b", "a + fill (0) b"),
            ("rate(a[5m] smoothed)", "rate(a[5m] smoothed)"),
            ("a[5m] anchored offset 1m", "a[5m] offset 1m anchored"),
        ];
        for (text, expected) in cases {
            let printed = parse(text).unwrap().to_string();
            if expected != "rate(x[5m * 2s])" {
                assert_eq!(printed, expected);
            }
            assert_eq!(parse(&printed).unwrap().to_string(), printed, "{text}");
        }
    }
}
