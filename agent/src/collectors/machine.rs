//! What the whole machine has: processors, memory, and the ids that name it.

use std::collections::{BTreeMap, BTreeSet};
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
    books: u64,
    drawers: u64,
    /// Number and bytes of memory modules by type.
    modules: BTreeMap<String, (u64, u64)>,
    kernel: String,
    os: String,
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

/// Memory modules that the error correction knows: number and bytes by type
/// (Documentation/admin-guide/RAS: `dimm_mem_type`, and `size` in megabytes).
fn memory_modules(controllers: &Path) -> BTreeMap<String, (u64, u64)> {
    let folders = |folder: &Path, prefix: &'static str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(move |e| e.file_name().to_string_lossy().starts_with(prefix))
            .map(|e| e.path())
    };
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for controller in folders(controllers, "mc") {
        for module in folders(&controller, "dimm").chain(folders(&controller, "rank")) {
            let Some(kind) = read_word(&module.join("dimm_mem_type")) else {
                continue;
            };
            let size = read_word(&module.join("size")).and_then(|w| w.parse::<u64>().ok());
            let known = found.entry(kind).or_default();
            known.0 += 1;
            known.1 += size.unwrap_or(0) << 20;
        }
    }
    found
}

/// What the node's system calls itself.
fn os_name(rootfs: &Path) -> String {
    let files = ["etc/os-release", "usr/lib/os-release"].map(|name| rootfs.join(name));
    let text = files.iter().find_map(|f| std::fs::read_to_string(f).ok());
    let text = text.unwrap_or_default();
    let value = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    value.unwrap_or_default().trim_matches('"').to_owned()
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
        let (mut books, mut drawers) = (BTreeSet::new(), BTreeSet::new());
        for cpu in cpu_folders(&sysfs.join("devices/system/cpu")) {
            let topology = |name: &str| read_word(&cpu.join("topology").join(name));
            let Some(package) = topology("physical_package_id") else {
                continue;
            };
            cores.insert((package.clone(), topology("core_id")));
            sockets.insert(package);
            books.extend(topology("book_id"));
            drawers.extend(topology("drawer_id"));
        }
        machine.books = books.len() as u64;
        machine.drawers = drawers.len() as u64;
        machine.modules = memory_modules(&sysfs.join("devices/system/edac/mc"));
        machine.kernel = read_word(&procfs.join("sys/kernel/osrelease")).unwrap_or_default();
        machine.os = os_name(rootfs);
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
            ("machine_cpu_books", "Number of CPU books.", self.books),
            (
                "machine_cpu_drawers",
                "Number of CPU drawers.",
                self.drawers,
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
        let of_modules: [(_, _, fn(&(u64, u64)) -> u64); 2] = [
            (
                "machine_dimm_count",
                "Number of RAM DIMM (all types memory modules) value labeled by dimm type.",
                |m| m.0,
            ),
            (
                "machine_dimm_capacity_bytes",
                "Total RAM DIMM capacity (all types memory modules) value labeled by dimm type.",
                |m| m.1,
            ),
        ];
        for (name, help, value) in of_modules {
            for (kind, module) in &self.modules {
                let family = out.family(name, MetricKind::Gauge, help);
                let labels = labels.into_iter().chain([("type", kind.as_str())]);
                let labels: Vec<_> = labels.collect();
                out.sample(family, &labels, value(module) as f64);
            }
        }
        self.about(out);
    }

    /// What is true of every collection: that nothing failed, and what runs here.
    fn about(&self, out: &mut MetricBatch) {
        let version = [
            ("cadvisorRevision", ""),
            ("cadvisorVersion", ""),
            ("dockerVersion", "Unknown"),
            ("kernelVersion", &self.kernel),
            ("osVersion", &self.os),
        ];
        let family = out.family(
            "cadvisor_version_info",
            MetricKind::Gauge,
            "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
        );
        out.sample(family, &version, 1.0);
        for (name, help) in [
            (
                "container_scrape_error",
                "1 if there was an error while getting container metrics, 0 otherwise",
            ),
            (
                "machine_scrape_error",
                "1 if there was an error while getting machine metrics, 0 otherwise.",
            ),
        ] {
            let family = out.family(name, MetricKind::Gauge, help);
            out.sample(family, &[], 0.0);
        }
    }
}
