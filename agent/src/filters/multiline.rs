//! `multiline`: joins the records of a stream that are one, as Fluent Bit's filter of that name.
//!
//! Fluent Bit sends joined records through an input of its own, with a buffer that drops; here they
//! go on behind this filter under the acknowledgement of the lines they are made of. A stream is a
//! source under a tag, so that two files with one tag are not mixed. What is pending waits
//! `flush_ms` for its next line; Fluent Bit flushes by the clock, also what has just begun.

mod partial;
mod pending;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, SourceId,
};
use kansoku_parsers::line::multiline::Joiner;

use crate::config::find_multiline;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};
use stream::StreamState;

const NO_EMITTER: &str =
    "accepted for compatibility, without effect: records stay in the pipeline, nothing is buffered";
/// The field of multiline parsers that name none.
const DEFAULT_KEY: &str = "log";
/// Streams that are known at a time; beyond it everything pending is sent on.
const MAX_STREAMS: usize = 8192;
/// A stream without anything pending is forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "multiline",
    about: "Joins records that belong together: stack traces, lines that a runtime split.",
    options: &[
        OptionSpec::new(
            "multiline.parser",
            OptionKind::List,
            "",
            "names of multiline parsers, tried in order: built-in (docker, cri, java, go, python, ruby) or from a parsers file",
        )
        .repeated(),
        OptionSpec::new(
            "multiline.key_content",
            OptionKind::Text,
            "",
            "field that holds the text; else the multiline parser's own, else log",
        ),
        OptionSpec::new(
            "mode",
            OptionKind::Choice(&["parser", "partial_message"]),
            "parser",
            "by multiline parsers, or by the partial_* fields that docker's fluentd driver sets",
        ),
        OptionSpec::new(
            "buffer",
            OptionKind::Bool,
            "on",
            "records may go on in the next batch; off joins within a batch only",
        ),
        OptionSpec::new(
            "flush_ms",
            OptionKind::Int,
            "2000",
            "milliseconds until an unfinished record goes on without its rest",
        ),
        OptionSpec::new("emitter_name", OptionKind::Text, "", NO_EMITTER),
        OptionSpec::new("emitter_storage.type", OptionKind::Text, "", NO_EMITTER),
        OptionSpec::new("emitter_mem_buf_limit", OptionKind::Size, "", NO_EMITTER),
        OptionSpec::new(
            "debug_flush",
            OptionKind::Bool,
            "off",
            "accepted for compatibility, without effect: filter stdout shows records",
        ),
    ],
    example: "[FILTER]\n    Name                  multiline\n    Match                 kube.*\n    multiline.parser      java, python\n    multiline.key_content log\n",
    build,
};

/// How records are joined.
enum Mode {
    Parsers(Joiner),
    Partial { key: String, limit_bytes: usize },
}

type Streams = HashMap<(Arc<str>, SourceId), StreamState>;

struct Multiline {
    mode: Mode,
    buffer: bool,
    flush_after: Duration,
    /// Part of the derived sources' names: two of these filters in a row make two sources.
    name: String,
    /// Held while one batch is joined, and by the flush.
    streams: Mutex<Streams>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let key = settings.get("multiline.key_content");
    let limit_bytes = environment.multiline_limit_bytes;
    let buffer = settings.bool("buffer", true)?;
    let mode = if settings
        .text("mode", "parser")
        .eq_ignore_ascii_case("parser")
    {
        Mode::Parsers(joiner(settings, environment)?)
    } else {
        let Some(key) = key else {
            let message = "'mode partial_message' needs 'multiline.key_content', the field to join";
            return Err(ConfigError::new(&settings.place, message));
        };
        if !buffer {
            let message = "'mode partial_message' needs 'buffer on'";
            return Err(ConfigError::new(&settings.place, message));
        }
        Mode::Partial {
            key: key.value.clone(),
            limit_bytes,
        }
    };
    let flush_ms = settings.int("flush_ms", 2000)?;
    let names: Vec<&str> = settings.list("multiline.parser");
    Ok(Box::new(Multiline {
        mode,
        buffer,
        flush_after: Duration::from_millis(u64::try_from(flush_ms).unwrap_or(0)),
        name: format!("multiline {}", names.join(",")),
        streams: Mutex::default(),
    }))
}

fn joiner(settings: &Settings, environment: &Environment) -> Result<Joiner, ConfigError> {
    let mut parsers = Vec::new();
    for setting in settings.all("multiline.parser") {
        for name in setting.value.split(',').map(str::trim) {
            let found = find_multiline(environment, name, &setting.place)?;
            let key = settings.get("multiline.key_content");
            parsers.push(match (key, found.key_content()) {
                (Some(key), _) => Arc::new(found.for_key(&key.value)),
                (None, Some(_)) => found,
                (None, None) => {
                    let message = format!(
                        "'multiline.key_content' is not set and '{name}' has no key_content: joins the field '{DEFAULT_KEY}'"
                    );
                    environment.warn(&setting.place, message);
                    Arc::new(found.for_key(DEFAULT_KEY))
                }
            });
        }
    }
    if parsers.is_empty() {
        settings.required("multiline.parser")?;
    }
    Ok(Joiner::new(parsers, environment.multiline_limit_bytes))
}

impl Multiline {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_streams(&self, streams: &mut Streams, all: bool, context: &mut FilterContext) {
        let now = Instant::now();
        streams.retain(|_, stream| {
            let until = if all {
                Some(now)
            } else {
                now.checked_sub(self.flush_after)
            };
            if let Some(until) = until
                && let Some((batch, holds)) = stream.flush(until)
            {
                context.emit(RecordBatch::Logs(batch), false, holds);
            }
            !stream.is_idle(now, FORGET_AFTER)
        });
    }
}

impl Filter for Multiline {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        let mut streams = self.streams();
        let key = (batch.tag.clone(), batch.source.id);
        if streams.len() >= MAX_STREAMS && !streams.contains_key(&key) {
            self.flush_streams(&mut streams, true, context);
            streams.clear();
        }
        let source = context.derived(batch.source.id, &self.name);
        let new = || StreamState::new(batch, source);
        let stream = streams.entry(key).or_insert_with(new);
        let mut left = LogBatch::new(batch.tag.clone(), batch.resource.clone(), Vec::new());
        left.source = batch.source;
        let taken = std::mem::replace(batch, left);
        let now = Instant::now();
        match &self.mode {
            Mode::Parsers(joiner) => stream.join(joiner, taken, now),
            Mode::Partial { key, limit_bytes } => stream.join_parts(key, *limit_bytes, taken, now),
        }
        if self.buffer {
            stream.hold(|| context.hold());
        } else {
            stream.finish_until(now);
        }
        if let Some((joined, holds)) = stream.send() {
            context.emit(RecordBatch::Logs(joined), false, holds);
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        self.buffer.then(|| self.flush_after / 4)
    }

    fn flush(&self, all: bool, context: &mut FilterContext) {
        self.flush_streams(&mut self.streams(), all, context);
    }
}
