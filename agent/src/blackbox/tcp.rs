//! Probes a TCP port: connect, and a dialogue of lines or bytes, which may turn to TLS.

use std::net::{IpAddr, SocketAddr};

use kansoku_outputs::net::Io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::config::{Step, Tcp};
use super::report::Report;
use super::resolve::{resolve, split_port};
use crate::inputs::scrape::relabel::expand;

/// The longest line, as in blackbox_exporter.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Connects, from a source address where one is given.
///
/// # Errors
/// When there is no connection.
pub async fn connect(ip: IpAddr, port: u16, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = match ip {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(SocketAddr::new(ip, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Probes `host:port`.
pub async fn probe(
    module: &Tcp,
    target: &str,
    server_name: Option<&str>,
    report: &mut Report,
) -> bool {
    let Some((host, port)) = split_port(target) else {
        report.say(format_args!("'{target}' is no host and port"));
        return false;
    };
    let Some((ip, _)) = resolve(host, module.preference, report).await else {
        return false;
    };
    let name = server_name.unwrap_or(host);
    let mut io: Box<dyn Io> = match connect(ip, port, module.source).await {
        Ok(stream) => Box::new(stream),
        Err(error) => {
            report.say(format_args!("cannot connect to {ip}:{port}: {error}"));
            return false;
        }
    };
    report.say("connected");
    if module.is_tls {
        io = match module.tls.connect(io, name, &[]).await {
            Ok((io, facts)) => {
                module.tls.report(&facts, false, true, report);
                io
            }
            Err(error) => {
                report.say(error);
                return false;
            }
        };
    }
    report.set("probe_failed_due_to_regex", 0.0);
    report.set("probe_failed_due_to_bytes", 0.0);
    let mut dialogue = Dialogue {
        io,
        read: Vec::new(),
    };
    for (number, step) in module.steps.iter().enumerate() {
        if let Err(why) = dialogue.step(step, report).await {
            report.say(format_args!("step {}: {why}", number + 1));
            return false;
        }
        if step.starttls {
            match module.tls.connect(dialogue.io, name, &[]).await {
                Ok((io, facts)) => {
                    module.tls.report(&facts, false, true, report);
                    dialogue = Dialogue {
                        io,
                        read: Vec::new(),
                    };
                }
                Err(error) => {
                    report.say(error);
                    return false;
                }
            }
        }
    }
    true
}

struct Dialogue {
    io: Box<dyn Io>,
    /// What was read and not looked at.
    read: Vec<u8>,
}

impl Dialogue {
    async fn step(&mut self, step: &Step, report: &mut Report) -> Result<(), String> {
        let mut send = step.send.clone();
        if let Some(pattern) = &step.expect {
            let mut last = String::new();
            loop {
                let Some(line) = self.line().await? else {
                    report.set("probe_failed_due_to_regex", 1.0);
                    return Err(format!(
                        "no line matched '{pattern}', the last was '{last}'"
                    ));
                };
                report.say(format_args!("read line: {line}"));
                if let Some(groups) = pattern.captures(&line) {
                    send = expand(&step.send, &groups);
                    let labels = step.labels.iter();
                    let labels =
                        labels.map(|(name, value)| (name.as_str(), expand(value, &groups)));
                    let labels: Vec<(&str, String)> = labels.collect();
                    if !labels.is_empty() {
                        let pairs = labels.iter().map(|(n, v)| (*n, v.as_str()));
                        let pairs: Vec<(&str, &str)> = pairs.collect();
                        report.set_with("probe_expect_info", &pairs, 1.0);
                    }
                    break;
                }
                last = line;
            }
            report.set("probe_failed_due_to_regex", 0.0);
        }
        if !step.expect_bytes.is_empty() {
            let expected = step.expect_bytes.as_bytes();
            while self.read.len() < expected.len() {
                if !self.more().await? {
                    return Err("the connection ended before as many bytes as expected".into());
                }
            }
            let found: Vec<u8> = self.read.drain(..expected.len()).collect();
            if found != expected {
                report.set("probe_failed_due_to_bytes", 1.0);
                return Err(format!("read {found:?} and not {expected:?}"));
            }
            report.set("probe_failed_due_to_bytes", 0.0);
        }
        if !send.is_empty() {
            report.say(format_args!("sending line: {send}"));
            send.push('\n');
            let failed = |e: std::io::Error| format!("cannot send: {e}");
            self.io.write_all(send.as_bytes()).await.map_err(failed)?;
            self.io.flush().await.map_err(failed)?;
        }
        Ok(())
    }

    /// The next line without its end; `None` at the end of the connection.
    async fn line(&mut self) -> Result<Option<String>, String> {
        loop {
            let end = memchr::memchr(b'\n', &self.read);
            if let Some(end) = end {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(text(&line[..end])));
            }
            if self.read.len() >= MAX_LINE_BYTES {
                return Err(format!("a line is longer than {MAX_LINE_BYTES} bytes"));
            }
            if !self.more().await? {
                let line = std::mem::take(&mut self.read);
                return Ok((!line.is_empty()).then(|| text(&line)));
            }
        }
    }

    async fn more(&mut self) -> Result<bool, String> {
        let mut piece = [0; 4096];
        let n = self
            .io
            .read(&mut piece)
            .await
            .map_err(|e| format!("cannot read: {e}"))?;
        self.read.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}
