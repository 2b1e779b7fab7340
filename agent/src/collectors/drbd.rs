//! Replicated block devices of DRBD 8, of /proc/drbd.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, number, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, OrNoData};

pub(super) const ENTRY: Entry = Entry {
    name: "drbd",
    about: "replicated block devices",
    is_default: false,
    build: |spec| Ok(Box::new(Drbd::new(spec))),
    ..Entry::DEFAULT
};

const KIBI: f64 = 1024.0;
/// Keys, the factor to the unit, and the family.
const NUMBERS: [(&str, f64, Desc); 12] = [
    (
        "ns",
        KIBI,
        Desc::counter(
            "node_drbd_network_sent_bytes_total",
            "Total number of bytes sent via the network.",
        ),
    ),
    // Kibibytes too, but node_exporter passes the number on as it is, and dashboards have got used
    // to it.
    (
        "nr",
        1.0,
        Desc::counter(
            "node_drbd_network_received_bytes_total",
            "Total number of bytes received via the network.",
        ),
    ),
    (
        "dw",
        KIBI,
        Desc::counter(
            "node_drbd_disk_written_bytes_total",
            "Net data written on local hard disk; in bytes.",
        ),
    ),
    (
        "dr",
        KIBI,
        Desc::counter(
            "node_drbd_disk_read_bytes_total",
            "Net data read from local hard disk; in bytes.",
        ),
    ),
    (
        "al",
        1.0,
        Desc::counter(
            "node_drbd_activitylog_writes_total",
            "Number of updates of the activity log area of the meta data.",
        ),
    ),
    (
        "bm",
        1.0,
        Desc::counter(
            "node_drbd_bitmap_writes_total",
            "Number of updates of the bitmap area of the meta data.",
        ),
    ),
    (
        "lo",
        1.0,
        Desc::gauge(
            "node_drbd_local_pending",
            "Number of open requests to the local I/O sub-system.",
        ),
    ),
    (
        "pe",
        1.0,
        Desc::gauge(
            "node_drbd_remote_pending",
            "Number of requests sent to the peer, but that have not yet been answered by the latter.",
        ),
    ),
    (
        "ua",
        1.0,
        Desc::gauge(
            "node_drbd_remote_unacknowledged",
            "Number of requests received by the peer via the network connection, but that have not yet been answered.",
        ),
    ),
    (
        "ap",
        1.0,
        Desc::gauge(
            "node_drbd_application_pending",
            "Number of block I/O requests forwarded to DRBD, but not yet answered by DRBD.",
        ),
    ),
    (
        "ep",
        1.0,
        Desc::gauge("node_drbd_epochs", "Number of Epochs currently on the fly."),
    ),
    (
        "oos",
        KIBI,
        Desc::gauge(
            "node_drbd_out_of_sync_bytes",
            "Amount of data known to be out of sync; in bytes.",
        ),
    ),
];
/// Keys of pairs of states, here and at the peer, and the state that is 1.
const STATES: [(&str, &str, Desc); 2] = [
    (
        "ro",
        "Primary",
        Desc::gauge(
            "node_drbd_node_role_is_primary",
            "Whether the role of the node is in the primary state.",
        ),
    ),
    (
        "ds",
        "UpToDate",
        Desc::gauge(
            "node_drbd_disk_state_is_up_to_date",
            "Whether the disk of the node is up to date.",
        ),
    ),
];
const CONNECTED: Desc = Desc::gauge(
    "node_drbd_connected",
    "Whether DRBD is connected to the peer.",
);

struct Drbd {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Drbd {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("drbd")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Drbd {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file
            .read(&mut self.buf)
            .or_no_data("DRBD is not loaded")?;
        let mut device = "unknown".to_owned();
        // Key and value with one colon between them; `0:` begins a device.
        for word in words(&self.buf).filter_map(text) {
            let Some((key, value)) = word.split_once(':').filter(|(_, v)| !v.contains(':')) else {
                continue;
            };
            if value.is_empty() && number(key.as_bytes()).is_some() {
                device = format!("drbd{key}");
                continue;
            }
            let label = ("device", device.as_str());
            if let Some((_, factor, desc)) = NUMBERS.iter().find(|(k, _, _)| *k == key) {
                let value = decimal(value.as_bytes());
                let value = value.with_context(|| format!("drbd: '{word}' is no number"))?;
                desc.sample(out, &[label], value * factor);
            } else if let Some((_, good, desc)) = STATES.iter().find(|(k, _, _)| *k == key) {
                let (local, remote) = value.split_once('/').unwrap_or((value, ""));
                for (node, state) in [("local", local), ("remote", remote)] {
                    desc.sample(out, &[label, ("node", node)], f64::from(state == *good));
                }
            } else if key == "cs" {
                CONNECTED.sample(out, &[label], f64::from(value == "Connected"));
            }
        }
        Ok(())
    }
}
