//! Free blocks of memory by size: how fragmented each zone is.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "buddyinfo",
    about: "free blocks of memory by size",
    is_default: false,
    build: |spec| Ok(Box::new(Buddyinfo::new(spec))),
    ..Entry::DEFAULT
};

const BLOCKS: Desc = Desc::gauge(
    "node_buddyinfo_blocks",
    "Count of free blocks according to size.",
);

struct Buddyinfo {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Buddyinfo {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("buddyinfo")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Buddyinfo {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        for line in lines(&self.buf) {
            // Node 0, zone   Normal    205   1337 ...
            let mut words = words(line).skip(1);
            let node = words.next().and_then(text).unwrap_or_default();
            let zone = words.nth(1).and_then(text).unwrap_or_default();
            let node = node.trim_end_matches(',');
            for (size, word) in words.enumerate() {
                let blocks = decimal(word);
                let blocks = blocks.with_context(|| format!("buddyinfo: {zone} lacks a number"))?;
                let size = size.to_string();
                BLOCKS.sample(
                    out,
                    &[("node", node), ("zone", zone), ("size", &size)],
                    blocks,
                );
            }
        }
        Ok(())
    }
}
