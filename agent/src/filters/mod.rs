//! Filters change or drop log records between an input and its outputs.
//!
//! They run on the input's thread, in the order of the configuration, on whole batches; a filter
//! touches columns, not records one by one where it can be helped.

pub(crate) mod accessor;
pub mod alter_size;
pub mod aws;
mod aws_imds;
pub mod checklist;
pub mod expect;
pub mod geoip2;
pub mod grep;
mod json_path;
pub mod kubernetes;
pub(crate) mod kubernetes_tag;
pub mod log_to_metrics;
pub mod lua;
mod lua_values;
mod merge_log;
pub mod modify;
mod modify_condition;
pub mod multiline;
pub mod nest;
pub mod parser;
pub(crate) mod record;
pub mod record_modifier;
pub mod rewrite_tag;
pub mod stdout;
pub mod sysinfo;
pub(crate) mod template;
pub mod throttle;
pub mod type_converter;
pub(crate) mod words;

use crate::plugin::FilterPlugin;

/// Every filter, in the order of the documentation.
pub const ALL: &[&FilterPlugin] = &[
    &kubernetes::PLUGIN,
    &grep::PLUGIN,
    &parser::PLUGIN,
    &multiline::PLUGIN,
    &modify::PLUGIN,
    &record_modifier::PLUGIN,
    &nest::PLUGIN,
    &rewrite_tag::PLUGIN,
    &type_converter::PLUGIN,
    &lua::PLUGIN,
    &log_to_metrics::PLUGIN,
    &throttle::PLUGIN,
    &expect::PLUGIN,
    &stdout::PLUGIN,
    &sysinfo::PLUGIN,
    &checklist::PLUGIN,
    &aws::PLUGIN,
    &geoip2::PLUGIN,
    &alter_size::PLUGIN,
];

#[cfg(test)]
mod tests;
