//! Memory from /proc/meminfo: every line the running kernel has.

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::meminfo;

use super::fields::{Fields, Named};
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
    fields: Fields,
    buf: Vec<u8>,
}

impl Meminfo {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::whole(spec.proc("meminfo")),
            fields: Fields::default(),
            buf: Vec::new(),
        }
    }
}

impl Collector for Meminfo {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        self.fields.rewind();
        for field in meminfo::fields(&self.buf) {
            let field = field?;
            let unit = if field.is_bytes { "_bytes" } else { "" };
            if let Some(named) = self.fields.next(unit, field.name, make) {
                named.sample(out, &[], field.value as f64);
            }
        }
        Ok(())
    }
}

/// `Active(anon)` becomes `Active_anon`.
fn make(unit: &str, field: &str) -> Option<Named> {
    let name = field.replace('(', "_").replace(')', "") + unit;
    Some(Named {
        name: format!("node_memory_{name}"),
        kind: MetricKind::Gauge,
        help: format!("Memory information field {name}."),
    })
}
