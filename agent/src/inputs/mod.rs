//! Inputs produce record batches, each on its own thread.

pub mod blackbox;
pub mod container_metrics;
pub mod dummy;
pub mod elasticsearch;
pub mod exec;
pub mod fluentbit_metrics;
pub mod forward;
pub(crate) mod forward_handshake;
pub mod http;
pub mod kmsg;
mod kube_options;
pub mod kube_state_metrics;
pub mod kubernetes_events;
pub(crate) mod net;
pub mod node_exporter_metrics;
mod node_paths;
pub mod opentelemetry;
pub mod periodic;
pub mod process_exporter_metrics;
pub(crate) mod processes;
pub mod prometheus_remote_write;
pub mod prometheus_scrape;
pub(crate) mod scrape;
mod staleness;
pub mod statsd;
pub mod stdin;
mod stop_notice;
pub mod syslog;
pub mod systemd;
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
    &http::PLUGIN,
    &fluentbit_metrics::PLUGIN,
    &prometheus_scrape::PLUGIN,
    &process_exporter_metrics::PLUGIN,
    &blackbox::PLUGIN,
    &opentelemetry::PLUGIN,
    &prometheus_remote_write::PLUGIN,
    &syslog::PLUGIN,
    &tcp::PLUGIN,
    &udp::PLUGIN,
    &statsd::PLUGIN,
    &elasticsearch::PLUGIN,
    &exec::PLUGIN,
    &kmsg::PLUGIN,
    &kubernetes_events::PLUGIN,
    &kube_state_metrics::PLUGIN,
    &systemd::PLUGIN,
    &periodic::cpu::PLUGIN,
    &periodic::mem::PLUGIN,
    &periodic::disk::PLUGIN,
    &periodic::netif::PLUGIN,
    &periodic::proc::PLUGIN,
    &periodic::head::PLUGIN,
    &periodic::health::PLUGIN,
    &periodic::random::PLUGIN,
];
