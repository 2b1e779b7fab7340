//! Putting together lines that belong to one record by their text: the old `multiline` mode.
//!
//! Groups are kept per stream, so that a line of standard error does not tear one of standard output
//! apart. The rule: a group's lines stay in the file's order, and its first line holds the offset
//! back until the record is made.

use std::sync::Arc;
use std::time::Instant;

use kansoku_parsers::line::Parser;

use super::{Feed, Lines, OpenBatch, Unit};
use crate::inputs::tail::columns::GroupPart;

/// How lines are grouped.
pub(in crate::inputs::tail) enum Grouping {
    FirstLine(FirstLine),
}

/// The old `multiline` mode: a parser knows first lines, others give fields of further ones.
pub(in crate::inputs::tail) struct FirstLine {
    /// `parser_firstline`.
    pub(in crate::inputs::tail) first: Arc<Parser>,
    /// `parser_1` and so on.
    pub(in crate::inputs::tail) more: Vec<Arc<Parser>>,
}

/// What waits of one stream.
#[derive(Default)]
pub(super) struct Groups {
    open: Option<Box<Group>>,
    /// The lines after a first line that was too old go with it.
    skipping: bool,
}

/// The lines of one record.
struct Group {
    /// All lines, one after the other.
    text: Vec<u8>,
    parts: Vec<GroupPart>,
    /// Whether lines that no parser knows can be added to the last part.
    takes_text: bool,
    start: u64,
    since: Instant,
    now_ns: i64,
}

impl Groups {
    pub(super) fn oldest(&self) -> Option<u64> {
        self.open.as_ref().map(|g| g.start)
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.open.as_ref().map(|g| g.since)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.open.is_some()
    }
}

impl Group {
    fn add(&mut self, text: &[u8], parser: Option<usize>) {
        self.text.extend_from_slice(text);
        self.parts.push(GroupPart {
            end: self.text.len(),
            parser,
        });
    }
}

impl Lines {
    fn groups_of(&mut self, stream: usize) -> &mut Groups {
        &mut self.groups.get_or_insert_with(Box::default)[stream]
    }

    /// Adds a unit to its group, or begins one with it.
    pub(super) fn group(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, unit: &Unit<'_>) {
        match &feed.rules.grouping {
            Some(Grouping::FirstLine(first_line)) => {
                self.group_by_first_line(out, feed, first_line, unit);
            }
            None => self.emit(out, feed, unit),
        }
    }

    fn group_by_first_line(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        rules: &FirstLine,
        unit: &Unit<'_>,
    ) {
        let limit = feed.rules.join_limit_bytes;
        let parsed = &mut feed.scratch.parsed;
        if rules.first.parse(unit.text, feed.now_ns, parsed) {
            let takes_text = parsed.last_is_text();
            let time_ns = parsed.time_ns.unwrap_or(feed.now_ns);
            let too_old = feed.rules.is_too_old(time_ns, feed.now_ns);
            self.flush_groups(out, feed, unit.stream, unit.within);
            let groups = self.groups_of(unit.stream);
            groups.skipping = too_old;
            if !too_old {
                let group = groups.open.insert(Box::new(Group {
                    text: Vec::new(),
                    parts: Vec::new(),
                    takes_text,
                    start: unit.start,
                    since: feed.now,
                    now_ns: feed.now_ns,
                }));
                group.add(unit.text, Some(0));
            }
            return;
        }
        let groups = self.groups.get_or_insert_with(Box::default);
        let groups = &mut groups[unit.stream];
        if groups.skipping {
            return;
        }
        let full = |g: &mut Box<Group>| g.text.len() + unit.text.len() > limit;
        if groups.open.as_mut().is_some_and(full) {
            self.n_truncated += 1;
            self.flush_groups(out, feed, unit.stream, unit.within);
            return self.emit(out, feed, unit);
        }
        let Some(group) = &mut groups.open else {
            return self.emit(out, feed, unit);
        };
        let parsed = &mut feed.scratch.parsed;
        let fits = |parser: &Arc<Parser>| parser.parse(unit.text, feed.now_ns, parsed);
        match rules.more.iter().position(fits) {
            Some(parser) => {
                group.takes_text = feed.scratch.parsed.last_is_text();
                group.add(unit.text, Some(parser + 1));
            }
            None if group.takes_text => group.add(unit.text, None),
            None => return self.emit(out, feed, unit),
        }
        group.since = feed.now;
    }

    /// Makes the records of all open groups of a stream.
    pub(super) fn flush_groups(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        stream: usize,
        offset: u64,
    ) {
        let Some(group) = self.groups.as_mut().and_then(|g| g[stream].open.take()) else {
            return;
        };
        let Some(position) = self.next_position(offset) else {
            return;
        };
        let Some(Grouping::FirstLine(rules)) = &feed.rules.grouping else {
            return;
        };
        let row = (out.columns).record(&mut out.logs, group.now_ns, position, group.start);
        let parsers = |n: usize| {
            if n == 0 {
                &*rules.first
            } else {
                &*rules.more[n - 1]
            }
        };
        let parsed = &mut feed.scratch.parsed;
        let (logs, text) = (&mut out.logs, &group.text);
        (out.columns).put_group(logs, feed.rules, row, text, &group.parts, parsers, parsed);
    }
}
