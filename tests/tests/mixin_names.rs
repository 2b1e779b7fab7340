//! Every metric of node_exporter, cAdvisor and kube-state-metrics that kubernetes-mixin, node-mixin or
//! Grafana's dashboard 1860 reads is supplied, or is listed here with the reason why not.
//!
//! What is supplied: the golden file of the captured trees, what the drop-in makes of a newer
//! kernel's files, and the names that stand whole in the code of collectors and kube_state families.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who supplies what begins so; the rest is the control plane's, the kubelet's own or of Windows.
const OURS: [&str; 4] = ["node_", "container_", "machine_", "kube_"];

/// Names that are read and not supplied. docs/node-exporter.md says the same.
const NOT_SUPPLIED: [(&[&str], &str); 3] = [
    (
        &[
            "node_memory_available_bytes",
            "node_memory_compressed_bytes",
            "node_memory_internal_bytes",
            "node_memory_purgeable_bytes",
            "node_memory_total_bytes",
            "node_memory_wired_bytes",
        ],
        "of macOS",
    ),
    (
        &[
            "kube_pod_windows_container_resource_cpu_cores_limit",
            "kube_pod_windows_container_resource_cpu_cores_request",
            "kube_pod_windows_container_resource_memory_limit",
            "kube_pod_windows_container_resource_memory_request",
        ],
        "recorded by kubernetes-mixin's own rules for Windows",
    ),
    (
        &["node_kernel_hung_tasks"],
        "node_exporter's name is node_kernel_hung_tasks_total, which is supplied",
    ),
];

/// Lines that the captured /proc is too old for, and columns that node_exporter gives when asked.
const MEMINFO: &str = "MemTotal: 1 kB\nMemAvailable: 1 kB\nPercpu: 1 kB\nShmemHugePages: 0 kB\n\
    ShmemPmdMapped: 0 kB\nZswap: 0 kB\nZswapped: 0 kB\nDirectMap1G: 1 kB\n";
const NETSTAT: &str = "TcpExt: SyncookiesSent TCPSynRetrans\nTcpExt: 0 1\n";
const SNMP: &str = "Tcp: RtoAlgorithm MaxConn ActiveOpens\nTcp: 1 -1 3\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The families of an exposition.
fn families(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
}

/// What the drop-in makes of files that a newer kernel has, and of this machine's network.
fn of_a_newer_kernel() -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sensor = folder.path().join("sys/class/hwmon/hwmon0");
    let net = folder.path().join("proc/net");
    for folder in [&sensor, &net] {
        fs::create_dir_all(folder).expect("a folder");
    }
    for (path, text) in [
        (folder.path().join("proc/meminfo"), MEMINFO),
        (net.join("netstat"), NETSTAT),
        (net.join("snmp"), SNMP),
        (net.join("snmp6"), ""),
        (sensor.join("name"), "k10temp\n"),
        (sensor.join("temp1_input"), "41000\n"),
        (sensor.join("temp1_crit_hyst"), "90000\n"),
    ] {
        fs::write(path, text).expect("a file is written");
    }
    let flags = [
        "--path.procfs=proc",
        "--path.sysfs=sys",
        "--collector.disable-defaults",
        "--collector.meminfo",
        "--collector.netstat",
        "--collector.netstat.fields=.*",
        "--collector.netdev",
        "--collector.netdev.netlink",
        "--collector.hwmon",
    ];
    kansoku_tests::drop_in::exposition(folder.path(), flags)
}

/// Names in quotes in the Rust files below a folder, that begin so.
fn quoted(folder: &Path, prefix: &str, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            quoted(&path, prefix, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = read(&path);
            let words = text.split('"').filter(|word| word.starts_with(prefix));
            let is_name =
                |word: &&str| word.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
            out.extend(words.filter(is_name).map(str::to_owned));
        }
    }
}

#[test]
fn every_name_that_the_mixins_read_is_supplied() {
    let mut supplied = BTreeSet::new();
    let golden = read(&root().join("fixtures/node_exporter/expected.prom"));
    supplied.extend(families(&golden));
    supplied.extend(families(&of_a_newer_kernel()));
    for prefix in ["node_", "container_", "machine_"] {
        quoted(&root().join("agent/src/collectors"), prefix, &mut supplied);
    }
    quoted(&root().join("agent/src/kube_state"), "kube_", &mut supplied);

    let list = read(&root().join("fixtures/mixins/metrics.txt"));
    let names = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        // A colon is of a recording rule.
        .filter(|(place, name)| !place.ends_with("/recorded") && !name.contains(':'))
        .map(|(_, name)| name)
        .filter(|name| OURS.iter().any(|prefix| name.starts_with(prefix)));
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() > 250, "{} names", names.len());

    let excused: BTreeSet<&str> = NOT_SUPPLIED
        .iter()
        .flat_map(|(names, _)| *names)
        .copied()
        .collect();
    let is_supplied = |name: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s));
        supplied.contains(name) || base.is_some_and(|base| supplied.contains(base))
    };
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !is_supplied(name) && !excused.contains(**name))
        .collect();
    assert!(missing.is_empty(), "read and not supplied: {missing:?}");
    let stale: Vec<&&str> = excused
        .iter()
        .filter(|name| !names.contains(**name) || is_supplied(name))
        .collect();
    assert!(stale.is_empty(), "excused for nothing: {stale:?}");
}
