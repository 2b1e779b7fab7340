//! Inputs produce record batches, each on its own thread.

pub mod container_metrics;
pub mod dummy;
pub mod node_exporter_metrics;
mod node_paths;
pub mod stdin;
pub mod tail;
mod target_labels;
mod ticker;

use crate::plugin::InputPlugin;

pub(crate) use ticker::unix_ms;

/// Every input.
pub const ALL: &[&InputPlugin] = &[
    &container_metrics::PLUGIN,
    &node_exporter_metrics::PLUGIN,
    &tail::PLUGIN,
    &dummy::PLUGIN,
    &stdin::PLUGIN,
];
