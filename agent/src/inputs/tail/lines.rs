//! From the lines of one generation to records: formats, joining of partial lines, positions.
//!
//! Nothing here reads files or clocks. The rule: the same bytes, read again from the same offset,
//! give the same records at the same positions, so that a repeat can be told from news. Every record
//! that is made while one line is looked at has a position within that line, so that all of them
//! travel in one batch; only what is cut because time is up stands between lines, see [`Cut`].
//!
//! What a runtime split is put together in [`joining`], what belongs together by its text in
//! [`grouping`]; what is unfinished at the end of a generation goes on in the next, see [`handing`].

mod grouping;
mod handing;
mod joining;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::{LogBatch, Position, Resource, Slice, Source, SourceId};
use kansoku_parsers::line::json::Field;
use kansoku_parsers::line::{Parsed, Parser};

use super::columns::{Columns, PlainLine, WrappedLine};
use super::encoding::{self, Encoding, Wanted};
use crate::offsets::Cut;
use grouping::Groups;
pub(super) use grouping::{FirstLine, Grouping};
pub(super) use handing::Waiting;
use joining::Pending;

/// How a container runtime wraps lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Cri,
    Docker,
}

/// `docker_mode`: docker's lines are joined as JSON and handed on as such.
pub(super) struct DockerMode {
    /// `docker_mode_parser`.
    pub(super) first_line: Option<Arc<Parser>>,
}

/// How lines become records; shared by all files of an input.
pub(super) struct LineRules {
    /// Field for the text of lines that no parser knows.
    pub(super) key: Arc<str>,
    /// Field for the file's name.
    pub(super) path_key: Option<Arc<str>>,
    /// Field for the line's offset.
    pub(super) offset_key: Option<Arc<str>>,
    /// The runtimes in `multiline.parser`.
    pub(super) formats: Vec<Format>,
    pub(super) docker_mode: Option<DockerMode>,
    /// Which lines belong together by their text.
    pub(super) grouping: Option<Grouping>,
    /// `parser`.
    pub(super) parser: Option<Arc<Parser>>,
    pub(super) skip_empty_lines: bool,
    /// Records of groups and of docker mode older than that are dropped.
    pub(super) ignore_older: Option<Duration>,
    pub(super) encoding: Wanted,
    /// A joined record is cut in pieces of at most this size.
    pub(super) join_limit_bytes: usize,
    /// How long a partial line waits for its rest.
    pub(super) join_timeout: Duration,
    /// How long a group waits for its next line.
    pub(super) group_timeout: Duration,
}

impl LineRules {
    fn is_too_old(&self, time_ns: i64, now_ns: i64) -> bool {
        let too_old =
            |limit: Duration| i128::from(now_ns) - limit.as_nanos() as i128 > time_ns.into();
        self.ignore_older.is_some_and(too_old)
    }
}

/// Streams of a [`Cut`]: bits 0 and 1 are the partial lines of standard output and error, bits 2 and
/// 3 their groups.
const N_SLOTS: u8 = 4;
/// All of them are handed on to the next generation.
pub(super) const HANDED_ON: u8 = 1 << 4;
/// The next generation never came: what was handed on goes out as it is.
pub(super) const TAKEN_BACK: u8 = 1 << 5;
const FIRST_GROUP: u8 = 2;
/// Ordinals kept for the records of one slot of a cut.
const SLOT_ORDINALS: u32 = 32;

/// The reading state of one generation.
pub(super) struct Lines {
    /// The last position given to a record.
    last: Position,
    /// Records up to here were delivered in an earlier life and are not made again.
    sent: Position,
    /// Of standard output and standard error.
    pending: [Option<Box<Pending>>; 2],
    /// Of the same two; none as long as nothing is grouped.
    groups: Option<Box<[Groups; 2]>>,
    /// What the next generation brings the rest of; it holds the offset back until that is delivered.
    handed: Option<Box<Waiting>>,
    /// Cuts of an earlier life that lie ahead, in order.
    cuts: Vec<Cut>,
    /// The format that fitted the last line.
    last_format: usize,
    /// Joined records that were cut at the limit, since last asked.
    n_truncated: u64,
    /// Of the file; `None` = bytes are taken as they are.
    encoding: Option<Encoding>,
}

/// See [`Lines::mark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    last: Position,
    waiting: [Option<u64>; 4],
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

    /// Its records come after this.
    pub(super) fn from(&self) -> Position {
        self.from
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

/// A line, or several that were joined, before it is a record.
struct Unit<'a> {
    /// Time as written, its value, and whether the first part said that more would come; `None` for
    /// lines that no runtime has wrapped.
    wrap: Option<(Format, &'a [u8], i64, bool)>,
    stream: usize,
    text: &'a [u8],
    /// Where the time and the text lie in the arena, when they do.
    slices: Option<(Slice, Slice)>,
    /// Where its first line begins.
    start: u64,
    /// Its position is this offset.
    offset: u64,
    /// The first offset within the line that made it complete.
    within: u64,
}

/// Where the oldest of these begins.
fn oldest(pending: &[Option<Box<Pending>>; 2], groups: Option<&[Groups; 2]>) -> Option<u64> {
    let partial = pending.iter().flatten().map(|p| p.start);
    let groups = groups.into_iter().flatten();
    partial.chain(groups.filter_map(Groups::oldest)).min()
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
            groups: None,
            handed: None,
            cuts,
            last_format: 0,
            n_truncated: 0,
            encoding: None,
        }
    }

    pub(super) fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    pub(super) fn set_encoding(&mut self, encoding: Option<Encoding>) {
        self.encoding = encoding;
    }

    /// Where the oldest part begins that waits here or was handed on.
    pub(super) fn oldest_pending(&self) -> Option<u64> {
        let handed = self.handed.as_ref().and_then(|handed| handed.oldest());
        let waiting = oldest(&self.pending, self.groups.as_deref());
        handed.into_iter().chain(waiting).min()
    }

    /// Whether anything waits for lines to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending.iter().any(Option::is_some)
            || self.groups.iter().any(|g| g.iter().any(Groups::is_waiting))
    }

    /// What has waited long enough, as in [`Cut`].
    pub(super) fn due(&self, rules: &LineRules, now: Instant) -> u8 {
        let over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let mut slots = 0;
        for (index, pending) in self.pending.iter().enumerate() {
            let due = (pending.as_ref()).is_some_and(|p| over(p.since, rules.join_timeout));
            slots |= u8::from(due) << index;
        }
        for (index, groups) in self.groups.iter().flat_map(|g| g.iter()).enumerate() {
            let since = groups.since();
            let due = since.is_some_and(|since| over(since, rules.group_timeout));
            slots |= u8::from(due) << (FIRST_GROUP + index as u8);
        }
        slots
    }

    /// Everything that waits, as in [`Cut`].
    pub(super) fn waiting(&self) -> u8 {
        let mut slots = 0;
        for (index, pending) in self.pending.iter().enumerate() {
            slots |= u8::from(pending.is_some()) << index;
        }
        for (index, groups) in self.groups.iter().flat_map(|g| g.iter()).enumerate() {
            slots |= u8::from(groups.is_waiting()) << (FIRST_GROUP + index as u8);
        }
        slots
    }

    /// What tells whether two readers of the same bytes stand at the same place.
    pub(super) fn mark(&self) -> Mark {
        let group = |n: usize| self.groups.as_ref().and_then(|g| g[n].oldest());
        let partial = |n: usize| self.pending[n].as_ref().map(|p| p.start);
        Mark {
            last: self.last(),
            waiting: [partial(0), partial(1), group(0), group(1)],
        }
    }

    /// A cut that another reader of the same bytes has made ahead.
    pub(super) fn expect_cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
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
        out.columns.begin(&mut out.logs, feed.rules, feed.path);
        if self.encoding.is_some() {
            self.feed_decoded(out, feed, region, start);
            return;
        }
        let arena = out.logs.store(region).start;
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
            self.replay_cuts(out, feed, place.start);
            self.line(out, feed, &region[at..line_end], place);
            at = next;
        }
        self.replay_cuts(out, feed, start + region.len() as u64);
    }

    /// The same for text that is not UTF-8.
    fn feed_decoded(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        region: &[u8],
        start: u64,
    ) {
        let Some(encoding) = self.encoding else {
            return;
        };
        let width = encoding::width(Some(encoding));
        let mut at = 0;
        while at < region.len() {
            let end = encoding::first_line_end(Some(encoding), &region[at..]);
            let (line_end, next) = match end {
                Some(n) => (at + n - width, at + n),
                None => (region.len(), region.len()),
            };
            let text = encoding.decode(&region[at..line_end]);
            let text = match text.strip_prefix('\u{feff}') {
                Some(rest) if start + at as u64 == 0 => rest,
                _ => &text,
            };
            let place = At {
                start: start + at as u64,
                end: start + next as u64,
                arena: out.logs.store(text.as_bytes()).start,
            };
            self.replay_cuts(out, feed, place.start);
            self.line(out, feed, text.as_bytes(), place);
            at = next;
        }
        self.replay_cuts(out, feed, start + region.len() as u64);
    }

    /// Takes what waits in these slots as it is: its rest did not come.
    pub(super) fn cut(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        offset: u64,
        slots: u8,
    ) -> Cut {
        out.columns.begin(&mut out.logs, feed.rules, feed.path);
        let next = if self.last.offset == offset {
            self.last.ordinal + 1
        } else {
            0
        };
        let cut = Cut {
            offset,
            streams: slots,
            ordinal: next,
        };
        self.flush_slots(out, feed, cut);
        cut
    }

    /// Cuts here what another reader of the same bytes has cut up to this place.
    pub(super) fn replay_cuts(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, up_to: u64) {
        while let Some(cut) = self.cuts.first().copied().filter(|c| c.offset <= up_to) {
            self.cuts.remove(0);
            self.flush_slots(out, feed, cut);
        }
    }

    fn flush_slots(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, cut: Cut) {
        if cut.streams & HANDED_ON != 0 {
            self.hand_on();
        }
        if cut.streams & TAKEN_BACK != 0 {
            self.flush_handed(out, feed, cut);
        }
        for slot in (0..N_SLOTS).filter(|slot| cut.streams & 1 << slot != 0) {
            // Whatever has been forgotten of the records around it, this one's position is the same.
            let ordinal = cut.ordinal + SLOT_ORDINALS * u32::from(slot);
            if let Some(ordinal) = ordinal.checked_sub(1) {
                let offset = cut.offset;
                self.last = self.last.max(Position { offset, ordinal });
            }
            if slot >= FIRST_GROUP {
                self.flush_groups(out, feed, usize::from(slot - FIRST_GROUP), cut.offset);
            } else if let Some(pending) = self.pending[usize::from(slot)].take() {
                self.emit_pending(
                    out,
                    feed,
                    *pending,
                    usize::from(slot),
                    cut.offset,
                    cut.offset,
                );
            }
        }
    }

    /// The next position at `offset`, or `None` when that record was delivered in an earlier life.
    fn next_position(&mut self, offset: u64) -> Option<Position> {
        // A generation never begins to be read at an offset where a record ends later: `last` is
        // then the start itself, and every line ends after it.
        self.last = if self.last.offset >= offset {
            Position {
                offset: self.last.offset,
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
        if feed.rules.docker_mode.is_some() && self.docker_mode_line(out, feed, line, at) {
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
        let unit = Unit {
            wrap: None,
            stream: 0,
            text: line,
            slices: Some((Slice::default(), at.slice(0..line.len()))),
            start: at.start,
            offset: at.end,
            within: at.start + 1,
        };
        self.unit(out, feed, &unit);
    }

    /// Makes a record of a unit, or adds it to its group.
    fn unit(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, unit: &Unit<'_>) {
        if feed.rules.grouping.is_some() {
            self.group(out, feed, unit);
        } else {
            self.emit(out, feed, unit);
        }
    }

    fn emit(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, unit: &Unit<'_>) {
        let Some(position) = self.next_position(unit.offset) else {
            return;
        };
        let (time, text) = unit.slices.unwrap_or_else(|| {
            let time = unit.wrap.map_or(&b""[..], |wrap| wrap.1);
            (out.logs.store(time), out.logs.store(unit.text))
        });
        let parsed = &mut feed.scratch.parsed;
        match unit.wrap {
            None => {
                let plain = PlainLine {
                    line: unit.text,
                    text,
                    position,
                    start: unit.start,
                    now_ns: feed.now_ns,
                };
                out.columns
                    .push_plain(&mut out.logs, feed.rules, &plain, parsed);
            }
            Some((format, _, time_ns, partial)) => {
                let record = WrappedLine {
                    format,
                    time,
                    time_ns,
                    stream: unit.stream,
                    partial,
                    log: text,
                };
                let row = (out.columns).push(&mut out.logs, &record, position, unit.start);
                if let Some(parser) = &feed.rules.parser
                    && parser.parse(unit.text, feed.now_ns, parsed)
                {
                    out.columns.put_parsed(&mut out.logs, row, &record, parsed);
                }
            }
        }
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
