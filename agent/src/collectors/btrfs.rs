//! Mounted btrfs file systems: how they are laid out, how full they are, and what commits cost.
//!
//! Everything is sysfs's. What only the ioctls for root tell (unused bytes per device, and the
//! label with the device's own id) is left out, as node_exporter does where it is not root.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::decimal;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, Tier, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "btrfs",
    about: "btrfs file systems",
    tier: Tier::Background,
    build: |spec| Ok(Box::new(Btrfs::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge("node_btrfs_info", "Filesystem information");
const RESERVE: Desc = Desc::gauge(
    "node_btrfs_global_rsv_size_bytes",
    "Size of global reserve.",
);
/// Lines of commit_stats, and the factor to the unit.
const COMMITS: [(&str, f64, Desc); 4] = [
    (
        "commits",
        1.0,
        Desc::counter(
            "node_btrfs_commits_total",
            "The total number of commits that have occurred.",
        ),
    ),
    (
        "last_commit_ms",
        1000.0,
        Desc::gauge(
            "node_btrfs_last_commit_seconds",
            "Duration of the most recent commit, in seconds.",
        ),
    ),
    (
        "max_commit_ms",
        1000.0,
        Desc::gauge(
            "node_btrfs_max_commit_seconds",
            "Duration of the slowest commit, in seconds.",
        ),
    ),
    (
        "total_commit_ms",
        1000.0,
        Desc::counter(
            "node_btrfs_commit_seconds_total",
            "Sum of the duration of all commits, in seconds.",
        ),
    ),
];
const RESERVED: Desc = Desc::gauge(
    "node_btrfs_reserved_bytes",
    "Amount of space reserved for a data type",
);
const USED: Desc = Desc::gauge(
    "node_btrfs_used_bytes",
    "Amount of used space by a layout/data type",
);
const SIZE: Desc = Desc::gauge(
    "node_btrfs_size_bytes",
    "Amount of space allocated for a layout/data type",
);
const RATIO: Desc = Desc::gauge(
    "node_btrfs_allocation_ratio",
    "Data allocation ratio for a layout/data type",
);
const DEVICE_SIZE: Desc = Desc::gauge(
    "node_btrfs_device_size_bytes",
    "Size of a device that is part of the filesystem.",
);
const SECTOR_BYTES: f64 = 512.0;

struct Btrfs {
    folder: PathBuf,
}

impl Btrfs {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys("fs/btrfs"),
        }
    }
}

impl Collector for Btrfs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        // Without btrfs the collector succeeds and says nothing, as upstream.
        let names = sysfs::names(&self.folder).unwrap_or_default();
        for name in names.iter().filter(|name| name.contains('-')) {
            let folder = self.folder.join(name);
            let uuid = sysfs::read_optional(&folder.join("metadata_uuid"))?;
            let uuid = uuid.filter(|uuid| !uuid.is_empty());
            collect_filesystem(out, &folder, ("uuid", uuid.as_deref().unwrap_or(name)))?;
        }
        Ok(())
    }
}

fn collect_filesystem(
    out: &mut MetricBatch,
    folder: &Path,
    uuid: (&str, &str),
) -> anyhow::Result<()> {
    let label = sysfs::read_optional(&folder.join("label"))?.unwrap_or_default();
    INFO.sample(out, &[uuid, ("label", &label)], 1.0);
    RESERVE.sample(
        out,
        &[uuid],
        bytes(&folder.join("allocation/global_rsv_size"))?,
    );
    let path = folder.join("commit_stats");
    let commits = sysfs::read_optional(&path)?.unwrap_or_default();
    for (key, divisor, desc) in &COMMITS {
        let mut lines = commits.lines().map(str::split_ascii_whitespace);
        let value = lines.find_map(|mut words| {
            let is_line = words.next() == Some(key);
            is_line.then(|| words.next().and_then(|w| decimal(w.as_bytes())))
        });
        let value = value.unwrap_or(Some(0.0));
        let value = value.with_context(|| format!("{}: {key} is no number", path.display()))?;
        desc.sample(out, &[uuid], value / divisor);
    }
    let devices = sysfs::names(&folder.join("devices"))?;
    for kind in ["data", "metadata", "system"] {
        let group = [uuid, ("block_group_type", kind)];
        collect_group(
            out,
            &folder.join("allocation").join(kind),
            group,
            devices.len(),
        )?;
    }
    for device in &devices {
        let sectors = bytes(&folder.join("devices").join(device).join("size"))?;
        DEVICE_SIZE.sample(out, &[uuid, ("device", device)], sectors * SECTOR_BYTES);
    }
    Ok(())
}

/// A kind of block groups: its reserve, and what each layout of it has.
fn collect_group(
    out: &mut MetricBatch,
    folder: &Path,
    group @ [uuid, kind]: [(&str, &str); 2],
    n_devices: usize,
) -> anyhow::Result<()> {
    RESERVED.sample(out, &group, bytes(&folder.join("bytes_reserved"))?);
    for layout in sysfs::names(folder)? {
        let path = folder.join(&layout);
        if !path.is_dir() {
            continue;
        }
        let labels = [uuid, kind, ("mode", layout.as_str())];
        USED.sample(out, &labels, bytes(&path.join("used_bytes"))?);
        SIZE.sample(out, &labels, bytes(&path.join("total_bytes"))?);
        RATIO.sample(out, &labels, ratio(&layout, n_devices as f64));
    }
    Ok(())
}

/// How many bytes on devices a byte of this layout takes; 0 when unknown.
fn ratio(layout: &str, n_devices: f64) -> f64 {
    match layout {
        "single" | "raid0" => 1.0,
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => n_devices / (n_devices - 1.0),
        "raid6" => n_devices / (n_devices - 2.0),
        _ => 0.0,
    }
}

/// A count of the file system; 0 when the kernel does not give it.
fn bytes(path: &Path) -> anyhow::Result<f64> {
    Ok(sysfs::number_optional(path)?.unwrap_or(0.0))
}
