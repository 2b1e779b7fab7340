//! What the firmware says of the machine, read once: it changes with a reboot only.

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NoData, NodeSpec, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "dmi",
    about: "names and versions of the machine and its firmware",
    build: |spec| Ok(Box::new(Dmi::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_dmi_info",
    "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, bios_version, board_asset_tag, board_name, board_serial, board_vendor, board_version, chassis_asset_tag, chassis_serial, chassis_vendor, chassis_version, product_family, product_name, product_serial, product_sku, product_uuid, product_version, system_vendor if provided by DMI.",
);
/// The files that become labels of their names.
const LABELS: [&str; 19] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
];

struct Dmi {
    labels: Vec<(&'static str, String)>,
}

impl Dmi {
    fn new(spec: &NodeSpec) -> Self {
        let folder = spec.sys("class/dmi/id");
        let named = LABELS.iter().map(|name| (*name, *name));
        let all = named.chain([("system_vendor", "sys_vendor")]);
        // Serial numbers are for root only; without them the rest is still told.
        let read = |(label, file)| Some((label, sysfs::read(&folder.join(file)).ok()?));
        Self {
            labels: all.filter_map(read).collect(),
        }
    }
}

impl Collector for Dmi {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        if self.labels.is_empty() {
            return Err(NoData("the firmware has no DMI information").into());
        }
        let labels: Vec<(&str, &str)> = self.labels.iter().map(|(l, v)| (*l, &**v)).collect();
        INFO.sample(out, &labels, 1.0);
        Ok(())
    }
}
