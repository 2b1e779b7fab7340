//! `forward`: ships records to Fluentd, Fluent Bit or another kansoku-agent over the forward protocol.
//!
//! With `require_ack_response` a record counts as delivered when the server has said so, and a
//! repeat carries the same chunk id; without it, when the operating system took its bytes. Messages
//! of a request are sent one after the other, and their acknowledgements are read together.

pub mod answer;
pub(crate) mod handshake;
pub(crate) mod message;

use std::io::{self, Error, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};

use kansoku_model::{
    ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined, plugin::parse_bool,
};

use crate::accessor::Template;
use crate::net;
use crate::socket::{Connection, Dialer};
use crate::tcp::logs;
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture};
use answer::{Item, Unread};
use handshake::{Handshake, Login};
use message::{Message, Style};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "tag",
        OptionKind::Text,
        "",
        "tag to send under, with record accessors such as $kubernetes['namespace_name']; the record's own when not set",
    ),
    OptionSpec::new(
        "time_as_integer",
        OptionKind::Bool,
        "off",
        "send whole seconds, for Fluentd 0.12 and older",
    ),
    OptionSpec::new(
        "retain_metadata_in_forward_mode",
        OptionKind::Bool,
        "on",
        "send [[time, {}], record] as Fluent Bit 2.1 and newer do; off sends [time, record]",
    ),
    OptionSpec::new(
        "require_ack_response",
        OptionKind::Bool,
        "off",
        "wait until the server says that it has the records",
    ),
    OptionSpec::new(
        "send_options",
        OptionKind::Bool,
        "off",
        "send the number of records too",
    ),
    OptionSpec::new(
        "add_option",
        OptionKind::Pair,
        "",
        "KEY VALUE to send among the options",
    )
    .repeated(),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["text", "gzip"]),
        "text",
        "compress the records",
    ),
    OptionSpec::new(
        "shared_key",
        OptionKind::Text,
        "",
        "key that both sides prove to know",
    ),
    OptionSpec::new(
        "empty_shared_key",
        OptionKind::Bool,
        "off",
        "log in with an empty key, for a server that checks only the user",
    ),
    OptionSpec::new(
        "self_hostname",
        OptionKind::Text,
        "localhost",
        "own name in the log-in",
    ),
    OptionSpec::new("username", OptionKind::Text, "", "user of the log-in"),
    OptionSpec::new("password", OptionKind::Text, "", "password of the log-in"),
    OptionSpec::new(
        "unix_path",
        OptionKind::Text,
        "",
        "Unix socket to send to instead of a host",
    ),
    OptionSpec::new(
        "upstream",
        OptionKind::Text,
        "",
        "upstream file whose nodes take turns",
    ),
    OptionSpec::new(
        "fluentd_compat",
        OptionKind::Bool,
        "off",
        "no effect: it concerns metrics and traces, which this output leaves to others",
    ),
];
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "forward",
    about: "Ships records over Fluentd's forward protocol.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name                  forward\n    Match                 *\n    Host                  fluentd.logging\n    Port                  24224\n    Require_ack_response  on\n",
    build,
};

/// Messages sent before their acknowledgements are read: few enough that neither side can be stuck
/// on a full socket.
const WINDOW: usize = 64;

struct Node {
    dialer: Dialer,
    style: Style,
    login: Option<Login>,
}

/// Why a node did not get all messages.
struct Failure {
    error: Error,
    /// The first messages that are safe there.
    n_acknowledged: usize,
    /// Whether it may have more than that.
    may_have_some: bool,
}

struct Forward {
    nodes: Vec<Node>,
    /// The node whose turn it is.
    turn: AtomicUsize,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    if let Some(s) = settings.get("fluentd_compat")
        && parse_bool(&s.value) == Some(true)
    {
        let message =
            "'fluentd_compat' changes metrics and traces only, which this output does not send";
        environment.warn(&s.place, message);
    }
    let nodes = match settings.get("upstream") {
        None => vec![Node::build(settings, environment)?],
        Some(s) => {
            let upstream = environment.upstreams.get(&s.value).ok_or_else(|| {
                ConfigError::new(&s.place, format!("no upstream file '{}' was read", s.value))
            })?;
            let nodes = upstream.nodes.iter();
            let nodes = nodes.map(|node| Node::build(&over(node, settings), environment));
            nodes.collect::<Result<Vec<_>, _>>()?
        }
    };
    if nodes.is_empty() {
        return Err(ConfigError::new(
            &settings.place,
            "the upstream has no node",
        ));
    }
    Ok(Box::new(Forward {
        nodes,
        turn: AtomicUsize::new(0),
    }))
}

/// The settings of a node, and the output's where the node has none.
fn over(node: &Settings, all: &Settings) -> Settings {
    let mut merged = node.clone();
    let missing = all.settings.iter();
    let missing = missing.filter(|s| node.get(&s.key).is_none() && s.key != "upstream");
    merged.settings.extend(missing.cloned());
    merged
}

impl Node {
    fn build(settings: &Settings, environment: &OutputEnvironment) -> Result<Self, ConfigError> {
        let style = style(settings)?;
        Ok(Self {
            dialer: match settings.get("unix_path") {
                Some(s) => Dialer::unix(settings, &s.value)?,
                None => Dialer::build(settings, environment, 24224)?,
            },
            style,
            login: login(settings)?,
        })
    }

    /// Sends the messages.
    async fn deliver(&self, messages: &[Message]) -> Result<(), Failure> {
        let mut acknowledged = 0;
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => {
                return Err(Failure {
                    error,
                    n_acknowledged: 0,
                    may_have_some: false,
                });
            }
        };
        for window in messages.chunks(WINDOW) {
            match exchange(&mut connection, window).await {
                (n, None) => acknowledged += n,
                (n, Some(error)) => {
                    return Err(Failure {
                        error,
                        n_acknowledged: acknowledged + n,
                        may_have_some: true,
                    });
                }
            }
        }
        self.dialer.keep(connection);
        Ok(())
    }

    async fn connection(&self) -> io::Result<Connection> {
        let mut connection = self.dialer.connection().await?;
        if let (Some(login), true) = (&self.login, connection.is_new()) {
            let refused = |message| Error::new(ErrorKind::PermissionDenied, message);
            let mut buffer = Vec::new();
            let n = answer(&mut connection, &mut buffer).await?;
            let (helo, _) = Item::read(&buffer).map_err(|_| bad_answer())?;
            let (handshake, ping) = Handshake::begin(login, &helo).map_err(refused)?;
            buffer.drain(..n);
            connection.write(&ping).await?;
            answer(&mut connection, &mut buffer).await?;
            let (pong, _) = Item::read(&buffer).map_err(|_| bad_answer())?;
            handshake.finish(&pong).map_err(refused)?;
        }
        Ok(connection)
    }
}

fn style(settings: &Settings) -> Result<Style, ConfigError> {
    let tag = match settings.get("tag") {
        None => None,
        Some(s) => Some(Template::new(&s.value).map_err(|e| ConfigError::new(&s.place, e))?),
    };
    let extra = settings.all("add_option").filter_map(|s| {
        let (key, value) = s.value.split_once(char::is_whitespace)?;
        Some((key.to_owned(), value.trim().to_owned()))
    });
    let extra: Vec<_> = extra.collect();
    let with_chunk = settings.bool("require_ack_response", false)?;
    let time_as_integer = settings.bool("time_as_integer", false)?;
    let compress = settings.get("compress");
    let gzip = compress.is_some_and(|s| s.value.eq_ignore_ascii_case("gzip"));
    if let Some(s) = compress.filter(|_| gzip) {
        let dynamic = tag.as_ref().is_some_and(|t| !t.is_static());
        let other = match (time_as_integer, dynamic) {
            (true, _) => "'time_as_integer'",
            (_, true) => "a 'tag' made of record fields",
            _ => "",
        };
        if !other.is_empty() {
            let message = format!("'compress gzip' and {other} exclude each other; remove one");
            return Err(ConfigError::new(&s.place, message));
        }
    }
    Ok(Style {
        tag,
        time_as_integer,
        retain_metadata: settings.bool("retain_metadata_in_forward_mode", true)?,
        gzip,
        with_options: settings.bool("send_options", false)?
            || with_chunk
            || gzip
            || !extra.is_empty(),
        with_chunk,
        extra,
    })
}

fn login(settings: &Settings) -> Result<Option<Login>, ConfigError> {
    let key = match (
        settings.bool("empty_shared_key", false)?,
        settings.get("shared_key"),
    ) {
        (true, _) => Some(""),
        (false, key) => key.map(|s| s.value.as_str()),
    };
    let Some(key) = key else {
        let unused = settings.get("username").or(settings.get("password"));
        return match unused {
            None => Ok(None),
            Some(s) => Err(ConfigError::new(
                &s.place,
                format!(
                    "'{}' needs 'shared_key' or 'empty_shared_key on' too",
                    s.key
                ),
            )),
        };
    };
    Ok(Some(Login {
        shared_key: key.to_owned(),
        self_hostname: settings.text("self_hostname", "localhost").to_owned(),
        username: settings.text("username", "").to_owned(),
        password: settings.text("password", "").to_owned(),
    }))
}

fn bad_answer() -> Error {
    Error::new(ErrorKind::InvalidData, "the answer is no forward protocol")
}

/// Reads until `buffer` starts with a whole value, and gives its length.
async fn answer(connection: &mut Connection, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match Item::read(buffer) {
            Ok((_, n)) => return Ok(n),
            Err(Unread::Bad) => return Err(bad_answer()),
            Err(Unread::Short) => connection.read(buffer).await?,
        }
    }
}

/// Sends messages and reads their acknowledgements, in whatever order they come. Gives how many of
/// the first messages are done.
async fn exchange(connection: &mut Connection, messages: &[Message]) -> (usize, Option<Error>) {
    let mut open: Vec<Option<&str>> = messages.iter().map(|m| m.chunk.as_deref()).collect();
    let done = async {
        for message in messages {
            connection.write(&message.bytes).await?;
        }
        let mut buffer = Vec::new();
        while open.iter().any(Option::is_some) {
            let n = answer(connection, &mut buffer).await?;
            let (item, _) = Item::read(&buffer).map_err(|_| bad_answer())?;
            let ack = item.get("ack").ok_or_else(bad_answer)?.bytes().to_vec();
            let of = open
                .iter_mut()
                .find(|c| c.is_some_and(|c| c.as_bytes() == ack));
            *of.ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidData,
                    "the server acknowledges what nobody sent",
                )
            })? = None;
            buffer.drain(..n);
        }
        Ok(())
    };
    match done.await {
        Ok(()) => (messages.len(), None),
        // Without acknowledgements nothing is known of what was written before the error.
        Err(e) if messages.iter().any(|m| m.chunk.is_none()) => (0, Some(e)),
        Err(e) => (open.iter().take_while(|c| c.is_none()).count(), Some(e)),
    }
}

impl Forward {
    async fn deliver(&self, request: Request<'_>) -> Outcome {
        let batches: Vec<_> = logs(&request).collect();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut reasons = Vec::new();
        for at in 0..self.nodes.len() {
            let node = &self.nodes[(first + at) % self.nodes.len()];
            let messages = node.style.messages(&batches, request.id);
            let Err(failure) = node.deliver(&messages).await else {
                return Outcome::Delivered;
            };
            reasons.push(format!("{}: {}", node.dialer.name(), failure.error));
            // What one node has must not go to another.
            let last = failure.n_acknowledged.checked_sub(1);
            let n_batches = last.map_or(0, |last| messages[last].n_batches);
            if n_batches > 0 {
                return partial(&request, n_batches, reasons.join("; "));
            }
            // The next node gets it only when this one surely has nothing.
            if failure.may_have_some {
                break;
            }
        }
        Outcome::Retry {
            reason: reasons.join("; "),
            after: None,
        }
    }
}

/// All records after the first `n_batches` batches have to be sent again.
fn partial(request: &Request<'_>, n_batches: usize, reason: String) -> Outcome {
    let rest = request.batches.iter().enumerate().skip(n_batches);
    let retry = rest.flat_map(|(at, batch)| {
        (0..batch.n_records()).map(move |row| RecordRef {
            batch: at as u32,
            row: row as u32,
        })
    });
    Outcome::Partial {
        retry: retry.collect(),
        rejected: Vec::new(),
        reason,
        after: None,
    }
}

impl Output for Forward {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(self.deliver(request))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests;
