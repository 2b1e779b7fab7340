//! From the lines of one generation to records: formats, joining of partial lines, positions.
//!
//! Nothing here reads files or clocks. The rule: the same bytes, read again from the same offset,
//! give the same records at the same positions, so that a repeat can be told from news.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::{LogBatch, Position, Resource, Slice, Source, SourceId};
use kansoku_parsers::line::json::{self, Field};
use kansoku_parsers::line::{Parsed, Parser, cri, docker};

use super::columns::{Columns, PlainLine, WrappedLine};
use crate::offsets::Cut;

/// How a container runtime wraps lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Cri,
    Docker,
}

/// How lines become records; shared by all files of an input.
pub(super) struct LineRules {
    /// Field for the text of lines that no parser knows.
    pub(super) key: Arc<str>,
    /// Field for the file's name.
    pub(super) path_key: Option<Arc<str>>,
    /// Field for the line's offset.
    pub(super) offset_key: Option<Arc<str>>,
    /// `multiline.parser`.
    pub(super) formats: Vec<Format>,
    /// `parser`.
    pub(super) parser: Option<Arc<Parser>>,
    pub(super) skip_empty_lines: bool,
    /// A record joined from partial lines is cut in pieces of at most this size.
    pub(super) join_limit_bytes: usize,
    /// How long a partial line waits for its rest.
    pub(super) join_timeout: Duration,
}

/// Partial lines of one stream that wait for their end.
struct Pending {
    text: Vec<u8>,
    /// As written in the first part.
    time: Vec<u8>,
    time_ns: i64,
    /// Where the first part's line begins: the offset must not pass it.
    start: u64,
    since: Instant,
    format: Format,
    /// Whether the first part said that more would come; the record keeps its flag.
    joined: bool,
}

/// The reading state of one generation.
pub(super) struct Lines {
    /// The last position given to a record.
    last: Position,
    /// Records up to here were delivered in an earlier life and are not made again.
    sent: Position,
    /// Of standard output and standard error.
    pending: [Option<Box<Pending>>; 2],
    /// Cuts of an earlier life that lie ahead, in order.
    cuts: Vec<Cut>,
    /// The format that fitted the last line.
    last_format: usize,
    /// Joined records that were cut at the limit, since last asked.
    n_truncated: u64,
}

/// Scratch space of the parsers, one for all files of an input.
#[derive(Default)]
pub(super) struct LineScratch {
    fields: Vec<Field>,
    pub(super) parsed: Parsed,
}

/// What feeding needs besides the lines.
pub(super) struct Feed<'a> {
    pub(super) rules: &'a LineRules,
    /// The file's name, for `path_key`.
    pub(super) path: &'a Path,
    pub(super) now: Instant,
    /// The time of lines that carry none.
    pub(super) now_ns: i64,
    pub(super) scratch: &'a mut LineScratch,
}

/// A batch under construction.
pub(super) struct OpenBatch {
    pub(super) logs: LogBatch,
    from: Position,
    columns: Columns,
}

impl OpenBatch {
    /// A batch of the records after `from`.
    pub(super) fn new(
        tag: Arc<str>,
        resource: Arc<Resource>,
        reserve_bytes: usize,
        from: Position,
    ) -> Self {
        Self {
            logs: LogBatch::new(tag, resource, Vec::with_capacity(reserve_bytes)),
            from,
            columns: Columns::default(),
        }
    }
}

/// Where a line lies.
#[derive(Clone, Copy)]
struct At {
    /// In the file.
    start: u64,
    /// In the file, past the newline.
    end: u64,
    /// In the batch's arena.
    arena: u32,
}

impl At {
    /// A part of the line in the arena.
    fn slice(self, part: Range<usize>) -> Slice {
        Slice {
            start: self.arena + part.start as u32,
            len: (part.end - part.start) as u32,
        }
    }
}

/// One line of a record that may have several.
struct Part<'a> {
    format: Format,
    time: &'a [u8],
    time_ns: i64,
    text: &'a [u8],
    goes_on: bool,
}

/// 0 for standard output and anything unknown, 1 for standard error.
fn stream_index(name: &[u8]) -> usize {
    usize::from(name == b"stderr")
}

impl Lines {
    pub(super) fn new(start: u64, sent: Position, cuts: Vec<Cut>) -> Self {
        Self {
            last: Position::at(start),
            sent,
            pending: [None, None],
            cuts,
            last_format: 0,
            n_truncated: 0,
        }
    }

    /// Where the oldest waiting part begins.
    pub(super) fn oldest_pending(&self) -> Option<u64> {
        self.pending.iter().flatten().map(|p| p.start).min()
    }

    /// Since when the oldest part waits.
    pub(super) fn pending_since(&self) -> Option<Instant> {
        self.pending.iter().flatten().map(|p| p.since).min()
    }

    /// Cut records since the last call.
    pub(super) fn take_n_truncated(&mut self) -> u64 {
        std::mem::take(&mut self.n_truncated)
    }

    /// Makes records of whole lines. `region` begins at offset `start` and ends with a newline,
    /// unless it is a line that is given up as it is: too long, or the unfinished end of a file.
    pub(super) fn feed(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        region: &[u8],
        start: u64,
    ) {
        let arena = out.logs.store(region).start;
        out.columns.begin(&mut out.logs, feed.rules, feed.path);
        let mut at = 0;
        while at < region.len() {
            let (line_end, next) = match memchr::memchr(b'\n', &region[at..]) {
                Some(n) => (at + n, at + n + 1),
                None => (region.len(), region.len()),
            };
            let place = At {
                start: start + at as u64,
                end: start + next as u64,
                arena: arena + at as u32,
            };
            self.replay_cuts(out, place.start);
            self.line(out, feed, &region[at..line_end], place);
            at = next;
        }
        self.replay_cuts(out, start + region.len() as u64);
    }

    /// Takes parts that wait since a time for which `waited` is true as they are: their rest did not
    /// come. Returns the streams as in [`Cut`].
    pub(super) fn cut_pending(
        &mut self,
        out: &mut OpenBatch,
        feed: &Feed<'_>,
        offset: u64,
        waited: impl Fn(Instant) -> bool,
    ) -> u8 {
        out.columns.begin(&mut out.logs, feed.rules, feed.path);
        let mut streams = 0;
        for (index, pending) in self.pending.iter().enumerate() {
            if pending.as_ref().is_some_and(|p| waited(p.since)) {
                streams |= 1 << index;
            }
        }
        self.flush_streams(out, streams, offset);
        streams
    }

    fn replay_cuts(&mut self, out: &mut OpenBatch, up_to: u64) {
        while let Some(cut) = self.cuts.first().copied().filter(|c| c.offset <= up_to) {
            self.cuts.remove(0);
            self.flush_streams(out, cut.streams, cut.offset);
        }
    }

    fn flush_streams(&mut self, out: &mut OpenBatch, streams: u8, offset: u64) {
        for index in 0..2 {
            if streams & 1 << index != 0
                && let Some(pending) = self.pending[index].take()
            {
                self.emit_pending(out, *pending, index, offset);
            }
        }
    }

    /// The next position at `offset`, or `None` when that record was delivered in an earlier life.
    fn next_position(&mut self, offset: u64) -> Option<Position> {
        // A generation never begins to be read at an offset where a record ends later: `last` is
        // then the start itself, and every line ends after it.
        self.last = if self.last.offset == offset {
            Position {
                offset,
                ordinal: self.last.ordinal + 1,
            }
        } else {
            Position::at(offset)
        };
        (self.last > self.sent).then_some(self.last)
    }

    fn line(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, line: &[u8], mut at: At) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A file truncated under a writer without O_APPEND begins with a hole.
        let n_nul = line.iter().take_while(|b| **b == 0).count();
        let line = &line[n_nul..];
        at.arena += n_nul as u32;
        if line.is_empty() && (feed.rules.skip_empty_lines || n_nul > 0) {
            return;
        }
        for step in 0..feed.rules.formats.len() {
            let index = (self.last_format + step) % feed.rules.formats.len();
            let fitted = match feed.rules.formats[index] {
                Format::Cri => self.cri_line(out, feed, line, at),
                Format::Docker => self.docker_line(out, feed, line, at),
            };
            if fitted {
                self.last_format = index;
                return;
            }
        }
        if let Some(position) = self.next_position(at.end) {
            let plain = PlainLine {
                line,
                text: at.slice(0..line.len()),
                position,
                start: at.start,
                now_ns: feed.now_ns,
            };
            let parsed = &mut feed.scratch.parsed;
            out.columns
                .push_plain(&mut out.logs, feed.rules, &plain, parsed);
        }
    }

    fn cri_line(&mut self, out: &mut OpenBatch, feed: &Feed<'_>, line: &[u8], at: At) -> bool {
        let Some(parts) = cri::split(line) else {
            return false;
        };
        let index = stream_index(&line[parts.stream]);
        if parts.partial || self.pending[index].is_some() {
            let part = Part {
                format: Format::Cri,
                time: &line[parts.time],
                time_ns: parts.time_ns,
                text: &line[parts.log],
                goes_on: parts.partial,
            };
            self.join(out, feed, index, &part, at);
            return true;
        }
        if let Some(position) = self.next_position(at.end) {
            let record = WrappedLine {
                format: Format::Cri,
                time: at.slice(parts.time),
                time_ns: parts.time_ns,
                stream: index,
                partial: false,
                log: at.slice(parts.log),
            };
            out.columns.push(&mut out.logs, &record, position, at.start);
        }
        true
    }

    fn docker_line(
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

    /// Adds a part to what waits, and makes the record when it is complete or too large.
    fn join(
        &mut self,
        out: &mut OpenBatch,
        feed: &Feed<'_>,
        index: usize,
        part: &Part<'_>,
        at: At,
    ) {
        let limit = feed.rules.join_limit_bytes;
        let full = |p: &mut Box<Pending>| {
            p.format != part.format || p.text.len() + part.text.len() > limit
        };
        if let Some(pending) = self.pending[index].take_if(full) {
            self.n_truncated += u64::from(pending.format == part.format);
            self.emit_pending(out, *pending, index, at.end);
        }
        let pending = self.pending[index].get_or_insert_with(|| {
            Box::new(Pending {
                text: Vec::new(),
                time: part.time.to_vec(),
                time_ns: part.time_ns,
                start: at.start,
                since: feed.now,
                format: part.format,
                joined: part.goes_on,
            })
        });
        pending.text.extend_from_slice(part.text);
        if !part.goes_on
            && let Some(pending) = self.pending[index].take()
        {
            self.emit_pending(out, *pending, index, at.end);
        }
    }

    fn emit_pending(&mut self, out: &mut OpenBatch, pending: Pending, index: usize, offset: u64) {
        let Some(position) = self.next_position(offset) else {
            return;
        };
        let record = WrappedLine {
            format: pending.format,
            time: out.logs.store(&pending.time),
            time_ns: pending.time_ns,
            stream: index,
            partial: pending.joined,
            log: out.logs.store(&pending.text),
        };
        out.columns
            .push(&mut out.logs, &record, position, pending.start);
    }

    /// Names the range that the batch covers.
    pub(super) fn seal(&self, out: &mut OpenBatch, id: SourceId) {
        out.logs.source = Source {
            id,
            from: out.from,
            to: self.last.max(self.sent),
        };
    }

    /// The last position given.
    pub(super) fn last(&self) -> Position {
        self.last.max(self.sent)
    }
}
