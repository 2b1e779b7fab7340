//! What this node does as an NFS server, from net/rpc/nfsd.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::rpc;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::nfs_methods::{V2, V3, V4_SERVER};
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "nfsd",
    about: "requests to the NFS server",
    build: |spec| Ok(Box::new(Nfsd::new(spec))),
    ..Entry::DEFAULT
};

/// Line of the file, place in the line, family.
const PLAIN: [(&str, usize, Desc); 11] = [
    (
        "rc",
        0,
        Desc::counter(
            "node_nfsd_reply_cache_hits_total",
            "Total number of NFSd Reply Cache hits (client lost server response).",
        ),
    ),
    (
        "rc",
        1,
        Desc::counter(
            "node_nfsd_reply_cache_misses_total",
            "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
        ),
    ),
    (
        "rc",
        2,
        Desc::counter(
            "node_nfsd_reply_cache_nocache_total",
            "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
        ),
    ),
    (
        "fh",
        0,
        Desc::counter(
            "node_nfsd_file_handles_stale_total",
            "Total number of NFSd stale file handles",
        ),
    ),
    (
        "io",
        0,
        Desc::counter("node_nfsd_disk_bytes_read_total", "Total NFSd bytes read."),
    ),
    (
        "io",
        1,
        Desc::counter(
            "node_nfsd_disk_bytes_written_total",
            "Total NFSd bytes written.",
        ),
    ),
    (
        "th",
        0,
        Desc::gauge(
            "node_nfsd_server_threads",
            "Total number of NFSd kernel threads that are running.",
        ),
    ),
    (
        "ra",
        0,
        Desc::gauge(
            "node_nfsd_read_ahead_cache_size_blocks",
            "How large the read ahead cache is in blocks.",
        ),
    ),
    (
        "ra",
        11,
        Desc::counter(
            "node_nfsd_read_ahead_cache_not_found_total",
            "Total number of NFSd read ahead cache not found.",
        ),
    ),
    (
        "net",
        3,
        Desc::counter(
            "node_nfsd_connections_total",
            "Total number of NFSd TCP connections.",
        ),
    ),
    (
        "rpc",
        0,
        Desc::counter("node_nfsd_server_rpcs_total", "Total number of NFSd RPCs."),
    ),
];
const PACKETS: Desc = Desc::counter(
    "node_nfsd_packets_total",
    "Total NFSd network packets (sent+received) by protocol type.",
);
const ERRORS: Desc = Desc::counter(
    "node_nfsd_rpc_errors_total",
    "Total number of NFSd RPC errors by error type.",
);
const REQUESTS: Desc = Desc::counter(
    "node_nfsd_requests_total",
    "Total number NFSd Requests by method and protocol.",
);

struct Nfsd {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Nfsd {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc_net("rpc/nfsd")),
            buf: Vec::new(),
        }
    }
}

/// Lines that not every kernel has, with as many numbers as are given of them: their families are 0
/// then, as in node_exporter.
const OPTIONAL: [(&str, usize); 4] = [("ra", 12), ("proc2", 1), ("proc3", 1), ("proc4ops", 0)];
const WRITE_DELEGATION: &str = "wdeleg_getattr";

impl Collector for Nfsd {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let read = self.file.read(&mut self.buf);
        read.or_no_data("the NFS server is not loaded")?;
        let (mut missing, mut write_delegations) = (OPTIONAL.to_vec(), 0.0);
        rpc::parse(&self.buf, |key, values| {
            missing.retain(|(optional, _)| *optional != key);
            if key == WRITE_DELEGATION {
                write_delegations = values.first().copied().unwrap_or_default();
            }
            sample(out, key, values);
        })?;
        for (key, n_values) in missing {
            sample(out, key, &[0.0; 12][..n_values]);
        }
        let labels = [("method", "WdelegGetattr"), ("proto", "4")];
        REQUESTS.sample(out, &labels, write_delegations);
        Ok(())
    }
}

fn sample(out: &mut MetricBatch, key: &str, values: &[f64]) {
    for (_, at, desc) in PLAIN.iter().filter(|(line, _, _)| *line == key) {
        if let Some(value) = values.get(*at) {
            desc.value(out, *value);
        }
    }
    match (key, values) {
        ("net", [_, udp, tcp, _]) => {
            PACKETS.sample(out, &[("proto", "udp")], *udp);
            PACKETS.sample(out, &[("proto", "tcp")], *tcp);
        }
        ("rpc", [_, _, format, auth, client]) => {
            for (error, value) in [("fmt", format), ("auth", auth), ("cInt", client)] {
                ERRORS.sample(out, &[("error", error)], *value);
            }
        }
        // The server does not give the empty procedure.
        ("proc2", [_, values @ ..]) => requests(out, "2", &V2[1..], values),
        ("proc3", [_, values @ ..]) => requests(out, "3", &V3[1..], values),
        ("proc4ops", _) => requests(out, "4", &V4_SERVER, values),
        _ => {}
    }
}

fn requests(out: &mut MetricBatch, proto: &str, methods: &[&str], values: &[f64]) {
    let family = REQUESTS.family(out);
    for (at, method) in methods.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
        let value = values.get(at).copied().unwrap_or_default();
        out.sample(family, &[("method", method), ("proto", proto)], value);
    }
}
