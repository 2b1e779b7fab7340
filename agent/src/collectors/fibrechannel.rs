//! Ports of Fibre Channel host adapters: state and counters.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, OrNoData, Tier, sysfs};

const DEVICES: &str = "class/fc_host";

pub(super) const ENTRY: Entry = Entry {
    name: "fibrechannel",
    about: "Fibre Channel ports",
    tier: Tier::Background,
    devices: Some(DEVICES),
    build: |spec| Ok(Box::new(FibreChannel::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_fibrechannel_info",
    "Non-numeric data from /sys/class/fc_host/<host>, value is always 1.",
);
/// Files that become labels; an address loses the `0x` before it.
const LABELS: [(&str, bool); 10] = [
    ("speed", false),
    ("port_state", false),
    ("port_type", false),
    ("port_id", true),
    ("port_name", true),
    ("fabric_name", true),
    ("symbolic_name", false),
    ("supported_classes", false),
    ("supported_speeds", false),
    ("dev_loss_tmo", false),
];
const PORT_STATE_LABEL: usize = 1;
/// Files below statistics.
const COUNTERS: [(&str, Desc); 14] = [
    (
        "dumped_frames",
        Desc::counter(
            "node_fibrechannel_dumped_frames_total",
            "Number of dumped frames",
        ),
    ),
    (
        "error_frames",
        Desc::counter(
            "node_fibrechannel_error_frames_total",
            "Number of errors in frames",
        ),
    ),
    (
        "invalid_crc_count",
        Desc::counter(
            "node_fibrechannel_invalid_crc_total",
            "Invalid Cyclic Redundancy Check count",
        ),
    ),
    (
        "rx_frames",
        Desc::counter(
            "node_fibrechannel_rx_frames_total",
            "Number of frames received",
        ),
    ),
    (
        "rx_words",
        Desc::counter(
            "node_fibrechannel_rx_words_total",
            "Number of words received by host port",
        ),
    ),
    (
        "tx_frames",
        Desc::counter(
            "node_fibrechannel_tx_frames_total",
            "Number of frames transmitted by host port",
        ),
    ),
    (
        "tx_words",
        Desc::counter(
            "node_fibrechannel_tx_words_total",
            "Number of words transmitted by host port",
        ),
    ),
    (
        "seconds_since_last_reset",
        Desc::counter(
            "node_fibrechannel_seconds_since_last_reset_total",
            "Number of seconds since last host port reset",
        ),
    ),
    (
        "invalid_tx_word_count",
        Desc::counter(
            "node_fibrechannel_invalid_tx_words_total",
            "Number of invalid words transmitted by host port",
        ),
    ),
    (
        "link_failure_count",
        Desc::counter(
            "node_fibrechannel_link_failure_total",
            "Number of times the host port link has failed",
        ),
    ),
    (
        "loss_of_sync_count",
        Desc::counter(
            "node_fibrechannel_loss_of_sync_total",
            "Number of failures on either bit or transmission word boundaries",
        ),
    ),
    (
        "loss_of_signal_count",
        Desc::counter(
            "node_fibrechannel_loss_of_signal_total",
            "Number of times signal has been lost",
        ),
    ),
    (
        "nos_count",
        Desc::counter(
            "node_fibrechannel_nos_total",
            "Number Not_Operational Primitive Sequence received by host port",
        ),
    ),
    (
        "fcp_packet_aborts",
        Desc::counter(
            "node_fibrechannel_fcp_packet_aborts_total",
            "Number of aborted packets",
        ),
    ),
];

struct FibreChannel {
    class: PathBuf,
}

impl FibreChannel {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys(DEVICES),
        }
    }
}

impl Collector for FibreChannel {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let hosts = sysfs::names(&self.class);
        for host in hosts.or_no_data("there is no Fibre Channel adapter")? {
            let folder = self.class.join(&host);
            let mut values = [const { String::new() }; LABELS.len()];
            for (value, (file, is_address)) in values.iter_mut().zip(LABELS) {
                let text = sysfs::read_optional(&folder.join(file))?.unwrap_or_default();
                *value = match text.get(2..) {
                    Some(digits) if is_address && !digits.is_empty() => digits.to_owned(),
                    _ => text,
                };
            }
            let mut labels = vec![("fc_host", host.as_str())];
            labels.extend(LABELS.iter().zip(&values).map(|((l, _), v)| (*l, &**v)));
            INFO.sample(out, &labels, 1.0);
            // A port that is not up has counters that mean nothing, or none.
            let has_counters = !matches!(values[PORT_STATE_LABEL].as_str(), "" | "Unknown");
            for (file, desc) in &COUNTERS {
                let value = match has_counters {
                    true => sysfs::read_optional(&folder.join("statistics").join(file))?,
                    false => Some("0".to_owned()),
                };
                // All bits set says that the driver does not count this.
                let value = value.filter(|v| v != "0xffffffffffffffff");
                if let Some(number) = value.and_then(|v| sysfs::parse_number(&v)) {
                    desc.sample(out, &[("fc_host", &host)], number);
                }
            }
        }
        Ok(())
    }
}
