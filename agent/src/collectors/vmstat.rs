//! Fields of /proc/vmstat: by default paging, page faults and OOM kills.

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};
use regex::bytes::Regex;

use super::fields::{Fields, Named};
use super::flags::Flag;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "vmstat",
    about: "counters of virtual memory",
    flags: &[FIELDS],
    build: |spec| Ok(Box::new(Vmstat::new(spec)?)),
    ..Entry::DEFAULT
};

const FIELDS: Flag = Flag::text(
    "collector.vmstat.fields",
    "^(oom_kill|pgpg|pswp|pg.*fault).*",
    "Regexp of fields to return for vmstat collector.",
);

struct Vmstat {
    file: KernelFile,
    /// `None` takes every field.
    pattern: Option<Regex>,
    fields: Fields,
    buf: Vec<u8>,
}

impl Vmstat {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            file: KernelFile::whole(spec.proc("vmstat")),
            pattern: spec.flags.pattern(&FIELDS)?,
            fields: Fields::default(),
            buf: Vec::new(),
        })
    }
}

impl Collector for Vmstat {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        self.fields.rewind();
        for line in lines(&self.buf) {
            let mut words = words(line);
            let Some(name) = words.next().and_then(text) else {
                continue;
            };
            let pattern = &self.pattern;
            let named = self.fields.next("", name, |_, name| {
                let is_wanted = pattern.as_ref().is_none_or(|p| p.is_match(name.as_bytes()));
                is_wanted.then(|| Named {
                    name: format!("node_vmstat_{name}"),
                    kind: MetricKind::Unknown,
                    help: format!("/proc/vmstat information field {name}."),
                })
            });
            if let Some(named) = named {
                let value = words.next().and_then(decimal);
                let value = value.with_context(|| format!("vmstat: {name} has no number"))?;
                named.sample(out, &[], value);
            }
        }
        Ok(())
    }
}
