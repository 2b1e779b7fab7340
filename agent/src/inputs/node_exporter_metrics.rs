//! node_exporter's metrics, pushed: the node collectors on a schedule.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{OptionKind, OptionSpec};
use kansoku_model::{ConfigError, MetricBatch, RecordBatch, Resource, Settings};
use kansoku_parsers::line::pattern::Pattern;

use super::node_paths::{PROCFS, SYSFS};
use super::target_labels::target_labels;
use super::ticker::Ticker;
use crate::collectors::node::{NodeCollectors, find};
use crate::collectors::{COLLECTORS, IGNORE_DISKS, IGNORE_FS_TYPES, IGNORE_MOUNT_POINTS, NodeSpec};
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const INTERVAL_S: f64 = 5.0;

const fn interval(name: &'static str) -> OptionSpec {
    OptionSpec::new(
        name,
        OptionKind::Time,
        "scrape_interval",
        "how often this collector reads",
    )
}

/// The plugin.
pub const PLUGIN: InputPlugin = InputPlugin {
    name: "node_exporter_metrics",
    about: "the node's CPU, memory, disk and network under node_exporter's names",
    options: &[
        OptionSpec::new(
            "scrape_interval",
            OptionKind::Time,
            "5",
            "how often collectors read",
        ),
        OptionSpec::new(
            "metrics",
            OptionKind::List,
            "all of kansoku's",
            "collectors to run",
        ),
        PROCFS,
        SYSFS,
        OptionSpec::new(
            "path.rootfs",
            OptionKind::Text,
            "/",
            "where the node's / is mounted; cut off mount points",
        ),
        OptionSpec::new(
            "path.udev.data",
            OptionKind::Text,
            "path.rootfs/run/udev/data",
            "udev's database of devices",
        ),
        OptionSpec::new(
            "filesystem.ignore_mount_point_regex",
            OptionKind::Text,
            IGNORE_MOUNT_POINTS,
            "mount points to leave out",
        ),
        OptionSpec::new(
            "filesystem.ignore_filesystem_type_regex",
            OptionKind::Text,
            IGNORE_FS_TYPES,
            "file system types to leave out",
        ),
        OptionSpec::new(
            "diskstats.ignore_device_regex",
            OptionKind::Text,
            IGNORE_DISKS,
            "block devices to leave out",
        ),
        OptionSpec::new(
            "netdev.ignore_device_regex",
            OptionKind::Text,
            "",
            "network interfaces to leave out",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job, instance or node",
        )
        .repeated(),
        interval("collector.cpu.scrape_interval"),
        interval("collector.diskstats.scrape_interval"),
        interval("collector.filesystem.scrape_interval"),
        interval("collector.loadavg.scrape_interval"),
        interval("collector.meminfo.scrape_interval"),
        interval("collector.netdev.scrape_interval"),
        interval("collector.stat.scrape_interval"),
        interval("collector.time.scrape_interval"),
        interval("collector.uname.scrape_interval"),
    ],
    example: "[INPUT]\n    Name            node_exporter_metrics\n    Tag             metrics.node\n    Scrape_interval 15\n",
    build: |settings, environment| Ok(Box::new(NodeExporterMetrics::new(settings, environment)?)),
};

/// What the settings say of files and of what is left out; for the HTTP server too.
///
/// # Errors
/// When a pattern is not valid.
pub fn spec(settings: &Settings) -> Result<NodeSpec, ConfigError> {
    let pattern = |key: &str, default: &str| {
        let pattern = Pattern::new(settings.text(key, default)).map(Arc::new);
        pattern.map_err(|error| {
            let place = settings.get(key).map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, format!("'{key}' is no valid pattern: {error}"))
        })
    };
    let rootfs = std::path::PathBuf::from(settings.text("path.rootfs", "/"));
    let udev_data = match settings.get("path.udev.data") {
        Some(setting) => setting.value.clone().into(),
        None => rootfs.join("run/udev/data"),
    };
    let ignore_interfaces = match settings.text("netdev.ignore_device_regex", "") {
        "" => None,
        _ => Some(pattern("netdev.ignore_device_regex", "")?),
    };
    Ok(NodeSpec {
        procfs: settings.text(PROCFS.name, PROCFS.default).into(),
        sysfs: settings.text(SYSFS.name, SYSFS.default).into(),
        rootfs,
        udev_data,
        ignore_mount_points: pattern("filesystem.ignore_mount_point_regex", IGNORE_MOUNT_POINTS)?,
        ignore_fs_types: pattern("filesystem.ignore_filesystem_type_regex", IGNORE_FS_TYPES)?,
        ignore_disks: pattern("diskstats.ignore_device_regex", IGNORE_DISKS)?,
        ignore_interfaces,
    })
}

/// The collectors that the settings ask for.
///
/// # Errors
/// When there is no such collector.
pub fn collector_names(settings: &Settings) -> Result<Vec<&'static str>, ConfigError> {
    let Some(setting) = settings.get("metrics") else {
        return Ok(COLLECTORS.iter().map(|e| e.name).collect());
    };
    let names: Vec<&str> = settings.list("metrics");
    if names.is_empty() {
        return Err(ConfigError::new(
            &setting.place,
            "'metrics' names no collector; leave it out to run all",
        ));
    }
    names
        .into_iter()
        .map(|name| find(name).map(|e| e.name))
        .collect::<Result<_, _>>()
        .map_err(|message| ConfigError::new(&setting.place, format!("metrics: {message}")))
}

struct NodeExporterMetrics {
    collectors: NodeCollectors,
    names: Vec<&'static str>,
    /// One per name.
    intervals: Vec<Duration>,
    resource: Arc<Resource>,
    host_name: Arc<str>,
}

impl NodeExporterMetrics {
    fn new(settings: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        let names = collector_names(settings)?;
        let every_s = super::ticker::interval(settings, "scrape_interval", INTERVAL_S)?;
        let intervals = names
            .iter()
            .map(|name| {
                let key = format!("collector.{name}.scrape_interval");
                super::ticker::interval(settings, &key, every_s.as_secs_f64())
            })
            .collect::<Result<_, _>>()?;
        let node = &environment.host_name;
        let labels = [("job", "node-exporter"), ("instance", node), ("node", node)];
        Ok(Self {
            collectors: NodeCollectors::new(&spec(settings)?, &names),
            names,
            intervals,
            resource: Arc::new(target_labels(&labels, settings)?),
            host_name: node.clone(),
        })
    }
}

impl Input for NodeExporterMetrics {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(mut self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let mut ticker = Ticker::new(&self.host_name, &self.intervals);
        while let Some(tick) = ticker.wait(&link.stop) {
            let mut batch = MetricBatch::new(link.tag.clone(), self.resource.clone(), tick.now_ms);
            batch.source = tick.source;
            let names = &self.names;
            let is_due = |name: &str| {
                let at = names.iter().position(|n| *n == name);
                at.is_some_and(|at| tick.is_due[at])
            };
            self.collectors.collect(is_due, &mut batch);
            if link.send(RecordBatch::Metrics(batch), None).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pairs: &[(&str, &str)]) -> String {
        let settings = Settings::of("node_exporter_metrics", pairs);
        if let Err(e) = settings.check(PLUGIN.options) {
            return e.to_string();
        }
        match NodeExporterMetrics::new(&settings, &Environment::default()) {
            Ok(_) => "ok".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "ok"),
            (&[("metrics", "cpu, meminfo")], "ok"),
            (
                &[("metrics", "cpu,hwmon")],
                "command line: metrics: there is no collector 'hwmon'; collectors: cpu, diskstats, filesystem, loadavg, meminfo, netdev, stat, time, uname",
            ),
            (
                &[("metrics", ",")],
                "command line: 'metrics' names no collector; leave it out to run all",
            ),
            (
                &[("collector.hwmon.scrape_interval", "1")],
                "command line: unknown key 'collector.hwmon.scrape_interval' for node_exporter_metrics; did you mean 'collector.time.scrape_interval'?",
            ),
            (
                &[("scrape_interval", "0")],
                "command line: 'scrape_interval' is 0 s, but must be 0.1 s to 1 day",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(error(pairs), *expected, "{pairs:?}");
        }
        let bad = error(&[("netdev.ignore_device_regex", "(")]);
        assert!(
            bad.contains("'netdev.ignore_device_regex' is no valid pattern"),
            "{bad}"
        );
    }

    #[test]
    fn every_collector_has_its_interval_option() {
        for entry in COLLECTORS {
            let key = format!("collector.{}.scrape_interval", entry.name);
            assert!(PLUGIN.options.iter().any(|o| o.name == key), "{key}");
        }
    }
}
