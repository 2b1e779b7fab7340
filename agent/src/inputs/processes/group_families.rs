//! The families of process-exporter, from groups of processes.

use std::collections::BTreeMap;

use kansoku_model::{MetricBatch, MetricKind};

use super::groups::{Counts, Flags, Group, STATES};
use super::reading::TICKS_PER_SECOND;

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND as f64
}

pub(super) fn write(groups: &BTreeMap<String, Group>, flags: Flags, out: &mut MetricBatch) {
    for (name, group) in groups {
        let mut writer = Writer {
            out: &mut *out,
            group: name,
        };
        writer.gauges(group, flags);
        writer.counters(&group.counts);
        if flags.threads {
            for (thread, (n, counts)) in &group.threads {
                writer.thread(thread, *n, counts);
            }
        }
    }
}

struct Writer<'a> {
    out: &'a mut MetricBatch,
    group: &'a str,
}

use MetricKind::{Counter, Gauge};

impl Writer<'_> {
    fn put(&mut self, name: &str, kind: MetricKind, help: &str, labels: &[(&str, &str)], x: f64) {
        let name = format!("namedprocess_namegroup_{name}");
        let family = self.out.family(&name, kind, help);
        let labels: Vec<(&str, &str)> = std::iter::once(("groupname", self.group))
            .chain(labels.iter().copied())
            .collect();
        self.out.sample(family, &labels, x);
    }

    fn gauges(&mut self, group: &Group, flags: Flags) {
        let help = "number of processes in this group";
        self.put("num_procs", Gauge, help, &[], group.n as f64);
        let mut memory = vec![
            ("resident", group.resident_bytes),
            ("virtual", group.virtual_bytes),
            ("swapped", group.swapped_bytes),
        ];
        if flags.gather_smaps {
            memory.push(("proportionalResident", group.proportional.0));
            memory.push(("proportionalSwapped", group.proportional.1));
        }
        for (kind, bytes) in memory {
            let help = "number of bytes of memory in use";
            self.put(
                "memory_bytes",
                Gauge,
                help,
                &[("memtype", kind)],
                bytes as f64,
            );
        }
        if let Some(start) = group.oldest_start {
            let help = "start time in seconds since 1970/01/01 of oldest process in group";
            self.put("oldest_start_time_seconds", Gauge, help, &[], start as f64);
        }
        let help = "number of open file descriptors for this group";
        self.put("open_filedesc", Gauge, help, &[], group.open_files as f64);
        let help = "the worst (closest to 1) ratio between open fds and max fds among all procs in this group";
        self.put("worst_fd_ratio", Gauge, help, &[], group.worst_ratio);
        self.put(
            "num_threads",
            Gauge,
            "Number of threads",
            &[],
            group.n_threads as f64,
        );
        for (state, n) in STATES.iter().zip(group.states) {
            let help = "Number of processes in states Running, Sleeping, Waiting, Zombie, or Other";
            self.put("states", Gauge, help, &[("state", state)], n as f64);
        }
        for (wchan, n) in &group.wchans {
            let help = "Number of threads in this group waiting on each wchan";
            self.put("threads_wchan", Gauge, help, &[("wchan", wchan)], *n as f64);
        }
    }

    fn counters(&mut self, counts: &Counts) {
        let help = "Cpu user usage in seconds";
        for (mode, ticks) in [("user", counts.user_ticks), ("system", counts.system_ticks)] {
            self.put(
                "cpu_seconds_total",
                Counter,
                help,
                &[("mode", mode)],
                seconds(ticks),
            );
        }
        for (name, help, n) in [
            (
                "read_bytes_total",
                "number of bytes read by this group",
                counts.read_bytes,
            ),
            (
                "write_bytes_total",
                "number of bytes written by this group",
                counts.written_bytes,
            ),
            (
                "major_page_faults_total",
                "Major page faults",
                counts.major_faults,
            ),
            (
                "minor_page_faults_total",
                "Minor page faults",
                counts.minor_faults,
            ),
        ] {
            self.put(name, Counter, help, &[], n as f64);
        }
        let switches = [
            ("voluntary", counts.voluntary),
            ("nonvoluntary", counts.nonvoluntary),
        ];
        for (kind, n) in switches {
            let labels = [("ctxswitchtype", kind)];
            self.put(
                "context_switches_total",
                Counter,
                "Context switches",
                &labels,
                n as f64,
            );
        }
    }

    fn thread(&mut self, thread: &str, n: u64, counts: &Counts) {
        let own = ("threadname", thread);
        let help = "Number of threads in this group with same threadname";
        self.put("thread_count", Gauge, help, &[own], n as f64);
        for (mode, ticks) in [("user", counts.user_ticks), ("system", counts.system_ticks)] {
            let help = "Cpu user/system usage in seconds";
            let labels = [own, ("mode", mode)];
            self.put(
                "thread_cpu_seconds_total",
                Counter,
                help,
                &labels,
                seconds(ticks),
            );
        }
        for (mode, n) in [("read", counts.read_bytes), ("write", counts.written_bytes)] {
            let help = "number of bytes read/written by these threads";
            let labels = [own, ("iomode", mode)];
            self.put("thread_io_bytes_total", Counter, help, &labels, n as f64);
        }
        let help = "Major page faults for these threads";
        let faults = counts.major_faults as f64;
        self.put(
            "thread_major_page_faults_total",
            Counter,
            help,
            &[own],
            faults,
        );
        let help = "Minor page faults for these threads";
        let faults = counts.minor_faults as f64;
        self.put(
            "thread_minor_page_faults_total",
            Counter,
            help,
            &[own],
            faults,
        );
        let switches = [
            ("voluntary", counts.voluntary),
            ("nonvoluntary", counts.nonvoluntary),
        ];
        for (kind, n) in switches {
            let help = "Context switches for these threads";
            let labels = [own, ("ctxswitchtype", kind)];
            self.put(
                "thread_context_switches_total",
                Counter,
                help,
                &labels,
                n as f64,
            );
        }
    }
}
