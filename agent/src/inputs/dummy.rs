//! `dummy`: makes records out of nothing, for tests and demonstrations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Position, RecordBatch, Resource,
    Settings, Source, SourceId,
};
use kansoku_parsers::line::{Parsed, Parser};

use super::ticker::random_source;
use crate::filters::parser::now_ns;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "dummy",
    about: "Makes records of a fixed text at a fixed rate.",
    options: &[
        OptionSpec::new(
            "dummy",
            OptionKind::Text,
            "{\"message\":\"dummy\"}",
            "the record, as a JSON object",
        ),
        OptionSpec::new("rate", OptionKind::Int, "1", "records per second"),
        OptionSpec::new(
            "interval_sec",
            OptionKind::Int,
            "0",
            "seconds between records, instead of rate",
        ),
        OptionSpec::new(
            "interval_nsec",
            OptionKind::Int,
            "0",
            "nanoseconds between records, on top of interval_sec",
        ),
        OptionSpec::new(
            "samples",
            OptionKind::Int,
            "0",
            "stop after so many records; 0 = never",
        ),
        OptionSpec::new("copies", OptionKind::Int, "1", "records each time"),
        OptionSpec::new(
            "start_time_sec",
            OptionKind::Int,
            "",
            "time of the first record in Unix seconds; default now",
        ),
        OptionSpec::new(
            "start_time_nsec",
            OptionKind::Int,
            "0",
            "nanoseconds of start_time_sec",
        ),
        OptionSpec::new(
            "fixed_timestamp",
            OptionKind::Bool,
            "off",
            "give every record the start time",
        ),
        OptionSpec::new(
            "metadata",
            OptionKind::Text,
            "{}",
            "metadata of each record, as a JSON object",
        ),
        OptionSpec::new(
            "flush_on_startup",
            OptionKind::Bool,
            "on",
            "no effect: the first record always comes at once",
        ),
    ],
    example: "[INPUT]\n    Name   dummy\n    Tag    demo\n    Dummy  {\"message\":\"hello\",\"level\":\"info\"}\n    Rate   10\n",
    build,
};

/// Records are made together at least this far apart, however high the rate.
const MIN_TICK: Duration = Duration::from_millis(10);
/// The most records of one batch.
const MAX_BATCH: u64 = 10_000;

struct Dummy {
    text: Vec<u8>,
    /// A JSON object that is not empty.
    metadata: Option<String>,
    parser: Parser,
    every: Duration,
    copies: u64,
    /// `None` = for ever.
    samples: Option<u64>,
    start_ns: Option<i64>,
    is_fixed: bool,
    resource: Arc<Resource>,
    source: SourceId,
    n_made: u64,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let refused = |key: &str, message: &str| {
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        ConfigError::new(place, message)
    };
    let json = Settings::of("PARSER", &[("name", "dummy"), ("format", "json")]);
    let parser = Parser::new(&json, &|_| None)?;
    let text = settings
        .text("dummy", "{\"message\":\"dummy\"}")
        .as_bytes()
        .to_vec();
    if !parser.parse(&text, 0, &mut Parsed::default()) {
        return Err(refused(
            "dummy",
            "'dummy' must be a JSON object such as {\"message\":\"dummy\"}",
        ));
    }
    let metadata = settings.text("metadata", "{}");
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(metadata) else {
        return Err(refused(
            "metadata",
            "'metadata' must be a JSON object such as {\"source\":\"test\"}",
        ));
    };
    let positive = |key: &str, default: i64, min: i64| {
        let value = settings.int(key, default)?;
        u64::try_from(value)
            .ok()
            .filter(|v| *v >= min as u64)
            .ok_or_else(|| refused(key, &format!("'{key}' must be at least {min}")))
    };
    let interval = Duration::from_secs(positive("interval_sec", 0, 0)?)
        + Duration::from_nanos(positive("interval_nsec", 0, 0)?);
    let rate = positive("rate", 1, 1)?;
    let start_s = settings
        .get("start_time_sec")
        .map(|_| settings.int("start_time_sec", 0))
        .transpose()?;
    let start_ns = start_s
        .map(|s| {
            Ok(s.saturating_mul(1_000_000_000)
                .saturating_add(settings.int("start_time_nsec", 0)?))
        })
        .transpose()?;
    let copies = positive("copies", 1, 1)?;
    if copies > MAX_BATCH {
        return Err(refused("copies", "'copies' must be at most 10000"));
    }
    let samples = positive("samples", 0, 0)?;
    Ok(Box::new(Dummy {
        text,
        metadata: (!object.is_empty()).then(|| metadata.trim().to_owned()),
        parser,
        every: if interval.is_zero() {
            Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX)
        } else {
            interval
        },
        copies,
        samples: (samples > 0).then_some(samples),
        start_ns,
        is_fixed: settings.bool("fixed_timestamp", false)?,
        resource: Arc::new(Resource::of_host(&environment.host_name)),
        source: random_source(),
        n_made: 0,
    }))
}

impl Input for Dummy {
    fn run(mut self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let started = Instant::now();
        let started_ns = now_ns();
        // The first record comes at once.
        let mut n_ticks = 0u64;
        loop {
            let n_due = (started.elapsed().as_nanos() / self.every.as_nanos().max(1)) as u64 + 1;
            let mut n = (n_due.saturating_sub(n_ticks)).min((MAX_BATCH / self.copies).max(1));
            if let Some(samples) = self.samples {
                n = n.min(samples - n_ticks);
            }
            if n > 0 {
                let first_ns = match self.start_ns {
                    Some(start) if self.is_fixed => start,
                    Some(start) => start.saturating_add(now_ns() - started_ns),
                    None if self.is_fixed => 0,
                    None => now_ns(),
                };
                let batch = self.batch(&link.tag, n, first_ns);
                if link.send(RecordBatch::Logs(batch), None).is_err() {
                    return Ok(());
                }
                n_ticks += n;
            }
            if self.samples.is_some_and(|samples| n_ticks >= samples) {
                // As in Fluent Bit the agent goes on running.
                let _ = link.stop.recv();
                return Ok(());
            }
            let next = self
                .every
                .saturating_mul(u32::try_from(n_ticks).unwrap_or(u32::MAX));
            let wait = next.saturating_sub(started.elapsed()).max(MIN_TICK);
            if link.stop.recv_timeout(wait) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    }
}

impl Dummy {
    /// `n` times the record with its copies. All of a batch have one time, as they are made at once.
    fn batch(&mut self, tag: &Arc<str>, n: u64, time_ns: i64) -> LogBatch {
        let mut batch = LogBatch::new(tag.clone(), self.resource.clone(), Vec::new());
        let line = batch.store(&self.text);
        let metadata = self.metadata.as_ref().map(|m| batch.store(m.as_bytes()));
        let mut parsed = Parsed::default();
        let fits = self.parser.parse(&self.text, time_ns, &mut parsed);
        debug_assert!(fits, "checked when built");
        let from = Position::at(self.n_made);
        for _ in 0..n * self.copies {
            self.n_made += 1;
            let row = batch.push(time_ns, Position::at(self.n_made));
            let written = parsed.write(&mut batch, row, line);
            debug_assert!(written, "one record's fields fit");
            if let Some(metadata) = metadata {
                batch.set_metadata(row, metadata);
            }
        }
        batch.source = Source {
            id: self.source,
            from,
            to: Position::at(self.n_made),
        };
        batch
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::json;

    use super::*;

    fn input(pairs: &[(&str, &str)]) -> Result<Box<dyn Input>, String> {
        build(&Settings::of("dummy", pairs), &Environment::default()).map_err(|e| e.message)
    }

    #[test]
    fn records_have_the_text_the_time_and_their_copies() {
        let input = input(&[
            ("dummy", r#"{"a":1,"b":{"c":[]}}"#),
            ("samples", "1"),
            ("copies", "3"),
            ("start_time_sec", "5"),
            ("start_time_nsec", "7"),
            ("fixed_timestamp", "on"),
            ("metadata", r#"{"m":1}"#),
        ]);
        let (link, mut captured) = Link::captured("t", Duration::from_secs(1));
        captured.stop();
        input.expect("valid").run(link).expect("no error");
        let batches = captured.take();
        let [batch] = &batches[..] else {
            panic!("one batch, got {}", batches.len())
        };
        let RecordBatch::Logs(batch) = &**batch else {
            panic!("logs")
        };
        assert_eq!(batch.times(), [5_000_000_007; 3]);
        assert_eq!(batch.source.to, Position::at(3));
        for row in 0..3 {
            assert_eq!(batch.metadata(row), Some(&br#"{"m":1}"#[..]));
            let mut out = Vec::new();
            json::write_fields(&mut out, batch, row, true);
            assert_eq!(String::from_utf8_lossy(&out), r#""a":1,"b":{"c":[]}"#);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (pairs, message) in [
            (
                ("dummy", "hello"),
                "'dummy' must be a JSON object such as {\"message\":\"dummy\"}",
            ),
            (("rate", "0"), "'rate' must be at least 1"),
            (("copies", "-1"), "'copies' must be at least 1"),
            (("copies", "10001"), "'copies' must be at most 10000"),
            (
                ("metadata", "[1]"),
                "'metadata' must be a JSON object such as {\"source\":\"test\"}",
            ),
        ] {
            assert_eq!(input(&[pairs]).err().as_deref(), Some(message));
        }
    }
}
