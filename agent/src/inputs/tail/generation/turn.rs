//! One turn: from the bytes that are new in the file to lines of the batch under construction.
//!
//! What becomes of a line is the affair of `lines`. The rule: every turn begins with the bytes before
//! the offset, so that a truncation is noticed even when the file has grown past the offset again.

use std::io;

use super::{BATCH_BYTES, Generation, SEARCH_FROM_BYTES, Turn, TurnContext};
use crate::inputs::tail::encoding::{self, Encoding, Wanted};
use crate::inputs::tail::identity::{HEAD_BYTES, MARKER_BYTES};
use crate::inputs::tail::lines::{Feed, OpenBatch};
use crate::inputs::tail::options::LongLines;
use crate::inputs::tail::window::{READ_BYTES, Window, first_long_line, utf8_border};
use crate::offsets::Print;

impl Generation {
    /// Reads what is new.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(in crate::inputs::tail) fn turn(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> io::Result<Turn> {
        if self.full {
            return Ok(Turn::More);
        }
        let turn = self.read(context);
        self.failed = turn.is_err();
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
        let (from, is_large) = (open.from(), open.logs.size_bytes() >= BATCH_BYTES);
        self.consume(window, end);
        // Where a batch is full depends on how much each read brings; what is to be one again is.
        self.full = is_large && !self.is_within_range(from);
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
}
