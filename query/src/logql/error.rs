//! What can go wrong with a query, told the way Loki tells it.
//!
//! Two types, because callers treat them differently: a text that is no query, and a query that
//! could not be answered. Nothing here decides on an HTTP status; the variants are what a server
//! needs to choose one.

use std::fmt;

use kansoku_model::select::SelectError;

use crate::memory::TooMuch;

/// A text that is no LogQL query. Line and column count from one; both are zero when the fault is
/// in the meaning of a part rather than at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    pub message: String,
    pub line: usize,
    pub column: usize,
}

impl ParseError {
    /// A fault at one place.
    #[must_use]
    pub fn at(message: impl Into<String>, line: usize, column: usize) -> Self {
        Self {
            message: message.into(),
            line,
            column,
        }
    }

    /// A fault in the meaning of a part.
    #[must_use]
    pub fn of(message: impl Into<String>) -> Self {
        Self::at(message, 0, 0)
    }

    /// A fault in a stage, which is named as the user wrote it.
    #[must_use]
    pub fn in_stage(stage: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self::of(format!("stage '{stage}' : {message}"))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 && self.column == 0 {
            write!(f, "parse error : {}", self.message)
        } else {
            write!(
                f,
                "parse error at line {}, col {}: {}",
                self.line, self.column, self.message
            )
        }
    }
}

impl std::error::Error for ParseError {}

/// Why a query could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text is no query (Loki answers 400).
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// The request's times, step or limit make no sense (400).
    #[error("{0}")]
    BadRequest(String),
    /// A metric query met entries with `__error__` (400).
    #[error("{0}")]
    Pipeline(String),
    /// The query asks for more series, entries or memory than it may have (400).
    #[error("{0}")]
    Limit(String),
    /// The query ran out of time (504) or its client went away (499).
    #[error("{0}")]
    Cancelled(String),
    /// Two vectors that cannot be matched, and other faults of evaluation (Loki answers 500).
    #[error("{0}")]
    Evaluation(String),
    /// The store failed (500).
    #[error("{0}")]
    Storage(String),
}

impl From<TooMuch> for QueryError {
    fn from(why: TooMuch) -> Self {
        Self::Limit(why.text(
            "consider adding more specific stream selectors, reducing the time range or the limit, or grouping by fewer labels",
        ))
    }
}

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Limit(m) => Self::Limit(m),
            SelectError::Cancelled(m) => Self::Cancelled(m),
            SelectError::Storage(m) => Self::Storage(m),
        }
    }
}
