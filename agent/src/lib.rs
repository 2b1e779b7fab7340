//! The node agent: inputs, collectors, filters and the pipeline that delivers what they give.
//!
//! Threads for bytes, tokio for sockets: inputs, parsing and filtering run on plain threads; the
//! outputs, the HTTP server and the Kubernetes watch run on one small tokio runtime.

mod blackbox;
pub mod collectors;
pub mod command_line;
pub mod config;
mod content_coding;
pub mod control;
mod descriptors;
pub mod exposition;
pub mod filters;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod import;
pub mod inputs;
pub mod kube_state;
pub mod kubernetes;
pub mod lifecycle;
pub mod log;
pub mod manual;
mod metrics_body;
pub mod node_exporter;
pub mod offsets;
mod otel_part;
pub mod pipeline;
pub mod plugin;
pub mod processors;
pub mod resident;
pub mod schema;
mod scrape_timeout;
pub mod server;
pub mod spill;
pub mod state;
