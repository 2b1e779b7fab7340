//! Memory per NUMA node: its meminfo, and where allocations went.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::scan::{decimal, text, words};

use super::fields::{Fields, Named};
use super::{Collector, Entry, NodeSpec, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "meminfo_numa",
    about: "memory per NUMA node",
    is_default: false,
    build: |spec| Ok(Box::new(MeminfoNuma::new(spec))),
    ..Entry::DEFAULT
};

struct MeminfoNuma {
    nodes: PathBuf,
    fields: Fields,
}

impl MeminfoNuma {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            nodes: spec.sys("devices/system/node"),
            fields: Fields::default(),
        }
    }
}

impl Collector for MeminfoNuma {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.fields.rewind();
        for name in sysfs::numbered(&self.nodes, "node") {
            let folder = self.nodes.join(&name);
            let node = sysfs::number_of(&name, "node").unwrap_or_default();
            let meminfo = sysfs::read(&folder.join("meminfo"))?;
            for line in meminfo.lines().filter(|line| !line.is_empty()) {
                // Node 0 Active(anon):  707915 kB
                let mut words = words(line.as_bytes()).skip(2);
                let name = words.next().and_then(text).unwrap_or_default();
                let value = words.next().and_then(decimal);
                let value = value.with_context(|| format!("node{node}/meminfo: '{line}'"))?;
                let factor = match words.next() {
                    None => 1.0,
                    Some(b"kB") => 1024.0,
                    Some(_) => anyhow::bail!("node{node}/meminfo: unknown unit in '{line}'"),
                };
                let named = self
                    .fields
                    .next("meminfo", name, |_, name| Some(memory(name)));
                if let Some(named) = named {
                    named.sample(out, &[("node", node)], value * factor);
                }
            }
            let numastat = sysfs::read(&folder.join("numastat"))?;
            for line in numastat.lines().filter(|line| !line.is_empty()) {
                let (name, value) = line
                    .split_once(' ')
                    .and_then(|(name, value)| Some((name, decimal(value.trim().as_bytes())?)))
                    .with_context(|| format!("node{node}/numastat: '{line}'"))?;
                let named = self.fields.next("numastat", name, |_, name| {
                    Some(family(format!("{name}_total"), MetricKind::Counter))
                });
                if let Some(named) = named {
                    named.sample(out, &[("node", node)], value);
                }
            }
        }
        Ok(())
    }
}

/// `Active(anon):` becomes `Active_anon`.
fn memory(name: &str) -> Named {
    let name = name
        .trim_end_matches(':')
        .replace('(', "_")
        .replace(')', "");
    family(name, MetricKind::Gauge)
}

fn family(name: String, kind: MetricKind) -> Named {
    Named {
        help: format!("Memory information field {name}."),
        name: format!("node_memory_numa_{name}"),
        kind,
    }
}
