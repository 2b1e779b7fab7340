//! Neighbours in the ARP table per interface, from net/arp of the node's network.
//!
//! node_exporter asks netlink unless told otherwise and drops what this file does not show, so that
//! both give the same numbers. The file can be read of process 1, whatever our own network is.

use std::collections::BTreeMap;

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{lines, text, words};

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "arp",
    about: "entries of the ARP table per interface",
    flags: &[INCLUDE, EXCLUDE, NETLINK],
    build: |spec| Ok(Box::new(Arp::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.arp.device-include",
    "",
    "Regexp of arp devices to include (mutually exclusive to device-exclude).",
);
const EXCLUDE: Flag = Flag::text(
    "collector.arp.device-exclude",
    "",
    "Regexp of arp devices to exclude (mutually exclusive to device-include).",
);
const NETLINK: Flag = Flag::switch(
    "collector.arp.netlink",
    true,
    "Accepted: netlink and net/arp give the same numbers, and net/arp of process 1 is read.",
);
const ENTRIES: Desc = Desc::gauge("node_arp_entries", "ARP entries by device");
/// The interface is the file's last column.
const DEVICE_COLUMN: usize = 5;

struct Arp {
    file: KernelFile,
    filter: NameFilter,
    buf: Vec<u8>,
}

impl Arp {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            file: KernelFile::new(spec.proc_net("arp")),
            filter: spec.flags.filter(&INCLUDE, &EXCLUDE)?,
            buf: Vec::new(),
        })
    }
}

impl Collector for Arp {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let mut entries: BTreeMap<&str, u32> = BTreeMap::new();
        // The first line names the columns.
        for line in lines(&self.buf).skip(1) {
            let device = words(line).nth(DEVICE_COLUMN).and_then(text);
            if let Some(device) = device.filter(|d| !self.filter.is_ignored(d)) {
                *entries.entry(device).or_default() += 1;
            }
        }
        for (device, n) in entries {
            ENTRIES.sample(out, &[("device", device)], f64::from(n));
        }
        Ok(())
    }
}
