//! Handing batches to the pipeline.
//!
//! It reads no lines and moves no offset: that waits for the acknowledgement, in `saving`. The rule:
//! nothing is sent of a generation whose row is not stored, because after a crash it would come
//! again under another source and could not be told from news.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Key, Tailer};
use crate::inputs::tail::generation::Generation;
use crate::log;
use crate::offsets::Checkpoint;
use crate::pipeline::Stopped;

impl Tailer {
    /// Sends a generation's batch, after its row has been stored if it must be. False when it could
    /// not be stored: then nothing is sent, because it could come twice.
    pub(super) fn send_batch(&mut self, key: Key) -> Result<bool, Stopped> {
        if !self.store_before_sending(&[key]) {
            return Ok(false);
        }
        self.send_stored(key)?;
        Ok(true)
    }

    pub(super) fn store_before_sending(&mut self, keys: &[Key]) -> bool {
        // Cloned, as rows are stored together; it happens once or twice in a generation's life.
        let mut rows: Vec<(Key, Checkpoint)> = Vec::new();
        // What a generation has let go of is in the row of its heir, which has to be stored with it.
        let heirs = keys
            .iter()
            .filter_map(|key| self.generations.get(key)?.heir);
        let heirs: Vec<Key> = heirs.filter(|heir| !keys.contains(heir)).collect();
        for key in keys.iter().chain(&heirs) {
            let Some(generation) = self.generations.get_mut(key) else {
                continue;
            };
            if generation.lag.is_some() {
                continue;
            }
            if let Err(e) = generation.update_head() {
                log::warn(
                    &self.component,
                    format_args!("cannot read a file's first bytes: {e}"),
                );
            }
            if (generation.must_save || heirs.contains(key))
                && let Some(row) = self.row_of(*key)
            {
                rows.push((*key, row));
            }
        }
        if rows.is_empty() {
            return true;
        }
        if self.next_try.is_some_and(|(at, _)| Instant::now() < at) {
            return false;
        }
        let checkpoints = rows.iter_mut().map(|(_, row)| row);
        if let Err(e) = self.offsets.save(checkpoints, SystemTime::now()) {
            let pause = self.pause_saving();
            log::error(
                &self.component,
                format_args!(
                    "cannot save offsets, so nothing is sent; trying again in {pause:?}: {e:#}"
                ),
            );
            return false;
        }
        self.next_try = None;
        for (key, row) in rows {
            if let Some(generation) = self.generations.get_mut(&key) {
                generation.checkpoint.id = row.id;
                generation.checkpoint.foreign = false;
                generation.must_save = false;
            }
        }
        true
    }

    pub(super) fn send_stored(&mut self, key: Key) -> Result<(), Stopped> {
        let Some(generation) = self.generations.get_mut(&key) else {
            return Ok(());
        };
        match generation.take_batch() {
            Ok(Some((batch, flight))) => {
                let acknowledge = self.acknowledge.clone();
                let outputs = generation.outputs;
                // The tail may have left already when it is called.
                let done = move |outputs| {
                    let _ = acknowledge.send((key, flight, outputs));
                };
                if !self.repeats {
                    return self.link.send(batch, Some(Box::new(move || done(outputs))));
                }
                let declined = self.link.offer(batch, outputs, Arc::new(done))?.declined;
                if !declined.is_empty() {
                    self.declined(key, declined);
                } else if outputs.is_empty() {
                    // Nobody is there to acknowledge it.
                    self.acknowledge_one(key, flight, outputs);
                }
                Ok(())
            }
            Ok(None) => {
                self.want_save();
                Ok(())
            }
            Err(e) => {
                log::error(
                    &self.component,
                    format_args!("cannot read back a file: {e}"),
                );
                Ok(())
            }
        }
    }

    /// Sends every open batch, as far as there is room.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        self.next_flush = None;
        let keys: Vec<Key> = (self.generations.iter())
            .filter(|(_, g)| g.has_batch())
            .map(|(key, _)| *key)
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let stored = self.has_any_room() && self.store_before_sending(&keys);
        if let Some((at, _)) = self.next_try.filter(|_| !stored) {
            self.next_flush = Some(at);
            return Ok(());
        }
        for key in keys {
            let must_grow = self
                .generations
                .get(&key)
                .is_some_and(Generation::must_grow);
            if !stored || must_grow || !self.has_room_at(key) {
                self.next_flush = Some(Instant::now() + self.tick);
                continue;
            }
            self.send_stored(key)?;
        }
        Ok(())
    }
}
