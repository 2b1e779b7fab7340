//! The parts of `process_exporter_metrics`: reading /proc, groups by name, and the families of both kinds.

pub mod each;
mod group_families;
pub mod groups;
pub mod names;
pub mod reading;
pub mod template;
