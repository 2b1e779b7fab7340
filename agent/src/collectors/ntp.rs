//! The answer of an NTP server, by default the one on this node: its state and how far our clock is
//! from its.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use kansoku_model::MetricBatch;
use kansoku_parsers::wire::ntp::{self, Answer, Timestamp};

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, Tier};

pub(super) const ENTRY: Entry = Entry {
    name: "ntp",
    about: "an NTP server's answer",
    is_default: false,
    tier: Tier::Background,
    flags: &[
        SERVER,
        PORT,
        PROTOCOL_VERSION,
        SERVER_IS_LOCAL,
        IP_TTL,
        MAX_DISTANCE,
        OFFSET_TOLERANCE,
    ],
    build: |spec| Ok(Box::new(Ntp::new(spec)?)),
    ..Entry::DEFAULT
};

const SERVER: Flag = Flag::text(
    "collector.ntp.server",
    "127.0.0.1",
    "NTP server to use for ntp collector",
);
const PORT: Flag = Flag::text(
    "collector.ntp.server-port",
    "123",
    "UDP port number to connect to on NTP server",
);
const PROTOCOL_VERSION: Flag = Flag::text(
    "collector.ntp.protocol-version",
    "4",
    "NTP protocol version",
);
const SERVER_IS_LOCAL: Flag = Flag::switch(
    "collector.ntp.server-is-local",
    false,
    "Certify that collector.ntp.server address is not a public ntp server",
);
const IP_TTL: Flag = Flag::text(
    "collector.ntp.ip-ttl",
    "1",
    "IP TTL to use while sending NTP query",
);
const MAX_DISTANCE: Flag = Flag::text(
    "collector.ntp.max-distance",
    "3.46608s",
    "Max accumulated distance to the root",
);
const OFFSET_TOLERANCE: Flag = Flag::text(
    "collector.ntp.local-offset-tolerance",
    "1ms",
    "Offset between local clock and local ntpd time to tolerate",
);

const STRATUM: Desc = Desc::gauge("node_ntp_stratum", "NTPD stratum.");
const LEAP: Desc = Desc::gauge("node_ntp_leap", "NTPD leap second indicator, 2 bits.");
const ROUND_TRIP: Desc = Desc::gauge("node_ntp_rtt_seconds", "RTT to NTPD.");
const OFFSET: Desc = Desc::gauge(
    "node_ntp_offset_seconds",
    "ClockOffset between NTP and local clock.",
);
const REFERENCE_TIME: Desc = Desc::gauge(
    "node_ntp_reference_timestamp_seconds",
    "NTPD ReferenceTime, UNIX timestamp.",
);
const ROOT_DELAY: Desc = Desc::gauge("node_ntp_root_delay_seconds", "NTPD RootDelay.");
const ROOT_DISPERSION: Desc =
    Desc::gauge("node_ntp_root_dispersion_seconds", "NTPD RootDispersion.");
const SANITY: Desc = Desc::gauge(
    "node_ntp_sanity",
    "NTPD sanity according to RFC5905 heuristics and configured limits.",
);
const PATIENCE: Duration = Duration::from_secs(1);
const DAY_S: f64 = 86_400.0;

struct Ntp {
    server: String,
    port: u16,
    version: u8,
    ttl: u32,
    max_distance_s: f64,
    tolerance_s: f64,
    /// The midnight at which the last announced leap second is, in seconds since 1970.
    leap_midnight_s: f64,
}

impl Ntp {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let flags = &spec.flags;
        let server = flags.text(&SERVER);
        let is_loopback = server.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        ensure!(
            is_loopback || flags.is_on(&SERVER_IS_LOCAL),
            "only IP address of local NTP server is valid for --collector.ntp.server"
        );
        let version = flags.number(&PROTOCOL_VERSION)?;
        ensure!(
            (2..=4).contains(&version),
            "invalid NTP protocol version {version}; must be 2, 3, or 4"
        );
        let port = flags.number(&PORT)?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.context("invalid NTP port number; must be between 1 and 65535")?;
        Ok(Self {
            server: server.to_owned(),
            port,
            version: version as u8,
            ttl: u32::try_from(flags.number(&IP_TTL)?).context("--collector.ntp.ip-ttl")?,
            max_distance_s: flags.duration(&MAX_DISTANCE)?.as_secs_f64(),
            tolerance_s: flags.duration(&OFFSET_TOLERANCE)?.as_secs_f64(),
            leap_midnight_s: 0.0,
        })
    }

    /// The answer, when it was sent for and when it came.
    fn ask(&self) -> anyhow::Result<(Answer, [Timestamp; 2])> {
        let server: IpAddr = match self.server.parse() {
            Ok(ip) => ip,
            Err(_) => resolve(&self.server, self.port)?,
        };
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any)?;
        if server.is_ipv4() {
            socket.set_ttl(self.ttl)?;
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((server, self.port))?;
        let sent = now();
        socket.send(&ntp::request(self.version, sent))?;
        let mut buf = [0; 512];
        let n = socket.recv(&mut buf)?;
        let received = now();
        let answer = ntp::parse(&buf[..n])?;
        ensure!(answer.origin == sent, "the answer is to another question");
        Ok((answer, [sent, received]))
    }

    /// Whether the answer may be believed, and our clock is near enough.
    fn is_sane(&mut self, answer: &Answer, round_trip_s: f64, min_error_s: f64) -> bool {
        let mut tolerance_s = self.tolerance_s;
        let time_s = answer.transmit.unix_s();
        if answer.leap == 1 || answer.leap == 2 {
            self.leap_midnight_s = ((time_s / DAY_S).floor() + 1.0) * DAY_S;
        }
        if (time_s - self.leap_midnight_s).abs() < DAY_S {
            tolerance_s += 1.0;
        }
        let distance_s =
            round_trip_s.max(0.0) / 2.0 + answer.root_delay_s / 2.0 + answer.root_dispersion_s;
        answer.is_valid() && distance_s <= self.max_distance_s && min_error_s <= tolerance_s
    }
}

impl Collector for Ntp {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let (answer, [sent, received]) = self
            .ask()
            .with_context(|| format!("no answer of NTP server {}:{}", self.server, self.port))?;
        let (receive, transmit) = (answer.receive, answer.transmit);
        let round_trip_s =
            (received.seconds_since(sent) - transmit.seconds_since(receive)).max(0.0);
        let there_s = receive.seconds_since(sent);
        let back_s = transmit.seconds_since(received);
        let offset_s = f64::midpoint(there_s, back_s);
        // Each clock has to be off by so much at least, or an answer came before its question.
        let min_error_s = (-there_s).max(back_s).max(0.0);
        STRATUM.value(out, f64::from(answer.stratum));
        LEAP.value(out, f64::from(answer.leap));
        ROUND_TRIP.value(out, round_trip_s);
        OFFSET.value(out, offset_s);
        REFERENCE_TIME.value(out, answer.reference.unix_s().max(0.0));
        ROOT_DELAY.value(out, answer.root_delay_s);
        ROOT_DISPERSION.value(out, answer.root_dispersion_s);
        let is_sane = self.is_sane(&answer, round_trip_s, min_error_s);
        SANITY.value(out, f64::from(is_sane));
        Ok(())
    }
}

fn resolve(server: &str, port: u16) -> anyhow::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    let mut all = (server, port).to_socket_addrs()?;
    Ok(all.next().context("the name has no address")?.ip())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::of(since.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::flags::Flags;

    #[test]
    fn a_server_s_answer_is_measured() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = server.local_addr().expect("bound").port().to_string();
        let answering = std::thread::spawn(move || {
            let mut buf = [0; 64];
            let (n, peer) = server.recv_from(&mut buf).expect("a question");
            let mut answer = buf[..n].to_vec();
            // Leap 0, version 4, server; stratum 2; our time as origin, reference and theirs.
            let now = buf[40..48].to_vec();
            answer[0] = 0x24;
            answer[1] = 2;
            for at in [16, 24, 32, 40] {
                answer[at..at + 8].copy_from_slice(&now);
            }
            server.send_to(&answer, peer).expect("sent");
        });
        let mut flags = Flags::default();
        flags.set(&PORT, port).expect("given once");
        let spec = NodeSpec {
            flags,
            ..NodeSpec::default()
        };
        let mut out = MetricBatch::default();
        let mut ntp = Ntp::new(&spec).expect("valid flags");
        ntp.collect(&mut out).expect("an answer");
        answering.join().expect("asked");
        let mut text = Vec::new();
        crate::exposition::write(&mut text, &[&out]);
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("\nnode_ntp_stratum 2\n"), "{text}");
        assert!(text.contains("\nnode_ntp_leap 0\n"), "{text}");
    }

    #[test]
    fn public_servers_are_not_asked() {
        let mut flags = Flags::default();
        flags.set(&SERVER, "pool.ntp.org").expect("given once");
        let spec = NodeSpec {
            flags,
            ..NodeSpec::default()
        };
        assert!(Ntp::new(&spec).is_err());
    }
}
