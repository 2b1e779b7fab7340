//! A record that a rotation cut in two: what is unfinished at the end of a generation goes on in the
//! next one.
//!
//! How it is kept meanwhile is told in `lines::handing`. The rules: it is noted in the older row what
//! was handed on, before anything of the younger generation is sent; and the older row moves beyond
//! it in the same transaction as, or after, the younger row that says that it is delivered.

use super::lagging::Cutting;
use super::opening::SKIPPED_NS;
use super::{Key, Tailer};
use crate::inputs::tail::generation::Generation;
use crate::offsets::Checkpoint;

impl Tailer {
    /// Lets a generation, or one of its readers, begin with what the one before it left unfinished.
    /// False when that cannot be noted now.
    pub(super) fn take_over(&mut self, key: Key) -> bool {
        let Some(generation) = self.generations.get_mut(&key) else {
            return false;
        };
        if generation.begun || generation.offset() > 0 {
            generation.begun = true;
            return true;
        }
        let main = generation.lag.map_or(key, |lag| lag.main);
        if let Some(before) = self.generation_before(main) {
            // It may have had nothing of its own and never have been read.
            if !self.take_over(before) || !self.hand_on(before, main) {
                return false;
            }
            let before = &self.generations[&before];
            let unfinished = before.handed().filter(|_| before.heir == Some(main));
            if let (Some(unfinished), Some(generation)) =
                (unfinished, self.generations.get_mut(&key))
            {
                generation.inherit(unfinished.into());
            }
        }
        if let Some(generation) = self.generations.get_mut(&key) {
            generation.begun = true;
        }
        true
    }

    /// The generation before this one whose end it may go on with.
    fn generation_before(&self, main: Key) -> Option<Key> {
        let has_nothing = |k: &Key| self.generations[k].has_nothing();
        self.older_than(main).rev().find(|k| !has_nothing(k))
    }

    /// Sets aside what is unfinished at the end of a generation, for its heir.
    fn hand_on(&mut self, key: Key, heir: Key) -> bool {
        let generation = &self.generations[&key];
        if generation.has_batch() && generation.is_waiting() {
            return false;
        }
        if generation.is_waiting() && !generation.has_handed() && !generation.gone {
            self.cut_everywhere(key, Cutting::HandedOn);
            // It has no records, so this only moves the generation's boundary.
            if self.send_stored(key).is_err() {
                return false;
            }
        }
        let Some(generation) = self.generations.get_mut(&key) else {
            return false;
        };
        if generation.has_handed() {
            generation.heir.get_or_insert(heir);
            return self.store_before_sending(&[key]);
        }
        true
    }

    /// The generations let go of what their heirs have delivered.
    pub(super) fn settle_handed(&mut self) {
        loop {
            let main = |g: &Generation| g.lag.is_none() && g.has_handed();
            let handed = self.generations.iter().filter(|(_, g)| main(g));
            let done = handed.map(|(k, _)| *k).find(|k| self.is_taken_over(*k));
            let Some(done) = done else {
                return;
            };
            let of = |k: Key, g: &Generation| k == done || g.lag.is_some_and(|l| l.main == done);
            let all = self.generations.iter_mut();
            for (_, generation) in all.filter(|(k, g)| of(**k, g) && g.has_handed()) {
                if let Err(e) = generation.let_handed_go() {
                    // The row stays where it is, which repeats at worst.
                    crate::log::error(
                        &self.component,
                        format_args!("cannot read {}: {e}", generation.real.display()),
                    );
                }
            }
        }
    }

    /// Whether what a generation handed on has been delivered with its heir.
    fn is_taken_over(&self, key: Key) -> bool {
        let generation = &self.generations[&key];
        match generation.heir.or_else(|| self.next_generation(key)) {
            Some(heir) => self.row_of(heir).is_none_or(|row| row.offset > 0),
            None => self.has_finished_heir(&generation.checkpoint),
        }
    }

    /// Whether a younger generation of the same name was read to its end in an earlier life.
    fn has_finished_heir(&self, row: &Checkpoint) -> bool {
        let younger = |r: &Checkpoint| {
            r.path == row.path
                && r.created_ns > row.created_ns
                && r.created_ns != SKIPPED_NS
                && r.offset > 0
        };
        self.rows.values().flatten().any(younger)
    }

    fn next_generation(&self, key: Key) -> Option<Key> {
        let path = &self.generations.get(&key)?.checkpoint.path;
        let all = &self.followed.get(path)?.generations;
        let mut younger = all.iter().skip_while(|k| **k != key).skip(1).copied();
        // What is rotated and has nothing stands in nobody's way.
        let may_go_on = |g: &Generation| g.rotated.is_none() || !g.has_nothing();
        younger.find(|k| self.generations.get(k).is_some_and(may_go_on))
    }

    /// Whether a rotated generation has something unfinished that the next one may bring the rest of.
    /// It stays open then until the next one begins, or until it has waited for too long.
    pub(super) fn waits_for_heir(&self, key: Key) -> bool {
        let Some(generation) = self.generations.get(&key) else {
            return false;
        };
        let next = self
            .next_generation(key)
            .and_then(|k| self.generations.get(&k));
        generation.is_waiting() && next.is_some_and(|next| !next.begun && next.offset() == 0)
    }

    /// Whether the rest of what waits may be there, and just could not be read because the pipeline
    /// has no room: then it is too early to give it up.
    pub(super) fn may_bring_rest(&self, key: Key) -> bool {
        let next = self
            .next_generation(key)
            .and_then(|k| self.generations.get(&k));
        let unread = next.is_some_and(|next| !next.begun && !next.is_empty());
        unread || !self.has_room_at(key)
    }

    /// Whether nobody is there, or will be, to go on with what a generation handed on in an earlier
    /// life.
    pub(super) fn is_without_heir(&self, key: Key) -> bool {
        let generation = self.generations.get(&key);
        generation.is_some_and(|g| g.has_handed() && g.heir.is_none())
            && self.next_generation(key).is_none()
            && !self.is_taken_over(key)
    }
}
