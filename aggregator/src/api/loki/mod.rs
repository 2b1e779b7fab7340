//! Loki's HTTP API: queries, labels, series.
//!
//! Paths, parameters and JSON are Loki's; its errors are plain text.

pub mod delete;
pub mod detected;
pub mod errors;
pub mod labels;
pub mod legacy;
pub mod meta;
pub mod params;
pub mod query;
pub mod tail;
pub mod volume;
