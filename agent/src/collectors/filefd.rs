//! File descriptors of the whole node, from /proc/sys/fs/file-nr.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "filefd",
    about: "file descriptors in use and their limit",
    build: |spec| Ok(Box::new(Filefd::new(spec))),
    ..Entry::DEFAULT
};

const ALLOCATED: Desc = Desc::gauge(
    "node_filefd_allocated",
    "File descriptor statistics: allocated.",
);
const MAXIMUM: Desc = Desc::gauge(
    "node_filefd_maximum",
    "File descriptor statistics: maximum.",
);

struct Filefd {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Filefd {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::whole(spec.proc("sys/fs/file-nr")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Filefd {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let mut words = words(&self.buf).map(decimal);
        // The second number, free ones, is 0 on every kernel since 2.6.
        let numbers = (words.next().flatten(), words.nth(1).flatten());
        let (Some(allocated), Some(maximum)) = numbers else {
            anyhow::bail!("{} does not hold three numbers", self.file.path().display());
        };
        ALLOCATED.value(out, allocated);
        MAXIMUM.value(out, maximum);
        Ok(())
    }
}
