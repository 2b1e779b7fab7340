//! cAdvisor's families: for each its name, type, help, and how its value comes from a reading.
//!
//! The order is of no meaning. A value of `None` leaves the series out.

use kansoku_model::MetricKind::{self, Counter, Gauge};
use kansoku_parsers::kernel::net_dev;

use super::cgroup_usage::{Limits, Memory, Usage};
use super::root_filesystems::RootFilesystem;

/// All that is known of one cgroup at one time.
pub struct Reading {
    pub usage: Usage,
    pub limits: Limits,
    /// Unix seconds.
    pub created_s: u64,
    pub now_s: u64,
    /// Name and counters, columns of net/dev.
    pub interfaces: Vec<(String, [u64; net_dev::N_VALUES])>,
    /// Soft limit of open files of the first process; -1 when unlimited.
    pub open_files_limit: Option<f64>,
    /// Open files of its processes, and those of them that are sockets.
    pub open_files: Option<u64>,
    pub sockets: Option<u64>,
    /// Part of the periods since the collection before in which it was throttled.
    pub throttled_ratio: Option<f64>,
    /// Processes killed for want of memory, by the cgroup's count or the kernel's log.
    pub oom_kills: Option<u64>,
    /// What the container has written: into its root, and as its log's files on the node.
    pub written_bytes: Option<u64>,
    pub log_bytes: Option<u64>,
    /// Of the whole node; at the root only.
    pub filesystems: Vec<RootFilesystem>,
}

impl Reading {
    /// Nothing read yet of a cgroup that was made then.
    #[must_use]
    pub fn new(created_s: u64) -> Self {
        Self {
            usage: Usage::default(),
            limits: Limits::default(),
            created_s,
            now_s: 0,
            interfaces: Vec::new(),
            open_files_limit: None,
            open_files: None,
            sockets: None,
            throttled_ratio: None,
            oom_kills: None,
            written_bytes: None,
            log_bytes: None,
            filesystems: Vec::new(),
        }
    }
}

/// A family with one series per cgroup.
pub struct Plain {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
    pub value: fn(&Reading) -> Option<f64>,
}

/// Gives the caller a series' further labels and its value.
pub type Emit<'a> = &'a mut dyn FnMut(&[(&str, &str)], f64);

/// A family with further labels.
pub struct Labelled {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
    /// Device names by number, the reading, and where its series go.
    pub each: fn(&DeviceNames, &Reading, Emit<'_>),
}

/// `/dev/NAME` by major and minor number.
pub type DeviceNames = std::collections::HashMap<(u32, u32), String>;

pub(super) const fn plain(
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    value: fn(&Reading) -> Option<f64>,
) -> Plain {
    Plain {
        name,
        kind,
        help,
        value,
    }
}

/// Throttling is of interest only where there is a quota.
fn throttled(r: &Reading) -> Option<&super::cgroup_usage::Cpu> {
    r.limits.cpu.and_then(|c| c.quota_us)?;
    r.usage.cpu.as_ref()
}

/// The family that outlives its containers.
pub const OOM_EVENTS: &str = "container_oom_events_total";

/// Positions in `Usage::pressure`.
const CPU: usize = 0;
const MEMORY: usize = 1;
const IO: usize = 2;

fn waiting_s(r: &Reading, at: usize) -> Option<f64> {
    r.usage.pressure[at].map(|p| p.some_us as f64 / 1e6)
}

fn stalled_s(r: &Reading, at: usize) -> Option<f64> {
    r.usage.pressure[at]?.full_us.map(|us| us as f64 / 1e6)
}

fn memory(r: &Reading, value: fn(&Memory) -> Option<u64>) -> Option<f64> {
    value(r.usage.memory.as_ref()?).map(|n| n as f64)
}

/// Families with one series per cgroup.
pub const PLAIN: &[Plain] = &[
    plain(
        "container_last_seen",
        Gauge,
        "Last time a container was seen by the exporter",
        |r| Some(r.now_s as f64),
    ),
    plain(
        "container_start_time_seconds",
        Gauge,
        "Start time of the container since unix epoch in seconds.",
        |r| Some(r.created_s as f64),
    ),
    plain(
        "container_creation_time_seconds",
        Gauge,
        "Container creation time since unix epoch in seconds.",
        |r| Some(r.created_s as f64),
    ),
    plain(
        "container_cpu_user_seconds_total",
        Counter,
        "Cumulative user cpu time consumed in seconds.",
        |r| r.usage.cpu.map(|c| c.user_s),
    ),
    plain(
        "container_cpu_system_seconds_total",
        Counter,
        "Cumulative system cpu time consumed in seconds.",
        |r| r.usage.cpu.map(|c| c.system_s),
    ),
    plain(
        "container_cpu_cfs_periods_total",
        Counter,
        "Number of elapsed enforcement period intervals.",
        |r| throttled(r).map(|c| c.periods as f64),
    ),
    plain(
        "container_cpu_cfs_throttled_periods_total",
        Counter,
        "Number of throttled period intervals.",
        |r| throttled(r).map(|c| c.throttled_periods as f64),
    ),
    plain(
        "container_cpu_cfs_throttled_seconds_total",
        Counter,
        "Total time duration the container has been throttled.",
        |r| throttled(r).map(|c| c.throttled_s),
    ),
    plain(
        "container_cpu_cfs_burst_periods_total",
        Counter,
        "Number of periods when burst occurs.",
        |r| throttled(r).map(|c| c.burst_periods as f64),
    ),
    plain(
        "container_cpu_cfs_burst_seconds_total",
        Counter,
        "Total time duration the container has been bursted.",
        |r| throttled(r).map(|c| c.burst_s),
    ),
    plain(
        "container_memory_usage_bytes",
        Gauge,
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |r| r.usage.memory.map(|m| m.usage as f64),
    ),
    plain(
        "container_memory_working_set_bytes",
        Gauge,
        "Current working set in bytes.",
        |r| r.usage.memory.map(|m| m.working_set as f64),
    ),
    plain(
        "container_memory_rss",
        Gauge,
        "Size of RSS in bytes.",
        |r| r.usage.memory.map(|m| m.rss as f64),
    ),
    plain(
        "container_memory_cache",
        Gauge,
        "Number of bytes of page cache memory.",
        |r| r.usage.memory.map(|m| m.cache as f64),
    ),
    plain(
        "container_memory_mapped_file",
        Gauge,
        "Size of memory mapped files in bytes.",
        |r| r.usage.memory.map(|m| m.mapped_file as f64),
    ),
    plain(
        "container_memory_swap",
        Gauge,
        "Container swap usage in bytes.",
        |r| r.usage.memory.map(|m| m.swap as f64),
    ),
    plain(
        "container_memory_kernel_usage",
        Gauge,
        "Size of kernel memory allocated in bytes.",
        |r| r.usage.memory.map(|m| m.kernel as f64),
    ),
    plain(
        "container_memory_max_usage_bytes",
        Gauge,
        "Maximum memory usage recorded in bytes",
        |r| r.usage.memory.map(|m| m.max_usage as f64),
    ),
    plain(
        "container_memory_failcnt",
        Counter,
        "Number of memory usage hits limits",
        |r| r.usage.memory.map(|m| m.fail_count as f64),
    ),
    plain(
        "container_memory_total_active_file_bytes",
        Gauge,
        "Current total active file in bytes.",
        |r| r.usage.memory.map(|m| m.active_file as f64),
    ),
    plain(
        "container_memory_total_inactive_file_bytes",
        Gauge,
        "Current total inactive file in bytes.",
        |r| r.usage.memory.map(|m| m.inactive_file as f64),
    ),
    plain(
        "container_memory_events_high_total",
        Counter,
        "Cumulative count of memory.high throttle events for the container",
        |r| memory(r, |m| m.more.high_events),
    ),
    plain(
        "container_memory_events_max_total",
        Counter,
        "Cumulative count of memory.max limit hit events for the container",
        |r| memory(r, |m| m.more.max_events),
    ),
    plain(
        "container_memory_file_dirty_bytes",
        Gauge,
        "Number of bytes of file cache that has been modified but not yet written back to disk.",
        |r| memory(r, |m| m.more.file_dirty),
    ),
    plain(
        "container_memory_file_writeback_bytes",
        Gauge,
        "Number of bytes of file cache that is currently being written back to disk.",
        |r| memory(r, |m| m.more.file_writeback),
    ),
    plain(
        "container_memory_pgscan_total",
        Counter,
        "Cumulative number of pages scanned by the page reclaim algorithm.",
        |r| memory(r, |m| m.more.scanned),
    ),
    plain(
        "container_memory_pgsteal_total",
        Counter,
        "Cumulative number of pages reclaimed by the page reclaim algorithm.",
        |r| memory(r, |m| m.more.stolen),
    ),
    plain(
        "container_memory_workingset_refault_file_total",
        Counter,
        "Cumulative number of refaults of previously evicted file pages.",
        |r| memory(r, |m| m.more.refaults_file),
    ),
    plain(
        "container_memory_workingset_refault_anon_total",
        Counter,
        "Cumulative number of refaults of previously evicted anonymous pages.",
        |r| memory(r, |m| m.more.refaults_anon),
    ),
    plain(
        "container_file_descriptors",
        Gauge,
        "Number of open file descriptors for the container.",
        |r| r.open_files.map(|n| n as f64),
    ),
    plain(
        "container_sockets",
        Gauge,
        "Number of open sockets for the container.",
        |r| r.sockets.map(|n| n as f64),
    ),
    plain(
        OOM_EVENTS,
        Counter,
        "Count of out of memory events observed for the container",
        |r| r.oom_kills.map(|n| n as f64),
    ),
    plain(
        "container_processes",
        Gauge,
        "Number of processes running inside the container.",
        |r| r.usage.processes.map(|n| n as f64),
    ),
    plain(
        "container_threads",
        Gauge,
        "Number of threads running inside the container",
        |r| {
            r.limits
                .threads
                .map(|_| r.usage.threads.unwrap_or(0) as f64)
        },
    ),
    plain(
        "container_threads_max",
        Gauge,
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        |r| r.limits.threads.map(|n| n as f64),
    ),
    plain(
        "container_spec_cpu_period",
        Gauge,
        "CPU period of the container.",
        |r| r.limits.cpu.map(|c| c.period_us as f64),
    ),
    plain(
        "container_spec_cpu_quota",
        Gauge,
        "CPU quota of the container.",
        |r| r.limits.cpu?.quota_us.map(|q| q as f64),
    ),
    plain(
        "container_spec_cpu_shares",
        Gauge,
        "CPU share of the container.",
        |r| r.limits.cpu.map(|c| c.shares as f64),
    ),
    plain(
        "container_spec_memory_limit_bytes",
        Gauge,
        "Memory limit for the container.",
        |r| r.limits.memory.map(|m| m.limit as f64),
    ),
    plain(
        "container_spec_memory_swap_limit_bytes",
        Gauge,
        "Memory swap limit for the container.",
        |r| r.limits.memory.map(|m| m.swap_limit as f64),
    ),
    plain(
        "container_spec_memory_reservation_limit_bytes",
        Gauge,
        "Memory reservation limit for the container.",
        |r| r.limits.memory.map(|m| m.reservation as f64),
    ),
    plain(
        "container_pressure_cpu_waiting_seconds_total",
        Counter,
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |r| waiting_s(r, CPU),
    ),
    plain(
        "container_pressure_cpu_stalled_seconds_total",
        Counter,
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |r| stalled_s(r, CPU),
    ),
    plain(
        "container_pressure_memory_waiting_seconds_total",
        Counter,
        "Total time duration tasks in the container have waited due to memory congestion.",
        |r| waiting_s(r, MEMORY),
    ),
    plain(
        "container_pressure_memory_stalled_seconds_total",
        Counter,
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |r| stalled_s(r, MEMORY),
    ),
    plain(
        "container_pressure_io_waiting_seconds_total",
        Counter,
        "Total time duration tasks in the container have waited due to IO congestion.",
        |r| waiting_s(r, IO),
    ),
    plain(
        "container_pressure_io_stalled_seconds_total",
        Counter,
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |r| stalled_s(r, IO),
    ),
];
