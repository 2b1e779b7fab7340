//! `| level="error" and duration > 10ms or size <= 5KB`: keeps records by their labels.
//!
//! A value that cannot be compared does not drop the record but marks it with `__error__`.

use std::fmt;
use std::sync::Arc;

use kansoku_model::select::{MatchOp, Matcher};
use kansoku_model::{AnyOf, Needle};

use super::ip::IpFilter;
use super::{LABEL_FILTER_ERROR, LabelsRead, Stage};
use crate::logql::error::ParseError;
use crate::logql::lexer::{Kind, Quoted};
use crate::logql::parser::Parser;
use crate::logql::record::{ERROR_DETAILS_LABEL, ERROR_LABEL, Record};
use crate::logql::units;

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

const COMPARISONS: &[(&str, Comparison)] = &[
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">=", Comparison::GreaterEqual),
    (">", Comparison::Greater),
    ("<=", Comparison::LessEqual),
    ("<", Comparison::Less),
];

impl Comparison {
    fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
        }
    }

    fn as_str(self) -> &'static str {
        COMPARISONS
            .iter()
            .find(|(_, c)| *c == self)
            .map_or("", |(text, _)| text)
    }
}

/// What a label is compared with.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Number(f64),
    Duration(i64),
    Bytes(u64),
}

/// A condition on labels.
#[derive(Debug, Clone)]
pub enum LabelFilter {
    Text(Arc<Matcher>),
    Compare(Arc<Compare>),
    Ip(Arc<IpLabel>),
    And(Box<(LabelFilter, LabelFilter)>),
    Or(Box<(LabelFilter, LabelFilter)>),
}

/// `label > 5ms`
#[derive(Debug)]
pub struct Compare {
    label: String,
    comparison: Comparison,
    operand: Operand,
}

/// `label = ip("10.0.0.0/8")`
#[derive(Debug)]
pub struct IpLabel {
    label: String,
    equal: bool,
    pattern: String,
    filter: IpFilter,
}

impl Stage for LabelFilter {
    fn process(&self, record: &mut Record<'_>) -> bool {
        match self {
            // Of failures Loki's filters know the kind only, and no field of that name.
            Self::Text(matcher) => matcher.matches(match &*matcher.name {
                ERROR_LABEL => record.labels.error(),
                ERROR_DETAILS_LABEL => "",
                name => record.labels.get(name).unwrap_or(""),
            }),
            Self::Compare(compare) => compare.process(record),
            Self::Ip(ip) => ip.holds(record.labels.get(&ip.label)),
            // Both sides of `and` are evaluated, so that a failure on either is seen.
            Self::And(sides) => {
                let left = sides.0.process(record);
                sides.1.process(record) && left
            }
            Self::Or(sides) => sides.0.process(record) || sides.1.process(record),
        }
    }

    fn as_label_filter(&self) -> Option<&LabelFilter> {
        Some(self)
    }

    fn labels_read(&self, read: &mut LabelsRead) {
        match self {
            Self::Text(matcher) => read.names.push(matcher.name.clone()),
            Self::Compare(compare) => read.names.push(compare.label.clone()),
            Self::Ip(ip) => read.names.push(ip.label.clone()),
            Self::And(sides) | Self::Or(sides) => {
                sides.0.labels_read(read);
                sides.1.labels_read(read);
            }
        }
    }
}

impl LabelFilter {
    /// What lines contain of whose fields the labels are that pass.
    pub fn required(&self) -> Vec<AnyOf> {
        match self {
            // Errors are no fields.
            Self::Text(matcher)
                if matcher.op == MatchOp::Equal && !matcher.name.starts_with("__error") =>
            {
                let longest = longest_plain(&matcher.value);
                if longest.is_empty() {
                    return Vec::new();
                }
                // Escapes may stand for any character.
                let needles = [longest, "\\u"].map(|text| Needle::new(text.as_bytes()));
                vec![AnyOf {
                    needles: needles.into(),
                    field: Some(matcher.name.clone()),
                }]
            }
            Self::And(sides) => [sides.0.required(), sides.1.required()].concat(),
            Self::Text(_) | Self::Compare(_) | Self::Ip(_) | Self::Or(_) => Vec::new(),
        }
    }
}

/// The longest part of a value that no escape but a `\u` can stand for, and no byte that is no UTF-8.
fn longest_plain(value: &str) -> &str {
    let is_special = |c: char| c <= ' ' || matches!(c, '"' | '\\' | '/' | '\u{fffd}');
    let parts = value.split(is_special);
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

impl IpLabel {
    /// The label that is looked at.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether a value passes.
    pub fn holds(&self, value: Option<&str>) -> bool {
        value.is_some_and(|value| self.filter.matches(value) == self.equal)
    }
}

impl Compare {
    /// The label that is compared.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether a value passes.
    pub fn of_text(&self, text: &str) -> Result<bool, String> {
        match self.operand {
            Operand::Number(n) => units::go_float(text).map(|v| self.comparison.holds(v, n)),
            Operand::Duration(n) => units::go_duration(text).map(|v| self.comparison.holds(v, n)),
            Operand::Bytes(n) => units::byte_size(text).map(|v| self.comparison.holds(v, n)),
        }
    }

    /// Whether a value passes that is a number, when it is compared with one.
    pub fn of_number(&self) -> Option<impl Fn(f64) -> bool + use<>> {
        let comparison = self.comparison;
        match self.operand {
            Operand::Number(n) => Some(move |v| comparison.holds(v, n)),
            Operand::Duration(_) | Operand::Bytes(_) => None,
        }
    }

    fn process(&self, record: &mut Record<'_>) -> bool {
        let Some(text) = record.labels.get(&self.label) else {
            return false;
        };
        self.of_text(text).unwrap_or_else(|reason| {
            // What went wrong first says more.
            if record.labels.error().is_empty() {
                record.labels.set_error(LABEL_FILTER_ERROR, &reason);
            }
            true
        })
    }
}

/// What an operand begins with.
const OPERAND: &str = "IDENTIFIER or (";

/// Reads what follows the `|`.
pub fn parse(parser: &mut Parser<'_>) -> Result<LabelFilter, ParseError> {
    parse_joined(parser, 0, "")
}

/// Loki's grammar gives `and` and `or` their precedence and none to a comma or to plain
/// juxtaposition, which therefore take everything that follows as their right side.
fn parse_joined(
    parser: &mut Parser<'_>,
    above: u8,
    wanted: &str,
) -> Result<LabelFilter, ParseError> {
    const OR: u8 = 1;
    const AND: u8 = 2;
    parser.enter()?;
    let mut left = parse_one(parser, wanted)?;
    loop {
        if above < OR && parser.accept_keyword("or") {
            let right = parse_joined(parser, OR, OPERAND)?;
            left = LabelFilter::Or(Box::new((left, right)));
        } else if above < AND && parser.accept_keyword("and") {
            let right = parse_joined(parser, AND, OPERAND)?;
            left = LabelFilter::And(Box::new((left, right)));
        } else if parser.accept(",") || parser.at_identifier() || parser.at("(") {
            let right = parse_joined(parser, 0, OPERAND)?;
            left = LabelFilter::And(Box::new((left, right)));
        } else {
            parser.leave();
            return Ok(left);
        }
    }
}

fn parse_one(parser: &mut Parser<'_>, wanted: &str) -> Result<LabelFilter, ParseError> {
    if parser.accept("(") {
        let filter = parse_joined(parser, 0, OPERAND)?;
        parser.expect_plainly(")")?;
        return Ok(filter);
    }
    let label = parser.identifier_expecting(wanted)?;
    if let Some(op) = parser.match_op() {
        return parse_matched(parser, label, op);
    }
    let Some((_, comparison)) = COMPARISONS
        .iter()
        .copied()
        .find(|(text, _)| parser.accept(text))
    else {
        return Err(parser.unexpected(""));
    };
    let operand = parse_operand(parser)?;
    Ok(compare(label, comparison, operand))
}

fn compare(label: String, comparison: Comparison, operand: Operand) -> LabelFilter {
    LabelFilter::Compare(Arc::new(Compare {
        label,
        comparison,
        operand,
    }))
}

/// After `=`, `!=`, `=~` or `!~`: a text, an address, or a number.
fn parse_matched(
    parser: &mut Parser<'_>,
    label: String,
    op: MatchOp,
) -> Result<LabelFilter, ParseError> {
    let equality = matches!(op, MatchOp::Equal | MatchOp::NotEqual);
    if parser.at_text() || !equality {
        let matcher = parser.matcher(&label, op)?;
        return Ok(LabelFilter::Text(Arc::new(matcher)));
    }
    if parser.accept_keyword("ip") {
        parser.expect("(")?;
        let pattern = parser.text()?;
        parser.expect(")")?;
        let filter = IpFilter::new(&pattern)
            .map_err(|e| ParseError::in_stage(format!("| {label}=ip({pattern:?})"), e))?;
        return Ok(LabelFilter::Ip(Arc::new(IpLabel {
            label,
            equal: op == MatchOp::Equal,
            pattern,
            filter,
        })));
    }
    let operand = parse_operand(parser)?;
    let comparison = if op == MatchOp::Equal {
        Comparison::Equal
    } else {
        Comparison::NotEqual
    };
    Ok(compare(label, comparison, operand))
}

fn parse_operand(parser: &mut Parser<'_>) -> Result<Operand, ParseError> {
    match parser.kind() {
        Kind::Duration(ns) => {
            let ns = *ns;
            parser.advance();
            Ok(Operand::Duration(ns))
        }
        Kind::Bytes(n) => {
            let n = *n;
            parser.advance();
            Ok(Operand::Bytes(n))
        }
        _ if parser.at_number() => parser.number().map(Operand::Number),
        _ => Err(parser.unexpected("")),
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| ")?;
        write_filter(f, self)
    }
}

fn write_filter(f: &mut fmt::Formatter<'_>, filter: &LabelFilter) -> fmt::Result {
    match filter {
        LabelFilter::Text(m) => write!(f, "{}{}{}", m.name, m.op.as_str(), Quoted(&m.value)),
        LabelFilter::Compare(c) => {
            write!(f, "{}{}", c.label, c.comparison.as_str())?;
            match &c.operand {
                Operand::Number(n) => write!(f, "{n}"),
                Operand::Duration(ns) => f.write_str(&units::write_duration(*ns)),
                Operand::Bytes(n) => f.write_str(&units::write_bytes(*n)),
            }
        }
        LabelFilter::Ip(ip) => {
            let op = if ip.equal { "=" } else { "!=" };
            write!(f, "{}{op}ip({})", ip.label, Quoted(&ip.pattern))
        }
        LabelFilter::And(sides) | LabelFilter::Or(sides) => {
            let word = if matches!(filter, LabelFilter::And(_)) {
                ","
            } else {
                "or"
            };
            f.write_str("( ")?;
            write_filter(f, &sides.0)?;
            write!(f, " {word} ")?;
            write_filter(f, &sides.1)?;
            f.write_str(" )")
        }
    }
}
