//! Performance counters of the CPUs: hardware, software, caches and chosen tracepoints.
//!
//! Counters are opened once, for all processes of each CPU; what a CPU lacks is left out. Values are
//! the kernel's, not scaled up where the hardware counts fewer events at a time than were asked for,
//! as in node_exporter.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::cpu_list;
use nix::errno::Errno;

use super::desc::Desc;
use super::flags::Flag;
use super::kernel_file::read_word;
use super::perf_event::{Counter, Event};
use super::perf_events::{CACHE, HARDWARE, Profiler, SOFTWARE};
use super::{Collector, Entry, NodeSpec};
use crate::log;

pub(super) const ENTRY: Entry = Entry {
    name: "perf",
    about: "performance counters of the CPUs",
    is_default: false,
    flags: &[
        CPUS,
        TRACEPOINT,
        NO_HARDWARE,
        HARDWARE_PROFILERS,
        NO_SOFTWARE,
        SOFTWARE_PROFILERS,
        NO_CACHE,
        CACHE_PROFILERS,
    ],
    build: |spec| Ok(Box::new(Perf::new(spec)?)),
    ..Entry::DEFAULT
};

const CPUS: Flag = Flag::text(
    "collector.perf.cpus",
    "",
    "List of CPUs from which perf metrics should be collected",
);
const TRACEPOINT: Flag = Flag::list(
    "collector.perf.tracepoint",
    "perf tracepoint that should be collected",
);
const NO_HARDWARE: Flag = Flag::switch(
    "collector.perf.disable-hardware-profilers",
    false,
    "disable perf hardware profilers",
);
const HARDWARE_PROFILERS: Flag = Flag::list(
    "collector.perf.hardware-profilers",
    "perf hardware profilers that should be collected",
);
const NO_SOFTWARE: Flag = Flag::switch(
    "collector.perf.disable-software-profilers",
    false,
    "disable perf software profilers",
);
const SOFTWARE_PROFILERS: Flag = Flag::list(
    "collector.perf.software-profilers",
    "perf software profilers that should be collected",
);
const NO_CACHE: Flag = Flag::switch(
    "collector.perf.disable-cache-profilers",
    false,
    "disable perf cache profilers",
);
const CACHE_PROFILERS: Flag = Flag::list(
    "collector.perf.cache-profilers",
    "perf cache profilers that should be collected",
);

/// `PERF_TYPE_TRACEPOINT`.
const TRACEPOINTS: u32 = 2;
/// More CPUs than any kernel is built for.
const MAX_CPUS: usize = 1 << 13;

struct Perf {
    families: Vec<Family>,
    /// Why nothing at all can be counted.
    refusal: Option<Errno>,
}

/// A family and its counter on each CPU.
struct Family {
    name: String,
    help: String,
    counters: Vec<(String, Counter)>,
}

impl Perf {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let flags = &spec.flags;
        let cpus = match flags.text(&CPUS) {
            "" => online(spec)?,
            list => parse_cpus(list).with_context(|| {
                format!(
                    "--{} is '{list}', but must be a list such as 0,2-5 or 1-10:5",
                    CPUS.name
                )
            })?,
        };
        let mut families = Vec::new();
        let mut refusal = None;
        for (off, chosen, all) in [
            (NO_HARDWARE, HARDWARE_PROFILERS, HARDWARE),
            (NO_SOFTWARE, SOFTWARE_PROFILERS, SOFTWARE),
            (NO_CACHE, CACHE_PROFILERS, CACHE),
        ] {
            if flags.is_on(&off) {
                continue;
            }
            for profiler in choose(all, flags.list(&chosen), &chosen) {
                let Desc { name, help, .. } = profiler.desc;
                let counters = open(profiler.event, &cpus, &mut refusal);
                families.push(Family::new(name, help, counters));
            }
        }
        for tracepoint in flags.list(&TRACEPOINT) {
            families.push(open_tracepoint(spec, tracepoint, &cpus)?);
        }
        families.retain(|family| !family.counters.is_empty());
        let is_empty = families.is_empty();
        Ok(Self {
            families,
            refusal: refusal.filter(|_| is_empty),
        })
    }
}

impl Family {
    fn new(name: &str, help: &str, counters: Vec<(String, Counter)>) -> Self {
        Self {
            name: name.to_owned(),
            help: help.to_owned(),
            counters,
        }
    }
}

/// A counter on each CPU that can have it.
fn open(event: Event, cpus: &[u32], refusal: &mut Option<Errno>) -> Vec<(String, Counter)> {
    let mut counters = Vec::new();
    for cpu in cpus {
        match Counter::new(event, *cpu) {
            Ok(counter) => counters.push((cpu.to_string(), counter)),
            Err(error) => *refusal = Some(error),
        }
    }
    counters
}

/// The profilers of those names, or all. An unknown name costs only itself, as in node_exporter.
fn choose<'a>(all: &'a [Profiler], names: &[String], flag: &Flag) -> Vec<&'a Profiler> {
    for name in names {
        if !all.iter().any(|p| p.name == *name) {
            let known: Vec<&str> = all.iter().map(|p| p.name).collect();
            log::warn(
                "collector:perf",
                format_args!(
                    "--{}: there is no profiler '{name}'; profilers: {}",
                    flag.name,
                    known.join(", ")
                ),
            );
        }
    }
    let is_chosen = |p: &&Profiler| names.is_empty() || names.iter().any(|name| name == p.name);
    all.iter().filter(is_chosen).collect()
}

fn open_tracepoint(spec: &NodeSpec, tracepoint: &str, cpus: &[u32]) -> anyhow::Result<Family> {
    let Some((subsystem, event)) = tracepoint
        .split_once(':')
        .filter(|(subsystem, event)| is_word(subsystem) && is_word(event))
    else {
        bail!(
            "--{} is '{tracepoint}', but must be SUBSYSTEM:EVENT",
            TRACEPOINT.name
        );
    };
    let folders: [PathBuf; 2] = [
        spec.sys("kernel/tracing/events"),
        spec.sys("kernel/debug/tracing/events"),
    ];
    let id = |folder: &PathBuf| read_word(&folder.join(subsystem).join(event).join("id"));
    let id = folders.iter().find_map(id).with_context(|| {
        format!(
            "--{}: '{tracepoint}' is not below {}; is tracefs mounted, and may it be read?",
            TRACEPOINT.name,
            folders[0].display()
        )
    })?;
    let config = id.parse().with_context(|| format!("id of {tracepoint}"))?;
    let event_of = Event {
        kind: TRACEPOINTS,
        config,
    };
    let counters = cpus.iter().map(|cpu| {
        let counter = Counter::new(event_of, *cpu)
            .with_context(|| format!("failed to count {tracepoint} on CPU {cpu}"))?;
        Ok((cpu.to_string(), counter))
    });
    let counters: anyhow::Result<_> = counters.collect();
    Ok(Family::new(
        &format!("node_perf_{subsystem}_{event}"),
        &format!("Perf tracepoint {tracepoint}"),
        counters?,
    ))
}

/// Fits into a path and a metric's name.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn online(spec: &NodeSpec) -> anyhow::Result<Vec<u32>> {
    let path = spec.sys("devices/system/cpu/online");
    let list = read_word(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let cpus = cpu_list::cpus(list.as_bytes()).filter_map(|cpu| u32::try_from(cpu).ok());
    Ok(cpus.take(MAX_CPUS).collect())
}

/// `0,2-5`, and `1-10:5` for 1 and 6.
fn parse_cpus(list: &str) -> anyhow::Result<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (range, stride) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse()?, last.parse()?);
        let stride: usize = stride.parse()?;
        ensure!(stride > 0, "a step of 0");
        ensure!((last as usize) < MAX_CPUS, "there is no CPU {last}");
        cpus.extend((first..=last).step_by(stride));
        ensure!(cpus.len() <= MAX_CPUS, "more than {MAX_CPUS} CPUs");
    }
    Ok(cpus)
}

impl Collector for Perf {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        if let Some(error) = self.refusal {
            return Err(error).context(
                "no performance event can be counted; CAP_PERFMON or a kernel.perf_event_paranoid of 0 allows it",
            );
        }
        for family in &self.families {
            let id = out.family(&family.name, MetricKind::Counter, &family.help);
            for (cpu, counter) in &family.counters {
                let value = counter
                    .value()
                    .with_context(|| format!("{} of CPU {cpu}", family.name))?;
                out.sample(id, &[("cpu", cpu)], value as f64);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_with_ranges_and_steps() {
        let cases: [(&str, Option<&[u32]>); 7] = [
            ("0", Some(&[0])),
            ("0,2-4", Some(&[0, 2, 3, 4])),
            ("1-10:5", Some(&[1, 6])),
            ("a", None),
            ("1-", None),
            ("1-3:0", None),
            ("0-4000000000", None),
        ];
        for (list, expected) in cases {
            assert_eq!(parse_cpus(list).ok().as_deref(), expected, "{list}");
        }
    }

    #[test]
    fn profilers_are_chosen_by_name() {
        let names = |names: &[&str]| -> Vec<&str> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let chosen = choose(SOFTWARE, &names, &SOFTWARE_PROFILERS);
            chosen.iter().map(|p| p.name).collect()
        };
        assert_eq!(names(&[]).len(), SOFTWARE.len());
        assert_eq!(names(&["MinorFault", "Nothing"]), ["MinorFault"]);
        assert!(names(&["Nothing"]).is_empty());
    }

    #[test]
    fn tracepoints_that_are_not_there_are_mistakes() {
        let spec = NodeSpec {
            sysfs: "/no/such/sys".into(),
            ..NodeSpec::default()
        };
        for (tracepoint, expected) in [
            ("sched", "must be SUBSYSTEM:EVENT"),
            ("../x:y", "must be SUBSYSTEM:EVENT"),
            ("sched:x", "is not below /no/such/sys/kernel/tracing/events"),
        ] {
            let error = open_tracepoint(&spec, tracepoint, &[0]).err();
            let error = error.expect("a mistake").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
