//! Filters change or drop log records between an input and its outputs.
//!
//! They run on the input's thread, in the order of the configuration, on whole batches; a filter
//! touches columns, not records one by one where it can be helped.

pub(crate) mod accessor;
pub mod grep;
pub mod kubernetes;
mod kubernetes_tag;
mod merge_log;
pub mod parser;

use crate::plugin::FilterPlugin;

/// Every filter, in the order of the documentation.
pub const ALL: &[&FilterPlugin] = &[&kubernetes::PLUGIN, &grep::PLUGIN, &parser::PLUGIN];
