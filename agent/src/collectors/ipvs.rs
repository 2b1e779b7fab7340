//! The kernel's load balancer: sums over all services, and connections per backend.

use std::collections::BTreeMap;

use anyhow::bail;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::ip_vs::{self, Backend, N_STATS};

use super::desc::Desc;
use super::flags::Flag;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "ipvs",
    about: "connections of the kernel's load balancer",
    flags: &[BACKEND_LABELS],
    build: |spec| Ok(Box::new(Ipvs::new(spec)?)),
    ..Entry::DEFAULT
};

const BACKEND_LABELS: Flag = Flag::text(
    "collector.ipvs.backend-labels",
    "local_address,local_port,remote_address,remote_port,proto,local_mark",
    "Comma separated list for IPVS backend stats labels.",
);
const SUMS: [Desc; N_STATS] = [
    Desc::counter(
        "node_ipvs_connections_total",
        "The total number of connections made.",
    ),
    Desc::counter(
        "node_ipvs_incoming_packets_total",
        "The total number of incoming packets.",
    ),
    Desc::counter(
        "node_ipvs_outgoing_packets_total",
        "The total number of outgoing packets.",
    ),
    Desc::counter(
        "node_ipvs_incoming_bytes_total",
        "The total amount of incoming data.",
    ),
    Desc::counter(
        "node_ipvs_outgoing_bytes_total",
        "The total amount of outgoing data.",
    ),
];
/// Active connections, inactive ones, and the weight.
const BACKENDS: [Desc; 3] = [
    Desc::gauge(
        "node_ipvs_backend_connections_active",
        "The current active connections by local and remote address.",
    ),
    Desc::gauge(
        "node_ipvs_backend_connections_inactive",
        "The current inactive connections by local and remote address.",
    ),
    Desc::gauge(
        "node_ipvs_backend_weight",
        "The current backend weight by local and remote address.",
    ),
];

/// A label and how its value is had.
type Label = (&'static str, fn(&Backend<'_>) -> String);

const LABELS: [Label; 6] = [
    ("local_address", |b| {
        b.local
            .map_or_else(String::new, |(address, _)| address.to_string())
    }),
    ("local_port", |b| {
        b.local.map_or(0, |(_, port)| port).to_string()
    }),
    ("remote_address", |b| b.remote.0.to_string()),
    ("remote_port", |b| b.remote.1.to_string()),
    ("proto", |b| b.protocol.to_owned()),
    ("local_mark", |b| b.local_mark.to_owned()),
];

struct Ipvs {
    stats: KernelFile,
    backends: KernelFile,
    labels: Vec<Label>,
    buf: Vec<u8>,
}

impl Ipvs {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let given = spec.flags.text(&BACKEND_LABELS).split(',');
        let given: Vec<&str> = given.filter(|label| !label.is_empty()).collect();
        if let Some(unknown) = given.iter().find(|g| !LABELS.iter().any(|(l, _)| l == *g)) {
            bail!(
                "--{}: there is no label '{unknown}'; labels: {}",
                BACKEND_LABELS.name,
                BACKEND_LABELS.default
            );
        }
        Ok(Self {
            stats: KernelFile::new(spec.proc_net("ip_vs_stats")),
            backends: KernelFile::new(spec.proc_net("ip_vs")),
            labels: LABELS
                .into_iter()
                .filter(|(label, _)| given.contains(label))
                .collect(),
            buf: Vec::new(),
        })
    }
}

impl Collector for Ipvs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let read = self.stats.read(&mut self.buf);
        read.or_no_data("the kernel's load balancer is not loaded")?;
        for (desc, value) in SUMS.iter().zip(ip_vs::stats(&self.buf)?) {
            desc.value(out, value as f64);
        }
        self.backends.read(&mut self.buf)?;
        // Backends that the chosen labels do not tell apart are one.
        let mut sums: BTreeMap<Vec<String>, [u64; BACKENDS.len()]> = BTreeMap::new();
        ip_vs::backends(&self.buf, |backend| {
            let key = self.labels.iter().map(|(_, get)| get(&backend)).collect();
            let sum: &mut [u64; BACKENDS.len()] = sums.entry(key).or_default();
            let values = [backend.active, backend.inactive, backend.weight];
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum = sum.wrapping_add(value);
            }
        })?;
        for (values, sum) in &sums {
            let labels: Vec<(&str, &str)> = self
                .labels
                .iter()
                .zip(values)
                .map(|((label, _), value)| (*label, value.as_str()))
                .collect();
            for (desc, value) in BACKENDS.iter().zip(sum) {
                desc.sample(out, &labels, *value as f64);
            }
        }
        Ok(())
    }
}
