//! Files of the cgroup trees, versions 1 and 2. Which file means what is the collector's business;
//! here only their few shapes are known.

pub mod blkio;
pub mod cpu_max;
pub mod io_stat;
pub mod keyed;
pub mod procs;
pub mod scalar;
