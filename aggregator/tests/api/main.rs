//! The HTTP APIs end to end: a whole aggregator on a port of its own over a folder of its own.

mod admin;
mod garbage;
mod harness;
mod ingest;
mod loki;
mod prometheus;
mod status;
mod tenants;
