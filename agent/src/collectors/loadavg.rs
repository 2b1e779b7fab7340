//! Load averages from /proc/loadavg.

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::loadavg;

use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "loadavg",
    about: "load averages over 1, 5 and 15 minutes",
    build: |spec| Ok(Box::new(Loadavg::new(spec))),
    ..Entry::DEFAULT
};

const FAMILIES: [(&str, &str); 3] = [
    ("node_load1", "1m load average."),
    ("node_load5", "5m load average."),
    ("node_load15", "15m load average."),
];

struct Loadavg {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Loadavg {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::whole(spec.procfs.join("loadavg")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Loadavg {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let loads = loadavg::parse(&self.buf)?;
        for ((name, help), load) in FAMILIES.into_iter().zip(loads) {
            let family = out.family(name, MetricKind::Gauge, help);
            out.sample(family, &[], load);
        }
        Ok(())
    }
}
