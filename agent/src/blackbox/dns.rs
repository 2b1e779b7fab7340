//! Probes a DNS server with one question.

use std::net::SocketAddr;
use std::time::Instant;

use kansoku_outputs::net::Io;
use kansoku_parsers::wire::dns::{self, Answer, CODES, Question, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::config::{Dns, Validator};
use super::report::Report;
use super::resolve::{resolve, split_port};
use super::tcp::connect;

const SOA: u16 = 6;
/// The largest datagram.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Probes `host` or `host:port`.
pub async fn probe(module: &Dns, target: &str, report: &mut Report) -> bool {
    for phase in ["resolve", "connect", "request"] {
        report.add_phase("probe_dns_duration_seconds", phase, 0.0);
    }
    for name in [
        "probe_dns_answer_rrs",
        "probe_dns_authority_rrs",
        "probe_dns_additional_rrs",
        "probe_dns_query_succeeded",
    ] {
        report.set(name, 0.0);
    }
    let default_port = if module.over_tls { 853 } else { 53 };
    let (host, port) = split_port(target).unwrap_or((target, default_port));
    let Some((ip, seconds)) = resolve(host, module.preference, report).await else {
        return false;
    };
    report.add_phase("probe_dns_duration_seconds", "resolve", seconds);
    let answer = match ask(module, SocketAddr::new(ip, port), host, report).await {
        Ok(answer) => answer,
        Err(why) => {
            report.say(why);
            return false;
        }
    };
    report.set("probe_dns_answer_rrs", answer.answers.len() as f64);
    report.set("probe_dns_authority_rrs", answer.authorities.len() as f64);
    report.set("probe_dns_additional_rrs", answer.additionals.len() as f64);
    report.set("probe_dns_query_succeeded", 1.0);
    if module.kind == SOA {
        let serial = answer.answers.iter().find_map(|r| r.serial);
        report.set("probe_dns_serial", f64::from(serial.unwrap_or_default()));
    }
    if !module.valid_codes.contains(&answer.code) {
        let name = CODES.iter().find(|(_, n)| *n == answer.code);
        let name = name.map_or("unknown", |(name, _)| name);
        report.say(format_args!("the answer's code is {name}"));
        return false;
    }
    [
        ("answer", &answer.answers, &module.answer),
        ("authority", &answer.authorities, &module.authority),
        ("additional", &answer.additionals, &module.additional),
    ]
    .into_iter()
    .all(
        |(what, records, validator)| match check(records, validator) {
            Ok(()) => true,
            Err(why) => {
                report.say(format_args!("{what} records: {why}"));
                false
            }
        },
    )
}

async fn ask(
    module: &Dns,
    server: SocketAddr,
    host: &str,
    report: &mut Report,
) -> Result<Answer, String> {
    let id = super::random_u16();
    let question = Question {
        name: &module.name,
        kind: module.kind,
        class: module.class,
        recursion: module.recursion,
    };
    let message = dns::question(id, &question)
        .ok_or_else(|| format!("'{}' is no name to ask for", module.name))?;
    let failed = |e: std::io::Error| format!("cannot ask {server}: {e}");
    let begin = Instant::now();
    if !module.is_tcp {
        let own: SocketAddr = match (module.source, server) {
            (Some(source), _) => SocketAddr::new(source, 0),
            (None, SocketAddr::V4(_)) => SocketAddr::from(([0; 4], 0)),
            (None, SocketAddr::V6(_)) => SocketAddr::from(([0u16; 8], 0)),
        };
        let socket = UdpSocket::bind(own).await.map_err(failed)?;
        socket.connect(server).await.map_err(failed)?;
        let connected = begin.elapsed().as_secs_f64();
        report.add_phase("probe_dns_duration_seconds", "connect", connected);
        let begin = Instant::now();
        socket.send(&message).await.map_err(failed)?;
        let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let n = socket.recv(&mut datagram).await.map_err(failed)?;
            let answer = dns::answer(&datagram[..n]);
            // A late answer to somebody else's question.
            if answer.as_ref().is_ok_and(|a| a.id != id) {
                continue;
            }
            let seconds = begin.elapsed().as_secs_f64();
            report.add_phase("probe_dns_duration_seconds", "request", seconds);
            return answer.map_err(|why| format!("the answer cannot be read: {why}"));
        }
    }
    let stream = connect(server.ip(), server.port(), module.source).await;
    let mut io: Box<dyn Io> = Box::new(stream.map_err(failed)?);
    if module.over_tls {
        io = module.tls.connect(io, host, &[]).await?.0;
    }
    let connected = begin.elapsed().as_secs_f64();
    report.add_phase("probe_dns_duration_seconds", "connect", connected);
    let begin = Instant::now();
    let len = u16::try_from(message.len()).unwrap_or_default();
    io.write_u16(len).await.map_err(failed)?;
    io.write_all(&message).await.map_err(failed)?;
    io.flush().await.map_err(failed)?;
    let len = io.read_u16().await.map_err(failed)?;
    let mut answer = vec![0; usize::from(len)];
    io.read_exact(&mut answer).await.map_err(failed)?;
    let seconds = begin.elapsed().as_secs_f64();
    report.add_phase("probe_dns_duration_seconds", "request", seconds);
    dns::answer(&answer).map_err(|why| format!("the answer cannot be read: {why}"))
}

/// Whether the records are as they must be, or why not.
fn check(records: &[Record], v: &Validator) -> Result<(), String> {
    let wants_some = !v.fail_if_not_matches.is_empty() || !v.fail_if_none_matches.is_empty();
    if records.is_empty() && wants_some {
        return Err("there are none, but one must match".into());
    }
    let mut is_any = false;
    let mut is_all = true;
    for record in records {
        let text = &record.text;
        if let Some(pattern) = v.fail_if_matches.iter().find(|p| p.is_match(text)) {
            return Err(format!("'{text}' matches '{pattern}'"));
        }
        if let Some(pattern) = v.fail_if_not_matches.iter().find(|p| !p.is_match(text)) {
            return Err(format!("'{text}' does not match '{pattern}'"));
        }
        is_all &= v.fail_if_all_match.iter().all(|p| p.is_match(text));
        is_any |= v.fail_if_none_matches.iter().any(|p| p.is_match(text));
    }
    // As there: what must not all match fails when one does not.
    if !v.fail_if_all_match.is_empty() && !is_all {
        return Err("not all match".into());
    }
    if !v.fail_if_none_matches.is_empty() && !is_any {
        return Err("none matches".into());
    }
    Ok(())
}
