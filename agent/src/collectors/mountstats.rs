//! NFS mounts: bytes, events, transports, and what each operation took. Hundreds of series per mount.
//!
//! The mounts are those of process 1, where that can be read, and else our own.

use std::collections::{BTreeMap, BTreeSet};

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::mountstats::{self, Nfs, Transport};
use kansoku_parsers::kernel::scan::{lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::mountstats_families::{BYTES, EVENTS, OPERATION, TRANSPORT};
use super::{Collector, Entry, NodeSpec, Tier};

pub(super) const ENTRY: Entry = Entry {
    name: "mountstats",
    about: "NFS mounts",
    is_default: false,
    // The kernel holds locks of the mounts while it writes them out.
    tier: Tier::Background,
    build: |spec| Ok(Box::new(Mountstats::new(spec))),
    ..Entry::DEFAULT
};

const AGE: Desc = Desc::counter(
    "node_mountstats_nfs_age_seconds_total",
    "The age of the NFS mount in seconds.",
);
const MOUNT_POINT: Desc = Desc::gauge(
    "node_mountstats_nfs_mountpoint_info",
    "Info metric for an NFS mountpoint.",
);

struct Mountstats {
    stats: KernelFile,
    info: KernelFile,
    stats_buf: Vec<u8>,
    info_buf: Vec<u8>,
}

impl Mountstats {
    fn new(spec: &NodeSpec) -> Self {
        let folder = ["1", "self"].map(|pid| spec.proc(pid));
        let [node, own] = folder;
        let can_read = std::fs::File::open(node.join("mountstats")).is_ok();
        let folder = if can_read { node } else { own };
        Self {
            stats: KernelFile::new(folder.join("mountstats")),
            info: KernelFile::new(folder.join("mountinfo")),
            stats_buf: Vec::new(),
            info_buf: Vec::new(),
        }
    }
}

impl Collector for Mountstats {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.stats.read(&mut self.stats_buf)?;
        self.info.read(&mut self.info_buf)?;
        let addresses = addresses(&self.info_buf);
        let mut mount_points = BTreeSet::new();
        let mut exports = BTreeSet::new();
        for mount in mountstats::nfs(&self.stats_buf) {
            let mount = mount?;
            let address = addresses.get(mount.mount_point).copied().unwrap_or("");
            for transport in &mount.transports {
                let labels = [
                    ("export", mount.device),
                    ("protocol", transport.protocol),
                    ("mountaddr", address),
                ];
                let [export, protocol, mountaddr] = labels;
                if mount_points.insert((labels, mount.mount_point)) {
                    let point = ("mountpoint", mount.mount_point);
                    MOUNT_POINT.sample(out, &[export, protocol, mountaddr, point], 1.0);
                }
                // An export that is mounted twice has its numbers once.
                if !exports.insert(labels) {
                    break;
                }
                collect_mount(out, &mount, labels);
            }
        }
        Ok(())
    }
}

fn collect_mount(out: &mut MetricBatch, mount: &Nfs<'_>, labels: [(&str, &str); 3]) {
    let [export, protocol, address] = labels;
    AGE.sample(out, &labels, mount.age_seconds);
    for (numbers, table) in [(&mount.bytes, &BYTES[..]), (&mount.events, &EVENTS[..])] {
        for (at, desc) in table {
            let value = numbers.get(*at).copied().unwrap_or(0);
            desc.sample(out, &labels, value as f64);
        }
    }
    for (index, transport) in mount.transports.iter().enumerate() {
        let index = index.to_string();
        let labels = [export, protocol, address, ("transport", &index)];
        let Transport { numbers, .. } = transport;
        for (at, desc) in &TRANSPORT {
            desc.sample(out, &labels, cut(numbers[*at]));
        }
    }
    for (operation, numbers) in &mount.operations {
        let labels = [export, protocol, address, ("operation", operation)];
        for (at, divisor, desc) in &OPERATION {
            desc.sample(out, &labels, cut(numbers[*at]) / divisor);
        }
    }
}

/// Time that the kernel counted below 0 and wrote as a number near 2^64 is cut as upstream cuts it,
/// to what a floating point number holds exactly.
fn cut(time: u64) -> f64 {
    const EXACT: u64 = 1 << 53;
    (time % EXACT) as f64
}

/// The servers' addresses by mount point: `addr=` among the options of the file system.
fn addresses(mountinfo: &[u8]) -> BTreeMap<&str, &str> {
    let address = |line| {
        let mount_point = words(line).nth(4).and_then(text)?;
        let options = words(line).last().and_then(text)?;
        let address = options.split(',').find_map(|o| o.strip_prefix("addr="));
        Some((mount_point, address?))
    };
    lines(mountinfo).filter_map(address).collect()
}
