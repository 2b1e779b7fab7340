//! Open files and sockets of a cgroup's processes.
//!
//! cAdvisor reads the link of every descriptor of every process at every turn, which has cost kubelets
//! most of a processor. Here the kernel's own count is taken where there is one (the size of
//! `/proc/PID/fd`, since Linux 6.2), links are read for sockets alone, seldom, and never more than a
//! turn's share: a cgroup with more descriptors than that has no count of sockets.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kansoku_parsers::kernel::cgroup::procs;

/// Processes of one cgroup that are looked at; with more, nothing is counted.
const MAX_PROCESSES: usize = 4096;
/// Links that are read in one turn.
const LINKS_PER_TURN: u64 = 4096;

/// What one turn may still do.
#[derive(Debug)]
pub struct Allowance {
    links: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            links: LINKS_PER_TURN,
        }
    }
}

/// Open files and sockets of the processes in a cgroup.procs file.
#[must_use]
pub fn count(
    procfs: &Path,
    cgroup_procs: &[u8],
    allowed: &mut Allowance,
) -> (Option<u64>, Option<u64>) {
    let pids: Vec<u64> = procs::pids(cgroup_procs).take(MAX_PROCESSES + 1).collect();
    if pids.len() > MAX_PROCESSES {
        return (None, None);
    }
    let folders: Vec<PathBuf> = pids
        .iter()
        .map(|pid| procfs.join(pid.to_string()).join("fd"))
        .collect();
    let mut open = 0;
    for folder in &folders {
        match n_open(folder) {
            Ok(n) => open += n,
            // The process has ended meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            // Not ours to see: a count of the others would be a wrong one.
            Err(_) => return (None, None),
        }
    }
    if open > allowed.links {
        return (Some(open), None);
    }
    allowed.links -= open;
    let sockets = folders.iter().map(|folder| n_sockets(folder)).sum();
    (Some(open), Some(sockets))
}

fn n_open(folder: &Path) -> std::io::Result<u64> {
    // Older kernels give the size 0, which is also that of a process without files.
    match std::fs::metadata(folder)?.size() {
        0 => Ok(std::fs::read_dir(folder)?.count() as u64),
        n => Ok(n),
    }
}

fn n_sockets(folder: &Path) -> u64 {
    let links = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    targets
        .filter(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(b"socket:")
        })
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_this_process() {
        let own = format!("{}\n", std::process::id());
        let sockets = [(); 3].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let (before, before_sockets) = count(
            Path::new("/proc"),
            own.as_bytes(),
            &mut Allowance::default(),
        );
        drop(sockets);
        let (after, after_sockets) = count(
            Path::new("/proc"),
            own.as_bytes(),
            &mut Allowance::default(),
        );
        assert!(before >= after.map(|n| n + 3), "{before:?} {after:?}");
        assert!(before_sockets >= after_sockets.map(|n| n + 3));
        assert!(after_sockets.is_some());
    }

    #[test]
    fn no_more_links_than_allowed_and_gone_processes_count_nothing() {
        let own = format!("{}\n4194305\n", std::process::id());
        let mut allowed = Allowance { links: 1 };
        let (open, sockets) = count(Path::new("/proc"), own.as_bytes(), &mut allowed);
        assert!(open.unwrap() > 1);
        assert_eq!(sockets, None);
        assert_eq!(allowed.links, 1);
        assert_eq!(
            count(Path::new("/proc"), b"", &mut allowed),
            (Some(0), Some(0))
        );
    }
}
