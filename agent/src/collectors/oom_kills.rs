//! Every process that the kernel killed for want of memory, counted for its container, and told of
//! after the container is gone.
//!
//! A cgroup counts its kills itself (`memory.events`, `memory.oom_control`). But when the killed
//! process is the container's first, the cgroup goes with it, before anybody could read the count:
//! cAdvisor's `container_oom_events_total` stays 0 then. So the kernel's log is read too
//! (Documentation/ABI/testing/dev-kmsg, the `oom-kill:` line of mm/oom_kill.c), and the series of a
//! container that ended with kills stays for some minutes: a rate sees the step.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kansoku_parsers::kernel::cgroup::keyed;

use super::cgroup_usage::Memory;
use super::container::Names;
use super::kernel_file::KernelFile;

/// How long an ended container's count is given: several scrapes of any usual interval.
const STAYS_S: u64 = 600;
/// Ended containers that are remembered; the oldest go first.
const MAX_ENDED: usize = 256;
/// Cgroups with kills in the log; more are not counted from there.
const MAX_PATHS: usize = 4096;
/// Records of the log that are read in one turn.
const MAX_RECORDS: usize = 4096;

/// The kernel's count of all processes that it killed for want of memory.
pub struct KillCount {
    vmstat: KernelFile,
    last: Option<u64>,
}

impl KillCount {
    /// The count in the node's /proc/vmstat.
    pub fn new(procfs: &Path) -> Self {
        Self {
            vmstat: KernelFile::whole(procfs.join("vmstat")),
            last: None,
        }
    }

    /// Whether there may be more than when this was asked last. To be asked before the cgroups are read, so that a
    /// kill meanwhile is seen at the next time.
    pub fn has_grown(&mut self, buf: &mut Vec<u8>) -> bool {
        let now = (self.vmstat.read_if_there(buf))
            .then(|| keyed::values(buf, ["oom_kill"])[0])
            .flatten();
        let last = std::mem::replace(&mut self.last, now);
        now.is_none() || last != now
    }
}

/// Counts kills.
pub struct OomKills {
    /// `None` where it may not be read; the cgroups' own counts remain.
    log: Option<File>,
    /// Kills since the start, by the cgroup of the killed process.
    told: HashMap<String, u64>,
    ended: Vec<Ended>,
}

struct Ended {
    path: String,
    names: Names,
    killed: u64,
    until_s: u64,
    /// Its series was never there: it starts with 0, or no rate would see the step.
    is_new: bool,
}

impl OomKills {
    /// Reads what is written to the kernel's log from now on.
    pub fn new(log: &Path) -> Self {
        let mut options = File::options();
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let file = options.read(true).custom_flags(flags).open(log);
        Self {
            log: file.ok().filter(|mut f| f.seek(SeekFrom::End(0)).is_ok()),
            told: HashMap::new(),
            ended: Vec::new(),
        }
    }

    /// Takes in what the kernel has written since.
    pub fn read(&mut self) {
        let Some(log) = &mut self.log else { return };
        // One record at a time is what the device gives; none is longer than this.
        let mut record = [0; 8192];
        for _ in 0..MAX_RECORDS {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(n) => {
                    for path in record[..n].split(|b| *b == b'\n').filter_map(victim) {
                        if self.told.len() < MAX_PATHS || self.told.contains_key(path) {
                            *self.told.entry(path.to_owned()).or_default() += 1;
                        }
                    }
                }
                // Overwritten before it was read: the next one is there.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
    }

    /// The kills of a cgroup that is there; `None` when nothing counts them.
    pub fn of(&self, path: &str, memory: Option<&Memory>) -> Option<u64> {
        let told = self.told.get(path).copied();
        let counted = memory.and_then(|m| m.oom_kills);
        told.max(counted)
            .or_else(|| self.log.is_some().then_some(0))
    }

    /// Cgroups with kills that `is_there` does not know: containers that lived between two readings.
    pub fn strangers(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let paths = self.told.keys().filter(|path| !is_there(path));
        paths.cloned().collect()
    }

    /// A container has ended that had `counted` kills when it was last read; `None` when it never was.
    pub fn ended(&mut self, path: &str, names: Names, counted: Option<u64>, now_s: u64) {
        let told = self.told.remove(path).unwrap_or(0);
        let killed = told.max(counted.unwrap_or(0));
        if killed == 0 {
            return;
        }
        if self.ended.len() >= MAX_ENDED {
            self.ended.remove(0);
        }
        self.ended.push(Ended {
            path: path.to_owned(),
            names,
            killed,
            until_s: now_s + STAYS_S,
            is_new: counted.is_none(),
        });
    }

    /// Begins a collection: forgets who ended long ago.
    pub fn forget(&mut self, now_s: u64) {
        self.ended.retain(|e| now_s < e.until_s);
        for ended in &mut self.ended {
            ended.is_new = false;
        }
    }

    /// Path, names and kills of the containers that ended lately.
    pub fn ended_lately(&self) -> impl Iterator<Item = (&str, &Names, u64)> {
        self.ended.iter().map(|e| {
            let killed = if e.is_new { 0 } else { e.killed };
            (e.path.as_str(), &e.names, killed)
        })
    }
}

/// The cgroup of the process that a line of the log says was killed.
fn victim(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, told) = line.split_once("oom-kill:constraint=")?;
    let (_, path) = told.split_once(",task_memcg=")?;
    // Names of tasks may hold commas, paths of containers do not.
    path.split(',').next().filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const KILL: &str = "6,1204,98410771,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=e7a6,mems_allowed=0,oom_memcg=/kubepods/burstable/podf2ab/e7a6,task_memcg=/kubepods/burstable/podf2ab/e7a6,task=sh,pid=2211,uid=0\n";
    const PATH: &str = "/kubepods/burstable/podf2ab/e7a6";

    #[test]
    fn a_kill_that_took_the_container_with_it_is_told_for_a_while() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        write!(log, "{KILL}").unwrap();
        let mut kills = OomKills::new(log.path());
        kills.read();
        assert_eq!(kills.of(PATH, None), Some(0), "from before the start");
        write!(log, "4,1,2,-;eth0: link up\n{KILL} SUBSYSTEM=x\n{KILL}").unwrap();
        kills.read();
        assert_eq!(kills.of(PATH, None), Some(2));
        let memory = Memory {
            oom_kills: Some(3),
            ..Memory::default()
        };
        assert_eq!(kills.of(PATH, Some(&memory)), Some(3));
        assert_eq!(kills.of("/other", None), Some(0));
        kills.ended(PATH, Names::default(), Some(1), 1000);
        kills.ended("/other", Names::default(), Some(0), 1000);
        let lately = |kills: &OomKills| {
            let all = kills
                .ended_lately()
                .map(|(path, _, n)| (path.to_owned(), n));
            all.collect::<Vec<_>>()
        };
        assert_eq!(lately(&kills), [(PATH.to_owned(), 2)]);
        kills.forget(1599);
        assert_eq!(lately(&kills).len(), 1);
        kills.forget(1600);
        assert!(lately(&kills).is_empty());
        // One that was never read itself.
        write!(log, "{KILL}").unwrap();
        kills.read();
        assert_eq!(kills.strangers(|path| path == PATH), [""; 0]);
        assert_eq!(kills.strangers(|_| false), [PATH]);
        kills.ended(PATH, Names::default(), None, 2000);
        assert_eq!(lately(&kills), [(PATH.to_owned(), 0)]);
        kills.forget(2005);
        assert_eq!(lately(&kills), [(PATH.to_owned(), 1)]);
    }

    #[test]
    fn kills_are_expected_when_the_kernel_counts_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut count = KillCount::new(folder.path());
        let mut buf = Vec::new();
        let mut grown = |vmstat: Option<&str>| {
            if let Some(text) = vmstat {
                std::fs::write(folder.path().join("vmstat"), text).unwrap();
            }
            count.has_grown(&mut buf)
        };
        // Without a count it is never known that there are none.
        assert_eq!([grown(None), grown(None)], [true, true]);
        assert!(grown(Some("pgfault 1\noom_kill 3\n")));
        assert!(!grown(Some("pgfault 2\noom_kill 3\n")));
        assert!(grown(Some("pgfault 2\noom_kill 4\n")));
        assert!(!grown(None));
        assert!(grown(Some("pgfault 2\n")));
    }

    #[test]
    fn ended_containers_are_bounded() {
        let mut kills = OomKills::new(Path::new("/no/such/log"));
        for n in 0..MAX_ENDED + 5 {
            kills.ended(&format!("/{n}"), Names::default(), Some(1), 0);
        }
        assert_eq!(kills.ended_lately().count(), MAX_ENDED);
        assert_eq!(kills.of("/x", None), None, "nothing counts");
    }

    #[test]
    fn lines_of_the_log() {
        for (line, path) in [
            (KILL, Some(PATH)),
            (
                "3,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/,task=a",
                Some("/"),
            ),
            ("3,1,2,-;Out of memory: Killed process 12 (a)", None),
            ("3,1,2,-;oom-kill:constraint=x,task_memcg=y", None),
            ("", None),
        ] {
            assert_eq!(victim(line.trim_end().as_bytes()), path, "{line}");
        }
    }
}
