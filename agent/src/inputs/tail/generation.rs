//! One generation of one file: an open descriptor, how far it is read, and what is under way.
//!
//! The descriptor stays open until the generation is read to its end, whatever happens to its name.
//! A quiet generation owns no buffer: an unfinished line is read again when more of it is there.
//! Every turn begins with the bytes before the offset, so that a truncation is noticed even when the
//! file has grown past the offset again.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kansoku_model::{Position, RecordBatch, Resource};

use super::content::Content;
use super::encoding::{self, Encoding, Wanted};
use super::identity::{self, HEAD_BYTES, MARKER_BYTES};
use super::lines::{Feed, LineRules, LineScratch, Lines, Mark, OpenBatch};
use super::options::{LongLines, TailOptions};
use super::window::{READ_BYTES, Window, first_long_line, utf8_border};
use crate::offsets::{Checkpoint, Cut, Print};
use crate::pipeline::{InputCounters, OutputSet};

/// A batch is closed when it holds this much: the size of a good request.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// An unfinished line longer than this is searched for its end before it is read again.
const SEARCH_FROM_BYTES: u64 = 64 << 10;

/// What a turn brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    Quiet,
    /// Something was read, up to the end of the file.
    AtEnd,
    /// There is more to read: the batch is full or the turn's bytes are used up.
    More,
    /// The file no longer holds what was read from it.
    Truncated,
}

/// What all turns share.
pub(super) struct TurnContext<'a> {
    pub(super) options: &'a TailOptions,
    pub(super) counters: &'a InputCounters,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) scratch: &'a mut LineScratch,
    pub(super) now: Instant,
    pub(super) now_ns: i64,
    /// The most bytes to read.
    pub(super) limit_bytes: u64,
    /// Nothing will follow: the end of the file ends its last line, too.
    pub(super) last: bool,
}

/// A stretch of the file that has been handed on and not yet been acknowledged.
struct Flight {
    /// Where reading resumes once it is.
    offset: u64,
    marker: Print,
    sent: Position,
    /// Outputs that are not done with it.
    pending: OutputSet,
    /// Where reading began for it.
    from: Start,
    /// The time of its first record.
    first_ns: Option<i64>,
}

/// Where to begin again to get the same records.
#[derive(Debug, Clone, Copy)]
struct Start {
    offset: u64,
    sent: Position,
}

/// A reader for one output that has fallen behind the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lag {
    /// The generation whose other outputs are ahead.
    pub(super) main: u64,
    pub(super) output: usize,
    /// It has caught up; only acknowledgements are still to come.
    pub(super) merged: bool,
}

pub(super) struct Generation {
    /// What is (to be) stored: only what has been acknowledged.
    pub(super) checkpoint: Checkpoint,
    pub(super) file: Content,
    /// The name behind symbolic links.
    pub(super) real: PathBuf,
    tag: Arc<str>,
    resource: Arc<Resource>,
    lines: Lines,
    knows_encoding: bool,
    /// The start of the first line that has not been read.
    offset: u64,
    /// The bytes before `offset`.
    before: Vec<u8>,
    /// In the middle of a line that was too long: where it began.
    long_line: Option<u64>,
    /// The unfinished line is known to have no end before this offset.
    searched: u64,
    /// The outputs that it reads for.
    pub(super) outputs: OutputSet,
    pub(super) lag: Option<Lag>,
    /// Batches end at these positions, as they did before a crash.
    pub(super) ends: Arc<[Position]>,
    /// Nothing is read beyond this offset.
    pub(super) until: Option<u64>,
    /// Where the batch under construction begins.
    start: Start,
    /// The state at that point.
    boundary: (u64, Option<u64>, Mark),
    open: Option<OpenBatch>,
    flights: VecDeque<Flight>,
    /// Number of the first flight in the queue.
    first_flight: u64,
    /// The last batch was closed because it was full.
    full: bool,
    /// Since when the name stands for another file, or for none.
    pub(super) rotated: Option<Instant>,
    /// Turns in a row without news.
    pub(super) quiet_turns: u32,
    /// It is to be read at the next tick.
    pub(super) hot: bool,
    /// The row must be stored before anything is sent.
    pub(super) must_save: bool,
    /// The checkpoint differs from the stored row.
    pub(super) dirty: bool,
    /// Its content no longer exists anywhere.
    pub(super) gone: bool,
    /// It is let go of because it is old; it may go on one day.
    pub(super) released: bool,
    /// Read to its end and let go; waits for acknowledgements only.
    pub(super) closed: bool,
}

impl Generation {
    /// Goes on where the checkpoint says.
    pub(super) fn new(
        checkpoint: Checkpoint,
        file: Content,
        real: PathBuf,
        tag: Arc<str>,
        resource: Arc<Resource>,
        outputs: OutputSet,
    ) -> io::Result<Self> {
        let offset = checkpoint.offset;
        let before = bytes_before(&file, offset)?;
        let start = Start {
            offset,
            sent: checkpoint.sent,
        };
        let lines = Lines::new(offset, checkpoint.sent, checkpoint.cuts.clone());
        Ok(Self {
            boundary: (offset, None, lines.mark()),
            outputs,
            lag: None,
            ends: Arc::new([]),
            until: None,
            start,
            lines,
            knows_encoding: false,
            must_save: checkpoint.id == 0 || checkpoint.foreign,
            dirty: true,
            checkpoint,
            file,
            real,
            tag,
            resource,
            offset,
            before,
            long_line: None,
            searched: 0,
            open: None,
            flights: VecDeque::new(),
            first_flight: 0,
            full: false,
            rotated: None,
            quiet_turns: 0,
            hot: true,
            gone: false,
            released: false,
            closed: false,
        })
    }

    /// A reader for one output, which begins where the batch of the newest flight begins.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn lagging(&self, main: u64, output: usize) -> io::Result<Self> {
        let start = self.flights.back().map_or(self.start, |f| f.from);
        self.lagging_from(main, output, start.offset, start.sent)
    }

    /// The same from a stored cursor.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn lagging_from(
        &self,
        main: u64,
        output: usize,
        offset: u64,
        sent: Position,
    ) -> io::Result<Self> {
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.offset = offset;
        checkpoint.sent = sent;
        checkpoint.marker = identity::marker_print(&self.file, offset)?;
        checkpoint.cuts.retain(|c| c.offset > offset);
        let (tag, resource) = (self.tag.clone(), self.resource.clone());
        let (file, real) = (self.file.again()?, self.real.clone());
        let only = OutputSet::one(output);
        let mut reader = Self::new(checkpoint, file, real, tag, resource, only)?;
        reader.lag = Some(Lag {
            main,
            output,
            merged: false,
        });
        reader.ends = self.ends.clone();
        reader.must_save = false;
        reader.dirty = false;
        Ok(reader)
    }

    /// Nobody took the newest batch: it is read again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        let Some(flight) = self.flights.pop_back() else {
            return Ok(());
        };
        self.start = flight.from;
        self.offset = self.start.offset;
        self.before = bytes_before(&self.file, self.offset)?;
        let mut cuts = self.checkpoint.cuts.clone();
        cuts.retain(|c| c.offset > self.offset);
        self.lines = Lines::new(self.offset, self.start.sent, cuts);
        self.boundary = (self.offset, None, self.lines.mark());
        self.knows_encoding = false;
        self.long_line = None;
        self.searched = 0;
        self.open = None;
        self.full = false;
        self.hot = true;
        self.quiet_turns = 0;
        Ok(())
    }

    /// Reads on from a place further ahead, for these outputs.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn jump_to(
        &mut self,
        offset: u64,
        sent: Position,
        outputs: OutputSet,
    ) -> io::Result<()> {
        self.before = bytes_before(&self.file, offset)?;
        self.checkpoint.offset = offset;
        self.checkpoint.sent = sent;
        self.checkpoint.marker = identity::marker_print(&self.file, offset)?;
        self.checkpoint.cuts.retain(|c| c.offset > offset);
        self.lines = Lines::new(offset, sent, self.checkpoint.cuts.clone());
        self.start = Start { offset, sent };
        self.boundary = (offset, None, self.lines.mark());
        self.offset = offset;
        self.outputs = outputs;
        Ok(())
    }

    /// These outputs did not take the newest batch, and get it from a reader of their own.
    pub(super) fn leave_behind(&mut self, outputs: OutputSet) {
        self.outputs = self.outputs.without(outputs);
        if let Some(flight) = self.flights.back_mut() {
            flight.pending = flight.pending.without(outputs);
        }
        self.land();
    }

    /// How far the outputs have been served that are not left behind: where the batch under
    /// construction begins.
    pub(super) fn boundary_offset(&self) -> u64 {
        self.boundary.0
    }

    /// Whether this reader stands where `main` is about to give its next batch, in the same state.
    pub(super) fn has_reached(&self, main: &Self) -> bool {
        self.open.is_none() && (self.offset, self.long_line, self.lines.mark()) == main.boundary
    }

    /// Other readers of this generation cut what they join at the same places.
    pub(super) fn expect_cuts(&mut self, cuts: &[Cut]) {
        for cut in cuts {
            self.lines.expect_cut(*cut);
            self.checkpoint.cuts.push(*cut);
        }
    }

    /// Whether an output is not done with a batch of this reader.
    pub(super) fn is_pending_for(&self, output: usize) -> bool {
        self.flights.iter().any(|f| f.pending.contains(output))
    }

    /// How far one of its outputs has got: offset, marker and last position.
    pub(super) fn cursor_of(&self, output: usize) -> (u64, Print, Position) {
        let done = self
            .flights
            .iter()
            .take_while(|f| !f.pending.contains(output));
        match done.last() {
            Some(flight) => (flight.offset, flight.marker, flight.sent),
            None => {
                let c = &self.checkpoint;
                (c.offset, c.marker, c.sent)
            }
        }
    }

    /// Whether it has another name and nothing new comes.
    pub(super) fn is_drained(&self) -> bool {
        self.closed || (self.rotated.is_some() && self.quiet_turns >= 2)
    }

    /// Whether a later generation may be read without overtaking this one, at the output that is
    /// ahead of the others.
    pub(super) fn may_be_followed(&self) -> bool {
        let has_all = |output| !self.is_pending_for(output);
        // A request of before a crash may have batches of both.
        let repeats = self.has_end_after(self.checkpoint.offset);
        let delivered = self.flights.is_empty() || self.outputs.iter().any(has_all) || repeats;
        self.is_drained() && self.open.is_none() && delivered
    }

    /// Whether a batch ended behind `offset` before a crash.
    fn has_end_after(&self, offset: u64) -> bool {
        self.ends.iter().any(|end| end.offset > offset)
    }

    /// Whether a request that was under way before a crash may lack something that is to be read.
    pub(super) fn must_repeat(&self) -> bool {
        self.hot && !self.closed && self.has_end_after(self.offset)
    }

    /// Whether everything handed on has been acknowledged and nothing waits to be.
    pub(super) fn is_settled(&self) -> bool {
        self.flights.is_empty() && self.open.is_none()
    }

    /// Whether something was sent that has not been acknowledged.
    pub(super) fn has_flights(&self) -> bool {
        !self.flights.is_empty()
    }

    /// What the row would say if all that was read had been acknowledged.
    pub(super) fn read_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            offset: self.offset,
            marker: Print::of(&self.before),
            ..self.checkpoint.clone()
        }
    }

    /// How far it has been read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the batch must be sent before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether there is a batch to send.
    pub(super) fn has_batch(&self) -> bool {
        self.open.is_some()
    }

    /// Memory of the batch that waits for more lines.
    pub(super) fn open_bytes(&self) -> usize {
        self.open
            .as_ref()
            .map_or(0, |open| open.logs.reserved_bytes())
    }

    /// Whether lines wait for others.
    pub(super) fn is_waiting(&self) -> bool {
        self.lines.is_waiting()
    }

    /// Whether something may be there that has not been delivered.
    pub(super) fn is_behind(&self) -> bool {
        self.has_flights() || self.has_batch() || self.is_waiting() || (self.hot && !self.closed)
    }

    /// The time of the oldest record that has been read and not delivered.
    pub(super) fn oldest_ns(&self) -> Option<i64> {
        let sent = self.flights.iter().find_map(|f| f.first_ns);
        sent.or_else(|| self.open.as_ref()?.logs.times().first().copied())
    }

    /// How much there is to deliver; of a packed file only what has been read is known.
    pub(super) fn known_size(&self) -> u64 {
        if self.file.is_gzip() {
            return self.offset;
        }
        (self.file.metadata()).map_or(self.offset, |m| m.len().max(self.offset))
    }

    /// The first position that reading must be able to come back to.
    fn resume_offset(&self) -> u64 {
        let pending = self.lines.oldest_pending().unwrap_or(self.offset);
        pending.min(self.long_line.unwrap_or(self.offset))
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn turn(&mut self, context: &mut TurnContext<'_>) -> io::Result<Turn> {
        if self.full {
            return Ok(Turn::More);
        }
        let turn = self.read(context);
        self.quiet_turns = match turn {
            Ok(Turn::Quiet) => self.quiet_turns.saturating_add(1),
            _ => 0,
        };
        if self.quiet_turns == 2 {
            self.file.rest();
        }
        let n_cut = self.lines.take_n_truncated();
        context.counters.multiline_truncated.add(n_cut);
        turn
    }

    fn read(&mut self, context: &mut TurnContext<'_>) -> io::Result<Turn> {
        if self.searched > self.offset + SEARCH_FROM_BYTES
            && !context.last
            && let Some(turn) = self.search_line_end(context)?
        {
            return Ok(turn);
        }
        let buffer = std::mem::take(context.buffer);
        let mut window = Window {
            buffer,
            start: self.before.len(),
            end: 0,
        };
        let turn = self.read_window(&mut window, context);
        // A line of megabytes must not keep its buffer.
        window.buffer.truncate(READ_BYTES + MARKER_BYTES);
        window.buffer.shrink_to(READ_BYTES + MARKER_BYTES);
        *context.buffer = window.buffer;
        turn
    }

    fn read_window(
        &mut self,
        window: &mut Window,
        context: &mut TurnContext<'_>,
    ) -> io::Result<Turn> {
        self.learn_encoding(context.options.rules.encoding)?;
        let first = self.offset - self.before.len() as u64;
        let mut n_read = window.fill(&self.file, first)?;
        if window.end < self.before.len() || window.buffer[..self.before.len()] != self.before {
            return Ok(Turn::Truncated);
        }
        // At offset 0 nothing stands before; a truncation shows in the first bytes.
        let head = self.checkpoint.head;
        if self.offset == 0 && head.size > 0 {
            let begin = window.unread().get(..head.size as usize);
            if begin.map(Print::of) != Some(head) {
                return Ok(Turn::Truncated);
            }
        }
        let mut budget = context.limit_bytes;
        let old_offset = self.offset;
        loop {
            let mut at_end = n_read == 0 || window.end < window.buffer.len();
            if let Some(until) = self.until {
                let end = window.start + until.saturating_sub(self.offset) as usize;
                at_end |= end <= window.end;
                window.end = window.end.min(end);
            }
            self.take_lines(window, context);
            if self.full {
                return Ok(Turn::More);
            }
            let unfinished = window.end - window.start;
            if unfinished > context.options.line_max_bytes {
                self.begin_long_line(window, context);
                continue;
            }
            if at_end {
                if let Some(reason) = self.file.broken() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
                return Ok(self.end_of_file(window, old_offset, context));
            }
            budget = budget.saturating_sub(n_read as u64);
            if budget == 0 {
                return Ok(Turn::More);
            }
            window.make_room(context.options.line_max_bytes);
            n_read = window.fill(&self.file, self.offset + (window.end - window.start) as u64)?;
        }
    }

    /// The byte order mark is looked at until there is one or a line without.
    fn learn_encoding(&mut self, wanted: Wanted) -> io::Result<()> {
        if self.knows_encoding {
            return Ok(());
        }
        let encoding = match wanted {
            Wanted::Utf8 => None,
            Wanted::Fixed(encoding) => Some(encoding),
            Wanted::Auto => {
                let mut mark = [0; 2];
                let n = self.file.read_full(&mut mark, 0)?;
                if n < mark.len() {
                    return Ok(());
                }
                Encoding::of_mark(&mark)
            }
        };
        self.knows_encoding = true;
        self.lines.set_encoding(encoding);
        Ok(())
    }

    fn end_of_file(
        &mut self,
        window: &mut Window,
        old_offset: u64,
        context: &mut TurnContext<'_>,
    ) -> Turn {
        let unfinished = (window.end - window.start) as u64;
        if context.last && unfinished > 0 {
            if self.long_line.is_none() {
                self.feed(window, window.end, context);
            } else {
                self.consume(window, window.end);
                self.long_line = None;
            }
        }
        let seen = self.offset + (window.end - window.start) as u64;
        let news = self.offset > old_offset || seen > self.searched.max(old_offset);
        self.searched = seen;
        if news { Turn::AtEnd } else { Turn::Quiet }
    }

    /// Feeds all whole lines of the window.
    fn take_lines(&mut self, window: &mut Window, context: &mut TurnContext<'_>) {
        let encoding = self.lines.encoding();
        if self.long_line.is_some() {
            let Some(n) = encoding::first_line_end(encoding, window.unread()) else {
                // Half a character stays.
                let half = (window.end - window.start) % encoding::width(encoding);
                self.consume(window, window.end - half);
                return;
            };
            self.consume(window, window.start + n);
            self.long_line = None;
        }
        while let Some(n) = window.lines_end(encoding) {
            let end = window.start + n;
            let longest = context.options.line_max_bytes;
            // Only when the window is larger than a line may be can it hold too long a line.
            let end = if end - window.start > longest {
                match first_long_line(encoding, window.unread(), longest) {
                    Some(0) => {
                        self.begin_long_line(window, context);
                        self.take_lines(window, context);
                        return;
                    }
                    Some(before) => window.start + before,
                    None => end,
                }
            } else {
                end
            };
            let batch_end = self.batch_end(window, end);
            self.feed(window, batch_end.unwrap_or(end), context);
            self.full |= batch_end.is_some();
            if self.full {
                return;
            }
        }
    }

    /// Where in the window, at `end` at the latest, the batch has to end: with the line in which
    /// the next of the positions lies.
    fn batch_end(&self, window: &Window, end: usize) -> Option<usize> {
        let next = self.ends.iter().find(|p| p.offset > self.offset)?;
        let encoding = self.lines.encoding();
        let width = encoding::width(encoding);
        let within = usize::try_from(next.offset - self.offset).ok()? - 1;
        let line = window.buffer[window.start..end].get(within / width * width..)?;
        let n = encoding::first_line_end(encoding, line)?;
        Some(window.start + within / width * width + n)
    }

    fn feed(&mut self, window: &mut Window, end: usize, context: &mut TurnContext<'_>) {
        let start = self.offset;
        let region = &window.buffer[window.start..end];
        if start == 0 && self.checkpoint.head.size == 0 {
            self.checkpoint.head = Print::of(&region[..region.len().min(HEAD_BYTES)]);
            self.dirty = true;
            self.must_save = true;
        }
        let from = self.lines.last();
        let reserve = if region.len() >= READ_BYTES / 2 {
            BATCH_BYTES
        } else {
            0
        };
        let open = self.open.get_or_insert_with(|| {
            OpenBatch::new(self.tag.clone(), self.resource.clone(), reserve, from)
        });
        let mut feed = Feed {
            rules: &context.options.rules,
            path: &self.checkpoint.path,
            now: context.now,
            now_ns: context.now_ns,
            scratch: context.scratch,
        };
        self.lines.feed(open, &mut feed, region, start);
        self.full = open.logs.size_bytes() >= BATCH_BYTES;
        self.consume(window, end);
    }

    /// Moves on to `end` of the window.
    fn consume(&mut self, window: &mut Window, end: usize) {
        self.offset += (end - window.start) as u64;
        let news = &window.buffer[window.start..end];
        let news = &news[news.len().saturating_sub(MARKER_BYTES)..];
        let n_old = self.before.len().min(MARKER_BYTES - news.len());
        self.before.drain(..self.before.len() - n_old);
        self.before.extend_from_slice(news);
        window.start = end;
    }

    /// The window begins with a line over the bound: take its beginning, or nothing of it, and skip
    /// to its end.
    fn begin_long_line(&mut self, window: &mut Window, context: &mut TurnContext<'_>) {
        let start = self.offset;
        match context.options.long_lines {
            LongLines::Truncate => {
                context.counters.long_line_truncated.add(1);
                let longest = context.options.line_max_bytes;
                let begin = &window.unread()[..longest];
                let keep = match self.lines.encoding() {
                    None => utf8_border(begin),
                    encoding => longest - longest % encoding::width(encoding),
                };
                self.feed(window, window.start + keep, context);
            }
            LongLines::Skip => {
                context.counters.long_line_skipped.add(1);
                // One character, so that the line is not begun again.
                let width = encoding::width(self.lines.encoding());
                self.consume(window, window.start + width);
            }
        }
        self.long_line = Some(start);
    }

    /// Looks only for the end of a long unfinished line; `None` when it is worth reading the line.
    fn search_line_end(&mut self, context: &mut TurnContext<'_>) -> io::Result<Option<Turn>> {
        let old = self.searched;
        loop {
            context.buffer.resize(READ_BYTES, 0);
            let n = self.file.read_full(context.buffer, self.searched)?;
            if !self.file.may_hold(self.searched)? {
                return Ok(Some(Turn::Truncated));
            }
            let found = memchr::memchr(b'\n', &context.buffer[..n]).is_some();
            let length = self.searched + n as u64 - self.offset;
            if found || length > context.options.line_max_bytes as u64 {
                self.searched = 0;
                return Ok(None);
            }
            self.searched += n as u64;
            if n < READ_BYTES {
                let news = self.searched > old;
                return Ok(Some(if news { Turn::AtEnd } else { Turn::Quiet }));
            }
        }
    }

    /// What has waited too long goes out as it is; the cut is noted so that a second reading after a
    /// crash cuts alike. True when there was something.
    pub(super) fn cut_due(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
    ) -> bool {
        let slots = self.lines.due(rules, now.0);
        self.cut(rules, scratch, now, slots);
        slots != 0
    }

    /// Nothing more will come: everything that waits goes out as it is.
    pub(super) fn cut_all(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
    ) {
        // A partial line that is cut may join a group, which then has to go, too.
        for _ in 0..2 {
            let slots = self.lines.waiting();
            self.cut(rules, scratch, now, slots);
        }
    }

    pub(super) fn cut(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
        slots: u8,
    ) {
        if slots == 0 {
            return;
        }
        let from = self.lines.last();
        let open = self.open.get_or_insert_with(|| {
            OpenBatch::new(self.tag.clone(), self.resource.clone(), 0, from)
        });
        let mut feed = Feed {
            rules,
            path: &self.checkpoint.path,
            now: now.0,
            now_ns: now.1,
            scratch,
        };
        let cut = self.lines.cut(open, &mut feed, self.offset, slots);
        self.checkpoint.cuts.push(cut);
        self.must_save = true;
    }

    /// Takes the batch out for sending, with the number of its flight. `None` when it has no record;
    /// the way is then cleared at once.
    ///
    /// # Errors
    /// When the bytes before the offset cannot be read.
    pub(super) fn take_batch(&mut self) -> io::Result<Option<(RecordBatch, u64)>> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        self.full = false;
        self.lines.seal(&mut open, self.checkpoint.source);
        let offset = self.resume_offset();
        let marker = if offset == self.offset {
            Print::of(&self.before)
        } else {
            identity::marker_print(&self.file, offset)?
        };
        let is_empty = open.logs.is_empty();
        let first_ns = open.logs.times().first().copied();
        let sent = self.lines.last();
        let from = std::mem::replace(&mut self.start, Start { offset, sent });
        self.boundary = (self.offset, self.long_line, self.lines.mark());
        self.flights.push_back(Flight {
            offset,
            marker,
            sent,
            pending: if is_empty {
                OutputSet::EMPTY
            } else {
                self.outputs
            },
            from,
            first_ns,
        });
        let number = self.first_flight + self.flights.len() as u64 - 1;
        if is_empty {
            self.land();
            return Ok(None);
        }
        Ok(Some((RecordBatch::Logs(open.logs), number)))
    }

    /// Outputs are done with a flight.
    pub(super) fn acknowledge(&mut self, number: u64, outputs: OutputSet) {
        let index = number.wrapping_sub(self.first_flight) as usize;
        if let Some(flight) = self.flights.get_mut(index) {
            flight.pending = flight.pending.without(outputs);
            // A cursor may have moved.
            self.dirty |= self.outputs.len() > 1;
        }
        self.land();
    }

    /// Moves the checkpoint over what is acknowledged without a gap.
    fn land(&mut self) {
        while let Some(flight) = self.flights.front().filter(|f| f.pending.is_empty()) {
            self.checkpoint.offset = flight.offset;
            self.checkpoint.marker = flight.marker;
            self.checkpoint.sent = flight.sent;
            self.checkpoint.cuts.retain(|c| c.offset > flight.offset);
            self.dirty = true;
            self.flights.pop_front();
            self.first_flight += 1;
        }
    }

    /// Brings the print of the first bytes up to date; true when it changed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn update_head(&mut self) -> io::Result<bool> {
        let old = self.checkpoint.head;
        let is_long_enough =
            old.size as usize == HEAD_BYTES || (old.size > 0 && u64::from(old.size) >= self.offset);
        // After a truncation the first bytes are those of another generation.
        if is_long_enough || !identity::begins_with(&self.file, old)? {
            return Ok(false);
        }
        self.checkpoint.head = identity::head_print(&self.file)?;
        self.dirty |= self.checkpoint.head != old;
        Ok(self.checkpoint.head != old)
    }

    /// Whether the file holds nothing now.
    pub(super) fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|m| m.len() == 0)
    }

    /// Tells the kernel that what was read from `begin` on is not read again.
    pub(super) fn drop_cache(&self, begin: u64) {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let (begin, len) = (begin as i64, (self.offset - begin) as i64);
        // Only a wish: where it is not granted, nothing is lost.
        let _ = nix::fcntl::posix_fadvise(self.file.file(), begin, len, advice);
    }

    /// The same content lies in another file (a copy made before truncation): go on there.
    pub(super) fn move_to(&mut self, file: Content, device: u64, inode: u64) {
        self.file = file;
        self.checkpoint.device = device;
        self.checkpoint.inode = inode;
        self.dirty = true;
        self.must_save = true;
        self.searched = 0;
        self.quiet_turns = 0;
        self.hot = true;
    }
}

fn bytes_before(file: &Content, offset: u64) -> io::Result<Vec<u8>> {
    let size = offset.min(MARKER_BYTES as u64);
    let mut bytes = vec![0; size as usize];
    let n = file.read_full(&mut bytes, offset - size)?;
    bytes.truncate(n);
    Ok(bytes)
}
