//! Datagrams, UDP or Unix: each is whole, and nobody can be told to wait.
//!
//! The rule: what is lost is counted and reported: records for which the pipeline has no room, and
//! datagrams that the kernel had to drop before they were read (UDP only: `/proc/net/udp` tells).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kansoku_model::{MetricBatch, RecordBatch, Resource};
use kansoku_parsers::wire::records::Records;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::Instant;

use super::listen::{make_way, permit};
use super::pipe::Pipe;
use crate::log;
use crate::pipeline::InputCounters;

/// The largest datagram there is.
const MAX_DATAGRAM_BYTES: usize = 64 << 10;
/// Datagrams that are taken together at the most.
const MAX_BATCH: u64 = 4096;
/// How often the kernel is asked for what it dropped.
const DROPS_EVERY: Duration = Duration::from_secs(10);

/// A socket for datagrams.
pub enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram, PathBuf),
}

impl Socket {
    /// Opens a UDP socket; `receive_bytes` is the kernel's buffer.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn udp(address: SocketAddr, receive_bytes: Option<usize>) -> anyhow::Result<Self> {
        let open = || -> anyhow::Result<UdpSocket> {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            enlarge(&socket, receive_bytes)?;
            Ok(UdpSocket::from_std(socket)?)
        };
        let failed = || format!("failed to listen on {address}; choose another listen or port");
        Ok(Self::Udp(open().with_context(failed)?))
    }

    /// Opens a Unix socket.
    ///
    /// # Errors
    /// When the path cannot be had.
    pub fn unix(
        path: &Path,
        permissions: Option<u32>,
        receive_bytes: Option<usize>,
    ) -> anyhow::Result<Self> {
        make_way(path)?;
        let failed = || format!("failed to listen on {}", path.display());
        let socket = UnixDatagram::bind(path).with_context(failed)?;
        enlarge(&socket, receive_bytes)?;
        permit(path, permissions)?;
        Ok(Self::Unix(socket, path.to_owned()))
    }

    /// Length and sender; the sender of a Unix socket is not told.
    async fn receive(&self, buffer: &mut [u8]) -> std::io::Result<(usize, String)> {
        match self {
            Self::Udp(socket) => {
                let (n, peer) = socket.recv_from(buffer).await?;
                Ok((n, peer.ip().to_canonical().to_string()))
            }
            Self::Unix(socket, _) => Ok((socket.recv(buffer).await?, String::new())),
        }
    }
}

fn enlarge(socket: &impl std::os::fd::AsFd, bytes: Option<usize>) -> anyhow::Result<()> {
    let Some(bytes) = bytes else { return Ok(()) };
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBuf, &bytes)
        .context("failed to set the socket's receive buffer")
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Left behind it would only be removed by the next run.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Takes datagrams until the agent stops; `read` makes records of one and its sender.
///
/// # Errors
/// Never but for a broken socket.
pub async fn serve(
    name: &str,
    socket: Socket,
    pipe: Pipe,
    resource: Arc<Resource>,
    mut read: impl FnMut(&[u8], &str, &mut Records<'_>),
) -> anyhow::Result<()> {
    let mut stream = super::new_stream();
    let mut receiver = Receiver::new(name, socket);
    loop {
        let mut records = Records::new(&mut stream, pipe.link.tag.clone(), resource.clone());
        let mut deadline = None;
        let mut is_stopping = false;
        while records.n_records() < MAX_BATCH {
            match receiver.next(&pipe, &mut deadline).await? {
                Next::Datagram(bytes, peer) => read(bytes, &peer, &mut records),
                Next::Due => break,
                Next::Stopping => {
                    is_stopping = true;
                    break;
                }
            }
        }
        let batches = records
            .finish()
            .into_iter()
            .map(RecordBatch::Logs)
            .collect();
        let sent = pipe.send_unanswered(batches).await;
        receiver.report(&pipe.link.counters);
        if sent.is_err() || is_stopping {
            return Ok(());
        }
    }
}

/// As [`serve`], for datagrams of samples: `read` makes a batch of one, or of nothing usable none.
///
/// # Errors
/// Never but for a broken socket.
pub async fn serve_metrics(
    name: &str,
    socket: Socket,
    pipe: Pipe,
    mut read: impl FnMut(&[u8]) -> Option<MetricBatch>,
) -> anyhow::Result<()> {
    let mut stream = super::new_stream();
    let mut receiver = Receiver::new(name, socket);
    loop {
        let mut batches = Vec::new();
        let mut deadline = None;
        let mut is_stopping = false;
        while (batches.len() as u64) < MAX_BATCH {
            match receiver.next(&pipe, &mut deadline).await? {
                Next::Datagram(bytes, _) => {
                    batches.extend(read(bytes).map(|batch| super::stamp(batch, &mut stream)));
                }
                Next::Due => break,
                Next::Stopping => {
                    is_stopping = true;
                    break;
                }
            }
        }
        let sent = pipe.send_unanswered(batches).await;
        receiver.report(&pipe.link.counters);
        if sent.is_err() || is_stopping {
            return Ok(());
        }
    }
}

/// What comes next of a socket.
enum Next<'a> {
    /// Its bytes and its sender.
    Datagram(&'a [u8], String),
    /// What was taken has waited long enough.
    Due,
    Stopping,
}

/// A socket that is read.
struct Receiver<'n> {
    name: &'n str,
    drops: Drops,
    socket: Socket,
    buffer: Vec<u8>,
}

impl<'n> Receiver<'n> {
    fn new(name: &'n str, socket: Socket) -> Self {
        Self {
            name,
            drops: Drops::of(&socket),
            socket,
            buffer: vec![0; MAX_DATAGRAM_BYTES],
        }
    }

    /// The first datagram, without a deadline, is waited for; it sets the deadline of those after it.
    async fn next(
        &mut self,
        pipe: &Pipe,
        deadline: &mut Option<Instant>,
    ) -> anyhow::Result<Next<'_>> {
        let at = *deadline;
        let end = async {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let (n, peer) = tokio::select! {
            received = self.socket.receive(&mut self.buffer) => received?,
            () = end => return Ok(Next::Due),
            () = pipe.stopping() => return Ok(Next::Stopping),
        };
        deadline.get_or_insert_with(|| Instant::now() + pipe.link.flush);
        Ok(Next::Datagram(&self.buffer[..n], peer))
    }

    fn report(&mut self, counters: &InputCounters) {
        self.drops.report(self.name, counters);
    }
}

/// What the kernel dropped of a UDP socket.
struct Drops {
    inode: Option<u64>,
    n: u64,
    next: Instant,
}

impl Drops {
    fn of(socket: &Socket) -> Self {
        use std::os::fd::AsRawFd;
        let inode = match socket {
            Socket::Udp(socket) => {
                let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
                let link = std::fs::read_link(path).unwrap_or_default();
                let text = link.to_string_lossy();
                let inode = text
                    .strip_prefix("socket:[")
                    .and_then(|t| t.strip_suffix(']'));
                inode.and_then(|i| i.parse().ok())
            }
            Socket::Unix(..) => None,
        };
        Self {
            inode,
            n: 0,
            next: Instant::now(),
        }
    }

    fn report(&mut self, name: &str, counters: &InputCounters) {
        let Some(inode) = self.inode.filter(|_| Instant::now() >= self.next) else {
            return;
        };
        self.next = Instant::now() + DROPS_EVERY;
        let n = ["/proc/net/udp", "/proc/net/udp6"]
            .iter()
            .filter_map(|path| drops_in(&std::fs::read_to_string(path).ok()?, inode))
            .next();
        if let Some(n) = n.filter(|n| *n > self.n) {
            let news = n - self.n;
            self.n = n;
            counters.missed_records.add(news);
            log::warn(
                name,
                format_args!(
                    "the kernel dropped {news} datagrams, {n} so far: the receive buffer is too small, or the agent has too little CPU"
                ),
            );
        }
    }
}

/// The last column of the line whose tenth is the inode.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let found: u64 = columns.nth(9)?.parse().ok()?;
        (found == inode).then(|| columns.last()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_by_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
            3026: 00000000:1432 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 61234 2 0000000000000000 17\n";
        assert_eq!(drops_in(table, 61234), Some(17));
        assert_eq!(drops_in(table, 7), None);
        assert_eq!(drops_in("", 7), None);
    }
}
