//! Loki's push, the protobuf form, and the checks that both forms share.
//!
//! A request becomes one log batch per stream: the stream labels are the resource's, the line is
//! the column `log`, structured metadata are columns. Not here: snappy and gzip, which the caller
//! has undone. The one rule: what is valid is kept, what is not is counted with Loki's own words
//! for the first; only a body that is no push at all fails as a whole.

use std::borrow::Cow;
use std::sync::Arc;

use kansoku_model::{Labels, LogBatch, Position, Resource, Value, stream};

use super::loki_discover::{self, Discovery};
use super::otlp::names::{LabelRules, label_name};
use super::protobuf::Message;
use super::{Window, WireError, loki_labels};

/// What a push may hold, and what is added to it.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'c> {
    /// Label pairs of one stream.
    pub max_labels: usize,
    /// Bytes of one line.
    pub max_line_bytes: usize,
    /// Structured metadata pairs of one entry (Loki's default is 128).
    pub max_metadata: usize,
    /// Bytes of the names and values of an entry's structured metadata; 0 is no limit.
    pub max_metadata_bytes: usize,
    /// Times of entries.
    pub window: Window,
    /// What is added.
    pub discovery: &'c Discovery,
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
    pub refused: Reasons,
}

/// Why entries were not taken, grouped as Loki tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasons {
    /// How many entries.
    pub count: usize,
    /// Texts with how often, in order of the first.
    texts: Vec<(String, usize)>,
}

impl Reasons {
    /// Reasons that are told; more are only counted.
    const MAX: usize = 10;

    fn add(&mut self, reason: &str) {
        self.count += 1;
        if let Some((_, n)) = self.texts.iter_mut().find(|(text, _)| text == reason) {
            *n += 1;
        } else if self.texts.len() < Self::MAX {
            self.texts.push((reason.to_owned(), 1));
        }
    }

    /// All of them as one text, `None` when there is none.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match &self.texts[..] {
            [] => None,
            [(text, 1)] if self.count == 1 => Some(text.clone()),
            texts => {
                let told = texts.iter().map(|(t, n)| format!("{n} errors like: {t}"));
                let mut told: Vec<String> = told.collect();
                let n_told: usize = texts.iter().map(|(_, n)| n).sum();
                if n_told < self.count {
                    told.push(format!("{} errors of other kinds", self.count - n_told));
                }
                Some(told.join("; "))
            }
        }
    }
}

/// Decodes the decompressed protobuf body (`logproto.PushRequest`).
///
/// # Errors
/// When it is no protobuf of this shape.
pub fn decode(body: &[u8], limits: &Limits<'_>) -> Result<Push, WireError> {
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
    limits: &'l Limits<'l>,
    push: Push,
    /// The stream at hand, or why its entries are refused.
    stream: Result<LogBatch, String>,
    log_column: usize,
    /// The level that its labels tell for all of its entries.
    level: Option<Box<str>>,
}

impl<'l> PushBuilder<'l> {
    pub(super) fn new(limits: &'l Limits<'l>) -> Self {
        Self {
            limits,
            push: Push::default(),
            stream: Err(String::new()),
            log_column: 0,
            level: None,
        }
    }

    /// Starts a stream. Labels that are an error refuse its `n_entries` entries, or, when there
    /// are none, the stream itself as one.
    pub(super) fn start_stream(&mut self, labels: Result<Labels, String>, n_entries: usize) {
        self.end_stream();
        self.push.n_streams += 1;
        if let (Err(reason), 0) = (&labels, n_entries) {
            self.push.refused.add(reason);
        }
        self.stream = labels.and_then(|labels| {
            let discovery = self.limits.discovery;
            self.level = match discovery.levels {
                true => discovery.level_of_labels(&labels),
                false => None,
            };
            let labels = match discovery.service(&labels) {
                Some(service) => labels.with(loki_discover::SERVICE, service),
                None => labels,
            };
            let resource = Resource {
                labels: self.checked(labels)?,
                ..Resource::default()
            };
            Ok(LogBatch::new("loki".into(), Arc::new(resource), Vec::new()))
        });
        if let Ok(batch) = &mut self.stream {
            self.log_column = batch.column_index_or_insert("log");
        }
    }

    fn checked(&self, labels: Labels) -> Result<Labels, String> {
        if labels.is_empty() {
            return Err("error at least one label pair is required per stream".into());
        }
        // The one that may have been added does not count.
        let n = labels.len() - usize::from(labels.get(loki_discover::SERVICE).is_some());
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
    pub(super) fn refuse(&mut self, reason: &str) {
        self.push.refused.add(reason);
    }

    /// Adds an entry to the stream at hand; a time of `None` is one that does not fit.
    pub(super) fn entry(&mut self, time_ns: Option<i64>, line: &[u8], metadata: &[(&str, &[u8])]) {
        let refused = &mut self.push.refused;
        let batch = match &mut self.stream {
            Ok(batch) => batch,
            Err(reason) => return refused.add(reason),
        };
        let time_ns = match check_entry(time_ns, line, metadata, self.limits) {
            Ok(time_ns) => time_ns,
            Err(problem) => {
                let stream = shorten(&batch.resource.labels.to_string());
                return refused.add(&problem.text(&stream, line.len(), self.limits));
            }
        };
        let row = batch.push(time_ns, Position::at(batch.len() as u64 + 1));
        let line_slice = batch.store(line);
        batch.set(self.log_column, row, Value::Text(line_slice));
        let mut has_level = false;
        for (name, value) in metadata
            .iter()
            .filter(|(n, v)| !n.is_empty() && !v.is_empty())
        {
            // Checked before.
            let name = label_name(name, &LabelRules::default()).unwrap_or(Cow::Borrowed(name));
            let mut value = *value;
            if self.limits.discovery.levels && name == loki_discover::LEVEL {
                has_level = true;
                let text = std::str::from_utf8(value).unwrap_or_default();
                value = loki_discover::normal(text).map_or(value, str::as_bytes);
            }
            batch.set_text(&stream::metadata_column(&name), row, value);
        }
        if self.limits.discovery.levels && !has_level {
            let level = match &self.level {
                Some(level) => level.as_bytes(),
                None => self.limits.discovery.level(metadata, line),
            };
            batch.set_text(loki_discover::LEVEL, row, level);
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
    TooManyMetadata(usize),
    TooMuchMetadata(usize),
    NoName(String),
    TooOld(i64),
    TooNew(i64),
    NoTime,
}

fn check_entry(
    time_ns: Option<i64>,
    line: &[u8],
    metadata: &[(&str, &[u8])],
    limits: &Limits<'_>,
) -> Result<i64, Problem> {
    let time_ns = time_ns.ok_or(Problem::NoTime)?;
    let time_ms = time_ns.div_euclid(1_000_000);
    let n_bytes: usize = metadata.iter().map(|(n, v)| n.len() + v.len()).sum();
    if time_ms < limits.window.oldest_ms {
        return Err(Problem::TooOld(time_ns));
    }
    if time_ms > limits.window.newest_ms {
        return Err(Problem::TooNew(time_ns));
    }
    if line.len() > limits.max_line_bytes {
        return Err(Problem::TooLong);
    }
    if limits.max_metadata_bytes > 0 && n_bytes > limits.max_metadata_bytes {
        return Err(Problem::TooMuchMetadata(n_bytes));
    }
    if limits.max_metadata > 0 && metadata.len() > limits.max_metadata {
        return Err(Problem::TooManyMetadata(metadata.len()));
    }
    for (name, _) in metadata.iter().filter(|(n, _)| !n.is_empty()) {
        label_name(name, &LabelRules::default()).map_err(Problem::NoName)?;
    }
    Ok(time_ns)
}

impl Problem {
    /// Loki's words.
    fn text(&self, stream: &str, line_bytes: usize, limits: &Limits<'_>) -> String {
        match self {
            Self::TooLong => format!(
                "max entry size '{}' bytes exceeded for stream '{stream}' while adding an entry with length '{line_bytes}' bytes",
                limits.max_line_bytes
            ),
            Self::TooManyMetadata(n) => format!(
                "stream '{stream}' has too many structured metadata labels: '{n}', limit: '{}'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it",
                limits.max_metadata
            ),
            Self::TooMuchMetadata(n) => format!(
                "stream '{stream}' has structured metadata too large: '{n}' bytes, limit: '{}' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it",
                limits.max_metadata_bytes
            ),
            Self::NoName(reason) => reason.clone(),
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

/// Without fractions, as Loki tells times.
fn rfc3339(time_ns: i64) -> String {
    jiff::Timestamp::from_second(time_ns.div_euclid(1_000_000_000))
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

    pub(crate) const LIMITS: Limits<'_> = Limits {
        max_labels: 15,
        max_line_bytes: 20,
        max_metadata: 3,
        max_metadata_bytes: 100,
        discovery: Discovery::NONE,
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
        assert_eq!(push.refused, Reasons::default());
        assert_eq!(push.batches.len(), 2, "a stream without entries is none");
    }

    #[test]
    fn bad_entries_are_refused_in_lokis_words() {
        let good = stream(r#"{job="good"}"#, &[(2_000_000_000, b"ok", &[])]);
        let too_much: &[(&str, &str)] = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        let text = "x".repeat(100);
        let long: &[(&str, &str)] = &[("a", &text)];
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
                r#"entry for stream '{a="1"}' has timestamp too old: 1970-01-01T00:00:00Z, oldest acceptable timestamp is: 1970-01-01T00:00:01Z"#,
            ),
            (
                r#"{a="1"}"#,
                (9_001_000_000, b"x", &[]),
                r#"entry for stream '{a="1"}' has timestamp too new: 1970-01-01T00:00:09Z"#,
            ),
            (
                r#"{a="1"}"#,
                (2_000_000_000, b"x", too_much),
                r#"stream '{a="1"}' has too many structured metadata labels: '4', limit: '3'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it"#,
            ),
            (
                r#"{a="1"}"#,
                (2_000_000_000, b"x", long),
                r#"stream '{a="1"}' has structured metadata too large: '101' bytes, limit: '100' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it"#,
            ),
            (
                r#"{a="1"}"#,
                (2_000_000_000, b"x", &[("___", "1")]),
                r#"nothing of the attribute name "___" can be a name of a label"#,
            ),
        ];
        for (labels, entry, reason) in cases {
            let mut body = stream(labels, &[*entry]);
            body.extend_from_slice(&good);
            let push = decode(&body, &LIMITS).unwrap();
            assert_eq!(lines(&push), [r#"2000000000 {job="good"} ok"#]);
            assert_eq!(push.refused.count, 1);
            assert_eq!(push.refused.text().as_deref(), Some(*reason));
        }
    }

    #[test]
    fn reasons_are_grouped() {
        let at = |s: i64| (s * 1_000_000_000, &b"x"[..], &[][..]);
        let body = stream(r#"{a="1"}"#, &[at(10), at(0), at(10), at(2)]);
        let push = decode(&body, &LIMITS).unwrap();
        let text = push.refused.text().unwrap();
        let expected = r#"2 errors like: entry for stream '{a="1"}' has timestamp too new: 1970-01-01T00:00:10Z; 1 errors like: entry for stream '{a="1"}' has timestamp too old: 1970-01-01T00:00:00Z, oldest acceptable timestamp is: 1970-01-01T00:00:01Z"#;
        assert_eq!((text.as_str(), push.n_entries), (expected, 1));
        let entries: Vec<_> = (0..20).map(|s| at(100 + s)).collect();
        let push = decode(&stream(r#"{a="1"}"#, &entries), &LIMITS).unwrap();
        let text = push.refused.text().unwrap();
        assert!(text.ends_with("; 10 errors of other kinds"), "{text}");
    }

    #[test]
    fn services_and_levels_are_added() {
        let limits = Limits {
            discovery: &Discovery::default(),
            ..LIMITS
        };
        let entries: &[TestEntry<'_>] = &[
            (2_000_000_000, b"an error", &[]),
            (2_000_000_001, b"x", &[("detected_level", "WRN")]),
            (2_000_000_002, b"x", &[("lvl.x", "y"), ("level", "DBG")]),
        ];
        let mut body = stream(r#"{app="a"}"#, entries);
        body.extend(stream(r#"{level="Inf"}"#, &entries[..1]));
        let push = decode(&body, &limits).unwrap();
        assert_eq!(
            lines(&push),
            [
                r#"2000000000 {app="a", service_name="a"} an error detected_level=error"#,
                r#"2000000001 {app="a", service_name="a"} x detected_level=warn"#,
                r#"2000000002 {app="a", service_name="a"} x detected_level=debug lvl_x=y level=DBG"#,
                r#"2000000000 {level="Inf", service_name="unknown_service"} an error detected_level=info"#,
            ]
        );
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
