//! Captured trees in, expositions out. `UPDATE=1` rewrites what is expected.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kansoku_model::MetricBatch;

use super::container::{ContainerCollector, ContainerSpec};
use super::flags::Flags;
use super::node::NodeCollectors;
use super::{NodeSpec, netdev};
use crate::exposition;
use crate::kubernetes::{Container, Pod, Pods};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

/// Compares the exposition with the file, without the samples of `unstable` families.
fn check(batch: &MetricBatch, expected: &Path, unstable: &[&str]) {
    let mut out = Vec::new();
    assert_eq!(exposition::write(&mut out, &[batch]), 0, "duplicate series");
    let text = String::from_utf8(out).expect("an exposition is text");
    let is_stable = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or("");
        !unstable.contains(&name)
    };
    let lines: Vec<&str> = text.lines().filter(is_stable).collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(expected, &text).expect("the expected file is written");
    }
    let expected_text = std::fs::read_to_string(expected).unwrap_or_default();
    let mut pairs = text.lines().zip(expected_text.lines());
    if let Some((got, wanted)) = pairs.find(|(got, wanted)| got != wanted) {
        panic!("{}: got\n{got}\nexpected\n{wanted}", expected.display());
    }
    assert_eq!(text.len(), expected_text.len(), "{}", expected.display());
}

/// Collectors whose files were captured on one of our own nodes.
const NAMES: [&str; 9] = [
    "cpu",
    "diskstats",
    "filesystem",
    "loadavg",
    "meminfo",
    "netdev",
    "stat",
    "time",
    "uname",
];

#[test]
fn a_captured_node() {
    let mut flags = Flags::default();
    flags.set(&netdev::EXCLUDE, "^lo$").expect("given once");
    let spec = NodeSpec {
        procfs: fixtures("proc"),
        sysfs: fixtures("sys"),
        // Nothing is mounted there, so no size of this machine gets into the result.
        rootfs: "/host".into(),
        udev_data: fixtures("udev"),
        flags,
        chosen: Vec::new(),
        findings: Default::default(),
    };
    let mut batch = MetricBatch::default();
    let collectors = NodeCollectors::new(&spec, &NAMES);
    let mut collectors = collectors.expect("the flags are valid");
    collectors.collect(|_| true, &mut batch);
    let unstable = [
        "node_exporter_build_info",
        "node_scrape_collector_duration_seconds",
        "node_time_seconds",
        "node_time_zone_offset_seconds",
        "node_uname_info",
    ];
    check(&batch, &fixtures("proc/expected.prom"), &unstable);
}

fn pods() -> Arc<Pods> {
    let pods = Pods::default();
    let container = |name: &str, digit: &str, image: &str| Container {
        name: name.into(),
        id: digit.repeat(64),
        image: image.into(),
        ..Container::default()
    };
    let pod = |name: &str, uid: &str, containers: Vec<Container>| Pod {
        namespace: "shop".into(),
        name: name.into(),
        uid: uid.into(),
        containers,
        ..Pod::default()
    };
    let all = vec![
        pod(
            "web-0",
            "5d1f7c0a-3b52-4c55-9a6e-0d4f1b2a3c4d",
            vec![container("web", "2", "docker.io/library/web:1")],
        ),
        pod(
            "db-0",
            "8e6b0000-1111-4222-8333-444455556666",
            vec![container("db", "3", "docker.io/library/db:2")],
        ),
    ];
    pods.replace(all, Instant::now());
    Arc::new(pods)
}

/// Git does not keep the times of folders.
const UNSTABLE_CONTAINER: [&str; 2] = [
    "container_start_time_seconds",
    "container_creation_time_seconds",
];

fn collect_containers(version: &str, pods: Arc<Pods>) -> MetricBatch {
    let mut collector = container_collector(version, pods);
    let mut batch = MetricBatch::default();
    // A second collection with kept descriptors gives the same.
    for _ in 0..2 {
        batch.clear();
        collector.collect(1_795_253_000, &mut batch);
    }
    batch
}

fn container_collector(version: &str, pods: Arc<Pods>) -> ContainerCollector {
    let spec = ContainerSpec {
        cgroup_root: fixtures(&format!("cgroup/{version}/tree")),
        procfs: fixtures("cgroup/proc"),
        sysfs: fixtures("sys"),
        rootfs: "/no/such/root".into(),
        kernel_log: "/no/such/log".into(),
    };
    ContainerCollector::new(spec, pods).expect("there is a tree")
}

/// Families, labels and values as in a kubelet's own answer, without its time stamps.
#[test]
fn what_metrics_server_reads() {
    for version in ["v1", "v2"] {
        let mut batch = MetricBatch::default();
        container_collector(version, pods()).collect_resource(1_795_253_000, &mut batch);
        let expected = fixtures(&format!("cgroup/{version}/expected-resource.prom"));
        check(&batch, &expected, &UNSTABLE_CONTAINER);
    }
}

#[test]
fn captured_cgroups_of_version_1() {
    let batch = collect_containers("v1", pods());
    check(
        &batch,
        &fixtures("cgroup/v1/expected.prom"),
        &UNSTABLE_CONTAINER,
    );
}

#[test]
fn cgroups_of_version_2() {
    let batch = collect_containers("v2", pods());
    check(
        &batch,
        &fixtures("cgroup/v2/expected.prom"),
        &UNSTABLE_CONTAINER,
    );
}

#[test]
fn without_a_cluster_the_ids_are_still_there() {
    let batch = collect_containers("v2", Arc::default());
    let mut out = Vec::new();
    exposition::write(&mut out, &[&batch]);
    let text = String::from_utf8(out).expect("text");
    let id = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod5d1f7c0a_3b52_4c55_9a6e_0d4f1b2a3c4d.slice/cri-containerd-";
    let web = "2".repeat(64);
    let series = format!(
        "container_cpu_usage_seconds_total{{container=\"\",cpu=\"total\",id=\"{id}{web}.scope\",image=\"\",name=\"{web}\",namespace=\"\",pod=\"\"}} 38.9\n"
    );
    assert!(text.contains(&series), "{series}");
}
