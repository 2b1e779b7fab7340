//! The kernel's entropy pool.

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "entropy",
    about: "bits of entropy that are there, and room for them",
    build: |spec| Ok(Box::new(Entropy::new(spec))),
    ..Entry::DEFAULT
};

const AVAILABLE: Desc = Desc::gauge("node_entropy_available_bits", "Bits of available entropy.");
const POOL_SIZE: Desc = Desc::gauge("node_entropy_pool_size_bits", "Bits of entropy pool.");

struct Entropy {
    available: KernelFile,
    pool_size: KernelFile,
    buf: Vec<u8>,
}

impl Entropy {
    fn new(spec: &NodeSpec) -> Self {
        let folder = spec.proc("sys/kernel/random");
        Self {
            available: KernelFile::whole(folder.join("entropy_avail")),
            pool_size: KernelFile::whole(folder.join("poolsize")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Entropy {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        AVAILABLE.value(out, self.available.read_number(&mut self.buf)?);
        POOL_SIZE.value(out, self.pool_size.read_number(&mut self.buf)?);
        Ok(())
    }
}
