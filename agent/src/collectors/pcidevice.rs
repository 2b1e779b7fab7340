//! PCI devices: what they are, their links, power states and virtual functions.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::flags::Flag;
use super::pci_ids::PciIds;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "pcidevice",
    about: "PCI devices",
    is_default: false,
    flags: &[IDS_FILE, NAMES],
    build: |spec| Ok(Box::new(PciDevice::new(spec))),
    ..Entry::DEFAULT
};

const IDS_FILE: Flag = Flag::text(
    "collector.pcidevice.idsfile",
    "",
    "Path to pci.ids file to use for PCI device identification.",
);
const NAMES: Flag = Flag::switch(
    "collector.pcidevice.names",
    false,
    "Enable PCI device name resolution (requires pci.ids file).",
);

const INFO: Desc = Desc::gauge(
    "node_pcidevice_info",
    "Non-numeric data from /sys/bus/pci/devices/<location>, value is always 1.",
);
const POWER_STATE: Desc = Desc::gauge(
    "node_pcidevice_power_state",
    "PCIe device power state, one of: D0, D1, D2, D3hot, D3cold, unknown or error.",
);
const NUMA_NODE: Desc = Desc::gauge(
    "node_pcidevice_numa_node",
    "NUMA node number for the PCI device. -1 indicates unknown or not available.",
);
/// Files with the speed of a link, such as `8.0 GT/s PCIe`.
const SPEEDS: [(&str, Desc); 2] = [
    (
        "max_link_speed",
        Desc::gauge(
            "node_pcidevice_max_link_transfers_per_second",
            "Value of maximum link's transfers per second (T/s)",
        ),
    ),
    (
        "current_link_speed",
        Desc::gauge(
            "node_pcidevice_current_link_transfers_per_second",
            "Value of current link's transfers per second (T/s)",
        ),
    ),
];
/// Files with a number, and what stands for a device that has none.
const NUMBERS: [(&str, f64, Desc); 7] = [
    (
        "max_link_width",
        -1.0,
        Desc::gauge(
            "node_pcidevice_max_link_width",
            "Value of maximum link's width (number of lanes)",
        ),
    ),
    (
        "current_link_width",
        -1.0,
        Desc::gauge(
            "node_pcidevice_current_link_width",
            "Value of current link's width (number of lanes)",
        ),
    ),
    (
        "d3cold_allowed",
        0.0,
        Desc::gauge(
            "node_pcidevice_d3cold_allowed",
            "Whether the PCIe device supports D3cold power state (0/1).",
        ),
    ),
    (
        "sriov_drivers_autoprobe",
        0.0,
        Desc::gauge(
            "node_pcidevice_sriov_drivers_autoprobe",
            "Whether SR-IOV drivers autoprobe is enabled for the device (0/1).",
        ),
    ),
    (
        "sriov_numvfs",
        0.0,
        Desc::gauge(
            "node_pcidevice_sriov_numvfs",
            "Number of Virtual Functions (VFs) currently enabled for SR-IOV.",
        ),
    ),
    (
        "sriov_totalvfs",
        0.0,
        Desc::gauge(
            "node_pcidevice_sriov_totalvfs",
            "Total number of Virtual Functions (VFs) supported by the device.",
        ),
    ),
    (
        "sriov_vf_total_msix",
        0.0,
        Desc::gauge(
            "node_pcidevice_sriov_vf_total_msix",
            "Total number of MSI-X vectors for Virtual Functions.",
        ),
    ),
];
/// Identifying files, their labels and how many hexadecimal digits those have.
const IDS: [(&str, &str, usize); 6] = [
    ("class", "class_id", 6),
    ("vendor", "vendor_id", 4),
    ("device", "device_id", 4),
    ("subsystem_vendor", "subsystem_vendor_id", 4),
    ("subsystem_device", "subsystem_device_id", 4),
    ("revision", "revision", 2),
];
const POWER_STATES: [&str; 7] = ["D0", "D1", "D2", "D3hot", "D3cold", "unknown", "error"];
const GIGA: f64 = 1e9;

struct PciDevice {
    devices: PathBuf,
    /// When names were asked for.
    ids: Option<PciIds>,
}

/// Segment, bus, device and function as labels show them.
type Location = [String; 4];

impl PciDevice {
    fn new(spec: &NodeSpec) -> Self {
        let has_names = spec.flags.is_on(&NAMES);
        Self {
            devices: spec.sys("bus/pci/devices"),
            ids: has_names.then(|| PciIds::load(spec.flags.text(&IDS_FILE))),
        }
    }

    fn device(&self, out: &mut MetricBatch, name: &str) -> anyhow::Result<()> {
        let folder = self.devices.join(name);
        let target = std::fs::read_link(&folder)
            .with_context(|| format!("failed to read the link {}", folder.display()))?;
        let part = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name).and_then(|n| n.to_str());
            name.unwrap_or_default().to_owned()
        };
        let (own, parent) = (part(Some(&target)), part(target.parent()));
        let not_a_location = || format!("'{}' is no PCI location", target.display());
        let location = location(&own).with_context(not_a_location)?;
        let parent = match parent.starts_with("pci") {
            true => ["*"; 4].map(str::to_owned),
            false => self::location(&parent).with_context(not_a_location)?,
        };
        let labels = labels(["segment", "bus", "device", "function"], &location);
        self.info(out, &folder, &labels, &parent)?;

        for (file, desc) in &SPEEDS {
            let speed = known(&folder.join(file))?;
            let speed = match speed.as_deref().map(|s| s.split_once(' ')) {
                None => -1.0,
                Some(Some((number, "GT/s PCIe"))) => sysfs::parse_number(number)
                    .map(|n| n * GIGA)
                    .with_context(|| format!("{name}: {file} is no speed"))?,
                Some(_) => anyhow::bail!("{name}: {file} is no speed"),
            };
            desc.sample(out, &labels, speed);
        }
        for (file, absent, desc) in &NUMBERS {
            let number = match known(&folder.join(file))? {
                Some(text) => sysfs::parse_number(&text)
                    .with_context(|| format!("{name}: {file} is '{text}'"))?,
                None => *absent,
            };
            // Switches are 1 when they are not 0.
            let is_switch = matches!(*file, "d3cold_allowed" | "sriov_drivers_autoprobe");
            let number = if is_switch {
                f64::from(number != 0.0)
            } else {
                number
            };
            desc.sample(out, &labels, number);
        }
        if let Some(state) = known_or_unknown(&folder.join("power_state"))? {
            for one in POWER_STATES {
                let [segment, bus, device, function] = labels;
                let labels = [segment, bus, device, function, ("state", one)];
                POWER_STATE.sample(out, &labels, f64::from(one == state));
            }
        }
        let node = known(&folder.join("numa_node"))?.and_then(|n| sysfs::parse_number(&n));
        if let Some(node) = node.filter(|node| *node != -1.0) {
            NUMA_NODE.sample(out, &labels, node);
        }
        Ok(())
    }

    fn info(
        &self,
        out: &mut MetricBatch,
        folder: &Path,
        location: &[(&'static str, &str); 4],
        parent: &Location,
    ) -> anyhow::Result<()> {
        let mut ids = [const { String::new() }; IDS.len()];
        for (id, (file, _, digits)) in ids.iter_mut().zip(IDS) {
            let number = sysfs::number(&folder.join(file))?;
            // Two more for `0x`.
            *id = format!("{:#0width$x}", number as u64, width = digits + 2);
        }
        let parents = [
            "parent_segment",
            "parent_bus",
            "parent_device",
            "parent_function",
        ];
        let mut all = location.to_vec();
        all.extend(labels(parents, parent));
        all.extend(
            IDS.iter()
                .zip(&ids)
                .map(|((_, label, _), id)| (*label, id.as_str())),
        );
        let names;
        if let Some(known) = &self.ids {
            let digits = ids.each_ref().map(|id| id.trim_start_matches("0x"));
            let [class, vendor, device, subsystem_vendor, subsystem_device, _] = digits;
            let subsystem = [vendor, device, subsystem_vendor, subsystem_device];
            names = [
                ("vendor_name", known.vendor(vendor).to_owned()),
                ("device_name", known.device(vendor, device).to_owned()),
                (
                    "subsystem_vendor_name",
                    known.vendor(subsystem_vendor).to_owned(),
                ),
                (
                    "subsystem_device_name",
                    known.subsystem(subsystem).to_owned(),
                ),
                ("class_name", known.class(class)),
            ];
            all.extend(names.iter().map(|(label, name)| (*label, name.as_str())));
        }
        INFO.sample(out, &all, 1.0);
        Ok(())
    }
}

impl Collector for PciDevice {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there is no PCI bus";
        for name in sysfs::names(&self.devices).or_no_data(ABSENT)? {
            self.device(out, &name).or_no_data(ABSENT)?;
        }
        Ok(())
    }
}

fn labels<'a>(names: [&'static str; 4], location: &'a Location) -> [(&'static str, &'a str); 4] {
    std::array::from_fn(|at| (names[at], location[at].as_str()))
}

/// Of `0000:00:02.1`.
fn location(name: &str) -> Option<Location> {
    let (segment, rest) = name.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    Some([
        format!("{:04x}", hex(segment)?),
        format!("{:02x}", hex(bus)?),
        format!("{:02x}", hex(device)?),
        format!("{:x}", hex(function)?),
    ])
}

/// What a file says, unless it is empty or not there.
fn known_or_unknown(path: &Path) -> anyhow::Result<Option<String>> {
    let text = sysfs::read_optional(path)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// What a file says, unless that is nothing or `Unknown`.
fn known(path: &Path) -> anyhow::Result<Option<String>> {
    let text = known_or_unknown(path)?;
    Ok(text.filter(|text| !text.starts_with("Unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_have_four_parts() {
        let expected = ["0000", "3b", "02", "1"].map(str::to_owned);
        assert_eq!(location("0000:3b:02.1"), Some(expected));
        assert_eq!(location("0000:3b:02"), None);
        assert_eq!(location("x:3b:02.1"), None);
    }
}
