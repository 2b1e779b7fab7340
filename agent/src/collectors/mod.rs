//! Collectors read the kernel's files into metric batches, one file per collector.
//!
//! Names, labels, types and help are node_exporter's and cAdvisor's. [`COLLECTORS`] is the list of
//! node collectors; a new one is a file, a `mod` line and a line there. What may hang runs in the
//! background inside its collector: `collect` always returns soon.

pub mod cgroup_files;
pub mod cgroup_identity;
pub mod cgroup_tree;
pub mod cgroup_usage;
pub mod container;
pub mod container_families;
mod container_families_io;
mod container_families_own;
mod cpu;
mod diskstats;
mod filesystem;
pub mod kernel_file;
mod loadavg;
pub mod machine;
mod meminfo;
mod netdev;
pub mod node;
mod oom_kills;
mod open_files;
mod root_filesystems;
mod stat;
pub mod statfs;
mod time;
mod uname;

use std::path::PathBuf;
use std::sync::Arc;

use kansoku_model::MetricBatch;
use kansoku_parsers::line::pattern::Pattern;

/// Reads one subsystem.
pub trait Collector: Send {
    /// Appends the samples of now.
    ///
    /// # Errors
    /// When the subsystem is not there or its files are not what they should be; samples that were
    /// appended before stay.
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()>;
}

/// A node collector as the list knows it.
pub struct Entry {
    /// The label `collector`, and the word in the option `metrics`.
    pub name: &'static str,
    pub about: &'static str,
    pub build: fn(&NodeSpec) -> Box<dyn Collector>,
}

/// Every node collector.
pub const COLLECTORS: &[Entry] = &[
    cpu::ENTRY,
    diskstats::ENTRY,
    filesystem::ENTRY,
    loadavg::ENTRY,
    meminfo::ENTRY,
    netdev::ENTRY,
    stat::ENTRY,
    time::ENTRY,
    uname::ENTRY,
];

/// Where the node's files are and what is left out.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub procfs: PathBuf,
    pub sysfs: PathBuf,
    pub rootfs: PathBuf,
    /// udev's database of devices.
    pub udev_data: PathBuf,
    /// Searched in mount points as seen below `rootfs`.
    pub ignore_mount_points: Arc<Pattern>,
    pub ignore_fs_types: Arc<Pattern>,
    pub ignore_disks: Arc<Pattern>,
    /// `None` keeps every interface.
    pub ignore_interfaces: Option<Arc<Pattern>>,
}

/// node_exporter's default for mount points that are left out.
pub const IGNORE_MOUNT_POINTS: &str =
    r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
/// node_exporter's default for file systems that are left out.
pub const IGNORE_FS_TYPES: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$";
/// node_exporter's default for block devices that are left out.
pub const IGNORE_DISKS: &str = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";

impl Default for NodeSpec {
    fn default() -> Self {
        let regex = |pattern| Arc::new(Pattern::new(pattern).expect("own patterns are valid"));
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev_data: "/run/udev/data".into(),
            ignore_mount_points: regex(IGNORE_MOUNT_POINTS),
            ignore_fs_types: regex(IGNORE_FS_TYPES),
            ignore_disks: regex(IGNORE_DISKS),
            ignore_interfaces: None,
        }
    }
}

#[cfg(test)]
mod tests;
