//! Memory zones: free and used pages and watermarks, of /proc/zoneinfo.

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "zoneinfo",
    about: "memory zones",
    is_default: false,
    build: |spec| Ok(Box::new(Zoneinfo::new(spec))),
    ..Entry::DEFAULT
};

const FIELDS: [(&str, Desc); 34] = [
    (
        "nr_free_pages",
        Desc::gauge(
            "node_zoneinfo_nr_free_pages",
            "Total number of free pages in the zone",
        ),
    ),
    (
        "min",
        Desc::gauge("node_zoneinfo_min_pages", "Zone watermark pages_min"),
    ),
    (
        "low",
        Desc::gauge("node_zoneinfo_low_pages", "Zone watermark pages_low"),
    ),
    (
        "high",
        Desc::gauge("node_zoneinfo_high_pages", "Zone watermark pages_high"),
    ),
    (
        "scanned",
        Desc::gauge(
            "node_zoneinfo_scanned_pages",
            "Pages scanned since last reclaim",
        ),
    ),
    (
        "spanned",
        Desc::gauge(
            "node_zoneinfo_spanned_pages",
            "Total pages spanned by the zone, including holes",
        ),
    ),
    (
        "present",
        Desc::gauge(
            "node_zoneinfo_present_pages",
            "Physical pages existing within the zone",
        ),
    ),
    (
        "managed",
        Desc::gauge(
            "node_zoneinfo_managed_pages",
            "Present pages managed by the buddy system",
        ),
    ),
    (
        "nr_active_anon",
        Desc::gauge(
            "node_zoneinfo_nr_active_anon_pages",
            "Number of anonymous pages recently more used",
        ),
    ),
    (
        "nr_inactive_anon",
        Desc::gauge(
            "node_zoneinfo_nr_inactive_anon_pages",
            "Number of anonymous pages recently less used",
        ),
    ),
    (
        "nr_isolated_anon",
        Desc::gauge(
            "node_zoneinfo_nr_isolated_anon_pages",
            "Temporary isolated pages from anon lru",
        ),
    ),
    (
        "nr_anon_pages",
        Desc::gauge(
            "node_zoneinfo_nr_anon_pages",
            "Number of anonymous pages currently used by the system",
        ),
    ),
    (
        "nr_anon_transparent_hugepages",
        Desc::gauge(
            "node_zoneinfo_nr_anon_transparent_hugepages",
            "Number of anonymous transparent huge pages currently used by the system",
        ),
    ),
    (
        "nr_active_file",
        Desc::gauge(
            "node_zoneinfo_nr_active_file_pages",
            "Number of active pages with file-backing",
        ),
    ),
    (
        "nr_inactive_file",
        Desc::gauge(
            "node_zoneinfo_nr_inactive_file_pages",
            "Number of inactive pages with file-backing",
        ),
    ),
    (
        "nr_isolated_file",
        Desc::gauge(
            "node_zoneinfo_nr_isolated_file_pages",
            "Temporary isolated pages from file lru",
        ),
    ),
    (
        "nr_file_pages",
        Desc::gauge("node_zoneinfo_nr_file_pages", "Number of file pages"),
    ),
    (
        "nr_slab_reclaimable",
        Desc::gauge(
            "node_zoneinfo_nr_slab_reclaimable_pages",
            "Number of reclaimable slab pages",
        ),
    ),
    (
        "nr_slab_unreclaimable",
        Desc::gauge(
            "node_zoneinfo_nr_slab_unreclaimable_pages",
            "Number of unreclaimable slab pages",
        ),
    ),
    (
        "nr_mlock_stack",
        Desc::gauge(
            "node_zoneinfo_nr_mlock_stack_pages",
            "mlock()ed pages found and moved off LRU",
        ),
    ),
    (
        "nr_kernel_stack",
        Desc::gauge("node_zoneinfo_nr_kernel_stacks", "Number of kernel stacks"),
    ),
    (
        "nr_mapped",
        Desc::gauge("node_zoneinfo_nr_mapped_pages", "Number of mapped pages"),
    ),
    (
        "nr_dirty",
        Desc::gauge("node_zoneinfo_nr_dirty_pages", "Number of dirty pages"),
    ),
    (
        "nr_writeback",
        Desc::gauge(
            "node_zoneinfo_nr_writeback_pages",
            "Number of writeback pages",
        ),
    ),
    (
        "nr_unevictable",
        Desc::gauge(
            "node_zoneinfo_nr_unevictable_pages",
            "Number of unevictable pages",
        ),
    ),
    (
        "nr_shmem",
        Desc::gauge(
            "node_zoneinfo_nr_shmem_pages",
            "Number of shmem pages (included tmpfs/GEM pages)",
        ),
    ),
    (
        "nr_dirtied",
        Desc::counter(
            "node_zoneinfo_nr_dirtied_total",
            "Page dirtyings since bootup",
        ),
    ),
    (
        "nr_written",
        Desc::counter(
            "node_zoneinfo_nr_written_total",
            "Page writings since bootup",
        ),
    ),
    (
        "numa_hit",
        Desc::counter("node_zoneinfo_numa_hit_total", "Allocated in intended node"),
    ),
    (
        "numa_miss",
        Desc::counter(
            "node_zoneinfo_numa_miss_total",
            "Allocated in non intended node",
        ),
    ),
    (
        "numa_foreign",
        Desc::counter(
            "node_zoneinfo_numa_foreign_total",
            "Was intended here, hit elsewhere",
        ),
    ),
    (
        "numa_interleave",
        Desc::counter(
            "node_zoneinfo_numa_interleave_total",
            "Interleaver preferred this zone",
        ),
    ),
    (
        "numa_local",
        Desc::counter(
            "node_zoneinfo_numa_local_total",
            "Allocation from local node",
        ),
    ),
    (
        "numa_other",
        Desc::counter(
            "node_zoneinfo_numa_other_total",
            "Allocation from other node",
        ),
    ),
];
/// Zones below a zone that are protected from it: as many as there are kinds of zones, at most.
const MAX_PROTECTIONS: usize = 16;

struct Zoneinfo {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Zoneinfo {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("zoneinfo")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Zoneinfo {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let (mut node, mut zone) = ("", "");
        for line in lines(&self.buf) {
            let mut words = words(line);
            let (Some(name), Some(value)) = (words.next(), words.next()) else {
                continue;
            };
            if name == b"Node" {
                // Node 0, zone   Normal
                node = text(value).unwrap_or_default().trim_end_matches(',');
                zone = words.nth(1).and_then(text).unwrap_or_default();
                continue;
            }
            let labels = [("node", node), ("zone", zone)];
            if name == b"protection:" {
                collect_protection(out, line, &labels);
            } else if let Some((name, desc)) = FIELDS.iter().find(|(n, _)| n.as_bytes() == name) {
                let value = decimal(value);
                let value = value.with_context(|| format!("zoneinfo: {name} has no number"))?;
                desc.sample(out, &labels, value);
            }
        }
        Ok(())
    }
}

/// `protection: (0, 2877, 7826, 7826)`
fn collect_protection(out: &mut MetricBatch, line: &[u8], labels: &[(&str, &str)]) {
    let words = line
        .split(|b| !b.is_ascii_digit())
        .filter(|w| !w.is_empty());
    for (index, value) in words.take(MAX_PROTECTIONS).enumerate() {
        let name = format!("node_zoneinfo_protection_{index}");
        let help = format!("Protection array {index}. field");
        let family = out.family(&name, MetricKind::Gauge, &help);
        out.sample(family, labels, decimal(value).unwrap_or(0.0));
    }
}
