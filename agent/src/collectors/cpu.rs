//! CPU time by mode from /proc/stat, and from sysfs thermal throttling and what is online.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::cpu_list;
use kansoku_parsers::kernel::stat::{self, GUEST, GUEST_NICE, IDLE, MODES, Stat, TICKS_PER_SECOND};

use super::cpu_info::Info;
use super::desc::Desc;
use super::findings::Left;
use super::flags::Flag;
use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "cpu",
    about: "time per CPU and mode, thermal throttling",
    flags: &[GUEST_TIME, INFO, FLAGS_INCLUDE, BUGS_INCLUDE],
    build: |spec| Ok(Box::new(Cpu::new(spec)?)),
    ..Entry::DEFAULT
};

const GUEST_TIME: Flag = Flag::switch(
    "collector.cpu.guest",
    true,
    "Enables metric node_cpu_guest_seconds_total",
);
pub(super) const INFO: Flag = Flag::switch("collector.cpu.info", false, "Enables metric cpu_info");
pub(super) const FLAGS_INCLUDE: Flag = Flag::text(
    "collector.cpu.info.flags-include",
    "",
    "Filter the `flags` field in cpuInfo with a value that must be a regular expression",
);
pub(super) const BUGS_INCLUDE: Flag = Flag::text(
    "collector.cpu.info.bugs-include",
    "",
    "Filter the `bugs` field in cpuInfo with a value that must be a regular expression",
);
const ONLINE: Desc = Desc::gauge(
    "node_cpu_online",
    "CPUs that are online and being scheduled.",
);

/// An idle time that falls by so much means that the CPU was unplugged and came back.
const HOTPLUG_TICKS: u64 = 3 * TICKS_PER_SECOND as u64;

struct Cpu {
    file: KernelFile,
    info: Option<Info>,
    with_guest_time: bool,
    /// Where CPUs can be switched off: the list of those that are not, and the numbers of all.
    online: Option<(KernelFile, Vec<u64>)>,
    buf: Vec<u8>,
    stat: Stat,
    /// For the collector of the counters in the same file.
    left: Left<Stat>,
    /// Ticks given last, by CPU: some of the kernel's counters fall a little now and then.
    given: BTreeMap<u32, [u64; MODES.len()]>,
    throttles: Vec<Throttle>,
    /// CPUs that the scheduler leaves alone; set when the kernel is started.
    isolated: Vec<u64>,
}

/// A core's or a package's count of throttling.
struct Throttle {
    package: String,
    /// `None` for the package as a whole.
    core: Option<String>,
    file: KernelFile,
}

impl Cpu {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            file: KernelFile::whole(spec.procfs.join("stat")),
            info: Info::new(spec)?,
            with_guest_time: spec.flags.is_on(&GUEST_TIME),
            online: online(&spec.sysfs.join("devices/system/cpu")),
            buf: Vec::new(),
            stat: Stat::default(),
            left: spec.findings.stat.clone(),
            given: BTreeMap::new(),
            throttles: throttles(&spec.sysfs.join("devices/system/cpu")),
            isolated: isolated(&spec.sysfs.join("devices/system/cpu/isolated")),
        })
    }

    /// Takes over what was read, keeping every counter from falling.
    fn advance(&mut self) {
        let read = &self.stat.cpus;
        self.given
            .retain(|number, _| read.iter().any(|c| c.number == *number));
        for cpu in read {
            let given = self.given.entry(cpu.number).or_default();
            if given[IDLE] >= cpu.ticks[IDLE] + HOTPLUG_TICKS {
                *given = cpu.ticks;
            }
            for (given, &read) in given.iter_mut().zip(&cpu.ticks) {
                *given = read.max(*given);
            }
        }
    }
}

impl Collector for Cpu {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        if let Some(info) = &mut self.info {
            info.collect(out, &mut self.buf)?;
        }
        let asked = Instant::now();
        self.file.read(&mut self.buf)?;
        stat::parse(&self.buf, &mut self.stat)?;
        self.left.leave(asked, self.stat.without_cpus());
        self.advance();
        let seconds = out.family(
            "node_cpu_seconds_total",
            MetricKind::Counter,
            "Seconds the CPUs spent in each mode.",
        );
        let guest = out.family(
            "node_cpu_guest_seconds_total",
            MetricKind::Counter,
            "Seconds the CPUs spent in guests (VMs) for each mode.",
        );
        for (number, ticks) in &self.given {
            let number = number.to_string();
            let value = |mode: usize| ticks[mode] as f64 / TICKS_PER_SECOND;
            for (mode, name) in MODES[..GUEST].iter().enumerate() {
                out.sample(seconds, &[("cpu", &number), ("mode", name)], value(mode));
            }
            if !self.with_guest_time {
                continue;
            }
            for (mode, name) in [(GUEST, "user"), (GUEST_NICE, "nice")] {
                out.sample(guest, &[("cpu", &number), ("mode", name)], value(mode));
            }
        }
        for number in &self.isolated {
            let family = out.family(
                "node_cpu_isolated",
                MetricKind::Gauge,
                "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
            );
            out.sample(family, &[("cpu", &number.to_string())], 1.0);
        }
        for throttle in &mut self.throttles {
            throttle.collect(out, &mut self.buf);
        }
        if let Some((file, all)) = &mut self.online {
            file.read(&mut self.buf)?;
            let online: Vec<u64> = cpu_list::cpus(&self.buf).collect();
            for number in all {
                let is_online = f64::from(u8::from(online.contains(number)));
                ONLINE.sample(out, &[("cpu", &number.to_string())], is_online);
            }
        }
        Ok(())
    }
}

impl Throttle {
    fn collect(&mut self, out: &mut MetricBatch, buf: &mut Vec<u8>) {
        if !self.file.read_if_there(buf) {
            return;
        }
        let Some(count) = kansoku_parsers::kernel::scan::number(buf.trim_ascii()) else {
            return;
        };
        if let Some(core) = &self.core {
            let family = out.family(
                "node_cpu_core_throttles_total",
                MetricKind::Counter,
                "Number of times this CPU core has been throttled.",
            );
            let labels = [("core", core.as_str()), ("package", &self.package)];
            out.sample(family, &labels, count as f64);
        } else {
            let family = out.family(
                "node_cpu_package_throttles_total",
                MetricKind::Counter,
                "Number of times this CPU package has been throttled.",
            );
            out.sample(family, &[("package", &self.package)], count as f64);
        }
    }
}

/// The throttle counters of the CPUs that are there at start, one per core and one per package.
fn throttles(folder: &Path) -> Vec<Throttle> {
    let mut found: BTreeMap<(String, Option<String>), KernelFile> = BTreeMap::new();
    for cpu in super::machine::cpu_folders(folder) {
        let topology = |name: &str| read_word(&cpu.join("topology").join(name));
        let (Some(package), Some(core)) = (topology("physical_package_id"), topology("core_id"))
        else {
            continue;
        };
        let counts = [
            (Some(core), "core_throttle_count"),
            (None, "package_throttle_count"),
        ];
        for (core, name) in counts {
            let path = cpu.join("thermal_throttle").join(name);
            if path.exists() {
                found
                    .entry((package.clone(), core))
                    .or_insert_with(|| KernelFile::whole(path));
            }
        }
    }
    let throttle = |((package, core), file)| Throttle {
        package,
        core,
        file,
    };
    found.into_iter().map(throttle).collect()
}

/// The file that lists online CPUs, and the numbers of all; `None` where the first CPU cannot be
/// switched off, as node_exporter has it.
fn online(folder: &Path) -> Option<(KernelFile, Vec<u64>)> {
    let folders = super::machine::cpu_folders(folder);
    if !folders.first()?.join("online").exists() {
        return None;
    }
    let number = |path: &PathBuf| {
        path.file_name()?
            .to_str()?
            .strip_prefix("cpu")?
            .parse()
            .ok()
    };
    let all = folders.iter().filter_map(number).collect();
    Some((KernelFile::whole(folder.join("online")), all))
}

fn isolated(path: &Path) -> Vec<u64> {
    let mut buf = Vec::new();
    KernelFile::whole(path).read_if_there(&mut buf);
    cpu_list::cpus(&buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu_after(readings: &[[u64; 4]]) -> [u64; 4] {
        let mut cpu = Cpu::new(&NodeSpec {
            sysfs: "/nowhere".into(),
            ..NodeSpec::default()
        })
        .expect("no flag is given");
        for ticks in readings {
            let mut all = [0; MODES.len()];
            all[..4].copy_from_slice(ticks);
            cpu.stat.cpus = vec![stat::Cpu {
                number: 0,
                ticks: all,
            }];
            cpu.advance();
        }
        let given = cpu.given[&0];
        [given[0], given[1], given[2], given[3]]
    }

    #[test]
    fn counters_never_fall_except_after_a_hotplug() {
        assert_eq!(cpu_after(&[[5, 5, 5, 500], [6, 4, 5, 499]]), [6, 5, 5, 500]);
        assert_eq!(cpu_after(&[[5, 5, 5, 500], [1, 1, 1, 100]]), [1, 1, 1, 100]);
    }

    #[test]
    fn a_cpu_that_is_gone_is_not_given() {
        let mut cpu = Cpu::new(&NodeSpec::default()).expect("no flag is given");
        cpu.stat.cpus = vec![stat::Cpu::default()];
        cpu.advance();
        cpu.stat.cpus.clear();
        cpu.advance();
        assert!(cpu.given.is_empty());
    }
}
