//! Collectors read the kernel's files into metric batches, one file per collector.
//!
//! Names, labels, types and help are node_exporter's and cAdvisor's. [`COLLECTORS`] is the list of
//! node collectors; a new one is a file, a `mod` line and a line there. What may hang runs on a
//! thread of its own ([`Tier::Background`]), and even a collector that hangs against all expectation
//! costs itself only ([`worker`]).

mod adjtimex;
mod arp;
mod bcache;
mod bcachefs;
mod bonding;
mod btrfs;
mod btrfs_ioctl;
mod buddyinfo;
pub mod cgroup_files;
pub mod cgroup_identity;
pub mod cgroup_tree;
pub mod cgroup_usage;
mod cgroups;
mod conntrack;
pub mod container;
pub mod container_families;
mod container_families_io;
mod container_families_own;
mod container_resource;
mod cpu;
mod cpu_info;
mod cpu_vulnerabilities;
mod cpufreq;
mod dbus;
mod desc;
pub(crate) mod diskstats;
mod dmi;
mod dmmultipath;
mod drbd;
mod drm;
mod edac;
mod entropy;
mod ethtool;
mod ethtool_ioctl;
mod fibrechannel;
mod fields;
mod filefd;
pub(crate) mod filesystem;
pub(crate) mod findings;
pub mod flags;
pub(crate) mod hwmon;
mod infiniband;
mod infiniband_counters;
mod interrupts;
mod ipvs;
pub mod kernel_file;
mod kernel_hung;
mod ksmd;
mod lnstat;
mod loadavg;
mod logind;
pub mod machine;
mod mdadm;
mod meminfo;
mod meminfo_numa;
mod metric_name;
mod mount_list;
mod mountstats;
mod mountstats_families;
mod net_addresses;
mod netclass;
pub(crate) mod netdev;
pub mod netlink;
mod netstat;
mod network_route;
mod nfs;
mod nfs_methods;
mod nfsd;
pub mod node;
mod ntp;
mod nvme;
mod nvmesubsystem;
mod oom_kills;
mod open_files;
mod os;
mod pci_ids;
mod pcidevice;
mod perf;
mod perf_event;
mod perf_events;
mod powersupplyclass;
mod pressure;
mod processes;
mod qdisc;
mod rapl;
mod root_filesystems;
mod runit;
mod schedstat;
mod selinux;
mod slabinfo;
mod sockstat;
mod softirqs;
mod softnet;
mod stat;
pub mod statfs;
mod supervisord;
mod swap;
mod sysctl;
mod sysfs;
pub(crate) mod systemd;
mod tapestats;
mod tcpstat;
pub(crate) mod textfile;
mod thermal_zone;
mod time;
mod timex;
mod udp_queues;
mod uname;
mod vmstat;
mod watchdog;
mod wifi;
mod worker;
mod xfrm;
mod xfs;
mod zfs;
mod zoneinfo;

use std::path::PathBuf;
use std::time::Duration;

use kansoku_model::MetricBatch;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use flags::{Flag, Flags};

/// Reads one subsystem.
pub trait Collector: Send {
    /// Appends the samples of now.
    ///
    /// # Errors
    /// [`NoData`] when the subsystem is not there, anything else when its files are not what they
    /// should be; samples that were appended before stay.
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()>;

    /// Whether there is nothing to read that could be slow, as it stands at the start: then a
    /// background collector runs with the fresh ones and costs no thread.
    fn is_light(&self) -> bool {
        false
    }
}

/// The subsystem is not there: success 0, and nobody has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoData(pub &'static str);

/// An error of reading, as [`NoData`] when a file is simply not there.
pub(crate) trait OrNoData<T> {
    fn or_no_data(self, what: &'static str) -> anyhow::Result<T>;
}

impl<T> OrNoData<T> for anyhow::Result<T> {
    fn or_no_data(self, what: &'static str) -> Self {
        self.map_err(|error| match error.downcast_ref::<std::io::Error>() {
            Some(e) if e.kind() == std::io::ErrorKind::NotFound => error.context(NoData(what)),
            _ => error,
        })
    }
}

/// Where a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// On the one collection thread, fresh at every scrape: reads of the kernel's memory.
    Fresh,
    /// On a thread of its own, for what asks devices, other programs or people's files: a scrape
    /// waits for it a moment and otherwise takes what it gave last.
    Background,
}

/// How long a collector may take before it counts as hanging.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// A node collector as the list knows it. `..Entry::DEFAULT` fills what most have in common.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The label `collector`, the flag `--collector.NAME`, and the word in the option `metrics`.
    pub name: &'static str,
    pub about: &'static str,
    /// Whether node_exporter runs it without being told to.
    pub is_default: bool,
    pub tier: Tier,
    pub deadline: Duration,
    /// The folder of sysfs with an entry for each device that a background collector reads. While it
    /// has none, there is nothing to wait for, and no thread.
    pub devices: Option<&'static str>,
    pub flags: &'static [Flag],
    /// Reads the flags and finds the files.
    pub build: fn(&NodeSpec) -> anyhow::Result<Box<dyn Collector>>,
}

impl Entry {
    /// A collector that runs by default, on the collection thread, without flags.
    pub const DEFAULT: Self = Self {
        name: "",
        about: "",
        is_default: true,
        tier: Tier::Fresh,
        deadline: DEADLINE,
        devices: None,
        flags: &[],
        build: |_| anyhow::bail!("a collector without a constructor"),
    };
}

/// Every node collector, in order of name.
pub const COLLECTORS: &[Entry] = &[
    arp::ENTRY,
    bcache::ENTRY,
    bcachefs::ENTRY,
    bonding::ENTRY,
    btrfs::ENTRY,
    buddyinfo::ENTRY,
    cgroups::ENTRY,
    conntrack::ENTRY,
    cpu::ENTRY,
    cpu_vulnerabilities::ENTRY,
    cpufreq::ENTRY,
    diskstats::ENTRY,
    dmi::ENTRY,
    dmmultipath::ENTRY,
    drbd::ENTRY,
    drm::ENTRY,
    edac::ENTRY,
    entropy::ENTRY,
    ethtool::ENTRY,
    fibrechannel::ENTRY,
    filefd::ENTRY,
    filesystem::ENTRY,
    hwmon::ENTRY,
    infiniband::ENTRY,
    interrupts::ENTRY,
    ipvs::ENTRY,
    kernel_hung::ENTRY,
    ksmd::ENTRY,
    lnstat::ENTRY,
    loadavg::ENTRY,
    logind::ENTRY,
    mdadm::ENTRY,
    meminfo::ENTRY,
    meminfo_numa::ENTRY,
    mountstats::ENTRY,
    netclass::ENTRY,
    netdev::ENTRY,
    netstat::ENTRY,
    network_route::ENTRY,
    nfs::ENTRY,
    nfsd::ENTRY,
    ntp::ENTRY,
    nvme::ENTRY,
    nvmesubsystem::ENTRY,
    os::ENTRY,
    pcidevice::ENTRY,
    perf::ENTRY,
    powersupplyclass::ENTRY,
    pressure::ENTRY,
    processes::ENTRY,
    qdisc::ENTRY,
    rapl::ENTRY,
    runit::ENTRY,
    schedstat::ENTRY,
    selinux::ENTRY,
    slabinfo::ENTRY,
    sockstat::ENTRY,
    softirqs::ENTRY,
    softnet::ENTRY,
    stat::ENTRY,
    supervisord::ENTRY,
    swap::ENTRY,
    sysctl::ENTRY,
    systemd::ENTRY,
    tapestats::ENTRY,
    tcpstat::ENTRY,
    textfile::ENTRY,
    thermal_zone::ENTRY,
    time::ENTRY,
    timex::ENTRY,
    udp_queues::ENTRY,
    uname::ENTRY,
    vmstat::ENTRY,
    watchdog::ENTRY,
    wifi::ENTRY,
    xfrm::ENTRY,
    xfs::ENTRY,
    zfs::ENTRY,
    zoneinfo::ENTRY,
];

/// Where the node's files are, and the collectors' flags.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub procfs: PathBuf,
    pub sysfs: PathBuf,
    pub rootfs: PathBuf,
    /// udev's database of devices.
    pub udev_data: PathBuf,
    pub flags: Flags,
    /// The names of the collectors that run, which a few look at; filled when they are built.
    pub chosen: Vec<&'static str>,
    /// What collectors of the same scrape have asked the kernel; made when they are built.
    pub findings: findings::Findings,
}

impl NodeSpec {
    /// A file or folder below `path.procfs`.
    #[must_use]
    pub fn proc(&self, name: &str) -> PathBuf {
        self.procfs.join(name)
    }

    /// A file or folder below `path.sysfs`.
    #[must_use]
    pub fn sys(&self, name: &str) -> PathBuf {
        self.sysfs.join(name)
    }

    /// A file below the `net` folder of the node's own network, which is that of process 1. A copy of
    /// a procfs, as tests have, may have `net` alone.
    #[must_use]
    pub fn proc_net(&self, name: &str) -> PathBuf {
        let node = self.procfs.join("1/net").join(name);
        if node.exists() || self.is_kernels_procfs() {
            return node;
        }
        self.procfs.join("net").join(name)
    }

    /// Refuses a procfs that does not show the network of process 1. Its own `net` is that of
    /// whoever asks, so that a pod's numbers would pass for the node's.
    ///
    /// # Errors
    /// With the cure.
    pub fn check_procfs(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.is_kernels_procfs() || self.procfs.join("1/net/dev").exists(),
            "{0}/1/net cannot be read, so collectors of the network have no data: {0} must show the node's process 1 (hostPID: true, or --path.procfs at the node's /proc), and a mount with hidepid must let this user in (gid=)",
            self.procfs.display()
        );
        Ok(())
    }

    /// Whether `path.procfs` is a procfs, and not a copy.
    fn is_kernels_procfs(&self) -> bool {
        statfs(&self.procfs).is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC)
    }
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev_data: "/run/udev/data".into(),
            flags: Flags::default(),
            chosen: Vec::new(),
            findings: findings::Findings::default(),
        }
    }
}

#[cfg(test)]
mod tests;
