//! `tcp`: writes records to a TCP or TLS stream.
//!
//! The protocol has no answer: a record counts as delivered once the operating system took its
//! bytes. Before a kept connection is used again it is looked at, so that what the other side closed
//! between two requests costs nothing (Fluent Bit loses the next chunk then).

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined,
};

use crate::accessor::Template;
use crate::net;
use crate::render::{DATE_KEY, FORMATS, Format, Layout, date_format_option};
use crate::socket::Dialer;
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

/// The options of [`Payload`]; `udp` has another default for `format`.
pub(crate) const fn payload_options(format: &'static str) -> [OptionSpec; 4] {
    [
        OptionSpec::new(
            "format",
            OptionKind::Choice(FORMATS),
            format,
            "form of the records",
        ),
        DATE_KEY,
        date_format_option("double"),
        OptionSpec::new(
            "raw_message_key",
            OptionKind::Text,
            "",
            "accessor of a field that is sent alone, a line a record; records without it are left out",
        ),
    ]
}

const OWN: &[OptionSpec] = &payload_options("msgpack");
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "tcp",
    about: "Writes records to a TCP or TLS stream.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name    tcp\n    Match   *\n    Host    logs.example.org\n    Port    5170\n    Format  json_lines\n",
    build,
};

/// How records become bytes; `udp` shares it.
pub(crate) struct Payload {
    format: Format,
    raw_message_key: Option<Template>,
}

impl Payload {
    /// Reads `format`, `json_date_*` and `raw_message_key`.
    pub(crate) fn of(
        settings: &Settings,
        environment: &OutputEnvironment,
        default: &str,
    ) -> Result<Self, ConfigError> {
        let layout = match settings
            .text("format", default)
            .to_ascii_lowercase()
            .as_str()
        {
            "json" => Layout::Json,
            "json_lines" => Layout::Lines,
            "json_stream" => Layout::Stream,
            _ => Layout::Msgpack,
        };
        let raw_message_key = match settings.get("raw_message_key") {
            None => None,
            Some(s) => Some(Template::new(&s.value).map_err(|e| ConfigError::new(&s.place, e))?),
        };
        Ok(Self {
            format: Format::of(settings, layout)?.with(environment.unicode),
            raw_message_key,
        })
    }

    /// Whether each record is a line of its own.
    pub(crate) fn is_lines(&self) -> bool {
        self.raw_message_key.is_some() || self.format.layout == Layout::Lines
    }

    /// Appends all records of a batch.
    pub(crate) fn write(&self, out: &mut Vec<u8>, batch: &LogBatch) {
        let Some(key) = &self.raw_message_key else {
            return self.format.write_batches(out, [batch]);
        };
        let reading = key.over(batch);
        for row in 0..batch.len() {
            let start = out.len();
            if reading.write(out, row) || out.len() > start {
                out.push(b'\n');
            }
        }
    }
}

struct Tcp {
    dialer: Dialer,
    payload: Payload,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Tcp {
        dialer: Dialer::build(settings, environment, 5170)?,
        payload: Payload::of(settings, environment, "msgpack")?,
    }))
}

/// The log batches of a request.
pub(crate) fn logs<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a LogBatch> {
    request.batches.iter().filter_map(|batch| match &**batch {
        RecordBatch::Logs(batch) => Some(batch),
        RecordBatch::Metrics(_) => None,
    })
}

/// Writes bytes to a stream that gives no answer.
pub(crate) async fn write_once(dialer: &Dialer, bytes: &[u8]) -> Outcome {
    let written = async {
        let mut connection = dialer.connection().await?;
        connection.write(bytes).await?;
        dialer.keep(connection);
        Ok::<(), std::io::Error>(())
    };
    match written.await {
        Ok(()) => Outcome::Delivered,
        Err(e) => Outcome::Retry {
            reason: format!("{}: {e}", dialer.name()),
            after: None,
        },
    }
}

impl Output for Tcp {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            // A JSON array or an event stream per batch, as Fluent Bit writes one per chunk.
            logs(&request).for_each(|batch| self.payload.write(&mut bytes, batch));
            write_once(&self.dialer, &bytes).await
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}
