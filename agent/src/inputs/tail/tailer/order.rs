//! The order of the generations of one name, for each output by itself.
//!
//! It reads nothing. The rule: no output gets anything of a generation before it has acknowledged
//! everything of those before it: each file has a queue of its own, and a younger one must not
//! overtake. An output that is slower gets the younger generation from a reader of its own.

use std::path::Path;

use super::{Key, Tailer};
use crate::inputs::tail::discover::Sibling;
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::FileId;
use crate::pipeline::OutputSet;

impl Tailer {
    /// The open generations of the same name that are older than this one.
    pub(super) fn older_than(&self, key: Key) -> impl DoubleEndedIterator<Item = Key> {
        let main = self.generations.get(&key);
        let followed = main.and_then(|g| self.followed.get(&g.checkpoint.path));
        let all = followed.map_or(&[][..], |f| &f.generations);
        let older = all.iter().take_while(move |k| **k != key).copied();
        let older: Vec<Key> = older.filter(|k| self.generations.contains_key(k)).collect();
        older.into_iter()
    }

    /// Puts the rotated generations of a name that have not been begun in the order of their files.
    pub(super) fn put_in_order(&mut self, name: &Path, siblings: &[Sibling]) {
        let Some(followed) = self.followed.get_mut(name) else {
            return;
        };
        let generations = &self.generations;
        let age = |key: &Key| {
            let unbegun = |g: &&Generation| g.rotated.is_some() && !g.begun && g.is_untouched();
            let generation = generations.get(key).filter(unbegun)?;
            let id = FileId {
                device: generation.checkpoint.device,
                inode: generation.checkpoint.inode,
            };
            siblings.iter().position(|s| s.id == id)
        };
        let mut keys: Vec<Key> = (followed.generations.iter().copied())
            .filter(|key| age(key).is_some())
            .collect();
        keys.sort_by_key(age);
        let slots = followed.generations.iter_mut();
        let slots = slots.filter(|key| age(key).is_some());
        for (slot, key) in slots.zip(keys) {
            *slot = key;
        }
    }

    /// Whether all older generations of the same name are at their end and one of the outputs that
    /// this one is read for has all of them.
    pub(super) fn may_read(&self, key: Key, generation: &Generation) -> bool {
        let main = generation.lag.map_or(key, |lag| lag.main);
        let mut older = self.older_than(main).peekable();
        if older.peek().is_none() {
            return true;
        }
        let drained =
            |k: Key| (self.generations[&k]).is_drained() && !self.generations[&k].has_batch();
        if !older.all(drained) {
            return false;
        }
        let mut outputs = generation.outputs.iter();
        self.link.outputs().is_empty()
            || self.shares_request(main)
            || outputs.any(|output| self.has_all_before(main, output))
    }

    /// Whether an output has acknowledged everything of the generations before this one.
    pub(super) fn has_all_before(&self, main: Key, output: usize) -> bool {
        self.older_than(main).all(|older| {
            let reads_on_its_own = |g: &Generation| {
                let of = g.lag.is_some_and(|l| l.main == older && l.output == output);
                of && !(g.closed && g.is_settled())
            };
            !self.generations[&older].is_pending_for(output)
                && !self.generations.values().any(reads_on_its_own)
        })
    }

    /// Whether a request of before a crash waits for batches of this generation and an older one.
    fn shares_request(&self, main: Key) -> bool {
        let Some(generation) = self.generations.get(&main) else {
            return false;
        };
        let mut older = self.older_than(main);
        older.any(|k| self.generations[&k].shares_request(generation))
    }

    /// What comes before the first turn of a generation; false when there is nothing to read yet, or
    /// it has to wait.
    pub(super) fn begin(&mut self, key: Key) -> bool {
        let Some(generation) = self.generations.get(&key) else {
            return false;
        };
        if generation.begun {
            return true;
        }
        let lag = generation.lag;
        if generation.has_nothing() {
            // It may never be more, and then the next one goes on with what is unfinished.
            if let Some(generation) = self.generations.get_mut(&key) {
                generation.note_quiet();
            }
            return false;
        }
        if lag.is_none() && !self.knows_older(key) {
            return false;
        }
        if !self.take_over(key) {
            return false;
        }
        if lag.is_none() && !self.shares_request(key) {
            self.leave_slow_behind(key);
        }
        true
    }

    /// Before the first bytes of a generation are read: whether everything older of its name is open
    /// and read. What it holds now may stand there since a truncation that nobody saw, and what it
    /// held before lies in a copy. Only once it is known how it begins can a copy be told from what
    /// it is yet to be copied to.
    fn knows_older(&mut self, key: Key) -> bool {
        let Some(generation) = self.generations.get_mut(&key) else {
            return false;
        };
        if generation.offset() > 0 || generation.rotated.is_some() {
            return true;
        }
        let name = generation.checkpoint.path.clone();
        if let Err(e) = generation.update_head() {
            self.complain(&name, &e);
            return false;
        }
        // It may have another name by now, and what is unknown be younger.
        self.reconcile(&name);
        self.open_missed(&name);
        let generation = self.generations.get(&key);
        generation.is_some_and(|g| self.may_read(key, g))
    }

    /// Outputs that still have to get something of older generations.
    fn leave_slow_behind(&mut self, key: Key) {
        let Some(generation) = self.generations.get(&key) else {
            return;
        };
        if self.older_than(key).next().is_none() || !generation.is_untouched() {
            return;
        }
        let outputs = generation.outputs.iter();
        let slow = outputs.filter(|output| !self.has_all_before(key, *output));
        let slow = slow.fold(OutputSet::EMPTY, OutputSet::with);
        let reader = |g: &Generation, output| g.lagging_from(key, output, g.start());
        let left = self.add_readers(key, slow, reader);
        if let Some(generation) = self.generations.get_mut(&key) {
            generation.leave_behind(left);
        }
    }
}
