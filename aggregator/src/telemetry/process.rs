//! What the kernel says of this process: the `process_*` metrics of every Prometheus client.
//!
//! A number that cannot be read is left out rather than reported as zero.

use std::fs;

use kansoku_model::MetricKind::{Counter, Gauge};
use kansoku_model::{MetricBatch, MetricKind};

/// Adds the process's metrics.
pub fn collect(out: &mut MetricBatch) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat_fields(&stat);
    let field = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok());
    let ticks = sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let page = sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let boot = boot_seconds();
    let cpu = zip(zip(field(11), field(12)).map(|(u, s)| u + s), ticks);
    let started = zip(zip(field(19), ticks).map(|(start, hz)| start / hz), boot);
    let mut add = |name: &str, kind: MetricKind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let family = out.new_family(name, kind, help);
            out.sample(family, &[], value);
        }
    };
    add(
        "process_cpu_seconds_total",
        Counter,
        "Total user and system CPU time spent in seconds.",
        cpu.map(|(used, hz)| used / hz),
    );
    add(
        "process_start_time_seconds",
        Gauge,
        "Start time of the process since unix epoch in seconds.",
        started.map(|(after_boot, boot)| after_boot + boot),
    );
    add("process_threads", Gauge, "Number of threads.", field(17));
    add(
        "process_virtual_memory_bytes",
        Gauge,
        "Virtual memory size in bytes.",
        field(20),
    );
    add(
        "process_resident_memory_bytes",
        Gauge,
        "Resident memory size in bytes.",
        zip(field(21), page).map(|(pages, size)| pages * size),
    );
    add(
        "process_open_fds",
        Gauge,
        "Number of open file descriptors.",
        open_descriptors(),
    );
    add(
        "process_max_fds",
        Gauge,
        "Maximum number of open file descriptors.",
        max_descriptors(),
    );
}

/// The fields of `/proc/self/stat` from the state on, which is 0 here and 3 in proc(5). The
/// command before it may hold spaces and brackets.
fn stat_fields(stat: &str) -> Vec<&str> {
    let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_command.split_whitespace().collect()
}

fn zip(a: Option<f64>, b: Option<f64>) -> Option<(f64, f64)> {
    a.zip(b)
}

fn sysconf(name: nix::unistd::SysconfVar) -> Option<f64> {
    let value = nix::unistd::sysconf(name).ok()??;
    Some(value as f64)
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|l| l.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_descriptors() -> Option<f64> {
    // One of them is the listing itself.
    let n = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(n.saturating_sub(1) as f64)
}

fn max_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_does_not_shift_the_fields() {
        let fields = stat_fields("42 (a) b) S 1 2 3");
        assert_eq!(fields, ["S", "1", "2", "3"]);
        assert!(stat_fields("").is_empty());
    }

    #[test]
    fn this_process_has_all_of_them() {
        let mut batch = MetricBatch::default();
        collect(&mut batch);
        assert_eq!(batch.points().len(), 7);
        assert!(batch.points().iter().all(|p| p.value >= 0.0));
    }
}
