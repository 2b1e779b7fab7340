//! Benchmarks live in `benches/` and `src/bin`; here is what several of the programs share.

pub mod container_logs;
