//! A set of series for each process, as Fluent Bit's process_exporter_metrics makes them.
//!
//! Names, labels and helps are Fluent Bit's. Other than there, seconds of CPU have their fraction, and the context switches of a thread
//! are under its process' name, as its other series are.

use std::path::Path;

use kansoku_model::{FamilyId, MetricBatch, MetricKind};
use kansoku_parsers::line::pattern::Pattern;

use super::reading::{Proc, Stat, TICKS_PER_SECOND};

/// What `metrics` may name.
pub const METRICS: [&str; 9] = [
    "cpu",
    "io",
    "memory",
    "state",
    "context_switches",
    "fd",
    "start_time",
    "thread_wchan",
    "thread",
];

use MetricKind::{Counter, Gauge};

type Spec = (&'static str, MetricKind, &'static str);
const CPU: Spec = ("process_cpu_seconds_total", Counter, "CPU usage in seconds");
const READ: Spec = ("process_read_bytes_total", Counter, "number of bytes read");
const WRITE: Spec = (
    "process_write_bytes_total",
    Counter,
    "number of bytes write",
);
const MAJOR: Spec = (
    "process_major_page_faults_total",
    Counter,
    "Major page fault",
);
const MINOR: Spec = (
    "process_minor_page_faults_total",
    Counter,
    "Minor page fault",
);
const SWITCHES: Spec = (
    "process_context_switches_total",
    Counter,
    "Context switches",
);
const MEMORY: Spec = (
    "process_memory_bytes",
    Gauge,
    "number of bytes of memory in use per type (VirtualMemory, RSS)",
);
const FILES: Spec = (
    "process_open_filedesc",
    Gauge,
    "number of open file descriptors",
);
const RATIO: Spec = (
    "process_fd_ratio",
    Gauge,
    "the ratio between open fds and max fds",
);
const START: Spec = (
    "process_start_time_seconds",
    Gauge,
    "start time in seconds since 1970/01/01",
);
const THREADS: Spec = ("process_num_threads", Gauge, "Number of threads");
const STATES: Spec = (
    "process_states",
    Gauge,
    "Process in states Running, Sleeping, Waiting, Zombie, or Other",
);
const WCHAN: Spec = (
    "process_thread_wchan",
    Gauge,
    "Number of threads in this process waiting on each wchan",
);
const THREAD_CPU: Spec = (
    "process_thread_cpu_seconds_total",
    Counter,
    "CPU user/system usage in seconds with the same threadname",
);
const THREAD_IO: Spec = (
    "process_thread_io_bytes_total",
    Counter,
    "number of bytes read/written by these threads",
);
const THREAD_MAJOR: Spec = (
    "process_thread_major_page_faults_total",
    Counter,
    "Major page fault for these threads",
);
const THREAD_MINOR: Spec = (
    "process_thread_minor_page_faults_total",
    Counter,
    "Minor page fault for these threads",
);
const THREAD_SWITCHES: Spec = (
    "process_thread_context_switches_total",
    Counter,
    "Context switches",
);

/// Which processes and which metrics.
pub struct Wanted {
    pub include: Pattern,
    pub exclude: Option<Pattern>,
    /// In the order of [`METRICS`].
    pub metrics: [bool; METRICS.len()],
}

impl Wanted {
    fn takes(&self, name: &str) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match(name.as_bytes());
        is_match(&self.include) && !self.exclude.as_ref().is_some_and(is_match)
    }

    fn has(&self, metric: &str) -> bool {
        let at = METRICS.iter().position(|m| *m == metric);
        at.is_some_and(|at| self.metrics[at])
    }
}

/// Adds the series of all processes that are wanted.
///
/// # Errors
/// When the list of processes cannot be read.
pub fn collect(proc: &mut Proc, wanted: &Wanted, out: &mut MetricBatch) -> std::io::Result<()> {
    let boot_time = proc.boot_time().unwrap_or_default();
    for pid in proc.processes()? {
        let folder = proc.of(pid);
        // It may have ended.
        let Some(stat) = proc.stat(&folder) else {
            continue;
        };
        if wanted.takes(&stat.name) {
            let (id, parent) = (pid.to_string(), stat.parent.to_string());
            let mut process = Process {
                out,
                labels: [
                    ("name", stat.name.as_str()),
                    ("pid", id.as_str()),
                    ("ppid", parent.as_str()),
                ],
            };
            process.of_stat(wanted, &stat, boot_time, proc.page_bytes);
            process.of_files(wanted, proc, &folder);
            if wanted.has("thread") {
                for thread in proc.threads(pid).into_iter().filter(|t| *t != pid) {
                    process.thread(wanted, proc, &proc.of_thread(pid, thread), thread);
                }
            }
        }
    }
    Ok(())
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND as f64
}

/// One process' series.
struct Process<'a> {
    out: &'a mut MetricBatch,
    /// name, pid, ppid
    labels: [(&'static str, &'a str); 3],
}

impl Process<'_> {
    fn family(&mut self, (name, kind, help): Spec) -> FamilyId {
        self.out.family(name, kind, help)
    }

    fn sample(&mut self, spec: Spec, value: f64) {
        let family = self.family(spec);
        self.out.sample(family, &self.labels, value);
    }

    fn sample_with(&mut self, spec: Spec, label: (&str, &str), value: f64) {
        let family = self.family(spec);
        let [name, pid, ppid] = self.labels;
        self.out.sample(family, &[name, pid, ppid, label], value);
    }

    fn of_stat(&mut self, wanted: &Wanted, stat: &Stat, boot_time: u64, page_bytes: u64) {
        if wanted.has("state") {
            for state in [b"R", b"S", b"D", b"Z", b"T", b"I"] {
                let is_now = f64::from(u8::from(stat.state == state[0]));
                let text = std::str::from_utf8(state).unwrap_or_default();
                self.sample_with(STATES, ("state", text), is_now);
            }
        }
        if wanted.has("cpu") {
            self.sample_with(CPU, ("mode", "user"), seconds(stat.user_ticks));
            self.sample_with(CPU, ("mode", "system"), seconds(stat.system_ticks));
        }
        if wanted.has("start_time") {
            let start = boot_time + stat.start_ticks / TICKS_PER_SECOND;
            self.sample(START, start as f64);
        }
        if wanted.has("thread") {
            self.sample(THREADS, stat.n_threads as f64);
        }
        if wanted.has("memory") {
            let kind = |kind| ("type", kind);
            self.sample_with(MEMORY, kind("virtual_memory"), stat.virtual_bytes as f64);
            let resident = stat.resident_pages.saturating_mul(page_bytes);
            self.sample_with(MEMORY, kind("rss"), resident as f64);
            self.sample(MAJOR, stat.major_faults as f64);
            self.sample(MINOR, stat.minor_faults as f64);
        }
    }

    fn of_files(&mut self, wanted: &Wanted, proc: &mut Proc, folder: &Path) {
        if wanted.has("fd")
            && let Some(n) = proc.open_files(folder)
        {
            self.sample(FILES, n as f64);
            if let Some(Some(limit)) = proc.open_files_limit(folder).filter(|l| *l != Some(0)) {
                self.sample(RATIO, n as f64 / limit as f64);
            }
        }
        let [name, pid, _] = self.labels;
        if wanted.has("thread_wchan")
            && let Some(wchan) = proc.wchan(folder)
        {
            let family = self.family(WCHAN);
            self.out
                .sample(family, &[name, pid, ("wchan", &wchan)], 1.0);
        }
        if wanted.has("io")
            && let Some((read, written)) = proc.io(folder)
        {
            self.sample(READ, read as f64);
            self.sample(WRITE, written as f64);
        }
        if wanted.has("context_switches")
            && let Some(status) = proc.status(folder)
        {
            let family = self.family(SWITCHES);
            for (kind, n) in switches(&status) {
                let labels = [name, pid, ("context_switch_type", kind)];
                self.out.sample(family, &labels, n as f64);
            }
        }
    }

    fn thread(&mut self, wanted: &Wanted, proc: &mut Proc, folder: &Path, id: u32) {
        let Some(stat) = proc.stat(folder) else {
            return;
        };
        let id = id.to_string();
        let own = [
            self.labels[0],
            ("threadname", stat.name.as_str()),
            ("thread_id", id.as_str()),
        ];
        let mut put = |spec: Spec, label: Option<(&str, &str)>, value: f64| {
            let family = self.out.family(spec.0, spec.1, spec.2);
            let labels = self.out.label_set(own.iter().copied().chain(label));
            self.out.push(kansoku_model::metric::Point {
                family,
                suffix: kansoku_model::Suffix::None,
                labels,
                time_ms: None,
                value,
            });
        };
        put(THREAD_CPU, Some(("mode", "user")), seconds(stat.user_ticks));
        put(
            THREAD_CPU,
            Some(("mode", "system")),
            seconds(stat.system_ticks),
        );
        put(THREAD_MAJOR, None, stat.major_faults as f64);
        put(THREAD_MINOR, None, stat.minor_faults as f64);
        if let Some((read, written)) = proc.io(folder) {
            put(THREAD_IO, Some(("iomode", "read")), read as f64);
            put(THREAD_IO, Some(("iomode", "write")), written as f64);
        }
        // As Fluent Bit does, which asks the patterns again for the name of the thread.
        if wanted.takes(&stat.name)
            && let Some(status) = proc.status(folder)
        {
            for (kind, n) in switches(&status) {
                put(
                    THREAD_SWITCHES,
                    Some(("context_switch_type", kind)),
                    n as f64,
                );
            }
        }
    }
}

fn switches(status: &kansoku_parsers::kernel::pid_status::PidStatus) -> [(&'static str, u64); 2] {
    [
        ("voluntary_ctxt_switches", status.voluntary_switches),
        ("nonvoluntary_ctxt_switches", status.nonvoluntary_switches),
    ]
}
