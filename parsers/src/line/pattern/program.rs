//! A small program for patterns that stand at the start of a line, the shape of every log format.
//!
//! It backtracks in the order of the pattern and so finds what the regex crate and Ruby find; what
//! makes it fast is that it rarely has to: the bytes that can follow are known everywhere, so a
//! `[^ ]*` before a blank is one search, and a branch that cannot go on is never entered. After a
//! bounded number of steps it gives the text to the regex crate, so its time stays linear.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use super::FirstBytes;
use super::translate::Translated;

/// The longest program; longer patterns are for the regex crate alone.
const MAX_OPS: usize = 2048;
/// The most copies that a counted group is spelled out into.
const MAX_COPIES: u32 = 16;
/// Steps for a text: some for each byte, and some for the pattern.
const STEPS_PER_BYTE: usize = 16;

/// What running a program gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Found,
    NotFound,
    TooManySteps,
}

#[derive(Debug)]
enum Op {
    Byte(u8),
    Literal(Box<[u8]>),
    Class(Set),
    /// Bytes of a set, as many as there are (or as few as will do), from `min` to `max`.
    Run {
        set: Set,
        min: usize,
        max: usize,
        greedy: bool,
        /// Nothing of the set can follow: the longest run is the only one.
        is_only: bool,
        /// For a lazy run: the bytes at which to look up, as they can follow or are not in the set.
        stops: Option<Box<[bool; 256]>>,
    },
    /// What most groups of log formats are, such as `(?<host>[^ ]*)` before a blank: everything up
    /// to one of the bytes, noted as a group. Stands for the three operations that lie at and behind
    /// it; nothing in it can be tried another way.
    Field {
        slot: usize,
        until: Until,
        min: usize,
    },
    /// Goes on at either; the first is tried first.
    Split(usize, usize),
    Jump(usize),
    /// Notes the position as a start or end of a group.
    Save(usize),
    /// The text ends here.
    End,
    Found,
}

/// Where a run over almost all bytes ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// At the end of the text.
    End,
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
}

impl Until {
    fn of(set: &FirstBytes) -> Option<Self> {
        // Newline aside: the texts have none.
        let not: Vec<u8> = (0..=255).filter(|b| *b != b'\n' && !set.has(*b)).collect();
        match *not {
            [] => Some(Self::End),
            [a] => Some(Self::One(a)),
            [a, b] => Some(Self::Two(a, b)),
            [a, b, c] => Some(Self::Three(a, b, c)),
            _ => None,
        }
    }

    fn len_of_run(self, text: &[u8]) -> usize {
        let end = match self {
            Self::End => None,
            Self::One(a) => memchr::memchr(a, text),
            Self::Two(a, b) => memchr::memchr2(a, b, text),
            Self::Three(a, b, c) => memchr::memchr3(a, b, c, text),
        };
        end.unwrap_or(text.len())
    }
}

#[derive(Debug)]
struct Set {
    bytes: FirstBytes,
    table: Box<[bool; 256]>,
    /// When at most three bytes are not in it: how to find them.
    until: Option<Until>,
}

/// What can come at a place of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    bytes: FirstBytes,
    /// The text may end.
    end: bool,
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Program {
    ops: Vec<Op>,
    ahead: Vec<Ahead>,
    n_slots: usize,
}

/// What to come back to.
#[derive(Debug)]
enum Back {
    Branch {
        pc: usize,
        at: usize,
    },
    /// The run before `pc` may also end between `from` and `to`; the longest comes first.
    Shorter {
        pc: usize,
        from: usize,
        to: usize,
    },
    /// The lazy run at `pc` may go on from `at`.
    Longer {
        pc: usize,
        at: usize,
        max: usize,
    },
    Restore {
        slot: usize,
        was: usize,
    },
}

/// Memory that is kept between texts.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    back: Vec<Back>,
    /// Start and end of each group.
    slots: Vec<usize>,
    /// Steps that are left for this text.
    steps: usize,
}

impl Scratch {
    fn spend(&mut self, steps: usize) {
        self.steps = self.steps.saturating_sub(steps);
    }

    /// Start and end of a group of the last text that was found to fit.
    pub(super) fn group(&self, group: usize) -> Option<(usize, usize)> {
        let start = *self.slots.get(2 * group)?;
        let end = *self.slots.get(2 * group + 1)?;
        (end != UNSET).then_some((start, end))
    }

    /// Notes a position; `was` comes back when what led here is tried another way.
    fn save(&mut self, slot: usize, at: usize) {
        if !self.back.is_empty() {
            let was = self.slots[slot];
            self.back.push(Back::Restore { slot, was });
        }
        self.slots[slot] = at;
    }
}

const UNSET: usize = usize::MAX;

impl Program {
    /// Compiles the pattern; `None` when it does not stand at the start, or has what a program
    /// cannot do.
    pub(super) fn of(translated: &Translated) -> Option<Self> {
        if translated.is_wide {
            return None;
        }
        let hir = super::parser_for(translated)
            .parse(&translated.pattern)
            .ok()?;
        if !hir.properties().look_set_prefix().contains(Look::Start) {
            return None;
        }
        let mut ops = Vec::new();
        compile(&hir, &mut ops)?;
        ops.push(Op::Found);
        let ahead = ahead_of(&ops);
        for (op, next) in ops.iter_mut().zip(&ahead[1..]) {
            if let Op::Run {
                set,
                max,
                greedy,
                is_only,
                stops,
                ..
            } = op
            {
                let stop = |b: usize| !set.table[b] || next.bytes.has(b as u8);
                *stops = (!*greedy).then(|| Box::new(std::array::from_fn(stop)));
                *is_only = *max == UNSET && next.bytes.is_disjoint(&set.bytes);
            }
        }
        fuse(&mut ops);
        let n_slots = 2 * (hir.properties().explicit_captures_len() + 1);
        Some(Self {
            ops,
            ahead,
            n_slots,
        })
    }

    /// Runs over a text without newline; where the groups lie is kept in `scratch`.
    pub(super) fn run(&self, text: &[u8], scratch: &mut Scratch) -> Outcome {
        scratch.back.clear();
        scratch.slots.clear();
        scratch.slots.resize(self.n_slots, UNSET);
        scratch.steps = self.ops.len() + STEPS_PER_BYTE * (text.len() + 8);
        let (mut pc, mut at) = (0, 0);
        loop {
            let fits = match &self.ops[pc] {
                Op::Found => {
                    scratch.slots[0] = 0;
                    scratch.slots[1] = at;
                    return Outcome::Found;
                }
                Op::Byte(byte) => {
                    let fits = text.get(at) == Some(byte);
                    (pc, at) = (pc + 1, at + 1);
                    fits
                }
                Op::Field { slot, until, min } => {
                    let len = until.len_of_run(&text[at..]);
                    scratch.save(*slot, at);
                    scratch.save(slot + 1, at + len);
                    (pc, at) = (pc + FUSED, at + len);
                    len >= *min
                }
                Op::Literal(bytes) => {
                    let fits = text[at..].starts_with(bytes);
                    (pc, at) = (pc + 1, at + bytes.len());
                    fits
                }
                Op::Class(set) => {
                    let fits = text.get(at).is_some_and(|b| set.table[usize::from(*b)]);
                    (pc, at) = (pc + 1, at + 1);
                    fits
                }
                Op::Jump(to) => {
                    pc = *to;
                    true
                }
                Op::Save(slot) => {
                    scratch.save(*slot, at);
                    pc += 1;
                    true
                }
                Op::End => {
                    pc += 1;
                    at == text.len()
                }
                Op::Split(..) | Op::Run { .. } => {
                    // Every way around passes here or goes back.
                    scratch.spend(1);
                    match self.choose(pc, at, text, scratch) {
                        Some(next) => {
                            (pc, at) = next;
                            true
                        }
                        None => false,
                    }
                }
            };
            if fits && scratch.steps > 0 {
                continue;
            }
            let next = self.go_back(text, scratch);
            if scratch.steps == 0 {
                return Outcome::TooManySteps;
            }
            match next {
                Some(next) => (pc, at) = next,
                None => return Outcome::NotFound,
            }
        }
    }

    /// What can go on in several ways: where its first way leads.
    fn choose(
        &self,
        pc: usize,
        at: usize,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Option<(usize, usize)> {
        match &self.ops[pc] {
            Op::Split(first, second) => self.split(*first, *second, at, text, scratch),
            Op::Run { greedy: true, .. } => self.run_greedy(pc, at, text, scratch),
            Op::Run { min, max, set, .. } => {
                let needed = at + min;
                let first = text.get(at..needed)?;
                if !first.iter().all(|b| set.table[usize::from(*b)]) {
                    return None;
                }
                self.run_lazy(pc, needed, at.saturating_add(*max), text, scratch)
            }
            _ => None,
        }
    }

    fn can_go_on(&self, pc: usize, at: usize, text: &[u8]) -> bool {
        let ahead = &self.ahead[pc];
        text.get(at).map_or(ahead.end, |b| ahead.bytes.has(*b))
    }

    fn split(
        &self,
        first: usize,
        second: usize,
        at: usize,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Option<(usize, usize)> {
        let can_second = self.can_go_on(second, at, text);
        if !self.can_go_on(first, at, text) {
            return can_second.then_some((second, at));
        }
        if can_second {
            scratch.back.push(Back::Branch { pc: second, at });
        }
        Some((first, at))
    }

    fn run_greedy(
        &self,
        pc: usize,
        at: usize,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Option<(usize, usize)> {
        let Op::Run {
            set,
            min,
            max,
            is_only,
            ..
        } = &self.ops[pc]
        else {
            return None;
        };
        let end = at + set.len_of_run(&text[at..], *max);
        scratch.spend(end - at);
        let from = at + min;
        if end < from {
            return None;
        }
        if *is_only {
            return Some((pc + 1, end));
        }
        self.shorter(pc + 1, from, end, text, scratch)
    }

    /// The last place from `to` down to `from` where the program can go on.
    fn shorter(
        &self,
        pc: usize,
        from: usize,
        to: usize,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Option<(usize, usize)> {
        let found = (from..=to).rev().find(|at| self.can_go_on(pc, *at, text));
        scratch.spend(to - found.unwrap_or(from));
        let at = found?;
        if at > from {
            let to = at - 1;
            scratch.back.push(Back::Shorter { pc, from, to });
        }
        Some((pc, at))
    }

    /// The first place from `at` on, over bytes of the run, where the program can go on.
    fn run_lazy(
        &self,
        pc: usize,
        mut at: usize,
        max: usize,
        text: &[u8],
        scratch: &mut Scratch,
    ) -> Option<(usize, usize)> {
        let Op::Run {
            set,
            stops: Some(stops),
            ..
        } = &self.ops[pc]
        else {
            return None;
        };
        let ahead = &text[at.min(text.len())..max.min(text.len())];
        let skipped = ahead.iter().position(|b| stops[usize::from(*b)]);
        // At the end of the text there is one more place to look.
        let skipped = skipped.unwrap_or(ahead.len());
        scratch.spend(skipped);
        at += skipped;
        let more = |at: usize| {
            let next = text.get(at).copied();
            (at < max && next.is_some_and(|b| set.table[usize::from(b)])).then_some(at + 1)
        };
        while !self.can_go_on(pc + 1, at, text) {
            scratch.spend(1);
            at = more(at)?;
        }
        if let Some(at) = more(at) {
            scratch.back.push(Back::Longer { pc, at, max });
        }
        Some((pc + 1, at))
    }

    fn go_back(&self, text: &[u8], scratch: &mut Scratch) -> Option<(usize, usize)> {
        loop {
            scratch.spend(1);
            if scratch.steps == 0 {
                return None;
            }
            let found = match scratch.back.pop()? {
                Back::Branch { pc, at } => Some((pc, at)),
                Back::Restore { slot, was } => {
                    scratch.slots[slot] = was;
                    None
                }
                Back::Shorter { pc, from, to } => self.shorter(pc, from, to, text, scratch),
                Back::Longer { pc, at, max } => self.run_lazy(pc, at, max, text, scratch),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Set {
    fn new(hir: &Hir) -> Option<Self> {
        let mut bytes = FirstBytes::NONE;
        match hir.kind() {
            HirKind::Literal(literal) if literal.0.len() == 1 => bytes.add(literal.0[0]),
            HirKind::Class(Class::Bytes(class)) => {
                for range in class.iter() {
                    (range.start()..=range.end()).for_each(|b| bytes.add(b));
                }
            }
            HirKind::Class(Class::Unicode(class)) if class.is_ascii() => {
                for range in class.iter() {
                    let (start, end) = (range.start() as u8, range.end() as u8);
                    (start..=end).for_each(|b| bytes.add(b));
                }
            }
            _ => return None,
        }
        let table = Box::new(std::array::from_fn(|b| bytes.has(b as u8)));
        Some(Self {
            bytes,
            table,
            until: Until::of(&bytes),
        })
    }

    /// How many bytes of the set `text` starts with, at most `max`.
    fn len_of_run(&self, text: &[u8], max: usize) -> usize {
        let text = &text[..max.min(text.len())];
        match self.until {
            Some(until) => until.len_of_run(text),
            None => {
                let end = text.iter().position(|b| !self.table[usize::from(*b)]);
                end.unwrap_or(text.len())
            }
        }
    }
}

/// How many operations a [`Op::Field`] stands for.
const FUSED: usize = 3;

/// Puts a [`Op::Field`] in the place of the first of the operations it stands for; the others stay,
/// so that every jump leads where it led.
fn fuse(ops: &mut [Op]) {
    for at in 0..ops.len().saturating_sub(FUSED - 1) {
        if let [
            Op::Save(slot),
            Op::Run {
                set,
                min,
                is_only: true,
                greedy: true,
                ..
            },
            Op::Save(end),
        ] = &ops[at..at + FUSED]
            && *end == slot + 1
            && let Some(until) = set.until
        {
            ops[at] = Op::Field {
                slot: *slot,
                until,
                min: *min,
            };
        }
    }
}

fn compile(hir: &Hir, ops: &mut Vec<Op>) -> Option<()> {
    if ops.len() > MAX_OPS {
        return None;
    }
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => ops.push(match *literal.0 {
            [byte] => Op::Byte(byte),
            _ => Op::Literal(literal.0.clone()),
        }),
        HirKind::Class(_) => ops.push(Op::Class(Set::new(hir)?)),
        // The whole pattern is known to start here; anywhere else it could not match.
        HirKind::Look(Look::Start) if ops.iter().all(|op| matches!(op, Op::Save(_))) => {}
        HirKind::Look(Look::End) => ops.push(Op::End),
        HirKind::Look(_) => return None,
        HirKind::Capture(group) => {
            let slot = 2 * group.index as usize;
            ops.push(Op::Save(slot));
            compile(&group.sub, ops)?;
            ops.push(Op::Save(slot + 1));
        }
        HirKind::Concat(parts) => {
            for part in parts {
                compile(part, ops)?;
            }
        }
        HirKind::Alternation(branches) => alternation(branches, ops)?,
        HirKind::Repetition(repetition) => repeat(repetition, ops)?,
    }
    Some(())
}

fn alternation(branches: &[Hir], ops: &mut Vec<Op>) -> Option<()> {
    let mut ends = Vec::new();
    for (i, branch) in branches.iter().enumerate() {
        let is_last = i + 1 == branches.len();
        let split = ops.len();
        if !is_last {
            ops.push(Op::Split(split + 1, UNSET));
        }
        // A `^` in a branch is no start of the whole.
        compile(branch, ops)?;
        if !is_last {
            ends.push(ops.len());
            ops.push(Op::Jump(UNSET));
            ops[split] = Op::Split(split + 1, ops.len());
        }
    }
    for end in ends {
        ops[end] = Op::Jump(ops.len());
    }
    Some(())
}

fn repeat(repetition: &Repetition, ops: &mut Vec<Op>) -> Option<()> {
    let Repetition {
        min,
        max,
        greedy,
        sub,
    } = repetition;
    if let Some(set) = Set::new(sub) {
        ops.push(Op::Run {
            set,
            min: *min as usize,
            max: max.map_or(UNSET, |max| max as usize),
            greedy: *greedy,
            is_only: false,
            stops: None,
        });
        return Some(());
    }
    // A round that takes nothing could go on for ever.
    let takes_something = sub.properties().minimum_len().is_some_and(|len| len > 0);
    if *min > MAX_COPIES || max.is_some_and(|max| max > MAX_COPIES) {
        return None;
    }
    for _ in 0..*min {
        compile(sub, ops)?;
    }
    let order = |body: usize, out: usize| {
        if *greedy {
            Op::Split(body, out)
        } else {
            Op::Split(out, body)
        }
    };
    let Some(max) = max else {
        if !takes_something {
            return None;
        }
        let split = ops.len();
        ops.push(Op::Jump(UNSET));
        compile(sub, ops)?;
        ops.push(Op::Jump(split));
        ops[split] = order(split + 1, ops.len());
        return Some(());
    };
    let mut splits = Vec::new();
    for _ in *min..*max {
        splits.push(ops.len());
        ops.push(Op::Jump(UNSET));
        compile(sub, ops)?;
    }
    let out = ops.len();
    for split in splits {
        ops[split] = order(split + 1, out);
    }
    Some(())
}

/// What can come at each place, found by going over the program until nothing is new.
fn ahead_of(ops: &[Op]) -> Vec<Ahead> {
    let none = Ahead {
        bytes: FirstBytes::NONE,
        end: false,
    };
    let mut ahead = vec![none; ops.len()];
    let both = |a: Ahead, b: Ahead| Ahead {
        bytes: a.bytes.or(&b.bytes),
        end: a.end || b.end,
    };
    loop {
        let mut changed = false;
        for at in (0..ops.len()).rev() {
            let next = ahead.get(at + 1).copied().unwrap_or(none);
            let of_set = |set: &Set| Ahead {
                bytes: set.bytes,
                end: false,
            };
            let new = match &ops[at] {
                Op::Byte(byte) => {
                    let mut first = none;
                    first.bytes.add(*byte);
                    first
                }
                Op::Literal(bytes) => {
                    let mut first = none;
                    bytes.first().into_iter().for_each(|b| first.bytes.add(*b));
                    first
                }
                Op::Class(set) => of_set(set),
                Op::Run { set, min: 0, .. } => both(of_set(set), next),
                Op::Run { set, .. } => of_set(set),
                Op::Split(a, b) => both(ahead[*a], ahead[*b]),
                Op::Jump(to) => ahead[*to],
                // Fields are made afterwards.
                Op::Save(_) | Op::Field { .. } => next,
                Op::End => Ahead {
                    bytes: FirstBytes::NONE,
                    end: true,
                },
                Op::Found => Ahead {
                    bytes: FirstBytes::ANY,
                    end: true,
                },
            };
            if new != ahead[at] {
                ahead[at] = new;
                changed = true;
            }
        }
        if !changed {
            return ahead;
        }
    }
}
