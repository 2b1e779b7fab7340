//! Values of /proc/sys that were asked for by name.

use anyhow::{Context, bail};
use kansoku_model::{MetricBatch, MetricKind};

use super::desc::Desc;
use super::fields::Named;
use super::flags::Flag;
use super::kernel_file::KernelFile;
use super::metric_name::sanitized;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "sysctl",
    about: "chosen values of /proc/sys",
    is_default: false,
    flags: &[INCLUDE, INCLUDE_INFO],
    build: |spec| Ok(Box::new(Sysctl::new(spec))),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::list(
    "collector.sysctl.include",
    "Select sysctl metrics to include",
);
const INCLUDE_INFO: Flag = Flag::list(
    "collector.sysctl.include-info",
    "Select sysctl metrics to include as info metrics",
);
const INFO: Desc = Desc::gauge("node_sysctl_info", "sysctl info");

struct Sysctl {
    values: Vec<Value>,
    buf: Vec<u8>,
}

/// One sysctl.
struct Value {
    file: KernelFile,
    name: String,
    is_number: bool,
    /// The family of a single value, or of values that an index tells apart.
    family: Named,
    /// Families of the single fields, when they were named.
    keyed: Vec<Named>,
}

impl Sysctl {
    fn new(spec: &NodeSpec) -> Self {
        let value = |include: &String, is_number| Value::new(spec, include, is_number);
        let numbers = spec.flags.list(&INCLUDE).iter().map(|i| value(i, true));
        let infos = spec.flags.list(&INCLUDE_INFO).iter();
        Self {
            values: numbers.chain(infos.map(|i| value(i, false))).collect(),
            buf: Vec::new(),
        }
    }
}

impl Value {
    /// Of `fs.file-nr` or `fs.file-nr:total,current,max`.
    fn new(spec: &NodeSpec, include: &str, is_number: bool) -> Self {
        let (name, keys) = match include.split_once(':') {
            Some((name, keys)) => (name, keys.split(',').collect()),
            None => (include, Vec::new()),
        };
        let base = format!("node_sysctl_{}", sanitized(name));
        let untyped = |name: String, help: String| Named {
            name,
            kind: MetricKind::Unknown,
            help,
        };
        let keyed = keys.iter().enumerate().map(|(at, key)| {
            untyped(
                format!("{base}_{key}"),
                format!("sysctl {name}, field {at}"),
            )
        });
        Self {
            file: KernelFile::whole(spec.proc("sys").join(name.replace('.', "/"))),
            name: name.to_owned(),
            is_number,
            keyed: keyed.collect(),
            family: untyped(base.clone(), format!("sysctl {name}")),
        }
    }

    fn collect(&mut self, out: &mut MetricBatch, buf: &mut Vec<u8>) -> anyhow::Result<()> {
        self.file.read(buf)?;
        let text = String::from_utf8_lossy(buf);
        let words: Vec<&str> = text.split_whitespace().collect();
        let (name, n_words, n_keys) = (&self.name, words.len(), self.keyed.len());
        match (n_words, n_keys) {
            (0, _) => bail!("sysctl {name} has no values"),
            (1, 1..) => bail!("sysctl {name} has only one value, but {n_keys} keys were given"),
            (2.., 1..) if n_words != n_keys => {
                bail!("sysctl {name} has {n_words} values, but {n_keys} keys were given")
            }
            (2.., 1..) if !self.is_number => {
                bail!("sysctl {name}: keys are for numbers, not for info metrics")
            }
            _ => {}
        }
        for (at, word) in words.iter().enumerate() {
            let index = at.to_string();
            if !self.is_number {
                let labels = [("name", name.as_str()), ("value", word), ("index", &index)];
                INFO.sample(out, &labels, 1.0);
                continue;
            }
            let value: i64 = word
                .parse()
                .with_context(|| format!("sysctl {name}: '{word}' is no whole number"))?;
            match self.keyed.get(at) {
                Some(keyed) => keyed.sample(out, &[], value as f64),
                None if n_words == 1 => self.family.sample(out, &[], value as f64),
                None => self.family.sample(out, &[("index", &index)], value as f64),
            }
        }
        Ok(())
    }
}

impl Collector for Sysctl {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for value in &mut self.values {
            value.collect(out, &mut self.buf)?;
        }
        Ok(())
    }
}
