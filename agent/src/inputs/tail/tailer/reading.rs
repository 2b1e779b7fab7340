//! Whose turn it is: reading hot files one after the other, and what a truncation means.
//!
//! How the bytes of one file become lines is the generation's affair. The rules: no file is read
//! while the pipeline has no room, and none before the older generations of its name are drained.

use std::io;
use std::time::{Instant, SystemTime};

use super::lagging::Cutting;
use super::{CHORES_EVERY, Key, OPEN_MAX_BYTES, Tailer};
use crate::inputs::tail::content::Content;
use crate::inputs::tail::discover::Packing;
use crate::inputs::tail::generation::{Generation, Turn, TurnContext};
use crate::inputs::tail::identity::{self, FileId};
use crate::log;
use crate::offsets::nanoseconds;
use crate::pipeline::Stopped;

impl Tailer {
    /// Gives every hot file its turn.
    pub(super) fn read_hot(&mut self) -> Result<(), Stopped> {
        self.tend_lagging();
        if self.next_measure.is_none() && self.generations.values().any(Generation::is_behind) {
            self.want_measure();
        }
        let mut hot: Vec<Key> = (self.generations.iter())
            .filter(|(key, g)| g.hot && !g.closed && self.may_read(**key, g))
            .map(|(key, _)| *key)
            .collect();
        // Requests of before a crash wait for the batches of all their files: what follows in one
        // of these must not use up the room that another needs.
        let must_repeat = |key: &Key| self.generations[key].must_repeat();
        if hot.iter().any(must_repeat) {
            hot.retain(must_repeat);
        }
        let mut open_bytes: usize = self.generations.values().map(Generation::open_bytes).sum();
        for key in hot {
            if !self.has_room_at(key) {
                // Whatever was not read stays hot; the next acknowledgement brings us back.
                continue;
            }
            let before = self.open_bytes_of(key);
            self.read_one(key, false)?;
            open_bytes = open_bytes - before + self.open_bytes_of(key);
            if open_bytes > OPEN_MAX_BYTES {
                self.flush()?;
                open_bytes = self.generations.values().map(Generation::open_bytes).sum();
            }
        }
        Ok(())
    }

    pub(super) fn open_bytes_of(&self, key: Key) -> usize {
        self.generations.get(&key).map_or(0, Generation::open_bytes)
    }

    /// One turn of one file, and the batches that it fills.
    pub(super) fn read_one(&mut self, key: Key, last: bool) -> Result<(), Stopped> {
        if !self.begin(key) {
            return Ok(());
        }
        let begin = self.generations.get(&key).map_or(0, Generation::offset);
        let turn = self.take_turn(key, last);
        if self.options.drop_cache
            && let Some(generation) = self.generations.get(&key)
            && generation.offset() > begin
        {
            generation.drop_cache(begin);
        }
        turn
    }

    fn take_turn(&mut self, key: Key, last: bool) -> Result<(), Stopped> {
        let mut left = self.options.turn_bytes;
        loop {
            let Some(generation) = self.generations.get_mut(&key) else {
                return Ok(());
            };
            let before = generation.offset();
            let repeats = generation.must_repeat();
            let mut context = TurnContext {
                options: &self.options,
                counters: &self.link.counters,
                buffer: &mut self.buffer,
                scratch: &mut self.scratch,
                now: Instant::now(),
                now_ns: nanoseconds(SystemTime::now()),
                limit_bytes: left,
                last,
            };
            let turn = generation.turn(&mut context);
            left = left.saturating_sub(generation.offset() - before);
            if generation.has_batch() && self.next_flush.is_none() {
                self.next_flush = Some(Instant::now() + self.link.flush);
            }
            if generation.is_waiting() {
                self.next_chores
                    .get_or_insert(Instant::now() + CHORES_EVERY);
            }
            match turn {
                Ok(Turn::More) if generation.is_full() => {
                    if !self.send_batch(key)? || repeats {
                        return Ok(());
                    }
                }
                // There is more in the file: no pause.
                Ok(Turn::More) => {
                    self.next_tick = Instant::now();
                    return Ok(());
                }
                Ok(Turn::AtEnd) => return Ok(()),
                Ok(Turn::Quiet) => {
                    if generation.quiet_turns >= 2 {
                        generation.hot = false;
                        // The next generation of this name may begin when this one is delivered.
                        if generation.rotated.is_some() && generation.has_batch() {
                            self.next_flush = Some(Instant::now());
                        }
                        self.next_tick = self.next_tick.min(Instant::now() + self.tick);
                    }
                    return Ok(());
                }
                Ok(Turn::Truncated) => {
                    let main = generation.lag.map_or(key, |lag| lag.main);
                    generation.hot = false;
                    self.truncated(main);
                    return Ok(());
                }
                Err(e) => {
                    generation.hot = false;
                    if generation.file.is_being_written() {
                        // Tried again with the next scan.
                        self.look_again();
                        return Ok(());
                    }
                    if generation.file.broken().is_some() {
                        self.give_up_broken(key, &e);
                        return Ok(());
                    }
                    let name = generation.checkpoint.path.clone();
                    self.complain(&name, &e);
                    return Ok(());
                }
            }
            if left == 0 || !self.has_room_at(key) {
                self.next_tick = Instant::now();
                return Ok(());
            }
        }
    }

    /// A packed file cannot be unpacked any further: what came before the damage is delivered, the
    /// rest is lost.
    fn give_up_broken(&mut self, key: Key, error: &io::Error) {
        let Some(generation) = self.generations.get_mut(&key) else {
            return;
        };
        log::error(
            &self.component,
            format_args!(
                "{} cannot be unpacked beyond byte {}: {error}; the rest of it is lost",
                generation.real.display(),
                generation.offset()
            ),
        );
        self.link.counters.files_lost.add(1);
        generation.closed = true;
        generation.quiet_turns = 2;
        self.cut_everywhere(key, Cutting::All);
        self.next_flush.get_or_insert(Instant::now());
        self.want_save();
    }

    /// The file was truncated: its old content may lie in a copy beside it, the new one begins at 0.
    pub(super) fn truncated(&mut self, key: Key) {
        let Some(generation) = self.generations.get_mut(&key) else {
            return;
        };
        let name = generation.checkpoint.path.clone();
        let real = generation.real.clone();
        let was_rotated = generation.rotated.is_some();
        let old = FileId {
            device: generation.checkpoint.device,
            inode: generation.checkpoint.inode,
        };
        // What was read, acknowledged or not.
        let read = generation.read_checkpoint();
        let siblings = self.listings.siblings(&real);
        let copy = siblings
            .iter()
            .rev()
            .filter(|s| s.packing != Packing::Unreadable)
            .find_map(|s| {
                let file = Content::open(&s.path).ok()?;
                let is_copy = identity::holds(&file, &read).unwrap_or(false);
                is_copy.then(|| (s.clone(), file))
            });
        self.by_file.remove(&old);
        match copy {
            Some((sibling, file)) if !self.by_file.contains_key(&sibling.id) => {
                log::info(
                    &self.component,
                    format_args!(
                        "{} was truncated; its copy {} is read on",
                        name.display(),
                        sibling.path.display()
                    ),
                );
                if let Some(generation) = self.generations.get_mut(&key) {
                    generation.move_to(file, sibling.id.device, sibling.id.inode);
                }
                self.by_file.insert(sibling.id, key);
                self.move_lagging(key, false);
            }
            _ => {
                log::info(
                    &self.component,
                    format_args!(
                        "{} was truncated after {} bytes were read",
                        name.display(),
                        read.offset
                    ),
                );
                if let Some(generation) = self.generations.get_mut(&key) {
                    generation.gone = true;
                    generation.closed = true;
                    generation.hot = false;
                }
                self.cut_everywhere(key, Cutting::All);
                self.move_lagging(key, true);
            }
        }
        self.mark_rotated(key);
        if !was_rotated {
            self.reconcile(&name);
        }
        self.next_chores
            .get_or_insert(Instant::now() + CHORES_EVERY);
    }
}
