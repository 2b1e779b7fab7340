//! Sensors of the hardware monitors: temperatures, voltages, fans, power.
//!
//! A monitor is a folder of files named `<type><number>_<property>`. What a file becomes is
//! node_exporter's table; here it is [`family`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::scan::decimal;

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::{Collector, Entry, NodeSpec, OrNoData, Tier, sysfs};

const DEVICES: &str = "class/hwmon";

pub(super) const ENTRY: Entry = Entry {
    name: "hwmon",
    about: "sensors of the hardware monitors",
    tier: Tier::Background,
    devices: Some(DEVICES),
    flags: &[CHIP_INCLUDE, CHIP_EXCLUDE, SENSOR_INCLUDE, SENSOR_EXCLUDE],
    build: |spec| Ok(Box::new(Hwmon::new(spec)?)),
    ..Entry::DEFAULT
};

/// Monitors to read.
pub(crate) const CHIP_INCLUDE: Flag = Flag::text(
    "collector.hwmon.chip-include",
    "",
    "Regexp of hwmon chip to include (mutually exclusive to device-exclude).",
);
/// Monitors to leave out.
pub(crate) const CHIP_EXCLUDE: Flag = Flag::text(
    "collector.hwmon.chip-exclude",
    "",
    "Regexp of hwmon chip to exclude (mutually exclusive to device-include).",
);
/// Sensors to read, as `chip;sensor`.
pub(crate) const SENSOR_INCLUDE: Flag = Flag::text(
    "collector.hwmon.sensor-include",
    "",
    "Regexp of hwmon sensor to include (mutually exclusive to sensor-exclude).",
);
/// Sensors to leave out, as `chip;sensor`.
pub(crate) const SENSOR_EXCLUDE: Flag = Flag::text(
    "collector.hwmon.sensor-exclude",
    "",
    "Regexp of hwmon sensor to exclude (mutually exclusive to sensor-include).",
);

const CHIP_NAMES: Desc = Desc::gauge(
    "node_hwmon_chip_names",
    "Annotation metric for human-readable chip names",
);
const SENSOR_LABEL: Desc =
    Desc::gauge("node_hwmon_sensor_label", "Label for given chip and sensor");
const BEEP: Desc = Desc::gauge("node_hwmon_beep_enabled", "Hardware beep enabled");
const REGULATOR: Desc = Desc::gauge(
    "node_hwmon_voltage_regulator_version",
    "Hardware voltage regulator",
);
const INTERVAL: Desc = Desc::gauge(
    "node_hwmon_update_interval_seconds",
    "Hardware monitor update interval",
);
const TYPES: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];
const MILLI: f64 = 0.001;
const MICRO_DIVISOR: f64 = 1_000_000.0;

struct Hwmon {
    class: PathBuf,
    chips: NameFilter,
    sensors: NameFilter,
}

/// A folder of the class, before its name is made unique.
struct Chip {
    folder: PathBuf,
    name: String,
    /// What the file `name` says.
    driver: String,
}

/// The properties of a sensor, by name; the file without one is "".
type Properties = BTreeMap<String, String>;

impl Hwmon {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            class: spec.sys(DEVICES),
            chips: spec.flags.filter(&CHIP_INCLUDE, &CHIP_EXCLUDE)?,
            sensors: spec.flags.filter(&SENSOR_INCLUDE, &SENSOR_EXCLUDE)?,
        })
    }

    fn chip(&self, out: &mut MetricBatch, folder: &Path, chip: &str) -> anyhow::Result<()> {
        let mut sensors = BTreeMap::new();
        read_sensors(folder, &mut sensors)?;
        let device = folder.join("device");
        if device.exists() {
            read_sensors(&device, &mut sensors)?;
        }
        if let Ok(name) = sysfs::read(&folder.join("name")) {
            let name = cleaned(&name);
            if !name.is_empty() {
                CHIP_NAMES.sample(out, &[("chip", chip), ("chip_name", &name)], 1.0);
            }
        }
        for ((kind, number), properties) in &sensors {
            let sensor = format!("{kind}{number}");
            if !self.sensors.is_ignored(&format!("{chip};{sensor}")) {
                collect_sensor(out, kind, properties, [("chip", chip), ("sensor", &sensor)]);
            }
        }
        Ok(())
    }
}

impl Collector for Hwmon {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let folders = sysfs::names(&self.class).or_no_data("there is no hardware monitor")?;
        let folders = folders.iter().map(|name| self.class.join(name));
        let chips: Vec<Chip> = folders.filter_map(chip_of).collect();
        let mut last = Ok(());
        for chip in &chips {
            let name = unique_name(chip, &chips);
            if self.chips.is_ignored(&name) {
                continue;
            }
            if let Err(error) = self.chip(out, &chip.folder, &name) {
                // The other monitors still answer.
                last = Err(error);
            }
        }
        last
    }
}

fn chip_of(folder: PathBuf) -> Option<Chip> {
    if !folder.is_dir() {
        return None;
    }
    let driver = sysfs::read(&folder.join("name")).unwrap_or_default();
    let name = chip_name(&folder, &driver)?;
    Some(Chip {
        folder,
        name,
        driver,
    })
}

/// Bus and device, such as `platform_coretemp_0`; without a device the driver; else the folder.
fn chip_name(folder: &Path, driver: &str) -> Option<String> {
    let part = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).and_then(|n| n.to_str());
        cleaned(name.unwrap_or_default())
    };
    if let Ok(device) = folder.join("device").canonicalize() {
        let (bus, device) = (part(device.parent()), part(Some(&device)));
        match (bus.as_str(), device.as_str()) {
            (_, "") => {}
            ("", _) => return Some(device),
            _ => return Some(format!("{bus}_{device}")),
        }
    }
    let driver = cleaned(driver);
    if !driver.is_empty() {
        return Some(driver);
    }
    let name = part(folder.canonicalize().ok().as_deref());
    (!name.is_empty()).then_some(name)
}

/// Two monitors of one device get the driver's name behind theirs, or the folder's.
fn unique_name(chip: &Chip, all: &[Chip]) -> String {
    let same = || all.iter().filter(|c| c.name == chip.name);
    if same().count() < 2 {
        return chip.name.clone();
    }
    let mut suffix = cleaned(&chip.driver);
    if suffix.is_empty() || same().filter(|c| c.driver == chip.driver).count() > 1 {
        let folder = chip.folder.file_name().and_then(|n| n.to_str());
        suffix = cleaned(folder.unwrap_or_default());
    }
    format!("{}_{suffix}", chip.name)
}

fn read_sensors(
    folder: &Path,
    sensors: &mut BTreeMap<(&'static str, u64), Properties>,
) -> anyhow::Result<()> {
    for file in sysfs::names(folder)? {
        let Some((kind, number, property)) = parts(&file) else {
            continue;
        };
        // Many sensors are there in name only and fail to be read.
        if let Ok(value) = sysfs::read(&folder.join(&file)) {
            let properties = sensors.entry((kind, number)).or_default();
            properties.insert(property.to_owned(), value);
        }
    }
    Ok(())
}

/// Type, number and property of a file name such as `temp1_crit_alarm`; no number is 0.
fn parts(file: &str) -> Option<(&'static str, u64, &str)> {
    let start = file.find(|c: char| c.is_ascii_digit());
    let (kind, rest) = file.split_at(start.unwrap_or(file.len()));
    let kind = TYPES.iter().find(|t| **t == kind)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let (number, property) = rest.split_at(end.unwrap_or(rest.len()));
    let number = if number.is_empty() {
        0
    } else {
        number.parse().ok()?
    };
    let property = match property {
        "" => "",
        _ => property.strip_prefix('_').filter(|p| !p.is_empty())?,
    };
    Some((kind, number, property))
}

fn collect_sensor(
    out: &mut MetricBatch,
    kind: &str,
    properties: &Properties,
    labels @ [chip, sensor]: [(&str, &str); 2],
) {
    let label = properties.get("label");
    if let Some(label) = label {
        SENSOR_LABEL.sample(out, &[chip, sensor, ("label", label)], 1.0);
    }
    let own = properties.get("");
    let own_number = || own.and_then(|v| decimal(v.as_bytes()));
    match kind {
        "beep_enable" => {
            let is_on = own.is_some_and(|v| v == "1");
            return BEEP.sample(out, &labels, f64::from(is_on));
        }
        "vrm" => {
            if let Some(number) = own_number() {
                REGULATOR.sample(out, &labels, number);
            }
            return;
        }
        "update_interval" => {
            if let Some(number) = own_number() {
                INTERVAL.sample(out, &labels, number * MILLI);
            }
            return;
        }
        _ => {}
    }
    for (element, value) in properties {
        let Some(number) = decimal(value.as_bytes()).filter(|_| element != "label") else {
            continue;
        };
        if kind == "freq" && element == "input" {
            // The sensor of a graphics card is known by its label only.
            if let Some(label) = label {
                let help = "Hardware monitor for GPU frequency in MHz";
                let family = out.family("node_hwmon_freq_freq_mhz", MetricKind::Gauge, help);
                let label = cleaned(label);
                out.sample(family, &[chip, ("sensor", &label)], number / MICRO_DIVISOR);
            }
            continue;
        }
        let (suffix, kind_of, help, number) = family(kind, element, number);
        let mut name = format!("node_hwmon_{kind}");
        if element == "input" && own.is_some() {
            name.push_str("_input");
        } else if !element.is_empty() && element != "input" {
            name.push('_');
            name.push_str(&cleaned(element));
        }
        name.push_str(suffix);
        let family = out.family(&name, kind_of, &help);
        out.sample(family, &labels, number);
    }
}

/// What a property becomes: the end of the name, the type, the help and the value in its unit.
fn family(kind: &str, element: &str, value: f64) -> (&'static str, MetricKind, String, f64) {
    let gauge = |suffix, help: String, value| (suffix, MetricKind::Gauge, help, value);
    let monitor = |what: &str| format!("Hardware monitor for {what} ({element})");
    match (kind, element) {
        (_, "fault" | "alarm") => gauge(
            "",
            format!("Hardware sensor {element} status ({kind})"),
            value,
        ),
        (_, "beep") => gauge(
            "_enabled",
            "Hardware monitor sensor has beeping enabled".to_owned(),
            value,
        ),
        ("in" | "cpu", _) => gauge("_volts", monitor("voltage"), value * MILLI),
        ("temp", "") => gauge(
            "_celsius",
            "Hardware monitor for temperature (input)".to_owned(),
            value * MILLI,
        ),
        ("temp", element) if element != "type" => {
            gauge("_celsius", monitor("temperature"), value * MILLI)
        }
        ("curr", _) => gauge("_amps", monitor("current"), value * MILLI),
        ("energy", _) => (
            "_joule_total",
            MetricKind::Counter,
            monitor("joules used so far"),
            value / MICRO_DIVISOR,
        ),
        ("power", "accuracy") => gauge(
            "",
            "Hardware monitor power meter accuracy, as a ratio".to_owned(),
            value / MICRO_DIVISOR,
        ),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => gauge(
            "_seconds",
            format!("Hardware monitor power usage update interval ({element})"),
            value * MILLI,
        ),
        ("power", _) => gauge(
            "_watt",
            monitor("power usage in watts"),
            value / MICRO_DIVISOR,
        ),
        ("humidity", _) => gauge(
            "",
            monitor(
                "humidity, as a ratio (multiply with 100.0 to get the humidity as a percentage)",
            ),
            value / MICRO_DIVISOR,
        ),
        ("fan", "input" | "min" | "max" | "target") => {
            gauge("_rpm", monitor("fan revolutions per minute"), value)
        }
        _ => gauge(
            "",
            format!("Hardware monitor {kind} element {element}"),
            value,
        ),
    }
}

/// Small letters, digits and colons; everything else is an underscore, except at the ends.
fn cleaned(name: &str) -> String {
    let one = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | ':' | '_') => c,
        _ => '_',
    };
    let all: String = name.trim().chars().map(one).collect();
    all.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_taken_apart() {
        assert_eq!(parts("temp1_crit_alarm"), Some(("temp", 1, "crit_alarm")));
        assert_eq!(parts("pwm2"), Some(("pwm", 2, "")));
        assert_eq!(parts("beep_enable"), Some(("beep_enable", 0, "")));
        assert_eq!(parts("in0_"), None);
        assert_eq!(parts("in0x"), None);
        assert_eq!(parts("uevent"), None);
        assert_eq!(parts("name"), None);
    }

    #[test]
    fn chips_of_one_device_are_told_apart() {
        let chip = |folder: &str, driver: &str| Chip {
            folder: folder.into(),
            name: "pci_0000".to_owned(),
            driver: driver.to_owned(),
        };
        let two = [chip("/s/hwmon0", "mlx5"), chip("/s/hwmon1", "mlx6")];
        assert_eq!(unique_name(&two[0], &two), "pci_0000_mlx5");
        let same = [chip("/s/hwmon0", "mlx5"), chip("/s/hwmon1", "mlx5")];
        assert_eq!(unique_name(&same[1], &same), "pci_0000_hwmon1");
        assert_eq!(unique_name(&two[0], &two[..1]), "pci_0000");
        assert_eq!(cleaned("_Core 0-x:y_"), "core_0_x:y");
    }
}
