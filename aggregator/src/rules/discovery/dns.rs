//! `dns_sd_configs`: targets by SRV, A, AAAA, MX and NS records.
//!
//! The servers and search domains of `/etc/resolv.conf` are asked over UDP, and over TCP what does not
//! fit, as Prometheus does. Names are completed with the search domains when they have no answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kansoku_parsers::config::yaml::tree::Node;
use kansoku_parsers::relabel::label_set::LabelSet;
use kansoku_parsers::wire::dns::{self, Answer, Question, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::{ADDRESS, interval};
use crate::http_client::config::{Read, texts};
use crate::journal;

const TIMEOUT: Duration = Duration::from_secs(5);
const RESOLV_CONF: &str = "/etc/resolv.conf";
const DATAGRAM_MAX: usize = 65_535;
const INTERNET: u16 = 1;

/// Names to ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    names: Vec<String>,
    kind: &'static str,
    number: u16,
    port: u16,
    refresh: Duration,
}

const KINDS: [&str; 5] = ["SRV", "A", "AAAA", "MX", "NS"];

impl Dns {
    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let mut out = Self {
            names: Vec::new(),
            kind: "SRV",
            number: 33,
            port: 0,
            refresh: Duration::from_secs(30),
        };
        for (key, value) in node.checked_pairs(&["names", "type", "port", "refresh_interval"])? {
            match key {
                "names" => out.names = texts(value)?,
                "type" => {
                    let text = value.text()?.to_ascii_uppercase();
                    let found = KINDS.into_iter().find(|kind| *kind == text);
                    out.kind = found.ok_or_else(|| {
                        value.error(format!(
                            "invalid DNS-SD records type {text}; expected {}",
                            KINDS.join(", ")
                        ))
                    })?;
                    let known = dns::TYPES.iter().find(|(name, _)| *name == out.kind);
                    out.number = known.map_or(0, |(_, number)| *number);
                }
                "port" => {
                    let port = value.text()?.parse();
                    out.port = port.map_err(|_| value.error("expected a port of 1 to 65535"))?;
                }
                _ => out.refresh = interval(value)?,
            }
        }
        if out.names.is_empty() {
            return Err(node.error("DNS-SD config must contain at least one SRV record name"));
        }
        if out.kind != "SRV" && out.port == 0 {
            return Err(
                node.error("a port is required in DNS-SD configs for all record types except SRV")
            );
        }
        Ok(out)
    }

    /// Asks for ever.
    pub async fn run(self, tell: impl Fn(Vec<LabelSet>)) {
        let mut known: Vec<Vec<LabelSet>> = vec![Vec::new(); self.names.len()];
        let mut told = vec![String::new(); self.names.len()];
        loop {
            let mut has_changed = false;
            for (at, name) in self.names.iter().enumerate() {
                match self.ask(name).await {
                    Ok(targets) => {
                        told[at].clear();
                        has_changed |= known[at] != targets;
                        known[at] = targets;
                    }
                    Err(message) => {
                        if told[at] != message {
                            journal::warn(&format!(
                                "no Alertmanagers by {} records of {name}: {message}; those known go on",
                                self.kind
                            ));
                            told[at] = message;
                        }
                    }
                }
            }
            if has_changed {
                tell(known.concat());
            }
            tokio::time::sleep(self.refresh).await;
        }
    }

    async fn ask(&self, name: &str) -> Result<Vec<LabelSet>, String> {
        let text = std::fs::read_to_string(RESOLV_CONF)
            .map_err(|e| format!("failed to read {RESOLV_CONF}: {e}"))?;
        let resolvers = Resolvers::of(&text);
        let mut last = "there is no DNS server to ask".to_owned();
        let mut has_answer = false;
        for whole in resolvers.names(name) {
            match resolvers.ask(&whole, self.number).await {
                Ok(answer) if answer.code == 0 && !answer.answers.is_empty() => {
                    return Ok(self.targets(name, &answer.answers));
                }
                Ok(answer) if answer.code == 0 || answer.code == 3 => has_answer = true,
                Ok(answer) => last = format!("{whole}: the server answers {}", code(answer.code)),
                Err(message) => last = message,
            }
        }
        // Nobody of that name is an answer, too.
        match has_answer {
            true => Ok(Vec::new()),
            false => Err(last),
        }
    }

    fn targets(&self, name: &str, records: &[Record]) -> Vec<LabelSet> {
        let of_kind = records.iter().filter(|r| r.kind == self.number);
        let targets = of_kind.filter_map(|record| {
            let data = record.text.split('\t').nth(4)?;
            let words: Vec<&str> = data.split_ascii_whitespace().collect();
            let mut set = LabelSet::default();
            set.set("__meta_dns_name", name);
            let (host, port) = match (self.kind, words.as_slice()) {
                ("SRV", [_, _, port, target]) => {
                    set.set("__meta_dns_srv_record_target", *target);
                    set.set("__meta_dns_srv_record_port", *port);
                    (*target, port.parse().ok()?)
                }
                ("MX", [_, target]) => {
                    set.set("__meta_dns_mx_record_target", *target);
                    (*target, self.port)
                }
                ("NS", [target]) => {
                    set.set("__meta_dns_ns_record_target", *target);
                    (*target, self.port)
                }
                ("A" | "AAAA", [address]) => (*address, self.port),
                _ => return None,
            };
            set.set(ADDRESS, joined(host.trim_end_matches('.'), port));
            Some(set)
        });
        targets.collect()
    }
}

/// Host and port, addresses of IPv6 in brackets.
#[must_use]
pub fn joined(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn code(code: u8) -> String {
    let known = dns::CODES.iter().find(|(_, number)| *number == code);
    known.map_or_else(|| code.to_string(), |(name, _)| (*name).to_owned())
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Resolvers {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    n_dots: usize,
}

impl Resolvers {
    fn of(text: &str) -> Self {
        let mut out = Self {
            servers: Vec::new(),
            search: Vec::new(),
            n_dots: 1,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|w| w.parse::<IpAddr>().ok());
                    out.servers
                        .extend(address.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("domain" | "search") => out.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.find_map(|w| w.strip_prefix("ndots:")?.parse().ok());
                    out.n_dots = dots.unwrap_or(out.n_dots);
                }
                _ => {}
            }
        }
        out
    }

    /// The names to ask for, in order.
    fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let search = self.search.iter();
        let mut names: Vec<String> = search
            .map(|domain| format!("{name}.{}", domain.trim_start_matches('.')))
            .collect();
        let whole = format!("{name}.");
        match name.matches('.').count() >= self.n_dots {
            true => names.insert(0, whole),
            false => names.push(whole),
        }
        names
    }

    async fn ask(&self, name: &str, kind: u16) -> Result<Answer, String> {
        let mut last = format!("{RESOLV_CONF} names no server");
        for server in &self.servers {
            let asked = tokio::time::timeout(TIMEOUT, ask(*server, name, kind)).await;
            match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(message)) => last = format!("{server}: {message}"),
                Err(_) => last = format!("{server}: no answer within {TIMEOUT:?}"),
            }
        }
        Err(last)
    }
}

async fn ask(server: SocketAddr, name: &str, kind: u16) -> Result<Answer, String> {
    let question = Question {
        name,
        kind,
        class: INTERNET,
        recursion: true,
    };
    // Anybody can answer a datagram: what is not known cannot be guessed.
    let mut id = [0; 2];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
        .map_err(|_| "there is no randomness".to_owned())?;
    let id = u16::from_be_bytes(id);
    let message = dns::question(id, &question).ok_or("no name that can be asked for")?;
    let fail = |e: std::io::Error| e.to_string();
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(fail)?;
    socket.connect(server).await.map_err(fail)?;
    socket.send(&message).await.map_err(fail)?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let n = socket.recv(&mut buffer).await.map_err(fail)?;
        match dns::answer(&buffer[..n]) {
            Ok(answer) if answer.id == id && !answer.is_truncated => return Ok(answer),
            Ok(answer) if answer.id == id => break,
            // A cut message may end within a record.
            Err(_) if buffer[..n].starts_with(&id.to_be_bytes()) => break,
            _ => {}
        }
    }
    let mut stream = TcpStream::connect(server).await.map_err(fail)?;
    let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
    stream.write_u16(len).await.map_err(fail)?;
    stream.write_all(&message).await.map_err(fail)?;
    let n = usize::from(stream.read_u16().await.map_err(fail)?);
    stream.read_exact(&mut buffer[..n]).await.map_err(fail)?;
    dns::answer(&buffer[..n]).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_says_whom_to_ask_for_what() {
        let text = "# local\nnameserver 192.0.2.1\nnameserver ::1\nsearch a.example b.example\noptions edns0 ndots:2\n";
        let resolvers = Resolvers::of(text);
        assert_eq!(resolvers.servers.len(), 2);
        assert_eq!(
            resolvers.names("x.y"),
            ["x.y.a.example", "x.y.b.example", "x.y."]
        );
        assert_eq!(resolvers.names("x.y.z")[0], "x.y.z.");
        assert_eq!(resolvers.names("x."), ["x."]);
    }

    #[test]
    fn records_become_targets() {
        let record = |kind: u16, data: &str| Record {
            kind,
            text: format!("n.\t30\tIN\tX\t{data}"),
            serial: None,
        };
        for (kind, number, port, data, expected) in [
            ("SRV", 33, 0, "0 5 9093 a.example.", Some("a.example:9093")),
            ("A", 1, 80, "192.0.2.7", Some("192.0.2.7:80")),
            ("AAAA", 28, 80, "2001:db8::1", Some("[2001:db8::1]:80")),
            ("MX", 15, 25, "10 m.example.", Some("m.example:25")),
            ("NS", 2, 53, "ns.example.", Some("ns.example:53")),
            ("SRV", 33, 0, "0 5 9093", None),
        ] {
            let dns = Dns {
                names: Vec::new(),
                kind,
                number,
                port,
                refresh: TIMEOUT,
            };
            let found = dns.targets("n", &[record(number, data), record(99, data)]);
            let found: Vec<&str> = found.iter().map(|set| set.get(ADDRESS)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{data}");
        }
    }
}
