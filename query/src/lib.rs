//! PromQL and LogQL over what [`kansoku_model::select`] gives: parsing, evaluation, formatting.
//!
//! No file, socket, async or clock: the evaluation time is an argument.
#![forbid(unsafe_code)]

pub mod logql;
pub mod memory;
pub mod number;
pub mod promql;
mod relabel;
pub mod template;
