//! PromQL as Prometheus 3 defines it, for floats and native histograms.
//!
//! `parse` makes a tree, [`Engine`] runs it over a [`kansoku_model::SeriesSource`], and `json`
//! writes the result as Prometheus's HTTP API does. Every selector is read once per query, series by series;
//! all steps then run over columns.
//!
//! ```
//! use kansoku_query::promql::{self, Engine, QueryError};
//! # use kansoku_model::{Matcher, SeriesSource, select::{SelectError, SeriesData}};
//! # struct Empty;
//! # impl SeriesSource for Empty {
//! #     fn select(&self, _: &[Matcher], _: i64, _: i64, _: usize)
//! #         -> Result<Vec<SeriesData>, SelectError> { Ok(Vec::new()) }
//! # }
//! # let source = Empty;
//! let query = promql::parse("sum by (job) (rate(requests_total[5m]))")?;
//! let go_on = || Ok::<(), QueryError>(());
//! let output = Engine::default().range(&source, &query, 0, 3_600_000, 15_000, &go_on)?;
//! let mut data = Vec::new();
//! promql::json::write_data(&mut data, &output);
//! assert_eq!(data, br#"{"resultType":"matrix","result":[]}"#);
//! # Ok::<(), QueryError>(())
//! ```

pub mod aggregations;
pub mod ast;
mod binary;
mod bucketless;
mod check;
mod duration;
mod engine;
mod error;
mod evaluate;
pub mod functions;
pub mod json;
mod kahan;
mod label_groups;
mod lexer;
pub mod native;
pub mod notation;
mod notes;
mod of_times;
mod output;
mod parallel;
mod parser;
mod prettier;
mod printer;
pub mod reuse;
mod selectors;
mod smoothed;
mod steps;
mod text;
mod trace;
mod value;

pub use engine::{Engine, Options};
pub use error::{ParseError, QueryError};
pub use evaluate::Stop;
pub use output::{QueryOutput, QueryStats, QueryValue, Sample, Series};
pub use parallel::Threads;
pub use parser::{Query, matchers_of_selector, metric_selector, parse, parse_with_matcher};
pub use text::Text;
pub use trace::{Trace, plan_as_text};

#[cfg(test)]
mod tests;
