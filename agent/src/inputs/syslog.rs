//! `syslog`: messages over TCP, UDP and Unix sockets, read by a parser.
//!
//! A message that the parser does not fit is kept as text in `log`, where Fluent Bit drops it. A
//! connection may frame by counting (RFC 6587) whatever `format` says, message by message, as rsyslog
//! understands it: a message that begins with digits and a blank cannot begin with `<`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Resource, Settings, joined};
use kansoku_parsers::line::Parser;
use kansoku_parsers::wire::records::Records;
use kansoku_parsers::wire::syslog::{self, Frame};

use super::net::datagram::{self, Socket};
use super::net::listen::{self, ALL_OPTIONS, Connection, Listen, N_OPTIONS, unix_permissions};
use super::net::stream::{self, Framing, Limits, begin};
use super::net::{Net, buffer_size, resource, run};
use crate::config::find_parser;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "mode",
        OptionKind::Choice(&["unix_udp", "unix_tcp", "tcp", "udp"]),
        "unix_udp",
        "kind of socket",
    ),
    OptionSpec::new("path", OptionKind::Text, "", "path of the Unix socket"),
    OptionSpec::new(
        "unix_perm",
        OptionKind::Text,
        "0644",
        "permissions of the Unix socket, octal",
    ),
    OptionSpec::new(
        "parser",
        OptionKind::Text,
        "",
        "parser for each message; default syslog-rfc5424 for tcp and udp, else syslog-rfc3164-local",
    ),
    OptionSpec::new(
        "buffer_chunk_size",
        OptionKind::Size,
        "32768",
        "bytes that a buffer grows by",
    ),
    OptionSpec::new(
        "buffer_max_size",
        OptionKind::Size,
        "",
        "the longest message; default buffer_chunk_size. A longer one closes its connection",
    ),
    OptionSpec::new(
        "receive_buffer_size",
        OptionKind::Size,
        "",
        "the kernel's buffer of a datagram socket",
    ),
    OptionSpec::new(
        "raw_message_key",
        OptionKind::Text,
        "",
        "field for the message as it came",
    ),
    OptionSpec::new(
        "source_address_key",
        OptionKind::Text,
        "",
        "field for the sender's address",
    ),
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["newline", "octet_counting", "octet"]),
        "newline",
        "how stream connections are cut; octet_counting refuses all else, newline takes both",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + N_OPTIONS] = joined(OWN, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "syslog",
    about: "Takes syslog messages over TCP, UDP and Unix sockets.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    syslog\n    Mode    tcp\n    Listen  0.0.0.0\n    Port    5140\n    Parser  syslog-rfc5424\n",
    build,
};

const PORT: u16 = 5140;
/// In the log.
const NAME: &str = "input:syslog";

enum Mode {
    Stream(Listen),
    Udp(SocketAddr),
    UnixDatagram(PathBuf, Option<u32>),
}

struct Syslog {
    mode: Mode,
    receive_bytes: Option<usize>,
    limits: Limits,
    reader: Reader,
    resource: Arc<Resource>,
}

/// How a message becomes a record.
#[derive(Clone)]
struct Reader {
    parser: Arc<Parser>,
    raw_key: Option<Arc<str>>,
    address_key: Option<Arc<str>>,
    counts_only: bool,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    let mode = s.text("mode", "unix_udp").to_ascii_lowercase();
    let is_unix = mode.starts_with("unix");
    let default = if is_unix {
        "syslog-rfc3164-local"
    } else {
        "syslog-rfc5424"
    };
    let parser = match s.get("parser") {
        Some(k) => find_parser(environment, k)?,
        None => environment.parsers.get(default).ok_or_else(|| {
            let message = format!(
                "syslog's default parser '{default}' is in no parsers_file of [SERVICE]; set 'parser'"
            );
            ConfigError::new(&s.place, message)
        })?,
    };
    let listen = Listen::of(s, environment, PORT, &[])?;
    let chunk_bytes = buffer_size(s, "buffer_chunk_size", 32_768)?;
    let limits = Limits {
        chunk_bytes,
        max_bytes: buffer_size(s, "buffer_max_size", chunk_bytes as u64)?,
        idle: listen.idle_timeout,
    };
    let permissions = unix_permissions(s)?.or(Some(0o644));
    let mode = match mode.as_str() {
        "unix_tcp" => Mode::Stream(listen.on_path(s.required("path")?, permissions)),
        "tcp" => Mode::Stream(listen),
        "udp" => Mode::Udp(listen::address(s, PORT)?),
        _ => Mode::UnixDatagram(s.required("path")?.into(), permissions),
    };
    let text = |key| s.get(key).map(|k| k.value.as_str().into());
    Ok(Box::new(Syslog {
        mode,
        receive_bytes: (s.get("receive_buffer_size"))
            .map(|_| buffer_size(s, "receive_buffer_size", 1))
            .transpose()?,
        limits,
        reader: Reader {
            parser,
            raw_key: text("raw_message_key"),
            address_key: text("source_address_key"),
            counts_only: s
                .text("format", "newline")
                .to_ascii_lowercase()
                .starts_with("octet"),
        },
        resource: resource(environment),
    }))
}

impl Input for Syslog {
    fn can_wait(&self) -> bool {
        matches!(self.mode, Mode::Stream(_))
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Self {
            mode,
            receive_bytes,
            limits,
            reader,
            resource,
        } = *self;
        run(link, move |Net { pipe }| async move {
            let socket = match mode {
                Mode::Stream(listen) => {
                    let one = pipe.clone();
                    return listen::serve(NAME, listen, pipe, move |Connection { io, peer }| {
                        let messages = Messages {
                            reader: reader.clone(),
                            peer: peer.clone(),
                        };
                        let (pipe, resource) = (one.clone(), resource.clone());
                        async move {
                            stream::serve(NAME, &peer, io, messages, limits, pipe, resource).await;
                        }
                    })
                    .await;
                }
                Mode::Udp(address) => Socket::udp(address, receive_bytes)?,
                Mode::UnixDatagram(path, permissions) => {
                    Socket::unix(&path, permissions, receive_bytes)?
                }
            };
            datagram::serve(NAME, socket, pipe, resource, move |bytes, peer, records| {
                reader.read(bytes, peer, records);
            })
            .await
        })
    }
}

impl Reader {
    fn read(&self, message: &[u8], peer: &str, records: &mut Records<'_>) {
        let trimmed = message.trim_ascii_end();
        let trimmed = trimmed.strip_suffix(b"\0").unwrap_or(trimmed);
        if trimmed.is_empty() {
            return;
        }
        begin(records);
        if !records.parse(&self.parser, trimmed) {
            let value = records.text(trimmed);
            records.set(b"log", value);
        }
        if let Some(key) = &self.raw_key {
            let value = records.text(message);
            records.set(key.as_bytes(), value);
        }
        if let Some(key) = &self.address_key
            && !peer.is_empty()
        {
            let value = records.text(peer.as_bytes());
            records.set(key.as_bytes(), value);
        }
    }
}

/// Messages of one connection.
struct Messages {
    reader: Reader,
    peer: String,
}

impl Framing for Messages {
    fn cut(
        &mut self,
        bytes: &[u8],
        end: bool,
        records: &mut Records<'_>,
    ) -> (usize, Result<(), String>) {
        let mut at = 0;
        loop {
            match syslog::next_frame(&bytes[at..], self.reader.counts_only) {
                Ok(Some(Frame { message, end })) => {
                    let message = &bytes[at..][message];
                    self.reader.read(message, &self.peer, records);
                    at += end;
                }
                Ok(None) if end && at < bytes.len() => {
                    let rest = &bytes[at..];
                    let rest = &rest[syslog::n_line_ends(rest)..];
                    self.reader.read(rest, &self.peer, records);
                    return (bytes.len(), Ok(()));
                }
                Ok(None) => return (at, Ok(())),
                Err(error) => return (at, Err(error.to_string())),
            }
        }
    }
}

/// How the messages of one connection are cut and read.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn messages(parser: Arc<Parser>, counts_only: bool) -> impl Framing {
    Messages {
        reader: Reader {
            parser,
            raw_key: Some("raw".into()),
            address_key: Some("address".into()),
            counts_only,
        },
        peer: "10.0.0.1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use kansoku_model::RecordBatch;

    use super::super::net::testing::{self, until};
    use super::*;

    fn environment() -> Environment {
        let section = Settings::of(
            "PARSER",
            &[
                ("name", "p"),
                ("format", "regex"),
                ("regex", "^<(?<pri>[0-9]+)>(?<message>.*)$"),
            ],
        );
        let parser = Parser::new(&section, &|_| None).expect("valid");
        Environment {
            parsers: Arc::new([("p".to_owned(), Arc::new(parser))].into_iter().collect()),
            ..Environment::default()
        }
    }

    #[test]
    fn messages_come_over_both_unix_sockets() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in ["unix_tcp", "unix_udp"] {
            let path = folder.path().join(mode);
            let path_text = path.to_str().expect("UTF-8");
            let pairs = [
                ("mode", mode),
                ("path", path_text),
                ("parser", "p"),
                ("raw_message_key", "raw"),
            ];
            let input = build(&Settings::of("syslog", &pairs), &environment());
            let running = testing::start(input.map_err(|e| e.message).expect("valid"), "s");
            if mode == "unix_tcp" {
                let mut client = until(|| UnixStream::connect(&path).ok());
                client
                    .write_all(b"<1>one\n6 <2>two\nplain")
                    .expect("written");
            } else {
                let client = UnixDatagram::unbound().expect("a socket");
                until(|| client.send_to(b"<1>one\n", &path).ok());
                client.send_to(b"<2>two", &path).expect("sent");
                client.send_to(b"plain", &path).expect("sent");
            }
            let all = running.records(3).join("\n");
            assert!(
                all.contains(r#"s {"pri":"1","message":"one","raw":"<1>one"#),
                "{all}"
            );
            assert!(all.contains(r#""message":"two""#), "{all}");
            assert!(
                all.contains(r#""log":"plain""#),
                "kept, though the parser does not fit: {all}"
            );
            running.stop();
        }
    }

    #[test]
    fn the_last_message_is_the_same_however_it_comes() {
        let parser = environment().parsers.get("p").expect("there");
        for pieces in [&[&b"\0\0\r\nlast"[..]][..], &[b"\0\0", b"\r\nla", b"st"]] {
            let mut stream = super::super::net::new_stream();
            let mut records = Records::new(&mut stream, "s".into(), Arc::default());
            let mut framing = messages(parser.clone(), false);
            let mut buffer = Vec::new();
            for (i, piece) in pieces.iter().enumerate() {
                buffer.extend_from_slice(piece);
                let (n, cut) = framing.cut(&buffer, i + 1 == pieces.len(), &mut records);
                assert_eq!(cut, Ok(()));
                buffer.drain(..n);
            }
            let shown: Vec<String> = (records.finish().into_iter())
                .flat_map(|batch| testing::show(&RecordBatch::Logs(batch)))
                .collect();
            assert_eq!(
                shown,
                [r#"s {"log":"last","raw":"last","address":"10.0.0.1"}"#],
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn a_missing_parser_is_told() {
        let pairs = [("mode", "udp")];
        let error = build(&Settings::of("syslog", &pairs), &Environment::default()).err();
        let message = error.expect("refused").message;
        assert!(
            message.contains("'syslog-rfc5424' is in no parsers_file"),
            "{message}"
        );
    }
}
