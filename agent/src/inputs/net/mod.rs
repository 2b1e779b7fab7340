//! What all inputs that listen share: sockets, TLS, bounds, and the way into the pipeline.
//!
//! A network input has two threads: its own, which filters and hands on (a [`Link`] blocks), and one
//! with a small tokio runtime that holds all its connections and reads records. Between them stand a
//! few batches. The rule: a client is told "done" only when every output has its records, or they
//! are safely spilled; while there is no room nothing more is read.

pub mod bearer;
pub mod datagram;
pub mod form;
pub mod http;
pub mod listen;
pub mod pipe;
pub mod stream;
pub mod tag_key;
pub mod tls;

use std::sync::Arc;

use kansoku_model::{ConfigError, MetricBatch, Position, RecordBatch, Resource, Settings, Source};
use kansoku_parsers::line::Parser;
use kansoku_parsers::wire::records::Stream;

use super::ticker::random_source;
use crate::plugin::Environment;

pub use pipe::{Net, run};

/// Records of a peer that nobody has seen before.
pub fn new_stream() -> Stream {
    Stream::new(random_source())
}

/// Gives a batch of metrics its place in the stream.
pub fn stamp(mut batch: MetricBatch, stream: &mut Stream) -> RecordBatch {
    let from = Position::at(stream.n);
    stream.n += 1;
    batch.source = Source {
        id: stream.id,
        from,
        to: Position::at(stream.n),
    };
    RecordBatch::Metrics(batch)
}

/// What is equal for all records that a listener takes.
pub fn resource(environment: &Environment) -> Arc<Resource> {
    Arc::new(Resource::of_host(&environment.host_name))
}

/// Everything but ASCII letters, digits, `_` and `.` becomes `_`, as in Fluent Bit.
pub fn clean_tag(text: &str) -> String {
    let clean = |c: u8| match c {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => char::from(c),
        _ => '_',
    };
    text.bytes().map(clean).collect()
}

/// A parser of JSON objects that reads no time.
pub fn json_parser() -> Parser {
    let settings = Settings::of("PARSER", &[("name", "json"), ("format", "json")]);
    Parser::new(&settings, &|_| None).expect("a constant section is valid")
}

/// A whole number between two bounds.
///
/// # Errors
/// When it lies outside.
pub fn int_within(
    settings: &Settings,
    key: &str,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<i64, ConfigError> {
    let value = settings.int(key, default)?;
    if range.contains(&value) {
        return Ok(value);
    }
    let place = settings.get(key).map_or(&settings.place, |s| &s.place);
    Err(ConfigError::new(
        place,
        format!(
            "'{key}' is {value}, but must be between {} and {}",
            range.start(),
            range.end()
        ),
    ))
}

/// A size between 1 byte and [`MAX_BUFFER_BYTES`].
///
/// # Errors
/// When it lies outside.
pub fn buffer_size(settings: &Settings, key: &str, default: u64) -> Result<usize, ConfigError> {
    let size = settings.size(key, default)?;
    if (1..=MAX_BUFFER_BYTES).contains(&size) {
        return Ok(size as usize);
    }
    let place = settings.get(key).map_or(&settings.place, |s| &s.place);
    Err(ConfigError::new(
        place,
        format!("'{key}' must be between 1 and 256MiB"),
    ))
}

/// The most that one connection may buffer, whatever is configured.
pub const MAX_BUFFER_BYTES: u64 = 256 << 20;
/// A compressed request may grow to so many times the size that is allowed for it on the wire.
pub const MAX_GROWTH: usize = 16;

/// An input that runs beside a test, and what it sent.
#[cfg(test)]
pub mod testing {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use kansoku_model::{RecordBatch, json};

    use crate::pipeline::{Captured, Link};
    use crate::plugin::Input;

    /// Longer than anything takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A running input.
    pub struct Running {
        pub captured: Captured,
        thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
    }

    /// Starts an input under a tag.
    pub fn start(input: Box<dyn Input>, tag: &str) -> Running {
        let (link, captured) = Link::captured(tag, Duration::from_millis(5));
        let thread = std::thread::spawn(move || input.run(link));
        Running {
            captured,
            thread: Some(thread),
        }
    }

    /// Tries until it works.
    pub fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = attempt() {
                return done;
            }
            assert!(Instant::now() < end, "it took too long");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    impl Running {
        /// Waits for `n` records: their tags and fields; acknowledges them.
        pub fn records(&self, n: usize) -> Vec<String> {
            let mut found = Vec::new();
            until(|| {
                for batch in self.captured.take() {
                    found.extend(show(&batch));
                }
                (found.len() >= n).then_some(())
            });
            found
        }

        /// Stops it and waits for its end; what was not taken yet.
        pub fn stop(mut self) -> Vec<Arc<RecordBatch>> {
            self.captured.stop();
            let thread = self.thread.take().expect("stopped once");
            thread.join().expect("no panic").expect("no error");
            self.captured.take()
        }
    }

    /// Each record as `tag {fields}`.
    pub fn show(batch: &RecordBatch) -> Vec<String> {
        let RecordBatch::Logs(batch) = batch else {
            panic!("logs")
        };
        let row = |row| {
            let mut text = Vec::new();
            json::write_fields(&mut text, batch, row, true);
            format!("{} {{{}}}", batch.tag, String::from_utf8_lossy(&text))
        };
        (0..batch.len()).map(row).collect()
    }
}
