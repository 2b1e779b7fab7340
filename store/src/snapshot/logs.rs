//! Log entries of a snapshot: blocks of parts and chunks of heads, in the order that a query wants.
//!
//! Only places and time ranges are collected at first; text is read when the visitor loads a block.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::select::{Direction, LogBlock, LogBlockRef, LogSelect, SelectError, VisitBlock};
use kansoku_model::{AnyOf, FieldBlock, FieldsWanted, Labels, LineAutomaton, LogSource, Matcher};

use super::struck::Struck;
use super::{Notes, Snapshot};
use crate::deletes::{Delete, DeleteKind};
use crate::head::{Chunk, LOCK};
use crate::part::logs::{Block, LogIndex, Wanted};
use crate::part::{Body, Part};
use crate::rows;

/// What putting a row of a chunk in order takes.
const ORDER_BYTES: usize = 24;
/// A list that grows has its old memory and twice that.
const GROWTH: usize = 3;

/// Where a block's entries are.
enum Place<'a> {
    Head(Arc<Chunk>),
    Part {
        part: &'a Part,
        index: &'a LogIndex,
        block: &'a Block,
    },
}

/// A block that has not been decoded yet.
struct BlockRef<'a> {
    labels: Arc<Labels>,
    min_ns: i64,
    max_ns: i64,
    place: Place<'a>,
    /// The selected range.
    from_ns: i64,
    to_ns: i64,
    /// What wanted lines contain.
    needles: Vec<&'a AnyOf>,
    automata: &'a [Arc<LineAutomaton>],
    counts_only: bool,
    notes: &'a Notes,
}

impl LogSource for Snapshot {
    fn select(&self, wanted: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        let mut blocks = self.log_blocks(wanted);
        // Stable, and blocks are collected in flush order: ties keep the order of arrival.
        match wanted.direction {
            Direction::Backward => blocks.sort_by_key(|b| std::cmp::Reverse(b.max_ns)),
            Direction::Forward => blocks.sort_by_key(|b| b.min_ns),
        }
        for mut block in blocks {
            block.take_conditions(wanted);
            if block.lacks() {
                continue;
            }
            let deletes = self.deletes_of_block(&block);
            if deletes.iter().any(|d| d.selector.lines.is_some()) {
                // Whether a line was deleted is seen by all of it.
                block.counts_only = false;
            }
            let flow = match &deletes[..] {
                [] => visit(&block)?,
                _ => visit(&Struck::new(&block, &deletes))?,
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Snapshot {
    fn deletes_of_block(&self, block: &BlockRef<'_>) -> Vec<&Delete> {
        let mut deletes = match &block.place {
            Place::Part { part, .. } => self.deletes_of(part),
            Place::Head(_) => self.deletes_of_heads(DeleteKind::Logs),
        };
        deletes.retain(|d| d.touches(&block.labels, block.min_ns, block.max_ns));
        deletes
    }

    fn log_blocks<'a>(&'a self, wanted: &'a LogSelect) -> Vec<BlockRef<'a>> {
        let mut blocks = Vec::new();
        let mut passes = Passes::new(self, &wanted.matchers);
        let (from_ns, to_ns) = (wanted.from_ns, wanted.to_ns);
        let touches = |min: i64, max: i64| min < to_ns && max >= from_ns;
        let block_ref = |labels: &Arc<Labels>, min_ns, max_ns, place| BlockRef {
            labels: Arc::clone(labels),
            min_ns,
            max_ns,
            place,
            from_ns,
            to_ns,
            needles: Vec::new(),
            automata: &wanted.automata,
            counts_only: wanted.counts_only,
            notes: &self.notes,
        };
        for part in &self.view.parts {
            let Body::Logs(index) = &part.body else {
                continue;
            };
            if !touches(part.totals().min_time, part.totals().max_time) {
                continue;
            }
            for block in index.blocks.iter().filter(|b| touches(b.min_ns, b.max_ns)) {
                let labels = &index.streams[block.stream as usize];
                if passes.check(labels) {
                    let place = Place::Part { part, index, block };
                    blocks.push(block_ref(labels, block.min_ns, block.max_ns, place));
                }
            }
        }
        for head in self.heads() {
            let logs = head.logs.read().expect(LOCK);
            for stream in logs.streams.iter().filter(|s| passes.check(&s.labels)) {
                for chunk in stream.chunks.iter().filter(|c| touches(c.min_ns, c.max_ns)) {
                    let place = Place::Head(Arc::clone(chunk));
                    blocks.push(block_ref(&stream.labels, chunk.min_ns, chunk.max_ns, place));
                }
            }
        }
        blocks
    }
}

/// Remembers which label sets pass: the same copy is in many parts.
pub(super) struct Passes<'a> {
    snapshot: &'a Snapshot,
    matchers: &'a [Matcher],
    known: HashMap<*const Labels, bool>,
}

impl<'a> Passes<'a> {
    /// For streams that pass the matchers and are shown.
    pub fn new(snapshot: &'a Snapshot, matchers: &'a [Matcher]) -> Self {
        Self {
            snapshot,
            matchers,
            known: HashMap::new(),
        }
    }

    pub fn check(&mut self, labels: &Arc<Labels>) -> bool {
        let (snapshot, matchers) = (self.snapshot, self.matchers);
        let check = || {
            let passes = matchers.iter().all(|m| m.matches_labels(labels));
            passes && snapshot.shows_stream(labels)
        };
        *self.known.entry(Arc::as_ptr(labels)).or_insert_with(check)
    }
}

impl<'a> BlockRef<'a> {
    /// Keeps those that say something about entries of this block.
    fn take_conditions(&mut self, wanted: &'a LogSelect) {
        let is_field =
            |name: &String| self.labels.get(name).is_none() && !self.may_have_metadata_of(name);
        let needles = wanted.needles.iter();
        let needles = needles.filter(|any| any.field.as_ref().is_none_or(is_field));
        self.needles = needles.collect();
    }

    /// Whether entries have metadata of that name, which comes before a field's.
    fn may_have_metadata_of(&self, name: &String) -> bool {
        match &self.place {
            Place::Head(chunk) => {
                let mut names = chunk.block.metadata.iter().map(|(name, _)| &**name);
                names.any(|known| known == name)
            }
            Place::Part { part, index, block } => {
                let found = index.has_metadata_of(&part.file, block, std::slice::from_ref(name));
                // Damage is told where the entries are read.
                found.unwrap_or(true)
            }
        }
    }

    fn lacks(&self) -> bool {
        match &self.place {
            Place::Part { part, index, block } => index.lacks(&part.file, block, &self.needles),
            Place::Head(_) => false,
        }
    }

    fn range(&self, times: &[i64]) -> std::ops::Range<usize> {
        rows::range(times, self.from_ns, self.to_ns)
    }
}

impl LogBlockRef for BlockRef<'_> {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn time_range_ns(&self) -> (i64, i64) {
        (self.min_ns, self.max_ns)
    }

    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        self.load_within(self.from_ns, self.to_ns, out)
    }

    fn load_within(&self, from_ns: i64, to_ns: i64, out: &mut LogBlock) -> Result<(), SelectError> {
        out.clear();
        let (from_ns, to_ns) = (from_ns.max(self.from_ns), to_ns.min(self.to_ns));
        match &self.place {
            Place::Head(chunk) => chunk.copy_range(from_ns, to_ns, out),
            Place::Part { part, index, block } => {
                let wanted = Wanted {
                    from_ns,
                    to_ns,
                    needles: &self.needles,
                    automata: self.automata,
                    counts_only: self.counts_only,
                };
                if let Err(error) = index.read_wanted(&part.file, block, &wanted, out) {
                    part.file.count_damage(block.place_key());
                    self.notes.note(&error);
                    out.clear();
                }
            }
        }
        Ok(())
    }

    fn load_fields(
        &self,
        fields: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, SelectError> {
        let Place::Part { part, index, block } = &self.place else {
            return Ok(false);
        };
        let wanted = Wanted {
            from_ns: self.from_ns,
            to_ns: self.to_ns,
            needles: &self.needles,
            automata: self.automata,
            counts_only: false,
        };
        let read = index.read_fields(&part.file, block, &wanted, fields, out);
        Ok(read.unwrap_or_else(|error| {
            part.file.count_damage(block.place_key());
            self.notes.note(&error);
            out.clear();
            true
        }))
    }

    fn load_fields_unordered(
        &self,
        fields: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, SelectError> {
        let Place::Part { part, index, block } = &self.place else {
            return Ok(false);
        };
        if self.totals().is_none() || !self.needles.is_empty() || !self.automata.is_empty() {
            return Ok(false);
        }
        // Damage is told where the entries are read in order.
        let read = index.read_fields_unordered(&part.file, block, fields, out);
        Ok(read.unwrap_or(false))
    }

    fn totals(&self) -> Option<(u64, u64)> {
        let Place::Part { block, .. } = &self.place else {
            return None;
        };
        let is_whole = self.from_ns <= self.min_ns && self.max_ns < self.to_ns;
        is_whole.then(|| (u64::from(block.n_rows), u64::from(block.line_bytes)))
    }

    fn loading_bytes(&self) -> usize {
        match &self.place {
            Place::Head(chunk) => {
                GROWTH * chunk.block.held_bytes() + ORDER_BYTES * chunk.block.times.len()
            }
            Place::Part { index, block, .. } => index.loading_bytes(block),
        }
    }

    fn has_metadata(&self) -> bool {
        match &self.place {
            Place::Head(chunk) => !chunk.block.metadata.is_empty(),
            Place::Part { index, block, .. } => index.has_metadata(block),
        }
    }

    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        lens.clear();
        match &self.place {
            Place::Head(chunk) => {
                times.clear();
                let (all, lines) = (&chunk.block.times, &chunk.block.lines);
                let mut rows: Vec<usize> = if chunk.is_sorted {
                    self.range(all).collect()
                } else {
                    (0..all.len())
                        .filter(|&r| (self.from_ns..self.to_ns).contains(&all[r]))
                        .collect()
                };
                if !chunk.is_sorted {
                    rows.sort_by_key(|&row| all[row]);
                }
                times.extend(rows.iter().map(|&row| all[row]));
                lens.extend(rows.iter().map(|&row| lines[row].len));
            }
            Place::Part { part, index, block } => {
                let mut all_lens = Vec::new();
                if let Err(error) = index.read_times(&part.file, block, times, &mut all_lens) {
                    part.file.count_damage(block.place_key());
                    self.notes.note(&error);
                    times.clear();
                    return Ok(());
                }
                let wanted = self.range(times);
                lens.extend(all_lens[wanted.clone()].iter().map(|&len| len as u32));
                times.truncate(wanted.end);
                times.drain(..wanted.start);
            }
        }
        Ok(())
    }
}
