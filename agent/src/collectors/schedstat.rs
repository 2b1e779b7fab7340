//! What the scheduler says of each CPU, from /proc/schedstat.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{after, decimal, lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "schedstat",
    about: "time that processes ran and waited, per CPU",
    build: |spec| Ok(Box::new(Schedstat::new(spec))),
    ..Entry::DEFAULT
};

const RUNNING: Desc = Desc::counter(
    "node_schedstat_running_seconds_total",
    "Number of seconds CPU spent running a process.",
);
const WAITING: Desc = Desc::counter(
    "node_schedstat_waiting_seconds_total",
    "Number of seconds spent by processing waiting for this CPU.",
);
const TIMESLICES: Desc = Desc::counter(
    "node_schedstat_timeslices_total",
    "Number of timeslices executed by CPU.",
);
/// Numbers of a CPU's line before the three that are given.
const N_SKIPPED: usize = 6;
const NANOSECONDS: f64 = 1e9;

struct Schedstat {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Schedstat {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("schedstat")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Schedstat {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let read = self.file.read(&mut self.buf);
        read.or_no_data("the kernel keeps no scheduler statistics")?;
        let families = [RUNNING, WAITING, TIMESLICES].map(|desc| desc.family(out));
        for line in lines(&self.buf).filter_map(|line| after(line, "cpu")) {
            let mut words = words(line);
            let Some(cpu) = words.next().and_then(text) else {
                continue;
            };
            let mut numbers = words.skip(N_SKIPPED).map_while(decimal);
            let three = (numbers.next(), numbers.next(), numbers.next());
            // Columns that a kernel lacks are no error in node_exporter either.
            let (Some(running), Some(waiting), Some(timeslices)) = three else {
                continue;
            };
            let values = [running / NANOSECONDS, waiting / NANOSECONDS, timeslices];
            for (family, value) in families.into_iter().zip(values) {
                out.sample(family, &[("cpu", cpu)], value);
            }
        }
        Ok(())
    }
}
