//! Caches of the kernel's objects, of /proc/slabinfo, which only root may read.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "slabinfo",
    about: "caches of the kernel's objects",
    is_default: false,
    flags: &[INCLUDE, EXCLUDE],
    build: |spec| Ok(Box::new(Slabinfo::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.slabinfo.slabs-include",
    ".*",
    "Regexp of slabs to include in slabinfo collector.",
);
const EXCLUDE: Flag = Flag::text(
    "collector.slabinfo.slabs-exclude",
    "",
    "Regexp of slabs to exclude in slabinfo collector.",
);
/// The columns behind the name.
const COLUMNS: [Desc; 5] = [
    Desc::gauge(
        "node_slabinfo_active_objects",
        "The number of objects that are currently active (i.e., in use).",
    ),
    Desc::gauge(
        "node_slabinfo_objects",
        "The total number of allocated objects (i.e., objects that are both in use and not in use).",
    ),
    Desc::gauge(
        "node_slabinfo_object_size_bytes",
        "The size of objects in this slab, in bytes.",
    ),
    Desc::gauge(
        "node_slabinfo_objects_per_slab",
        "The number of objects stored in each slab.",
    ),
    Desc::gauge(
        "node_slabinfo_pages_per_slab",
        "The number of pages allocated for each slab.",
    ),
];

struct Slabinfo {
    file: KernelFile,
    filter: NameFilter,
    buf: Vec<u8>,
}

impl Slabinfo {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            file: KernelFile::new(spec.proc("slabinfo")),
            filter: spec.flags.filter(&INCLUDE, &EXCLUDE)?,
            buf: Vec::new(),
        })
    }
}

impl Collector for Slabinfo {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        for line in lines(&self.buf) {
            if line.starts_with(b"slabinfo - version:") || line.starts_with(b"# name") {
                continue;
            }
            let mut words = words(line);
            let slab = words.next().and_then(text).unwrap_or_default();
            if self.filter.is_ignored(slab) {
                continue;
            }
            for desc in &COLUMNS {
                let value = words.next().and_then(decimal);
                let value = value.with_context(|| format!("slabinfo: {slab} lacks a number"))?;
                desc.sample(out, &[("slab", slab)], value);
            }
        }
        Ok(())
    }
}
