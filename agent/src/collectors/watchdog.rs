//! Hardware watchdogs: their timers and their state.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "watchdog",
    about: "hardware watchdogs",
    build: |spec| Ok(Box::new(Watchdog::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_watchdog_info",
    "Info of /sys/class/watchdog/<watchdog>",
);
const LABELS: [&str; 5] = [
    "options",
    "identity",
    "state",
    "status",
    "pretimeout_governor",
];
const NUMBERS: [(&str, Desc); 7] = [
    (
        "bootstatus",
        Desc::gauge(
            "node_watchdog_bootstatus",
            "Value of /sys/class/watchdog/<watchdog>/bootstatus",
        ),
    ),
    (
        "fw_version",
        Desc::gauge(
            "node_watchdog_fw_version",
            "Value of /sys/class/watchdog/<watchdog>/fw_version",
        ),
    ),
    (
        "nowayout",
        Desc::gauge(
            "node_watchdog_nowayout",
            "Value of /sys/class/watchdog/<watchdog>/nowayout",
        ),
    ),
    (
        "timeleft",
        Desc::gauge(
            "node_watchdog_timeleft_seconds",
            "Value of /sys/class/watchdog/<watchdog>/timeleft",
        ),
    ),
    (
        "timeout",
        Desc::gauge(
            "node_watchdog_timeout_seconds",
            "Value of /sys/class/watchdog/<watchdog>/timeout",
        ),
    ),
    (
        "pretimeout",
        Desc::gauge(
            "node_watchdog_pretimeout_seconds",
            "Value of /sys/class/watchdog/<watchdog>/pretimeout",
        ),
    ),
    (
        "access_cs0",
        Desc::gauge(
            "node_watchdog_access_cs0",
            "Value of /sys/class/watchdog/<watchdog>/access_cs0",
        ),
    ),
];

struct Watchdog {
    class: PathBuf,
}

impl Watchdog {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys("class/watchdog"),
        }
    }
}

impl Collector for Watchdog {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for name in sysfs::names(&self.class).or_no_data("there is no watchdog class")? {
            let folder = self.class.join(&name);
            for (file, desc) in &NUMBERS {
                if let Some(value) = sysfs::number_optional(&folder.join(file))? {
                    desc.sample(out, &[("name", &name)], value);
                }
            }
            let mut values = [const { String::new() }; LABELS.len()];
            for (value, file) in values.iter_mut().zip(LABELS) {
                *value = sysfs::read_optional(&folder.join(file))?.unwrap_or_default();
            }
            let mut labels = vec![("name", name.as_str())];
            labels.extend(
                LABELS
                    .iter()
                    .copied()
                    .zip(values.iter().map(String::as_str)),
            );
            INFO.sample(out, &labels, 1.0);
        }
        Ok(())
    }
}
