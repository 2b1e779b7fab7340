//! What a scrape of `/metrics` reads besides the agent's own counters: the node and its containers.

use std::sync::Arc;
use std::time::Instant;

use kansoku_model::{ConfigError, MetricBatch, MetricKind, Place, Settings};

use crate::collectors::NodeSpec;
use crate::collectors::container::{ContainerCollector, ContainerSpec};
use crate::collectors::node::{NodeCollectors, defaults};
use crate::inputs::{container_metrics, node_exporter_metrics};
use crate::kubernetes::Pods;
use crate::log;

/// What a path serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `/metrics`: the node, its containers and the agent itself.
    All,
    /// `/metrics/cadvisor`: containers and machine, as the kubelet serves them.
    Cadvisor,
    /// `/metrics/resource`: what metrics-server reads of the kubelet.
    Resource,
}

/// Collectors of their own, apart from those of the inputs.
pub struct Targets {
    node: NodeCollectors,
    /// `None` on a machine without cgroups.
    containers: Option<ContainerCollector>,
    /// Reused from scrape to scrape; empty while an answer is being sent.
    batch: MetricBatch,
}

impl Targets {
    /// The files that the inputs read, with their options: those of the first
    /// `node_exporter_metrics` and of the first `container_metrics`, else the defaults.
    ///
    /// # Errors
    /// When an option cannot be read.
    pub fn of_inputs<'a>(
        inputs: impl IntoIterator<Item = &'a Settings>,
        pods: Arc<Pods>,
    ) -> Result<Self, ConfigError> {
        let (mut node, mut containers) = (None, None);
        for settings in inputs {
            if settings.plugin == node_exporter_metrics::PLUGIN.name && node.is_none() {
                node = Some(settings);
            } else if settings.plugin == container_metrics::PLUGIN.name && containers.is_none() {
                containers = Some(settings);
            }
        }
        let (spec, names) = match node {
            Some(settings) => (
                node_exporter_metrics::spec(settings)?,
                node_exporter_metrics::collector_names(settings)?,
            ),
            None => (NodeSpec::default(), defaults().collect()),
        };
        let containers = containers.map(container_metrics::spec);
        let place = node.map_or_else(
            || Place::new("node_exporter_metrics", 0),
            |n| n.place.clone(),
        );
        Self::new(&spec, &names, containers.unwrap_or_default(), pods)
            .map_err(|error| ConfigError::new(&place, format!("{error:#}")))
    }

    /// The given node collectors and the containers.
    ///
    /// # Errors
    /// When a flag of a collector has a value that it cannot use.
    pub fn new(
        node: &NodeSpec,
        names: &[&str],
        containers: ContainerSpec,
        pods: Arc<Pods>,
    ) -> anyhow::Result<Self> {
        let containers = ContainerCollector::new(containers, pods);
        if let Err(error) = &containers {
            log::warn(
                "http_server",
                format!("/metrics is without containers: {error:#}"),
            );
        }
        Ok(Self {
            node: NodeCollectors::new(node, names)?,
            containers: containers.ok(),
            batch: MetricBatch::default(),
        })
    }

    /// Says, as the kubelet does, that containers were asked for and there is nothing to read.
    fn no_containers(&mut self, part: Part) {
        let name = if part == Part::Resource {
            "resource_scrape_error"
        } else {
            "container_scrape_error"
        };
        let help = "1 if there was an error while getting container metrics, 0 otherwise";
        let family = self.batch.family(name, MetricKind::Gauge, help);
        self.batch.sample(family, &[], 1.0);
    }

    /// Takes a batch that [`Self::collect`] gave, for its memory.
    pub(super) fn take_back(&mut self, mut batch: MetricBatch) {
        batch.clear();
        self.batch = batch;
    }

    /// Reads what is asked for, now; what node collectors do not have by the limit is left out.
    pub(super) fn collect(&mut self, part: Part, limit: Option<Instant>) -> MetricBatch {
        if part == Part::All {
            let round = self.node.begin(|_| true, &mut self.batch);
            self.node.finish(&round, limit, &mut self.batch);
        }
        if let Some(containers) = &mut self.containers {
            let now_s = crate::inputs::unix_ms() / 1000;
            match part {
                Part::All | Part::Cadvisor => containers.collect(now_s, &mut self.batch),
                Part::Resource => containers.collect_resource(now_s, &mut self.batch),
            }
        } else if part != Part::All {
            self.no_containers(part);
        }
        std::mem::take(&mut self.batch)
    }
}
