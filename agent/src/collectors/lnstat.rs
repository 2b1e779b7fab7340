//! Counters of the network's caches per CPU: the files of net/stat.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::net_stat;

use super::fields::{Fields, Named};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "lnstat",
    about: "caches of the network per CPU",
    is_default: false,
    build: |spec| Ok(Box::new(Lnstat::new(spec))),
    ..Entry::DEFAULT
};

struct Lnstat {
    folder: PathBuf,
    files: BTreeMap<String, KernelFile>,
    fields: Fields,
    buf: Vec<u8>,
}

impl Lnstat {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.proc_net("stat"),
            files: BTreeMap::new(),
            fields: Fields::default(),
            buf: Vec::new(),
        }
    }
}

impl Collector for Lnstat {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let names = sysfs::names(&self.folder).or_no_data("there is no net/stat")?;
        self.files.retain(|name, _| names.contains(name));
        for name in names {
            let path = self.folder.join(&name);
            self.files
                .entry(name)
                .or_insert_with(|| KernelFile::new(path));
        }
        self.fields.rewind();
        for (subsystem, file) in &mut self.files {
            file.read(&mut self.buf)?;
            let fields = &mut self.fields;
            net_stat::parse(&self.buf, |cpu, column, value| {
                let named = fields.next("", column, |_, column| {
                    Some(Named {
                        name: format!("node_lnstat_{column}_total"),
                        kind: MetricKind::Counter,
                        help: "linux network cache stats".to_owned(),
                    })
                });
                if let Some(named) = named {
                    let cpu = cpu.to_string();
                    named.sample(
                        out,
                        &[("subsystem", subsystem), ("cpu", &cpu)],
                        value as f64,
                    );
                }
            })?;
        }
        Ok(())
    }
}
