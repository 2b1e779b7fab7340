//! HTTP query APIs: Prometheus's, Loki's, and the aggregator's word on itself.
//!
//! One folder a dialect: parameters and envelopes are its own; the gate through which all queries
//! run is shared.

pub mod deletes;
pub mod gate;
mod listing;
pub mod loki;
pub mod prometheus;
pub mod status;
