//! Outputs that have fallen behind: each gets a reader of its own, which begins where the output had
//! no room and joins the others again when it has reached them.
//!
//! The log file is the buffer here, too: a slow or dead output costs a descriptor and a row in the
//! offset database, not memory, and keeps nobody waiting. The rules: what one output gets of a
//! source is in order and without gaps, and the row says what the slowest has.

use std::io;

use super::{Key, Tailer};
use crate::inputs::tail::generation::{Generation, Lag};
use crate::inputs::tail::lines::{HANDED_ON, TAKEN_BACK};
use crate::log;
use crate::offsets::{Checkpoint, Cursor};
use crate::pipeline::OutputSet;

/// What is to wait no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cutting {
    /// What has waited too long.
    Due,
    All,
    /// Everything goes on in the next generation.
    HandedOn,
    /// The next generation never came.
    TakenBack,
}

impl Tailer {
    /// Whether there is an output that would take a batch of this generation at once.
    pub(super) fn has_room_for(&self, generation: &Generation) -> bool {
        if !self.repeats {
            return self.link.has_room();
        }
        let mut outputs = generation.outputs.iter();
        self.link.outputs().is_empty() || outputs.any(|o| self.link.has_room_for(o))
    }

    /// Whether there is room for a batch of the generation with this key.
    pub(super) fn has_room_at(&self, key: Key) -> bool {
        (self.generations.get(&key)).is_some_and(|g| self.has_room_for(g))
    }

    /// Whether anybody would take anything.
    pub(super) fn has_any_room(&self) -> bool {
        if !self.repeats {
            return self.link.has_room();
        }
        let outputs = self.link.outputs();
        outputs.is_empty() || outputs.iter().any(|o| self.link.has_room_for(o))
    }

    /// These outputs had no room for the newest batch of a generation.
    pub(super) fn declined(&mut self, key: Key, outputs: OutputSet) {
        let Some(generation) = self.generations.get_mut(&key) else {
            return;
        };
        if outputs == generation.outputs {
            generation.rewind();
            return;
        }
        let reader = |g: &Generation, output| g.lagging(key, output);
        let left = self.add_readers(key, outputs, reader);
        if let Some(generation) = self.generations.get_mut(&key) {
            generation.leave_behind(left);
            generation.dirty = true;
        }
    }

    /// Gives each of these outputs a reader of its own of a generation; those that have got one.
    pub(super) fn add_readers(
        &mut self,
        key: Key,
        outputs: OutputSet,
        reader: impl Fn(&Generation, usize) -> io::Result<Generation>,
    ) -> OutputSet {
        let mut added = OutputSet::EMPTY;
        for output in outputs.iter() {
            let Some(generation) = self.generations.get(&key) else {
                break;
            };
            match reader(generation, output) {
                Ok(reader) => {
                    log::debug(
                        &self.component,
                        format_args!(
                            "{} reads {} on its own",
                            self.link.output_name(output),
                            reader.real.display()
                        ),
                    );
                    self.generations.insert(self.next_key, reader);
                    self.next_key += 1;
                    added = added.with(output);
                }
                // What it misses stays unacknowledged, and comes again after a restart.
                Err(e) => {
                    let path = generation.real.clone();
                    self.complain(&path, &e);
                }
            }
        }
        added
    }

    /// The readers of outputs that were not equally far when the row was stored.
    pub(super) fn open_cursors(&mut self, key: Key, row: &Checkpoint) {
        let places: Vec<(usize, u64, kansoku_model::Position)> = (self.link.outputs().iter())
            .map(|output| {
                let name = self.link.output_name(output);
                let cursor = row.cursors.iter().find(|c| c.output == name);
                let place = cursor.map_or((row.offset, row.sent), |c| (c.offset, c.sent));
                (output, place.0, place.1)
            })
            .collect();
        let Some(generation) = self.generations.get(&key) else {
            return;
        };
        let Some(front) = places
            .iter()
            .map(|(_, offset, sent)| (*offset, *sent))
            .max()
        else {
            return;
        };
        let all_alike = places
            .iter()
            .all(|(_, offset, sent)| (*offset, *sent) == front);
        if !self.repeats || all_alike || !generation.file.may_hold(front.0).unwrap_or(false) {
            return;
        }
        let mut outputs = OutputSet::EMPTY;
        let mut readers = Vec::new();
        for (output, offset, sent) in places {
            if (offset, sent) == front {
                outputs = outputs.with(output);
                continue;
            }
            let place = generation.place_of(offset, sent);
            match place.and_then(|place| generation.lagging_from(key, output, place)) {
                Ok(reader) => readers.push(reader),
                Err(e) => return self.complain(&row.path, &e),
            }
        }
        let Some(generation) = self.generations.get_mut(&key) else {
            return;
        };
        match generation.place_of(front.0, front.1) {
            Ok(place) => generation.jump_to(place, outputs),
            Err(e) => return self.complain(&row.path, &e),
        }
        for reader in readers {
            self.generations.insert(self.next_key, reader);
            self.next_key += 1;
        }
    }

    /// Lets the readers that are behind go as far as the others are, and joins those that are there.
    pub(super) fn tend_lagging(&mut self) {
        let lagging: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.lag.is_some_and(|lag| !lag.merged))
            .map(|(key, _)| *key)
            .collect();
        for key in lagging {
            let Some(reader) = self.generations.get(&key) else {
                continue;
            };
            let Some(lag) = reader.lag else {
                continue;
            };
            let Some(main) = self.generations.get(&lag.main) else {
                continue;
            };
            let until = main.boundary_offset();
            let there = reader.offset() >= until && !reader.has_batch();
            let reached = reader.has_reached(main) || (there && main.closed && !main.has_batch());
            let joins = reached && self.has_all_before(lag.main, lag.output);
            let room = self.has_room_for(reader);
            if let Some(reader) = self.generations.get_mut(&key) {
                reader.until = Some(until);
                reader.hot = !joins && room && reader.offset() < until;
                if joins {
                    reader.closed = true;
                    reader.lag = Some(Lag {
                        merged: true,
                        ..lag
                    });
                }
            }
            if joins && let Some(main) = self.generations.get_mut(&lag.main) {
                main.outputs = main.outputs.with(lag.output);
            }
        }
    }

    /// Whether any reader still belongs to this generation.
    pub(super) fn has_lagging(&self, key: Key) -> bool {
        let of = |g: &Generation| g.lag.is_some_and(|lag| lag.main == key);
        self.generations.values().any(of)
    }

    /// What is cut in one reader is cut in all. True when there was something.
    pub(super) fn cut_everywhere(&mut self, key: Key, what: Cutting) -> bool {
        let now = super::now();
        let rules = &self.options.rules;
        let scratch = &mut self.scratch;
        let Some(generation) = self.generations.get_mut(&key) else {
            return false;
        };
        let before = generation.checkpoint.cuts.len();
        match what {
            Cutting::Due => generation.cut_due(rules, scratch, now),
            Cutting::All => generation.cut_all(rules, scratch, now),
            Cutting::HandedOn => generation.cut(rules, scratch, now, HANDED_ON),
            Cutting::TakenBack => generation.cut(rules, scratch, now, TAKEN_BACK),
        }
        let cuts = generation.checkpoint.cuts[before..].to_vec();
        if cuts.is_empty() {
            return false;
        }
        let of = |g: &&mut Generation| g.lag.is_some_and(|lag| lag.main == key && !lag.merged);
        for reader in self.generations.values_mut().filter(of) {
            reader.expect_cuts(&cuts, rules, scratch, now);
        }
        self.next_flush.get_or_insert(now.0);
        true
    }

    /// The row of a generation: what its slowest output has, and how far the others are.
    pub(super) fn row_of(&self, key: Key) -> Option<Checkpoint> {
        let generation = self.generations.get(&key)?;
        let mut row = generation.checkpoint.clone();
        row.cursors.clear();
        let outputs = self.link.outputs();
        if !self.repeats || outputs.len() < 2 {
            return Some(row);
        }
        let readers: Vec<&Generation> = (self.generations.values())
            .filter(|g| g.lag.is_some_and(|lag| lag.main == key))
            .collect();
        let mut places = Vec::new();
        for output in outputs.iter() {
            // Batches that it has got of the main reader come before those of its own.
            let own = readers
                .iter()
                .filter(|g| g.outputs.contains(output))
                .copied();
            let main = Some(generation).filter(|g| g.is_pending_for(output));
            let slowest = own.chain(main).min_by_key(|g| {
                let (offset, _, sent) = g.cursor_of(output);
                (offset, sent)
            });
            let slowest = slowest.unwrap_or(generation);
            let (offset, marker, sent) = slowest.cursor_of(output);
            places.push((offset, sent, marker, &slowest.checkpoint.cuts, output));
        }
        let slowest = places.iter().min_by_key(|p| (p.0, p.1))?;
        (row.offset, row.sent, row.marker) = (slowest.0, slowest.1, slowest.2);
        row.cuts.clone_from(slowest.3);
        let ahead = places
            .iter()
            .filter(|p| (p.0, p.1) != (row.offset, row.sent));
        row.cursors = ahead
            .map(|p| Cursor {
                output: self.link.output_name(p.4).to_owned(),
                offset: p.0,
                sent: p.1,
            })
            .collect();
        Some(row)
    }

    /// The content of a generation is in another file now, or nowhere.
    pub(super) fn move_lagging(&mut self, key: Key, gone: bool) {
        let Some(main) = self.generations.get(&key) else {
            return;
        };
        let file = (!gone).then(|| main.file.again().ok()).flatten();
        let (device, inode) = (main.checkpoint.device, main.checkpoint.inode);
        let of = |g: &&mut Generation| g.lag.is_some_and(|lag| lag.main == key && !lag.merged);
        let mut n_lost = 0;
        for reader in self.generations.values_mut().filter(of) {
            match file.as_ref().and_then(|f| f.again().ok()) {
                Some(file) => reader.move_to(file, device, inode),
                None => {
                    n_lost += 1;
                    reader.closed = true;
                    reader.lag = reader.lag.map(|lag| Lag {
                        merged: true,
                        ..lag
                    });
                }
            }
            reader.must_save = false;
        }
        if n_lost > 0 {
            self.link.counters.files_lost.add(n_lost);
            log::error(
                &self.component,
                format_args!("a file was truncated before {n_lost} slow outputs had all of it"),
            );
        }
    }
}
