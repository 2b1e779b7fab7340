//! Temperatures of thermal zones, and how far cooling devices are turned up.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, Tier, sysfs};

const DEVICES: &str = "class/thermal";

pub(super) const ENTRY: Entry = Entry {
    name: "thermal_zone",
    about: "thermal zones and cooling devices",
    // A temperature may be an ACPI method that takes its time.
    tier: Tier::Background,
    devices: Some(DEVICES),
    build: |spec| Ok(Box::new(ThermalZone::new(spec))),
    ..Entry::DEFAULT
};

const TEMPERATURE: Desc = Desc::gauge("node_thermal_zone_temp", "Zone temperature in Celsius");
const CURRENT: Desc = Desc::gauge(
    "node_cooling_device_cur_state",
    "Current throttle state of the cooling device",
);
const MAXIMUM: Desc = Desc::gauge(
    "node_cooling_device_max_state",
    "Maximum throttle state of the cooling device",
);

struct ThermalZone {
    class: PathBuf,
}

impl ThermalZone {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys(DEVICES),
        }
    }
}

impl Collector for ThermalZone {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for zone in sysfs::numbered(&self.class, "thermal_zone") {
            let folder = self.class.join(&zone);
            let number = sysfs::number_of(&zone, "thermal_zone").unwrap_or_default();
            let kind = sysfs::read_optional(&folder.join("type"))?.unwrap_or_default();
            // A zone that cannot be read now, such as a radio that is off, is 0 as upstream.
            let millidegrees = sysfs::number(&folder.join("temp")).unwrap_or(0.0);
            let labels = [("zone", number), ("type", &kind)];
            TEMPERATURE.sample(out, &labels, millidegrees / 1000.0);
        }
        for device in sysfs::numbered(&self.class, "cooling_device") {
            let folder = self.class.join(&device);
            let number = sysfs::number_of(&device, "cooling_device").unwrap_or_default();
            let kind = sysfs::read_optional(&folder.join("type"))?;
            let maximum = sysfs::number_optional(&folder.join("max_state"))?;
            let current = sysfs::number_optional(&folder.join("cur_state"))?;
            if let (Some(kind), Some(maximum), Some(current)) = (kind, maximum, current) {
                let labels = [("name", number), ("type", &kind)];
                CURRENT.sample(out, &labels, current);
                MAXIMUM.sample(out, &labels, maximum);
            }
        }
        Ok(())
    }
}
