//! Swap devices and files: size, use and priority.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "swap",
    about: "swap devices",
    is_default: false,
    build: |spec| Ok(Box::new(Swap::new(spec))),
    ..Entry::DEFAULT
};

/// Columns behind the device and its type, and the factor to the unit.
const COLUMNS: [(f64, Desc); 3] = [
    (
        1024.0,
        Desc::gauge("node_swap_size_bytes", "Swap device size in bytes."),
    ),
    (
        1024.0,
        Desc::gauge("node_swap_used_bytes", "Swap device used in bytes."),
    ),
    (
        1.0,
        Desc::gauge("node_swap_priority", "Swap device priority."),
    ),
];

struct Swap {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Swap {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("swaps")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Swap {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        // The first line names the columns.
        for line in lines(&self.buf).skip(1) {
            let mut words = words(line);
            let device = words.next().and_then(text).unwrap_or_default();
            let kind = words.next().and_then(text).unwrap_or_default();
            for (factor, desc) in &COLUMNS {
                let value = words.next().and_then(decimal);
                let value = value.with_context(|| format!("swaps: {device} lacks a number"))?;
                let labels = [("device", device), ("swap_type", kind)];
                desc.sample(out, &labels, value * factor);
            }
        }
        Ok(())
    }
}
