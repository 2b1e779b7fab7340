//! NVMe controllers and their namespaces.

use std::path::{Path, PathBuf};

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, OrNoData, Tier, sysfs};

const DEVICES: &str = "class/nvme";

pub(super) const ENTRY: Entry = Entry {
    name: "nvme",
    about: "NVMe controllers and namespaces",
    // `nuse` asks the device.
    tier: Tier::Background,
    devices: Some(DEVICES),
    build: |spec| Ok(Box::new(Nvme::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_nvme_info",
    "Non-numeric data from /sys/class/nvme/<device>, value is always 1.",
);
const NAMESPACE_INFO: Desc = Desc::gauge(
    "node_nvme_namespace_info",
    "Information about NVMe namespaces. Value is always 1",
);
const CAPACITY: Desc = Desc::gauge(
    "node_nvme_namespace_capacity_bytes",
    "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
);
const SIZE: Desc = Desc::gauge(
    "node_nvme_namespace_size_bytes",
    "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
);
const USED: Desc = Desc::gauge(
    "node_nvme_namespace_used_bytes",
    "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
);
const BLOCK_SIZE: Desc = Desc::gauge(
    "node_nvme_namespace_logical_block_size_bytes",
    "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
);

struct Nvme {
    class: PathBuf,
}

impl Nvme {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys(DEVICES),
        }
    }
}

impl Collector for Nvme {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there is no NVMe device";
        for device in sysfs::names(&self.class).or_no_data(ABSENT)? {
            let folder = self.class.join(&device);
            let word = |file| sysfs::read(&folder.join(file)).or_no_data(ABSENT);
            let (firmware, model) = (word("firmware_rev")?, word("model")?);
            let (serial, state, controller) = (word("serial")?, word("state")?, word("cntlid")?);
            let labels = [
                ("device", device.as_str()),
                ("firmware_revision", &firmware),
                ("model", &model),
                ("serial", &serial),
                ("state", &state),
                ("cntlid", &controller),
            ];
            INFO.sample(out, &labels, 1.0);
            for name in sysfs::names(&folder)? {
                if let Some(id) = namespace_id(&name) {
                    let labels = [("device", device.as_str()), ("nsid", id)];
                    collect_namespace(out, &folder.join(&name), labels).or_no_data(ABSENT)?;
                }
            }
        }
        Ok(())
    }
}

fn collect_namespace(
    out: &mut MetricBatch,
    folder: &Path,
    labels @ [device, nsid]: [(&str, &str); 2],
) -> anyhow::Result<()> {
    let number = |file| Ok(sysfs::parse_number(&sysfs::read(&folder.join(file))?).unwrap_or(0.0));
    let used: anyhow::Result<f64> = number("nuse");
    let size: anyhow::Result<f64> = number("size");
    let block: anyhow::Result<f64> = number("queue/logical_block_size");
    let (used, size, block) = (used?, size?, block?);
    let state = sysfs::read(&folder.join("ana_state"));
    let state = state.unwrap_or_else(|_| "unknown".to_owned());
    NAMESPACE_INFO.sample(out, &[device, nsid, ("ana_state", &state)], 1.0);
    CAPACITY.sample(out, &labels, size * block);
    SIZE.sample(out, &labels, size * block);
    USED.sample(out, &labels, used * block);
    BLOCK_SIZE.sample(out, &labels, block);
    Ok(())
}

/// The number of a namespace of its folder: `nvme0n1` is 1.
fn namespace_id(folder: &str) -> Option<&str> {
    let rest = folder.strip_prefix("nvme")?;
    let (controller, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
    let id = rest.strip_prefix('n').filter(|_| !controller.is_empty())?;
    let end = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
    (end > 0).then(|| &id[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_numbered() {
        assert_eq!(namespace_id("nvme0n12"), Some("12"));
        assert_eq!(namespace_id("nvme0c1n2"), None);
        assert_eq!(namespace_id("nvme0"), None);
        assert_eq!(namespace_id("nvmen1"), None);
        assert_eq!(namespace_id("power"), None);
    }
}
