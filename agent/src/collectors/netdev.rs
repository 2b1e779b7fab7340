//! Counters of network interfaces: one rtnetlink dump, or the net/dev of process 1.
//!
//! A netlink socket sees the network of the process that opened it. So netlink is used when process
//! 1 of `path.procfs` surely lives in our own network, or when the flag asks for it; else net/dev of
//! process 1 is read (which lacks `receive_nohandler`), and never silently our pod's own numbers.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Suffix};
use kansoku_parsers::kernel::link;
use kansoku_parsers::kernel::link::Link;
use kansoku_parsers::kernel::net_dev::{self, N_VALUES};
use kansoku_parsers::kernel::rtnetlink::{self, Counters, N_COUNTERS};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::findings::Left;
use super::flags::{Flag, NameFilter};
use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "netdev",
    about: "bytes, packets, errors and drops per network interface",
    flags: &[
        INCLUDE,
        INCLUDE_OLD,
        EXCLUDE,
        EXCLUDE_OLD,
        ADDRESS_INFO,
        DETAILED_METRICS,
        NETLINK,
        LABEL_IFALIAS,
    ],
    build: |spec| Ok(Box::new(Netdev::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.netdev.device-include",
    "",
    "Regexp of net devices to include (mutually exclusive to device-exclude).",
);
const INCLUDE_OLD: Flag = Flag::deprecated("collector.netdev.device-whitelist", INCLUDE.name);
/// Interfaces to leave out; none by default.
pub(crate) const EXCLUDE: Flag = Flag::text(
    "collector.netdev.device-exclude",
    "",
    "Regexp of net devices to exclude (mutually exclusive to device-include).",
);
const EXCLUDE_OLD: Flag = Flag::deprecated("collector.netdev.device-blacklist", EXCLUDE.name);

const ADDRESS_INFO: Flag = Flag::switch(
    "collector.netdev.address-info",
    false,
    "Collect address-info for every device",
);
const DETAILED_METRICS: Flag = Flag::switch(
    "collector.netdev.enable-detailed-metrics",
    false,
    "Use (incompatible) metric names that provide more detailed stats on Linux",
);
const NETLINK: Flag = Flag::switch(
    "collector.netdev.netlink",
    true,
    "Use netlink to gather stats instead of /proc/net/dev: by default where our own network is the node's, when given in any case.",
);
const LABEL_IFALIAS: Flag =
    Flag::switch("collector.netdev.label-ifalias", false, "Add ifAlias label");

/// A datagram of a dump is at most this large: the kernel fits it to the reader's buffer, 32 KiB.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Datagrams of one dump at the most: over 100,000 interfaces.
const MAX_DATAGRAMS: usize = 4096;
/// The kernel answers at once; a lost answer must not hang the scrape.
const NETLINK_PATIENCE_MS: i64 = 1000;

/// Statistics under their usual names, and the counters of `rtnl_link_stats64` that make them up.
/// The sums are those of the kernel's own /proc/net/dev, whose columns these are in order; the last
/// one it lacks.
const USUAL: [(&str, &[usize]); 17] = [
    ("receive_bytes", &[2]),
    ("receive_packets", &[0]),
    ("receive_errs", &[4]),
    ("receive_drop", &[6, 15]),
    ("receive_fifo", &[14]),
    ("receive_frame", &[13, 10, 11, 12]),
    ("receive_compressed", &[21]),
    ("receive_multicast", &[8]),
    ("transmit_bytes", &[3]),
    ("transmit_packets", &[1]),
    ("transmit_errs", &[5]),
    ("transmit_drop", &[7]),
    ("transmit_fifo", &[18]),
    ("transmit_colls", &[9]),
    ("transmit_carrier", &[17, 16, 19, 20]),
    ("transmit_compressed", &[22]),
    ("receive_nohandler", &[23]),
];

/// Every counter of `rtnl_link_stats64` by itself, in its order.
const DETAILED: [&str; N_COUNTERS] = [
    "receive_packets",
    "transmit_packets",
    "receive_bytes",
    "transmit_bytes",
    "receive_errors",
    "transmit_errors",
    "receive_dropped",
    "transmit_dropped",
    "multicast",
    "collisions",
    "receive_length_errors",
    "receive_over_errors",
    "receive_crc_errors",
    "receive_frame_errors",
    "receive_fifo_errors",
    "receive_missed_errors",
    "transmit_aborted_errors",
    "transmit_carrier_errors",
    "transmit_fifo_errors",
    "transmit_heartbeat_errors",
    "transmit_window_errors",
    "receive_compressed",
    "transmit_compressed",
    "receive_nohandler",
];

/// What the columns of net/dev are called where their detailed names differ from the usual ones.
const DETAILED_COLUMNS: [(&str, &str); 4] = [
    ("receive_errs", "receive_errors"),
    ("receive_drop", "receive_dropped"),
    ("transmit_errs", "transmit_errors"),
    ("transmit_drop", "transmit_dropped"),
];

struct Netdev {
    source: Source,
    statistics: Vec<Statistic>,
    filter: NameFilter,
    /// `/sys/class/net`, where the label `ifalias` is wanted.
    aliases: Option<PathBuf>,
    /// Whether addresses are wanted, and are the node's.
    addresses: Option<bool>,
    /// What the collector of their properties has asked for.
    links: Left<Vec<Link>>,
    buf: Vec<u8>,
}

enum Source {
    Netlink,
    File(KernelFile),
}

/// A family, and the values of an interface that it is the sum of.
struct Statistic {
    name: String,
    help: String,
    parts: Vec<usize>,
}

impl Statistic {
    fn new(statistic: &str, parts: &[usize]) -> Self {
        Self {
            name: format!("node_network_{statistic}_total"),
            help: format!("Network device statistic {statistic}."),
            parts: parts.to_vec(),
        }
    }
}

impl Netdev {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let flags = &spec.flags;
        let is_ours = is_our_network(&spec.procfs);
        let netlink = if flags.is_given(&NETLINK) {
            flags.is_on(&NETLINK)
        } else {
            is_ours
        };
        let source = if netlink {
            Source::Netlink
        } else {
            Source::File(KernelFile::new(spec.proc_net("dev")))
        };
        let with_aliases = flags.is_on(&LABEL_IFALIAS);
        Ok(Self {
            statistics: statistics(&source, flags.is_on(&DETAILED_METRICS)),
            source,
            filter: flags.either_filter(&INCLUDE, &EXCLUDE)?,
            aliases: with_aliases.then(|| spec.sys("class/net")),
            addresses: flags.is_on(&ADDRESS_INFO).then_some(is_ours),
            links: spec.findings.links.clone(),
            buf: Vec::new(),
        })
    }
}

fn statistics(source: &Source, is_detailed: bool) -> Vec<Statistic> {
    let detailed = |name: &'static str| {
        let found = DETAILED_COLUMNS.iter().find(|(usual, _)| *usual == name);
        found.map_or(name, |(_, detailed)| *detailed)
    };
    let columns = USUAL[..N_VALUES].iter().enumerate();
    match (source, is_detailed) {
        (Source::Netlink, false) => (USUAL.iter())
            .map(|(name, parts)| Statistic::new(name, parts))
            .collect(),
        (Source::Netlink, true) => (DETAILED.iter().enumerate())
            .map(|(at, name)| Statistic::new(name, &[at]))
            .collect(),
        (Source::File(_), false) => columns
            .map(|(at, (name, _))| Statistic::new(name, &[at]))
            .collect(),
        (Source::File(_), true) => columns
            .map(|(at, (name, _))| Statistic::new(detailed(name), &[at]))
            .collect(),
    }
}

impl Collector for Netdev {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let families: Vec<FamilyId> = self
            .statistics
            .iter()
            .map(|s| out.family(&s.name, MetricKind::Counter, &s.help))
            .collect();
        let (statistics, filter, aliases) = (&self.statistics, &self.filter, &self.aliases);
        let mut sample = |device: &str, values: &[u64]| {
            if filter.is_ignored(device) {
                return;
            }
            let alias = aliases.as_ref().and_then(|folder| alias(folder, device));
            let labels = [
                ("device", device),
                ("ifalias", alias.as_deref().unwrap_or("")),
            ];
            let labels = &labels[..1 + usize::from(alias.is_some())];
            let labels = out.label_set(labels.iter().copied());
            for (statistic, family) in statistics.iter().zip(&families) {
                let parts = statistic.parts.iter().filter_map(|part| values.get(*part));
                out.push(Point {
                    family: *family,
                    suffix: Suffix::None,
                    labels,
                    time_ms: None,
                    value: parts.fold(0u64, |sum, part| sum.wrapping_add(*part)) as f64,
                });
            }
        };
        match &mut self.source {
            Source::Netlink => match self.links.take() {
                Some(links) => {
                    let counted = links.iter().filter(|link| !link.counters.is_empty());
                    counted.for_each(|link| sample(&link.name, &link.counters));
                }
                None => dump(&mut self.buf, |device, counters| {
                    sample(device, &counters.0);
                })?,
            },
            Source::File(file) => {
                file.read(&mut self.buf)?;
                for interface in net_dev::interfaces(&self.buf) {
                    let interface = interface?;
                    sample(interface.name, &interface.values);
                }
            }
        }
        match self.addresses {
            None => Ok(()),
            Some(true) => super::net_addresses::collect(&self.filter, out),
            Some(false) => anyhow::bail!(
                "--{}: addresses can be had of our own network only, which is not the node's",
                ADDRESS_INFO.name
            ),
        }
    }
}

/// What the interface is called besides; `None` where sysfs does not know it.
fn alias(folder: &Path, device: &str) -> Option<String> {
    read_word(&folder.join(device).join("ifalias"))
}

/// Whether process 1 has our network namespace.
pub(super) fn is_our_network(procfs: &Path) -> bool {
    let node = network_of(procfs, "1");
    node.is_some() && node == network_of(Path::new("/proc"), "self")
}

/// A number that processes of one network namespace share, whichever mount of /proc is asked: the
/// kernel makes the files below `net` once per namespace. Unlike the link `ns/net` it can be had
/// without the right to trace the process.
pub(super) fn network_of(procfs: &Path, pid: &str) -> Option<u64> {
    let meta = std::fs::metadata(procfs.join(pid).join("net/dev")).ok()?;
    Some(meta.ino())
}

/// Calls `each` with every interface of the own network.
fn dump(buf: &mut Vec<u8>, mut each: impl FnMut(&str, Counters)) -> anyhow::Result<()> {
    const FAILED: &str = "failed to ask the kernel for network interfaces";
    let socket = open().context(FAILED)?;
    let fd = socket.as_raw_fd();
    send(fd, &link::request(), MsgFlags::empty()).context(FAILED)?;
    buf.resize(DATAGRAM_BYTES, 0);
    for _ in 0..MAX_DATAGRAMS {
        let n = recv(fd, buf, MsgFlags::empty()).context(FAILED)?;
        let datagram = buf.get(..n).unwrap_or_default();
        if !rtnetlink::parse(datagram, |link| each(link.name, link.counters))? {
            return Ok(());
        }
    }
    anyhow::bail!("the kernel's list of network interfaces does not end");
}

fn open() -> nix::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let patience = TimeVal::milliseconds(NETLINK_PATIENCE_MS);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netlink_and_net_dev_agree_on_this_machine() {
        let mut netlink = Vec::new();
        dump(&mut Vec::new(), |name, counters| {
            let sum = |parts: &&[usize]| parts.iter().map(|part| counters.at(*part)).sum::<u64>();
            let sums: Vec<u64> = USUAL.iter().map(|(_, parts)| sum(parts)).collect();
            netlink.push((name.to_owned(), sums));
        })
        .expect("netlink answers");
        let mut buf = Vec::new();
        KernelFile::new("/proc/self/net/dev")
            .read(&mut buf)
            .expect("net/dev is there");
        let mut n_interfaces = 0;
        for interface in net_dev::interfaces(&buf) {
            let interface = interface.expect("a line of net/dev");
            let (_, sums) = netlink
                .iter()
                .find(|(name, _)| name == interface.name)
                .expect("netlink knows the interface");
            for (at, (dumped, read)) in sums.iter().zip(interface.values).enumerate() {
                assert!(
                    *dumped <= read,
                    "{} column {at}: {dumped} {read}",
                    interface.name
                );
            }
            n_interfaces += 1;
        }
        assert_eq!(n_interfaces, netlink.len());
    }

    #[test]
    fn a_foreign_procfs_is_not_our_network() {
        assert!(!is_our_network(Path::new("/no/such/proc")));
    }
}
