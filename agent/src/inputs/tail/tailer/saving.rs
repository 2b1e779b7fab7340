//! What follows an acknowledgement: saved offsets, closed files, the end of the tail.
//!
//! It sends nothing of its own but what waits in files that are closed. The rule: a row never says
//! more than what was acknowledged, and a generation is let go only when all of it was.

use std::time::{Instant, SystemTime};

use super::{CHORES_EVERY, Key, SAVE_EVERY, Tailer};
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::FileId;
use crate::log;
use crate::offsets::{Checkpoint, Offsets, nanoseconds};

impl Tailer {
    pub(super) fn take_acknowledgements(&mut self) {
        while let Ok((key, flight)) = self.acknowledged.try_recv() {
            self.acknowledge_one(key, flight);
        }
    }

    pub(super) fn acknowledge_one(&mut self, key: Key, flight: u64) {
        if let Some(generation) = self.generations.get_mut(&key) {
            generation.acknowledge(flight);
            self.want_save();
        }
    }

    pub(super) fn want_save(&mut self) {
        self.next_save.get_or_insert(Instant::now() + SAVE_EVERY);
    }

    pub(super) fn save(&mut self) {
        self.next_save = None;
        let dirty: Vec<&mut Generation> = (self.generations.values_mut())
            .filter(|g| g.dirty)
            .collect();
        let saved = save_rows(
            &mut self.offsets,
            dirty,
            &mut self.moved_rows,
            &mut self.removed_rows,
        );
        if let Err(e) = saved {
            log::error(
                &self.component,
                format_args!("cannot save offsets; trying again: {e:#}"),
            );
            self.want_save();
        }
        self.retire();
    }

    /// What is due now and then: waiting partial lines, rotated files.
    pub(super) fn chores(&mut self) {
        self.next_chores = None;
        let now = Instant::now();
        let mut again = false;
        let now_ns = nanoseconds(SystemTime::now());
        let rules = &self.options.rules;
        for generation in self.generations.values_mut().filter(|g| g.is_waiting()) {
            again = true;
            if generation.cut_due(rules, &mut self.scratch, (now, now_ns)) {
                self.next_flush.get_or_insert(now);
            }
        }
        let rotated: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.rotated.is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in rotated {
            again = true;
            self.look_after_rotated(key, now);
        }
        if again {
            self.next_chores = Some(now + CHORES_EVERY);
        }
    }

    /// Reads on what still comes, and closes the file when nothing has come for long enough.
    pub(super) fn look_after_rotated(&mut self, key: Key, now: Instant) {
        let Some(generation) = self.generations.get(&key) else {
            return;
        };
        let may_read = self.may_read(key, generation);
        let waited = generation
            .rotated
            .is_some_and(|since| now.duration_since(since) >= self.options.rotate_wait);
        if generation.closed || !may_read {
            return;
        }
        if generation.quiet_turns < 2 || !waited {
            if let Some(generation) = self.generations.get_mut(&key) {
                generation.hot = true;
            }
            return;
        }
        if !self.link.has_room() {
            return;
        }
        // Once more, taking an unfinished last line as it is.
        if self.read_one(key, true).is_err() {
            return;
        }
        let rules = &self.options.rules;
        if let Some(generation) = self.generations.get_mut(&key)
            && generation.quiet_turns >= 2
        {
            generation.cut_all(rules, &mut self.scratch, super::now());
            generation.closed = true;
            generation.hot = false;
            self.next_flush.get_or_insert(now);
        }
    }

    /// Lets go of generations that are closed and wholly acknowledged.
    pub(super) fn retire(&mut self) {
        let done: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.closed && g.is_settled())
            .map(|(key, _)| *key)
            .collect();
        for key in done {
            let Some(mut generation) = self.generations.remove(&key) else {
                continue;
            };
            generation.checkpoint.finished = !generation.released;
            let row = &mut generation.checkpoint;
            let id = FileId {
                device: row.device,
                inode: row.inode,
            };
            if self.by_file.get(&id) == Some(&key) {
                self.by_file.remove(&id);
            }
            if self.by_real.get(&generation.real) == Some(&key) {
                self.by_real.remove(&generation.real);
            }
            if let Some(followed) = self.followed.get_mut(&row.path) {
                followed.generations.retain(|k| *k != key);
            }
            self.link.counters.files_closed.add(1);
            // A file that still has a name keeps its row, so that it is not read again.
            // So does one that was deleted: it may come again compressed.
            if generation.gone {
                self.removed_rows.push(generation.checkpoint.id);
                self.want_save();
            } else {
                let row = &mut generation.checkpoint;
                if let Err(e) = self.offsets.save([row], SystemTime::now()) {
                    log::error(&self.component, format_args!("cannot save offsets: {e:#}"));
                }
                self.keep_row(generation.checkpoint);
            }
        }
    }

    /// Whether `exit_on_eof` may end: nothing new, nothing under way.
    pub(super) fn all_read(&mut self) -> bool {
        if !self.started || self.generations.values().any(|g| g.hot) {
            return false;
        }
        let keys: Vec<Key> = self.generations.keys().copied().collect();
        for key in keys {
            if !self.link.has_room() {
                return false;
            }
            if self.read_one(key, true).is_err() {
                return true;
            }
            if let Some(generation) = self.generations.get_mut(&key)
                && generation.is_waiting()
            {
                generation.cut_all(&self.options.rules, &mut self.scratch, super::now());
            }
        }
        if self.flush().is_err() {
            return true;
        }
        self.take_acknowledgements();
        self.generations.values().all(Generation::is_settled)
    }

    /// Waits for the last acknowledgements and saves them.
    pub(super) fn leave(&mut self) {
        let under_way = |t: &Self| t.generations.values().any(Generation::has_flights);
        while under_way(self) {
            crossbeam_channel::select! {
                recv(self.acknowledged) -> message => {
                    if let Ok((key, flight)) = message {
                        self.acknowledge_one(key, flight);
                    }
                }
                recv(self.link.closed) -> _ => break,
            }
        }
        self.take_acknowledgements();
        self.save();
    }
}

fn save_rows(
    offsets: &mut Offsets,
    mut dirty: Vec<&mut Generation>,
    moved: &mut Vec<Checkpoint>,
    removed: &mut Vec<i64>,
) -> anyhow::Result<()> {
    if !dirty.is_empty() || !moved.is_empty() {
        let checkpoints = dirty.iter_mut().map(|g| &mut g.checkpoint);
        let checkpoints = checkpoints.chain(moved.iter_mut());
        offsets.save(checkpoints, SystemTime::now())?;
        for generation in dirty {
            generation.dirty = false;
            generation.must_save = false;
            generation.checkpoint.foreign = false;
        }
        moved.clear();
    }
    if !removed.is_empty() {
        offsets.remove(removed)?;
        removed.clear();
    }
    Ok(())
}
