//! Bytes in, values out. No file, clock, socket or global is touched here, and no input panics.
#![forbid(unsafe_code)]

pub mod config;
pub mod journal;
pub mod kernel;
pub mod line;
pub mod relabel;
pub mod time;
pub mod wire;
