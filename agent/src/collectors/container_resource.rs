//! The kubelet's `/metrics/resource`: processor time, working set and swap of node, pods and containers,
//! which metrics-server and with it `kubectl top` and autoscalers read.
//!
//! Source: kubernetes pkg/kubelet/metrics/collectors/resource_metrics.go. Without its time stamps: the
//! values are those of the scrape.

use kansoku_model::MetricBatch;
use kansoku_model::MetricKind::{self, Counter, Gauge};

use super::cgroup_identity::identify;
use super::container::Names;
use super::container_families::Reading;
use crate::kubernetes::Pods;

/// One value of a cgroup.
struct Value {
    /// After `node_`, `pod_` or `container_`.
    name: &'static str,
    kind: MetricKind,
    /// With `{}` where "container", "pod" or "node" stands.
    help: &'static str,
    of: fn(&Reading) -> Option<f64>,
}

const VALUES: [Value; 3] = [
    Value {
        name: "cpu_usage_seconds_total",
        kind: Counter,
        help: "[STABLE] Cumulative cpu time consumed by the {} in core-seconds",
        of: |r| r.usage.cpu.map(|c| c.usage_s),
    },
    Value {
        name: "memory_working_set_bytes",
        kind: Gauge,
        help: "[STABLE] Current working set of the {} in bytes",
        of: |r| r.usage.memory.map(|m| m.working_set as f64),
    },
    Value {
        name: "swap_usage_bytes",
        kind: Gauge,
        help: "[ALPHA] Current amount of the {} swap usage in bytes. Reported only on non-windows systems",
        of: |r| r.usage.memory.map(|m| m.swap as f64),
    },
];

/// Of containers alone.
const OF_CONTAINERS: [Value; 2] = [
    Value {
        name: "start_time_seconds",
        kind: Gauge,
        help: "[STABLE] Start time of the container since unix epoch in seconds",
        of: |r| Some(r.created_s as f64),
    },
    Value {
        name: "swap_limit_bytes",
        kind: Gauge,
        help: "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems",
        of: |r| r.limits.memory.map(|m| m.swap_limit as f64),
    },
];

/// What a cgroup is to the kubelet.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Node,
    Pod,
    Container,
}

const LEVELS: [(Level, &str); 3] = [
    (Level::Container, "container"),
    (Level::Node, "node"),
    (Level::Pod, "pod"),
];

/// Appends the families of node, pods and containers.
pub(super) fn emit<'a>(
    readings: impl Iterator<Item = (&'a str, &'a Reading)>,
    pods: &Pods,
    out: &mut MetricBatch,
) {
    let known = readings.filter_map(|(path, reading)| {
        let names = Names::of(path, pods);
        Some((level(path, &names)?, names, reading))
    });
    let known: Vec<(Level, Names, &Reading)> = known.collect();
    for (level, word) in LEVELS {
        let own = OF_CONTAINERS.iter().filter(|_| level == Level::Container);
        for value in VALUES.iter().chain(own) {
            let family = out.family(
                &format!("{word}_{}", value.name),
                value.kind,
                &value.help.replace("{}", word),
            );
            for (_, names, reading) in known.iter().filter(|k| k.0 == level) {
                let all = [
                    ("container", names.container.as_str()),
                    ("namespace", &names.namespace),
                    ("pod", &names.pod),
                ];
                let labels = match level {
                    Level::Node => &[],
                    Level::Pod => &all[1..],
                    Level::Container => &all[..],
                };
                if let Some(value) = (value.of)(reading) {
                    out.sample(family, labels, value);
                }
            }
        }
    }
    let error = out.family(
        "resource_scrape_error",
        Gauge,
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    out.sample(error, &[], 0.0);
}

/// `None` for what the kubelet does not show: slices, services, sandboxes and strangers.
fn level(path: &str, names: &Names) -> Option<Level> {
    if path == "/" {
        return Some(Level::Node);
    }
    let identity = identify(path);
    let has_pod = !names.pod.is_empty() && identity.pod_uid.is_some();
    match identity.container_id {
        Some(_) if !names.container.is_empty() => has_pod.then_some(Level::Container),
        Some(_) => None,
        None => has_pod.then_some(Level::Pod),
    }
}
