//! The central service: ingest, store, query APIs and the web page.
//!
//! Data comes in over HTTP ([`ingest`]), lies in `kansoku-store`, and is asked for over HTTP
//! ([`api`]) through `kansoku-query`. What is here is the part that knows sockets and the clock.

pub mod access;
pub mod active_queries;
pub mod api;
pub mod app;
pub mod clock;
pub mod config_file;
pub mod documents;
pub mod housekeeping;
pub mod http;
pub mod http_client;
pub mod ingest;
pub mod journal;
pub mod kubernetes;
pub mod otlp_config;
mod output;
pub mod rules;
pub mod run;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod tenants;
pub mod tools;
pub mod ui;
pub mod whole_file;
