//! Multipath devices of the device mapper: state, size and the paths behind them.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "dmmultipath",
    about: "multipath devices and their paths",
    build: |spec| Ok(Box::new(Dmmultipath::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_dmmultipath_device_info",
    "Non-numeric information about a DM-multipath device.",
);
const ACTIVE: Desc = Desc::gauge(
    "node_dmmultipath_device_active",
    "Whether the multipath device-mapper device is active (1) or suspended (0).",
);
const SIZE: Desc = Desc::gauge(
    "node_dmmultipath_device_size_bytes",
    "Size of the multipath device in bytes, read from /sys/block/<dm>/size.",
);
const PATHS: Desc = Desc::gauge(
    "node_dmmultipath_device_paths",
    "Number of paths for a multipath device.",
);
const PATHS_ACTIVE: Desc = Desc::gauge(
    "node_dmmultipath_device_paths_active",
    "Number of paths in active state (SCSI running or NVMe live) for a multipath device.",
);
const PATHS_FAILED: Desc = Desc::gauge(
    "node_dmmultipath_device_paths_failed",
    "Number of paths not in active state for a multipath device.",
);
const PATH_STATE: Desc = Desc::gauge(
    "node_dmmultipath_path_state",
    "Reports the underlying device state for a multipath path, as read from /sys/block/<dev>/device/state.",
);
const SECTOR_BYTES: f64 = 512.0;

struct Dmmultipath {
    block: PathBuf,
}

impl Dmmultipath {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            block: spec.sys("block"),
        }
    }

    fn device(&self, device: &str, uuid: &str, out: &mut MetricBatch) -> anyhow::Result<()> {
        let folder = self.block.join(device);
        let name = sysfs::read(&folder.join("dm/name"))?;
        let is_suspended = sysfs::number(&folder.join("dm/suspended"))? == 1.0;
        let sectors = sysfs::number(&folder.join("size"))?;
        let labels = [("device", name.as_str()), ("sysfs_name", device)];
        let [by_name, by_device] = labels;
        INFO.sample(out, &[by_name, by_device, ("uuid", uuid)], 1.0);
        ACTIVE.sample(out, &labels, f64::from(!is_suspended));
        SIZE.sample(out, &labels, sectors * SECTOR_BYTES);
        let (mut n_paths, mut n_active) = (0, 0);
        for path in sysfs::names(&folder.join("slaves")).unwrap_or_default() {
            let state = sysfs::read(&self.block.join(&path).join("device/state"))?;
            n_paths += 1;
            n_active += i32::from(state == "running" || state == "live");
            PATH_STATE.sample(out, &[by_name, ("path", &path), ("state", &state)], 1.0);
        }
        PATHS.sample(out, &labels, f64::from(n_paths));
        PATHS_ACTIVE.sample(out, &labels, f64::from(n_active));
        PATHS_FAILED.sample(out, &labels, f64::from(n_paths - n_active));
        Ok(())
    }
}

impl Collector for Dmmultipath {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there are no block devices";
        for device in sysfs::names(&self.block).or_no_data(ABSENT)? {
            if !device.starts_with("dm-") {
                continue;
            }
            let uuid = sysfs::read_optional(&self.block.join(&device).join("dm/uuid"))?;
            if let Some(uuid) = uuid.filter(|uuid| uuid.starts_with("mpath-")) {
                self.device(&device, &uuid, out).or_no_data(ABSENT)?;
            }
        }
        Ok(())
    }
}
