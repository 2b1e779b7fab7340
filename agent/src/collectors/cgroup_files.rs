//! The files of one cgroup: which there are in either version, and what they say now.
//!
//! Files of usage are kept open, files of limits are not. The rule: a file that is not there, or not
//! any more, leaves its value out and is no error, for a cgroup may go at any moment.
//!
//! What only a running task can change is not read again while none has run: half of a node's cgroups are
//! sandboxes and others that sleep for minutes. The kernel counts the time that they ran in nanoseconds.
//! Stalls go on without running, so pressure is read until it rises no more; a task that is woken and then
//! gets no CPU at all is told of once it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_parsers::kernel::cgroup::scalar::{self, Scalar};
use kansoku_parsers::kernel::cgroup::{blkio, cpu_max, io_stat, keyed, procs};
use kansoku_parsers::kernel::pressure;
use kansoku_parsers::kernel::stat::TICKS_PER_SECOND;

use super::cgroup_tree::Trees;
use super::cgroup_usage::{
    Cpu, CpuLimits, Limits, Memory, MemoryLimits, MoreMemory, Usage, shares_of_weight,
};
use super::kernel_file::{Folder, KernelFile};

/// After so many collections without any CPU time nothing of what the tasks did last is under way any more.
const IDLE_AFTER: u8 = 2;
/// Block devices of one cgroup that are given; a node has a handful.
const MAX_DEVICES: usize = 64;

/// The files of one cgroup.
pub struct CgroupFiles {
    /// The cgroup's folder of each controller; equal in version 2.
    cpu: Option<Arc<Folder>>,
    cpuacct: Option<Arc<Folder>>,
    memory: Option<Arc<Folder>>,
    pids: Option<Arc<Folder>>,
    is_v2: bool,
    is_root: bool,
    is_container: bool,
    /// Collections without any CPU time since the last one with some, as far as they count.
    idle_for: u8,
    /// It is idle, and its pressure did not rise any more.
    is_calm: bool,
    /// Read at every collection, so their descriptors are kept.
    hot: Hot,
}

/// What may have changed since a cgroup was read last, as far as is known without reading it.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// It has a quota that may slow it down.
    pub quota: bool,
    /// The kernel has killed some process for want of memory.
    pub kills: bool,
}

struct Hot {
    cpu_usage: Option<KernelFile>,
    cpu_split: Option<KernelFile>,
    cpu_throttling: Option<KernelFile>,
    memory_usage: Option<KernelFile>,
    memory_stat: Option<KernelFile>,
    memory_peak: Option<KernelFile>,
    memory_swap: Option<KernelFile>,
    memory_events: Option<KernelFile>,
    memory_failures: Option<KernelFile>,
    memory_kernel: Option<KernelFile>,
    io_bytes: Option<KernelFile>,
    io_operations: Option<KernelFile>,
    threads: Option<KernelFile>,
    processes: Option<KernelFile>,
    pressure: [Option<KernelFile>; 3],
}

const PRESSURE: [&str; 3] = ["cpu.pressure", "memory.pressure", "io.pressure"];

impl CgroupFiles {
    /// Looks which files a cgroup has.
    #[must_use]
    pub fn new(trees: &Trees, path: &str, is_container: bool) -> Self {
        let is_root = path == "/";
        let relative = path.trim_start_matches('/');
        let folder =
            |root: &Option<PathBuf>| Folder::open(root.as_ref()?.join(relative)).map(Arc::new);
        let file = |folder: &Option<Arc<Folder>>, name: &'static str| {
            let folder = folder.as_ref()?;
            (folder.path().join(name).exists()).then(|| KernelFile::of(folder, name))
        };
        match trees {
            Trees::V2 { root } => {
                let all = folder(&Some(root.clone()));
                let events = if is_container {
                    "memory.events"
                } else {
                    // Those of the cgroup itself, or a pod would repeat its containers' kills.
                    "memory.events.local"
                };
                Self {
                    cpu: all.clone(),
                    cpuacct: all.clone(),
                    memory: all.clone(),
                    pids: all.clone(),
                    is_v2: true,
                    is_root,
                    is_container,
                    idle_for: 0,
                    is_calm: false,
                    hot: Hot {
                        cpu_usage: file(&all, "cpu.stat"),
                        cpu_split: None,
                        cpu_throttling: None,
                        memory_usage: file(&all, "memory.current"),
                        memory_stat: file(&all, "memory.stat"),
                        memory_peak: file(&all, "memory.peak"),
                        memory_swap: file(&all, "memory.swap.current"),
                        memory_events: file(&all, events),
                        memory_failures: None,
                        memory_kernel: None,
                        io_bytes: file(&all, "io.stat"),
                        io_operations: None,
                        threads: file(&all, "pids.current"),
                        processes: file(&all, "cgroup.procs"),
                        pressure: PRESSURE.map(|name| file(&all, name)),
                    },
                }
            }
            Trees::V1 {
                cpu,
                cpuacct,
                memory,
                blkio,
                pids,
                unified,
            } => {
                let (cpu, cpuacct, memory) = (folder(cpu), folder(cpuacct), folder(memory));
                let (blkio, pids, unified) = (folder(blkio), folder(pids), folder(unified));
                let [io_bytes, io_operations] = v1_io(&blkio);
                let processes = [&cpu, &memory, &pids]
                    .into_iter()
                    .find_map(|folder| file(folder, "cgroup.procs"));
                Self {
                    is_v2: false,
                    is_root,
                    is_container,
                    idle_for: 0,
                    is_calm: false,
                    hot: Hot {
                        cpu_usage: file(&cpuacct, "cpuacct.usage"),
                        cpu_split: file(&cpuacct, "cpuacct.stat"),
                        cpu_throttling: file(&cpu, "cpu.stat"),
                        memory_usage: file(&memory, "memory.usage_in_bytes"),
                        memory_stat: file(&memory, "memory.stat"),
                        memory_peak: file(&memory, "memory.max_usage_in_bytes"),
                        memory_swap: None,
                        memory_events: file(&memory, "memory.oom_control"),
                        memory_failures: file(&memory, "memory.failcnt"),
                        memory_kernel: file(&memory, "memory.kmem.usage_in_bytes"),
                        io_bytes,
                        io_operations,
                        threads: file(&pids, "pids.current"),
                        processes,
                        pressure: PRESSURE.map(|name| file(&unified, name)),
                    },
                    cpu,
                    cpuacct,
                    memory,
                    pids,
                }
            }
        }
    }

    /// Reads what the cgroup has used into `out`, which has what it had used at the last reading: what cannot
    /// be `expected` to be another stays.
    pub fn usage(&mut self, buf: &mut Vec<u8>, expected: Expected, out: &mut Usage) {
        let hot = &mut self.hot;
        let (before, threads_before) = (out.cpu, out.threads);
        out.cpu = if self.is_v2 {
            hot.v2_cpu(buf)
        } else {
            let may_be_slowed = expected.quota && self.idle_for < IDLE_AFTER;
            hot.v1_cpu(buf, may_be_slowed, before)
        };
        let has_run = out
            .cpu
            .is_none_or(|now| before.is_none_or(|b| b.usage_s != now.usage_s));
        self.idle_for = match has_run {
            true => 0,
            false => self.idle_for.saturating_add(1).min(IDLE_AFTER),
        };
        let is_idle = self.idle_for == IDLE_AFTER;
        out.memory = if self.is_v2 {
            hot.v2_memory(buf, self.is_root)
        } else {
            hot.v1_memory(buf, is_idle, expected.kills, out.memory)
        };
        if self.is_v2 {
            // The kernel's own threads write for it what it has left in memory.
            out.io.clear();
            if read(&mut hot.io_bytes, buf) {
                out.io.extend(io_stat::devices(buf).take(MAX_DEVICES));
            }
        } else if !is_idle {
            out.io.clear();
            hot.v1_io(buf, &mut out.io);
        }
        out.threads = number(&mut hot.threads, buf);
        // A process that is moved here from elsewhere does not run for it, but counts.
        if !is_idle || out.threads.is_none() || out.threads != threads_before {
            (out.processes, out.first_pid) = if read(&mut hot.processes, buf) {
                let (count, first) = procs::parse(buf);
                (Some(count), first)
            } else {
                (None, None)
            };
        }
        if !is_idle || !self.is_calm {
            let mut pressure = [None; 3];
            for (file, slot) in hot.pressure.iter_mut().zip(&mut pressure) {
                *slot = read(file, buf).then(|| pressure::parse(buf).ok()).flatten();
            }
            self.is_calm = is_idle && pressure == out.pressure;
            out.pressure = pressure;
        }
    }

    /// Reads the ids of the cgroup's own processes as the kernel writes them; empty without such a file.
    pub fn procs(&mut self, buf: &mut Vec<u8>) {
        if !read(&mut self.hot.processes, buf) {
            buf.clear();
        }
    }

    /// Reads what the cgroup may use, given what it might at the last reading: unless `all` is to be read, only
    /// what the resizing of a pod changes. These files change seldom, so they are not kept open.
    #[must_use]
    pub fn limits(&self, buf: &mut Vec<u8>, all: bool, before: Limits) -> Limits {
        let mut value = |folder: &Option<Arc<Folder>>, name: &'static str| {
            let mut file = Some(KernelFile::of(folder.as_ref()?, name));
            read(&mut file, buf).then(|| scalar::parse(buf)).flatten()
        };
        let plain = |value: Option<Scalar>| value.map_or(0, |v| v.or(0));
        // What kernels write for "no limit" is a page short of the largest number.
        let bytes = |value: Option<Scalar>| match plain(value) {
            n if n > 1 << 62 => 0,
            n => n,
        };
        let has_pids = self.hot.threads.is_some();
        let threads = match before.threads {
            known @ Some(_) if !all => known,
            _ => (has_pids || self.is_root).then(|| plain(value(&self.pids, "pids.max"))),
        };
        if self.is_v2 {
            let weight = plain(value(&self.cpu, "cpu.weight"));
            let has_memory = self.hot.memory_usage.is_some();
            let memory = has_memory.then(|| MemoryLimits {
                limit: bytes(value(&self.memory, "memory.max")),
                swap_limit: bytes(value(&self.memory, "memory.swap.max")),
                reservation: bytes(value(&self.memory, "memory.min")),
            });
            return Limits {
                cpu: self.hot.cpu_usage.is_some().then(|| CpuLimits {
                    shares: shares_of_weight(weight),
                    ..self.v2_cpu_max(buf)
                }),
                memory,
                threads,
            };
        }
        let cpu = self.cpu.is_some().then(|| CpuLimits {
            period_us: match before.cpu {
                Some(cpu) if !all => cpu.period_us,
                _ => plain(value(&self.cpu, "cpu.cfs_period_us")),
            },
            quota_us: Some(plain(value(&self.cpu, "cpu.cfs_quota_us"))).filter(|q| *q > 0),
            shares: plain(value(&self.cpu, "cpu.shares")),
        });
        let memory = self.memory.is_some().then(|| {
            let limit = bytes(value(&self.memory, "memory.limit_in_bytes"));
            // Whoever changes the one changes the others with it.
            match before.memory {
                Some(memory) if !all && memory.limit == limit => memory,
                _ => MemoryLimits {
                    limit,
                    swap_limit: bytes(value(&self.memory, "memory.memsw.limit_in_bytes")),
                    reservation: bytes(value(&self.memory, "memory.soft_limit_in_bytes")),
                },
            }
        });
        Limits {
            cpu,
            memory,
            threads,
        }
    }

    fn v2_cpu_max(&self, buf: &mut Vec<u8>) -> CpuLimits {
        let folder = self.cpu.as_ref();
        let mut file = folder.map(|folder| KernelFile::of(folder, "cpu.max"));
        let max = read(&mut file, buf).then(|| cpu_max::parse(buf)).flatten();
        max.map_or(CpuLimits::default(), |max| CpuLimits {
            period_us: max.period_us,
            quota_us: Some(max.quota_us.or(0)).filter(|q| *q > 0),
            shares: 0,
        })
    }

    /// Unix seconds of the oldest of the cgroup's folders. A folder's own time changes when
    /// something is made in it, so a file that is only made with it counts too.
    #[must_use]
    pub fn created_s(&self) -> Option<u64> {
        let marker = if self.is_v2 {
            "cgroup.events"
        } else {
            "cgroup.clone_children"
        };
        [&self.cpu, &self.cpuacct, &self.memory, &self.pids]
            .into_iter()
            .flatten()
            .map(|folder| folder.path())
            .flat_map(|path| [modified_s(path), modified_s(&path.join(marker))])
            .flatten()
            .min()
    }

    /// Whether the cgroup is a container.
    #[must_use]
    pub fn is_container(&self) -> bool {
        self.is_container
    }
}

impl Hot {
    fn v1_cpu(&mut self, buf: &mut Vec<u8>, has_quota: bool, before: Option<Cpu>) -> Option<Cpu> {
        let mut cpu = Cpu {
            usage_s: number(&mut self.cpu_usage, buf)? as f64 / 1e9,
            ..before.unwrap_or_default()
        };
        // The kernel makes the two of the same time, counted in nanoseconds: none of it, no change.
        let is_same = before.is_some_and(|before| before.usage_s == cpu.usage_s);
        if !is_same && read(&mut self.cpu_split, buf) {
            let [user, system] = keyed::values(buf, ["user", "system"]);
            cpu.user_s = user.unwrap_or(0) as f64 / TICKS_PER_SECOND;
            cpu.system_s = system.unwrap_or(0) as f64 / TICKS_PER_SECOND;
        }
        if has_quota && read(&mut self.cpu_throttling, buf) {
            let keys = [
                "nr_periods",
                "nr_throttled",
                "throttled_time",
                "nr_bursts",
                "burst_time",
            ];
            cpu.throttling(keyed::values(buf, keys), 1e9);
        }
        Some(cpu)
    }

    fn v2_cpu(&mut self, buf: &mut Vec<u8>) -> Option<Cpu> {
        if !read(&mut self.cpu_usage, buf) {
            return None;
        }
        let [usage, user, system] = keyed::values(buf, ["usage_usec", "user_usec", "system_usec"]);
        let mut cpu = Cpu {
            usage_s: usage? as f64 / 1e6,
            user_s: user.unwrap_or(0) as f64 / 1e6,
            system_s: system.unwrap_or(0) as f64 / 1e6,
            ..Cpu::default()
        };
        let keys = [
            "nr_periods",
            "nr_throttled",
            "throttled_usec",
            "nr_bursts",
            "burst_usec",
        ];
        cpu.throttling(keyed::values(buf, keys), 1e6);
        Some(cpu)
    }

    fn v1_memory(
        &mut self,
        buf: &mut Vec<u8>,
        is_idle: bool,
        may_have_kills: bool,
        before: Option<Memory>,
    ) -> Option<Memory> {
        let mut m = Memory {
            usage: number(&mut self.memory_usage, buf)?,
            kernel: number(&mut self.memory_kernel, buf).unwrap_or(0),
            ..Memory::default()
        };
        // Memory is charged to who asks for it.
        (m.max_usage, m.fail_count) = match before {
            Some(before) if is_idle => (before.max_usage, before.fail_count),
            _ => (
                number(&mut self.memory_peak, buf).unwrap_or(0),
                number(&mut self.memory_failures, buf).unwrap_or(0),
            ),
        };
        if read(&mut self.memory_stat, buf) {
            // `total_` includes the cgroups below.
            let keys = [
                "total_rss",
                "total_cache",
                "total_mapped_file",
                "total_swap",
                "total_active_file",
                "total_inactive_file",
                "pgfault",
                "pgmajfault",
                "total_dirty",
                "total_writeback",
                "total_shmem",
            ];
            let [stat @ .., dirty, writeback, shmem] = keyed::values(buf, keys);
            m.stat(stat);
            let more = &mut m.more;
            (more.file_dirty, more.file_writeback, more.shmem) = (dirty, writeback, shmem);
        }
        match before {
            Some(before) if !may_have_kills => m.oom_kills = before.oom_kills,
            _ if read(&mut self.memory_events, buf) => {
                [m.oom_kills] = keyed::values(buf, ["oom_kill"]);
            }
            _ => {}
        }
        Some(m)
    }

    fn v2_memory(&mut self, buf: &mut Vec<u8>, is_root: bool) -> Option<Memory> {
        let mut m = Memory {
            usage: number(&mut self.memory_usage, buf).unwrap_or(0),
            max_usage: number(&mut self.memory_peak, buf).unwrap_or(0),
            swap: number(&mut self.memory_swap, buf).unwrap_or(0),
            ..Memory::default()
        };
        let swap = m.swap;
        if read(&mut self.memory_stat, buf) {
            let keys = [
                "anon",
                "file",
                "file_mapped",
                "",
                "active_file",
                "inactive_file",
                "pgfault",
                "pgmajfault",
            ];
            if is_root && self.memory_usage.is_none() {
                let [anon, file] = keyed::values(buf, ["anon", "file"]);
                m.usage = anon.unwrap_or(0) + file.unwrap_or(0);
            }
            m.stat(keyed::values(buf, keys));
            m.more = v2_more(buf);
            let [kernel] = keyed::values(buf, ["kernel"]);
            m.kernel = kernel.unwrap_or(0);
        } else if self.memory_usage.is_none() {
            return None;
        }
        m.swap = swap;
        if read(&mut self.memory_events, buf) {
            let [oom_kills, max, high] = keyed::values(buf, ["oom_kill", "max", "high"]);
            (m.oom_kills, m.fail_count) = (oom_kills, max.unwrap_or(0));
            (m.more.max_events, m.more.high_events) = (max, high);
        }
        Some(m)
    }

    /// Both files name the same devices; operations are joined to bytes by device.
    fn v1_io(&mut self, buf: &mut Vec<u8>, out: &mut Vec<io_stat::Device>) {
        for (file, is_bytes) in [(&mut self.io_bytes, true), (&mut self.io_operations, false)] {
            if !read(file, buf) {
                continue;
            }
            for entry in blkio::entries(buf) {
                let is_this =
                    |d: &io_stat::Device| (d.major, d.minor) == (entry.major, entry.minor);
                let at = out.iter().position(is_this).unwrap_or(out.len());
                if at == out.len() {
                    if at >= MAX_DEVICES {
                        break;
                    }
                    out.push(io_stat::Device {
                        major: entry.major,
                        minor: entry.minor,
                        ..io_stat::Device::default()
                    });
                }
                let device = &mut out[at];
                match (entry.operation, is_bytes) {
                    ("Read", true) => device.read_bytes = entry.value,
                    ("Write", true) => device.write_bytes = entry.value,
                    ("Read", false) => device.reads = entry.value,
                    ("Write", false) => device.writes = entry.value,
                    _ => {}
                }
            }
        }
    }
}

/// The rest of version 2's memory.stat.
fn v2_more(memory_stat: &[u8]) -> MoreMemory {
    let keys = [
        "file_dirty",
        "file_writeback",
        "shmem",
        "slab_reclaimable",
        "pgscan",
        "pgsteal",
        "workingset_refault_file",
        "workingset_refault_anon",
    ];
    let [
        file_dirty,
        file_writeback,
        shmem,
        slab_reclaimable,
        scanned,
        stolen,
        refaults_file,
        refaults_anon,
    ] = keyed::values(memory_stat, keys);
    MoreMemory {
        high_events: None,
        max_events: None,
        file_dirty,
        file_writeback,
        shmem,
        slab_reclaimable,
        scanned,
        stolen,
        refaults_file,
        refaults_anon,
    }
}

/// Bytes and operations by device, from the scheduler that counts them. Throttling counts always,
/// the schedulers BFQ and CFQ only what they have scheduled.
fn v1_io(blkio: &Option<Arc<Folder>>) -> [Option<KernelFile>; 2] {
    const SCHEDULERS: [[&str; 2]; 2] = [
        [
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.bfq.io_serviced_recursive",
        ],
        [
            "blkio.io_service_bytes_recursive",
            "blkio.io_serviced_recursive",
        ],
    ];
    const THROTTLING: [&str; 2] = [
        "blkio.throttle.io_service_bytes_recursive",
        "blkio.throttle.io_serviced_recursive",
    ];
    let Some(folder) = blkio else {
        return [None, None];
    };
    let mut buf = Vec::new();
    for names in SCHEDULERS {
        let mut files = names.map(|name| Some(KernelFile::of(folder, name)));
        if read(&mut files[0], &mut buf) && blkio::entries(&buf).next().is_some() {
            return files;
        }
    }
    THROTTLING.map(|name| Some(KernelFile::of(folder, name)))
}

fn read(file: &mut Option<KernelFile>, buf: &mut Vec<u8>) -> bool {
    file.as_mut().is_some_and(|f| f.read_if_there(buf))
}

fn number(file: &mut Option<KernelFile>, buf: &mut Vec<u8>) -> Option<u64> {
    match read(file, buf).then(|| scalar::parse(buf)).flatten()? {
        Scalar::Number(n) => Some(n),
        Scalar::Unlimited => None,
    }
}

fn modified_s(path: &Path) -> Option<u64> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

#[cfg(test)]
mod tests;
