//! node_exporter's metrics, pushed: the node collectors on a schedule.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{OptionKind, OptionSpec};
use kansoku_model::{ConfigError, MetricBatch, RecordBatch, Resource, Settings};
use kansoku_parsers::wire::records::Stream;

use super::net::{new_stream, stamp};
use super::node_paths::{PROCFS, SYSFS};
use super::staleness::Staleness;
use super::target_labels::{end, exporter, target_labels, up};
use super::ticker::Ticker;
use crate::collectors::flags::{Flag, Flags};
use crate::collectors::node::{NodeCollectors, defaults, find};
use crate::collectors::{NodeSpec, diskstats, filesystem, hwmon, netdev, systemd, textfile};
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
            "those that node_exporter runs by default",
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
            filesystem::MOUNT_POINTS_EXCLUDE.default,
            "mount points to leave out",
        ),
        OptionSpec::new(
            "filesystem.ignore_filesystem_type_regex",
            OptionKind::Text,
            filesystem::FS_TYPES_EXCLUDE.default,
            "file system types to leave out",
        ),
        OptionSpec::new(
            "diskstats.ignore_device_regex",
            OptionKind::Text,
            diskstats::EXCLUDE.default,
            "block devices to leave out",
        ),
        OptionSpec::new(
            "collector.textfile.path",
            OptionKind::Text,
            "",
            "a folder with *.prom files, or one such file; a pattern names several",
        ),
        OptionSpec::new(
            "netdev.ignore_device_regex",
            OptionKind::Text,
            "",
            "network interfaces to leave out",
        ),
        OptionSpec::new(
            "systemd_include_pattern",
            OptionKind::Text,
            systemd::INCLUDE.default,
            "units of systemd to tell of",
        ),
        OptionSpec::new(
            "systemd_exclude_pattern",
            OptionKind::Text,
            systemd::EXCLUDE.default,
            "units of systemd to leave out",
        ),
        OptionSpec::new(
            "systemd_service_restart_metrics",
            OptionKind::Bool,
            "off",
            "how often services restarted",
        ),
        OptionSpec::new(
            "systemd_unit_start_time_metrics",
            OptionKind::Bool,
            "off",
            "when units started",
        ),
        OptionSpec::new(
            "systemd_include_service_task_metrics",
            OptionKind::Bool,
            "off",
            "tasks of services and their limits",
        ),
        OptionSpec::new(
            "collector.hwmon.chip-include",
            OptionKind::Text,
            "",
            "hardware monitors to read",
        ),
        OptionSpec::new(
            "collector.hwmon.chip-exclude",
            OptionKind::Text,
            "",
            "hardware monitors to leave out",
        ),
        OptionSpec::new(
            "collector.hwmon.sensor-include",
            OptionKind::Text,
            "",
            "sensors to read, as 'chip;sensor'",
        ),
        OptionSpec::new(
            "collector.hwmon.sensor-exclude",
            OptionKind::Text,
            "",
            "sensors to leave out, as 'chip;sensor'",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job, instance, node, namespace or pod",
        )
        .repeated(),
        interval("collector.arp.scrape_interval"),
        interval("collector.bcache.scrape_interval"),
        interval("collector.bcachefs.scrape_interval"),
        interval("collector.bonding.scrape_interval"),
        interval("collector.btrfs.scrape_interval"),
        interval("collector.buddyinfo.scrape_interval"),
        interval("collector.cgroups.scrape_interval"),
        interval("collector.conntrack.scrape_interval"),
        interval("collector.cpu.scrape_interval"),
        interval("collector.cpu_vulnerabilities.scrape_interval"),
        interval("collector.cpufreq.scrape_interval"),
        interval("collector.diskstats.scrape_interval"),
        interval("collector.dmi.scrape_interval"),
        interval("collector.dmmultipath.scrape_interval"),
        interval("collector.drbd.scrape_interval"),
        interval("collector.drm.scrape_interval"),
        interval("collector.edac.scrape_interval"),
        interval("collector.entropy.scrape_interval"),
        interval("collector.ethtool.scrape_interval"),
        interval("collector.fibrechannel.scrape_interval"),
        interval("collector.filefd.scrape_interval"),
        interval("collector.filesystem.scrape_interval"),
        interval("collector.hwmon.scrape_interval"),
        interval("collector.infiniband.scrape_interval"),
        interval("collector.interrupts.scrape_interval"),
        interval("collector.ipvs.scrape_interval"),
        interval("collector.kernel_hung.scrape_interval"),
        interval("collector.ksmd.scrape_interval"),
        interval("collector.lnstat.scrape_interval"),
        interval("collector.loadavg.scrape_interval"),
        interval("collector.logind.scrape_interval"),
        interval("collector.mdadm.scrape_interval"),
        interval("collector.meminfo.scrape_interval"),
        interval("collector.meminfo_numa.scrape_interval"),
        interval("collector.mountstats.scrape_interval"),
        interval("collector.netclass.scrape_interval"),
        interval("collector.netdev.scrape_interval"),
        interval("collector.netstat.scrape_interval"),
        interval("collector.network_route.scrape_interval"),
        interval("collector.nfs.scrape_interval"),
        interval("collector.nfsd.scrape_interval"),
        interval("collector.ntp.scrape_interval"),
        interval("collector.nvme.scrape_interval"),
        interval("collector.nvmesubsystem.scrape_interval"),
        interval("collector.os.scrape_interval"),
        interval("collector.pcidevice.scrape_interval"),
        interval("collector.perf.scrape_interval"),
        interval("collector.powersupplyclass.scrape_interval"),
        interval("collector.pressure.scrape_interval"),
        interval("collector.processes.scrape_interval"),
        interval("collector.qdisc.scrape_interval"),
        interval("collector.rapl.scrape_interval"),
        interval("collector.runit.scrape_interval"),
        interval("collector.schedstat.scrape_interval"),
        interval("collector.selinux.scrape_interval"),
        interval("collector.slabinfo.scrape_interval"),
        interval("collector.sockstat.scrape_interval"),
        interval("collector.softirqs.scrape_interval"),
        interval("collector.softnet.scrape_interval"),
        interval("collector.stat.scrape_interval"),
        interval("collector.supervisord.scrape_interval"),
        interval("collector.swap.scrape_interval"),
        interval("collector.sysctl.scrape_interval"),
        interval("collector.systemd.scrape_interval"),
        interval("collector.tapestats.scrape_interval"),
        interval("collector.tcpstat.scrape_interval"),
        interval("collector.textfile.scrape_interval"),
        interval("collector.thermal_zone.scrape_interval"),
        interval("collector.time.scrape_interval"),
        interval("collector.timex.scrape_interval"),
        interval("collector.udp_queues.scrape_interval"),
        interval("collector.uname.scrape_interval"),
        interval("collector.vmstat.scrape_interval"),
        interval("collector.watchdog.scrape_interval"),
        interval("collector.wifi.scrape_interval"),
        interval("collector.xfrm.scrape_interval"),
        interval("collector.xfs.scrape_interval"),
        interval("collector.zfs.scrape_interval"),
        interval("collector.zoneinfo.scrape_interval"),
    ],
    example: "[INPUT]\n    Name            node_exporter_metrics\n    Tag             metrics.node\n    Scrape_interval 15\n",
    build: |settings, environment| Ok(Box::new(NodeExporterMetrics::new(settings, environment)?)),
};

/// Options that are flags of collectors under Fluent Bit's names.
const FLAGS: [(&str, &Flag); 10] = [
    (
        "filesystem.ignore_mount_point_regex",
        &filesystem::MOUNT_POINTS_EXCLUDE,
    ),
    (
        "filesystem.ignore_filesystem_type_regex",
        &filesystem::FS_TYPES_EXCLUDE,
    ),
    ("diskstats.ignore_device_regex", &diskstats::EXCLUDE),
    ("netdev.ignore_device_regex", &netdev::EXCLUDE),
    ("systemd_include_pattern", &systemd::INCLUDE),
    ("systemd_exclude_pattern", &systemd::EXCLUDE),
    ("collector.hwmon.chip-include", &hwmon::CHIP_INCLUDE),
    ("collector.hwmon.chip-exclude", &hwmon::CHIP_EXCLUDE),
    ("collector.hwmon.sensor-include", &hwmon::SENSOR_INCLUDE),
    ("collector.hwmon.sensor-exclude", &hwmon::SENSOR_EXCLUDE),
];

/// Options that are switches of collectors under Fluent Bit's names.
const SWITCHES: [(&str, &Flag); 3] = [
    ("systemd_service_restart_metrics", &systemd::RESTARTS),
    ("systemd_unit_start_time_metrics", &systemd::START_TIME),
    ("systemd_include_service_task_metrics", &systemd::TASKS),
];

/// What the settings say of files and of what is left out; for the HTTP server too.
///
/// # Errors
/// When a pattern is not valid.
pub fn spec(settings: &Settings) -> Result<NodeSpec, ConfigError> {
    let mut flags = Flags::default();
    for (key, flag) in FLAGS {
        let Some(setting) = settings.get(key) else {
            continue;
        };
        let mistake = |error: String| ConfigError::new(&setting.place, format!("'{key}': {error}"));
        flags.set(flag, &setting.value).map_err(mistake)?;
        let pattern = flags.pattern(flag);
        pattern.map_err(|error| {
            let cause = error.root_cause();
            ConfigError::new(
                &setting.place,
                format!("'{key}' is no valid pattern: {cause}"),
            )
        })?;
    }
    if let Some(setting) = settings.get("collector.textfile.path") {
        let given = flags.set(&textfile::DIRECTORY, &setting.value);
        given.map_err(|error| ConfigError::new(&setting.place, error))?;
    }
    for (key, flag) in SWITCHES {
        if let Some(setting) = settings.get(key) {
            let value = settings.bool(key, false)?.to_string();
            let mistake =
                |error: String| ConfigError::new(&setting.place, format!("'{key}': {error}"));
            flags.set(flag, value).map_err(mistake)?;
        }
    }
    let rootfs = std::path::PathBuf::from(settings.text("path.rootfs", "/"));
    let udev_data = match settings.get("path.udev.data") {
        Some(setting) => setting.value.clone().into(),
        None => rootfs.join("run/udev/data"),
    };
    Ok(NodeSpec {
        procfs: settings.text(PROCFS.name, PROCFS.default).into(),
        sysfs: settings.text(SYSFS.name, SYSFS.default).into(),
        rootfs,
        udev_data,
        flags,
        chosen: Vec::new(),
        findings: Default::default(),
    })
}

/// The collectors that the settings ask for.
///
/// # Errors
/// When there is no such collector.
pub fn collector_names(settings: &Settings) -> Result<Vec<&'static str>, ConfigError> {
    let Some(setting) = settings.get("metrics") else {
        return Ok(defaults().collect());
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
    /// By interval.
    groups: Vec<Group>,
    resource: Arc<Resource>,
    host_name: Arc<str>,
}

/// Collectors that read together. What one group lacks is gone; what another has is not due.
struct Group {
    interval: Duration,
    names: Vec<&'static str>,
    staleness: Staleness,
    stream: Stream,
}

impl NodeExporterMetrics {
    fn new(settings: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        let names = collector_names(settings)?;
        let every_s = super::ticker::interval(settings, "scrape_interval", INTERVAL_S)?;
        let mut groups: Vec<Group> = Vec::new();
        for name in &names {
            let key = format!("collector.{name}.scrape_interval");
            let interval = super::ticker::interval(settings, &key, every_s.as_secs_f64())?;
            match groups.iter_mut().find(|g| g.interval == interval) {
                Some(group) => group.names.push(name),
                None => groups.push(Group {
                    interval,
                    names: vec![name],
                    staleness: Staleness::default(),
                    stream: new_stream(),
                }),
            }
        }
        let labels = exporter("node-exporter", environment);
        let collectors = NodeCollectors::new(&spec(settings)?, &names);
        Ok(Self {
            collectors: collectors
                .map_err(|error| ConfigError::new(&settings.place, format!("{error:#}")))?,
            groups,
            resource: Arc::new(target_labels(&labels, settings)?),
            host_name: environment.host_name.clone(),
        })
    }
}

impl Input for NodeExporterMetrics {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Self {
            mut collectors,
            mut groups,
            resource,
            host_name,
        } = *self;
        let intervals: Vec<_> = groups.iter().map(|g| g.interval).collect();
        let mut ticker = Ticker::new(&host_name, &intervals);
        while let Some(tick) = ticker.wait(&link.stop) {
            let due = groups.iter_mut().zip(&tick.is_due);
            for (group, _) in due.filter(|(_, is_due)| **is_due) {
                let mut batch = MetricBatch::new(link.tag.clone(), resource.clone(), tick.now_ms);
                collectors.collect(|name| group.names.contains(&name), &mut batch);
                group.staleness.mark(&mut batch);
                up(&mut batch);
                let batch = stamp(batch, &mut group.stream);
                if link.send(batch, None).is_err() {
                    return Ok(());
                }
            }
        }
        let tick = ticker.now();
        let mut batch = MetricBatch::new(link.tag.clone(), resource, tick.now_ms);
        batch.source = tick.source;
        if end(groups.into_iter().map(|g| g.staleness), &mut batch) {
            // Without room there is nothing to wait for any more.
            let _ = link.send(RecordBatch::Metrics(batch), None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::net::testing;
    use super::super::staleness::STALE;
    use super::*;
    use crate::collectors::COLLECTORS;

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
                &[("metrics", ",")],
                "command line: 'metrics' names no collector; leave it out to run all",
            ),
            (
                &[("collector.tyme.scrape_interval", "1")],
                "command line: unknown key 'collector.tyme.scrape_interval' for node_exporter_metrics; did you mean 'collector.time.scrape_interval'?",
            ),
            (
                &[("scrape_interval", "0")],
                "command line: 'scrape_interval' is 0 s, but must be 0.1 s to 1 day",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(error(pairs), *expected, "{pairs:?}");
        }
        let settings = [
            ("collector.textfile.path", "/a"),
            ("netdev.ignore_device_regex", "^lo$"),
        ];
        let spec = spec(&Settings::of("node_exporter_metrics", &settings)).expect("valid");
        assert_eq!(spec.flags.list(&textfile::DIRECTORY), ["/a"]);
        assert_eq!(spec.flags.text(&netdev::EXCLUDE), "^lo$");
        let unknown = error(&[("metrics", "cpu,nothing")]);
        assert!(
            unknown.starts_with(
                "command line: metrics: there is no collector 'nothing'; collectors: arp, "
            ),
            "{unknown}"
        );
        let bad = error(&[("netdev.ignore_device_regex", "(")]);
        assert!(
            bad.contains("'netdev.ignore_device_regex' is no valid pattern"),
            "{bad}"
        );
    }

    /// A textfile goes away: its series end at the next tick, those of collectors with another interval
    /// do not.
    #[test]
    fn series_that_are_gone_are_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.prom");
        std::fs::write(&file, "backup_age_seconds 7\n").expect("written");
        let mut settings = Settings::of(
            "node_exporter_metrics",
            &[
                ("metrics", "textfile,time"),
                ("scrape_interval", "0.1"),
                ("collector.time.scrape_interval", "3600"),
            ],
        );
        let textfiles = folder.path().to_string_lossy();
        let textfiles = [("collector.textfile.path", &*textfiles)];
        let more = Settings::of("node_exporter_metrics", &textfiles).settings;
        settings.settings.extend(more);
        let environment = Environment {
            host_name: "n1".into(),
            ..Environment::default()
        };
        let input = NodeExporterMetrics::new(&settings, &environment).expect("valid");
        let running = testing::start(Box::new(input), "node");
        let mut seen: Vec<(String, bool)> = Vec::new();
        let mut until = |wanted: (&str, bool)| {
            testing::until(|| {
                for batch in running.captured.take() {
                    let RecordBatch::Metrics(batch) = &*batch else {
                        panic!("metrics")
                    };
                    for point in batch.points() {
                        let series = batch.series_of(point);
                        assert_eq!(series.get("job"), Some("node-exporter"));
                        let name = series.get("__name__").unwrap_or_default().to_owned();
                        seen.push((name, point.value.to_bits() == STALE.to_bits()));
                    }
                }
                seen.contains(&(wanted.0.to_owned(), wanted.1))
                    .then_some(())
            });
        };
        until(("backup_age_seconds", false));
        std::fs::remove_file(&file).expect("removed");
        until(("backup_age_seconds", true));
        running.stop();
        let has = |name: &str, is_stale| seen.contains(&(name.to_owned(), is_stale));
        assert!(has("node_time_seconds", false) && has("up", false));
        assert!(!has("node_time_seconds", true), "not due, and not gone");
        assert!(!has("up", true));
    }

    #[test]
    fn in_a_pod_the_series_end_with_the_agent() {
        let ended = |pod: &str| {
            let pairs = [("metrics", "time"), ("scrape_interval", "3600")];
            let settings = Settings::of("node_exporter_metrics", &pairs);
            let mut environment = Environment::default();
            environment.own_pod.name = pod.into();
            let input = NodeExporterMetrics::new(&settings, &environment).expect("valid");
            let running = testing::start(Box::new(input), "node");
            testing::until(|| running.captured.take().pop());
            let mut names = Vec::new();
            for batch in running.stop() {
                let RecordBatch::Metrics(batch) = &*batch else {
                    panic!("metrics")
                };
                for point in batch.points() {
                    assert_eq!(point.value.to_bits(), STALE.to_bits());
                    names.push(batch.text(batch.family_of(point).name).to_owned());
                }
            }
            names
        };
        let names = ended("agent-x7k2p");
        assert!(names.iter().any(|n| n == "node_time_seconds"), "{names:?}");
        assert_eq!(names.iter().filter(|n| *n == "up").count(), 1);
        assert_eq!(
            ended(""),
            Vec::<String>::new(),
            "the next run goes on with them"
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
