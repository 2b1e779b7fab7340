//! What network drivers count under names of their own, and what their ports can do.
//!
//! Hundreds of series per card: `metrics-include` is there for that.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use regex::Regex;

use super::desc::Desc;
use super::ethtool_ioctl::{Ethtool as Ioctl, Settings};
use super::fields::Named;
use super::flags::{Flag, NameFilter};
use super::metric_name::sanitized;
use super::{Collector, Entry, NodeSpec, OrNoData, Tier, netlink, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "ethtool",
    about: "statistics of network drivers",
    is_default: false,
    // Some drivers ask the card.
    tier: Tier::Background,
    flags: &[INCLUDE, EXCLUDE, METRICS],
    build: |spec| Ok(Box::new(Ethtool::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.ethtool.device-include",
    "",
    "Regexp of ethtool devices to include (mutually exclusive to device-exclude).",
);
const EXCLUDE: Flag = Flag::text(
    "collector.ethtool.device-exclude",
    "",
    "Regexp of ethtool devices to exclude (mutually exclusive to device-include).",
);
const METRICS: Flag = Flag::text(
    "collector.ethtool.metrics-include",
    ".*",
    "Regexp of ethtool stats to include.",
);

const INFO: Desc = Desc::gauge(
    "node_ethtool_info",
    "A metric with a constant '1' value labeled by bus_info, device, driver, expansion_rom_version, firmware_version, version.",
);
const SUPPORTED_PORT: Desc = Desc::gauge(
    "node_network_supported_port_info",
    "Type of ports or PHYs supported by network device",
);
const AUTONEGOTIATE: Desc = Desc::gauge(
    "node_network_autonegotiate",
    "If this port is using autonegotiate",
);
/// Families of what a port supports, and of what it advertises.
const SPEEDS: [Desc; 2] = [
    Desc::gauge(
        "node_network_supported_speed_bytes",
        "Combination of speeds and features supported by network device",
    ),
    Desc::gauge(
        "node_network_advertised_speed_bytes",
        "Combination of speeds and features offered by network device",
    ),
];
/// The same of single abilities: the bit, and both families.
const ABILITIES: [(u32, [Desc; 2]); 3] = [
    (
        6,
        [
            Desc::gauge(
                "node_network_autonegotiate_supported",
                "If this port device supports autonegotiate",
            ),
            Desc::gauge(
                "node_network_autonegotiate_advertised",
                "If this port device offers autonegotiate",
            ),
        ],
    ),
    (
        13,
        [
            Desc::gauge(
                "node_network_pause_supported",
                "If this port device supports pause frames",
            ),
            Desc::gauge(
                "node_network_pause_advertised",
                "If this port device offers pause capability",
            ),
        ],
    ),
    (
        14,
        [
            Desc::gauge(
                "node_network_asymmetricpause_supported",
                "If this port device supports asymmetric pause frames",
            ),
            Desc::gauge(
                "node_network_asymmetricpause_advertised",
                "If this port device offers asymmetric pause capability",
            ),
        ],
    ),
];
const PORTS: [(u32, &str); 6] = [
    (7, "TP"),
    (8, "AUI"),
    (9, "MII"),
    (10, "FIBRE"),
    (11, "BNC"),
    (16, "Backplane"),
];
/// Bits of link modes, their megabits, duplex and medium. The ioctl has the first 32 only.
const MODES: [(u32, u32, &str, &str); 22] = [
    (0, 10, "half", "T"),
    (1, 10, "full", "T"),
    (2, 100, "half", "T"),
    (3, 100, "full", "T"),
    (4, 1000, "half", "T"),
    (5, 1000, "full", "T"),
    (12, 10000, "full", "T"),
    (17, 1000, "full", "KX"),
    (18, 10000, "full", "KX4"),
    (19, 10000, "full", "KR"),
    (20, 10000, "full", "R_FEC"),
    (21, 20000, "full", "MLD2"),
    (22, 20000, "full", "KR2"),
    (23, 40000, "full", "KR4"),
    (24, 40000, "full", "CR4"),
    (25, 40000, "full", "SR4"),
    (26, 40000, "full", "LR4"),
    (27, 56000, "full", "KR4"),
    (28, 56000, "full", "CR4"),
    (29, 56000, "full", "SR4"),
    (30, 56000, "full", "LR4"),
    (31, 25000, "full", "CR"),
];
const BYTES_PER_MEGABIT: f64 = 125_000.0;
/// Statistics that have names and help of their own.
const KNOWN: [(&str, &str, &str); 7] = [
    (
        "rx_bytes",
        "node_ethtool_received_bytes_total",
        "Network interface bytes received",
    ),
    (
        "rx_dropped",
        "node_ethtool_received_dropped_total",
        "Number of received frames dropped",
    ),
    (
        "rx_errors",
        "node_ethtool_received_errors_total",
        "Number of received frames with errors",
    ),
    (
        "rx_packets",
        "node_ethtool_received_packets_total",
        "Network interface packets received",
    ),
    (
        "tx_bytes",
        "node_ethtool_transmitted_bytes_total",
        "Network interface bytes sent",
    ),
    (
        "tx_errors",
        "node_ethtool_transmitted_errors_total",
        "Number of sent frames with errors",
    ),
    (
        "tx_packets",
        "node_ethtool_transmitted_packets_total",
        "Network interface packets sent",
    ),
];

struct Ethtool {
    node: NodeSpec,
    class: PathBuf,
    ioctl: Ioctl,
    filter: NameFilter,
    naming: Naming,
    /// What the statistics of a device became, by their place.
    families: BTreeMap<String, Vec<Option<Named>>>,
}

/// How a driver's name becomes a family's.
struct Naming {
    metrics: Regex,
    receive: Regex,
    transmit: Regex,
}

impl Ethtool {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let metrics = Regex::new(spec.flags.text(&METRICS));
        let metrics = metrics.with_context(|| format!("--{} is no valid pattern", METRICS.name))?;
        Ok(Self {
            node: spec.clone(),
            class: spec.sys("class/net"),
            ioctl: Ioctl::new().context("failed to open a socket for ethtool")?,
            filter: spec.flags.filter(&INCLUDE, &EXCLUDE)?,
            naming: Naming::new(metrics)?,
            families: BTreeMap::new(),
        })
    }

    fn statistics(&mut self, out: &mut MetricBatch, device: &str) -> nix::Result<()> {
        let n = self.ioctl.n_statistics(device)?;
        let known = self.families.get(device);
        if known.is_none_or(|families| families.len() != n) {
            let names = self.ioctl.names(device, n)?;
            let families = self.naming.families(&names);
            self.families.insert(device.to_owned(), families);
        }
        let values = self.ioctl.values(device, n)?;
        let families = self.families.get(device).into_iter().flatten();
        for (family, value) in families.zip(values) {
            if let Some(family) = family {
                family.sample(out, &[("device", device)], value as f64);
            }
        }
        Ok(())
    }
}

impl Naming {
    fn new(metrics: Regex) -> anyhow::Result<Self> {
        Ok(Self {
            metrics,
            receive: Regex::new("(^|_)rx(_|$)")?,
            transmit: Regex::new("(^|_)tx(_|$)")?,
        })
    }

    /// The families of a driver's statistics. Of several that would be one, none is told.
    fn families(&self, names: &[String]) -> Vec<Option<Named>> {
        let mut families: Vec<_> = names.iter().map(|name| self.family(name)).collect();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for family in families.iter().flatten() {
            *counts.entry(family.name.clone()).or_default() += 1;
        }
        for family in &mut families {
            let is_single = |f: &Named| counts.get(&f.name) == Some(&1);
            *family = family.take().filter(is_single);
        }
        families
    }

    fn family(&self, statistic: &str) -> Option<Named> {
        let metric = sanitized(statistic);
        if !self.metrics.is_match(&metric) {
            return None;
        }
        let known = KNOWN.iter().find(|(name, _, _)| *name == metric);
        let (name, help) = match known {
            Some((_, name, help)) => ((*name).to_owned(), (*help).to_owned()),
            None => {
                let lower = metric.to_lowercase();
                let name = self
                    .receive
                    .replace_all(lower.trim_start_matches('_'), "${1}received${2}");
                let name = self.transmit.replace_all(&name, "${1}transmitted${2}");
                (
                    format!("node_ethtool_{name}"),
                    format!("Network interface {metric}"),
                )
            }
        };
        Some(Named {
            name,
            kind: MetricKind::Unknown,
            help,
        })
    }
}

impl Collector for Ethtool {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        netlink::check_network(&self.node)?;
        let devices = sysfs::names(&self.class);
        let devices = devices.or_no_data("there are no network interfaces in sysfs")?;
        self.families.retain(|device, _| devices.contains(device));
        for device in &devices {
            if self.filter.is_ignored(device) || !self.class.join(device).is_dir() {
                continue;
            }
            // What a driver does not do, or an interface that has just gone, is left out.
            if let Ok(settings) = self.ioctl.settings(device) {
                collect_settings(out, device, &settings);
            }
            if let Ok(driver) = self.ioctl.driver(device) {
                let labels = [
                    ("bus_info", driver.bus_info.as_str()),
                    ("device", device),
                    ("driver", &driver.name),
                    ("expansion_rom_version", &driver.expansion_rom_version),
                    ("firmware_version", &driver.firmware_version),
                    ("version", &driver.version),
                ];
                INFO.sample(out, &labels, 1.0);
            }
            let _ = self.statistics(out, device);
        }
        Ok(())
    }
}

fn collect_settings(out: &mut MetricBatch, device: &str, settings: &Settings) {
    let device = ("device", device);
    for (bit, port) in PORTS {
        if has(settings.supported, bit) {
            SUPPORTED_PORT.sample(out, &[device, ("type", port)], 1.0);
        }
    }
    for (at, bits) in [settings.supported, settings.advertised]
        .into_iter()
        .enumerate()
    {
        for (bit, megabits, duplex, medium) in MODES {
            if has(bits, bit) {
                let mode = format!("{megabits}base{medium}");
                let labels = [device, ("duplex", duplex), ("mode", &mode)];
                SPEEDS[at].sample(out, &labels, f64::from(megabits) * BYTES_PER_MEGABIT);
            }
        }
        for (bit, descs) in &ABILITIES {
            descs[at].sample(out, &[device], f64::from(has(bits, *bit)));
        }
    }
    AUTONEGOTIATE.sample(out, &[device], f64::from(settings.autonegotiate));
}

fn has(bits: u32, bit: u32) -> bool {
    bits & (1 << bit) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_get_names_as_upstream_gives_them() {
        let naming = Naming::new(Regex::new(".*").expect("valid")).expect("valid");
        let names = [
            "rx_packets",
            "port.rx_dropped",
            "align_errors",
            "duplicate metric",
            "duplicate_metric",
            "_TX_queue_0_tx",
        ]
        .map(str::to_owned);
        let families = naming.families(&names);
        let got: Vec<_> = families
            .iter()
            .map(|f| f.as_ref().map_or("-", |f| f.name.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                "node_ethtool_received_packets_total",
                "node_ethtool_port_received_dropped",
                "node_ethtool_align_errors",
                "-",
                "-",
                "node_ethtool_transmitted_queue_0_transmitted",
            ]
        );
    }

    #[test]
    fn settings_become_speeds_ports_and_abilities() {
        let mut out = MetricBatch::default();
        let settings = Settings {
            supported: 1 << 5 | 1 << 6 | 1 << 7,
            advertised: 1 << 5,
            autonegotiate: 1,
        };
        collect_settings(&mut out, "eth0", &settings);
        let mut text = Vec::new();
        crate::exposition::write(&mut text, &[&out]);
        let text = String::from_utf8(text).expect("text");
        for line in [
            "node_network_supported_port_info{device=\"eth0\",type=\"TP\"} 1",
            "node_network_supported_speed_bytes{device=\"eth0\",duplex=\"full\",mode=\"1000baseT\"} 1.25e+08",
            "node_network_autonegotiate_supported{device=\"eth0\"} 1",
            "node_network_autonegotiate_advertised{device=\"eth0\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
