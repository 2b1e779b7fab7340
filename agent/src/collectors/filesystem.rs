//! Sizes of the mounted file systems, from the mount list of process 1 and statfs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::{FamilyId, MetricBatch, MetricKind};
use kansoku_parsers::kernel::mountinfo::{Mount, mounts, unescape};
use nix::errno::Errno;

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::mount_list::MountList;
use super::statfs::{Answer, Prober, ask_now};
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "filesystem",
    about: "sizes of mounted file systems",
    flags: &[
        MOUNT_POINTS_EXCLUDE,
        MOUNT_POINTS_EXCLUDE_OLD,
        MOUNT_POINTS_INCLUDE,
        FS_TYPES_EXCLUDE,
        FS_TYPES_EXCLUDE_OLD,
        FS_TYPES_INCLUDE,
        MOUNT_TIMEOUT,
        STAT_WORKERS,
    ],
    build: |spec| Ok(Box::new(Filesystem::new(spec)?)),
    ..Entry::DEFAULT
};

/// Mount points to leave out, as seen below `path.rootfs`.
pub(crate) const MOUNT_POINTS_EXCLUDE: Flag = Flag::text(
    "collector.filesystem.mount-points-exclude",
    r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
    "Regexp of mount points to exclude for filesystem collector. (mutually exclusive to mount-points-include)",
);
const MOUNT_POINTS_EXCLUDE_OLD: Flag = Flag::deprecated(
    "collector.filesystem.ignored-mount-points",
    MOUNT_POINTS_EXCLUDE.name,
);
const MOUNT_POINTS_INCLUDE: Flag = Flag::text(
    "collector.filesystem.mount-points-include",
    "",
    "Regexp of mount points to include for filesystem collector. (mutually exclusive to mount-points-exclude)",
);
/// File system types to leave out.
pub(crate) const FS_TYPES_EXCLUDE: Flag = Flag::text(
    "collector.filesystem.fs-types-exclude",
    "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$",
    "Regexp of filesystem types to exclude for filesystem collector. (mutually exclusive to fs-types-include)",
);
const FS_TYPES_EXCLUDE_OLD: Flag = Flag::deprecated(
    "collector.filesystem.ignored-fs-types",
    FS_TYPES_EXCLUDE.name,
);
const FS_TYPES_INCLUDE: Flag = Flag::text(
    "collector.filesystem.fs-types-include",
    "",
    "Regexp of filesystem types to include for filesystem collector. (mutually exclusive to fs-types-exclude)",
);

const MOUNT_TIMEOUT: Flag = Flag::text(
    "collector.filesystem.mount-timeout",
    "5s",
    "how long to wait for a mount to respond before marking it as stale",
)
.hidden();
const STAT_WORKERS: Flag = Flag::text(
    "collector.filesystem.stat-workers",
    "4",
    "how many stat calls to process simultaneously",
)
.hidden();
const MOUNT_INFO: Desc = Desc::gauge(
    "node_filesystem_mount_info",
    "Filesystem mount information.",
);

/// Of macOS; node_exporter gives 0 on Linux.
const PURGEABLE: f64 = 0.0;
/// Types whose sizes the kernel has in memory, so that asking cannot hang: these are asked without a thread between, unless
/// the way to them leads through another type.
const LOCAL_TYPES: [&[u8]; 8] = [
    b"ext2", b"ext3", b"ext4", b"overlay", b"ramfs", b"rootfs", b"tmpfs", b"xfs",
];
/// Mounts that are looked at: a node has a few per pod volume. More are left out.
const MAX_MOUNTS: usize = 4096;

struct Filesystem {
    /// Of process 1, whose mounts are the node's; else our own, where `hidepid` hides that.
    lists: [MountList; 2],
    choice: Choice,
    prober: Prober,
    /// What was wanted of the list as it was read last, and which of the two that was.
    used: Option<usize>,
    wanted: Vec<Wanted>,
    /// Of those that the prober asks.
    paths: Vec<PathBuf>,
}

/// Which mounts are wanted.
struct Choice {
    rootfs: PathBuf,
    mount_points: NameFilter,
    fs_types: NameFilter,
}

/// A mount that is wanted.
struct Wanted {
    device: String,
    mount_point: String,
    fs_type: String,
    is_read_only: bool,
    number: (u32, u32),
    /// Where it is asked without the prober.
    local_path: Option<PathBuf>,
}

impl Wanted {
    fn is_same_series(&self, other: &Self) -> bool {
        (&self.device, &self.mount_point, &self.fs_type)
            == (&other.device, &other.mount_point, &other.fs_type)
    }
}

impl Filesystem {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let flags = &spec.flags;
        Ok(Self {
            lists: ["1/mountinfo", "self/mountinfo"]
                .map(|name| MountList::new(spec.procfs.join(name))),
            choice: Choice {
                rootfs: spec.rootfs.clone(),
                mount_points: flags.either_filter(&MOUNT_POINTS_INCLUDE, &MOUNT_POINTS_EXCLUDE)?,
                fs_types: flags.either_filter(&FS_TYPES_INCLUDE, &FS_TYPES_EXCLUDE)?,
            },
            prober: Prober::new(
                flags.duration(&MOUNT_TIMEOUT)?,
                usize::try_from(flags.number(&STAT_WORKERS)?)?,
            ),
            used: None,
            wanted: Vec::new(),
            paths: Vec::new(),
        })
    }

    /// Goes through the mount list if it is another than before.
    fn refresh(&mut self) -> anyhow::Result<()> {
        let [node, own] = &mut self.lists;
        let (at, mount_list) = match node.read() {
            Ok(list) => (0, list),
            Err(_) => (1, own.read().context("failed to read the mount list")?),
        };
        if !mount_list.is_new && self.used == Some(at) {
            return Ok(());
        }
        self.used = None;
        let (mut all, mut paths): (Vec<Wanted>, Vec<PathBuf>) = (Vec::new(), Vec::new());
        let others = mount_points_that_may_hang(mount_list.text);
        for mount in mounts(mount_list.text).take(MAX_MOUNTS) {
            let mount = mount?;
            let Some((mut wanted, path)) = self.choice.wanted(&mount) else {
                continue;
            };
            // What is mounted twice at one place is one series; the first is given.
            if all.iter().any(|known| known.is_same_series(&wanted)) {
                continue;
            }
            let is_local = LOCAL_TYPES.contains(&mount.fs_type)
                && !others.iter().any(|other| path.starts_with(other));
            if is_local {
                wanted.local_path = Some(path);
            } else {
                paths.push(path);
            }
            all.push(wanted);
        }
        (self.wanted, self.paths, self.used) = (all, paths, Some(at));
        Ok(())
    }
}

impl Choice {
    /// The mount as the node sees it, unless it is to be left out.
    fn wanted(&self, mount: &Mount<'_>) -> Option<(Wanted, PathBuf)> {
        let path = unescape(mount.mount_point);
        let path = Path::new(OsStr::from_bytes(&path));
        // Below the node's root as it is mounted here: `/host/root/boot` is `/boot`.
        let inner = match path.strip_prefix(&self.rootfs) {
            Ok(inner) => Path::new("/").join(inner),
            Err(_) => path.to_owned(),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let wanted = Wanted {
            device: text(mount.source),
            mount_point: text(inner.as_os_str().as_bytes()),
            fs_type: text(mount.fs_type),
            is_read_only: mount.is_read_only(),
            number: mount.device,
            local_path: None,
        };
        if self.mount_points.is_ignored(&wanted.mount_point)
            || self.fs_types.is_ignored(&wanted.fs_type)
        {
            return None;
        }
        let relative = inner.strip_prefix("/").unwrap_or(&inner);
        Some((wanted, self.rootfs.join(relative)))
    }
}

impl Collector for Filesystem {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.refresh()?;
        let answers = match self.paths.is_empty() {
            true => Vec::new(),
            false => self.prober.ask(&self.paths),
        };
        let mut answers = answers.into_iter();
        let families = Families::new(out);
        for mount in &self.wanted {
            let answer = match &mount.local_path {
                Some(path) => ask_now(path),
                None => answers.next().unwrap_or(Answer::NotYet),
            };
            families.sample(out, mount, answer);
        }
        Ok(())
    }
}

/// Where file systems of other than the local types are mounted, as our own paths.
fn mount_points_that_may_hang(list: &[u8]) -> Vec<PathBuf> {
    let others = mounts(list).flatten();
    let others = others.filter(|mount| !LOCAL_TYPES.contains(&mount.fs_type));
    let path = |mount: Mount<'_>| PathBuf::from(OsStr::from_bytes(&unescape(mount.mount_point)));
    others.map(path).collect()
}

struct Families {
    device_error: FamilyId,
    read_only: FamilyId,
    sizes: [FamilyId; 6],
}

impl Families {
    fn new(out: &mut MetricBatch) -> Self {
        let mut gauge = |name, help| out.family(name, MetricKind::Gauge, help);
        Self {
            device_error: gauge(
                "node_filesystem_device_error",
                "Whether an error occurred while getting statistics for the given device.",
            ),
            read_only: gauge("node_filesystem_readonly", "Filesystem read-only status."),
            sizes: [
                gauge("node_filesystem_size_bytes", "Filesystem size in bytes."),
                gauge(
                    "node_filesystem_free_bytes",
                    "Filesystem free space in bytes.",
                ),
                gauge(
                    "node_filesystem_avail_bytes",
                    "Filesystem space available to non-root users in bytes.",
                ),
                gauge("node_filesystem_files", "Filesystem total file nodes."),
                gauge(
                    "node_filesystem_files_free",
                    "Filesystem total free file nodes.",
                ),
                gauge(
                    "node_filesystem_purgeable_bytes",
                    "Filesystem space available including purgeable space (MacOS specific).",
                ),
            ],
        }
    }

    fn sample(&self, out: &mut MetricBatch, mount: &Wanted, answer: Answer) {
        let (sizes, error) = match answer {
            Answer::NotYet => return,
            Answer::Sizes(sizes) => (Some(sizes), String::new()),
            Answer::Failed(errno) => (None, error_text(errno)),
            Answer::Stuck => (None, "mountpoint timeout".to_owned()),
        };
        let labels = [
            ("device", mount.device.as_str()),
            ("device_error", &error),
            ("fstype", &mount.fs_type),
            ("mountpoint", &mount.mount_point),
        ];
        let is_error = f64::from(u8::from(sizes.is_none()));
        out.sample(self.device_error, &labels, is_error);
        // By the node's list of mounts, not by statfs(2): a pod has the node's root mounted read-only.
        let is_read_only = f64::from(u8::from(mount.is_read_only));
        out.sample(self.read_only, &labels, is_read_only);
        if let Some(s) = sizes {
            let values = [
                s.size_bytes,
                s.free_bytes,
                s.available_bytes,
                s.files,
                s.files_free,
                PURGEABLE,
            ];
            for (family, value) in self.sizes.into_iter().zip(values) {
                out.sample(family, &labels, value);
            }
            let (major, minor) = mount.number;
            let labels = [
                ("device", mount.device.as_str()),
                ("major", &major.to_string()),
                ("minor", &minor.to_string()),
                ("mountpoint", &mount.mount_point),
            ];
            MOUNT_INFO.sample(out, &labels, 1.0);
        }
    }
}

/// The error as Go words it: in lower case.
fn error_text(errno: Errno) -> String {
    match errno {
        Errno::ESTALE => "stale NFS file handle".to_owned(),
        errno => errno.desc().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_seen_from_the_nodes_root() {
        let line = |path: &str, kind: &str| format!("1 2 3:4 / {path} rw - {kind} /dev/x rw\n");
        let cases = [
            ("/", "/", "ext4", Some(("/", "/"))),
            ("/", "/boot\\040a", "ext4", Some(("/boot a", "/boot a"))),
            ("/host", "/host", "ext4", Some(("/", "/host/"))),
            ("/host", "/host/data", "ext4", Some(("/data", "/host/data"))),
            (
                "/host",
                "/hostile",
                "ext4",
                Some(("/hostile", "/host/hostile")),
            ),
            ("/host", "/host/proc/x", "ext4", None),
            ("/", "/data", "cgroup2", None),
            (
                "/",
                "/procession",
                "ext4",
                Some(("/procession", "/procession")),
            ),
        ];
        for (rootfs, path, kind, expected) in cases {
            let filesystem = Filesystem::new(&NodeSpec {
                rootfs: rootfs.into(),
                ..NodeSpec::default()
            })
            .expect("the defaults are valid");
            let line = line(path, kind);
            let mount = mounts(line.as_bytes()).next().expect("a line");
            let got = filesystem.choice.wanted(&mount.expect("a mount"));
            let got = got.map(|(w, path)| (w.mount_point, path));
            let expected = expected.map(|(m, p)| (m.to_owned(), PathBuf::from(p)));
            assert_eq!(got, expected, "{rootfs} {path}");
        }
    }

    #[test]
    fn read_only_is_what_the_node_says_not_the_pods_mount() {
        // Read-only file systems of this machine, of which the node says "rw", as a pod sees them.
        let own = std::fs::read("/proc/self/mountinfo").expect("mounts of this process");
        let read_only = mounts(&own).filter_map(|m| m.ok().filter(Mount::is_read_only));
        let mut paths: Vec<PathBuf> = read_only
            .map(|m| PathBuf::from(String::from_utf8_lossy(m.mount_point).into_owned()))
            .collect();
        paths.push("/".into());
        let node = |options: &str| {
            let line =
                |path: &Path| format!("1 2 3:4 / {} {options} - ext4 /dev/x rw\n", path.display());
            paths.iter().map(|p| line(p)).collect::<String>()
        };
        for (options, expected) in [("rw,relatime", 0.0), ("ro,relatime", 1.0)] {
            let proc = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(proc.path().join("1")).expect("made");
            std::fs::write(proc.path().join("1/mountinfo"), node(options)).expect("written");
            let mut filesystem = Filesystem::new(&NodeSpec {
                procfs: proc.path().into(),
                ..NodeSpec::default()
            })
            .expect("the defaults are valid");
            let values = loop {
                let mut out = MetricBatch::default();
                filesystem.collect(&mut out).expect("mounts are read");
                let points = out.points().iter();
                let values: Vec<_> = points
                    .filter(|p| out.text(out.family_of(p).name) == "node_filesystem_readonly")
                    .map(|p| p.value)
                    .collect();
                // Sizes are asked in the background.
                if !values.is_empty() {
                    break values;
                }
                std::thread::yield_now();
            };
            assert!(
                values.iter().all(|v| *v == expected),
                "{options}: {values:?}"
            );
        }
    }
}
