//! Prometheus's HTTP API: queries, labels, metadata, status.
//!
//! Paths, parameters, envelopes and error texts are Prometheus 3's, since its clients (Grafana,
//! promtool) read them.

pub mod admin;
pub mod empty;
pub mod envelope;
pub mod exemplars;
pub mod labels;
pub mod params;
pub mod query;
pub mod status;
pub mod tsdb;
