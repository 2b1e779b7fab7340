//! The kernel's text files under /proc, /sys and the cgroup trees, and its rtnetlink answers.
//!
//! One file per format, bytes in and values out. Nothing is allocated per value, and any bytes end
//! in values or in a [`Malformed`] that names the format, the line and what was expected there.

pub mod cgroup;
pub mod cpu_list;
pub mod cpuinfo;
pub mod diskstats;
pub mod human_bytes;
pub mod ip_vs;
pub mod link;
pub mod loadavg;
pub mod mdstat;
pub mod meminfo;
pub mod mountinfo;
pub mod mountstats;
pub mod net_dev;
pub mod net_stat;
pub mod netlink;
pub mod netstat;
pub mod nl80211;
pub mod pid_limits;
pub mod pid_stat;
pub mod pid_status;
pub mod pressure;
pub mod rpc;
pub mod rtnetlink;
pub mod scan;
pub mod stat;
pub mod udev;
pub mod uptime;

/// Bytes that do not follow their format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {format}, line {line}: expected {expected}")]
pub struct Malformed {
    /// The file's usual name.
    pub format: &'static str,
    /// 1-based; messages of binary formats count messages.
    pub line: usize,
    pub expected: &'static str,
}

#[cfg(test)]
mod tests;
