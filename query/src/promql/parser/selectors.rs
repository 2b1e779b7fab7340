//! The grammar of selectors: names, label matchers, ranges, subqueries, `offset` and `@`.

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::{MatchOp, Matcher};

use super::super::ast::{
    At, BinaryOp, Expr, ExprKind, Extension, Modifiers, Selector, Span, Subquery,
};
use super::super::duration::BEHIND_COLON;
use super::super::engine::MAX_TIME_MS;
use super::super::error::ParseError;
use super::super::lexer::TokenKind;
use super::super::text::Text;
use super::{LABEL_MATCHING, Parsed, Parser};
use crate::number::quote;

impl Parser<'_> {
    pub(super) fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
        let bracket = self.span();
        self.advance();
        let range = self.positive_duration()?;
        if self.accept(&TokenKind::Colon) {
            let step = if self.peek() == &TokenKind::RightBracket {
                None
            } else {
                let outside = std::mem::replace(&mut self.duration_place, BEHIND_COLON);
                let step = self.positive_duration()?;
                self.duration_place = outside;
                Some(step)
            };
            self.expect(&TokenKind::RightBracket, "subquery selector", "\"]\"")?;
            let span = Span {
                start: expr.span.start,
                end: self.end(),
            };
            let subquery = Subquery {
                operand: expr,
                range,
                step,
                modifiers: Modifiers::default(),
            };
            return self.node(ExprKind::Subquery(Box::new(subquery)), span);
        }
        self.expect(
            &TokenKind::RightBracket,
            "subquery or range",
            "\":\" or \"]\"",
        )?;
        let span = Span {
            start: expr.span.start,
            end: self.end(),
        };
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(self.error(bracket, "ranges only allowed for vector selectors"));
        };
        if selector.modifiers.offset.is_some() {
            return Err(self.error(bracket, "no offset modifiers allowed before range"));
        }
        if selector.modifiers.at.is_some() {
            return Err(self.error(bracket, "no @ modifiers allowed before range"));
        }
        self.node(ExprKind::Matrix { selector, range }, span)
    }

    /// The extension keyword here, if there is one.
    pub(super) fn extension(&self) -> Option<Extension> {
        match self.word().as_str() {
            "anchored" => Some(Extension::Anchored),
            "smoothed" => Some(Extension::Smoothed),
            _ => None,
        }
    }

    pub(super) fn extended(&mut self, mut expr: Expr, extension: Extension) -> Parsed<Expr> {
        let (word, is_range) = (
            extension.as_str(),
            matches!(expr.kind, ExprKind::Matrix { .. }),
        );
        let (ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. }) = &mut expr.kind
        else {
            let message = format!("{word} modifier must be preceded by a selector");
            return Err(self.error_here(message));
        };
        if extension == Extension::Anchored && !is_range {
            let message = "anchored modifier must be preceded by a range selector";
            return Err(self.error_here(message));
        }
        if selector.extension.is_some() {
            return Err(self.error_here("anchored or smoothed may not be set multiple times"));
        }
        selector.extension = Some(extension);
        self.advance();
        expr.span.end = self.end();
        Ok(expr)
    }

    pub(super) fn offset(&mut self, mut expr: Expr) -> Parsed<Expr> {
        let offset = self.offset_duration()?;
        let end = self.end();
        let Some(modifiers) = modifiers_of(&mut expr) else {
            return Err(self.error(
                expr.span,
                "offset modifier must be preceded by an instant vector selector or range vector \
                 selector or a subquery",
            ));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(expr.span, "offset may not be set multiple times"));
        }
        modifiers.offset = Some(offset);
        expr.span.end = end;
        Ok(expr)
    }

    pub(super) fn at_modifier(&mut self, mut expr: Expr) -> Parsed<Expr> {
        let word = self.word();
        let at = if word == "start" || word == "end" {
            self.advance();
            self.expect(&TokenKind::LeftParen, "@", "timestamp")?;
            self.expect(&TokenKind::RightParen, "@", "timestamp")?;
            if word == "start" { At::Start } else { At::End }
        } else {
            let span = self.span();
            let seconds = self.signed_number("@", "timestamp")?;
            let time_ms = (seconds * 1000.0).round();
            // Beyond this a sum of times and ranges could leave 64 bits.
            if time_ms.is_nan() || time_ms.abs() > MAX_TIME_MS as f64 {
                let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
                return Err(self.error(span, message));
            }
            At::Time(time_ms as i64)
        };
        let end = self.end();
        let Some(modifiers) = modifiers_of(&mut expr) else {
            return Err(self.error(
                expr.span,
                "@ modifier must be preceded by an instant vector selector or range vector \
                 selector or a subquery",
            ));
        };
        if modifiers.at.is_some() {
            return Err(self.error(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        modifiers.at = Some(at);
        expr.span.end = end;
        Ok(expr)
    }

    /// Braces, if any, after an optional name.
    pub(super) fn selector(&mut self, mut name: Option<String>, start: Span) -> Parsed<Expr> {
        let mut matchers = Vec::new();
        if self.accept(&TokenKind::LeftBrace) {
            self.matchers(&mut name, &mut matchers)?;
        }
        let span = Span {
            start: start.start,
            end: self.end(),
        };
        if let Some(name) = &name {
            let twice = matchers
                .iter()
                .find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
            if let (Some(other), None, false) = (twice, &self.misfit, self.is_bare) {
                self.misfit = Some(self.twice(name, &other.value, span));
            }
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let selector = Selector {
            name,
            matchers,
            modifiers: Modifiers::default(),
            extension: None,
            is_bucketless: false,
            span,
        };
        self.node(ExprKind::Vector(Box::new(selector)), span)
    }

    pub(super) fn twice(&self, name: &str, other: &str, span: Span) -> ParseError {
        let message = format!(
            "metric name must not be set twice: {} or {}",
            quote(name),
            quote(other)
        );
        self.error(span, message)
    }

    pub(super) fn matchers(
        &mut self,
        name: &mut Option<String>,
        matchers: &mut Vec<Matcher>,
    ) -> Parsed<()> {
        loop {
            if self.accept(&TokenKind::RightBrace) {
                return Ok(());
            }
            let span = self.span();
            let is_quoted = self.peek() == &TokenKind::String;
            let label = match self.peek() {
                TokenKind::Identifier => {
                    let label = self.token_text().into();
                    self.advance();
                    Text::new(label)
                }
                TokenKind::String => self.string()?,
                _ => return Err(self.unexpected(LABEL_MATCHING, "identifier or \"}\"")),
            };
            if is_quoted && matches!(self.peek(), TokenKind::Comma | TokenKind::RightBrace) {
                if let Some(other) = name {
                    return Err(self.twice(other, &label.to_lossy(), span));
                }
                match label.as_str() {
                    Some(label) => *name = Some(label.to_owned()),
                    None => matchers.extend(Matcher::of_bytes(
                        METRIC_NAME.as_bytes(),
                        MatchOp::Equal,
                        label.as_bytes(),
                    )),
                }
            } else {
                matchers.push(self.matcher(&label, span)?);
            }
            if !self.accept(&TokenKind::Comma) {
                self.expect(&TokenKind::RightBrace, LABEL_MATCHING, "\",\" or \"}\"")?;
                return Ok(());
            }
        }
    }

    pub(super) fn matcher(&mut self, label: &Text, start: Span) -> Parsed<Matcher> {
        let op = match self.peek() {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Op(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::MatchRegex => MatchOp::Regex,
            TokenKind::MatchNotRegex => MatchOp::NotRegex,
            _ => return Err(self.unexpected(LABEL_MATCHING, "label matching operator")),
        };
        self.advance();
        if self.peek() != &TokenKind::String {
            return Err(self.unexpected(LABEL_MATCHING, "string"));
        }
        let value = self.string()?;
        let is_pattern = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        if is_pattern && value.as_str().is_none() {
            let message = format!(
                "error parsing regexp: invalid UTF-8: `{}`",
                value.to_lossy()
            );
            return Err(self.error(start, message));
        }
        Matcher::of_bytes(label.as_bytes(), op, value.as_bytes()).map_err(|error| {
            // The regex crate draws the pattern over several lines; its last line is the reason.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or("").trim();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            let message = format!("error parsing regexp: {reason}: `{}`", value.to_lossy());
            self.error(start, message)
        })
    }
}

fn modifiers_of(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            Some(&mut selector.modifiers)
        }
        ExprKind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}
