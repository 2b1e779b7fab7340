//! Slaves of bonded interfaces: configured and up.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "bonding",
    about: "slaves of bonded interfaces",
    build: |spec| Ok(Box::new(Bonding::new(spec))),
    ..Entry::DEFAULT
};

const SLAVES: Desc = Desc::gauge(
    "node_bonding_slaves",
    "Number of configured slaves per bonding interface.",
);
const ACTIVE: Desc = Desc::gauge(
    "node_bonding_active",
    "Number of active slaves per bonding interface.",
);

struct Bonding {
    class: PathBuf,
}

impl Bonding {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys("class/net"),
        }
    }

    /// The link state of a slave; kernels before 3.13 call the link to it otherwise.
    fn state(&self, master: &str, slave: &str) -> anyhow::Result<String> {
        let folder = self.class.join(master);
        let file = |prefix: &str| {
            folder
                .join(format!("{prefix}_{slave}"))
                .join("bonding_slave/mii_status")
        };
        match sysfs::read_optional(&file("lower"))? {
            Some(state) => Ok(state),
            None => sysfs::read(&file("slave")),
        }
    }
}

impl Collector for Bonding {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "bonding is not loaded";
        let masters = sysfs::read(&self.class.join("bonding_masters")).or_no_data(ABSENT)?;
        for master in masters.split_ascii_whitespace() {
            let path = self.class.join(master).join("bonding/slaves");
            let slaves = sysfs::read(&path).or_no_data(ABSENT)?;
            let (mut n_slaves, mut n_active) = (0, 0);
            for slave in slaves.split_ascii_whitespace() {
                n_slaves += 1;
                n_active += i32::from(self.state(master, slave).or_no_data(ABSENT)? == "up");
            }
            SLAVES.sample(out, &[("master", master)], f64::from(n_slaves));
            ACTIVE.sample(out, &[("master", master)], f64::from(n_active));
        }
        Ok(())
    }
}
