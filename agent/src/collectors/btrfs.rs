//! Mounted btrfs file systems: how they are laid out, how full they are, and what commits cost.
//!
//! Most of it is sysfs's. As root the ioctls tell more of the devices (bytes that no chunk uses, errors,
//! the device's own id); as another user, devices have their size only, as in node_exporter.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::mountinfo::{mounts, unescape};
use kansoku_parsers::kernel::scan::decimal;

use super::btrfs_ioctl::{Device, N_ERRORS, devices};
use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, Tier, sysfs};

const DEVICES: &str = "fs/btrfs";

pub(super) const ENTRY: Entry = Entry {
    name: "btrfs",
    about: "btrfs file systems",
    tier: Tier::Background,
    devices: Some(DEVICES),
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
const DEVICE_UNUSED: Desc = Desc::gauge(
    "node_btrfs_device_unused_bytes",
    "Unused bytes unused on a device that is part of the filesystem.",
);
const DEVICE_ERRORS: Desc = Desc::counter(
    "node_btrfs_device_errors_total",
    "Errors reported for the device",
);
/// In the order of the kernel.
const ERRORS: [&str; N_ERRORS] = ["write", "read", "flush", "corruption", "generation"];
const SECTOR_BYTES: f64 = 512.0;

struct Btrfs {
    folder: PathBuf,
    rootfs: PathBuf,
    /// Of process 1, and of ourselves where that is hidden.
    mounts: [KernelFile; 2],
    buf: Vec<u8>,
}

impl Btrfs {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys(DEVICES),
            rootfs: spec.rootfs.clone(),
            mounts: ["1/mountinfo", "self/mountinfo"].map(|file| KernelFile::new(spec.proc(file))),
            buf: Vec::new(),
        }
    }

    /// Devices of the mounted file systems by id, of those that tell.
    fn devices(&mut self) -> BTreeMap<String, Vec<Device>> {
        let mut found = BTreeMap::new();
        let buf = &mut self.buf;
        if !self.mounts.iter_mut().any(|file| file.read_if_there(buf)) {
            return found;
        }
        let mut seen = BTreeSet::new();
        for mount in mounts(buf).flatten().filter(|m| m.fs_type == b"btrfs") {
            if seen.contains(mount.source) {
                continue;
            }
            let path = unescape(mount.mount_point);
            let below = path.strip_prefix(b"/").unwrap_or(&path);
            let place = self.rootfs.join(std::ffi::OsStr::from_bytes(below));
            // Another mount of the same file system may tell; none does where we are not root.
            if let Ok((id, devices)) = devices(&place) {
                seen.insert(mount.source);
                found.insert(id, devices);
            }
        }
        found
    }
}

impl Collector for Btrfs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        // Without btrfs the collector succeeds and says nothing, as upstream.
        let mut names = sysfs::names(&self.folder).unwrap_or_default();
        names.retain(|name| name.contains('-'));
        let devices = match names.is_empty() {
            true => BTreeMap::new(),
            false => self.devices(),
        };
        for name in &names {
            let folder = self.folder.join(name);
            let uuid = sysfs::read_optional(&folder.join("metadata_uuid"))?;
            let uuid = uuid.filter(|uuid| !uuid.is_empty());
            let uuid = uuid.as_deref().unwrap_or(name);
            let devices = devices.get(&uuid.replace('-', ""));
            collect_filesystem(out, &folder, ("uuid", uuid), devices.map(Vec::as_slice))?;
        }
        Ok(())
    }
}

fn collect_filesystem(
    out: &mut MetricBatch,
    folder: &Path,
    uuid: (&str, &str),
    told: Option<&[Device]>,
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
    if let Some(devices) = told {
        collect_devices(out, uuid, devices);
        return Ok(());
    }
    for device in &devices {
        let sectors = bytes(&folder.join("devices").join(device).join("size"))?;
        DEVICE_SIZE.sample(out, &[uuid, ("device", device)], sectors * SECTOR_BYTES);
    }
    Ok(())
}

/// What the ioctls tell.
fn collect_devices(out: &mut MetricBatch, uuid: (&str, &str), devices: &[Device]) {
    for device in devices {
        let labels = [
            uuid,
            ("device", device.name.as_str()),
            ("btrfs_dev_uuid", &device.uuid),
        ];
        let unused = device.size_bytes.saturating_sub(device.used_bytes);
        DEVICE_SIZE.sample(out, &labels, device.size_bytes as f64);
        DEVICE_UNUSED.sample(out, &labels, unused as f64);
        for (kind, n) in ERRORS.iter().zip(device.errors) {
            let [uuid, name, id] = labels;
            DEVICE_ERRORS.sample(out, &[("type", *kind), uuid, name, id], n as f64);
        }
    }
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
