//! `|= "x"`, `!= "x"`, `|~ "x"`, `!~ "x"`, `|> "<_> x"`, `!> "<_> x"`, each with `or` chains.
//!
//! A filter looks at the line and nothing else, so that a plain `|=` can be searched in the text
//! of a whole block at once and its literal handed to the store.

use std::fmt;
use std::sync::Arc;

use kansoku_model::{AnyOf, LineAutomaton, Needle};
use memchr::memmem::Finder;

use super::Stage;
use super::ip::IpFilter;
use super::pattern::LinePattern;
use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::parser::Parser;
use crate::logql::pattern_syntax;
use crate::logql::record::Record;
use crate::logql::required;

/// Operators: text, whether a match keeps the line.
const OPERATORS: &[(&str, Kind, bool)] = &[
    ("|=", Kind::Contains, true),
    ("!=", Kind::Contains, false),
    ("|~", Kind::Regex, true),
    ("!~", Kind::Regex, false),
    ("|>", Kind::Pattern, true),
    ("!>", Kind::Pattern, false),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Contains,
    Regex,
    Pattern,
}

/// One alternative.
#[derive(Debug)]
enum Test {
    Contains(Box<Finder<'static>>),
    /// With what every match contains.
    Regex(regex::bytes::Regex, Option<AnyOf>),
    Pattern(LinePattern),
    Ip(IpFilter),
}

/// A line filter: the line is kept when any alternative matches, or when none does.
#[derive(Debug)]
pub struct LineFilter {
    operator: &'static str,
    keep: bool,
    /// Each with its text as LogQL.
    tests: Vec<(Test, String)>,
}

impl LineFilter {
    /// Whether the line is kept.
    pub fn keeps(&self, line: &[u8]) -> bool {
        let matched = self.tests.iter().any(|(test, _)| match test {
            Test::Contains(finder) => finder.find(line).is_some(),
            Test::Regex(regex, _) => pattern_syntax::matches_line(regex, line),
            Test::Pattern(pattern) => pattern.matches(line),
            Test::Ip(filter) => filter.matches_in(line),
        });
        matched == self.keep
    }

    /// What every kept line contains, as far as that is easily told.
    pub fn required(&self) -> Option<AnyOf> {
        let mut all = AnyOf::default();
        for (test, _) in self.tests.iter().filter(|_| self.keep) {
            match test {
                Test::Contains(finder) => all.needles.push(Needle::new(finder.needle())),
                Test::Regex(_, Some(any)) => all.needles.extend_from_slice(&any.needles),
                Test::Regex(_, None) | Test::Pattern(_) | Test::Ip(_) => return None,
            }
        }
        (!all.needles.is_empty()).then_some(all)
    }

    /// The same test as an automaton, when it has one.
    pub fn automaton(&self) -> Option<Arc<LineAutomaton>> {
        let mut patterns = Vec::with_capacity(self.tests.len());
        for (test, _) in &self.tests {
            patterns.push(match test {
                Test::Contains(finder) => regex::escape(std::str::from_utf8(finder.needle()).ok()?),
                Test::Regex(regex, _) => regex.as_str().to_owned(),
                Test::Pattern(_) | Test::Ip(_) => return None,
            });
        }
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        LineAutomaton::new(&patterns, self.keep).map(Arc::new)
    }

    /// What every kept line contains, when the filter is that simple.
    pub fn needle(&self) -> Option<&Finder<'static>> {
        match self.tests.as_slice() {
            [(Test::Contains(finder), _)] if self.keep => Some(finder),
            _ => None,
        }
    }
}

impl Stage for LineFilter {
    fn process(&self, record: &mut Record<'_>) -> bool {
        self.keeps(&record.line)
    }

    fn as_line_filter(&self) -> Option<&LineFilter> {
        Some(self)
    }
}

impl fmt::Display for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operator)?;
        for (i, (_, text)) in self.tests.iter().enumerate() {
            write!(f, "{} {text}", if i > 0 { " or" } else { "" })?;
        }
        Ok(())
    }
}

/// Reads a line filter if one comes next.
pub fn parse(parser: &mut Parser<'_>) -> Result<Option<Arc<dyn Stage>>, ParseError> {
    let Some((operator, kind, keep)) = OPERATORS
        .iter()
        .copied()
        .find(|(text, ..)| parser.accept(text))
    else {
        return Ok(None);
    };
    let mut tests = Vec::new();
    loop {
        tests.push(parse_test(parser, kind, operator)?);
        if !parser.accept_or_of_lines() {
            break;
        }
    }
    Ok(Some(Arc::new(LineFilter {
        operator,
        keep,
        tests,
    })))
}

fn parse_test(
    parser: &mut Parser<'_>,
    kind: Kind,
    operator: &str,
) -> Result<(Test, String), ParseError> {
    let wrong = |shown: &str, why: String| ParseError::in_stage(format!("{operator} {shown}"), why);
    if parser.accept_keyword("ip") {
        parser.expect("(")?;
        let text = parser.text()?;
        parser.expect(")")?;
        let shown = format!("ip({})", Quoted(&text));
        if kind != Kind::Contains {
            return Err(wrong(&shown, "ip: invalid operation".into()));
        }
        let filter = IpFilter::new(&text).map_err(|e| wrong(&shown, e))?;
        return Ok((Test::Ip(filter), shown));
    }
    let text = parser.text_expecting("STRING or ip")?;
    let shown = Quoted(&text).to_string();
    let test = match kind {
        Kind::Contains => Test::Contains(Box::new(Finder::new(text.as_bytes()).into_owned())),
        Kind::Regex => {
            let regex = pattern_syntax::compile_bytes(&text).map_err(|e| wrong(&shown, e))?;
            Test::Regex(regex, required::any_of(&text))
        }
        Kind::Pattern => {
            let pattern = LinePattern::new(&text).map_err(|e| wrong(&shown, e))?;
            Test::Pattern(pattern)
        }
    };
    Ok((test, shown))
}
