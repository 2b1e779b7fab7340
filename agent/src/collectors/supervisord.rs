//! Processes that supervisord keeps, asked for over its XML-RPC interface.
//!
//! node_exporter will drop this collector with its next major version.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kansoku_model::MetricBatch;
use kansoku_parsers::wire::xml_rpc::{self, Struct};

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, Tier};

pub(super) const ENTRY: Entry = Entry {
    name: "supervisord",
    about: "processes that supervisord keeps",
    is_default: false,
    tier: Tier::Background,
    flags: &[URL],
    build: |spec| Ok(Box::new(Supervisord::new(spec)?)),
    ..Entry::DEFAULT
};

const URL: Flag = Flag::text(
    "collector.supervisord.url",
    "http://localhost:9001/RPC2",
    "XML RPC endpoint.",
);
/// Stands for the flag where that is not given, as in node_exporter.
const URL_VARIABLE: &str = "SUPERVISORD_URL";

const UP: Desc = Desc::gauge("node_supervisord_up", "Process Up");
const STATE: Desc = Desc::gauge("node_supervisord_state", "Process State");
const EXIT_STATUS: Desc = Desc::gauge("node_supervisord_exit_status", "Process Exit Status");
const START_TIME: Desc = Desc::counter("node_supervisord_start_time_seconds", "Process start time");

/// supervisord's states in which a process is there: starting, running, stopping.
const RUNNING: [f64; 3] = [10.0, 20.0, 40.0];
/// For each step of the conversation.
const PATIENCE: Duration = Duration::from_secs(2);
/// Some kilobytes per process.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

struct Supervisord {
    target: Target,
    /// The request, the same each time.
    request: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

impl Supervisord {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let variable = std::env::var(URL_VARIABLE).ok();
        let url = match variable {
            Some(url) if !spec.flags.is_given(&URL) => url,
            _ => spec.flags.text(&URL).to_owned(),
        };
        let (target, request) = conversation(&url).with_context(|| {
            format!(
                "--{} is '{url}', but must be http://HOST:PORT/RPC2 or unix:///PATH",
                URL.name
            )
        })?;
        Ok(Self { target, request })
    }

    fn ask(&self) -> anyhow::Result<Vec<Struct>> {
        let answer = match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .with_context(|| format!("failed to connect to {}", path.display()))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, &self.request)?
            }
            Target::Tcp(address) => {
                let stream = connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, &self.request)?
            }
        };
        Ok(xml_rpc::structs(body(&answer)?)?)
    }
}

/// Whom to ask, and with which bytes.
fn conversation(url: &str) -> anyhow::Result<(Target, String)> {
    if let Some(path) = url.strip_prefix("unix://") {
        ensure!(path.starts_with('/'), "the path is not absolute");
        return Ok((Target::Unix(path.into()), request("unix", "/RPC2", None)));
    }
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("supervisord speaks http, over TCP or a unix socket");
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    ensure!(!host.is_empty(), "there is no host");
    let address = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok((Target::Tcp(address), request(host, path, user)))
}

/// HTTP/1.0, so that the answer ends with the connection.
fn request(host: &str, path: &str, user: Option<&str>) -> String {
    let body = xml_rpc::call("supervisor.getAllProcessInfo");
    let authorization = user.map_or_else(String::new, |user| {
        format!("Authorization: Basic {}\r\n", STANDARD.encode(user))
    });
    format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\n{authorization}Content-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("failed to connect to {address}")),
        None => bail!("{address} has no address"),
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an answer with status 200.
fn body(answer: &[u8]) -> anyhow::Result<&str> {
    let text = std::str::from_utf8(answer).context("the answer is no UTF-8")?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the answer is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.split(' ').nth(1) == Some("200"),
        "supervisord answers '{status}'"
    );
    Ok(body)
}

impl Collector for Supervisord {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for process in self.ask()? {
            let text = |member| process.get(member).map_or("", String::as_str);
            let number = |member| -> anyhow::Result<f64> {
                let value = text(member);
                value
                    .trim()
                    .parse()
                    .with_context(|| format!("supervisord says {member} '{value}'"))
            };
            let labels = [("name", text("name")), ("group", text("group"))];
            let state = number("state")?;
            let is_running = RUNNING.contains(&state);
            STATE.sample(out, &labels, state);
            EXIT_STATUS.sample(out, &labels, number("exitstatus")?);
            UP.sample(out, &labels, f64::from(is_running));
            if is_running {
                START_TIME.sample(out, &labels, number("start")?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn urls_are_tcp_or_unix() {
        let (target, request) =
            conversation("http://user:pass@localhost:9001/RPC2").expect("valid");
        assert_eq!(target, Target::Tcp("localhost:9001".to_owned()));
        assert!(request.starts_with(
            "POST /RPC2 HTTP/1.0\r\nHost: localhost:9001\r\nAuthorization: Basic dXNlcjpwYXNz\r\n"
        ));
        let (target, _) = conversation("http://box").expect("valid");
        assert_eq!(target, Target::Tcp("box:80".to_owned()));
        let (target, _) = conversation("unix:///run/supervisor.sock").expect("valid");
        assert_eq!(target, Target::Unix("/run/supervisor.sock".into()));
        for url in ["https://localhost/RPC2", "http://", "unix://x", ""] {
            assert!(conversation(url).is_err(), "{url}");
        }
    }

    #[test]
    fn processes_are_told_of() {
        let member = |name: &str, kind: &str, value: &str| {
            format!("<member><name>{name}</name><value><{kind}>{value}</{kind}></value></member>")
        };
        let process = |name: &str, state: &str| {
            let members = [
                member("name", "string", name),
                member("group", "string", "g"),
                member("state", "int", state),
                member("exitstatus", "int", "3"),
                member("start", "int", "1700000000"),
            ];
            format!("<value><struct>{}</struct></value>", members.concat())
        };
        let answer = format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n<methodResponse><params><param><value><array><data>{}{}</data></array></value></param></params></methodResponse>",
            process("runs", "20"),
            process("died", "100"),
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/RPC2", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let n = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("an answer");
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let (target, request) = conversation(&url).expect("valid");
        let mut out = MetricBatch::default();
        let mut collector = Supervisord { target, request };
        collector.collect(&mut out).expect("an answer");
        let request = server.join().expect("the server ran");
        assert!(request.contains("supervisor.getAllProcessInfo"));
        let mut text = Vec::new();
        crate::exposition::write(&mut text, &[&out]);
        let text = String::from_utf8(text).expect("text");
        for line in [
            "node_supervisord_up{group=\"g\",name=\"runs\"} 1",
            "node_supervisord_up{group=\"g\",name=\"died\"} 0",
            "node_supervisord_exit_status{group=\"g\",name=\"died\"} 3",
            "node_supervisord_start_time_seconds{group=\"g\",name=\"runs\"} 1.7e+09",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert!(!text.contains("start_time_seconds{group=\"g\",name=\"died\"}"));
        assert!(body(b"HTTP/1.0 401 Unauthorized\r\n\r\n").is_err());
    }
}
