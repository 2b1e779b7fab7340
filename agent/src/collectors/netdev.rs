//! Counters of network interfaces: one rtnetlink dump, or the net/dev of process 1.
//!
//! A netlink socket sees the network of the process that opened it. So netlink is used only when
//! process 1 of `path.procfs` surely lives in our own network; else its net/dev is read (which lacks
//! `receive_nohandler`), and never silently our pod's own numbers.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::net_dev;
use kansoku_parsers::kernel::rtnetlink::{self, Counters};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::flags::{Flag, NameFilter};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "netdev",
    about: "bytes, packets, errors and drops per network interface",
    flags: &[INCLUDE, INCLUDE_OLD, EXCLUDE, EXCLUDE_OLD],
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

/// A datagram of a dump is at most this large: the kernel fits it to the reader's buffer, 32 KiB.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Datagrams of one dump at the most: over 100,000 interfaces.
const MAX_DATAGRAMS: usize = 4096;
/// The kernel answers at once; a lost answer must not hang the scrape.
const NETLINK_PATIENCE_MS: i64 = 1000;

/// The families, and for each the counters of `rtnl_link_stats64` that make it up. The sums are
/// those of the kernel's own /proc/net/dev.
const FROM_NETLINK: [(&str, &[usize]); 17] = [
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
    // Not in net/dev, whose columns are the ones above in this order.
    ("receive_nohandler", &[23]),
];

struct Netdev {
    source: Source,
    filter: NameFilter,
    buf: Vec<u8>,
    name: String,
    help: String,
}

enum Source {
    /// Our own network is the node's.
    Netlink,
    /// In order of preference.
    Files([KernelFile; 2]),
}

impl Netdev {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let source = if is_our_network(&spec.procfs) {
            Source::Netlink
        } else {
            Source::Files(["1/net/dev", "net/dev"].map(|f| KernelFile::new(spec.procfs.join(f))))
        };
        Ok(Self {
            source,
            filter: spec.flags.either_filter(&INCLUDE, &EXCLUDE)?,
            buf: Vec::new(),
            name: String::new(),
            help: String::new(),
        })
    }

    fn sample(&mut self, out: &mut MetricBatch, device: &str, values: &[u64]) {
        if self.filter.is_ignored(device) {
            return;
        }
        for ((statistic, _), value) in FROM_NETLINK.iter().zip(values) {
            self.name.clear();
            self.name.push_str("node_network_");
            self.name.push_str(statistic);
            self.name.push_str("_total");
            self.help.clear();
            self.help.push_str("Network device statistic ");
            self.help.push_str(statistic);
            self.help.push('.');
            let family = out.family(&self.name, MetricKind::Counter, &self.help);
            out.sample(family, &[("device", device)], *value as f64);
        }
    }
}

impl Collector for Netdev {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut buf = std::mem::take(&mut self.buf);
        let result = match &mut self.source {
            Source::Netlink => dump(&mut buf, |device, counters| {
                self.sample(out, device, &sums(&counters));
            }),
            Source::Files([node, own]) => {
                let read = node.read_if_there(&mut buf) || own.read(&mut buf).map(|()| true)?;
                debug_assert!(read);
                net_dev::interfaces(&buf).try_for_each(|interface| {
                    let interface = interface?;
                    self.sample(out, interface.name, &interface.values);
                    Ok(())
                })
            }
        };
        self.buf = buf;
        result
    }
}

fn sums(counters: &Counters) -> [u64; FROM_NETLINK.len()] {
    FROM_NETLINK.map(|(_, parts)| {
        let add = |sum: u64, part: &usize| sum.wrapping_add(counters.at(*part));
        parts.iter().fold(0, add)
    })
}

/// Whether process 1 has our network namespace.
fn is_our_network(procfs: &Path) -> bool {
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
    send(fd, &rtnetlink::request(), MsgFlags::empty()).context(FAILED)?;
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
            netlink.push((name.to_owned(), sums(&counters)));
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
