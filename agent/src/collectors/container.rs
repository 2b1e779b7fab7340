//! Usage and limits of every cgroup, under cAdvisor's names and labels.
//!
//! One walk over the trees and one read per file; no thread, no timer and no history per container.
//! Pod and container names come from the cluster's table of this node's pods; a cgroup that is not in
//! it has its `id` alone. The rule: a collection never waits for the cluster.
//!
//! What the kubelet shows and this does not, as it is always 0 there (its load reader is off):
//! `container_cpu_load_average_10s`, `container_cpu_load_d_average_10s` and `container_tasks_state`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::metric::Point;
use kansoku_model::{MetricBatch, Suffix};
use kansoku_parsers::kernel::{diskstats, net_dev, pid_limits, pid_stat};

use super::cgroup_files::{CgroupFiles, Expected};
use super::cgroup_identity::identify;
use super::cgroup_tree::{Trees, Walker};
use super::cgroup_usage::MemoryLimits;
use super::container_families::{DeviceNames, OOM_EVENTS, PLAIN, Reading};
use super::container_families_io::LABELLED;
use super::container_families_own::{OWN, OWN_LABELLED};
use super::container_resource;
use super::kernel_file::KernelFile;
use super::machine::Machine;
use super::netdev::network_of;
use super::oom_kills::{KillCount, OomKills};
use super::open_files::{self, Allowance};
use super::root_filesystems::RootFilesystems;
use crate::kubernetes::Pods;

/// Collections between two readings of a cgroup's limits and of the machine: they change seldom.
const LIMITS_EVERY: u32 = 4;
/// Of those, between two readings of limits that nobody changes while the cgroup is there.
const ALL_LIMITS_EVERY: u32 = 4;
/// Interfaces of one network that are given.
const MAX_INTERFACES: usize = 64;
/// Files of one container's log: the kubelet keeps five generations.
const MAX_LOG_FILES: usize = 64;
/// The kernel's log.
pub const KERNEL_LOG: &str = "/dev/kmsg";
/// The program that keeps a pod's network alive, in every runtime.
const SANDBOX_COMMAND: &str = "pause";

/// Where the trees and the processes are.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    pub cgroup_root: PathBuf,
    pub procfs: PathBuf,
    pub sysfs: PathBuf,
    pub rootfs: PathBuf,
    /// Where the kernel tells of processes that it killed.
    pub kernel_log: PathBuf,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        Self {
            cgroup_root: "/sys/fs/cgroup".into(),
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            kernel_log: KERNEL_LOG.into(),
        }
    }
}

/// Reads all cgroups.
pub struct ContainerCollector {
    spec: ContainerSpec,
    trees: Trees,
    walker: Walker,
    pods: Arc<Pods>,
    cgroups: BTreeMap<String, Cgroup>,
    machine: Machine,
    /// Collections until limits are read again.
    limits_in: u32,
    /// And those until all of them are.
    all_limits_in: u32,
    devices: DeviceNames,
    diskstats: KernelFile,
    filesystems: RootFilesystems,
    oom_kills: OomKills,
    kill_count: KillCount,
    buf: Vec<u8>,
}

/// What a collection reads.
#[derive(Clone, Copy)]
struct Turn {
    now_s: u64,
    has_limits: bool,
    has_all_limits: bool,
    has_kills: bool,
}

struct Cgroup {
    files: CgroupFiles,
    is_in_pod: bool,
    reading: Reading,
    process: Process,
    /// Limits were never read.
    is_new: bool,
    /// It was read in this collection, or is not there any more.
    is_read: bool,
    is_gone: bool,
    /// Periods and throttled periods at the collection before.
    throttled: Option<(u64, u64)>,
}

/// The files of a cgroup's first process.
#[derive(Default)]
struct Process {
    pid: Option<u64>,
    /// Whether it holds its pod's network, as far as the cluster told.
    sandbox: Option<bool>,
    /// Set when the process owns a network that is to be shown here.
    net_dev: Option<KernelFile>,
}

impl ContainerCollector {
    /// Finds the cgroup trees.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(spec: ContainerSpec, pods: Arc<Pods>) -> anyhow::Result<Self> {
        Ok(Self {
            trees: Trees::find(&spec.cgroup_root)?,
            walker: Walker::default(),
            pods,
            cgroups: BTreeMap::new(),
            machine: Machine::default(),
            limits_in: 0,
            all_limits_in: 0,
            devices: HashMap::new(),
            diskstats: KernelFile::whole(spec.procfs.join("diskstats")),
            filesystems: RootFilesystems::new(&spec.procfs, &spec.rootfs),
            oom_kills: OomKills::new(&spec.kernel_log),
            kill_count: KillCount::new(&spec.procfs),
            buf: Vec::new(),
            spec,
        })
    }

    /// Appends the samples of all cgroups and of the machine.
    pub fn collect(&mut self, now_s: u64, out: &mut MetricBatch) {
        self.read(now_s);
        self.emit(out);
        self.machine.collect(out);
    }

    /// Appends what the kubelet serves as `/metrics/resource`.
    pub fn collect_resource(&mut self, now_s: u64, out: &mut MetricBatch) {
        self.read(now_s);
        let readings = self
            .cgroups
            .iter()
            .map(|(path, c)| (path.as_str(), &c.reading));
        container_resource::emit(readings, &self.pods, out);
    }

    fn read(&mut self, now_s: u64) {
        self.read_limits_soon();
        let turn = Turn {
            now_s,
            has_limits: self.limits_in == 0,
            has_all_limits: self.limits_in == 0 && self.all_limits_in == 0,
            has_kills: self.kill_count.has_grown(&mut self.buf),
        };
        self.oom_kills.read();
        self.oom_kills.forget(now_s);
        let is_full = turn.has_limits || self.cgroups.is_empty();
        self.find(is_full, now_s);
        if self.read_cgroups(turn) {
            // One that is gone may have made room for another one in its folder.
            self.walker.forget();
            self.find(is_full, now_s);
            self.read_cgroups(turn);
        }
        for cgroup in self.cgroups.values_mut() {
            cgroup.is_read = false;
        }
        if let Some(root) = self.cgroups.get_mut("/") {
            let mut disks = Vec::new();
            self.diskstats.read_if_there(&mut disks);
            root.reading.filesystems = self.filesystems.read(&disks);
        }
        self.name_devices();
    }

    /// Looks which cgroups there are.
    fn find(&mut self, is_full: bool, now_s: u64) {
        let paths = self.walker.walk(&self.trees, is_full);
        self.cgroups.retain(|path, cgroup| {
            let stays = paths.contains(path);
            if !stays && cgroup.files.is_container() {
                let names = Names::of(path, &self.pods);
                let counted = cgroup.reading.oom_kills.unwrap_or(0);
                self.oom_kills.ended(path, names, Some(counted), now_s);
            }
            stays
        });
        for path in self.oom_kills.strangers(|path| paths.contains(path)) {
            let names = Names::of(&path, &self.pods);
            // Waits until the cluster tells whose it was.
            if !names.pod.is_empty() {
                self.oom_kills.ended(&path, names, None, now_s);
            }
        }
        for path in paths {
            if !self.cgroups.contains_key(&path) {
                let identity = identify(&path);
                let files = CgroupFiles::new(&self.trees, &path, identity.container_id.is_some());
                let is_in_pod = identity.pod_uid.is_some();
                let cgroup = Cgroup::new(files, is_in_pod, self.machine.boot_time_s);
                self.cgroups.insert(path, cgroup);
            }
        }
    }

    /// Reads the cgroups that were not read in this collection yet; whether one of them has gone since.
    fn read_cgroups(&mut self, turn: Turn) -> bool {
        let mut is_any_gone = false;
        let mut allowed = Allowance::default();
        for (at, (path, cgroup)) in self.cgroups.iter_mut().enumerate() {
            if std::mem::replace(&mut cgroup.is_read, true) {
                continue;
            }
            let is_root = path == "/";
            // What the cluster says of a new pod comes late: asked again with the limits.
            if turn.has_limits && cgroup.is_in_pod {
                let sandbox = listed_as_sandbox(path, &self.pods);
                if sandbox != cgroup.process.sandbox {
                    cgroup.process = Process::default();
                }
            }
            cgroup.read(
                &self.spec,
                turn,
                is_root,
                || listed_as_sandbox(path, &self.pods),
                &mut self.buf,
            );
            is_any_gone |= std::mem::take(&mut cgroup.is_gone);
            // Each cgroup has its turn, so that the work is spread over the collections.
            let is_first = cgroup.reading.open_files.is_none();
            if at as u32 % LIMITS_EVERY == self.limits_in || is_first {
                if cgroup.files.is_container() && cgroup.is_in_pod {
                    let reading = &mut cgroup.reading;
                    let rootfs = &self.spec.rootfs;
                    (reading.written_bytes, reading.log_bytes) = storage(path, rootfs, &self.pods);
                }
                cgroup.files.procs(&mut self.buf);
                let counted = open_files::count(&self.spec.procfs, &self.buf, &mut allowed);
                (cgroup.reading.open_files, cgroup.reading.sockets) = counted;
            }
            cgroup.reading.oom_kills = self
                .oom_kills
                .of(path, cgroup.reading.usage.memory.as_ref());
            if is_root {
                let memory = &mut cgroup.reading.limits.memory;
                *memory = Some(MemoryLimits {
                    limit: self.machine.memory_bytes,
                    swap_limit: self.machine.swap_bytes,
                    ..memory.unwrap_or_default()
                });
            }
        }
        is_any_gone
    }

    fn read_limits_soon(&mut self) {
        if self.limits_in == 0 {
            self.limits_in = LIMITS_EVERY;
            self.all_limits_in = self
                .all_limits_in
                .checked_sub(1)
                .unwrap_or(ALL_LIMITS_EVERY - 1);
        }
        self.limits_in -= 1;
        if self.limits_in == 0 || self.machine.memory_bytes == 0 {
            let spec = &self.spec;
            self.machine = Machine::read(&spec.procfs, &spec.sysfs, &spec.rootfs);
        }
    }

    fn name_devices(&mut self) {
        let is_named = |c: &Cgroup| {
            let mut devices = c.reading.usage.io.iter();
            devices.all(|d| self.devices.contains_key(&(d.major, d.minor)))
        };
        if self.cgroups.values().all(is_named) || !self.diskstats.read_if_there(&mut self.buf) {
            return;
        }
        self.devices.clear();
        for disk in diskstats::disks(&self.buf).flatten() {
            let name = format!("/dev/{}", disk.name);
            self.devices.insert((disk.major, disk.minor), name);
        }
    }

    fn emit(&self, out: &mut MetricBatch) {
        let names: Vec<Names> = self
            .cgroups
            .keys()
            .map(|path| Names::of(path, &self.pods))
            .collect();
        let sets: Vec<(u32, u32)> = self
            .cgroups
            .keys()
            .zip(&names)
            .map(|(path, names)| out.label_set(names.labels(path)))
            .collect();
        for family in PLAIN.iter().chain(OWN) {
            let mut id = None;
            for (cgroup, labels) in self.cgroups.values().zip(&sets) {
                let Some(value) = (family.value)(&cgroup.reading) else {
                    continue;
                };
                let family = *id
                    .get_or_insert_with(|| out.new_family(family.name, family.kind, family.help));
                out.push(Point {
                    family,
                    suffix: Suffix::None,
                    labels: *labels,
                    time_ms: None,
                    value,
                });
            }
            if family.name == OOM_EVENTS {
                for (path, names, killed) in self.oom_kills.ended_lately() {
                    let id = out.family(family.name, family.kind, family.help);
                    out.sample(id, &names.labels(path), killed as f64);
                }
            }
        }
        // Families of one device or interface have the same labels.
        let mut longer: Vec<Vec<(u32, u32)>> = vec![Vec::new(); sets.len()];
        for family in LABELLED.iter().chain(OWN_LABELLED) {
            let mut id = None;
            for ((cgroup, base), known) in self.cgroups.values().zip(&sets).zip(&mut longer) {
                (family.each)(&self.devices, &cgroup.reading, &mut |further, value| {
                    let family = *id.get_or_insert_with(|| {
                        out.new_family(family.name, family.kind, family.help)
                    });
                    let is_same = |set: &(u32, u32)| {
                        let set = out.pairs_of(*set);
                        set.len() == base.1 as usize + further.len()
                            && set.skip(base.1 as usize).eq(further.iter().copied())
                    };
                    let found = known.iter().copied().find(is_same);
                    let labels = found.unwrap_or_else(|| {
                        let labels = out.longer_label_set(*base, further.iter().copied());
                        known.push(labels);
                        labels
                    });
                    out.push(Point {
                        family,
                        suffix: Suffix::None,
                        labels,
                        time_ms: None,
                        value,
                    });
                });
            }
        }
    }
}

impl Cgroup {
    fn new(files: CgroupFiles, is_in_pod: bool, boot_time_s: u64) -> Self {
        let created_s = files.created_s().unwrap_or(0).max(boot_time_s);
        Self {
            files,
            is_in_pod,
            reading: Reading::new(created_s),
            process: Process::default(),
            is_new: true,
            is_read: false,
            is_gone: false,
            throttled: None,
        }
    }

    fn read(
        &mut self,
        spec: &ContainerSpec,
        turn: Turn,
        is_root: bool,
        sandbox: impl FnOnce() -> Option<bool>,
        buf: &mut Vec<u8>,
    ) {
        let reading = &mut self.reading;
        reading.now_s = turn.now_s;
        let is_new = std::mem::take(&mut self.is_new);
        let is_limits_turn = is_new || turn.has_limits;
        // Without a quota nothing is slowed down; a new one is seen with the limits.
        let quota = reading.limits.cpu.and_then(|cpu| cpu.quota_us);
        let expected = Expected {
            quota: quota.is_some() || is_limits_turn,
            kills: turn.has_kills,
        };
        let had = reading.usage.counts();
        self.files.usage(buf, expected, &mut reading.usage);
        self.is_gone = had && !reading.usage.counts();
        if is_limits_turn {
            let has_all = is_new || turn.has_all_limits;
            reading.limits = self.files.limits(buf, has_all, reading.limits);
        }
        reading.throttled_ratio = reading.usage.cpu.and_then(|cpu| {
            let now = (cpu.periods, cpu.throttled_periods);
            let before = self.throttled.replace(now)?;
            let periods = now.0.checked_sub(before.0).filter(|n| *n > 0)?;
            Some(now.1.saturating_sub(before.1) as f64 / periods as f64)
        });
        let pid = if is_root {
            Some(1)
        } else {
            reading
                .usage
                .first_pid
                .filter(|_| self.files.is_container())
        };
        let is_new_process = pid != self.process.pid;
        if is_new_process {
            let sandbox = if self.is_in_pod {
                sandbox()
            } else {
                Some(true)
            };
            self.process = Process::find(spec, pid, is_root, sandbox, buf);
        }
        reading.interfaces.clear();
        if let Some(file) = &mut self.process.net_dev
            && file.read_if_there(buf)
        {
            let interfaces = net_dev::interfaces(buf).flatten();
            let shown = interfaces.filter(|i| !is_virtual(i.name));
            let owned = shown.map(|i| (i.name.to_owned(), i.values));
            reading.interfaces.extend(owned.take(MAX_INTERFACES));
        }
        if is_limits_turn || is_new_process {
            let mut open_files = None;
            if let Some(pid) = pid
                && KernelFile::whole(spec.procfs.join(format!("{pid}/limits"))).read_if_there(buf)
            {
                open_files = pid_limits::open_files(buf);
            }
            reading.open_files_limit = open_files.map(|limit| limit.map_or(-1.0, |n| n as f64));
        }
    }
}

impl Process {
    /// The network of a pod is shown once, at its sandbox; that of the node at the root. A container
    /// in the node's network shows none, or the node's traffic would count once per such pod.
    fn find(
        spec: &ContainerSpec,
        pid: Option<u64>,
        is_root: bool,
        sandbox: Option<bool>,
        buf: &mut Vec<u8>,
    ) -> Self {
        let Some(number) = pid else {
            return Self::default();
        };
        let folder = spec.procfs.join(number.to_string());
        let own = network_of(&spec.procfs, &number.to_string());
        let is_node_network = own == network_of(&spec.procfs, "1");
        let is_sandbox = sandbox.unwrap_or_else(|| {
            KernelFile::whole(folder.join("stat")).read_if_there(buf)
                && pid_stat::parse(buf).is_ok_and(|s| s.command == SANDBOX_COMMAND)
        });
        let is_shown = is_root || is_sandbox && !is_node_network;
        Self {
            pid,
            sandbox,
            net_dev: is_shown.then(|| KernelFile::whole(folder.join("net/dev"))),
        }
    }
}

/// Whether a container's cgroup is its pod's sandbox: the one that is in no container list once all
/// containers of the pod have their ids. `None` while the cluster has not told.
fn listed_as_sandbox(path: &str, pods: &Pods) -> Option<bool> {
    let identity = identify(path);
    let id = identity.container_id?;
    if pods.by_container_id(id).is_some() {
        return Some(false);
    }
    if let Some(known) = pods.runtime.by_id(id) {
        return Some(known.is_sandbox());
    }
    let pod = pods.by_uid(identity.pod_uid.as_deref()?)?;
    let is_complete = !pod.containers.is_empty() && pod.containers.iter().all(|c| !c.id.is_empty());
    is_complete.then_some(true)
}

/// What a container takes of the node's disk: its writable layer, as the runtime counts it, and its
/// log's files, which the kubelet keeps in a folder of their own.
fn storage(path: &str, rootfs: &Path, pods: &Pods) -> (Option<u64>, Option<u64>) {
    let identity = identify(path);
    let (Some(id), Some(uid)) = (identity.container_id, &identity.pod_uid) else {
        return (None, None);
    };
    let written = pods
        .runtime
        .by_id(id)
        .and_then(|known| known.writable_bytes);
    let names = Names::of(path, pods);
    if names.container.is_empty() {
        return (written, None);
    }
    let pod = format!("{}_{}_{uid}", names.namespace, names.pod);
    let folder = rootfs.join("var/log/pods").join(pod).join(&names.container);
    let logs = std::fs::read_dir(folder).ok().map(|entries| {
        let files = entries.flatten().take(MAX_LOG_FILES);
        let sizes = files
            .filter_map(|e| e.metadata().ok())
            .filter(std::fs::Metadata::is_file);
        sizes.map(|m| m.len()).sum()
    });
    (written, logs)
}

/// Interfaces that cAdvisor leaves out, because they repeat the traffic of others.
fn is_virtual(interface: &str) -> bool {
    interface == "lo"
        || ["veth", "docker", "nerdctl"]
            .iter()
            .any(|prefix| interface.starts_with(prefix))
}

/// What a cgroup is called in the cluster; empty where that is not known.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) container: String,
    image: String,
    name: String,
    pub(super) namespace: String,
    pub(super) pod: String,
}

impl Names {
    pub(super) fn of(path: &str, pods: &Pods) -> Self {
        let identity = identify(path);
        let mut names = Self {
            name: identity.container_id.unwrap_or("").to_owned(),
            ..Self::default()
        };
        let found = identity
            .container_id
            .and_then(|id| pods.by_container_id(id));
        if let Some(found) = &found {
            names.container.clone_from(&found.container().name);
            names.image.clone_from(&found.container().image);
        }
        // A sandbox is in no container list; its pod is known by the path.
        let pod = found
            .map(|f| f.pod)
            .or_else(|| pods.by_uid(identity.pod_uid.as_deref()?));
        if let Some(pod) = pod {
            names.pod.clone_from(&pod.name);
            names.namespace.clone_from(&pod.namespace);
        }
        let is_incomplete = names.image.is_empty() || names.pod.is_empty();
        if let Some(id) = identity.container_id.filter(|_| is_incomplete)
            && let Some(known) = pods.runtime.by_id(id)
        {
            names.container.clone_from(&known.container);
            names.image.clone_from(&known.image);
            names.pod.clone_from(&known.pod);
            names.namespace.clone_from(&known.namespace);
        }
        names
    }

    pub(super) fn labels<'a>(&'a self, path: &'a str) -> [(&'static str, &'a str); 6] {
        [
            ("container", &self.container),
            ("id", path),
            ("image", &self.image),
            ("name", &self.name),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{Container, Pod};

    #[test]
    fn a_sandbox_is_what_no_list_of_a_complete_pod_names() {
        let uid = "11a3312f-c3a7-48af-98b0-92b4e6bf4f3b";
        let (first, second, other) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let verdict = |ids: &[&str], asked: &str| {
            let pods = Pods::default();
            let containers = ids.iter().map(|id| Container {
                id: (*id).to_owned(),
                ..Container::default()
            });
            pods.apply(Pod {
                uid: uid.into(),
                containers: containers.collect(),
                ..Pod::default()
            });
            listed_as_sandbox(&format!("/kubepods/burstable/pod{uid}/{asked}"), &pods)
        };
        assert_eq!(verdict(&[&first, &second], &other), Some(true));
        assert_eq!(verdict(&[&first, &second], &second), Some(false));
        assert_eq!(
            verdict(&[&first, ""], &other),
            None,
            "one has not started yet"
        );
        assert_eq!(verdict(&[], &other), None);
        let unknown = Pods::default();
        assert_eq!(
            listed_as_sandbox(&format!("/kubepods/pod{uid}/{other}"), &unknown),
            None
        );
    }
}
