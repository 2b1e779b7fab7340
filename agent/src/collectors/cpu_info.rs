//! What the CPUs are, from /proc/cpuinfo, for the cpu collector where it is asked for.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::cpuinfo::{self, CpuInfo};
use regex::bytes::Regex;

use super::NodeSpec;
use super::cpu::{BUGS_INCLUDE, FLAGS_INCLUDE, INFO};
use super::desc::Desc;
use super::kernel_file::KernelFile;

const CPU_INFO: Desc = Desc::gauge("node_cpu_info", "CPU information from /proc/cpuinfo.");
const FREQUENCY: Desc = Desc::gauge(
    "node_cpu_frequency_hertz",
    "CPU frequency in hertz from /proc/cpuinfo.",
);
const FLAG: Desc = Desc::gauge(
    "node_cpu_flag_info",
    "The `flags` field of CPU information from /proc/cpuinfo taken from the first core.",
);
const BUG: Desc = Desc::gauge(
    "node_cpu_bug_info",
    "The `bugs` field of CPU information from /proc/cpuinfo taken from the first core.",
);
const MEGAHERTZ: f64 = 1e6;

/// Reads /proc/cpuinfo.
pub(super) struct Info {
    file: KernelFile,
    flags: Option<Regex>,
    bugs: Option<Regex>,
    /// With the collector cpufreq, as in node_exporter.
    with_frequency: bool,
}

impl Info {
    /// `None` where none of its flags asks for it.
    pub fn new(spec: &NodeSpec) -> anyhow::Result<Option<Self>> {
        let flags = spec.flags.pattern(&FLAGS_INCLUDE)?;
        let bugs = spec.flags.pattern(&BUGS_INCLUDE)?;
        let is_wanted = spec.flags.is_on(&INFO) || flags.is_some() || bugs.is_some();
        Ok(is_wanted.then(|| Self {
            file: KernelFile::new(spec.proc("cpuinfo")),
            flags,
            bugs,
            with_frequency: spec.chosen.contains(&"cpufreq"),
        }))
    }

    pub fn collect(&mut self, out: &mut MetricBatch, buf: &mut Vec<u8>) -> anyhow::Result<()> {
        self.file.read(buf)?;
        let cpus = cpuinfo::cpus(buf);
        for cpu in &cpus {
            info(out, cpu);
        }
        if self.with_frequency {
            for cpu in &cpus {
                let labels = [
                    ("package", cpu.physical_id),
                    ("core", cpu.core_id),
                    ("cpu", cpu.processor),
                ];
                FREQUENCY.sample(out, &labels, cpu.megahertz * MEGAHERTZ);
            }
        }
        if let Some(first) = cpus.first() {
            words(out, &FLAG, "flag", first.flags, self.flags.as_ref());
            words(out, &BUG, "bug", first.bugs, self.bugs.as_ref());
        }
        Ok(())
    }
}

fn info(out: &mut MetricBatch, cpu: &CpuInfo<'_>) {
    let labels = [
        ("package", cpu.physical_id),
        ("core", cpu.core_id),
        ("cpu", cpu.processor),
        ("vendor", cpu.vendor),
        ("family", cpu.family),
        ("model", cpu.model),
        ("model_name", cpu.model_name),
        ("microcode", cpu.microcode),
        ("stepping", cpu.stepping),
        ("cachesize", cpu.cache_size),
    ];
    CPU_INFO.sample(out, &labels, 1.0);
}

/// A sample per word that the pattern takes; without a pattern none.
fn words(out: &mut MetricBatch, desc: &Desc, label: &str, text: &str, pattern: Option<&Regex>) {
    let Some(pattern) = pattern else {
        return;
    };
    for word in text
        .split_whitespace()
        .filter(|w| pattern.is_match(w.as_bytes()))
    {
        desc.sample(out, &[(label, word)], 1.0);
    }
}
