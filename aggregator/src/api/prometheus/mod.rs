//! Prometheus's HTTP API: queries, labels, metadata, status.
//!
//! Paths, parameters, envelopes and error texts are Prometheus 3's, since its clients (Grafana,
//! promtool) read them.

pub mod admin;
pub mod envelope;
pub mod exemplars;
pub mod external_labels;
pub mod features;
pub mod federate;
pub mod labels;
pub mod notifications;
pub mod params;
pub mod parse_query;
mod plain;
pub mod query;
mod range_cache;
pub mod remote_read;
pub mod rules;
pub mod scrape_configs;
pub mod self_metrics;
pub mod status;
pub mod targets;
pub mod tsdb;

pub use range_cache::RangeCache;
