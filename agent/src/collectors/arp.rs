//! Neighbours in the ARP table per interface.
//!
//! A dump over rtnetlink unless told otherwise, of which what net/arp does not show is left out, so
//! that both give the same numbers. A socket sees our own network only: where that is not the node's,
//! net/arp of process 1 is read.

use std::collections::BTreeMap;

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::netlink::{dump_request, u16_at, u32_at};
use kansoku_parsers::kernel::scan::{lines, text, words};
use nix::libc;
use nix::net::if_::if_indextoname;
use nix::sys::socket::SockProtocol;

use super::desc::Desc;
use super::flags::{Flag, NameFilter};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, netdev, netlink};

pub(super) const ENTRY: Entry = Entry {
    name: "arp",
    about: "entries of the ARP table per interface",
    flags: &[INCLUDE, EXCLUDE, NETLINK],
    build: |spec| Ok(Box::new(Arp::new(spec)?)),
    ..Entry::DEFAULT
};

const INCLUDE: Flag = Flag::text(
    "collector.arp.device-include",
    "",
    "Regexp of arp devices to include (mutually exclusive to device-exclude).",
);
const EXCLUDE: Flag = Flag::text(
    "collector.arp.device-exclude",
    "",
    "Regexp of arp devices to exclude (mutually exclusive to device-include).",
);
const NETLINK: Flag = Flag::switch(
    "collector.arp.netlink",
    true,
    "Use netlink to gather stats instead of /proc/net/arp: by default where our own network is the node's, when given in any case.",
);
const ENTRIES: Desc = Desc::gauge("node_arp_entries", "ARP entries by device");
/// The interface is the file's last column.
const DEVICE_COLUMN: usize = 5;
const GET_NEIGHBOUR: u16 = 30;
const NEW_NEIGHBOUR: u16 = 28;
/// `struct ndmsg`: family, padding, the interface's number, state, flags, type.
const HEADER_BYTES: usize = 12;
const INTERFACE_AT: usize = 4;
const STATE_AT: usize = 8;
/// `NUD_NOARP`, which net/arp leaves out.
const NEEDS_NO_ARP: u16 = 0x40;

struct Arp {
    source: Source,
    filter: NameFilter,
    buf: Vec<u8>,
}

enum Source {
    Netlink,
    File(KernelFile),
}

impl Arp {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let flags = &spec.flags;
        let by_netlink = match flags.is_given(&NETLINK) {
            true => flags.is_on(&NETLINK),
            false => netdev::is_our_network(&spec.procfs),
        };
        let source = match by_netlink {
            true => Source::Netlink,
            false => Source::File(KernelFile::new(spec.proc_net("arp"))),
        };
        Ok(Self {
            source,
            filter: flags.filter(&INCLUDE, &EXCLUDE)?,
            buf: Vec::new(),
        })
    }
}

impl Collector for Arp {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let entries = match &mut self.source {
            Source::Netlink => dump(&mut self.buf)?,
            Source::File(file) => {
                file.read(&mut self.buf)?;
                count(&self.buf)
            }
        };
        for (device, n) in entries {
            if !self.filter.is_ignored(&device) {
                ENTRIES.sample(out, &[("device", &device)], f64::from(n));
            }
        }
        Ok(())
    }
}

/// The kernel's neighbours of IPv4 per interface.
fn dump(buf: &mut Vec<u8>) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut request = [0; HEADER_BYTES];
    request[0] = libc::AF_INET as u8;
    let request = dump_request(GET_NEIGHBOUR, &request);
    let mut by_number: BTreeMap<u32, u32> = BTreeMap::new();
    netlink::ask(SockProtocol::NetlinkRoute, &request, buf, |message| {
        let state = u16_at(message.body, STATE_AT).unwrap_or(NEEDS_NO_ARP);
        let is_counted = message.kind == NEW_NEIGHBOUR && state & NEEDS_NO_ARP == 0;
        if let (true, Some(interface)) = (is_counted, u32_at(message.body, INTERFACE_AT)) {
            *by_number.entry(interface).or_default() += 1;
        }
    })?;
    // An interface that has gone meanwhile takes its neighbours along.
    let named = by_number
        .into_iter()
        .filter_map(|(number, n)| Some((if_indextoname(number).ok()?.into_string().ok()?, n)));
    Ok(named.collect())
}

/// The lines of net/arp per interface.
fn count(table: &[u8]) -> BTreeMap<String, u32> {
    let mut entries: BTreeMap<String, u32> = BTreeMap::new();
    // The first line names the columns.
    for line in lines(table).skip(1) {
        if let Some(device) = words(line).nth(DEVICE_COLUMN).and_then(text) {
            match entries.get_mut(device) {
                Some(n) => *n += 1,
                None => {
                    entries.insert(device.to_owned(), 1);
                }
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netlink_and_the_file_agree_on_this_machine() {
        let mut buf = Vec::new();
        // Neighbours come and go between the two.
        let agree = (0..100).any(|_| {
            let dumped = dump(&mut buf).expect("netlink answers");
            let mut table = Vec::new();
            let file = KernelFile::new("/proc/self/net/arp").read(&mut table);
            file.is_ok() && dumped == count(&table)
        });
        assert!(agree, "{:?}", dump(&mut buf));
    }

    #[test]
    fn lines_are_counted_per_interface() {
        let table =
            b"IP address       HW type     Flags       HW address            Mask     Device\n\
            192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0\n\
            192.168.1.2      0x1         0x2         bb:cc:dd:ee:ff:aa     *        eth1\n\
            192.168.1.3      0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        let expected = [("eth0".to_owned(), 2), ("eth1".to_owned(), 1)];
        assert_eq!(count(table), BTreeMap::from(expected));
    }
}
