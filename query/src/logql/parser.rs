//! Tokens to expressions, by recursive descent. This file holds the parser's tools and the log
//! side of the language; the metric side is in `metric_parser`, each stage's syntax with the stage.
//!
//! Errors carry Loki's words and places. Nesting is bounded, so that no query exhausts the stack.

use kansoku_model::select::{MatchOp, Matcher};

use super::ast::LogExpr;
use super::error::ParseError;
use super::lexer::{self, Kind, Token};
use super::pattern_syntax;
use super::stages;

/// The longest query, as in Loki.
const QUERY_MAX_BYTES: usize = 131_072;

/// The deepest nesting of parentheses and calls: each level is some calls on the stack.
const DEPTH_MAX: usize = 100;

/// Loki's answer to a selector that may select everything.
const NEEDS_MATCHER: &str = "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// A walk over the tokens of one query.
pub struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

/// Cuts a query, runs `parse` over it and insists that nothing is left.
pub fn parse_whole<T>(
    query: &str,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParseError>,
) -> Result<T, ParseError> {
    if query.len() >= QUERY_MAX_BYTES {
        return Err(ParseError::of(format!(
            "input size too long ({} > {QUERY_MAX_BYTES})",
            query.len()
        )));
    }
    let tokens = lexer::tokenize(query);
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let parsed = parse(&mut parser)?;
    match parser.kind() {
        Kind::End => Ok(parsed),
        _ => Err(parser.unexpected("")),
    }
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        // The last token is `End` or `Error` and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// What comes next.
    pub fn kind(&self) -> &Kind {
        &self.token().kind
    }

    /// What comes after that.
    fn kind_after(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    /// Passes a token.
    pub fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// The error for what comes next, `wanted` being what could have come.
    pub fn unexpected(&self, wanted: &str) -> ParseError {
        let token = self.token();
        // Nothing at all has no place.
        let place = match self.tokens.len() {
            1 if token.kind == Kind::End => (0, 0),
            _ => (token.line, token.column),
        };
        let message = match (&token.kind, wanted) {
            (Kind::Error(message), _) => message.clone(),
            (kind, "") => format!("syntax error: unexpected {}", kind.describe()),
            (kind, wanted) => format!(
                "syntax error: unexpected {}, expecting {wanted}",
                kind.describe()
            ),
        };
        ParseError::at(message, place.0, place.1)
    }

    /// Goes one level deeper.
    pub fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let token = self.token();
            return Err(ParseError::at(
                format!("expression nested deeper than {DEPTH_MAX}"),
                token.line,
                token.column,
            ));
        }
        Ok(())
    }

    /// Comes back from a level.
    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether this operator or bracket comes next.
    pub fn at(&self, text: &str) -> bool {
        matches!(self.kind(), Kind::Punctuation(p) if *p == text)
    }

    /// Passes this operator or bracket if it comes next.
    pub fn accept(&mut self, text: &str) -> bool {
        let found = self.at(text);
        if found {
            self.advance();
        }
        found
    }

    /// Passes this operator or bracket, which must come next.
    pub fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.accept(text) {
            Ok(())
        } else {
            Err(self.unexpected(text))
        }
    }

    /// The same, where Loki does not say what was wanted.
    pub fn expect_plainly(&mut self, text: &str) -> Result<(), ParseError> {
        match self.accept(text) {
            true => Ok(()),
            false => Err(self.unexpected("")),
        }
    }

    /// Whether this word comes next.
    pub fn at_keyword(&self, word: &str) -> bool {
        matches!(self.kind(), Kind::Keyword(k) if *k == word)
    }

    /// Passes this word if it comes next.
    pub fn accept_keyword(&mut self, word: &str) -> bool {
        let found = self.at_keyword(word);
        if found {
            self.advance();
        }
        found
    }

    /// Passes a call of this function if it comes next.
    pub fn accept_function(&mut self, name: &str) -> bool {
        let found = matches!(self.kind(), Kind::Function(f) if *f == name);
        if found {
            self.advance();
        }
        found
    }

    /// Passes `or` if it can join line filters: not when what follows it begins another expression.
    pub fn accept_or_of_lines(&mut self) -> bool {
        let joins = match self.kind_after() {
            Kind::Text(_) | Kind::End | Kind::Identifier(_) => true,
            Kind::Keyword(word) => *word == "ip",
            _ => false,
        };
        joins && self.accept_keyword("or")
    }

    /// Passes a flag if one comes next.
    pub fn accept_flag(&mut self) -> Option<&'static str> {
        let Kind::Flag(flag) = *self.kind() else {
            return None;
        };
        self.advance();
        Some(flag)
    }

    /// Whether a label name comes next.
    pub fn at_identifier(&self) -> bool {
        matches!(self.kind(), Kind::Identifier(_))
    }

    /// Whether a text comes next.
    pub fn at_text(&self) -> bool {
        matches!(self.kind(), Kind::Text(_))
    }

    /// A label name.
    pub fn identifier(&mut self) -> Result<String, ParseError> {
        self.identifier_expecting("IDENTIFIER")
    }

    /// A label name, with what could have come instead.
    pub fn identifier_expecting(&mut self, wanted: &str) -> Result<String, ParseError> {
        let Kind::Identifier(name) = self.kind() else {
            return Err(self.unexpected(wanted));
        };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    /// A quoted text.
    pub fn text(&mut self) -> Result<String, ParseError> {
        self.text_expecting("STRING")
    }

    /// A quoted text, with what could have come instead.
    pub fn text_expecting(&mut self, wanted: &str) -> Result<String, ParseError> {
        let Kind::Text(text) = self.kind() else {
            return Err(self.unexpected(wanted));
        };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    /// Whether a number, perhaps with its sign, comes next.
    pub fn at_number(&self) -> bool {
        matches!(self.kind(), Kind::Number(_)) || self.at("-") || self.at("+")
    }

    /// A number with its sign.
    pub fn number(&mut self) -> Result<f64, ParseError> {
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let Kind::Number(text) = self.kind() else {
            return Err(self.unexpected("NUMBER"));
        };
        let number = super::units::go_float(text)
            .map_err(|e| ParseError::of(format!("unable to parse literal as a float: {e}")))?;
        self.advance();
        Ok(if negative { -number } else { number })
    }

    /// Passes a number and the comma after it, if both come next.
    pub fn number_then_comma(&mut self) -> bool {
        let found = matches!(self.kind(), Kind::Number(_))
            && matches!(self.kind_after(), Kind::Punctuation(","));
        if found {
            self.advance();
            self.advance();
        }
        found
    }

    /// Whether `()` or `(name,` or `(name)` comes next.
    pub fn names_follow(&self) -> bool {
        let kind = |n: usize| {
            let at = (self.at + n).min(self.tokens.len() - 1);
            &self.tokens[at].kind
        };
        match (kind(1), kind(2)) {
            (Kind::Punctuation(")"), _) => true,
            (Kind::Identifier(_), Kind::Punctuation(p)) => matches!(*p, ")" | ","),
            _ => false,
        }
    }

    /// `=`, `!=`, `=~` or `!~` if one comes next.
    pub fn match_op(&mut self) -> Option<MatchOp> {
        [
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ]
        .into_iter()
        .find(|op| self.accept(op.as_str()))
    }

    /// The value of a matcher whose name and operator were read.
    pub fn matcher(&mut self, name: &str, op: MatchOp) -> Result<Matcher, ParseError> {
        let value = self.text()?;
        // Go's syntax where it differs; the text as written where it does not.
        Matcher::new(name, op, &value)
            .or_else(|_| Matcher::new(name, op, &pattern_syntax::translate(&value)))
            .map_err(|e| ParseError::of(pattern_syntax::describe(&e, &value)))
    }

    /// `a="b", c`: labels and what they are taken from.
    pub fn extractions(&mut self) -> Result<Vec<(String, String)>, ParseError> {
        let mut all: Vec<(String, String)> = Vec::new();
        loop {
            let label = self.identifier()?;
            let from = if self.accept("=") {
                self.text()?
            } else {
                label.clone()
            };
            // A label named twice is taken from what came last.
            all.retain(|(l, _)| *l != label);
            all.push((label, from));
            if !self.accept(",") {
                return Ok(all);
            }
        }
    }

    /// `{a="b", c=~"d"}`
    pub fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        if self.accept("}") {
            return Ok(matchers);
        }
        loop {
            let wanted = if matchers.is_empty() {
                "IDENTIFIER or }"
            } else {
                "IDENTIFIER"
            };
            let name = self.identifier_expecting(wanted)?;
            let Some(op) = self.match_op() else {
                return Err(self.unexpected("= or =~ or !~ or !="));
            };
            matchers.push(self.matcher(&name, op)?);
            if self.accept("}") {
                return Ok(matchers);
            }
            if !self.accept(",") {
                return Err(self.unexpected("} or ,"));
            }
        }
    }

    /// A selector and its stages.
    pub fn log_expr(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector()?;
        let (stages, _) = stages::parse(self, false)?;
        Ok(LogExpr { matchers, stages })
    }
}

/// A selector and nothing else.
pub fn selector(parser: &mut Parser<'_>) -> Result<Vec<Matcher>, ParseError> {
    parser.selector()
}

/// Refuses a selector that every stream passes.
pub fn check_matchers(matchers: &[Matcher]) -> Result<(), ParseError> {
    if matchers.iter().any(|m| !m.matches("")) {
        return Ok(());
    }
    Err(ParseError::of(NEEDS_MATCHER))
}
