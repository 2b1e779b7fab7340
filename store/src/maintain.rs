//! Maintenance: sealing and writing out heads, merging parts, retention. Each call does one bounded
//! piece; a thread of the caller's drives it.
//!
//! Every change of files goes through `publish`: new files are durable first, then the manifest is
//! replaced, then queries see the change, then old files go. So a crash at any step leaves the old
//! or the new state, and a query sees an entry in a head or in a part, never in both or neither.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::flush;
use crate::head::Head;
use crate::manifest::{self, Entry, Manifest};
use crate::merge;
use crate::part::Part;
use crate::recovery::QUARANTINE;
use crate::references::SeriesTable;
use crate::state::State;
use crate::store::{LOCK, Sealed, Store, View};
use crate::wal;
use crate::{Maintained, StoreError};

impl Store {
    /// Does one bounded piece of work: writes out a head, merges parts or drops expired ones. Call
    /// it in a loop from one thread; rest with `wait_for_work` when it returns idle. A second
    /// thread may call it as well: then flushes go on beside a long merge.
    ///
    /// # Errors
    /// When the work failed; it is tried again by the next call.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintained, StoreError> {
        self.refuse_when_poisoned()?;
        self.inner.active.rotate(now_ms);
        // A full disk ends flushes, but not retention, which makes room.
        let full = match self.flush_when_due(now_ms) {
            Ok(0) => None,
            Ok(parts_flushed) => {
                return Ok(Maintained {
                    parts_flushed,
                    ..Maintained::default()
                });
            }
            Err(full @ StoreError::Full { .. }) => Some(full),
            Err(e) => return Err(e),
        };
        // Somebody else merges: that is the one piece of work there is.
        let Ok(_merging) = self.inner.merging.try_lock() else {
            return full.map_or_else(|| Ok(Maintained::default()), Err);
        };
        let parts_dropped = self.expire(now_ms)?;
        if parts_dropped > 0 {
            return Ok(Maintained {
                parts_dropped,
                ..Maintained::default()
            });
        }
        if let Some(full) = full {
            // Deletes make room as well, if what is left of a part is small enough.
            return match self.advance_deletes(now_ms) {
                Ok(parts_rewritten) if parts_rewritten > 0 => Ok(Maintained {
                    parts_rewritten,
                    ..Maintained::default()
                }),
                _ => Err(full),
            };
        }
        let mut parts_rewritten = self.expire_by_rule(now_ms)?;
        if parts_rewritten == 0 {
            parts_rewritten = self.advance_deletes(now_ms)?;
        }
        if parts_rewritten > 0 {
            return Ok(Maintained {
                parts_rewritten,
                ..Maintained::default()
            });
        }
        let parts_merged = self.merge_one(now_ms)?;
        Ok(Maintained {
            parts_merged,
            ..Maintained::default()
        })
    }

    /// Writes all heads out.
    pub(crate) fn flush_all(&self) -> Result<Maintained, StoreError> {
        self.refuse_when_poisoned()?;
        let mut done = Maintained::default();
        self.seal_up_to(None, None)?;
        loop {
            match self.write_out_one()? {
                0 => return Ok(done),
                n => done.parts_flushed += n,
            }
        }
    }

    /// Whether a head is large enough, or too old at `now_ms`, or waits already.
    pub(crate) fn wants_flush(&self, now_ms: Option<i64>) -> bool {
        let view = self.inner.view();
        let options = &self.inner.options;
        !view.sealed.is_empty()
            || view.active.is_full(self.inner.memory.head_limit_bytes())
            || now_ms.is_some_and(|now| {
                view.active.age_ms(now) >= options.head_max_age_ms && !view.active.is_empty()
            })
    }

    /// Writes a head out when one is to be, and nothing else; may run beside `maintain`.
    ///
    /// # Errors
    /// When writing failed; it is tried again by the next call.
    pub fn flush_when_full(&self, now_ms: i64) -> Result<usize, StoreError> {
        self.refuse_when_poisoned()?;
        self.flush_when_due(now_ms)
    }

    fn flush_when_due(&self, now_ms: i64) -> Result<usize, StoreError> {
        if !self.wants_flush(Some(now_ms)) {
            return Ok(0);
        }
        let flush = || {
            if self.inner.view().sealed.is_empty() {
                self.seal_up_to(None, Some(now_ms))?;
            }
            self.write_out_one()
        };
        let done = flush();
        let is_full = matches!(done, Err(StoreError::Full { .. }));
        self.inner.is_disk_full.store(is_full, Ordering::Relaxed);
        done
    }

    /// Ends the active head and starts a new one. `wal_to` is the last segment with its data; by
    /// default the running one, which is then ended as well.
    pub(crate) fn seal_up_to(
        &self,
        wal_to: Option<u64>,
        now_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut open = inner.wal.lock().expect(LOCK);
        let mut marks = inner.marks.lock().expect(LOCK);
        if inner.view().active.is_empty() {
            return Ok(());
        }
        let wal_to = match wal_to {
            Some(number) => number,
            None => {
                let ended = open.wal.number;
                open.rotate(0)?;
                ended
            }
        };
        if let Some(now) = now_ms {
            marks.date(now);
        }
        self.renew_series();
        let state = State {
            marks: marks.clone(),
            metadata: inner.metadata.read().expect(LOCK).clone(),
            exemplars: inner.exemplars.read().expect(LOCK).clone(),
        };
        self.change_view(|view| {
            let head = std::mem::replace(&mut view.active, Arc::new(Head::new(&inner.memory)));
            view.sealed.push(Arc::new(Sealed {
                head,
                wal_to,
                state,
            }));
        });
        Ok(())
    }

    /// Replaces the table of series by an empty one when it is full or mostly of series that the
    /// active head did not see, so that series that are gone leave. The running segment defines none.
    fn renew_series(&self) {
        let inner = &self.inner;
        let n_used = {
            let view = inner.view();
            let series = view.active.series.read().expect(LOCK);
            series.n_referenced
        };
        let mut table = inner.series.lock().expect(LOCK);
        if table.is_stale(n_used) {
            *table = Arc::new(SeriesTable::within(&inner.memory, &inner.active));
        }
    }

    /// Writes the oldest sealed head out; returns how many parts it became, 0 when there is none.
    pub(crate) fn write_out_one(&self) -> Result<usize, StoreError> {
        let inner = &self.inner;
        let _flushing = inner.flushing.lock().expect(LOCK);
        let Some(sealed) = inner.view().sealed.first().cloned() else {
            return Ok(0);
        };
        let flush = self.take_number();
        let entries =
            flush::write_head(&inner.disk, &sealed.head, flush, &mut || self.take_number())?;
        let state = self.take_number();
        let state_name = manifest::state_name(state);
        let prepared = inner
            .disk
            .write_atomically(&state_name, "", &sealed.state.encode())
            .and_then(|()| self.open_parts(&entries));
        let parts = match prepared {
            Ok(parts) => parts,
            Err(e) => {
                flush::remove_parts(&inner.disk, &entries);
                let _ = inner.disk.remove(&state_name);
                return Err(e);
            }
        };
        let (n_parts, bytes) = (parts.len(), parts.iter().map(|p| p.file.len()).sum());
        let old_state = inner.manifest.lock().expect(LOCK).state;
        self.publish(
            |manifest| {
                manifest.parts.extend(&entries);
                manifest.wal_from = sealed.wal_to + 1;
                manifest.state = state;
            },
            |view| {
                view.sealed.retain(|s| !Arc::ptr_eq(s, &sealed));
                view.parts.extend(parts);
                view.parts.sort_by_key(|p| p.entry().flushes);
            },
        )?;
        inner.counters.flushes.fetch_add(1, Ordering::Relaxed);
        inner.is_disk_full.store(false, Ordering::Relaxed);
        inner
            .counters
            .part_bytes_written
            .fetch_add(bytes, Ordering::Relaxed);
        sealed.head.release();
        self.inner.memory.signal_pressure();
        self.remove_wal_up_to(sealed.wal_to);
        if old_state != 0 {
            let _ = inner.disk.remove(&manifest::state_name(old_state));
        }
        // At least one, so that a head of nothing but repeats counts as work as well.
        Ok(n_parts.max(1))
    }

    /// Removes segments whose data is in parts. One that cannot be removed goes at the next opening.
    fn remove_wal_up_to(&self, number: u64) {
        let mut open = self.inner.wal.lock().expect(LOCK);
        open.ended.retain(|(ended, _)| {
            if *ended <= number {
                let _ = self.inner.disk.remove(&wal::segment_name(*ended));
            }
            *ended > number
        });
    }

    fn merge_one(&self, now_ms: i64) -> Result<usize, StoreError> {
        let inner = &self.inner;
        let parts = &inner.view().parts;
        let mut arrivals = inner.arrivals.lock().expect(LOCK);
        arrivals.observe(parts, now_ms);
        let bounds = inner.options.merge_bounds();
        let old = merge::choose(parts, &self.delete_borders(), bounds, &|signal, day| {
            arrivals.worth(signal, day, now_ms)
        });
        drop(arrivals);
        // An error of the flush comes up again, and is reported, by the next call of `maintain`.
        self.merge(&old, &|| drop(self.flush_when_due(now_ms)))
    }

    /// Writes all heads out and brings the parts of each day together into as few as may be: the
    /// least that the data can take, and quicker queries. It can take long.
    ///
    /// # Errors
    /// When writing failed; what was done until then stays.
    pub fn compact(&self) -> Result<usize, StoreError> {
        self.flush_all()?;
        let _merging = self.inner.merging.lock().expect(LOCK);
        let bounds = self.inner.options.merge_bounds();
        let mut n_merged = 0;
        loop {
            let parts = &self.inner.view().parts;
            let old = merge::choose(parts, &self.delete_borders(), bounds, &|_, _| {
                merge::Worth::ANY
            });
            match self.merge(&old, &|| ())? {
                0 => return Ok(n_merged),
                n => n_merged += n,
            }
        }
    }

    /// Makes one part of some; returns how many they were.
    fn merge(&self, old: &[Arc<Part>], breathe: &dyn Fn()) -> Result<usize, StoreError> {
        let inner = &self.inner;
        let (Some(first), Some(last)) = (old.first(), old.last()) else {
            return Ok(0);
        };
        let entry = Entry {
            number: self.take_number(),
            flushes: (first.entry().flushes.0, last.entry().flushes.1),
            ..*first.entry()
        };
        let bytes = self.rewrite(old, entry, breathe)?;
        inner.counters.merges.fetch_add(1, Ordering::Relaxed);
        inner
            .counters
            .part_bytes_written
            .fetch_add(bytes, Ordering::Relaxed);
        Ok(old.len())
    }

    /// Keeps what could not be read of parts that are replaced.
    pub(crate) fn set_damaged_aside(&self, old: &[Arc<Part>]) -> Result<(), StoreError> {
        for part in old.iter().filter(|p| p.file.has_damage()) {
            let name = part.entry().file_name();
            let kept = format!(
                "{QUARANTINE}/{}",
                name.rsplit('/').next().unwrap_or_default()
            );
            self.inner.disk.keep_as(&name, &kept)?;
            self.inner.changes.note(i64::MIN);
        }
        Ok(())
    }

    pub(crate) fn replace_parts(
        &self,
        old: &[Arc<Part>],
        new: Vec<Arc<Part>>,
    ) -> Result<(), StoreError> {
        let is_old = |number: u64| old.iter().any(|p| p.entry().number == number);
        let entries: Vec<Entry> = new.iter().map(|p| *p.entry()).collect();
        self.publish(
            |manifest| {
                manifest.parts.retain(|p| !is_old(p.number));
                manifest.parts.extend(&entries);
            },
            |view| {
                view.parts.retain(|p| !is_old(p.entry().number));
                view.parts.extend(new);
                view.parts.sort_by_key(|p| p.entry().flushes);
            },
        )?;
        old.iter().for_each(|part| part.file.doom());
        Ok(())
    }

    pub(crate) fn open_parts(&self, entries: &[Entry]) -> Result<Vec<Arc<Part>>, StoreError> {
        let open =
            |e: &Entry| Part::open(&self.inner.shared, *e, &self.inner.interner).map(Arc::new);
        entries.iter().map(open).collect()
    }

    pub(crate) fn take_number(&self) -> u64 {
        let mut manifest = self.inner.manifest.lock().expect(LOCK);
        manifest.next += 1;
        manifest.next - 1
    }

    /// Replaces the manifest, then shows queries the change.
    fn publish(
        &self,
        change: impl FnOnce(&mut Manifest),
        show: impl FnOnce(&mut View),
    ) -> Result<(), StoreError> {
        let mut manifest = self.inner.manifest.lock().expect(LOCK);
        let mut new = manifest.clone();
        change(&mut new);
        self.put_manifest(&new)?;
        *manifest = new;
        self.change_view(show);
        Ok(())
    }

    /// Writes a manifest in the place of the one that counts; its lock is held.
    pub(crate) fn put_manifest(&self, new: &Manifest) -> Result<(), StoreError> {
        let disk = &self.inner.disk;
        let temporary = format!("{}.tmp", manifest::NAME);
        disk.write_synced(&temporary, &new.encode())?;
        // From here on either manifest may be the one that a restart finds: nothing may change any
        // more, or files of one of them would go.
        disk.rename_into_place(&temporary, manifest::NAME, "")
            .map_err(|e| self.poison(&e))
    }

    pub(crate) fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.inner.view.lock().expect(LOCK);
        let mut new = View::clone(&view);
        change(&mut new);
        *view = Arc::new(new);
    }
}
