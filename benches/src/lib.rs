//! Benchmarks live in `benches/`; this crate is empty on purpose.
