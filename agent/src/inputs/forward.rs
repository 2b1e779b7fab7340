//! `forward`: events of Fluent Bit, Fluentd and the fluent-logger libraries.
//!
//! The rule: a chunk id is acknowledged only when every output has the chunk's records. While there
//! is no room the connection is not read, and so its client waits. A message that cannot be read
//! closes its connection; Fluent Bit drops such a message and goes on behind it.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{
    ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Resource, Settings, joined,
};
use kansoku_parsers::wire::forward;
use kansoku_parsers::wire::msgpack::{self, Extent, Stop};
use kansoku_parsers::wire::records::Records;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::forward_handshake::{Handshake, User};
use super::net::listen::{ALL_OPTIONS, Connection, Io, Listen, N_OPTIONS, serve, unix_permissions};
use super::net::pipe::{Pipe, Receipt};
use super::net::stream::{Got, read_once};
use super::net::{MAX_GROWTH, Net, buffer_size, int_within, new_stream, resource, run};
use crate::filters::parser::now_ns;
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "tag_prefix",
        OptionKind::Text,
        "",
        "written in front of each tag that comes in",
    ),
    OptionSpec::new(
        "shared_key",
        OptionKind::Text,
        "",
        "what clients must know, too",
    ),
    OptionSpec::new(
        "empty_shared_key",
        OptionKind::Bool,
        "off",
        "ask for the handshake with an empty key",
    ),
    OptionSpec::new(
        "self_hostname",
        OptionKind::Text,
        "localhost",
        "this server's name in the handshake",
    ),
    OptionSpec::new(
        "security.users",
        OptionKind::Pair,
        "",
        "a user's name and password; needs shared_key or empty_shared_key",
    )
    .repeated(),
    OptionSpec::new(
        "unix_path",
        OptionKind::Text,
        "",
        "listen on this Unix socket instead of TCP",
    ),
    OptionSpec::new(
        "unix_perm",
        OptionKind::Text,
        "",
        "permissions of the Unix socket, octal",
    ),
    OptionSpec::new(
        "buffer_chunk_size",
        OptionKind::Size,
        "1024000",
        "bytes that a connection's buffer grows by",
    ),
    OptionSpec::new(
        "buffer_max_size",
        OptionKind::Size,
        "6144000",
        "the largest message; a larger one closes its connection",
    ),
    OptionSpec::new(
        "workers",
        OptionKind::Int,
        "1",
        "of no meaning: one thread serves all connections",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + N_OPTIONS] = joined(OWN, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "forward",
    about: "Takes events of Fluent Bit, Fluentd and fluent-logger.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    forward\n    Listen  0.0.0.0\n    Port    24224\n",
    build,
};

/// The port of the protocol.
const PORT: u16 = 24224;
/// Chunks of one connection that may wait for their acknowledgement.
const MAX_UNACKNOWLEDGED: usize = 64;
/// An empty buffer keeps so much.
const READ_BYTES: usize = 64 << 10;
/// In the log.
const NAME: &str = "input:forward";
/// Time for the handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);

struct Forward {
    listen: Listen,
    shared: Shared,
}

/// What all connections share.
struct Shared {
    tag_prefix: String,
    /// Whether the input has a tag of its own.
    tag_is_set: bool,
    handshake: Option<Handshake>,
    chunk_bytes: usize,
    max_bytes: usize,
    idle: Option<Duration>,
    resource: Arc<Resource>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    int_within(settings, "workers", 1, 1..=1024)?;
    let mut listen = Listen::of(settings, environment, PORT, &[])?;
    if let Some(path) = settings.get("unix_path") {
        listen = listen.on_path(&path.value, unix_permissions(settings)?);
    }
    Ok(Box::new(Forward {
        shared: Shared {
            idle: listen.idle_timeout,
            tag_prefix: settings.text("tag_prefix", "").to_owned(),
            tag_is_set: false,
            handshake: handshake(settings)?,
            chunk_bytes: buffer_size(settings, "buffer_chunk_size", 1_024_000)?,
            max_bytes: buffer_size(settings, "buffer_max_size", 6_144_000)?,
            resource: resource(environment),
        },
        listen,
    }))
}

fn handshake(s: &Settings) -> Result<Option<Handshake>, ConfigError> {
    let key = match s.get("shared_key") {
        Some(key) => Some(key.value.clone()),
        None => s.bool("empty_shared_key", false)?.then(String::new),
    };
    let users: Vec<User> = s
        .all("security.users")
        .map(|k| {
            let (name, password) = k
                .value
                .trim()
                .split_once(char::is_whitespace)
                .unwrap_or_default();
            User {
                name: name.to_owned(),
                password: password.trim().to_owned(),
            }
        })
        .collect();
    match key {
        Some(key) => Ok(Some(Handshake {
            shared_key: key,
            self_hostname: s.text("self_hostname", "localhost").to_owned(),
            users,
        })),
        // Fluent Bit refuses this, too: without a handshake nobody would be asked for a password.
        None if !users.is_empty() => {
            let place = s.get("security.users").map_or(&s.place, |k| &k.place);
            Err(ConfigError::new(
                place,
                "'security.users' needs 'shared_key' or 'empty_shared_key on'",
            ))
        }
        None => Ok(None),
    }
}

impl Input for Forward {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Self { listen, mut shared } = *self;
        shared.tag_is_set = link.tag_is_set;
        let shared = Arc::new(shared);
        run(link, move |Net { pipe }| {
            let one = pipe.clone();
            serve(NAME, listen, pipe, move |connection| {
                serve_one(connection, one.clone(), shared.clone())
            })
        })
    }
}

async fn serve_one(mut connection: Connection, pipe: Pipe, shared: Arc<Shared>) {
    if let Some(handshake) = &shared.handshake {
        let shaking = handshake.run(&mut connection.io);
        let result = match tokio::time::timeout(HANDSHAKE_PATIENCE, shaking).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("it took too long")),
        };
        if let Err(error) = result {
            log::warn(NAME, format_args!("refused {}: {error:#}", connection.peer));
            return;
        }
    }
    let peer = connection.peer;
    let (reader, writer) = tokio::io::split(connection.io);
    let (acks, waiting) = mpsc::channel(MAX_UNACKNOWLEDGED);
    let answering = acknowledge(writer, waiting);
    let reading = async {
        let result = read(reader, &pipe, &shared, &acks).await;
        drop(acks);
        result
    };
    // Every chunk that was read is answered before the connection is closed.
    let (result, ()) = tokio::join!(reading, answering);
    if let Err(error) = result {
        log::warn(
            NAME,
            format_args!("closed the connection of {peer}: {error:#}"),
        );
    }
}

/// Chunks that their client waits for.
struct Waiting {
    chunks: Vec<Vec<u8>>,
    receipt: Receipt,
}

/// Answers chunks as they are delivered, in the order in which they came.
async fn acknowledge(mut writer: WriteHalf<Io>, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(Waiting { chunks, receipt }) = waiting.recv().await {
        if receipt.await.is_err() {
            return;
        }
        let mut answer = Vec::new();
        for chunk in chunks {
            answer.extend_from_slice(b"\x81\xa3ack");
            msgpack::write_str(&mut answer, &chunk);
        }
        if writer.write_all(&answer).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

/// Reads messages until the client or the agent ends.
async fn read(
    mut reader: ReadHalf<Io>,
    pipe: &Pipe,
    shared: &Shared,
    acks: &mpsc::Sender<Waiting>,
) -> anyhow::Result<()> {
    let mut stream = new_stream();
    let mut buffer: Vec<u8> = Vec::new();
    let mut extent = Extent::default();
    loop {
        anyhow::ensure!(
            buffer.len() < shared.max_bytes,
            "a message is larger than buffer_max_size ({} bytes)",
            shared.max_bytes
        );
        let free = shared.max_bytes - buffer.len();
        let n_bytes = shared.chunk_bytes.min(free);
        match read_once(&mut reader, &mut buffer, n_bytes, pipe, shared.idle).await? {
            Got::Bytes => {}
            Got::End if !buffer.is_empty() => anyhow::bail!("it ended within a message"),
            Got::End | Got::Stop => return Ok(()),
        }
        let tag = pipe.link.tag.clone();
        let mut records = Records::new(&mut stream, tag, shared.resource.clone());
        let mut chunks = Vec::new();
        let (len, result) = shared.decode(&buffer, &mut extent, &mut records, &mut chunks);
        buffer.drain(..len);
        if buffer.is_empty() {
            buffer.shrink_to(READ_BYTES);
        }
        let batches = records.finish().into_iter().map(RecordBatch::Logs);
        send(pipe, batches.collect(), chunks, acks).await?;
        result?;
    }
}

/// Hands over batches and promises their chunks' acknowledgements.
async fn send(
    pipe: &Pipe,
    batches: Vec<RecordBatch>,
    chunks: Vec<Vec<u8>>,
    acks: &mpsc::Sender<Waiting>,
) -> anyhow::Result<()> {
    if chunks.is_empty() {
        return Ok(pipe.send_unanswered(batches).await?);
    }
    // One receipt for all: they came with one read.
    let receipt = pipe.send(batches).await?;
    // The client is gone when nobody answers any more; its records stay.
    let _ = acks.send(Waiting { chunks, receipt }).await;
    Ok(())
}

impl Shared {
    /// Reads all whole messages in `bytes`: how many bytes they were, and what was wrong behind them.
    fn decode(
        &self,
        bytes: &[u8],
        extent: &mut Extent,
        records: &mut Records<'_>,
        chunks: &mut Vec<Vec<u8>>,
    ) -> (usize, anyhow::Result<()>) {
        let own_tag = records.tag();
        let tag = |tag: &str| self.tag(&own_tag, tag);
        let max_plain = self.max_bytes.saturating_mul(MAX_GROWTH);
        let mut start = 0;
        while start < bytes.len() {
            let len = match forward::find_message(extent, &bytes[start..]) {
                Ok(len) => len,
                Err(Stop::Incomplete) => break,
                Err(Stop::Damaged(error)) => return (start, Err(error.into())),
            };
            let mark = records.mark();
            let message = &bytes[start..start + len];
            match forward::decode(message, now_ns(), max_plain, tag, records) {
                Ok(options) => chunks.extend(options.chunk),
                Err(error) => {
                    records.rollback(mark);
                    return (start, Err(error.into()));
                }
            }
            start += len;
        }
        (start, Ok(()))
    }

    /// The tag of the input, if one is configured, replaces the client's; a prefix goes before it.
    fn tag(&self, own: &str, tag: &str) -> String {
        if !self.tag_prefix.is_empty() {
            format!("{}{tag}", self.tag_prefix)
        } else if self.tag_is_set {
            own.to_owned()
        } else {
            tag.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::net::testing::{self, show, until};
    use super::*;

    fn input(pairs: &[(&str, &str)]) -> Result<Box<dyn Input>, String> {
        let settings = Settings::of("forward", pairs);
        build(&settings, &Environment::default()).map_err(|e| e.message)
    }

    #[test]
    fn a_chunk_is_acknowledged_only_when_it_is_delivered() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.sock");
        let path_text = path.to_str().expect("UTF-8");
        let pairs = [
            ("unix_path", path_text),
            ("tag_prefix", "p."),
            ("unix_perm", "0600"),
        ];
        let running = testing::start(input(&pairs).expect("valid"), "forward.0");
        let mut client = until(|| UnixStream::connect(&path).ok());
        let message = b"\x93\xa1t\x91\x92\x05\x81\xa1a\x01\x81\xa5chunk\xa2id";
        for byte in message {
            client.write_all(&[*byte]).expect("written");
        }
        let batch = until(|| running.captured.take_unacknowledged().pop());
        assert_eq!(show(&batch), [r#"p.t {"a":1}"#]);
        let short = Duration::from_millis(50);
        client.set_read_timeout(Some(short)).expect("set");
        let mut answer = [0; 8];
        assert!(client.read(&mut answer).is_err(), "nobody has the record");

        // The connection goes on; the next chunk is delivered.
        let mut other = UnixStream::connect(&path).expect("connected");
        other.write_all(message).expect("written");
        assert_eq!(running.records(1), [r#"p.t {"a":1}"#]);
        other.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"\x81\xa3ack\xa2id");

        // What is no message closes the connection, and what stood before it is kept.
        other
            .write_all(b"\x93\xa1t\x05\x81\xa1a\x02GET /")
            .expect("written");
        assert_eq!(running.records(1), [r#"p.t {"a":2}"#]);
        assert_eq!(other.read(&mut answer).expect("closed"), 0);
        drop(client);
        running.stop();
        until(|| (!path.exists()).then_some(())); // the socket is removed
    }

    #[test]
    fn a_configured_tag_replaces_the_clients() {
        let shared = |prefix: &str, tag_is_set| Shared {
            tag_prefix: prefix.to_owned(),
            tag_is_set,
            handshake: None,
            chunk_bytes: 1,
            max_bytes: 1,
            idle: None,
            resource: Arc::default(),
        };
        assert_eq!(shared("", false).tag("forward.0", "t"), "t");
        assert_eq!(shared("", true).tag("forward.0", "t"), "forward.0");
        assert_eq!(shared("", true).tag("mine", "t"), "mine");
        assert_eq!(shared("p.", true).tag("mine", "t"), "p.t");
    }

    #[test]
    fn mistakes_are_named() {
        for (pair, message) in [
            (
                ("port", "70000"),
                "'port' is 70000, but must be between 0 and 65535",
            ),
            (
                ("listen", "here"),
                "'listen' is 'here', but must be an IP address",
            ),
            (
                ("security.users", "a b"),
                "'security.users' needs 'shared_key' or 'empty_shared_key on'",
            ),
            (
                ("tls", "on"),
                "forward needs 'tls.crt_file', which is not set",
            ),
            (("unix_perm", "9"), ""),
        ] {
            let result = input(&[pair]).err();
            assert_eq!(result.as_deref().unwrap_or_default(), message);
        }
    }
}
