//! Ports of InfiniBand and RoCE adapters: state, rate and counters.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::infiniband_counters::COUNTERS;
use super::{Collector, Entry, NodeSpec, OrNoData, Tier, sysfs};

const DEVICES: &str = "class/infiniband";

pub(super) const ENTRY: Entry = Entry {
    name: "infiniband",
    about: "InfiniBand ports",
    tier: Tier::Background,
    devices: Some(DEVICES),
    flags: &[INCLUDE, EXCLUDE],
    build: |spec| Ok(Box::new(Infiniband::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.infiniband.device-include",
    "",
    "Regexp of infiniband devices to include (mutually exclusive to device-exclude).",
);
const EXCLUDE: Flag = Flag::text(
    "collector.infiniband.device-exclude",
    "",
    "Regexp of infiniband devices to exclude (mutually exclusive to device-include).",
);
const INFO: Desc = Desc::gauge(
    "node_infiniband_info",
    "Non-numeric data from /sys/class/infiniband/<device>, value is always 1.",
);
const STATE: Desc = Desc::gauge(
    "node_infiniband_state_id",
    "State of the InfiniBand port (0: no change, 1: down, 2: init, 3: armed, 4: active, 5: act defer)",
);
const PHYSICAL_STATE: Desc = Desc::gauge(
    "node_infiniband_physical_state_id",
    "Physical state of the InfiniBand port (0: no change, 1: sleep, 2: polling, 3: disable, 4: shift, 5: link up, 6: link error recover, 7: phytest)",
);
const RATE: Desc = Desc::gauge(
    "node_infiniband_rate_bytes_per_second",
    "Maximum signal transfer rate",
);
const LIFESPAN: Desc = Desc::gauge(
    "node_infiniband_lifespan_seconds",
    "The maximum period in ms which defines the aging of the counter reads. Two consecutive reads within this period might return the same values.",
);
const BYTES_PER_GIGABIT: f64 = 125_000_000.0;
/// What a driver says of a counter that its port does not have.
const NOT_AVAILABLE: &str = "N/A (no PMA)";

struct Infiniband {
    class: PathBuf,
    filter: NameFilter,
}

impl Infiniband {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            class: spec.sys(DEVICES),
            filter: spec.flags.filter(&INCLUDE, &EXCLUDE)?,
        })
    }
}

impl Collector for Infiniband {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there is no InfiniBand adapter";
        for device in sysfs::names(&self.class).or_no_data(ABSENT)? {
            if self.filter.is_ignored(&device) {
                continue;
            }
            let folder = self.class.join(&device);
            let word =
                |file| sysfs::read_optional(&folder.join(file)).map(Option::unwrap_or_default);
            let (board, firmware, kind) = (word("board_id")?, word("fw_ver")?, word("hca_type")?);
            let labels = [
                ("device", device.as_str()),
                ("board_id", &board),
                ("firmware_version", &firmware),
                ("hca_type", &kind),
            ];
            INFO.sample(out, &labels, 1.0);
            let ports = folder.join("ports");
            for port in sysfs::names(&ports)? {
                let labels = [("device", device.as_str()), ("port", &port)];
                collect_port(out, &ports.join(&port), &labels)?;
            }
        }
        Ok(())
    }
}

fn collect_port(
    out: &mut MetricBatch,
    folder: &Path,
    labels: &[(&str, &str)],
) -> anyhow::Result<()> {
    // `4: ACTIVE`, `25 Gb/sec (4X SDR)`
    let leading = |file: &str, end: &str| {
        let path = folder.join(file);
        let text = sysfs::read(&path)?;
        let number = text
            .split_once(end)
            .and_then(|(n, _)| sysfs::parse_number(n.trim()));
        number.with_context(|| format!("{} is '{text}'", path.display()))
    };
    STATE.sample(out, labels, leading("state", ":")?);
    PHYSICAL_STATE.sample(out, labels, leading("phys_state", ":")?);
    RATE.sample(out, labels, leading("rate", " ")? * BYTES_PER_GIGABIT);
    for (file, factor, desc) in &COUNTERS {
        if let Some(value) = counter(&folder.join(file))? {
            desc.sample(out, labels, value * factor);
        }
    }
    if let Some(value) = counter(&folder.join("hw_counters/lifespan"))? {
        LIFESPAN.sample(out, labels, (value / 1000.0).trunc());
    }
    Ok(())
}

fn counter(path: &Path) -> anyhow::Result<Option<f64>> {
    match sysfs::read_optional(path)? {
        Some(text) if !text.contains(NOT_AVAILABLE) => {
            let number = sysfs::parse_number(&text);
            let number = number.with_context(|| format!("{} is '{text}'", path.display()))?;
            Ok(Some(number))
        }
        _ => Ok(None),
    }
}
