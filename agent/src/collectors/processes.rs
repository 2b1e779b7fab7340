//! Processes and threads by state, and their limits.
//!
//! Walks all of `path.procfs`, so it runs on a thread of its own. The states of threads cost a file
//! per thread; a process with one thread needs none, its state is the thread's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{number, words};
use nix::errno::Errno;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, Tier, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "processes",
    about: "processes and threads by state",
    is_default: false,
    tier: Tier::Background,
    build: |spec| Ok(Box::new(Processes::new(spec))),
    ..Entry::DEFAULT
};

const THREADS: Desc = Desc::gauge("node_processes_threads", "Allocated threads in system");
const MAX_THREADS: Desc = Desc::gauge(
    "node_processes_max_threads",
    "Limit of threads in the system",
);
const THREADS_STATE: Desc = Desc::gauge(
    "node_processes_threads_state",
    "Number of threads in each state.",
);
const STATE: Desc = Desc::gauge("node_processes_state", "Number of processes in each state.");
const PIDS: Desc = Desc::gauge("node_processes_pids", "Number of PIDs");
const MAX_PIDS: Desc = Desc::gauge("node_processes_max_processes", "Number of max PIDs limit");

/// Words behind the bracket of `stat`: state is field 3 of proc(5), the number of threads 20.
const THREADS_WORD: usize = 17;

struct Processes {
    procfs: PathBuf,
    max_threads: KernelFile,
    max_pids: KernelFile,
    buf: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    pids: u32,
    threads: u64,
    states: BTreeMap<char, u32>,
    thread_states: BTreeMap<char, u32>,
}

impl Processes {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            procfs: spec.procfs.clone(),
            max_threads: KernelFile::new(spec.proc("sys/kernel/threads-max")),
            max_pids: KernelFile::new(spec.proc("sys/kernel/pid_max")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Processes {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut counts = Counts::default();
        for pid in sysfs::numbered(&self.procfs, "") {
            let folder = self.procfs.join(&pid);
            let Some((state, n_threads)) = stat(&folder, &mut self.buf)? else {
                continue;
            };
            counts.pids += 1;
            counts.threads += n_threads;
            *counts.states.entry(state).or_default() += 1;
            let mut count = |state| *counts.thread_states.entry(state).or_default() += 1;
            if n_threads == 1 {
                count(state);
                continue;
            }
            let tasks = folder.join("task");
            for thread in sysfs::numbered(&tasks, "") {
                if thread == pid {
                    count(state);
                } else if let Some((state, _)) = stat(&tasks.join(thread), &mut self.buf)? {
                    count(state);
                }
            }
        }
        THREADS.value(out, counts.threads as f64);
        MAX_THREADS.value(out, self.max_threads.read_number(&mut self.buf)?);
        let mut text = [0; 4];
        for (state, n) in counts.states {
            let label = [("state", &*state.encode_utf8(&mut text))];
            STATE.sample(out, &label, f64::from(n));
        }
        for (state, n) in counts.thread_states {
            let label = [("thread_state", &*state.encode_utf8(&mut text))];
            THREADS_STATE.sample(out, &label, f64::from(n));
        }
        PIDS.value(out, f64::from(counts.pids));
        MAX_PIDS.value(out, self.max_pids.read_number(&mut self.buf)?);
        Ok(())
    }
}

/// State and number of threads; `None` when the process has gone.
fn stat(folder: &Path, buf: &mut Vec<u8>) -> anyhow::Result<Option<(char, u64)>> {
    if let Err(error) = KernelFile::new(folder.join("stat")).read(buf) {
        let cause = error.downcast_ref::<std::io::Error>();
        return match cause
            .and_then(std::io::Error::raw_os_error)
            .map(Errno::from_raw)
        {
            Some(Errno::ENOENT | Errno::ESRCH) => Ok(None),
            _ => Err(error),
        };
    }
    let parsed = parse(buf);
    anyhow::ensure!(
        parsed.is_some(),
        "{}/stat has no state and number of threads",
        folder.display()
    );
    Ok(parsed)
}

fn parse(stat: &[u8]) -> Option<(char, u64)> {
    // The program's name may have brackets and blanks in it.
    let close = memchr::memrchr(b')', stat)?;
    let mut words = words(&stat[close + 1..]);
    let state = char::from(*words.next()?.first()?);
    Some((state, words.nth(THREADS_WORD - 1).and_then(number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_threads_of_a_stat_line() {
        let line = b"26231 (vim) R ) R 5392 7446 5392 34835 7446 4218880 32533 309516 26 82 1677 44 158 99 20 0 7 0 82375 1 2";
        assert_eq!(parse(line), Some(('R', 7)));
        assert_eq!(parse(b"1 (x) S 1 2"), None);
        assert_eq!(parse(b""), None);
    }
}
