//! What follows an acknowledgement: saved offsets, closed files, the end of the tail.
//!
//! It sends nothing of its own but what waits in files that are closed. The rule: a row never says
//! more than what was acknowledged, and a generation is let go only when all of it was.

use std::time::{Duration, Instant, SystemTime};

use super::lagging::Cutting;
use super::{CHORES_EVERY, Key, RETRY_AT_LEAST, RETRY_FIRST, SAVE_EVERY, Tailer};
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::FileId;
use crate::log;
use crate::offsets::Checkpoint;
use crate::pipeline::OutputSet;

impl Tailer {
    pub(super) fn take_acknowledgements(&mut self) {
        while let Ok((key, flight, outputs)) = self.acknowledged.try_recv() {
            self.acknowledge_one(key, flight, outputs);
        }
    }

    pub(super) fn acknowledge_one(&mut self, key: Key, flight: u64, outputs: OutputSet) {
        let Some(generation) = self.generations.get_mut(&key) else {
            return;
        };
        generation.acknowledge(flight, outputs);
        if let Some(lag) = generation.lag
            && let Some(main) = self.generations.get_mut(&lag.main)
        {
            main.dirty = true;
        }
        self.want_save();
    }

    pub(super) fn want_save(&mut self) {
        self.next_save.get_or_insert(Instant::now() + SAVE_EVERY);
    }

    pub(super) fn save(&mut self) {
        self.next_save = None;
        self.settle_handed();
        let dirty: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.dirty && g.lag.is_none())
            .map(|(key, _)| *key)
            .collect();
        let saved = self.save_rows(&dirty);
        if let Err(e) = saved {
            let pause = self.pause_saving();
            log::error(
                &self.component,
                format_args!("cannot save offsets; trying again in {pause:?}: {e:#}"),
            );
            self.next_save = Some(Instant::now() + pause);
            return;
        }
        self.next_try = None;
        self.retire();
    }

    /// What is due now and then: waiting partial lines, rotated files.
    pub(super) fn chores(&mut self) {
        self.next_chores = None;
        let now = Instant::now();
        let mut again = false;
        let waiting: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.lag.is_none() && g.is_waiting())
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            again = true;
            if !self.may_bring_rest(key) {
                self.cut_everywhere(key, Cutting::Due);
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
        if !self.has_room_at(key) || self.waits_for_heir(key) {
            return;
        }
        // Once more, taking an unfinished last line as it is.
        if self.read_one(key, true).is_err() {
            return;
        }
        if self.has_not_begun(key) {
            return;
        }
        if (self.generations.get(&key)).is_some_and(|g| g.quiet_turns >= 2) {
            self.cut_everywhere(key, Cutting::All);
            if self.is_without_heir(key) {
                self.cut_everywhere(key, Cutting::TakenBack);
            }
        }
        if let Some(generation) = self.generations.get_mut(&key)
            && generation.quiet_turns >= 2
        {
            generation.closed = true;
            generation.hot = false;
            self.next_flush.get_or_insert(now);
        }
    }

    /// Whether there is something to read in a generation that could not begin yet.
    fn has_not_begun(&self, key: Key) -> bool {
        let generation = self.generations.get(&key);
        generation.is_some_and(|g| !g.begun && !g.has_nothing())
    }

    /// Lets go of generations that are closed and wholly acknowledged.
    pub(super) fn retire(&mut self) {
        let caught_up = |g: &Generation| g.lag.is_some() && g.closed && g.is_settled();
        let mut mains = Vec::new();
        self.generations.retain(|_, g| {
            let gone = caught_up(g);
            mains.extend(g.lag.filter(|_| gone).map(|lag| lag.main));
            !gone
        });
        for main in mains {
            if let Some(main) = self.generations.get_mut(&main) {
                main.dirty = true;
                self.want_save();
            }
        }
        let done: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.closed && g.is_settled() && !g.has_handed())
            .filter(|(key, _)| !self.has_lagging(**key))
            .map(|(key, _)| *key)
            .collect();
        for key in done {
            let Some(mut generation) = self.generations.remove(&key) else {
                continue;
            };
            generation.checkpoint.finished = !generation.released;
            generation.checkpoint.cursors.clear();
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
        if self.generations.values().any(|g| g.lag.is_some()) {
            return false;
        }
        for key in keys {
            if !self.has_room_at(key) {
                return false;
            }
            if self.read_one(key, true).is_err() {
                return true;
            }
            if self.has_not_begun(key) {
                return false;
            }
            self.cut_everywhere(key, Cutting::All);
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
                    if let Ok((key, flight, outputs)) = message {
                        self.acknowledge_one(key, flight, outputs);
                    }
                }
                recv(self.link.closed) -> _ => break,
            }
        }
        self.take_acknowledgements();
        self.save();
    }

    /// Notes that the database could not be written; how long it is left alone.
    pub(super) fn pause_saving(&mut self) -> Duration {
        let pause = self.next_try.map_or(RETRY_FIRST, |(_, pause)| pause);
        let next = (2 * pause).min(RETRY_AT_LEAST);
        self.next_try = Some((Instant::now() + pause, next));
        pause
    }

    fn save_rows(&mut self, dirty: &[Key]) -> anyhow::Result<()> {
        let mut rows: Vec<(Key, Checkpoint)> = (dirty.iter())
            .filter_map(|key| Some((*key, self.row_of(*key)?)))
            .collect();
        if !rows.is_empty() || !self.moved_rows.is_empty() {
            let checkpoints = rows.iter_mut().map(|(_, row)| row);
            let checkpoints = checkpoints.chain(self.moved_rows.iter_mut());
            self.offsets.save(checkpoints, SystemTime::now())?;
            self.moved_rows.clear();
        }
        for (key, row) in rows {
            if let Some(generation) = self.generations.get_mut(&key) {
                generation.checkpoint.id = row.id;
                generation.checkpoint.foreign = false;
                generation.dirty = false;
                generation.must_save = false;
            }
        }
        if !self.removed_rows.is_empty() {
            self.offsets.remove(&self.removed_rows)?;
            self.removed_rows.clear();
        }
        Ok(())
    }
}
