//! cAdvisor's container metrics, pushed: the cgroup tree on a schedule.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{OptionKind, OptionSpec};
use kansoku_model::{ConfigError, MetricBatch, RecordBatch, Resource, Settings};

use super::node_paths::{PROCFS, SYSFS};
use super::staleness::Staleness;
use super::target_labels::{target_labels, up};
use super::ticker::{self, Ticker};
use crate::collectors::container::{ContainerCollector, ContainerSpec, KERNEL_LOG};
use crate::kubernetes::RuntimePlace;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

/// What the kubelet's own collecting comes down to for busy containers.
const INTERVAL_S: f64 = 10.0;

/// The plugin.
pub const PLUGIN: InputPlugin = InputPlugin {
    name: "container_metrics",
    about: "CPU, memory, IO and processes of containers and services under cAdvisor's names",
    options: &[
        OptionSpec::new(
            "scrape_interval",
            OptionKind::Time,
            "10",
            "how often cgroups are read",
        ),
        OptionSpec::new(
            "path.cgroup",
            OptionKind::Text,
            "/sys/fs/cgroup",
            "where the node's cgroup trees are mounted",
        ),
        PROCFS,
        SYSFS,
        OptionSpec::new(
            "path.rootfs",
            OptionKind::Text,
            "/",
            "where the node's / is mounted",
        ),
        OptionSpec::new(
            "cri_socket",
            OptionKind::Text,
            "",
            "where the container runtime listens; else containerd's, CRI-O's, k3s' and cri-dockerd's usual places below path.rootfs",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job, metrics_path, instance or node",
        )
        .repeated(),
    ],
    example: "[INPUT]\n    Name            container_metrics\n    Tag             metrics.containers\n    Scrape_interval 15\n",
    build: |settings, environment| Ok(Box::new(ContainerMetrics::new(settings, environment)?)),
};

/// Where the settings say the node's files are; for the HTTP server too.
#[must_use]
pub fn spec(settings: &Settings) -> ContainerSpec {
    ContainerSpec {
        cgroup_root: settings.text("path.cgroup", "/sys/fs/cgroup").into(),
        procfs: settings.text(PROCFS.name, PROCFS.default).into(),
        sysfs: settings.text(SYSFS.name, SYSFS.default).into(),
        rootfs: settings.text("path.rootfs", "/").into(),
        kernel_log: KERNEL_LOG.into(),
    }
}

/// Where the container runtime is, by the first input of this kind.
#[must_use]
pub fn runtime_place(settings: Option<&Settings>) -> RuntimePlace {
    let text = |name, default| settings.map_or(default, |s| s.text(name, default));
    let socket = text("cri_socket", "");
    RuntimePlace {
        rootfs: text("path.rootfs", "/").into(),
        // Kubelets are given a URL.
        socket: Some(socket.strip_prefix("unix://").unwrap_or(socket))
            .filter(|socket| !socket.is_empty())
            .map(Into::into),
    }
}

struct ContainerMetrics {
    collector: ContainerCollector,
    interval: Duration,
    resource: Arc<Resource>,
    host_name: Arc<str>,
}

impl ContainerMetrics {
    fn new(settings: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        let collector = ContainerCollector::new(spec(settings), environment.pods.clone());
        let place = settings
            .get("path.cgroup")
            .map_or(&settings.place, |s| &s.place);
        let node = &environment.host_name;
        let labels = [
            ("job", "kubelet"),
            ("metrics_path", "/metrics/cadvisor"),
            ("instance", node),
            ("node", node),
        ];
        Ok(Self {
            collector: collector.map_err(|e| ConfigError::new(place, format!("{e:#}")))?,
            interval: ticker::interval(settings, "scrape_interval", INTERVAL_S)?,
            resource: Arc::new(target_labels(&labels, settings)?),
            host_name: node.clone(),
        })
    }
}

impl Input for ContainerMetrics {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(mut self: Box<Self>, link: Link) -> anyhow::Result<()> {
        // Another phase than the node collectors' on the same node.
        let name = format!("{}/containers", self.host_name);
        let mut ticker = Ticker::new(&name, &[self.interval]);
        let mut staleness = Staleness::default();
        while let Some(tick) = ticker.wait(&link.stop) {
            let mut batch = MetricBatch::new(link.tag.clone(), self.resource.clone(), tick.now_ms);
            batch.source = tick.source;
            staleness.make_room(&mut batch);
            let now_s = u64::try_from(tick.now_ms / 1000).unwrap_or(0);
            self.collector.collect(now_s, &mut batch);
            staleness.mark(&mut batch);
            up(&mut batch);
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

    #[test]
    fn the_runtime_is_where_a_kubelets_flag_says() {
        let socket = |value: &'static str| {
            let settings = Settings::of("container_metrics", &[("cri_socket", value)]);
            settings.check(PLUGIN.options).expect("the key is known");
            runtime_place(Some(&settings)).socket
        };
        assert_eq!(socket("unix:///run/x.sock"), Some("/run/x.sock".into()));
        assert_eq!(socket("/run/x.sock"), Some("/run/x.sock".into()));
        assert_eq!(runtime_place(None).socket, None);
        assert_eq!(runtime_place(None).rootfs, std::path::Path::new("/"));
    }

    #[test]
    fn a_missing_tree_is_a_mistake_of_the_configuration() {
        let settings = Settings::of("container_metrics", &[("path.cgroup", "/no/such")]);
        settings.check(PLUGIN.options).expect("the keys are known");
        let error = ContainerMetrics::new(&settings, &Environment::default()).err();
        let error = error.expect("there is no tree").to_string();
        assert!(
            error.starts_with("command line: failed to list cgroup trees in /no/such"),
            "{error}"
        );
    }
}
