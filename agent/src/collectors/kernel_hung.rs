//! Tasks that the kernel found hanging, on kernels that count them (6.13 and later).

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "kernel_hung",
    about: "tasks that the kernel found hanging",
    build: |spec| Ok(Box::new(KernelHung::new(spec))),
    ..Entry::DEFAULT
};

const TASKS: Desc = Desc::counter(
    "node_kernel_hung_tasks_total",
    "Total number of tasks that have been detected as hung since the system booted.",
);

struct KernelHung {
    file: KernelFile,
    buf: Vec<u8>,
}

impl KernelHung {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::whole(spec.proc("sys/kernel/hung_task_detect_count")),
            buf: Vec::new(),
        }
    }
}

impl Collector for KernelHung {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let n_tasks = self.file.read_number(&mut self.buf);
        TASKS.value(
            out,
            n_tasks.or_no_data("the kernel does not count hung tasks")?,
        );
        Ok(())
    }
}
