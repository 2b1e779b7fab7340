//! Why a query could not be parsed or run, and the notes that come with a result.
//!
//! The variants are those that an HTTP API answers differently; texts are Prometheus's.

use kansoku_model::select::SelectError;

use super::ast::Span;
use crate::memory::TooMuch;

/// A query text that is no valid PromQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    pub message: String,
    /// Bytes of the query that the message is about.
    pub span: Span,
    /// From 1.
    pub line: usize,
    /// Byte column, from 1.
    pub column: usize,
}

impl ParseError {
    pub(crate) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = line_and_column(text, span.start);
        Self {
            message: message.into(),
            span,
            line,
            column,
        }
    }
}

/// Line and byte column, both from 1, of a byte offset.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    (line, before.len() - line_start + 1)
}

/// Why a query gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query or a parameter is wrong: `bad_data`, 400.
    #[error("{0}")]
    Parse(String),
    /// The data does not allow the operation: `execution`, 422.
    #[error("{0}")]
    Execution(String),
    /// More samples than the query may hold: `execution`, 422.
    #[error("{0}")]
    Limit(String),
    /// Out of time: `timeout`, 503.
    #[error("{0}")]
    Timeout(String),
    /// The client went away or the server stops: `canceled`, 499.
    #[error("{0}")]
    Cancelled(String),
    /// The store failed: `internal`, 500.
    #[error("{0}")]
    Storage(String),
}

impl From<ParseError> for QueryError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error.to_string())
    }
}

impl From<TooMuch> for QueryError {
    fn from(why: TooMuch) -> Self {
        Self::Limit(why.text("select fewer series, a shorter time or a longer step"))
    }
}

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Limit(text) => Self::Limit(text),
            SelectError::Cancelled(text) => Self::Cancelled(text),
            SelectError::Storage(text) => Self::Storage(text),
        }
    }
}
