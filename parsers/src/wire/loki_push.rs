//! Loki's push, the protobuf form, and the checks that both forms share.
//!
//! A request becomes one log batch per stream: the stream labels are the resource's, the line is
//! the column `log`, structured metadata are columns. Not here: snappy and gzip, which the caller
//! has undone. The one rule: what is valid is kept, what is not is counted with Loki's own words
//! for the first; only a body that is no push at all fails as a whole.

use std::sync::Arc;

use kansoku_model::{Labels, LogBatch, Position, Resource, Value, stream};

use super::protobuf::Message;
use super::{Refused, Window, WireError, loki_labels};

/// What a push may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Label pairs of one stream.
    pub max_labels: usize,
    /// Bytes of one line.
    pub max_line_bytes: usize,
    /// Structured metadata pairs of one entry (Loki's default is 128).
    pub max_metadata: usize,
    /// Times of entries.
    pub window: Window,
}

/// A decoded push.
#[derive(Debug, Default)]
pub struct Push {
    /// One batch per stream that has an entry.
    pub batches: Vec<LogBatch>,
    pub n_entries: usize,
    /// Streams that were named, with entries or without.
    pub n_streams: usize,
    /// Bytes of the lines kept.
    pub n_line_bytes: usize,
    /// Entries that were not taken.
    pub refused: Refused,
}

/// Decodes the decompressed protobuf body (`logproto.PushRequest`).
///
/// # Errors
/// When it is no protobuf of this shape.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Push, WireError> {
    let mut builder = PushBuilder::new(limits);
    let mut message = Message::new(body);
    while let Some((number, field)) = message.next()? {
        if number == 1 {
            read_stream(field.message()?, &mut builder)?;
        }
    }
    Ok(builder.finish())
}

fn read_stream<'a>(message: Message<'a>, builder: &mut PushBuilder<'_>) -> Result<(), WireError> {
    // The labels may stand behind the entries, so they are looked for first.
    let (mut labels, mut n_entries) = ("", 0);
    let mut fields = message.clone();
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => labels = field.text()?,
            2 => n_entries += 1,
            _ => {}
        }
    }
    let parsed = loki_labels::parse(labels)
        .map_err(|e| format!("error parsing labels '{}' with error: {e}", shorten(labels)));
    builder.start_stream(parsed, n_entries);
    let mut metadata: Vec<(&'a str, &'a [u8])> = Vec::new();
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            let entry = read_entry(field.message()?, &mut metadata)?;
            builder.entry(entry.time_ns, entry.line, &metadata);
        }
    }
    Ok(())
}

struct Entry<'a> {
    time_ns: Option<i64>,
    line: &'a [u8],
}

fn read_entry<'a>(
    mut message: Message<'a>,
    metadata: &mut Vec<(&'a str, &'a [u8])>,
) -> Result<Entry<'a>, WireError> {
    metadata.clear();
    let mut entry = Entry {
        time_ns: Some(0),
        line: b"",
    };
    while let Some((number, field)) = message.next()? {
        match number {
            1 => entry.time_ns = read_time(field.message()?)?,
            2 => entry.line = field.bytes()?.0,
            3 => {
                let mut pair = field.message()?;
                let (mut name, mut value): (&str, &[u8]) = ("", b"");
                while let Some((number, field)) = pair.next()? {
                    match number {
                        1 => name = field.text()?,
                        2 => value = field.bytes()?.0,
                        _ => {}
                    }
                }
                metadata.push((name, value));
            }
            _ => {}
        }
    }
    Ok(entry)
}

/// Nanoseconds, `None` when they do not fit.
fn read_time(mut message: Message<'_>) -> Result<Option<i64>, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some((number, field)) = message.next()? {
        match number {
            1 => seconds = field.int()?,
            2 => nanos = field.int()?,
            _ => {}
        }
    }
    Ok(seconds
        .checked_mul(1_000_000_000)
        .and_then(|s| s.checked_add(nanos)))
}

/// Turns streams and entries into batches and checks them on the way.
pub(super) struct PushBuilder<'l> {
    limits: &'l Limits,
    push: Push,
    /// The stream at hand, or why its entries are refused.
    stream: Result<LogBatch, String>,
    log_column: usize,
}

impl<'l> PushBuilder<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            push: Push::default(),
            stream: Err(String::new()),
            log_column: 0,
        }
    }

    /// Starts a stream. Labels that are an error refuse its `n_entries` entries, or, when there
    /// are none, the stream itself as one.
    pub(super) fn start_stream(&mut self, labels: Result<Labels, String>, n_entries: usize) {
        self.end_stream();
        self.push.n_streams += 1;
        self.stream = labels
            .and_then(|labels| self.checked(labels))
            .map(|labels| {
                let resource = Resource {
                    labels,
                    ..Resource::default()
                };
                LogBatch::new("loki".into(), Arc::new(resource), Vec::new())
            });
        match &mut self.stream {
            Ok(batch) => self.log_column = batch.column_index_or_insert("log"),
            Err(reason) if n_entries == 0 => self.push.refused.add(1, || reason.clone()),
            Err(_) => {}
        }
    }

    fn checked(&self, labels: Labels) -> Result<Labels, String> {
        if labels.is_empty() {
            return Err("error at least one label pair is required per stream".into());
        }
        let n = labels.len();
        if n > self.limits.max_labels {
            return Err(format!(
                "entry for stream '{}' has {n} label names; limit {}",
                shorten(&labels.to_string()),
                self.limits.max_labels
            ));
        }
        Ok(labels)
    }

    /// Counts an entry as refused.
    pub(super) fn refuse(&mut self, reason: String) {
        self.push.refused.add(1, || reason);
    }

    /// Adds an entry to the stream at hand; a time of `None` is one that does not fit.
    pub(super) fn entry(&mut self, time_ns: Option<i64>, line: &[u8], metadata: &[(&str, &[u8])]) {
        let refused = &mut self.push.refused;
        let batch = match &mut self.stream {
            Ok(batch) => batch,
            Err(reason) => return refused.add(1, || reason.clone()),
        };
        let time_ns = match check_entry(time_ns, line, metadata, self.limits) {
            Ok(time_ns) => time_ns,
            Err(problem) => {
                let stream = shorten(&batch.resource.labels.to_string());
                return refused.add(1, || problem.text(&stream, line.len(), self.limits));
            }
        };
        let row = batch.push(time_ns, Position::at(batch.len() as u64 + 1));
        let line_slice = batch.store(line);
        batch.set(self.log_column, row, Value::Text(line_slice));
        for (name, value) in metadata
            .iter()
            .filter(|(n, v)| !n.is_empty() && !v.is_empty())
        {
            batch.set_text(&stream::metadata_column(name), row, value);
        }
        self.push.n_entries += 1;
        self.push.n_line_bytes += line.len();
    }

    fn end_stream(&mut self) {
        let stream = std::mem::replace(&mut self.stream, Err(String::new()));
        self.push
            .batches
            .extend(stream.ok().filter(|b| !b.is_empty()));
    }

    pub(super) fn finish(mut self) -> Push {
        self.end_stream();
        self.push
    }
}

enum Problem {
    TooLong,
    TooMuchMetadata(usize),
    TooOld(i64),
    TooNew(i64),
    NoTime,
}

fn check_entry(
    time_ns: Option<i64>,
    line: &[u8],
    metadata: &[(&str, &[u8])],
    limits: &Limits,
) -> Result<i64, Problem> {
    let time_ns = time_ns.ok_or(Problem::NoTime)?;
    let time_ms = time_ns.div_euclid(1_000_000);
    if line.len() > limits.max_line_bytes {
        Err(Problem::TooLong)
    } else if metadata.len() > limits.max_metadata {
        Err(Problem::TooMuchMetadata(metadata.len()))
    } else if time_ms < limits.window.oldest_ms {
        Err(Problem::TooOld(time_ns))
    } else if time_ms > limits.window.newest_ms {
        Err(Problem::TooNew(time_ns))
    } else {
        Ok(time_ns)
    }
}

impl Problem {
    /// Loki's words.
    fn text(&self, stream: &str, line_bytes: usize, limits: &Limits) -> String {
        match self {
            Self::TooLong => format!(
                "max entry size '{}' bytes exceeded for stream '{stream}' while adding an entry with length '{line_bytes}' bytes",
                limits.max_line_bytes
            ),
            Self::TooMuchMetadata(n) => format!(
                "stream '{stream}' has too many structured metadata labels: '{n}', limit: '{}'",
                limits.max_metadata
            ),
            Self::TooOld(t) => format!(
                "entry for stream '{stream}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                rfc3339(*t),
                rfc3339(limits.window.oldest_ms.saturating_mul(1_000_000))
            ),
            Self::TooNew(t) => {
                format!(
                    "entry for stream '{stream}' has timestamp too new: {}",
                    rfc3339(*t)
                )
            }
            Self::NoTime => {
                format!("entry for stream '{stream}' has a timestamp outside of 64-bit nanoseconds")
            }
        }
    }
}

fn rfc3339(time_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns))
        .map_or_else(|_| time_ns.to_string(), |t| t.to_string())
}

/// Labels in a message to their sender: bounded, since a label may be megabytes.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    match text.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::write;
    use super::*;
    use kansoku_model::Streams;

    pub(crate) const LIMITS: Limits = Limits {
        max_labels: 15,
        max_line_bytes: 20,
        max_metadata: 3,
        window: Window {
            oldest_ms: 1_000,
            newest_ms: 9_000,
        },
    };

    type TestEntry<'a> = (i64, &'a [u8], &'a [(&'a str, &'a str)]);

    fn stream(labels: &str, entries: &[TestEntry<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        write::message(&mut body, 1, |w| {
            for (time_ns, line, metadata) in entries {
                write::message(w, 2, |w| {
                    write::message(w, 1, |w| {
                        write::int(w, 1, time_ns / 1_000_000_000);
                        write::int(w, 2, time_ns % 1_000_000_000);
                    });
                    write::bytes(w, 2, line);
                    for (name, value) in *metadata {
                        write::message(w, 3, |w| {
                            write::bytes(w, 1, name.as_bytes());
                            write::bytes(w, 2, value.as_bytes());
                        });
                    }
                });
            }
            // Behind the entries: the order of fields is free.
            write::bytes(w, 1, labels.as_bytes());
        });
        body
    }

    fn lines(push: &Push) -> Vec<String> {
        let mut out = Vec::new();
        for batch in &push.batches {
            let streams = Streams::of(batch);
            for row in 0..batch.len() {
                let mut buf = Vec::new();
                let mut text = format!(
                    "{} {} {}",
                    batch.times()[row],
                    streams.labels[streams.of_row[row] as usize],
                    String::from_utf8_lossy(streams.line(row, &mut buf))
                );
                streams.metadata(row, |n, v| {
                    text.push_str(&format!(" {n}={}", String::from_utf8_lossy(v)));
                });
                out.push(text);
            }
        }
        out
    }

    #[test]
    fn entries_become_lines_of_their_streams() {
        let mut body = stream(
            r#"{job="a", stream="given"}"#,
            &[
                (2_000_000_001, b"one", &[]),
                (3_000_000_000, b"", &[("level", "info")]),
            ],
        );
        // Metadata names that mean something else in a container's log stay metadata.
        let odd: &[(&str, &str)] = &[("stream", "x"), ("time", "y"), ("log", "z")];
        body.extend(stream(r#"{job="b"}"#, &[(4_000_000_000, b"\xff", odd)]));
        body.extend(stream(r#"{job="empty"}"#, &[]));
        let push = decode(&body, &LIMITS).unwrap();
        assert_eq!(
            lines(&push),
            [
                r#"2000000001 {job="a", stream="given"} one"#,
                r#"3000000000 {job="a", stream="given"}  level=info"#,
                "4000000000 {job=\"b\"} \u{fffd} stream=x time=y log=z",
            ]
        );
        assert_eq!((push.n_entries, push.n_line_bytes), (3, 4));
        assert_eq!(push.refused, Refused::default());
        assert_eq!(push.batches.len(), 2, "a stream without entries is none");
    }

    #[test]
    fn bad_entries_are_refused_in_lokis_words() {
        let good = stream(r#"{job="good"}"#, &[(2_000_000_000, b"ok", &[])]);
        let too_much: &[(&str, &str)] = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        let cases: &[(&str, TestEntry<'_>, &str)] = &[
            (
                "{}",
                (2_000_000_000, b"x", &[]),
                "error at least one label pair is required per stream",
            ),
            (
                "nonsense",
                (2_000_000_000, b"x", &[]),
                "error parsing labels 'nonsense' with error: parse error at line 1, col 1: syntax error: unexpected 'n', expecting '{'",
            ),
            (
                r#"{a="1"}"#,
                (2_000_000_000, b"123456789012345678901", &[]),
                r#"max entry size '20' bytes exceeded for stream '{a="1"}' while adding an entry with length '21' bytes"#,
            ),
            (
                r#"{a="1"}"#,
                (500_000_000, b"x", &[]),
                r#"entry for stream '{a="1"}' has timestamp too old: 1970-01-01T00:00:00.5Z, oldest acceptable timestamp is: 1970-01-01T00:00:01Z"#,
            ),
            (
                r#"{a="1"}"#,
                (9_001_000_000, b"x", &[]),
                r#"entry for stream '{a="1"}' has timestamp too new: 1970-01-01T00:00:09.001Z"#,
            ),
            (
                r#"{a="1"}"#,
                (2_000_000_000, b"x", too_much),
                r#"stream '{a="1"}' has too many structured metadata labels: '4', limit: '3'"#,
            ),
        ];
        for (labels, entry, reason) in cases {
            let mut body = stream(labels, &[*entry]);
            body.extend_from_slice(&good);
            let push = decode(&body, &LIMITS).unwrap();
            assert_eq!(lines(&push), [r#"2000000000 {job="good"} ok"#]);
            assert_eq!(push.refused.count, 1);
            assert_eq!(push.refused.first.as_deref(), Some(*reason));
        }
    }

    #[test]
    fn cuts_and_flips_never_panic() {
        let body = stream(r#"{job="a"}"#, &[(2_000_000_000, b"one", &[("a", "b")])]);
        for cut in 0..body.len() {
            let _ = decode(&body[..cut], &LIMITS);
        }
        for at in 0..body.len() {
            for mask in [0x01, 0x08, 0x80, 0xff] {
                let mut bad = body.clone();
                bad[at] ^= mask;
                let _ = decode(&bad, &LIMITS);
            }
        }
    }
}
