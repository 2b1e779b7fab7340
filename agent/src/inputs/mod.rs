//! Inputs produce record batches, each on its own thread.

pub mod container_metrics;
pub mod dummy;
pub mod forward;
mod forward_handshake;
pub(crate) mod net;
pub mod node_exporter_metrics;
mod node_paths;
pub mod stdin;
pub mod syslog;
pub mod tail;
mod target_labels;
pub mod tcp;
mod ticker;
pub mod udp;

use crate::plugin::InputPlugin;

pub(crate) use ticker::unix_ms;

/// Every input.
pub const ALL: &[&InputPlugin] = &[
    &container_metrics::PLUGIN,
    &node_exporter_metrics::PLUGIN,
    &tail::PLUGIN,
    &dummy::PLUGIN,
    &stdin::PLUGIN,
    &forward::PLUGIN,
    &syslog::PLUGIN,
    &tcp::PLUGIN,
    &udp::PLUGIN,
];
