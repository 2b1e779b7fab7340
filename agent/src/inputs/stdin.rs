//! `stdin`: records from standard input, a line each. Its end ends the input, and the agent once
//! everything is delivered.
//!
//! Without a parser a line that is a JSON object, or `[time, object]`, gives its fields; any other
//! line is kept as text in `log`, where Fluent Bit drops it.

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Position, RecordBatch, Resource,
    Settings, Slice, Source, SourceId,
};
use kansoku_parsers::line::{Parsed, Parser};

use super::ticker::random_source;
use crate::config::find_parser;
use crate::filters::parser::now_ns;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "stdin",
    about: "Reads records from standard input, a line each.",
    options: &[
        OptionSpec::new(
            "parser",
            OptionKind::Text,
            "",
            "parser for each line; default JSON, else text in log",
        ),
        OptionSpec::new(
            "buffer_size",
            OptionKind::Size,
            "1MiB",
            "a longer line becomes several records",
        ),
    ],
    example: "[INPUT]\n    Name   stdin\n    Tag    stdin\n",
    build,
};

/// What one read takes at the most.
const READ_BYTES: usize = 64 << 10;
/// Reads that may wait for the input's thread; more would only use memory.
const MAX_WAITING_READS: usize = 4;
/// A batch is sent when it has grown this large.
const BATCH_BYTES: usize = 256 << 10;
/// The largest `buffer_size`: a batch must stay well below the largest frame.
const MAX_LINE_BYTES: u64 = 64 << 20;

struct Stdin {
    parser: Option<Arc<Parser>>,
    json: Parser,
    max_line_bytes: usize,
    resource: Arc<Resource>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let size = settings.size("buffer_size", 1 << 20)?;
    if !(1..=MAX_LINE_BYTES).contains(&size) {
        let place = settings
            .get("buffer_size")
            .map_or(&settings.place, |s| &s.place);
        return Err(ConfigError::new(
            place,
            "'buffer_size' must be between 1 and 64MiB",
        ));
    }
    let json = Settings::of("PARSER", &[("name", "json"), ("format", "json")]);
    Ok(Box::new(Stdin {
        parser: settings
            .get("parser")
            .map(|s| find_parser(environment, s))
            .transpose()?,
        json: Parser::new(&json, &|_| None)?,
        max_line_bytes: size as usize,
        resource: Arc::new(Resource::of_host(&environment.host_name)),
    }))
}

impl Input for Stdin {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let (sender, reads) = bounded(MAX_WAITING_READS);
        // A read cannot be interrupted, so it has a thread that may be left behind at the end.
        std::thread::Builder::new()
            .name("stdin-reader".into())
            .spawn(move || {
                let mut stdin = std::io::stdin().lock();
                loop {
                    let mut chunk = vec![0; READ_BYTES];
                    let read = stdin.read(&mut chunk);
                    let is_end = !matches!(read, Ok(n) if n > 0);
                    chunk.truncate(*read.as_ref().unwrap_or(&0));
                    if sender.send(read.map(|_| chunk)).is_err() || is_end {
                        return;
                    }
                }
            })?;
        self.pump(&link, &reads)
    }
}

impl Stdin {
    /// Collects reads into batches until the end, an error, or a stop.
    fn pump(&self, link: &Link, reads: &Receiver<std::io::Result<Vec<u8>>>) -> anyhow::Result<()> {
        let mut cutter = Cutter::new(self, link);
        let mut deadline: Option<Instant> = None;
        loop {
            let wait = deadline.map_or(link.flush, |at| {
                at.saturating_duration_since(Instant::now())
            });
            let read = crossbeam_channel::select! {
                recv(reads) -> read => read.map_err(|_| RecvTimeoutError::Disconnected),
                recv(link.stop) -> _ => Err(RecvTimeoutError::Disconnected),
                default(wait) => Err(RecvTimeoutError::Timeout),
            };
            match read {
                Ok(Ok(chunk)) if !chunk.is_empty() => {
                    cutter.pending.extend_from_slice(&chunk);
                    deadline.get_or_insert_with(|| Instant::now() + link.flush);
                    if cutter.pending.len() < BATCH_BYTES {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Err(error)) => {
                    cutter.send(true)?;
                    return Err(anyhow::Error::new(error).context("failed to read standard input"));
                }
                Ok(Ok(_)) | Err(RecvTimeoutError::Disconnected) => return cutter.send(true),
            }
            deadline = None;
            cutter.send(false)?;
        }
    }

    /// Reads one line into record `row`.
    fn parse(&self, batch: &mut LogBatch, row: usize, line: Slice, parsed: &mut Parsed) {
        let now_ns = batch.times()[row];
        let bytes = batch.bytes(line);
        let (fits, body, time_ns) = match &self.parser {
            Some(parser) => (parser.parse(bytes, now_ns, parsed), line, None),
            None => {
                let (start, end, time_ns) = event(bytes).unwrap_or((0, bytes.len(), None));
                (
                    self.json.parse(&bytes[start..end], now_ns, parsed),
                    line.sub(start, end),
                    time_ns,
                )
            }
        };
        if !fits || !parsed.write(batch, row, body) {
            let column = batch.column_index_or_insert("log");
            batch.set(column, row, kansoku_model::Value::Text(line));
            return;
        }
        if let Some(time_ns) = time_ns.or(parsed.time_ns) {
            batch.set_time(row, time_ns);
        }
    }
}

/// One line as a batch.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_line(line: &[u8]) -> LogBatch {
    let stdin = Stdin {
        parser: None,
        json: super::net::json_parser(),
        max_line_bytes: line.len(),
        resource: Arc::default(),
    };
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    let slice = batch.store(line);
    let row = batch.push(0, Position::at(1));
    stdin.parse(&mut batch, row, slice, &mut Parsed::default());
    batch.source.to = Position::at(1);
    batch
}

/// Where the object of `[time, object]` lies, and the time.
fn event(line: &[u8]) -> Option<(usize, usize, Option<i64>)> {
    let text = line.trim_ascii();
    let inside = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let comma = memchr::memchr(b',', inside)?;
    let seconds: f64 = std::str::from_utf8(&inside[..comma])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let start = line.len() - line.trim_ascii_start().len() + 1 + comma + 1;
    let end = start + inside.len() - comma - 1;
    let time_ns = (seconds.is_finite() && seconds.abs() < 9e9).then_some((seconds * 1e9) as i64);
    Some((start, end, time_ns))
}

/// Cuts what was read into lines, and lines into batches.
struct Cutter<'a> {
    stdin: &'a Stdin,
    link: &'a Link,
    /// Read and not sent.
    pending: Vec<u8>,
    source: SourceId,
    /// Bytes sent.
    offset: u64,
    parsed: Parsed,
}

impl<'a> Cutter<'a> {
    fn new(stdin: &'a Stdin, link: &'a Link) -> Self {
        Self {
            stdin,
            link,
            pending: Vec::new(),
            source: random_source(),
            offset: 0,
            parsed: Parsed::default(),
        }
    }

    /// Sends all whole lines, and with `is_end` what is left, too.
    fn send(&mut self, is_end: bool) -> anyhow::Result<()> {
        let max = self.stdin.max_line_bytes;
        let mut ends = Vec::new();
        let mut start = 0;
        while start < self.pending.len() {
            let rest = &self.pending[start..];
            let end = match memchr::memchr(b'\n', &rest[..rest.len().min(max + 1)]) {
                Some(at) => start + at + 1,
                None if rest.len() > max => start + max,
                None if is_end => self.pending.len(),
                None => break,
            };
            ends.push(end);
            start = end;
        }
        if ends.is_empty() {
            return Ok(());
        }
        let rest = self.pending.split_off(start);
        let arena = std::mem::replace(&mut self.pending, rest);
        let batch = self.batch(arena, &ends);
        // A stop while waiting is no error: what is left cannot be delivered any more.
        let _ = self.link.send(RecordBatch::Logs(batch), None);
        Ok(())
    }

    fn batch(&mut self, arena: Vec<u8>, ends: &[usize]) -> LogBatch {
        let now_ns = now_ns();
        let mut batch = LogBatch::new(self.link.tag.clone(), self.stdin.resource.clone(), arena);
        let from = Position::at(self.offset);
        let mut start = 0;
        for &end in ends {
            let line = &batch.arena()[start..end];
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let slice = Slice {
                start: start as u32,
                len: line.len() as u32,
            };
            start = end;
            if slice.len == 0 {
                continue;
            }
            let row = batch.push(now_ns, Position::at(self.offset + end as u64));
            self.stdin.parse(&mut batch, row, slice, &mut self.parsed);
        }
        self.offset += start as u64;
        batch.source = Source {
            id: self.source,
            from,
            to: Position::at(self.offset),
        };
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kansoku_model::json;

    use super::*;

    /// Time in seconds when the line gave one, and the record.
    fn run(buffer_size: &str, chunks: &[&[u8]]) -> Vec<String> {
        let stdin = Stdin {
            parser: None,
            json: Parser::new(
                &Settings::of("PARSER", &[("name", "j"), ("format", "json")]),
                &|_| None,
            )
            .expect("valid"),
            max_line_bytes: kansoku_model::plugin::parse_size(buffer_size).expect("a size")
                as usize,
            resource: Arc::default(),
        };
        let (link, captured) = Link::captured("t", Duration::from_secs(60));
        let (sender, reads) = crossbeam_channel::unbounded();
        for chunk in chunks {
            sender.send(Ok(chunk.to_vec())).expect("room");
        }
        sender.send(Ok(Vec::new())).expect("room");
        stdin.pump(&link, &reads).expect("no error");
        let mut out = Vec::new();
        let mut last = Position::default();
        for batch in captured.take() {
            let RecordBatch::Logs(batch) = &*batch else {
                panic!("logs")
            };
            assert_eq!(batch.source.from, last);
            last = batch.source.to;
            for row in 0..batch.len() {
                let mut text = Vec::new();
                json::write_fields(&mut text, batch, row, true);
                let seconds = batch.times()[row] / 1_000_000_000;
                let prefix = if seconds < 1000 {
                    format!("{seconds} ")
                } else {
                    String::new()
                };
                out.push(format!("{prefix}{}", String::from_utf8_lossy(&text)));
            }
        }
        out
    }

    #[test]
    fn lines_become_records() {
        let read = run(
            "1M",
            &[
                b"{\"a\":1}\r\n\npl",
                b"ain\n[7.5, {\"b\":\"c\"}]\n[1]\nlast",
            ],
        );
        assert_eq!(
            read,
            [
                r#""a":1"#,
                r#""log":"plain""#,
                r#"7 "b":"c""#,
                r#""log":"[1]""#,
                r#""log":"last""#
            ]
        );
        assert!(run("1M", &[]).is_empty());
    }

    #[test]
    fn long_lines_and_bad_bytes_are_kept() {
        assert_eq!(
            run("4", &[b"abcdefghij\nx\n"]),
            [
                r#""log":"abcd""#,
                r#""log":"efgh""#,
                r#""log":"ij""#,
                r#""log":"x""#
            ]
        );
        assert_eq!(run("1M", &[b"x\xffy\n"]), ["\"log\":\"x\u{fffd}y\""]);
        let long = vec![b'z'; 3 * BATCH_BYTES];
        assert_eq!(run("1M", &[&long, b"\nq\n"]).len(), 2);
    }
}
