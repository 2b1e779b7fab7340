//! Batteries and other power supplies: what their drivers tell, in base units.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::MetricBatch;
use regex::bytes::Regex;

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, OrNoData, Tier, sysfs};

const DEVICES: &str = "class/power_supply";

pub(super) const ENTRY: Entry = Entry {
    name: "powersupplyclass",
    about: "batteries and other power supplies",
    tier: Tier::Background,
    devices: Some(DEVICES),
    flags: &[IGNORED],
    build: |spec| Ok(Box::new(PowerSupplyClass::new(spec)?)),
    ..Entry::DEFAULT
};

const IGNORED: Flag = Flag::text(
    "collector.powersupply.ignored-supplies",
    "^$",
    "Regexp of power supplies to ignore for powersupplyclass collector.",
);
const INFO: Desc = Desc::gauge(
    "node_power_supply_info",
    "info of /sys/class/power_supply/<power_supply>.",
);
/// Files that become labels of the same name, when they say something.
const LABELS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
    "scope",
];

/// A file, the divisor to the unit, and the family.
struct Number {
    file: &'static str,
    divisor: f64,
    desc: Desc,
}

const fn number(
    file: &'static str,
    divisor: f64,
    name: &'static str,
    help: &'static str,
) -> Number {
    let desc = Desc::gauge(name, help);
    Number {
        file,
        divisor,
        desc,
    }
}

const NUMBERS: [Number; 49] = [
    number(
        "authentic",
        1.0,
        "node_power_supply_authentic",
        "authentic value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "calibrate",
        1.0,
        "node_power_supply_calibrate",
        "calibrate value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "capacity",
        1.0,
        "node_power_supply_capacity",
        "capacity value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "capacity_alert_max",
        1.0,
        "node_power_supply_capacity_alert_max",
        "capacity_alert_max value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "capacity_alert_min",
        1.0,
        "node_power_supply_capacity_alert_min",
        "capacity_alert_min value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_now",
        1e6,
        "node_power_supply_charge_ampere",
        "charge_ampere value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_control_limit",
        1e6,
        "node_power_supply_charge_control_limit",
        "charge_control_limit value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_control_limit_max",
        1e6,
        "node_power_supply_charge_control_limit_max",
        "charge_control_limit_max value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_counter",
        1e6,
        "node_power_supply_charge_counter",
        "charge_counter value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_empty",
        1e6,
        "node_power_supply_charge_empty",
        "charge_empty value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_empty_design",
        1e6,
        "node_power_supply_charge_empty_design",
        "charge_empty_design value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_full",
        1e6,
        "node_power_supply_charge_full",
        "charge_full value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_full_design",
        1e6,
        "node_power_supply_charge_full_design",
        "charge_full_design value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "charge_term_current",
        1e6,
        "node_power_supply_charge_term_current",
        "charge_term_current value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "constant_charge_current",
        1e6,
        "node_power_supply_constant_charge_current",
        "constant_charge_current value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "constant_charge_current_max",
        1e6,
        "node_power_supply_constant_charge_current_max",
        "constant_charge_current_max value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "constant_charge_voltage",
        1e6,
        "node_power_supply_constant_charge_voltage",
        "constant_charge_voltage value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "constant_charge_voltage_max",
        1e6,
        "node_power_supply_constant_charge_voltage_max",
        "constant_charge_voltage_max value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "current_now",
        1e6,
        "node_power_supply_current_ampere",
        "current_ampere value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "current_boot",
        1e6,
        "node_power_supply_current_boot",
        "current_boot value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "current_max",
        1e6,
        "node_power_supply_current_max",
        "current_max value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "cycle_count",
        1.0,
        "node_power_supply_cyclecount",
        "cyclecount value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "energy_empty",
        1e6,
        "node_power_supply_energy_empty",
        "energy_empty value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "energy_empty_design",
        1e6,
        "node_power_supply_energy_empty_design",
        "energy_empty_design value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "energy_full",
        1e6,
        "node_power_supply_energy_full",
        "energy_full value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "energy_full_design",
        1e6,
        "node_power_supply_energy_full_design",
        "energy_full_design value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "energy_now",
        1e6,
        "node_power_supply_energy_watthour",
        "energy_watthour value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "input_current_limit",
        1e6,
        "node_power_supply_input_current_limit",
        "input_current_limit value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "online",
        1.0,
        "node_power_supply_online",
        "online value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "power_now",
        1e6,
        "node_power_supply_power_watt",
        "power_watt value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "precharge_current",
        1e6,
        "node_power_supply_precharge_current",
        "precharge_current value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "present",
        1.0,
        "node_power_supply_present",
        "present value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_alert_max",
        10.0,
        "node_power_supply_temp_alert_max_celsius",
        "temp_alert_max_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_alert_min",
        10.0,
        "node_power_supply_temp_alert_min_celsius",
        "temp_alert_min_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_ambient",
        10.0,
        "node_power_supply_temp_ambient_celsius",
        "temp_ambient_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_ambient_max",
        10.0,
        "node_power_supply_temp_ambient_max_celsius",
        "temp_ambient_max_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_ambient_min",
        10.0,
        "node_power_supply_temp_ambient_min_celsius",
        "temp_ambient_min_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp",
        10.0,
        "node_power_supply_temp_celsius",
        "temp_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_max",
        10.0,
        "node_power_supply_temp_max_celsius",
        "temp_max_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "temp_min",
        10.0,
        "node_power_supply_temp_min_celsius",
        "temp_min_celsius value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "time_to_empty_now",
        1.0,
        "node_power_supply_time_to_empty_seconds",
        "time_to_empty_seconds value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "time_to_full_now",
        1.0,
        "node_power_supply_time_to_full_seconds",
        "time_to_full_seconds value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_boot",
        1e6,
        "node_power_supply_voltage_boot",
        "voltage_boot value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_max",
        1e6,
        "node_power_supply_voltage_max",
        "voltage_max value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_max_design",
        1e6,
        "node_power_supply_voltage_max_design",
        "voltage_max_design value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_min",
        1e6,
        "node_power_supply_voltage_min",
        "voltage_min value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_min_design",
        1e6,
        "node_power_supply_voltage_min_design",
        "voltage_min_design value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_ocv",
        1e6,
        "node_power_supply_voltage_ocv",
        "voltage_ocv value of /sys/class/power_supply/<power_supply>.",
    ),
    number(
        "voltage_now",
        1e6,
        "node_power_supply_voltage_volt",
        "voltage_volt value of /sys/class/power_supply/<power_supply>.",
    ),
];

struct PowerSupplyClass {
    class: PathBuf,
    ignored: Option<Regex>,
}

impl PowerSupplyClass {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            class: spec.sys(DEVICES),
            ignored: spec.flags.pattern(&IGNORED)?,
        })
    }
}

impl Collector for PowerSupplyClass {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let supplies = sysfs::names(&self.class).or_no_data("there is no power supply class")?;
        for supply in &supplies {
            let is_ignored = |regex: &Regex| regex.is_match(supply.as_bytes());
            if self.ignored.as_ref().is_some_and(is_ignored) {
                continue;
            }
            let folder = self.class.join(supply);
            let labels = [("power_supply", supply.as_str())];
            let mut values = Vec::new();
            for file in sysfs::names(&folder)? {
                // One list of the folder is cheaper than asking for all that it does not have.
                if let Some(number) = NUMBERS.iter().find(|n| n.file == file) {
                    let Some(text) = sysfs::read_optional(&folder.join(&file))? else {
                        continue;
                    };
                    let value = sysfs::parse_number(&text);
                    let value = value.with_context(|| format!("{supply}: {file} is '{text}'"))?;
                    number.desc.sample(out, &labels, value / number.divisor);
                } else if let Some(label) = LABELS.iter().find(|l| **l == file) {
                    let text = sysfs::read_optional(&folder.join(&file))?;
                    values.extend(text.filter(|t| !t.is_empty()).map(|t| (*label, t)));
                }
            }
            let mut labels = labels.to_vec();
            labels.extend(values.iter().map(|(label, text)| (*label, text.as_str())));
            INFO.sample(out, &labels, 1.0);
        }
        Ok(())
    }
}
