//! Where a line belongs: the decisions over a stream of lines.
//!
//! The rule: a record is made of neighbouring lines only (of its group). A line that another
//! multiline parser takes, or none, ends what was pending before it, so records come out in the
//! order of their first lines and a source's offset can follow.

use std::sync::Arc;
use std::time::Duration;

use super::{Kind, Multiline};
use crate::line::multiline::rules::State;

/// The most groups that one stream keeps apart; beyond it the oldest one's place is taken.
const MAX_GROUPS: usize = 16;

/// What a multiline parser needs of a line.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The text to join: the field `key_content`, or the line.
    pub text: &'a [u8],
    /// The field `key_pattern`, when the parser has one and the line has it.
    pub pattern: Option<&'a [u8]>,
    /// The field `key_group`, else empty.
    pub group: &'a [u8],
}

impl<'a> Content<'a> {
    /// A line that is its own content.
    #[must_use]
    pub fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            pattern: None,
            group: b"",
        }
    }
}

/// What has to be sent on before the line is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    Nothing,
    /// The record that is pending in the line's own slot.
    Slot,
    /// Every pending record of the stream.
    All,
}

/// Where the line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is a record by itself; nothing is pending afterwards.
    Alone,
    /// It is the first line of a record, which is pending in the slot now. The record takes this
    /// line's time and fields.
    Start,
    /// It is added to the slot's record behind so many newlines.
    Join { newlines: usize },
}

/// What to do with a line, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub flush: Flush,
    /// What is flushed was cut: with this line it would have grown beyond the limit.
    pub cut: bool,
    pub place: Place,
    /// The record is complete with this line.
    pub complete: bool,
    /// The slot, a small number; 0 for a line that stands alone.
    pub slot: usize,
}

/// The state of one stream of lines; small, and empty until its first line.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// The multiline parser that took the last line.
    last: Option<usize>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    parser: usize,
    group: Box<[u8]>,
    state: State,
    /// Bytes of the pending record.
    len: usize,
    is_pending: bool,
    ends_with_newline: bool,
}

impl Stream {
    /// Whether any record waits for more lines.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.slots.iter().any(|slot| slot.is_pending)
    }

    /// Tells that the record of a slot was sent on because its time was up. Later lines may still
    /// follow its state; they make a record of their own.
    pub fn flushed(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.clear();
        }
    }

    /// Tells that every pending record was sent on.
    pub fn flushed_all(&mut self) {
        self.slots.iter_mut().for_each(Slot::clear);
    }

    fn slot_of(&mut self, parser: usize, group: &[u8]) -> (usize, bool) {
        if let Some(at) = self.slots.iter().position(|s| s.is_of(parser, group)) {
            return (at, false);
        }
        let new = Slot {
            parser,
            group: group.into(),
            state: None,
            len: 0,
            is_pending: false,
            ends_with_newline: false,
        };
        if self.slots.len() < MAX_GROUPS {
            self.slots.push(new);
            return (self.slots.len() - 1, false);
        }
        let free = self.slots.iter().position(|slot| !slot.is_pending);
        let at = free.unwrap_or(0);
        self.slots[at] = new;
        (at, free.is_none())
    }
}

impl Slot {
    fn is_of(&self, parser: usize, group: &[u8]) -> bool {
        // Most have no group. Some processors take hundreds of cycles to compare nothing, as the
        // place where it lies cannot be read.
        let is_same =
            self.group.len() == group.len() && (group.is_empty() || *self.group == *group);
        self.parser == parser && is_same
    }

    fn clear(&mut self) {
        self.len = 0;
        self.is_pending = false;
        self.ends_with_newline = false;
    }
}

/// The multiline parsers of one input or filter, tried in order.
#[derive(Debug, Clone)]
pub struct Joiner {
    parsers: Vec<Arc<Multiline>>,
    limit_bytes: usize,
}

impl Joiner {
    /// `limit_bytes` bounds a joined record; a single line may be longer, as the input bounds those.
    #[must_use]
    pub fn new(parsers: Vec<Arc<Multiline>>, limit_bytes: usize) -> Self {
        Self {
            parsers,
            limit_bytes,
        }
    }

    /// The multiline parsers.
    #[must_use]
    pub fn parsers(&self) -> &[Arc<Multiline>] {
        &self.parsers
    }

    /// How long an unfinished record waits: the longest time of all, as in Fluent Bit.
    #[must_use]
    pub fn flush_after(&self) -> Duration {
        let longest = self.parsers.iter().map(|p| p.flush_after()).max();
        longest.unwrap_or(super::DEFAULT_FLUSH)
    }

    /// In which order to [`offer`](Self::offer) a line: first to the one that took the last line.
    pub fn order(&self, stream: &Stream) -> impl Iterator<Item = usize> + use<> {
        let last = stream.last;
        let others = (0..self.parsers.len()).filter(move |i| Some(*i) != last);
        last.into_iter().chain(others)
    }

    /// Takes a line that is its own content: for parsers without a `parser` of their own.
    #[must_use]
    pub fn push(&self, stream: &mut Stream, line: &[u8]) -> Step {
        let content = Content::of(line);
        (self.order(stream))
            .find_map(|parser| self.offer(stream, parser, content))
            .unwrap_or_else(|| self.alone(stream))
    }

    /// Offers a line to one multiline parser; `None` when it is not for that one.
    #[must_use]
    pub fn offer(&self, stream: &mut Stream, parser: usize, content: Content<'_>) -> Option<Step> {
        let multiline = &*self.parsers[parser];
        let (slot, displaced) = match &*multiline.kind {
            // What does not match leaves no trace in the stream.
            Kind::Rules(rules) => {
                let slots = &mut stream.slots.iter();
                let known = slots.find(|s| s.is_of(parser, content.group));
                let found = rules.find(known.and_then(|s| s.state), content.text)?;
                let (slot, displaced) = stream.slot_of(parser, content.group);
                stream.slots[slot].state = found.state;
                return Some(self.place(
                    stream,
                    parser,
                    (slot, displaced),
                    content.text,
                    (found.continues, found.completes),
                ));
            }
            Kind::Until { .. } => stream.slot_of(parser, content.group),
        };
        let complete = multiline.ends(content);
        Some(self.place(
            stream,
            parser,
            (slot, displaced),
            content.text,
            (true, complete),
        ))
    }

    /// What to do with a line that no multiline parser took.
    #[must_use]
    pub fn alone(&self, stream: &mut Stream) -> Step {
        let flush = if stream.is_pending() {
            Flush::All
        } else {
            Flush::Nothing
        };
        stream.flushed_all();
        Step {
            flush,
            cut: false,
            place: Place::Alone,
            complete: true,
            slot: 0,
        }
    }

    fn place(
        &self,
        stream: &mut Stream,
        parser: usize,
        (at, displaced): (usize, bool),
        text: &[u8],
        (continues, complete): (bool, bool),
    ) -> Step {
        let mut step = Step {
            flush: Flush::Nothing,
            cut: false,
            place: Place::Start,
            complete,
            slot: at,
        };
        let others = |s: &Slot| s.is_pending && s.parser != parser;
        if stream.last != Some(parser) && stream.slots.iter().any(others) {
            stream.flushed_all();
            step.flush = Flush::All;
        } else if displaced {
            step.flush = Flush::Slot;
        }
        stream.last = Some(parser);
        let slot = &mut stream.slots[at];
        if continues && !slot.is_pending && text.is_empty() {
            // An empty line that goes on what is gone already is the line end that it stands for.
            slot.len = self.parsers[parser].newlines(slot, text);
        }
        if slot.is_pending {
            let newlines = self.parsers[parser].newlines(slot, text);
            step.cut = continues && slot.len + newlines + text.len() > self.limit_bytes;
            if continues && !step.cut {
                step.place = Place::Join { newlines };
                slot.len += newlines;
            } else {
                step.flush = Flush::Slot;
                slot.clear();
            }
        }
        slot.is_pending = true;
        slot.len += text.len();
        slot.ends_with_newline = match text.last() {
            Some(last) => *last == b'\n',
            None => matches!(step.place, Place::Join { newlines: 1.. }),
        };
        if complete {
            slot.clear();
        }
        step
    }
}

impl Multiline {
    /// Whether a record ends with this line, for types endswith and equal.
    fn ends(&self, content: Content<'_>) -> bool {
        let Kind::Until {
            text,
            whole,
            negate,
        } = &*self.kind
        else {
            return false;
        };
        let looked_at = content.pattern.unwrap_or(content.text);
        let matched = if *whole {
            looked_at == text
        } else {
            looked_at.ends_with(text)
        };
        matched != *negate
    }

    /// Newlines between what is pending and the text that joins it. Rules join lines; the other
    /// types join the parts of one, unless the parts are whole lines.
    fn newlines(&self, slot: &Slot, text: &[u8]) -> usize {
        let between = usize::from(slot.len > 0 && !slot.ends_with_newline);
        match &*self.kind {
            Kind::Rules(_) => between + usize::from(text.is_empty()),
            Kind::Until { .. } if self.key_content.is_some() => 0,
            Kind::Until { .. } => between,
        }
    }
}
