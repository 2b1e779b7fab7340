//! Memory from /proc/meminfo: every line the running kernel has.

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::meminfo;

use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "meminfo",
    about: "memory by kind of use",
    build: |spec| Ok(Box::new(Meminfo::new(spec))),
    ..Entry::DEFAULT
};

struct Meminfo {
    file: KernelFile,
    buf: Vec<u8>,
    /// Scratch for names.
    name: String,
    help: String,
}

impl Meminfo {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.procfs.join("meminfo")),
            buf: Vec::new(),
            name: String::new(),
            help: String::new(),
        }
    }
}

const PREFIX: &str = "node_memory_";

impl Collector for Meminfo {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        for field in meminfo::fields(&self.buf) {
            let field = field?;
            self.name.clear();
            self.name.push_str(PREFIX);
            // `Active(anon)` becomes `Active_anon`.
            let letters = field.name.chars().filter(|c| *c != ')');
            self.name
                .extend(letters.map(|c| if c == '(' { '_' } else { c }));
            if field.is_bytes {
                self.name.push_str("_bytes");
            }
            self.help.clear();
            self.help.push_str("Memory information field ");
            self.help.push_str(&self.name[PREFIX.len()..]);
            self.help.push('.');
            let family = out.family(&self.name, MetricKind::Gauge, &self.help);
            out.sample(family, &[], field.value as f64);
        }
        Ok(())
    }
}
