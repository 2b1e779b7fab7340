//! Probes with one ICMP echo: an unprivileged socket where the kernel lets us, else a raw one.
//!
//! Source: blackbox_exporter, `prober/icmp.go`. It blocks, so it runs on a thread of its own.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, bind, recvmsg, sendto, setsockopt, socket, sockopt,
};

use super::config::Icmp;
use super::report::Report;
use super::resolve::resolve;

const DURATION: &str = "probe_icmp_duration_seconds";
const PAYLOAD: &[u8] = b"Prometheus Blackbox Exporter";
/// The largest packet.
const MAX_PACKET_BYTES: usize = 65_536;

/// Tells echoes of one run apart.
static SEQUENCE: AtomicU16 = AtomicU16::new(0);

/// Probes a host.
pub async fn probe(module: &Icmp, target: &str, deadline: Instant, report: &mut Report) -> bool {
    for phase in ["resolve", "setup", "rtt"] {
        report.add_phase(DURATION, phase, 0.0);
    }
    let Some((ip, seconds)) = resolve(target, module.preference, report).await else {
        return false;
    };
    report.add_phase(DURATION, "resolve", seconds);
    let echo = Echo {
        to: ip,
        source: module.source,
        ttl: module.ttl,
        payload_bytes: module.payload_bytes,
        id: super::random_u16(),
        sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
    };
    match tokio::task::spawn_blocking(move || echo.run(deadline)).await {
        Ok(Ok(reply)) => {
            report.add_phase(DURATION, "setup", reply.setup.as_secs_f64());
            report.add_phase(DURATION, "rtt", reply.round_trip.as_secs_f64());
            if let Some(limit) = reply.hop_limit {
                report.set("probe_icmp_reply_hop_limit", f64::from(limit));
            }
            report.say("the reply came");
            true
        }
        Ok(Err(why)) => {
            report.say(why);
            false
        }
        Err(error) => {
            report.say(error);
            false
        }
    }
}

struct Echo {
    to: IpAddr,
    source: Option<IpAddr>,
    ttl: u8,
    payload_bytes: usize,
    id: u16,
    sequence: u16,
}

struct Reply {
    setup: Duration,
    round_trip: Duration,
    hop_limit: Option<i32>,
}

impl Echo {
    fn run(&self, deadline: Instant) -> Result<Reply, String> {
        let begin = Instant::now();
        let (fd, is_raw) = self.open()?;
        let failed = |e: nix::Error| format!("the socket cannot be used: {e}");
        let ttl = i32::from(self.ttl);
        if self.to.is_ipv4() {
            setsockopt(&fd, sockopt::Ipv4Ttl, &ttl).map_err(failed)?;
            setsockopt(&fd, sockopt::Ipv4RecvTtl, &true).map_err(failed)?;
        } else {
            setsockopt(&fd, sockopt::Ipv6Ttl, &ttl).map_err(failed)?;
            setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true).map_err(failed)?;
        }
        if let Some(source) = self.source {
            bind(fd.as_raw_fd(), &address(source)).map_err(failed)?;
        }
        let packet = self.packet();
        let setup = begin.elapsed();
        let begin = Instant::now();
        sendto(
            fd.as_raw_fd(),
            &packet,
            &address(self.to),
            MsgFlags::empty(),
        )
        .map_err(|e| format!("cannot send to {}: {e}", self.to))?;
        let mut buffer = vec![0; MAX_PACKET_BYTES];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            if left.is_zero() || poll(&mut fds, wait).map_err(failed)? == 0 {
                return Err("no reply came in time".into());
            }
            let mut space = nix::cmsg_space!(i32, i32);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let got = recvmsg::<SockaddrStorage>(
                fd.as_raw_fd(),
                &mut parts,
                Some(space.as_mut_slice()),
                flags,
            );
            let Ok(got) = got else {
                // An error of the network, such as a host that cannot be reached, is the answer to another packet, too.
                continue;
            };
            let hop_limit = got.cmsgs().ok().and_then(|mut all| {
                all.find_map(|message| match message {
                    ControlMessageOwned::Ipv4Ttl(n) | ControlMessageOwned::Ipv6HopLimit(n) => {
                        Some(n)
                    }
                    _ => None,
                })
            });
            let from = got.address.and_then(|a| ip_of(&a));
            let n_bytes = got.bytes;
            if from == Some(self.to) && self.is_reply(&buffer[..n_bytes], is_raw) {
                return Ok(Reply {
                    setup,
                    round_trip: begin.elapsed(),
                    hop_limit,
                });
            }
        }
    }

    /// A socket, and whether it is a raw one.
    fn open(&self) -> Result<(OwnedFd, bool), String> {
        let (family, protocol) = match self.to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let open = |kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol);
        if let Ok(fd) = open(SockType::Datagram) {
            return Ok((fd, false));
        }
        match open(SockType::Raw) {
            Ok(fd) => Ok((fd, true)),
            Err(error) => Err(format!(
                "no socket for ICMP ({error}); it needs the group in net.ipv4.ping_group_range or CAP_NET_RAW"
            )),
        }
    }

    fn payload(&self) -> Vec<u8> {
        let mut payload = PAYLOAD.to_vec();
        if self.payload_bytes > 0 {
            payload.resize(self.payload_bytes, 0);
        }
        payload
    }

    /// The request; the kernel makes the sum of ICMPv6.
    fn packet(&self) -> Vec<u8> {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend_from_slice(&self.id.to_be_bytes());
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.payload());
        if self.to.is_ipv4() {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// Whether a packet answers this echo. Only a raw socket keeps our id, and of IPv4 shows the head before.
    fn is_reply(&self, packet: &[u8], is_raw: bool) -> bool {
        let packet = match (self.to, is_raw) {
            (IpAddr::V4(_), true) => {
                let head = packet.first().map_or(0, |b| usize::from(b & 15) * 4);
                packet.get(head..).unwrap_or_default()
            }
            _ => packet,
        };
        let kind = if self.to.is_ipv4() { 0 } else { 129 };
        let [k, 0, _, _, id0, id1, s0, s1, payload @ ..] = packet else {
            return false;
        };
        *k == kind
            && (!is_raw || [*id0, *id1] == self.id.to_be_bytes())
            && [*s0, *s1] == self.sequence.to_be_bytes()
            && payload == self.payload()
    }
}

fn address(ip: IpAddr) -> SockaddrStorage {
    match ip {
        IpAddr::V4(ip) => SockaddrStorage::from(SocketAddrV4::new(ip, 0)),
        IpAddr::V6(ip) => SockaddrStorage::from(SocketAddrV6::new(ip, 0, 0, 0)),
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|a| SocketAddr::from(SocketAddrV4::from(*a)));
    let v6 = || {
        address
            .as_sockaddr_in6()
            .map(|a| SocketAddr::from(SocketAddrV6::from(*a)))
    };
    v4.or_else(v6).map(|a| a.ip())
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_known_by_its_content() {
        let echo = Echo {
            to: [127, 0, 0, 1].into(),
            source: None,
            ttl: 64,
            payload_bytes: 30,
            id: 0x0102,
            sequence: 7,
        };
        let request = echo.packet();
        assert_eq!(request.len(), 38);
        assert_eq!(
            checksum(&request),
            0,
            "a packet with its sum adds up to nothing"
        );
        assert!(!echo.is_reply(&request, false), "the request is no reply");
        let mut reply = request.clone();
        reply[0] = 0;
        assert!(echo.is_reply(&reply, false));
        let raw = [&[0x45; 20][..], &reply].concat();
        assert!(echo.is_reply(&raw, true));
        reply[5] ^= 1;
        assert!(
            echo.is_reply(&reply, false),
            "the kernel has put its own id in"
        );
        reply[7] ^= 1;
        assert!(!echo.is_reply(&reply, false));
        assert!(!echo.is_reply(b"", true));
    }
}
