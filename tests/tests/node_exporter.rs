//! kansoku-agent beside Debian's prometheus-node-exporter: the same names, types, help, label sets
//! and values, or a difference that is explained here.
//!
//! Three comparisons: a tree of fixtures, whose values must be equal; this machine, where a counter
//! that node_exporter read between two readings of ours must lie between them; and, where
//! `KANSOKU_NODE_EXPORTER_TREE` names a folder with `proc`, `sys` and `udev`, that tree too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";
const COLLECTORS: [&str; 9] = [
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

/// The patterns that both get: the defaults differ between versions, and Debian changes them again
/// (it leaves out `lo` and everything below /run, /mnt and /media).
const IGNORE_DISKS: &str = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";
const IGNORE_MOUNT_POINTS: &str = r"^/(dev|proc|sys|mnt|var/lib/docker/.+)($|/)";
const IGNORE_FS_TYPES: &str = "^(cgroup2?|devpts|devtmpfs|overlay|proc|sysfs)$";

/// Families that only one of the two has, or whose labels or values cannot be equal.
const DIFFERENCES: &[(&str, Difference, &str)] = &[
    (
        "promhttp_metric_handler_errors_total",
        Difference::TheirsOnly,
        "counts errors of the Go HTTP handler, which is not there",
    ),
    (
        "node_exporter_build_info",
        Difference::Samples,
        "its labels are the version of the program",
    ),
    (
        "node_scrape_collector_duration_seconds",
        Difference::Values,
        "how long each program took",
    ),
    (
        "node_filesystem_mount_info",
        Difference::OursOnly,
        "since 1.9",
    ),
    (
        "node_filesystem_purgeable_bytes",
        Difference::OursOnly,
        "since 1.9",
    ),
    ("node_cpu_online", Difference::OursOnly, "since 1.9"),
    (
        "node_disk_info",
        Difference::Samples,
        "the label rotational is newer",
    ),
];

/// A label of newer versions, on families that Debian's has too.
const NEWER_LABEL: &str = "device_error=\"";

#[derive(Clone, Copy, PartialEq)]
enum Difference {
    TheirsOnly,
    /// Of a newer version than Debian's.
    OursOnly,
    /// Type and help are compared, samples are not.
    Samples,
    /// Label sets are compared, values are not.
    Values,
}

fn difference(family: &str) -> Option<Difference> {
    let found = DIFFERENCES.iter().find(|(name, _, _)| *name == family);
    found.map(|(_, difference, _)| *difference)
}

/// A program that listens; killed when dropped.
struct Running {
    child: Child,
    address: String,
    /// Kept so that the program can go on writing.
    log: Option<BufReader<ChildStderr>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.log.take());
    }
}

impl Running {
    /// Starts a program and reads from its log where it listens.
    fn start(command: &mut Command, marker: &str) -> Self {
        let program = command.get_program().to_owned();
        command.stdin(Stdio::null());
        command.stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut running = Self {
            child: spawned.unwrap_or_else(|e| panic!("{}: {e}; run make test", program.display())),
            address: String::new(),
            log: None,
        };
        let log = running.child.stderr.take();
        let mut log = BufReader::new(log.expect("standard error is a pipe"));
        let mut seen = String::new();
        while running.address.is_empty() {
            let mut line = String::new();
            let n = log.read_line(&mut line).expect("the log is text");
            seen.push_str(&line);
            assert_ne!(n, 0, "{} ended: {seen}", program.display());
            if let Some((_, rest)) = line.split_once(marker) {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                rest[..end.unwrap_or(rest.len())].clone_into(&mut running.address);
            }
        }
        running.log = Some(log);
        running
    }

    fn scrape(&self) -> Exposition {
        let mut stream = TcpStream::connect(&self.address).expect("the program listens");
        let request = "GET /metrics HTTP/1.0\r\nHost: test\r\nAccept: text/plain\r\n\r\n";
        stream
            .write_all(request.as_bytes())
            .expect("request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(" 200 "), "{head}");
        Exposition::parse(body)
    }
}

/// Where both programs look.
#[derive(Clone)]
struct Tree {
    procfs: PathBuf,
    sysfs: PathBuf,
    udev: PathBuf,
    rootfs: &'static str,
    collectors: Vec<&'static str>,
}

fn start_theirs(tree: &Tree) -> Running {
    let mut command = Command::new(EXPORTER);
    command.args([
        "--collector.disable-defaults",
        "--web.disable-exporter-metrics",
        "--web.listen-address=127.0.0.1:0",
        "--collector.netdev.device-exclude=^$",
    ]);
    let on = tree
        .collectors
        .iter()
        .map(|name| format!("--collector.{name}"));
    command.args(on);
    command.arg(format!(
        "--collector.diskstats.device-exclude={IGNORE_DISKS}"
    ));
    command.arg(format!(
        "--collector.filesystem.mount-points-exclude={IGNORE_MOUNT_POINTS}"
    ));
    command.arg(format!(
        "--collector.filesystem.fs-types-exclude={IGNORE_FS_TYPES}"
    ));
    command.arg(format!("--path.procfs={}", tree.procfs.display()));
    command.arg(format!("--path.sysfs={}", tree.sysfs.display()));
    command.arg(format!("--path.udev.data={}", tree.udev.display()));
    command.arg(format!("--path.rootfs={}", tree.rootfs));
    if tree.procfs != Path::new("/proc") {
        // Its netlink answers of this machine, whatever path.procfs says.
        command.arg("--no-collector.netdev.netlink");
    }
    Running::start(&mut command, "msg=\"Listening on\" address=")
}

fn start_ours(tree: &Tree, folder: &Path) -> Running {
    let config = folder.join("agent.conf");
    let text = format!(
        "[SERVICE]\n    http_server on\n    http_listen 127.0.0.1\n    http_port 0\n\
         [INPUT]\n    name node_exporter_metrics\n    scrape_interval 1h\n    metrics {}\n    \
         path.procfs {}\n    path.sysfs {}\n    path.udev.data {}\n    path.rootfs {}\n    \
         diskstats.ignore_device_regex {IGNORE_DISKS}\n    \
         filesystem.ignore_mount_point_regex {IGNORE_MOUNT_POINTS}\n    \
         filesystem.ignore_filesystem_type_regex {IGNORE_FS_TYPES}\n\
         [OUTPUT]\n    name null\n    match *\n",
        tree.collectors.join(","),
        tree.procfs.display(),
        tree.sysfs.display(),
        tree.udev.display(),
        tree.rootfs,
    );
    std::fs::write(&config, text).expect("the configuration is written");
    let mut command = Command::new(agent());
    command.arg("-c").arg(config);
    Running::start(&mut command, "listening on ")
}

/// The program that `cargo build` has put beside the folder of this test.
fn agent() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent);
    folder.expect("target/PROFILE").join("kansoku-agent")
}

#[derive(Default, Debug, PartialEq)]
struct Family {
    kind: String,
    help: String,
    /// By `name{labels}`.
    samples: BTreeMap<String, f64>,
}

fn without_newer_label(series: &str) -> String {
    let Some((before, after)) = series.split_once(NEWER_LABEL) else {
        return series.to_owned();
    };
    let (_, rest) = after.split_once("\",").expect("another label follows");
    format!("{before}{rest}")
}

#[derive(Default)]
struct Exposition(BTreeMap<String, Family>);

impl Exposition {
    fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and help");
                help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let series = without_newer_label(series);
                let name = series.split('{').next().unwrap_or(&series);
                let family = families.entry(name.to_owned()).or_default();
                let value = value.parse().expect("a number");
                let before = family.samples.insert(series.clone(), value);
                assert_eq!(before, None, "duplicate series {series}");
            }
        }
        Self(families)
    }

    /// What both programs speak of; the agent's own and the containers' families are another matter.
    fn node(&self) -> BTreeMap<&str, &Family> {
        let is_node = |name: &str| name.starts_with("node_") || name.starts_with("promhttp_");
        let families = self.0.iter().map(|(name, family)| (name.as_str(), family));
        families.filter(|(name, _)| is_node(name)).collect()
    }
}

/// Names, types, help and label sets; gives the pairs of families whose values are to be compared.
fn same_shape<'a>(
    ours: &'a Exposition,
    theirs: &'a Exposition,
) -> Vec<(&'a str, &'a Family, &'a Family)> {
    let (ours, theirs) = (ours.node(), theirs.node());
    let names: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
    let mut out = Vec::new();
    for name in names {
        let difference = difference(name);
        if difference == Some(Difference::TheirsOnly) {
            assert!(!ours.contains_key(name), "{name} is not theirs alone");
            continue;
        }
        if difference == Some(Difference::OursOnly) {
            assert!(!theirs.contains_key(name), "{name} is not ours alone");
            continue;
        }
        let our = ours.get(name).unwrap_or_else(|| panic!("we lack {name}"));
        let their = theirs
            .get(name)
            .unwrap_or_else(|| panic!("they lack {name}"));
        assert_eq!((&our.kind, &our.help), (&their.kind, &their.help), "{name}");
        if difference == Some(Difference::Samples) {
            continue;
        }
        let keys = |family: &Family| family.samples.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(our), keys(their), "series of {name}: ours, theirs");
        if difference.is_none() {
            out.push((name, *our, *their));
        }
    }
    assert!(out.len() > 20, "only {} families to compare", out.len());
    out
}

/// Families of a tree whose values come from this machine after all.
const FROM_THE_MACHINE: [&str; 1] = ["node_time_seconds"];

fn equal_on(tree: &Tree, expected_differences: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, theirs) = (start_ours(tree, folder.path()), start_theirs(tree));
    let (mut ours, mut theirs) = (ours.scrape(), theirs.scrape());
    for name in expected_differences {
        let our = ours.0.remove(*name);
        assert!(
            our != theirs.0.remove(*name),
            "{name} is no difference any more"
        );
    }
    for (name, our, their) in same_shape(&ours, &theirs) {
        if !FROM_THE_MACHINE.contains(&name) {
            assert_eq!(our.samples, their.samples, "{name}: ours, theirs");
        }
    }
}

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

#[test]
fn equal_on_captured_files() {
    let tree = Tree {
        procfs: fixtures("proc"),
        sysfs: fixtures("sys"),
        udev: fixtures("udev"),
        rootfs: "/host",
        collectors: COLLECTORS.to_vec(),
    };
    // Whether a mount is read-only is known also when its size is not; node_exporter says so since
    // 1.6, Debian's 1.5 does not.
    equal_on(&tree, &["node_filesystem_readonly"]);
}

#[test]
fn equal_on_a_tree_of_the_environment() {
    let Some(root) = std::env::var_os("KANSOKU_NODE_EXPORTER_TREE").map(PathBuf::from) else {
        return; // the tree belongs to another project and is not always there
    };
    let tree = Tree {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        udev: root.join("udev/data"),
        rootfs: "/",
        // The tree has neither /proc/1/mounts nor /proc/net/dev, which Debian's version reads.
        collectors: vec![
            "cpu",
            "diskstats",
            "loadavg",
            "meminfo",
            "stat",
            "time",
            "uname",
        ],
    };
    equal_on(&tree, &[]);
}

/// How far apart two readings of a family may be beyond what moved between ours, and why.
fn tolerance(name: &str, before: f64) -> f64 {
    match name {
        // The kernel's idle and iowait times fall by a tick now and then; each program hides that
        // from its own readers only.
        "node_cpu_seconds_total" => 0.05,
        // Pages come and go in microseconds.
        _ if name.starts_with("node_memory_") => (before.abs() * 0.2).max(f64::from(1 << 29)),
        // Blocks and inodes as well.
        "node_filesystem_avail_bytes" | "node_filesystem_free_bytes" => f64::from(1 << 29),
        "node_filesystem_files_free" => 10_000.0,
        // What runs just now, and averages of it.
        "node_procs_running" | "node_procs_blocked" | "node_disk_io_now" => 1000.0,
        "node_load1" | "node_load5" | "node_load15" => 1.0,
        _ => 0.0,
    }
}

#[test]
fn between_two_readings_on_this_machine() {
    let tree = Tree {
        procfs: "/proc".into(),
        sysfs: "/sys".into(),
        udev: "/run/udev/data".into(),
        rootfs: "/",
        collectors: COLLECTORS.to_vec(),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, theirs) = (start_ours(&tree, folder.path()), start_theirs(&tree));
    let (before, between, after) = (ours.scrape(), theirs.scrape(), ours.scrape());
    let mut n_values = 0;
    for (name, our, their) in same_shape(&before, &between) {
        let later = &after.0[name];
        for (series, &first) in &our.samples {
            let (value, last) = (their.samples[series], later.samples[series]);
            let tolerance = tolerance(name, first);
            let (low, high) = (first.min(last) - tolerance, first.max(last) + tolerance);
            assert!(
                (low..=high).contains(&value),
                "{series}: ours {first} and {last}, theirs between them {value}"
            );
            assert!(
                our.kind != "counter" || first <= last,
                "{series} fell: {first} {last}"
            );
            n_values += 1;
        }
    }
    assert!(n_values > 100, "only {n_values} values compared");
}

#[test]
fn the_comparison_sees_a_difference() {
    let text = "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 1\n";
    let other = "# HELP node_load1 1m load average.\n# TYPE node_load1 counter\nnode_load1 1\n";
    let same = Exposition::parse(text);
    let differs = Exposition::parse(other);
    assert_eq!(same.node()["node_load1"].samples["node_load1"], 1.0);
    assert!(same.node()["node_load1"] != differs.node()["node_load1"]);
}
