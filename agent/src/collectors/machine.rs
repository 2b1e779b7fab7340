//! What the whole machine has: processors, memory, and the ids that name it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::{meminfo, stat};

use super::kernel_file::{KernelFile, read_word};

/// What the machine has. Read anew now and then: memory and processors can be added.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    pub cores: u64,
    pub physical_cores: u64,
    pub sockets: u64,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
    pub boot_time_s: u64,
    boot_id: String,
    machine_id: String,
    system_uuid: String,
}

/// The folders `cpu0`, `cpu1`, ... in order of number.
#[must_use]
pub fn cpu_folders(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("cpu")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

impl Machine {
    /// Reads the machine's files; what cannot be read stays 0 or empty.
    #[must_use]
    pub fn read(procfs: &Path, sysfs: &Path, rootfs: &Path) -> Self {
        let mut buf = Vec::new();
        let mut machine = Self {
            boot_id: read_word(&procfs.join("sys/kernel/random/boot_id")).unwrap_or_default(),
            machine_id: read_word(&rootfs.join("etc/machine-id")).unwrap_or_default(),
            system_uuid: read_word(&sysfs.join("class/dmi/id/product_uuid")).unwrap_or_default(),
            ..Self::default()
        };
        if KernelFile::new(procfs.join("meminfo")).read_if_there(&mut buf) {
            machine.memory_bytes = meminfo::value(&buf, "MemTotal").unwrap_or(0);
            machine.swap_bytes = meminfo::value(&buf, "SwapTotal").unwrap_or(0);
        }
        let mut stat = stat::Stat::default();
        if KernelFile::new(procfs.join("stat")).read_if_there(&mut buf)
            && stat::parse(&buf, &mut stat).is_ok()
        {
            machine.cores = stat.cpus.len() as u64;
            machine.boot_time_s = stat.boot_time_s;
        }
        let (mut cores, mut sockets) = (BTreeSet::new(), BTreeSet::new());
        for cpu in cpu_folders(&sysfs.join("devices/system/cpu")) {
            let topology = |name: &str| read_word(&cpu.join("topology").join(name));
            let Some(package) = topology("physical_package_id") else {
                continue;
            };
            cores.insert((package.clone(), topology("core_id")));
            sockets.insert(package);
        }
        machine.physical_cores = cores.len() as u64;
        machine.sockets = sockets.len() as u64;
        machine
    }

    /// Appends cAdvisor's `machine_*`.
    pub fn collect(&self, out: &mut MetricBatch) {
        let gauges = [
            (
                "machine_cpu_cores",
                "Number of logical CPU cores.",
                self.cores,
            ),
            (
                "machine_cpu_physical_cores",
                "Number of physical CPU cores.",
                self.physical_cores,
            ),
            (
                "machine_cpu_sockets",
                "Number of CPU sockets.",
                self.sockets,
            ),
            (
                "machine_memory_bytes",
                "Amount of memory installed on the machine.",
                self.memory_bytes,
            ),
            (
                "machine_swap_bytes",
                "Amount of swap memory available on the machine.",
                self.swap_bytes,
            ),
        ];
        let labels = [
            ("boot_id", self.boot_id.as_str()),
            ("machine_id", &self.machine_id),
            ("system_uuid", &self.system_uuid),
        ];
        for (name, help, value) in gauges {
            let family = out.family(name, MetricKind::Gauge, help);
            out.sample(family, &labels, value as f64);
        }
    }
}
