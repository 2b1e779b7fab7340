//! Energy that the processor's packages and parts have used, as RAPL counts it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};

use super::desc::Desc;
use super::flags::Flag;
use super::metric_name::sanitized;
use super::{Collector, Entry, NoData, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "rapl",
    about: "energy used by the processors",
    flags: &[ZONE_LABEL],
    build: |spec| Ok(Box::new(Rapl::new(spec))),
    ..Entry::DEFAULT
};

// The help is node_exporter's, mistaken as it is.
const ZONE_LABEL: Flag = Flag::switch(
    "collector.rapl.enable-zone-label",
    false,
    "Enables service unit metric unit_start_time_seconds",
);
const JOULES: Desc = Desc::counter("node_rapl_joules_total", "Current RAPL value in joules");
const MICRO_DIVISOR: f64 = 1_000_000.0;

struct Rapl {
    class: PathBuf,
    has_zone_label: bool,
}

impl Rapl {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys("class/powercap"),
            has_zone_label: spec.flags.is_on(&ZONE_LABEL),
        }
    }
}

impl Collector for Rapl {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there is no RAPL, or it is not for us";
        let mut next_index: BTreeMap<String, u64> = BTreeMap::new();
        for zone in sysfs::names(&self.class).or_no_data(ABSENT)? {
            let folder = self.class.join(&zone);
            let Ok(name) = sysfs::read(&folder.join("name")) else {
                continue;
            };
            let (name, own_index) = split_index(&name);
            let next = next_index.entry(name.to_owned()).or_default();
            let index = own_index.unwrap_or(*next);
            *next = index + 1;
            // Readable by root only since 2020.
            let energy = sysfs::number_optional(&folder.join("energy_uj"))?;
            let joules = energy.context(NoData(ABSENT))? / MICRO_DIVISOR;
            let (index, path) = (index.to_string(), folder.to_string_lossy());
            let labels = [("index", index.as_str()), ("path", &path)];
            if self.has_zone_label {
                let [index, path] = labels;
                JOULES.sample(out, &[index, path, ("rapl_zone", name)], joules);
            } else {
                let family = format!("node_rapl_{}_joules_total", sanitized(name));
                let help = format!("Current RAPL {name} value in joules");
                let family = out.family(&family, MetricKind::Counter, &help);
                out.sample(family, &labels, joules);
            }
        }
        Ok(())
    }
}

/// `package-0` has its index in its name.
fn split_index(name: &str) -> (&str, Option<u64>) {
    let Some((base, index)) = name.split_once('-') else {
        return (name, None);
    };
    match index.parse() {
        Ok(index) => (base, Some(index)),
        Err(_) => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_may_be_in_the_name() {
        assert_eq!(split_index("package-1"), ("package", Some(1)));
        assert_eq!(split_index("package-1-die-0"), ("package-1-die-0", None));
        assert_eq!(split_index("dram"), ("dram", None));
    }
}
