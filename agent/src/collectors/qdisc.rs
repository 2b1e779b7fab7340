//! Queueing disciplines at the root of each interface: what they sent, dropped and hold.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::netlink::{attribute, c_text, dump_request, u32_at, u64_at};
use nix::sys::socket::SockProtocol;
use serde::Deserialize;

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::{Collector, Entry, NodeSpec, netlink};

pub(super) const ENTRY: Entry = Entry {
    name: "qdisc",
    about: "queueing disciplines",
    is_default: false,
    flags: &[FIXTURES, INCLUDE, INCLUDE_OLD, EXCLUDE, EXCLUDE_OLD],
    build: |spec| Ok(Box::new(Qdisc::new(spec)?)),
    ..Entry::DEFAULT
};

const FIXTURES: Flag = Flag::text(
    "collector.qdisc.fixtures",
    "",
    "test fixtures to use for qdisc collector end-to-end testing",
);
const INCLUDE: Flag = Flag::text(
    "collector.qdisc.device-include",
    "",
    "Regexp of qdisc devices to include (mutually exclusive to device-exclude).",
);
const INCLUDE_OLD: Flag = Flag::deprecated("collector.qdisk.device-include", INCLUDE.name);
const EXCLUDE: Flag = Flag::text(
    "collector.qdisc.device-exclude",
    "",
    "Regexp of qdisc devices to exclude (mutually exclusive to device-include).",
);
const EXCLUDE_OLD: Flag = Flag::deprecated("collector.qdisk.device-exclude", EXCLUDE.name);

const BYTES: Desc = Desc::counter("node_qdisc_bytes_total", "Number of bytes sent.");
const PACKETS: Desc = Desc::counter("node_qdisc_packets_total", "Number of packets sent.");
const DROPS: Desc = Desc::counter("node_qdisc_drops_total", "Number of packets dropped.");
const REQUEUES: Desc = Desc::counter(
    "node_qdisc_requeues_total",
    "Number of packets dequeued, not transmitted, and requeued.",
);
const OVERLIMITS: Desc = Desc::counter(
    "node_qdisc_overlimits_total",
    "Number of overlimit packets.",
);
const QUEUE_LENGTH: Desc = Desc::gauge(
    "node_qdisc_current_queue_length",
    "Number of packets currently in queue to be sent.",
);
const BACKLOG: Desc = Desc::gauge(
    "node_qdisc_backlog",
    "Number of bytes currently in queue to be sent.",
);

const GET_QDISC: u16 = 38;
const NEW_QDISC: u16 = 36;
const HEADER_BYTES: usize = 20;
const PARENT_AT: usize = 12;
/// The parent of what hangs at the interface itself.
const ROOT: u32 = u32::MAX;
const KIND: u16 = 1;
const STATS: u16 = 7;
const STATS_BASIC: u16 = 1;
const STATS_QUEUE: u16 = 3;
const STATS_PACKETS: u16 = 8;

struct Qdisc {
    node: NodeSpec,
    fixtures: Option<PathBuf>,
    filter: NameFilter,
    buf: Vec<u8>,
}

/// One discipline; the names are those of node_exporter's fixtures.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Discipline {
    iface_name: String,
    kind: String,
    parent: u32,
    bytes: u64,
    packets: u64,
    drops: u32,
    requeues: u32,
    overlimits: u32,
    qlen: u32,
    backlog: u32,
}

impl Qdisc {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let fixtures = spec.flags.text(&FIXTURES);
        Ok(Self {
            node: spec.clone(),
            fixtures: (!fixtures.is_empty()).then(|| PathBuf::from(fixtures)),
            filter: spec.flags.either_filter(&INCLUDE, &EXCLUDE)?,
            buf: Vec::new(),
        })
    }

    fn dump(&mut self) -> anyhow::Result<Vec<Discipline>> {
        netlink::check_network(&self.node)?;
        let names = netlink::interface_names(&mut self.buf)?;
        let request = dump_request(GET_QDISC, &[0; HEADER_BYTES]);
        let mut all = Vec::new();
        netlink::ask(
            SockProtocol::NetlinkRoute,
            &request,
            &mut self.buf,
            |message| {
                let interface = u32_at(message.body, 4).and_then(|index| names.get(&index));
                if let (NEW_QDISC, Some(name)) = (message.kind, interface) {
                    all.extend(Discipline::parse(message.body, name));
                }
            },
        )?;
        Ok(all)
    }
}

impl Discipline {
    fn parse(body: &[u8], interface: &str) -> Option<Self> {
        let parent = u32_at(body, PARENT_AT)?;
        let attributes = body.get(HEADER_BYTES..)?;
        let stats = attribute(attributes, STATS).unwrap_or_default();
        let basic = attribute(stats, STATS_BASIC).unwrap_or_default();
        let queue = attribute(stats, STATS_QUEUE).unwrap_or_default();
        // The older count of packets has 32 bits only.
        let packets = attribute(stats, STATS_PACKETS).and_then(|v| u64_at(v, 0));
        let queue_at = |at| u32_at(queue, at).unwrap_or(0);
        Some(Self {
            iface_name: interface.to_owned(),
            kind: c_text(attribute(attributes, KIND)?),
            parent: if parent == ROOT { 0 } else { parent },
            bytes: u64_at(basic, 0).unwrap_or(0),
            packets: packets.unwrap_or_else(|| u64::from(u32_at(basic, 8).unwrap_or(0))),
            qlen: queue_at(0),
            backlog: queue_at(4),
            drops: queue_at(8),
            requeues: queue_at(12),
            overlimits: queue_at(16),
        })
    }
}

impl Collector for Qdisc {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let all = match &self.fixtures {
            Some(folder) => {
                let path = folder.join("results.json");
                let bytes = std::fs::read(&path);
                let bytes = bytes.with_context(|| format!("failed to read {}", path.display()))?;
                serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?
            }
            None => self.dump()?,
        };
        for one in all.iter().filter(|one: &&Discipline| one.parent == 0) {
            if self.filter.is_ignored(&one.iface_name) {
                continue;
            }
            let labels = [("device", one.iface_name.as_str()), ("kind", &one.kind)];
            BYTES.sample(out, &labels, one.bytes as f64);
            PACKETS.sample(out, &labels, one.packets as f64);
            DROPS.sample(out, &labels, f64::from(one.drops));
            REQUEUES.sample(out, &labels, f64::from(one.requeues));
            OVERLIMITS.sample(out, &labels, f64::from(one.overlimits));
            QUEUE_LENGTH.sample(out, &labels, f64::from(one.qlen));
            BACKLOG.sample(out, &labels, f64::from(one.backlog));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kansoku_parsers::kernel::netlink::push_attribute;

    #[test]
    fn a_message_becomes_a_discipline() {
        let mut basic = 42u64.to_ne_bytes().to_vec();
        basic.extend(7u32.to_ne_bytes());
        let queue: Vec<u8> = (1..=5u32).flat_map(u32::to_ne_bytes).collect();
        let mut stats = Vec::new();
        push_attribute(&mut stats, STATS_BASIC, &basic);
        push_attribute(&mut stats, STATS_QUEUE, &queue);
        let mut body = vec![0; HEADER_BYTES];
        body[PARENT_AT..PARENT_AT + 4].copy_from_slice(&ROOT.to_ne_bytes());
        push_attribute(&mut body, KIND, b"fq\0");
        push_attribute(&mut body, STATS, &stats);
        let expected = Discipline {
            iface_name: "eth0".to_owned(),
            kind: "fq".to_owned(),
            parent: 0,
            bytes: 42,
            packets: 7,
            qlen: 1,
            backlog: 2,
            drops: 3,
            requeues: 4,
            overlimits: 5,
        };
        assert_eq!(Discipline::parse(&body, "eth0"), Some(expected));
        for end in 0..body.len() {
            let _ = Discipline::parse(&body[..end], "eth0");
        }
    }
}
