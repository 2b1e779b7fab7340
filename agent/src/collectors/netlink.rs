//! A question to the kernel over a netlink socket, and its answers. The socket sees the network of
//! the process that opened it.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::Context;
use kansoku_parsers::kernel::link::{self, Link, NEW_LINK};
use kansoku_parsers::kernel::netlink::{self, Message};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{NodeSpec, netdev};

/// A datagram of a dump is at most this large: the kernel fits it to the reader's buffer, 32 KiB.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Datagrams of one answer at the most: 2 GiB, more than any table of the kernel.
const MAX_DATAGRAMS: usize = 1 << 16;
/// The kernel answers at once; a lost answer must not hang the scrape.
const PATIENCE_MS: i64 = 1000;

/// Sends the request and calls `each` with every message of the answer.
///
/// # Errors
/// When there is no such protocol, the kernel refuses (with [`netlink::Error`] as a cause), or its
/// answer does not end.
pub(super) fn ask(
    protocol: SockProtocol,
    request: &[u8],
    buf: &mut Vec<u8>,
    mut each: impl FnMut(Message<'_>),
) -> anyhow::Result<()> {
    const FAILED: &str = "failed to ask the kernel over netlink";
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )
    .context(FAILED)?;
    let patience = TimeVal::milliseconds(PATIENCE_MS);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).context(FAILED)?;
    let fd = socket.as_raw_fd();
    send(fd, request, MsgFlags::empty()).context(FAILED)?;
    buf.resize(DATAGRAM_BYTES, 0);
    for _ in 0..MAX_DATAGRAMS {
        let n = recv(fd, buf, MsgFlags::empty()).context(FAILED)?;
        let datagram = buf.get(..n).unwrap_or_default();
        if !netlink::messages(datagram, &mut each).context(FAILED)? {
            return Ok(());
        }
    }
    anyhow::bail!("the kernel's answer over netlink does not end");
}

/// All interfaces of our own network.
///
/// # Errors
/// Those of [`ask`].
pub(super) fn links(buf: &mut Vec<u8>) -> anyhow::Result<Vec<Link>> {
    let mut links = Vec::new();
    ask(
        SockProtocol::NetlinkRoute,
        &link::request(),
        buf,
        |message| {
            if message.kind == NEW_LINK {
                links.extend(Link::parse(message.body));
            }
        },
    )?;
    Ok(links)
}

/// The numbers and names of the interfaces of our own network.
///
/// # Errors
/// Those of [`ask`].
pub(super) fn interface_names(buf: &mut Vec<u8>) -> anyhow::Result<BTreeMap<u32, String>> {
    let named = links(buf)?.into_iter().map(|link| (link.index, link.name));
    Ok(named.collect())
}

/// Refuses to tell the numbers of another network than the node's: what only a socket knows cannot
/// be read of process 1.
///
/// # Errors
/// When process 1 of `path.procfs` is known to live in another network.
pub(super) fn check_network(spec: &NodeSpec) -> anyhow::Result<()> {
    spec.check_procfs()?;
    let node = netdev::network_of(&spec.procfs, "1");
    anyhow::ensure!(
        node.is_none() || node == netdev::network_of(Path::new("/proc"), "self"),
        "process 1 of {} is in another network: run with hostNetwork: true",
        spec.procfs.display()
    );
    Ok(())
}
