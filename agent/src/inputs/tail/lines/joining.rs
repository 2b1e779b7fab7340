//! Putting together what a container runtime split: CRI lines flagged as partial, docker's JSON
//! lines whose text has no newline at its end.
//!
//! It does not look into the text. The rule: a part waits per stream, and never for longer or larger
//! than the rules say.

use std::time::Instant;

use kansoku_parsers::line::{cri, docker, json};

use super::{At, Feed, Format, Lines, OpenBatch, Unit, stream_index};

/// Partial lines of one stream that wait for their end.
#[derive(Clone)]
pub(super) struct Pending {
    text: Vec<u8>,
    /// As written in the first part; in docker mode the last line around its text.
    time: Vec<u8>,
    time_ns: i64,
    /// Where the first part's line begins: the offset must not pass it.
    pub(super) start: u64,
    pub(super) since: Instant,
    form: Form,
    /// Whether the first part said that more would come; the record keeps its flag.
    joined: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Wrapped(Format),
    /// `docker_mode`: the last line's text stands at this place in it; whether it ends with a newline.
    Json {
        at: usize,
        ended: bool,
    },
}

/// One line of a record that may have several.
struct Part<'a> {
    format: Format,
    time: &'a [u8],
    time_ns: i64,
    text: &'a [u8],
    goes_on: bool,
}

impl Lines {
    pub(super) fn cri_line(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        line: &[u8],
        at: At,
    ) -> bool {
        let Some(parts) = cri::split(line) else {
            return false;
        };
        let index = stream_index(&line[parts.stream]);
        let (time, text) = (&line[parts.time.clone()], &line[parts.log.clone()]);
        if parts.partial || self.pending[index].is_some() {
            let part = Part {
                format: Format::Cri,
                time,
                time_ns: parts.time_ns,
                text,
                goes_on: parts.partial,
            };
            self.join(out, feed, index, &part, at);
            return true;
        }
        let unit = Unit {
            wrap: Some((Format::Cri, time, parts.time_ns, false)),
            stream: index,
            text,
            slices: Some((at.slice(parts.time), at.slice(parts.log))),
            start: at.start,
            offset: at.end,
            within: at.start + 1,
        };
        self.unit(out, feed, &unit);
        true
    }

    pub(super) fn docker_line(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        line: &[u8],
        at: At,
    ) -> bool {
        let Some(parts) = docker::split(line, &mut feed.scratch.fields) else {
            return false;
        };
        let index = stream_index(&line[parts.stream]);
        // The newline at the end is an escape, so the text is copied in any case.
        let mut text = Vec::with_capacity(parts.log.len());
        json::unescape(&line[parts.log], &mut text);
        let part = Part {
            format: Format::Docker,
            time: &line[parts.time],
            time_ns: parts.time_ns.unwrap_or(feed.now_ns),
            text: &text,
            goes_on: parts.partial,
        };
        self.join(out, feed, index, &part, at);
        true
    }

    /// `docker_mode`: the texts of the lines are put together, still escaped, and stand in the last
    /// line in place of its own. False for what is no such line.
    pub(super) fn docker_mode_line(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        line: &[u8],
        at: At,
    ) -> bool {
        let parts = docker::split(line, &mut feed.scratch.fields);
        let Some(parts) = parts else {
            for index in 0..2 {
                self.flush_json(out, feed, index, at.start + 1);
            }
            return false;
        };
        let index = stream_index(&line[parts.stream]);
        let first_line = feed
            .rules
            .docker_mode
            .as_ref()
            .and_then(|d| d.first_line.as_ref());
        let begins = first_line
            .is_none_or(|parser| parser.parse(line, feed.now_ns, &mut feed.scratch.parsed));
        let limit = feed.rules.join_limit_bytes;
        let ended = |form: Form| matches!(form, Form::Json { ended: true, .. });
        if let Some(pending) = &self.pending[index] {
            let full = pending.text.len() + parts.log.len() > limit;
            self.n_truncated += u64::from(full);
            if full || (begins && ended(pending.form)) {
                self.flush_json(out, feed, index, at.start + 1);
            }
        }
        let pending = self.pending[index].get_or_insert_with(|| {
            Box::new(Pending {
                text: Vec::new(),
                time: Vec::new(),
                time_ns: 0,
                start: at.start,
                since: feed.now,
                form: Form::Wrapped(Format::Docker),
                joined: begins,
            })
        });
        pending.text.extend_from_slice(&line[parts.log.clone()]);
        pending.since = feed.now;
        pending.form = Form::Json {
            at: parts.log.start,
            ended: !parts.partial,
        };
        pending.time.clear();
        pending.time.extend_from_slice(&line[..parts.log.start]);
        pending.time.extend_from_slice(&line[parts.log.end..]);
        // With a parser for first lines a complete line waits: the next may belong to it. One that
        // belongs to no first line waits for nothing.
        let waits = parts.partial || (feed.has_first_line() && pending.joined);
        if !waits {
            self.flush_json(out, feed, index, at.end);
        }
        true
    }

    fn flush_json(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, index: usize, offset: u64) {
        if let Some(pending) = self.pending[index].take() {
            self.emit_pending(out, feed, *pending, index, offset, offset);
        }
    }

    /// Adds a part to what waits, and makes the record when it is complete or too large.
    fn join(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        index: usize,
        part: &Part<'_>,
        at: At,
    ) {
        let limit = feed.rules.join_limit_bytes;
        let form = Form::Wrapped(part.format);
        let full = |p: &mut Box<Pending>| p.form != form || p.text.len() + part.text.len() > limit;
        if let Some(pending) = self.pending[index].take_if(full) {
            self.n_truncated += u64::from(pending.form == form);
            self.emit_pending(out, feed, *pending, index, at.end, at.start + 1);
        }
        let pending = self.pending[index].get_or_insert_with(|| {
            Box::new(Pending {
                text: Vec::new(),
                time: part.time.to_vec(),
                time_ns: part.time_ns,
                start: at.start,
                since: feed.now,
                form,
                joined: part.goes_on,
            })
        });
        pending.text.extend_from_slice(part.text);
        if !part.goes_on
            && let Some(pending) = self.pending[index].take()
        {
            self.emit_pending(out, feed, *pending, index, at.end, at.start + 1);
        }
    }

    pub(super) fn emit_pending(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        pending: Pending,
        index: usize,
        offset: u64,
        within: u64,
    ) {
        let mut unit = Unit {
            wrap: None,
            stream: index,
            text: &pending.text,
            slices: None,
            start: pending.start,
            offset,
            within,
        };
        match pending.form {
            Form::Wrapped(format) => {
                unit.wrap = Some((format, &pending.time, pending.time_ns, pending.joined));
                self.unit(out, feed, &unit);
            }
            Form::Json { at, .. } => {
                let (before, after) = pending.time.split_at(at);
                let line = [before, &pending.text, after].concat();
                let parsed = &mut feed.scratch.parsed;
                let time_ns = match &feed.rules.parser {
                    Some(parser) if parser.parse(&line, feed.now_ns, parsed) => parsed.time_ns,
                    _ => None,
                };
                if time_ns.is_some_and(|time_ns| feed.rules.is_too_old(time_ns, feed.now_ns)) {
                    return;
                }
                unit.text = &line;
                self.unit(out, feed, &unit);
            }
        }
    }
}

impl Feed<'_> {
    fn has_first_line(&self) -> bool {
        let mode = self.rules.docker_mode.as_ref();
        mode.is_some_and(|mode| mode.first_line.is_some())
    }
}
