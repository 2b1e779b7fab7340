//! The HTTP APIs end to end: a whole aggregator on a port of its own over a folder of its own.

mod access;
mod admin;
mod documents;
mod federate;
mod garbage;
mod grafana;
mod harness;
mod ingest;
mod loki;
mod oidc;
mod otlp;
mod prometheus;
mod prometheus_status;
mod query_limits;
mod remote_read;
mod rules;
mod status;
mod tenants;
mod web_config;
