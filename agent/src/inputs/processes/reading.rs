//! Reads what /proc says of a process or thread. What cannot be read is `None`: the process may end at any moment, and some files are
//! open to root only.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kansoku_parsers::kernel::pid_stat::PidStat;
use kansoku_parsers::kernel::pid_status::{self, PidStatus};
use kansoku_parsers::kernel::{pid_limits, pid_stat};

/// Ticks of a second in /proc, whatever the kernel's own.
pub const TICKS_PER_SECOND: u64 = 100;
/// The most bytes of a file: a command line may be as long as its process likes.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// The most processes or threads that are looked at: the kernel's own limit of a large machine.
const MAX_ENTRIES: usize = 4 << 20;

/// What `stat` says, with the name as a text of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    pub name: String,
    pub state: u8,
    pub parent: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub n_threads: u64,
    pub start_ticks: u64,
    pub virtual_bytes: u64,
    pub resident_pages: u64,
}

/// Reads below a folder such as /proc.
pub struct Proc {
    pub root: PathBuf,
    pub page_bytes: u64,
    /// The kernel's own: there a folder's size may be the number of its files.
    is_kernels: bool,
    buffer: Vec<u8>,
}

impl Proc {
    pub fn new(root: PathBuf) -> Self {
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        let kind = nix::sys::statfs::statfs(&root).map(|s| s.filesystem_type());
        Self {
            is_kernels: kind == Ok(nix::sys::statfs::PROC_SUPER_MAGIC),
            root,
            page_bytes: page_bytes.ok().flatten().map_or(4096, |n| n as u64),
            buffer: Vec::new(),
        }
    }

    /// The ids of all processes, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        ids(&self.root)
    }

    /// The ids of a process' threads; none when it has ended.
    pub fn threads(&self, pid: u32) -> Vec<u32> {
        ids(&self.of(pid).join("task")).unwrap_or_default()
    }

    pub fn of(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    pub fn of_thread(&self, pid: u32, thread: u32) -> PathBuf {
        self.of(pid).join("task").join(thread.to_string())
    }

    /// Seconds after 1970 at which the machine started.
    pub fn boot_time(&mut self) -> Option<u64> {
        let root = self.root.clone();
        let text = self.file(&root, "stat")?;
        let line = text
            .split(|b| *b == b'\n')
            .find_map(|l| l.strip_prefix(b"btime "))?;
        std::str::from_utf8(line).ok()?.trim().parse().ok()
    }

    pub fn stat(&mut self, folder: &Path) -> Option<Stat> {
        let PidStat {
            command,
            state,
            parent,
            minor_faults,
            major_faults,
            user_ticks,
            system_ticks,
            threads,
            start_ticks,
            virtual_bytes,
            resident_pages,
        } = pid_stat::parse(self.file(folder, "stat")?).ok()?;
        Some(Stat {
            name: command.to_owned(),
            state,
            parent,
            minor_faults,
            major_faults,
            user_ticks,
            system_ticks,
            n_threads: threads,
            start_ticks,
            virtual_bytes,
            resident_pages,
        })
    }

    pub fn status(&mut self, folder: &Path) -> Option<PidStatus> {
        self.file(folder, "status").map(pid_status::parse)
    }

    /// Bytes read and written.
    pub fn io(&mut self, folder: &Path) -> Option<(u64, u64)> {
        self.file(folder, "io").and_then(pid_status::io)
    }

    /// The kernel function that it waits in; empty when it does not wait.
    pub fn wchan(&mut self, folder: &Path) -> Option<String> {
        let text = String::from_utf8_lossy(self.file(folder, "wchan")?).into_owned();
        Some(if text == "0" { String::new() } else { text })
    }

    /// The words of the command line.
    pub fn command_line(&mut self, folder: &Path) -> Option<Vec<String>> {
        let bytes = self.file(folder, "cmdline")?;
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        if end == 0 {
            return Some(Vec::new());
        }
        let words = bytes[..end].split(|b| *b == 0);
        Some(
            words
                .map(|w| String::from_utf8_lossy(w).into_owned())
                .collect(),
        )
    }

    /// Its place in each cgroup hierarchy.
    pub fn cgroups(&mut self, folder: &Path) -> Vec<String> {
        let text = self.file(folder, "cgroup").map(String::from_utf8_lossy);
        let text = text.unwrap_or_default();
        let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths.map(str::to_owned).collect()
    }

    /// Proportional bytes in memory and swapped out.
    pub fn proportional(&mut self, folder: &Path) -> Option<(u64, u64)> {
        let text = self.file(folder, "smaps_rollup")?;
        let rollup = |name| pid_status::rollup(text, name);
        Some((rollup("Pss")?, rollup("SwapPss").unwrap_or_default()))
    }

    /// How many files are open, without looking at each where the kernel tells (since 6.2).
    pub fn open_files(&self, folder: &Path) -> Option<u64> {
        let folder = folder.join("fd");
        // The size is told to everyone, the files to their owner only.
        let entries = fs::read_dir(&folder).ok()?;
        match fs::metadata(&folder).ok()?.len() {
            n if n > 0 && self.is_kernels => Some(n),
            _ => Some(entries.take(MAX_ENTRIES).count() as u64),
        }
    }

    /// The most files that may be open; `Some(None)` when there is no limit.
    pub fn open_files_limit(&mut self, folder: &Path) -> Option<Option<u64>> {
        self.file(folder, "limits").and_then(pid_limits::open_files)
    }

    fn file(&mut self, folder: &Path, name: &str) -> Option<&[u8]> {
        self.buffer.clear();
        let file = fs::File::open(folder.join(name)).ok()?;
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut self.buffer)
            .ok()?;
        Some(&self.buffer)
    }
}

fn ids(folder: &Path) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(folder)?.take(MAX_ENTRIES);
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut ids: Vec<u32> = names.collect();
    ids.sort_unstable();
    Ok(ids)
}
