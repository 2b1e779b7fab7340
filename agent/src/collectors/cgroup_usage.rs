//! What a cgroup uses and may use, the same for both versions.
//!
//! The values are those that cAdvisor's families show: working set, shares on version 1's scale. The
//! rule: a controller that does not count for a cgroup is `None`, never zeros.

use kansoku_parsers::kernel::cgroup::io_stat;
use kansoku_parsers::kernel::pressure::Pressure;

/// Time in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    pub usage_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_s: f64,
    pub burst_periods: u64,
    pub burst_s: f64,
}

/// Bytes and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub usage: u64,
    pub max_usage: u64,
    pub working_set: u64,
    pub rss: u64,
    pub cache: u64,
    pub mapped_file: u64,
    pub swap: u64,
    pub kernel: u64,
    pub active_file: u64,
    pub inactive_file: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    /// How often the limit was hit.
    pub fail_count: u64,
    /// Processes killed for want of memory; `None` on kernels that do not count them.
    pub oom_kills: Option<u64>,
    /// What only newer kernels count, or only version 2.
    pub more: MoreMemory,
}

/// Bytes and counts of memory; `None` where the kernel does not count them for cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoreMemory {
    /// How often `memory.high` slowed the cgroup down.
    pub high_events: Option<u64>,
    /// How often `memory.max` was about to be exceeded.
    pub max_events: Option<u64>,
    /// Files in memory that wait to be written, and that are being written.
    pub file_dirty: Option<u64>,
    pub file_writeback: Option<u64>,
    /// Shared memory and tmpfs: counted as cache, but not to be dropped.
    pub shmem: Option<u64>,
    pub slab_reclaimable: Option<u64>,
    /// Pages.
    pub scanned: Option<u64>,
    pub stolen: Option<u64>,
    pub refaults_file: Option<u64>,
    pub refaults_anon: Option<u64>,
}

/// What a cgroup has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub io: Vec<io_stat::Device>,
    /// Tasks now.
    pub threads: Option<u64>,
    pub processes: Option<u64>,
    /// The process with the lowest id.
    pub first_pid: Option<u64>,
    /// CPU, memory, IO.
    pub pressure: [Option<Pressure>; 3],
}

impl Usage {
    /// Whether any controller counts, as in every cgroup that is there.
    pub(super) fn counts(&self) -> bool {
        self.cpu.is_some() || self.memory.is_some() || self.threads.is_some()
    }
}

/// What a cgroup may use. 0 means no limit where cAdvisor says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub cpu: Option<CpuLimits>,
    pub memory: Option<MemoryLimits>,
    pub threads: Option<u64>,
}

/// Microseconds and shares of version 1's scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuLimits {
    pub period_us: u64,
    /// `None` when there is no limit.
    pub quota_us: Option<u64>,
    pub shares: u64,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    pub limit: u64,
    pub swap_limit: u64,
    pub reservation: u64,
}

impl Cpu {
    /// Takes over periods, throttled periods and time, bursts and their time.
    pub(super) fn throttling(&mut self, values: [Option<u64>; 5], units_per_second: f64) {
        let [periods, throttled, throttled_time, bursts, burst_time] =
            values.map(|v| v.unwrap_or(0));
        self.periods = periods;
        self.throttled_periods = throttled;
        self.throttled_s = throttled_time as f64 / units_per_second;
        self.burst_periods = bursts;
        self.burst_s = burst_time as f64 / units_per_second;
    }
}

impl Memory {
    /// Takes over rss, cache, mapped files, swap, active and inactive files, faults, major faults.
    pub(super) fn stat(&mut self, values: [Option<u64>; 8]) {
        let [rss, cache, mapped, swap, active, inactive, faults, major] =
            values.map(|v| v.unwrap_or(0));
        self.rss = rss;
        self.cache = cache;
        self.mapped_file = mapped;
        self.swap = swap;
        self.active_file = active;
        self.inactive_file = inactive;
        self.page_faults = faults;
        self.major_page_faults = major;
        // What the kernel can drop at once does not count; it is what an eviction looks at.
        self.working_set = self.usage.saturating_sub(inactive);
    }
}

/// The scale of version 1, 2 to 262144, for version 2's weight of 1 to 10000.
#[must_use]
pub fn shares_of_weight(weight: u64) -> u64 {
    match weight {
        1..=10_000 => 2 + (weight - 1) * 262_142 / 9999,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        for (weight, shares) in [
            (0, 0),
            (1, 2),
            (39, 998),
            (100, 2597),
            (10_000, 262_144),
            (10_001, 0),
        ] {
            assert_eq!(shares_of_weight(weight), shares, "{weight}");
        }
    }
}
