//! How many cgroups each controller has, of /proc/cgroups.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "cgroups",
    about: "cgroups per controller",
    is_default: false,
    build: |spec| Ok(Box::new(Cgroups::new(spec))),
    ..Entry::DEFAULT
};

const CGROUPS: Desc = Desc::gauge(
    "node_cgroups_cgroups",
    "Current cgroup number of the subsystem.",
);
// The help is node_exporter's, mistaken as it is.
const ENABLED: Desc = Desc::gauge(
    "node_cgroups_enabled",
    "Current cgroup number of the subsystem.",
);

struct Cgroups {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Cgroups {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("cgroups")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Cgroups {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        for line in lines(&self.buf).filter(|line| !line.starts_with(b"#")) {
            // controller, hierarchy, cgroups, enabled
            let mut words = words(line);
            let name = words.next().and_then(text).unwrap_or_default();
            let mut number = || {
                let number = words.next().and_then(decimal);
                number.with_context(|| format!("cgroups: {name} lacks a number"))
            };
            number()?;
            let labels = [("subsys_name", name)];
            CGROUPS.sample(out, &labels, number()?);
            ENABLED.sample(out, &labels, number()?);
        }
        Ok(())
    }
}
