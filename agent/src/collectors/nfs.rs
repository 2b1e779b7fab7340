//! What this node does as an NFS client, from net/rpc/nfs.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::rpc;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::nfs_methods::{V2, V3, V4_CLIENT};
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "nfs",
    about: "requests of the NFS client",
    build: |spec| Ok(Box::new(Nfs::new(spec))),
    ..Entry::DEFAULT
};

// The help says NFSd in node_exporter too.
const PACKETS: Desc = Desc::counter(
    "node_nfs_packets_total",
    "Total NFSd network packets (sent+received) by protocol type.",
);
const CONNECTIONS: Desc = Desc::counter(
    "node_nfs_connections_total",
    "Total number of NFSd TCP connections.",
);
const RPCS: Desc = Desc::counter("node_nfs_rpcs_total", "Total number of RPCs performed.");
const RETRANSMISSIONS: Desc = Desc::counter(
    "node_nfs_rpc_retransmissions_total",
    "Number of RPC transmissions performed.",
);
const REFRESHES: Desc = Desc::counter(
    "node_nfs_rpc_authentication_refreshes_total",
    "Number of RPC authentication refreshes performed.",
);
const REQUESTS: Desc = Desc::counter(
    "node_nfs_requests_total",
    "Number of NFS procedures invoked.",
);

const VERSIONS: [&str; 3] = ["proc2", "proc3", "proc4"];

struct Nfs {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Nfs {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc_net("rpc/nfs")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Nfs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let read = self.file.read(&mut self.buf);
        read.or_no_data("the NFS client is not loaded")?;
        let mut missing = VERSIONS.to_vec();
        rpc::parse(&self.buf, |key, values| {
            missing.retain(|version| *version != key);
            sample(out, key, values);
        })?;
        // Versions that the kernel was built without are given as 0, as in node_exporter.
        for version in missing {
            sample(out, version, &[]);
        }
        Ok(())
    }
}

fn sample(out: &mut MetricBatch, key: &str, values: &[f64]) {
    match (key, values) {
        ("net", [_, udp, tcp, connections]) => {
            PACKETS.sample(out, &[("protocol", "udp")], *udp);
            PACKETS.sample(out, &[("protocol", "tcp")], *tcp);
            CONNECTIONS.value(out, *connections);
        }
        ("rpc", [rpcs, retransmissions, refreshes]) => {
            RPCS.value(out, *rpcs);
            RETRANSMISSIONS.value(out, *retransmissions);
            REFRESHES.value(out, *refreshes);
        }
        ("proc2", _) => requests(out, "2", &V2, values),
        ("proc3", _) => requests(out, "3", &V3, values),
        ("proc4", _) => requests(out, "4", &V4_CLIENT, values),
        _ => {}
    }
}

/// Procedures that the kernel does not count yet are 0.
fn requests(out: &mut MetricBatch, proto: &str, methods: &[&str], values: &[f64]) {
    let family = REQUESTS.family(out);
    for (at, method) in methods.iter().enumerate() {
        let value = values.get(at).copied().unwrap_or_default();
        out.sample(family, &[("method", method), ("proto", proto)], value);
    }
}
