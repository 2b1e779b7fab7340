//! The grammar of label lists: how vectors are matched and how aggregations group.

use super::super::ast::{BinaryOp, Cardinality, Matching};
use super::super::lexer::TokenKind;
use super::{Parsed, Parser};

impl Parser<'_> {
    pub(super) fn matching(&mut self) -> Parsed<Matching> {
        let mut matching = Matching::default();
        let word = self.word();
        if word == "on" || word == "ignoring" {
            self.advance();
            matching.on = word == "on";
            matching.labels = self.label_list()?;
            let word = self.word();
            if word == "group_left" || word == "group_right" {
                self.advance();
                matching.cardinality = if word == "group_left" {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                if self.peek() == &TokenKind::LeftParen {
                    matching.include = self.label_list()?;
                }
            }
        }
        loop {
            let word = self.word();
            let sides: &[usize] = match word.as_str() {
                "fill" => &[0, 1],
                "fill_left" => &[0],
                "fill_right" => &[1],
                _ => return Ok(matching),
            };
            // A metric may be called `fill`; only a parenthesis makes it the modifier.
            if !self.next_is(&TokenKind::LeftParen) {
                return Ok(matching);
            }
            self.advance();
            self.advance();
            let value = self.signed_number("fill value", "number")?;
            self.expect(&TokenKind::RightParen, "fill value", "\")\"")?;
            for side in sides {
                matching.fill[*side] = Some(value);
            }
        }
    }

    /// `by (..)` or `without (..)`; the flag is for `without`.
    pub(super) fn grouping(&mut self) -> Parsed<Option<(bool, Vec<String>)>> {
        let word = self.word();
        if word != "by" && word != "without" {
            return Ok(None);
        }
        self.advance();
        Ok(Some((word == "without", self.label_list()?)))
    }

    pub(super) fn label_list(&mut self) -> Parsed<Vec<String>> {
        const PLACE: &str = "grouping opts";
        self.expect(&TokenKind::LeftParen, PLACE, "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.accept(&TokenKind::RightParen) {
                return Ok(labels);
            }
            match self.peek() {
                TokenKind::Identifier => {
                    labels.push(self.token_text().to_owned());
                    self.advance();
                }
                // Words that are operators elsewhere.
                TokenKind::Op(
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2,
                ) => {
                    labels.push(self.token_text().to_owned());
                    self.advance();
                }
                TokenKind::String => {
                    let span = self.span();
                    let text = self.string()?;
                    let Some(name) = text.as_label_name() else {
                        let message = format!("invalid label name for grouping: {text}");
                        return Err(self.error(span, message));
                    };
                    labels.push(name.to_owned());
                }
                _ => return Err(self.unexpected(PLACE, "label")),
            }
            if !self.accept(&TokenKind::Comma) {
                self.expect(&TokenKind::RightParen, PLACE, "\",\" or \")\"")?;
                return Ok(labels);
            }
        }
    }
}
