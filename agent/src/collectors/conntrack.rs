//! Connection tracking: entries, their limit, and what became of packets, summed over the CPUs.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::net_stat;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "conntrack",
    about: "entries of connection tracking and their limit",
    build: |spec| Ok(Box::new(Conntrack::new(spec))),
    ..Entry::DEFAULT
};

const ENTRIES: Desc = Desc::gauge(
    "node_nf_conntrack_entries",
    "Number of currently allocated flow entries for connection tracking.",
);
const LIMIT: Desc = Desc::gauge(
    "node_nf_conntrack_entries_limit",
    "Maximum size of connection tracking table.",
);
/// Columns of net/stat/nf_conntrack and their families.
const COLUMNS: [(&str, Desc); 8] = [
    (
        "found",
        Desc::gauge(
            "node_nf_conntrack_stat_found",
            "Number of searched entries which were successful.",
        ),
    ),
    (
        "invalid",
        Desc::gauge(
            "node_nf_conntrack_stat_invalid",
            "Number of packets seen which can not be tracked.",
        ),
    ),
    (
        "ignore",
        Desc::gauge(
            "node_nf_conntrack_stat_ignore",
            "Number of packets seen which are already connected to a conntrack entry.",
        ),
    ),
    (
        "insert",
        Desc::gauge(
            "node_nf_conntrack_stat_insert",
            "Number of entries inserted into the list.",
        ),
    ),
    (
        "insert_failed",
        Desc::gauge(
            "node_nf_conntrack_stat_insert_failed",
            "Number of entries for which list insertion was attempted but failed.",
        ),
    ),
    (
        "drop",
        Desc::gauge(
            "node_nf_conntrack_stat_drop",
            "Number of packets dropped due to conntrack failure.",
        ),
    ),
    (
        "early_drop",
        Desc::gauge(
            "node_nf_conntrack_stat_early_drop",
            "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
        ),
    ),
    (
        "search_restart",
        Desc::gauge(
            "node_nf_conntrack_stat_search_restart",
            "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
        ),
    ),
];

struct Conntrack {
    count: KernelFile,
    max: KernelFile,
    stat: KernelFile,
    buf: Vec<u8>,
}

impl Conntrack {
    fn new(spec: &NodeSpec) -> Self {
        let sysctl = |name: &str| KernelFile::whole(spec.proc("sys/net/netfilter").join(name));
        Self {
            count: sysctl("nf_conntrack_count"),
            max: sysctl("nf_conntrack_max"),
            stat: KernelFile::whole(spec.proc_net("stat/nf_conntrack")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Conntrack {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "connection tracking is not loaded";
        let buf = &mut self.buf;
        ENTRIES.value(out, self.count.read_number(buf).or_no_data(ABSENT)?);
        LIMIT.value(out, self.max.read_number(buf).or_no_data(ABSENT)?);
        self.stat.read(buf).or_no_data(ABSENT)?;
        let mut sums = [0u64; COLUMNS.len()];
        net_stat::parse(buf, |_, name, value| {
            if let Some(at) = COLUMNS.iter().position(|(column, _)| *column == name) {
                sums[at] = sums[at].wrapping_add(value);
            }
        })?;
        for ((_, desc), sum) in COLUMNS.iter().zip(sums) {
            desc.value(out, sum as f64);
        }
        Ok(())
    }
}
