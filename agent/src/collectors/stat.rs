//! The kernel's counters from /proc/stat: interrupts, context switches, forks, boot time.

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::stat::{self, Stat};

use super::desc::Desc;
use super::findings::Left;
use super::flags::Flag;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "stat",
    about: "interrupts, context switches, forks, boot time, running and blocked processes",
    flags: &[SOFTIRQ],
    build: |spec| Ok(Box::new(Counters::new(spec))),
    ..Entry::DEFAULT
};

const SOFTIRQ: Flag = Flag::switch(
    "collector.stat.softirq",
    false,
    "Export softirq calls per vector",
);
const SOFTIRQS: Desc = Desc::counter("node_softirqs_total", "Number of softirq calls.");

struct Counters {
    with_softirqs: bool,
    file: KernelFile,
    buf: Vec<u8>,
    stat: Stat,
    left: Left<Stat>,
}

impl Counters {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            with_softirqs: spec.flags.is_on(&SOFTIRQ),
            file: KernelFile::whole(spec.procfs.join("stat")),
            buf: Vec::new(),
            stat: Stat::default(),
            left: spec.findings.stat.clone(),
        }
    }
}

impl Collector for Counters {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        use MetricKind::{Counter, Gauge};
        // The collector of CPUs has read the file, unless it does not run.
        if let Some(stat) = self.left.take() {
            self.stat = stat;
        } else {
            self.file.read(&mut self.buf)?;
            stat::parse(&self.buf, &mut self.stat)?;
        }
        let s = &self.stat;
        let all = [
            (
                "node_intr_total",
                Counter,
                "Total number of interrupts serviced.",
                s.interrupts,
            ),
            (
                "node_context_switches_total",
                Counter,
                "Total number of context switches.",
                s.context_switches,
            ),
            (
                "node_forks_total",
                Counter,
                "Total number of forks.",
                s.forks,
            ),
            (
                "node_boot_time_seconds",
                Gauge,
                "Node boot time, in unixtime.",
                s.boot_time_s,
            ),
            (
                "node_procs_running",
                Gauge,
                "Number of processes in runnable state.",
                s.procs_running,
            ),
            (
                "node_procs_blocked",
                Gauge,
                "Number of processes blocked waiting for I/O to complete.",
                s.procs_blocked,
            ),
        ];
        for (name, kind, help, value) in all {
            let family = out.family(name, kind, help);
            out.sample(family, &[], value as f64);
        }
        if self.with_softirqs {
            for (vector, n) in stat::SOFTIRQS.iter().zip(s.softirqs) {
                SOFTIRQS.sample(out, &[("vector", vector)], n as f64);
            }
        }
        Ok(())
    }
}
