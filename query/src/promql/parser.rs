//! Reads PromQL text into a tree by precedence climbing.
//!
//! Types are checked by [`super::check`] as nodes are built; here is only the grammar. Nesting is
//! bounded by [`MAX_DEPTH`], whatever the text.

mod matching;
mod selectors;

use std::fmt;

use kansoku_model::Matcher;

use super::aggregations;
use super::ast::{Aggregate, Binary, BinaryOp, Cardinality, Expr, ExprKind, MAX_DEPTH, Span};
use super::bucketless;
use super::check;
use super::duration;
use super::error::ParseError;
use super::functions;
use super::lexer::{self, KEYWORDS, STAND_INS, Token, TokenKind};
use super::text::Text;
use crate::number::{parse_float, quote};

/// A parsed query: the tree and the text it came from.
#[derive(Debug, Clone)]
pub struct Query {
    pub expr: Expr,
    text: Box<str>,
}

impl Query {
    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Query {
    /// Prometheus's canonical text of the query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

/// Parses and checks a query.
///
/// # Errors
/// When the text is no valid PromQL; the message is Prometheus's for common mistakes.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    let mut parser = Parser::new(text);
    if parser.peek() == &TokenKind::End {
        let nowhere = Span { start: 0, end: 0 };
        return Err(parser.error(nowhere, "no expression found in input"));
    }
    let mut expr = parser.expression(0)?;
    if parser.peek() != &TokenKind::End {
        return Err(parser.unexpected("", ""));
    }
    // What does not fit together counts once all of the text is PromQL.
    if let Some(misfit) = parser.misfit {
        return Err(misfit);
    }
    bucketless::mark(&mut expr);
    Ok(Query {
        expr,
        text: text.into(),
    })
}

/// Parses a query and gives every selector of it a condition, in the place of those on the same label.
///
/// # Errors
/// When the text is no valid PromQL.
pub fn parse_with_matcher(text: &str, matcher: &Matcher) -> Result<Query, ParseError> {
    let mut query = parse(text)?;
    query.expr.for_selectors(&mut |selector| {
        selector.matchers.retain(|m| m.name != matcher.name);
        selector.matchers.push(matcher.clone());
    });
    // Places in messages are those of the text that results.
    parse(&query.to_string())
}

/// Parses a bare selector such as `up{job="x"}`, as `match[]` parameters hold it.
///
/// # Errors
/// When the text is no selector or has anything around it.
pub fn matchers_of_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let query = parse(text)?;
    let span = query.expr.span;
    match query.expr.kind {
        ExprKind::Vector(selector)
            if selector.modifiers.offset.is_none() && selector.modifiers.at.is_none() =>
        {
            Ok(selector.matchers)
        }
        _ => Err(ParseError::new(
            text,
            span,
            "expected a series selector without offset, range or operators",
        )),
    }
}

/// As [`matchers_of_selector`], with Prometheus's words for what is wrong; it may select everything.
///
/// # Errors
/// When the text is no selector or has anything behind it.
pub fn metric_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text);
    parser.is_bare = true;
    let start = parser.span();
    let name = match parser.peek() {
        TokenKind::LeftBrace => None,
        TokenKind::MetricIdentifier | TokenKind::Identifier => {
            let name = parser.token_text().to_owned();
            parser.advance();
            Some(name)
        }
        _ => return Err(parser.unexpected("", "")),
    };
    let expr = parser.selector(name, start)?;
    match (parser.peek(), expr.kind) {
        (TokenKind::End, ExprKind::Vector(selector)) => Ok(selector.matchers),
        _ => Err(parser.unexpected("", "")),
    }
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: u16,
    /// The label conditions of `info()` are being read: they may select everything.
    takes_any_labels: bool,
    /// A bare selector is being read: nothing of it is checked.
    is_bare: bool,
    /// What is being read, for messages that name no narrower place.
    place: &'static str,
    /// Where durations are being read and what may stand there, for messages.
    pub(super) duration_place: [&'static str; 2],
    /// The first node whose types do not fit.
    misfit: Option<ParseError>,
}

/// Words that are no names of metrics.
const NO_NAMES: [&str; 5] = ["on", "ignoring", "bool", "group_left", "group_right"];

/// Words that are no names of functions, though a parenthesis may follow them.
const NO_FUNCTIONS: [&str; 8] = [
    "anchored",
    "by",
    "fill",
    "fill_left",
    "fill_right",
    "offset",
    "smoothed",
    "without",
];

const LABEL_MATCHING: &str = "label matching";

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            tokens: lexer::tokens(text),
            at: 0,
            depth: 0,
            takes_any_labels: false,
            is_bare: false,
            place: "",
            duration_place: duration::IN_BRACKETS,
            misfit: None,
        }
    }

    // The list of tokens always ends with End or Error, and nothing moves past it.
    fn token(&self) -> &Token {
        &self.tokens[self.at]
    }

    pub(super) fn peek(&self) -> &TokenKind {
        &self.token().kind
    }

    pub(super) fn span(&self) -> Span {
        self.token().span
    }

    pub(super) fn token_text(&self) -> &'a str {
        &self.text[self.span().start..self.span().end]
    }

    /// The text of the token in lower case when it is a name.
    pub(super) fn word(&self) -> String {
        match self.peek() {
            TokenKind::Identifier => self.token_text().to_ascii_lowercase(),
            _ => String::new(),
        }
    }

    fn next_is(&self, kind: &TokenKind) -> bool {
        self.tokens
            .get(self.at + 1)
            .is_some_and(|t| t.kind == *kind)
    }

    pub(super) fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    pub(super) fn accept(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, kind: &TokenKind, place: &str, wanted: &str) -> Parsed<()> {
        if self.accept(kind) {
            Ok(())
        } else {
            Err(self.unexpected(place, wanted))
        }
    }

    /// End of the last token taken.
    pub(super) fn end(&self) -> usize {
        self.at
            .checked_sub(1)
            .map_or(0, |at| self.tokens[at].span.end)
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }

    pub(super) fn error_here(&self, message: impl Into<String>) -> ParseError {
        self.error(self.span(), message)
    }

    /// Prometheus's text for a token that does not belong here.
    pub(super) fn unexpected(&self, place: &str, wanted: &str) -> ParseError {
        let mut message = match self.peek() {
            TokenKind::Error(message) => return self.error_here(message.clone()),
            // There are no keywords in braces.
            TokenKind::Identifier if place == LABEL_MATCHING => {
                format!("unexpected identifier {}", quote(self.token_text()))
            }
            kind => format!("unexpected {}", describe(kind, self.token_text())),
        };
        let place = if place.is_empty() { self.place } else { place };
        if !place.is_empty() {
            message = format!("{message} in {place}");
        }
        if !wanted.is_empty() {
            message = format!("{message}, expected {wanted}");
        }
        self.error_here(message)
    }

    /// Runs `inner` one level deeper, if there is one left.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(
                self.error_here(format!("query is nested more than {MAX_DEPTH} levels deep"))
            );
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Builds a checked node.
    fn node(&mut self, kind: ExprKind, span: Span) -> Parsed<Expr> {
        let expr = Expr::new(kind, span);
        if expr.depth() > MAX_DEPTH {
            let message = format!("query is nested more than {MAX_DEPTH} levels deep");
            return Err(self.error(span, message));
        }
        let takes_all = self.takes_any_labels && matches!(expr.kind, ExprKind::Vector(_));
        if self.misfit.is_none() && !takes_all && !self.is_bare {
            self.misfit = check::check(self.text, &expr).err();
        }
        Ok(expr)
    }

    fn expression(&mut self, min_precedence: u8) -> Parsed<Expr> {
        self.nested(|p| {
            let mut left = p.unary()?;
            while let TokenKind::Op(op) = *p.peek() {
                if op.precedence() < min_precedence {
                    break;
                }
                p.advance();
                left = p.binary(left, op)?;
            }
            Ok(left)
        })
    }

    fn binary(&mut self, left: Expr, op: BinaryOp) -> Parsed<Expr> {
        let return_bool = self.word() == "bool";
        if return_bool {
            self.advance();
        }
        let mut matching = self.matching()?;
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let tighter = u8::from(op != BinaryOp::Pow);
        let right = self.expression(op.precedence() + tighter)?;
        let span = left.span.to(right.span);
        let binary = Binary {
            op,
            left,
            right,
            return_bool,
            matching,
        };
        self.node(ExprKind::Binary(Box::new(binary)), span)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let negative = match self.peek() {
            TokenKind::Op(BinaryOp::Add) => false,
            TokenKind::Op(BinaryOp::Sub) => true,
            _ => return self.postfix(),
        };
        self.advance();
        let operand = self.expression(BinaryOp::Pow.precedence())?;
        let span = start.to(operand.span);
        if let ExprKind::Number { value, is_duration } = operand.kind {
            let value = if negative { -value } else { value };
            return self.node(ExprKind::Number { value, is_duration }, span);
        }
        let operand = Box::new(operand);
        self.node(ExprKind::Unary { negative, operand }, span)
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        loop {
            expr = if self.peek() == &TokenKind::LeftBracket {
                self.brackets(expr)?
            } else if self.word() == "offset" {
                self.advance();
                self.offset(expr)?
            } else if let Some(extension) = self.extension() {
                self.extended(expr, extension)?
            } else if self.accept(&TokenKind::At) {
                self.at_modifier(expr)?
            } else {
                return Ok(expr);
            };
        }
    }

    /// A number or duration in seconds, with or without a sign.
    fn signed_number(&mut self, place: &str, wanted: &str) -> Parsed<f64> {
        let negative = match self.peek() {
            TokenKind::Op(BinaryOp::Sub) => true,
            TokenKind::Op(BinaryOp::Add) => false,
            _ => return self.number(place, wanted),
        };
        self.advance();
        self.number(place, wanted)
            .map(|n| if negative { -n } else { n })
    }

    pub(super) fn number(&mut self, place: &str, wanted: &str) -> Parsed<f64> {
        let text = self.token_text();
        let value = match self.peek() {
            TokenKind::Number => literal_number(text),
            TokenKind::Duration => crate::number::parse_duration_ms(text)
                .map(|duration_ms| duration_ms as f64 / 1000.0),
            _ => return Err(self.unexpected(place, wanted)),
        };
        let value = value.map_err(|message| self.error_here(message))?;
        self.advance();
        Ok(value)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.span();
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => {
                let is_duration = self.peek() == &TokenKind::Duration;
                let value = self.number("", "")?;
                self.node(ExprKind::Number { value, is_duration }, start)
            }
            TokenKind::String => {
                let text = self.string()?;
                self.node(ExprKind::String(text), start)
            }
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.expression(0)?;
                self.expect(&TokenKind::RightParen, "", "")?;
                let span = Span {
                    start: start.start,
                    end: self.end(),
                };
                self.node(ExprKind::Paren(Box::new(inner)), span)
            }
            TokenKind::LeftBrace => self.selector(None, start),
            TokenKind::MetricIdentifier => {
                let name = self.token_text().to_owned();
                self.advance();
                self.selector(Some(name), start)
            }
            TokenKind::Identifier => self.name(start),
            // As names of metrics.
            TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                let name = self.token_text().to_owned();
                self.advance();
                self.selector(Some(name), start)
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    /// A name: of an aggregation, a function or a metric.
    fn name(&mut self, start: Span) -> Parsed<Expr> {
        let text = self.token_text();
        let word = self.word();
        let is_call = self.next_is(&TokenKind::LeftParen) && !NO_FUNCTIONS.contains(&word.as_str());
        if let Some(op) = aggregations::find(&word) {
            let following = self
                .tokens
                .get(self.at + 1)
                .map(|t| self.text[t.span.start..t.span.end].to_ascii_lowercase());
            if is_call || following.is_some_and(|w| w == "by" || w == "without") {
                self.advance();
                return self.aggregate(op, start);
            }
        }
        if NO_NAMES.contains(&word.as_str()) {
            return Err(self.unexpected("", ""));
        }
        if is_call {
            let Some(function) = functions::find(text) else {
                let mut message = format!("unknown function with name {}", quote(text));
                if let Some(reason) = functions::why_absent(text) {
                    message = format!("{message}: {reason}");
                }
                return Err(self.error(start, message));
            };
            self.advance();
            let args = self.arguments(function.name == "info")?;
            let span = Span {
                start: start.start,
                end: self.end(),
            };
            return self.node(ExprKind::Call { function, args }, span);
        }
        self.advance();
        self.selector(Some(text.to_owned()), start)
    }

    fn arguments(&mut self, of_info: bool) -> Parsed<Vec<Expr>> {
        self.expect(&TokenKind::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.accept(&TokenKind::RightParen) {
            return Ok(args);
        }
        loop {
            let outside = self.takes_any_labels;
            self.takes_any_labels = of_info && args.len() == 1;
            let arg = self.expression(0);
            self.takes_any_labels = outside;
            args.push(arg?);
            if self.accept(&TokenKind::RightParen) {
                return Ok(args);
            }
            let comma = self.span();
            if !self.accept(&TokenKind::Comma) {
                return Err(self.unexpected("", ""));
            }
            if !self.begins_expression() && !matches!(self.peek(), TokenKind::Error(_)) {
                let message = "trailing commas not allowed in function call args";
                return Err(self.error(comma, message));
            }
        }
    }

    fn begins_expression(&self) -> bool {
        use BinaryOp::{Add, And, Or, Sub, Unless};
        match self.peek() {
            TokenKind::Identifier => !NO_NAMES.contains(&self.word().as_str()),
            TokenKind::Op(op) => matches!(op, Add | Sub | And | Or | Unless),
            kind => matches!(
                kind,
                TokenKind::Number
                    | TokenKind::Duration
                    | TokenKind::String
                    | TokenKind::LeftParen
                    | TokenKind::LeftBrace
                    | TokenKind::MetricIdentifier
            ),
        }
    }

    fn aggregate(&mut self, op: &'static aggregations::Aggregation, start: Span) -> Parsed<Expr> {
        let outside = std::mem::replace(&mut self.place, "aggregation");
        let before = self.grouping()?;
        let mut args = self.arguments(false)?;
        self.place = outside;
        let after = match before {
            Some(_) => None,
            None => self.grouping()?,
        };
        let (without, grouping) = before.or(after).unwrap_or_default();
        let span = Span {
            start: start.start,
            end: self.end(),
        };
        let n_wanted = 1 + usize::from(op.parameter.is_some());
        if args.is_empty() {
            let message = "no arguments for aggregate expression provided";
            return Err(self.error(span, message));
        }
        if args.len() != n_wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {n_wanted}, got {}",
                args.len()
            );
            return Err(self.error(span, message));
        }
        let operand = args.remove(n_wanted - 1);
        let aggregate = Aggregate {
            op,
            parameter: args.pop(),
            operand,
            without,
            grouping,
        };
        self.node(ExprKind::Aggregate(Box::new(aggregate)), span)
    }

    fn string(&mut self) -> Parsed<Text> {
        let text = lexer::unquote(self.token_text()).map_err(|message| self.error_here(message))?;
        self.advance();
        Ok(text)
    }
}

fn literal_number(text: &str) -> Result<f64, String> {
    // As in Go, digits after a leading zero are octal where they can be.
    let is_octal =
        text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let value = if is_octal {
        i64::from_str_radix(text, 8).ok().map(|n| n as f64)
    } else {
        parse_float(text)
    };
    value.ok_or_else(|| {
        let text = quote(text);
        format!("error parsing number: strconv.ParseFloat: parsing {text}: invalid syntax")
    })
}

fn describe(kind: &TokenKind, text: &str) -> String {
    let short: String = text.chars().take(10).collect();
    match kind {
        TokenKind::End => "end of input".to_owned(),
        TokenKind::Op(op) if op.as_str().is_empty() => quote(text),
        TokenKind::Op(_) | TokenKind::At | TokenKind::MatchRegex | TokenKind::MatchNotRegex => {
            format!("<op:{text}>")
        }
        TokenKind::Identifier => {
            let word = text.to_ascii_lowercase();
            if aggregations::find(&word).is_some() {
                format!("<aggr:{text}>")
            } else if KEYWORDS.contains(&word.as_str()) {
                format!("<{text}>")
            } else if STAND_INS.contains(&word.as_str()) {
                quote(text)
            } else {
                format!("identifier {}", quote(text))
            }
        }
        TokenKind::MetricIdentifier => format!("metric identifier {}", quote(text)),
        TokenKind::Number | TokenKind::Duration | TokenKind::String => {
            let dots = if text.len() > 10 { "..." } else { "" };
            let kind = match kind {
                TokenKind::Number => "number",
                TokenKind::Duration => "duration",
                _ => "string",
            };
            format!("{kind} {}{dots}", quote(&short))
        }
        _ => quote(text),
    }
}

#[cfg(test)]
mod tests;
