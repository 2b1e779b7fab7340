//! The node's file systems as cAdvisor shows them at the root: one per device, with its disk.
//!
//! Source: cAdvisor `lib/fs`. A device that is mounted twice is shown once, at its first mount; a
//! tmpfs has no device and is named after its mount point. Sizes come from [`Prober`], so a file
//! system that hangs keeps nobody waiting: it has no sizes then.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kansoku_parsers::kernel::diskstats::{self, MAX_VALUES};
use kansoku_parsers::kernel::mountinfo::{Mount, mounts, unescape};

use super::mount_list::MountList;
use super::statfs::{Answer, Prober, Sizes};

/// File systems that are looked at: a node has a tmpfs or two per pod. More are left out.
const MAX_FILESYSTEMS: usize = 1024;

/// A file system now.
#[derive(Debug, Clone, PartialEq)]
pub struct RootFilesystem {
    /// `/dev/NAME` as it was mounted, or the mount point of a tmpfs.
    pub device: String,
    /// `None` while it does not answer.
    pub sizes: Option<Sizes>,
    /// The columns of diskstats after the name.
    pub disk: Option<[u64; MAX_VALUES]>,
}

/// Reads them.
pub struct RootFilesystems {
    /// Of process 1, whose mounts are the node's.
    mounts: MountList,
    /// What of them has storage, as the list was read last.
    places: BTreeMap<String, Place>,
    rootfs: PathBuf,
    prober: Prober,
}

/// Where a device is mounted.
#[derive(Debug, PartialEq)]
struct Place {
    path: PathBuf,
    number: (u32, u32),
}

impl RootFilesystems {
    /// Of the node whose files are there.
    #[must_use]
    pub fn new(procfs: &Path, rootfs: &Path) -> Self {
        Self {
            mounts: MountList::new(procfs.join("1/mountinfo")),
            places: BTreeMap::new(),
            rootfs: rootfs.to_owned(),
            prober: Prober::default(),
        }
    }

    /// The file systems now; `diskstats` is that file's content.
    pub fn read(&mut self, disks: &[u8]) -> Vec<RootFilesystem> {
        match self.mounts.read() {
            Ok(list) if list.is_new => self.places = places(list.text, &self.rootfs),
            Ok(_) => {}
            Err(_) => return Vec::new(),
        }
        let paths: Vec<PathBuf> = self.places.values().map(|p| p.path.clone()).collect();
        let answers = self.prober.ask(&paths);
        let disks: Vec<_> = diskstats::disks(disks).flatten().collect();
        let described = self.places.iter().zip(answers);
        let filesystems = described.map(|((device, place), answer)| RootFilesystem {
            sizes: match answer {
                Answer::Sizes(sizes) => Some(sizes),
                Answer::Failed(_) | Answer::Stuck | Answer::NotYet => None,
            },
            disk: disks
                .iter()
                .find(|d| device.strip_prefix("/dev/") == Some(d.name))
                .or_else(|| disks.iter().find(|d| (d.major, d.minor) == place.number))
                .map(|d| d.values),
            device: device.clone(),
        });
        filesystems.collect()
    }
}

fn places(mountinfo: &[u8], rootfs: &Path) -> BTreeMap<String, Place> {
    let mut found = BTreeMap::new();
    for mount in mounts(mountinfo).flatten() {
        if found.len() >= MAX_FILESYSTEMS {
            break;
        }
        let path = unescape(mount.mount_point);
        let Some(device) = device(&mount, &path) else {
            continue;
        };
        let inner = Path::new(OsStr::from_bytes(&path));
        // Seen from the node's root: process 1 knows nothing of where its root is mounted here.
        let relative = inner.strip_prefix("/").unwrap_or(inner);
        found.entry(device).or_insert_with(|| Place {
            path: rootfs.join(relative),
            number: mount.device,
        });
    }
    found
}

/// What a file system is called; `None` for those without storage.
fn device(mount: &Mount<'_>, mount_point: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match mount.fs_type {
        b"tmpfs" => Some(text(mount_point)),
        b"ext2" | b"ext3" | b"ext4" | b"xfs" | b"btrfs" | b"zfs" | b"squashfs" | b"f2fs"
        | b"jfs" | b"reiserfs" | b"hfs" | b"hfsplus" | b"ntfs" | b"vfat" | b"fat" | b"msdos"
        | b"exfat" | b"udf" | b"iso9660" => Some(text(mount.source)),
        // Those of containers repeat the sizes of the file system below them.
        b"overlay" if mount_point == b"/" => {
            let (major, minor) = mount.device;
            Some(format!("{}_{major}-{minor}", text(mount.source)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
1 0 254:1 / / rw - ext4 /dev/vda1 rw
2 1 0:5 / /proc rw - proc proc rw
3 1 0:21 / /dev/shm rw - tmpfs tmpfs rw
4 1 254:1 /x /var/lib/kubelet/pods/u/volume-subpaths/x rw - ext4 /dev/vda1 rw
5 1 259:3 / /data\\040a rw - xfs /dev/nvme0n1p3 rw
6 1 0:99 / /run/containerd/rootfs rw - overlay overlay rw
";

    #[test]
    fn one_for_each_device_at_its_first_mount() {
        let found = places(MOUNTS.as_bytes(), Path::new("/host"));
        let all: Vec<_> = found
            .iter()
            .map(|(device, place)| (device.as_str(), place.path.to_str().unwrap(), place.number))
            .collect();
        assert_eq!(
            all,
            [
                ("/dev/nvme0n1p3", "/host/data a", (259, 3)),
                ("/dev/shm", "/host/dev/shm", (0, 21)),
                ("/dev/vda1", "/host/", (254, 1)),
            ]
        );
        let root = "1 0 0:30 / / rw - overlay none rw\n";
        let found = places(root.as_bytes(), Path::new("/"));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["none_0-30"]);
    }

    #[test]
    fn disks_are_found_by_name_and_else_by_number() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("1")).unwrap();
        let mountinfo =
            "1 0 254:1 / / rw - ext4 /dev/root rw\n2 1 0:9 / /tmp rw - tmpfs tmpfs rw\n";
        std::fs::write(dir.path().join("1/mountinfo"), mountinfo).unwrap();
        let disks = b" 254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n 254 1 vda1 21 2 3 4 5 6 7 8 9 10 11\n";
        let mut filesystems = RootFilesystems::new(dir.path(), Path::new("/"));
        let found = filesystems.read(disks);
        let all: Vec<_> = found
            .iter()
            .map(|f| (f.device.as_str(), f.sizes.is_some(), f.disk.map(|d| d[0])))
            .collect();
        assert_eq!(all, [("/dev/root", true, Some(21)), ("/tmp", true, None)]);
    }
}
