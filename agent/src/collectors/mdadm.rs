//! Software RAID arrays, from /proc/mdstat and /sys/block/md*.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::mdstat;

use super::desc::Desc;
use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "mdadm",
    about: "disks, state and progress of software RAID arrays",
    build: |spec| Ok(Box::new(Mdadm::new(spec))),
    ..Entry::DEFAULT
};

const STATE: Desc = Desc::gauge("node_md_state", "Indicates the state of md-device.");
const DISKS: Desc = Desc::gauge(
    "node_md_disks",
    "Number of active/failed/spare disks of device.",
);
const DISKS_REQUIRED: Desc =
    Desc::gauge("node_md_disks_required", "Total number of disks of device.");
const BLOCKS: Desc = Desc::gauge("node_md_blocks", "Total number of blocks on device.");
const BLOCKS_SYNCED: Desc = Desc::gauge(
    "node_md_blocks_synced",
    "Number of blocks synced on device.",
);
const RAID_DISKS: Desc = Desc::gauge("node_md_raid_disks", "Number of raid disks on device.");
const DEGRADED: Desc = Desc::gauge("node_md_degraded", "Number of degraded disks on device.");
/// Values of the label `state` and the states that they stand for.
const STATES: [(&str, &str); 5] = [
    ("active", "active"),
    ("inactive", "inactive"),
    ("recovering", "recovering"),
    ("resync", "resyncing"),
    ("check", "checking"),
];
/// Levels that hold other arrays and have no disks of their own.
const CONTAINERS: [&str; 4] = ["", "container", "imsm", "ddf"];
/// Levels that survive the loss of a disk.
const REDUNDANT: [&str; 5] = ["raid1", "raid4", "raid5", "raid6", "raid10"];

struct Mdadm {
    mdstat: KernelFile,
    block: PathBuf,
    buf: Vec<u8>,
}

impl Mdadm {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            mdstat: KernelFile::new(spec.proc("mdstat")),
            block: spec.sys("block"),
            buf: Vec::new(),
        }
    }
}

impl Collector for Mdadm {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let read = self.mdstat.read(&mut self.buf);
        read.or_no_data("the kernel has no software RAID")?;
        let mut n_arrays = 0;
        mdstat::parse(&self.buf, |array| {
            sample(out, &array);
            n_arrays += 1;
        })?;
        // Without arrays there is no need to look through all block devices at every scrape.
        if n_arrays > 0 || self.block.join("md0").exists() {
            let devices = std::fs::read_dir(&self.block)
                .with_context(|| format!("failed to list {}", self.block.display()))?;
            for device in devices.flatten() {
                let name = device.file_name().to_string_lossy().into_owned();
                let folder = device.path().join("md");
                if name.starts_with("md") && folder.is_dir() {
                    of_sysfs(out, &name, &folder)?;
                }
            }
        }
        Ok(())
    }
}

fn sample(out: &mut MetricBatch, array: &mdstat::Array<'_>) {
    let device = ("device", array.name);
    DISKS_REQUIRED.sample(out, &[device], array.disks_total as f64);
    for (state, n) in [
        ("active", array.disks_active),
        ("failed", array.disks_failed),
        ("spare", array.disks_spare),
    ] {
        DISKS.sample(out, &[device, ("state", state)], n as f64);
    }
    for (label, state) in STATES {
        let is_it = f64::from(u8::from(array.state == state));
        STATE.sample(out, &[device, ("state", label)], is_it);
    }
    BLOCKS.sample(out, &[device], array.blocks_total as f64);
    BLOCKS_SYNCED.sample(out, &[device], array.blocks_synced as f64);
}

fn of_sysfs(out: &mut MetricBatch, device: &str, folder: &Path) -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = folder.join(name);
        read_word(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let level = read("level")?;
    if !CONTAINERS.contains(&level.as_str()) {
        // `4 (3)` while the number is being changed.
        let disks = read("raid_disks")?;
        if let Some(n) = disks.split(' ').next().and_then(|n| n.parse().ok()) {
            RAID_DISKS.sample(out, &[("device", device)], n);
        }
    }
    let degraded = match REDUNDANT.contains(&level.as_str()) {
        true => read("degraded")?
            .parse()
            .context("md/degraded is no number")?,
        false => 0.0,
    };
    DEGRADED.sample(out, &[("device", device)], degraded);
    Ok(())
}
