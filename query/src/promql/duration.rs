//! Durations in brackets and after `offset`: numbers, arithmetic, `step()` and `range()`.
//!
//! Parsing and evaluation of [`Duration`]; results are milliseconds.

use super::ast::{BinaryOp, Duration};
use super::error::ParseError;
use super::lexer::TokenKind;
use super::parser::Parser;

const WANTED: &str = "number, duration, step(), or range()";
/// Places of durations and what may stand there, as messages tell them.
pub(super) const IN_BRACKETS: [&str; 2] = ["subquery or range selector", WANTED];
pub(super) const BEHIND_COLON: [&str; 2] = [
    "subquery selector",
    "number, duration, step(), range(), or \"]\"",
];
const BEHIND_OFFSET: [&str; 2] = ["offset", WANTED];

/// The longest duration: what fits Go's 64-bit nanoseconds.
const MAX_SECONDS: f64 = 9_223_372_036.0;

/// Step and length of the query in milliseconds, for `step()` and `range()`.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryTimes {
    pub step_ms: i64,
    pub range_ms: i64,
}

impl Duration {
    /// The duration in milliseconds.
    ///
    /// # Errors
    /// On division by zero and results out of range.
    pub fn evaluate_ms(&self, times: QueryTimes) -> Result<i64, String> {
        let seconds = self.seconds(times)?;
        if seconds.is_nan() || seconds.abs() >= MAX_SECONDS {
            return Err("duration out of range".to_owned());
        }
        Ok((seconds * 1000.0).round() as i64)
    }

    fn seconds(&self, times: QueryTimes) -> Result<f64, String> {
        Ok(match self {
            Self::Literal { seconds, .. } => *seconds,
            Self::Step => times.step_ms as f64 / 1000.0,
            Self::Range => times.range_ms as f64 / 1000.0,
            Self::Negative(inner) => -inner.seconds(times)?,
            Self::Positive(inner) | Self::Paren(inner) => inner.seconds(times)?,
            Self::MinOf(a, b) => a.seconds(times)?.min(b.seconds(times)?),
            Self::MaxOf(a, b) => a.seconds(times)?.max(b.seconds(times)?),
            Self::Arithmetic(op, a, b) => {
                let (a, b) = (a.seconds(times)?, b.seconds(times)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return Err("division by zero".to_owned()),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return Err("modulo by zero".to_owned()),
                    BinaryOp::Mod => a % b,
                    BinaryOp::Pow => a.powf(b),
                    _ => return Err(format!("unexpected <op:{}> in duration", op.as_str())),
                }
            }
        })
    }

    /// Whether the value depends on how the query is run.
    #[must_use]
    pub fn depends_on_query(&self) -> bool {
        match self {
            Self::Literal { .. } => false,
            Self::Step | Self::Range => true,
            Self::Negative(inner) | Self::Positive(inner) | Self::Paren(inner) => {
                inner.depends_on_query()
            }
            Self::MinOf(a, b) | Self::MaxOf(a, b) | Self::Arithmetic(_, a, b) => {
                a.depends_on_query() || b.depends_on_query()
            }
        }
    }
}

impl Parser<'_> {
    /// A duration in brackets, which must be above zero.
    pub(super) fn positive_duration(&mut self) -> Result<Duration, ParseError> {
        let start = self.span();
        let duration = self.duration(0)?;
        if !duration.depends_on_query() {
            let value = duration
                .evaluate_ms(QueryTimes::default())
                .map_err(|message| self.error(start, message))?;
            if value <= 0 {
                return Err(self.error(start, "duration must be greater than 0"));
            }
        }
        Ok(duration)
    }

    /// What follows `offset`: one operand, with or without a sign; sums need parentheses.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let start = self.span();
        let negative = match self.peek() {
            TokenKind::Op(BinaryOp::Sub) => Some(true),
            TokenKind::Op(BinaryOp::Add) => Some(false),
            _ => None,
        };
        if negative.is_some() {
            self.advance();
        }
        let outside = std::mem::replace(&mut self.duration_place, BEHIND_OFFSET);
        let operand = self.duration_operand()?;
        self.duration_place = outside;
        let duration = match negative {
            Some(true) => Duration::Negative(Box::new(operand)),
            Some(false) => Duration::Positive(Box::new(operand)),
            None => operand,
        };
        if !duration.depends_on_query() {
            duration
                .evaluate_ms(QueryTimes::default())
                .map_err(|message| self.error(start, message))?;
        }
        Ok(duration)
    }

    fn duration(&mut self, min_precedence: u8) -> Result<Duration, ParseError> {
        self.nested(|p| {
            let mut left = p.duration_operand()?;
            // Each turn nests the tree by one, so the turns are bounded like the depth.
            let mut n_turns = 0;
            while let TokenKind::Op(op) = *p.peek() {
                let precedence = op.precedence();
                if op.precedence() <= 3 || op == BinaryOp::Atan2 {
                    break;
                }
                if precedence < min_precedence {
                    break;
                }
                n_turns += 1;
                if n_turns > super::ast::MAX_DEPTH {
                    return Err(p.error_here("duration has too many terms"));
                }
                p.advance();
                let right = p.duration(precedence + u8::from(op != BinaryOp::Pow))?;
                left = Duration::Arithmetic(op, Box::new(left), Box::new(right));
            }
            Ok(left)
        })
    }

    /// What a sign stands before: powers bind tighter than it.
    fn signed_duration(&mut self) -> Result<Duration, ParseError> {
        self.duration(BinaryOp::Pow.precedence())
    }

    fn duration_operand(&mut self) -> Result<Duration, ParseError> {
        match self.peek() {
            TokenKind::Op(BinaryOp::Sub) => {
                self.advance();
                let inner = self.signed_duration()?;
                Ok(Duration::Negative(Box::new(inner)))
            }
            TokenKind::Op(BinaryOp::Add) => {
                self.advance();
                let inner = self.signed_duration()?;
                Ok(Duration::Positive(Box::new(inner)))
            }
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.duration(0)?;
                self.expect_in_duration(&TokenKind::RightParen)?;
                Ok(Duration::Paren(Box::new(inner)))
            }
            TokenKind::Number | TokenKind::Duration => {
                let is_number = self.peek() == &TokenKind::Number;
                let seconds = self.number(self.duration_place[0], self.duration_place[1])?;
                Ok(Duration::Literal { seconds, is_number })
            }
            TokenKind::Identifier => self.duration_function(),
            _ => Err(self.unexpected_duration()),
        }
    }

    fn unexpected_duration(&self) -> ParseError {
        let [place, wanted] = self.duration_place;
        self.unexpected(place, wanted)
    }

    fn expect_in_duration(&mut self, kind: &TokenKind) -> Result<(), ParseError> {
        let [place, wanted] = self.duration_place;
        self.expect(kind, place, wanted)
    }

    fn duration_function(&mut self) -> Result<Duration, ParseError> {
        let word = self.word();
        if !matches!(
            word.as_str(),
            "step" | "range" | "min_of" | "max_of" | "min" | "max"
        ) {
            return Err(self.unexpected_duration());
        }
        self.advance();
        self.expect_in_duration(&TokenKind::LeftParen)?;
        if word == "step" || word == "range" {
            self.expect_in_duration(&TokenKind::RightParen)?;
            return Ok(if word == "step" {
                Duration::Step
            } else {
                Duration::Range
            });
        }
        let a = Box::new(self.duration(0)?);
        self.expect_in_duration(&TokenKind::Comma)?;
        let b = Box::new(self.duration(0)?);
        self.expect_in_duration(&TokenKind::RightParen)?;
        Ok(if word.starts_with("min") {
            Duration::MinOf(a, b)
        } else {
            Duration::MaxOf(a, b)
        })
    }
}
