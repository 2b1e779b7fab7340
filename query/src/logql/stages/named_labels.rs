//! The lists of `drop` and `keep`: label names, or names with a condition on the value.

use std::fmt;

use kansoku_model::Matcher;

use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::parser::Parser;

/// A name, perhaps with a condition.
#[derive(Debug, Clone)]
pub enum NamedLabel {
    Name(String),
    Matcher(Matcher),
}

impl NamedLabel {
    /// Whether the label is meant.
    pub fn means(&self, name: &str, value: &str) -> bool {
        match self {
            Self::Name(n) => n == name,
            Self::Matcher(m) => m.name == name && m.matches(value),
        }
    }
}

/// Reads `a, b="x"`.
pub fn parse(parser: &mut Parser<'_>) -> Result<Vec<NamedLabel>, ParseError> {
    let mut labels = Vec::new();
    loop {
        let name = parser.identifier()?;
        labels.push(match parser.match_op() {
            Some(op) => NamedLabel::Matcher(parser.matcher(&name, op)?),
            None => NamedLabel::Name(name),
        });
        if !parser.accept(",") {
            return Ok(labels);
        }
    }
}

/// Writes the list as LogQL.
pub fn write(f: &mut fmt::Formatter<'_>, labels: &[NamedLabel]) -> fmt::Result {
    for (i, label) in labels.iter().enumerate() {
        if i > 0 {
            f.write_str(",")?;
        }
        match label {
            NamedLabel::Name(name) => f.write_str(name)?,
            NamedLabel::Matcher(m) => write!(f, "{}{}{}", m.name, m.op.as_str(), Quoted(&m.value))?,
        }
    }
    Ok(())
}
