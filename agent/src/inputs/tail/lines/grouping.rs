//! Putting together lines that belong to one record by their text: multiline parsers, and the old
//! `multiline` mode.
//!
//! Groups are kept per stream, so that a line of standard error does not tear one of standard output
//! apart. The rule: a group's lines stay in the file's order, and its first line holds the offset
//! back until the record is made.

use std::sync::Arc;
use std::time::Instant;

use kansoku_parsers::line::multiline::{Content, Flush, Joiner, Place, Step, Stream};
use kansoku_parsers::line::{Parsed, Parser};

use super::{Feed, Format, Lines, OpenBatch, Unit};
use crate::inputs::tail::columns::GroupPart;

/// How lines are grouped.
pub(in crate::inputs::tail) enum Grouping {
    FirstLine(FirstLine),
    /// `multiline.parser`, but for the runtimes.
    Joined(Joiner),
}

/// The old `multiline` mode: a parser knows first lines, others give fields of further ones.
pub(in crate::inputs::tail) struct FirstLine {
    /// `parser_firstline`.
    pub(in crate::inputs::tail) first: Arc<Parser>,
    /// `parser_1` and so on.
    pub(in crate::inputs::tail) more: Vec<Arc<Parser>>,
}

/// What waits of one stream.
#[derive(Clone, Default)]
pub(super) struct Groups {
    open: Option<Box<Group>>,
    /// The lines after a first line that was too old go with it.
    skipping: bool,
    /// The state of the multiline parsers, and what waits in their slots.
    stream: Stream,
    slots: Vec<Option<Box<Joined>>>,
}

/// The lines of one record that multiline parsers put together.
#[derive(Clone)]
struct Joined {
    text: Vec<u8>,
    /// As its first line says.
    wrap: Option<(Format, Vec<u8>, i64, bool)>,
    /// The first line and its multiline parser, when that has a parser of its own.
    first: Option<(Vec<u8>, usize)>,
    start: u64,
    since: Instant,
    now_ns: i64,
}

/// The lines of one record.
#[derive(Clone)]
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
    fn joined(&self) -> impl Iterator<Item = &Joined> {
        self.slots.iter().flatten().map(|joined| &**joined)
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        let open = self.open.iter().map(|g| g.start);
        open.chain(self.joined().map(|j| j.start)).min()
    }

    /// Since when the one waits that has waited longest for its next line.
    pub(super) fn since(&self) -> Option<Instant> {
        let open = self.open.iter().map(|g| g.since);
        open.chain(self.joined().map(|j| j.since)).min()
    }

    /// All of it stands before the first line of a file.
    pub(super) fn move_to_start(&mut self) {
        self.open.iter_mut().for_each(|g| g.start = 0);
        let joined = self.slots.iter_mut().flatten();
        joined.for_each(|j| j.start = 0);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.open.is_some() || self.slots.iter().any(Option::is_some)
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
            Some(Grouping::Joined(joiner)) => self.group_by_parsers(out, feed, joiner, unit),
            None => self.emit(out, feed, unit),
        }
    }

    fn group_by_parsers(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        joiner: &Joiner,
        unit: &Unit<'_>,
    ) {
        // A runtime may end its texts with a newline; the rules speak of lines without.
        let line = unit.text.strip_suffix(b"\n").unwrap_or(unit.text);
        let stream = &mut self.groups_of(unit.stream).stream;
        let (step, parser, text) = decide(joiner, stream, line, feed);
        self.n_truncated += u64::from(step.cut);
        match step.flush {
            Flush::Nothing => {}
            Flush::Slot => {
                self.flush_joined(out, feed, joiner, unit.stream, step.slot, unit.within);
            }
            Flush::All => self.flush_all_joined(out, feed, joiner, unit.stream, unit.within),
        }
        let at_end = if unit.wrap.is_none() { &b"\n"[..] } else { b"" };
        if step.place == Place::Alone {
            // Every record that multiline parsers let pass ends with a newline, as in Fluent Bit.
            let ended = [line, at_end].concat();
            let unit = Unit {
                text: if unit.wrap.is_none() {
                    &ended
                } else {
                    unit.text
                },
                slices: unit.slices.filter(|_| unit.wrap.is_some()),
                ..*unit
            };
            return self.emit(out, feed, &unit);
        }
        let has_parser = |n: &usize| joiner.parsers()[*n].parser().is_some();
        let (now, now_ns) = (feed.now, feed.now_ns);
        let groups = self.groups_of(unit.stream);
        if groups.slots.len() <= step.slot {
            groups.slots.resize_with(step.slot + 1, || None);
        }
        let joined = groups.slots[step.slot].get_or_insert_with(|| {
            Box::new(Joined {
                text: Vec::new(),
                wrap: (unit.wrap).map(|(format, time, ns, part)| (format, time.to_vec(), ns, part)),
                first: parser
                    .filter(has_parser)
                    .map(|parser| (line.to_vec(), parser)),
                start: unit.start,
                since: now,
                now_ns,
            })
        });
        if let Place::Join { newlines } = step.place {
            joined.text.extend(std::iter::repeat_n(b'\n', newlines));
        }
        joined.text.extend_from_slice(&text);
        joined.since = now;
        if step.complete {
            self.flush_joined(out, feed, joiner, unit.stream, step.slot, unit.offset);
            self.groups_of(unit.stream).stream.flushed(step.slot);
        }
    }

    fn flush_all_joined(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        joiner: &Joiner,
        stream: usize,
        offset: u64,
    ) {
        let groups = self.groups_of(stream);
        let mut waiting: Vec<(u64, usize)> = (groups.slots.iter().enumerate())
            .filter_map(|(slot, joined)| Some((joined.as_ref()?.start, slot)))
            .collect();
        waiting.sort_unstable();
        for (_, slot) in waiting {
            self.flush_joined(out, feed, joiner, stream, slot, offset);
        }
    }

    fn flush_joined(
        &mut self,
        out: &mut OpenBatch,
        feed: &mut Feed<'_>,
        joiner: &Joiner,
        stream: usize,
        slot: usize,
        offset: u64,
    ) {
        let slots = &mut self.groups_of(stream).slots;
        let Some(mut joined) = slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let now_ns = std::mem::replace(&mut feed.now_ns, joined.now_ns);
        if let Some((line, parser)) = &joined.first {
            let multiline = &joiner.parsers()[*parser];
            let key = multiline
                .key_content()
                .unwrap_or(&feed.rules.key)
                .to_owned();
            if let (Some(parser), Some(position)) = (multiline.parser(), self.next_position(offset))
            {
                let row = (out.columns).record(&mut out.logs, now_ns, position, joined.start);
                let parsed = &mut feed.scratch.parsed;
                let slice = out.logs.store(line);
                if parser.parse(line, now_ns, parsed)
                    && parsed.write(&mut out.logs, row, slice)
                    && let Some(time_ns) = parsed.time_ns
                {
                    out.logs.set_time(row, time_ns);
                }
                out.logs.set_text(&key, row, &joined.text);
            }
        } else {
            if joined.wrap.is_none() && !joined.text.ends_with(b"\n") {
                joined.text.push(b'\n');
            }
            let wrap = joined.wrap.as_ref();
            let unit = Unit {
                wrap: wrap.map(|(format, time, ns, part)| (*format, &time[..], *ns, *part)),
                stream,
                text: &joined.text,
                slices: None,
                start: joined.start,
                offset,
                within: offset,
            };
            self.emit(out, feed, &unit);
        }
        feed.now_ns = now_ns;
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
        if let Some(Grouping::Joined(joiner)) = &feed.rules.grouping {
            self.flush_all_joined(out, feed, joiner, stream, offset);
            self.groups_of(stream).stream.flushed_all();
            return;
        }
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

/// Which multiline parser takes a line, what is to be done, and the text to join.
fn decide<'l>(
    joiner: &Joiner,
    stream: &mut Stream,
    line: &'l [u8],
    feed: &mut Feed<'_>,
) -> (Step, Option<usize>, std::borrow::Cow<'l, [u8]>) {
    for number in joiner.order(stream) {
        let multiline = &joiner.parsers()[number];
        let parsed: &mut Parsed = &mut feed.scratch.parsed;
        let content = match (multiline.parser(), multiline.key_content()) {
            (None, _) => Some(Content::of(line)),
            (Some(parser), key) if parser.parse(line, feed.now_ns, parsed) => {
                let key = key.unwrap_or(&feed.rules.key);
                parsed.text(line, key).map(|text| Content {
                    text,
                    pattern: (multiline.key_pattern()).and_then(|key| parsed.text(line, key)),
                    group: (multiline.key_group())
                        .and_then(|key| parsed.text(line, key))
                        .unwrap_or(b""),
                })
            }
            (Some(_), _) => None,
        };
        let Some(content) = content else {
            continue;
        };
        if let Some(step) = joiner.offer(stream, number, content) {
            let text = if multiline.parser().is_some() {
                content.text.to_vec().into()
            } else {
                line.into()
            };
            return (step, Some(number), text);
        }
    }
    (joiner.alone(stream), None, line.into())
}
