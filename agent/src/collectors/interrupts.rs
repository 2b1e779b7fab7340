//! Interrupts per CPU and line, of /proc/interrupts.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "interrupts",
    about: "interrupts per CPU",
    is_default: false,
    flags: &[INCLUDE, EXCLUDE, INCLUDE_ZEROS],
    build: |spec| Ok(Box::new(Interrupts::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.interrupts.name-include",
    "",
    "Regexp of interrupts name to include (mutually exclusive to --collector.interrupts.name-exclude).",
);
const EXCLUDE: Flag = Flag::text(
    "collector.interrupts.name-exclude",
    "",
    "Regexp of interrupts name to exclude (mutually exclusive to --collector.interrupts.name-include).",
);
const INCLUDE_ZEROS: Flag = Flag::switch(
    "collector.interrupts.include-zeros",
    true,
    "Include interrupts that have a zero value",
);
const INTERRUPTS: Desc = Desc::counter("node_interrupts_total", "Interrupt details.");

struct Interrupts {
    file: KernelFile,
    filter: NameFilter,
    has_zeros: bool,
    buf: Vec<u8>,
    /// The numbers of the CPUs as text.
    cpus: Vec<String>,
}

impl Interrupts {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            file: KernelFile::new(spec.proc("interrupts")),
            filter: spec.flags.filter(&INCLUDE, &EXCLUDE)?,
            has_zeros: spec.flags.is_on(&INCLUDE_ZEROS),
            buf: Vec::new(),
            cpus: Vec::new(),
        })
    }
}

impl Collector for Interrupts {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let mut lines = lines(&self.buf);
        let header = lines.next().context("interrupts is empty")?;
        let n_cpus = words(header).count();
        self.cpus.truncate(n_cpus);
        for cpu in self.cpus.len()..n_cpus {
            self.cpus.push(cpu.to_string());
        }
        let family = INTERRUPTS.family(out);
        let (mut info, mut devices, mut name_of_filter) =
            (String::new(), String::new(), String::new());
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (name, rest) = (line[..colon].trim_ascii(), &line[colon + 1..]);
            // ERR and MIS have one number for all CPUs and no description.
            let mut described = words(rest).skip(n_cpus).peekable();
            if described.peek().is_none() {
                continue;
            }
            info.clear();
            devices.clear();
            let name = text(name).unwrap_or_default();
            if name.parse::<i64>().is_ok() {
                info.push_str(described.next().and_then(text).unwrap_or_default());
                join(&mut devices, described);
            } else {
                join(&mut info, described);
            }
            name_of_filter.clear();
            for part in [name, ";", &info, ";", &devices] {
                name_of_filter.push_str(part);
            }
            if self.filter.is_ignored(&name_of_filter) {
                continue;
            }
            for (cpu, word) in self.cpus.iter().zip(words(rest)) {
                let count = decimal(word);
                let count = count.with_context(|| format!("interrupts: {name} lacks a number"))?;
                if count == 0.0 && !self.has_zeros {
                    continue;
                }
                let labels = [
                    ("cpu", cpu.as_str()),
                    ("type", name),
                    ("info", &info),
                    ("devices", &devices),
                ];
                out.sample(family, &labels, count);
            }
        }
        Ok(())
    }
}

/// Appends the words with one blank between them.
fn join<'a>(out: &mut String, words: impl Iterator<Item = &'a [u8]>) {
    for word in words.filter_map(text) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
}
