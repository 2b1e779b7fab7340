//! Frequencies and governors of the CPUs, from /sys/devices/system/cpu/cpuN/cpufreq.
//!
//! Reading a current frequency may interrupt the CPU that is asked about, which takes milliseconds
//! on machines with many of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::cpu_list;
use kansoku_parsers::kernel::scan::{decimal, text};

use super::desc::Desc;
use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec, Tier};

pub(super) const ENTRY: Entry = Entry {
    name: "cpufreq",
    about: "frequencies and governors of the CPUs",
    tier: Tier::Background,
    build: |spec| Ok(Box::new(Cpufreq::new(spec))),
    ..Entry::DEFAULT
};

/// Files in kilohertz and their families.
const FREQUENCIES: [(&str, Desc); 7] = [
    (
        "cpuinfo_cur_freq",
        Desc::gauge(
            "node_cpu_frequency_hertz",
            "Current CPU thread frequency in hertz.",
        ),
    ),
    (
        "cpuinfo_avg_freq",
        Desc::gauge(
            "node_cpu_frequency_avg_hertz",
            "Average CPU thread frequency in hertz.",
        ),
    ),
    (
        "cpuinfo_min_freq",
        Desc::gauge(
            "node_cpu_frequency_min_hertz",
            "Minimum CPU thread frequency in hertz.",
        ),
    ),
    (
        "cpuinfo_max_freq",
        Desc::gauge(
            "node_cpu_frequency_max_hertz",
            "Maximum CPU thread frequency in hertz.",
        ),
    ),
    (
        "scaling_cur_freq",
        Desc::gauge(
            "node_cpu_scaling_frequency_hertz",
            "Current scaled CPU thread frequency in hertz.",
        ),
    ),
    (
        "scaling_min_freq",
        Desc::gauge(
            "node_cpu_scaling_frequency_min_hertz",
            "Minimum scaled CPU thread frequency in hertz.",
        ),
    ),
    (
        "scaling_max_freq",
        Desc::gauge(
            "node_cpu_scaling_frequency_max_hertz",
            "Maximum scaled CPU thread frequency in hertz.",
        ),
    ),
];
const GOVERNOR: Desc = Desc::gauge(
    "node_cpu_scaling_governor",
    "Current enabled CPU frequency governor.",
);
const KILOHERTZ: f64 = 1000.0;

struct Cpufreq {
    folder: PathBuf,
    offline: KernelFile,
    /// By the CPU's number as text; those that have frequencies.
    cpus: BTreeMap<String, Cpu>,
    buf: Vec<u8>,
}

struct Cpu {
    frequencies: [Option<KernelFile>; FREQUENCIES.len()],
    governor: KernelFile,
    /// Fixed while the driver is loaded.
    governors: Vec<String>,
}

impl Cpufreq {
    fn new(spec: &NodeSpec) -> Self {
        let folder = spec.sys("devices/system/cpu");
        Self {
            offline: KernelFile::new(folder.join("offline")),
            folder,
            cpus: BTreeMap::new(),
            buf: Vec::new(),
        }
    }

    /// Finds CPUs that came and forgets those that are offline or gone.
    fn refresh(&mut self) -> anyhow::Result<()> {
        self.offline.read(&mut self.buf)?;
        let offline: Vec<u64> = cpu_list::cpus(&self.buf).collect();
        let mut seen = Vec::new();
        for folder in super::machine::cpu_folders(&self.folder) {
            let name = folder.file_name().and_then(|n| n.to_str());
            let Some(number) = name.and_then(|n| n.strip_prefix("cpu")) else {
                continue;
            };
            if number.parse().is_ok_and(|n| offline.contains(&n)) {
                continue;
            }
            seen.push(number.to_owned());
            let cpufreq = folder.join("cpufreq");
            if !self.cpus.contains_key(number) && cpufreq.is_dir() {
                self.cpus.insert(number.to_owned(), Cpu::new(&cpufreq));
            }
        }
        self.cpus.retain(|number, _| seen.contains(number));
        Ok(())
    }
}

impl Cpu {
    fn new(folder: &Path) -> Self {
        let governors = read_word(&folder.join("scaling_available_governors"));
        Self {
            frequencies: FREQUENCIES.map(|(name, _)| {
                let path = folder.join(name);
                path.exists().then(|| KernelFile::new(path))
            }),
            governor: KernelFile::new(folder.join("scaling_governor")),
            governors: governors
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl Collector for Cpufreq {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.refresh()?;
        let buf = &mut self.buf;
        for (number, cpu) in &mut self.cpus {
            for ((_, desc), file) in FREQUENCIES.iter().zip(&mut cpu.frequencies) {
                // Some may be read by root only.
                if let Some(file) = file
                    && file.read_if_there(buf)
                {
                    let kilohertz = decimal(buf.trim_ascii()).with_context(|| {
                        format!("{} does not hold a number", file.path().display())
                    })?;
                    desc.sample(out, &[("cpu", number)], kilohertz * KILOHERTZ);
                }
            }
            if !cpu.governor.read_if_there(buf) {
                continue;
            }
            let Some(current) = text(buf.trim_ascii()).filter(|c| !c.is_empty()) else {
                continue;
            };
            for governor in &cpu.governors {
                let is_current = f64::from(u8::from(governor == current));
                GOVERNOR.sample(out, &[("cpu", number), ("governor", governor)], is_current);
            }
        }
        Ok(())
    }

    fn is_light(&self) -> bool {
        let folders = super::machine::cpu_folders(&self.folder);
        !folders.iter().any(|folder| folder.join("cpufreq").exists())
    }
}
