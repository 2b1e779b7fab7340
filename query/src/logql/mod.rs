//! LogQL as Loki defines it: parse, evaluate over [`kansoku_model::LogSource`], write the answer.
//!
//! A query is parsed once into an [`Expr`] in which everything that needs no data is already
//! checked; the [`Engine`] then runs its stages over decoded blocks. No file, socket or clock.

mod aggregate;
pub mod ast;
mod binary;
pub mod detected;
mod engine;
mod error;
mod field_columns;
mod field_scan;
pub mod json;
pub(crate) mod lexer;
mod log_query;
mod metric_parser;
mod metric_query;
pub mod output;
mod parser;
pub(crate) mod pattern_syntax;
pub mod patterns;
mod pipeline;
mod pretty;
pub mod range;
mod range_query;
mod record;
mod required;
pub mod stages;
mod table;
mod template;
pub(crate) mod units;

#[cfg(test)]
mod tests;

use kansoku_model::Matcher;

pub use ast::{Expr, LogExpr, MetricExpr};
pub use engine::{Context, Engine, Limits};
pub use error::{ParseError, QueryError};
pub use pretty::pretty;

/// What an instant query for log lines is answered with, as Loki words it.
pub const LOG_INSTANT_ERROR: &str = "log queries are not supported as an instant query type, please change your query to a range query type";

/// Reads a query.
///
/// # Errors
/// When the text is no LogQL query or uses what is not supported.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let expr = parser::parse_whole(query, |parser| metric_parser::parse_expr(parser, 0))?;
    if let Expr::Log(log) = &expr {
        parser::check_matchers(&log.matchers)?;
    }
    Ok(expr)
}

/// Whether a line passes.
pub type LineTest = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A selector with nothing but line filters behind it, as a delete takes it: the matchers, and the test
/// of all filters if there is one.
///
/// # Errors
/// When the text is no log query, or has stages that need more than the line.
pub fn selector_with_lines(query: &str) -> Result<(Vec<Matcher>, Option<LineTest>), String> {
    let log = match parse(query).map_err(|e| e.to_string())? {
        Expr::Log(log) => log,
        Expr::Metric(_) => return Err("expected a log query, not a metric query".into()),
    };
    if let Some(other) = log.stages.iter().find(|s| s.as_line_filter().is_none()) {
        return Err(format!(
            "'{other}' looks at more than the line; only line filters (|=, !=, |~, !~, |>, !>) can stand behind the selector"
        ));
    }
    if log.stages.is_empty() {
        return Ok((log.matchers, None));
    }
    let stages = log.stages;
    let passes = move |line: &[u8]| {
        let mut filters = stages.iter().filter_map(|s| s.as_line_filter());
        filters.all(|filter| filter.keeps(line))
    };
    Ok((log.matchers, Some(Box::new(passes))))
}

/// Reads a bare stream selector such as `{app="api"}`, as `match[]` parameters hold it. Unlike a
/// query it may match everything.
///
/// # Errors
/// When the text is no selector.
pub fn matchers_of_selector(selector: &str) -> Result<Vec<Matcher>, ParseError> {
    parser::parse_whole(selector, parser::selector)
}
