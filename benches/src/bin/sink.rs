//! A destination for measurements: takes HTTP requests as fast as they come and counts what is in
//! them. It is no server for anything else; it believes what a well-behaved client sends.
//!
//!     sink PORT [--gunzip]
//!
//! `GET /stats` answers `{"requests","body_bytes","records","p50_ms","p99_ms","max_ms"}`. Records are
//! counted by the needle `"log":` or, without one, by newlines; latencies are taken from texts like
//! `t=<unix ns>` inside of records.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds are counted up to here; all slower ones together.
const MAX_MS: usize = 20_000;

struct Stats {
    requests: u64,
    body_bytes: u64,
    records: u64,
    latencies_ms: Vec<u32>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port: u16 = (arguments.first())
        .and_then(|p| p.parse().ok())
        .ok_or_else(|| io::Error::other("usage: sink PORT [--gunzip]"))?;
    let gunzip = arguments.iter().any(|a| a == "--gunzip");
    let stats = Arc::new(Mutex::new(Stats {
        requests: 0,
        body_bytes: 0,
        records: 0,
        latencies_ms: vec![0; MAX_MS + 1],
    }));
    for stream in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let (stream, stats) = (stream?, stats.clone());
        std::thread::spawn(move || {
            // A client that leaves in the middle is its own business.
            let _ = serve(&stream, gunzip, &stats);
        });
    }
    Ok(())
}

fn serve(stream: &TcpStream, gunzip: bool, stats: &Mutex<Stats>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 18, stream);
    let (mut line, mut body, mut plain) = (String::new(), Vec::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (is_stats, is_bulk) = (line.starts_with("GET /stats"), line.contains("/_bulk"));
        let is_push = line.contains("/loki/");
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        if is_stats {
            let text = report(&stats.lock().expect("no thread panicked"));
            answer(stream, "200 OK", &text)?;
            continue;
        }
        plain.clear();
        let content = if gunzip {
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
            &plain
        } else {
            &body
        };
        count(
            content,
            body.len(),
            &mut stats.lock().expect("no thread panicked"),
        );
        match (is_bulk, is_push) {
            (true, _) => answer(stream, "200 OK", r#"{"took":1,"errors":false,"items":[]}"#)?,
            (_, true) => answer(stream, "204 No Content", "")?,
            _ => answer(stream, "200 OK", "")?,
        }
    }
}

fn answer(mut stream: &TcpStream, status: &str, text: &str) -> io::Result<()> {
    let length = text.len();
    let kind = "application/json";
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}"
    )
}

fn count(content: &[u8], n_sent: usize, stats: &mut Stats) {
    stats.requests += 1;
    stats.body_bytes += n_sent as u64;
    let by_key = memchr::memmem::find_iter(content, b"\"log\":").count();
    let n_records = match by_key {
        0 => memchr::memchr_iter(b'\n', content).count(),
        n => n,
    };
    stats.records += n_records as u64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ns = now.map_or(0, |d| d.as_nanos() as u64);
    for at in memchr::memmem::find_iter(content, b" t=") {
        let digits = content
            .get(at + 3..at + 22)
            .and_then(|d| str::from_utf8(d).ok());
        if let Some(sent_ns) = digits.and_then(|d| d.parse::<u64>().ok()) {
            let ms = now_ns.saturating_sub(sent_ns) / 1_000_000;
            stats.latencies_ms[(ms as usize).min(MAX_MS)] += 1;
        }
    }
}

fn report(stats: &Stats) -> String {
    let total: u64 = stats.latencies_ms.iter().map(|n| u64::from(*n)).sum();
    let at = |share: f64| {
        let mut left = (total as f64 * share).ceil() as u64;
        let place = stats.latencies_ms.iter().position(|n| {
            left = left.saturating_sub(u64::from(*n));
            left == 0
        });
        place.unwrap_or(0)
    };
    let max = stats.latencies_ms.iter().rposition(|n| *n > 0).unwrap_or(0);
    format!(
        r#"{{"requests":{},"body_bytes":{},"records":{},"p50_ms":{},"p99_ms":{},"max_ms":{max}}}"#,
        stats.requests,
        stats.body_bytes,
        stats.records,
        at(0.5),
        at(0.99),
    )
}
