//! Kernel samepage merging: what it shares and how hard it looks.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "ksmd",
    about: "kernel samepage merging",
    is_default: false,
    build: |spec| Ok(Box::new(Ksmd::new(spec))),
    ..Entry::DEFAULT
};

/// Files, the divisor to the unit, and the family.
const FILES: [(&str, f64, Desc); 10] = [
    (
        "full_scans",
        1.0,
        Desc::counter(
            "node_ksmd_full_scans_total",
            "How many times all mergeable areas have been scanned.",
        ),
    ),
    (
        "general_profit",
        1.0,
        Desc::gauge(
            "node_ksmd_general_profit_bytes",
            "How effective is KSM. ksm_saved_pages * sizeof(page) - (all_rmap_items) * sizeof(rmap_item)",
        ),
    ),
    (
        "merge_across_nodes",
        1.0,
        Desc::gauge(
            "node_ksmd_merge_across_nodes",
            "Specifies if pages from different NUMA nodes can be merged.",
        ),
    ),
    (
        "pages_shared",
        1.0,
        Desc::gauge(
            "node_ksmd_pages_shared",
            "How many shared pages are being used.",
        ),
    ),
    (
        "pages_sharing",
        1.0,
        Desc::gauge(
            "node_ksmd_pages_sharing",
            "How many more sites are sharing them i.e. how much saved.",
        ),
    ),
    (
        "pages_to_scan",
        1.0,
        Desc::gauge(
            "node_ksmd_pages_to_scan",
            "How many pages to scan before ksmd goes to sleep.",
        ),
    ),
    (
        "pages_unshared",
        1.0,
        Desc::gauge(
            "node_ksmd_pages_unshared",
            "How many pages unique but repeatedly checked for merging.",
        ),
    ),
    (
        "pages_volatile",
        1.0,
        Desc::gauge(
            "node_ksmd_pages_volatile",
            "How many pages changing too fast to be placed in a tree.",
        ),
    ),
    (
        "run",
        1.0,
        Desc::gauge(
            "node_ksmd_run",
            "The status of ksmd. stopped = 0, running = 1",
        ),
    ),
    (
        "sleep_millisecs",
        1000.0,
        Desc::gauge(
            "node_ksmd_sleep_seconds",
            "How many seconds ksmd should sleep before next scan.",
        ),
    ),
];

struct Ksmd {
    folder: PathBuf,
}

impl Ksmd {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys("kernel/mm/ksm"),
        }
    }
}

impl Collector for Ksmd {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for (file, divisor, desc) in &FILES {
            if let Some(value) = sysfs::number_optional(&self.folder.join(file))? {
                desc.value(out, value / divisor);
            }
        }
        Ok(())
    }
}
