//! Asking for deletes, taking them back, and rewriting parts without what they take.
//!
//! A delete becomes durable with the manifest that names its file. Before it gets its number all heads
//! are written out, so that everything older lies in parts with lower numbers and everything newer
//! will lie in parts with higher ones. Nothing of it is in the WAL.

use std::sync::Arc;

use crate::deletes::{self, ACTIVE_MAX, Delete, DeleteInfo, DeleteKind, DeleteRequest};
use crate::manifest::{self, Entry};
use crate::part::{Body, Part};
use crate::store::{LOCK, Store};
use crate::{StoreError, merge};

impl Store {
    /// Takes away what the request selects of all that was stored before. It is durable and no query
    /// shows what it takes when this returns.
    ///
    /// # Errors
    /// `Invalid`: the selector is none, the range is empty, or too many deletes are not done yet.
    /// Others when writing failed; then nothing was deleted.
    pub fn delete(&self, request: DeleteRequest) -> Result<(), StoreError> {
        self.delete_all(vec![request])
    }

    /// The same for several requests, all of them or none.
    ///
    /// # Errors
    /// As for one.
    pub fn delete_all(&self, requests: Vec<DeleteRequest>) -> Result<(), StoreError> {
        self.refuse_when_poisoned()?;
        let new: Vec<Delete> = requests
            .into_iter()
            .map(|request| self.read_request(request))
            .collect::<Result<_, _>>()?;
        self.with_reserve(|| self.flush_all())?;
        // No flush whose number is taken already may be published later: it would be covered, and
        // the delete taken for done before.
        let _flushing = self.inner.flushing.lock().expect(LOCK);
        self.change_deletes(|all, next| {
            let n_active = all.iter().filter(|d| !d.is_done).count();
            if n_active + new.len() > ACTIVE_MAX {
                return Err(StoreError::Invalid(format!(
                    "{n_active} deletes are not done yet, and no more than {ACTIVE_MAX} may be; try again later"
                )));
            }
            for mut delete in new {
                delete.number = *next;
                // Those that cannot be taken back are settled at once.
                delete.settled = if delete.is_wanted_now { 0 } else { *next };
                *next += 1;
                all.push(Arc::new(delete));
            }
            Ok(())
        })
    }

    fn read_request(&self, request: DeleteRequest) -> Result<Delete, StoreError> {
        let refused = |e: String| StoreError::Invalid(format!("{}: {e}", request.selector));
        if request.from > request.to {
            return Err(refused("the range of time ends before it begins".into()));
        }
        let selector = (self.inner.options.parse_selector)(request.kind, &request.selector);
        Ok(Delete {
            number: 0,
            settled: 0,
            is_wanted_now: request.can_be_cancelled,
            is_done: false,
            kind: request.kind,
            selector: selector.map_err(refused)?,
            text: request.selector,
            id: request.id,
            from: request.from,
            to: request.to,
            asked_ms: request.now_ms,
        })
    }

    /// All deletes that are known, oldest first; of those that are done only some of logs.
    #[must_use]
    pub fn deletes(&self) -> Vec<DeleteInfo> {
        let view = self.inner.view();
        view.deletes.iter().map(|d| d.info()).collect()
    }

    /// Takes a delete back: what it took is there again. False when there is none of that id that can
    /// be taken back.
    ///
    /// # Errors
    /// When writing failed.
    pub fn cancel_delete(&self, id: &str) -> Result<bool, StoreError> {
        self.refuse_when_poisoned()?;
        let mut is_gone = false;
        self.change_deletes(|all, _| {
            let before = all.len();
            all.retain(|d| d.id != id || d.settled > 0);
            is_gone = all.len() < before;
            Ok(())
        })?;
        Ok(is_gone)
    }

    /// Rewrites all parts that hold deleted samples, and returns when none does.
    ///
    /// # Errors
    /// When writing failed.
    pub fn clean_deleted_samples(&self) -> Result<usize, StoreError> {
        self.refuse_when_poisoned()?;
        let _merging = self.inner.merging.lock().expect(LOCK);
        self.change_deletes(|all, _| {
            for delete in all.iter_mut().filter(|d| !d.is_done && d.settled > 0) {
                Arc::make_mut(delete).is_wanted_now = true;
            }
            Ok(())
        })?;
        let mut n_rewritten = 0;
        while self.rewrite_one()? > 0 {
            n_rewritten += 1;
        }
        self.finish_deletes()?;
        Ok(n_rewritten)
    }

    /// One step of maintenance: settles deletes whose time is over, rewrites a part, notes what is
    /// done. Returns how many parts were rewritten. `merging` is held.
    pub(crate) fn advance_deletes(&self, now_ms: i64) -> Result<usize, StoreError> {
        let view = self.inner.view();
        if view.deletes.iter().all(|d| d.is_done) {
            return Ok(0);
        }
        let until_ms = now_ms.saturating_sub(self.inner.options.delete_cancel_ms);
        let is_due = |d: &Delete| d.settled == 0 && !d.is_done && d.asked_ms <= until_ms;
        if view.deletes.iter().any(|d| is_due(d)) {
            self.change_deletes(|all, next| {
                for delete in all.iter_mut().filter(|d| is_due(d)) {
                    Arc::make_mut(delete).settled = *next;
                }
                *next += 1;
                Ok(())
            })?;
        }
        match self.rewrite_one()? {
            0 => self.finish_deletes().map(|()| 0),
            n => Ok(n),
        }
    }

    /// Rewrites one part that holds what a settled delete takes; 0 when there is none.
    fn rewrite_one(&self) -> Result<usize, StoreError> {
        let view = self.inner.view();
        let wanted = |d: &&Arc<Delete>| d.settled > 0 && d.is_wanted_now && !d.is_done;
        for delete in view.deletes.iter().filter(wanted) {
            let part = view.parts.iter().find(|p| holds(p, delete));
            let Some(part) = part else {
                continue;
            };
            let entry = Entry {
                number: self.take_number(),
                ..*part.entry()
            };
            self.rewrite(&[Arc::clone(part)], entry, &|| ())?;
            return Ok(1);
        }
        Ok(0)
    }

    /// Notes the settled deletes that no part is concerned by any more.
    fn finish_deletes(&self) -> Result<(), StoreError> {
        let view = self.inner.view();
        let is_over = |d: &Delete| {
            let concerns = |p: &Arc<Part>| {
                if d.is_wanted_now {
                    holds(p, d)
                } else {
                    d.covers(p)
                }
            };
            !d.is_done && d.settled > 0 && !view.parts.iter().any(concerns)
        };
        if !view.deletes.iter().any(|d| is_over(d)) {
            return Ok(());
        }
        self.change_deletes(|all, _| {
            for delete in all.iter_mut().filter(|d| is_over(d)) {
                Arc::make_mut(delete).is_done = true;
            }
            deletes::forget_done(all);
            Ok(())
        })
    }

    /// The deletes that a merge which starts now applies: those that are settled, and what rules of the
    /// retention take.
    pub(crate) fn settled_deletes(&self) -> Vec<Arc<Delete>> {
        let view = self.inner.view();
        let settled = view.deletes.iter().filter(|d| d.settled > 0 && !d.is_done);
        settled.chain(view.expiring.iter()).cloned().collect()
    }

    /// Numbers that no merge may reach across: what was stored before a delete that can still be taken
    /// back stays apart from what was stored after it.
    pub(crate) fn delete_borders(&self) -> Vec<u64> {
        let view = self.inner.view();
        let open = view.deletes.iter().filter(|d| d.settled == 0 && !d.is_done);
        open.map(|d| d.number).collect()
    }

    /// Writes the changed deletes, then the manifest that names their file, then shows queries the
    /// change. `change` may take numbers from the counter.
    fn change_deletes(
        &self,
        change: impl FnOnce(&mut Vec<Arc<Delete>>, &mut u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let disk = &self.inner.disk;
        let mut manifest = self.inner.manifest.lock().expect(LOCK);
        let mut new = manifest.clone();
        let mut all = self.inner.view().deletes.to_vec();
        change(&mut all, &mut new.next)?;
        let changed_ms = first_changed_ms(&self.inner.view().deletes, &all);
        let old = new.deletes;
        new.deletes = 0;
        if !all.is_empty() {
            new.deletes = new.next;
            new.next += 1;
            let name = manifest::deletes_name(new.deletes);
            let bytes = deletes::encode(&all);
            self.with_reserve(|| disk.write_atomically(&name, "", &bytes))?;
        }
        self.with_reserve(|| self.put_manifest(&new))?;
        *manifest = new;
        self.change_view(|view| view.deletes = all.into());
        if let Some(from_ms) = changed_ms {
            self.inner.changes.note(from_ms);
        }
        drop(manifest);
        if old != 0 {
            // One that stays is removed at the next opening.
            let _ = disk.remove(&manifest::deletes_name(old));
        }
        Ok(())
    }
}

/// From which time on the deletes of samples differ that are in only one of the lists.
fn first_changed_ms(before: &[Arc<Delete>], after: &[Arc<Delete>]) -> Option<i64> {
    let only = |these: &[Arc<Delete>], others: &[Arc<Delete>]| {
        let is_in_one = |d: &&Arc<Delete>| !others.iter().any(|o| o.number == d.number);
        let these = these.iter().filter(|d| d.kind == DeleteKind::Samples);
        these.filter(is_in_one).map(|d| d.from).min()
    };
    let (gone, new) = (only(before, after), only(after, before));
    gone.into_iter().chain(new).min()
}

/// Whether the part holds rows that the delete may take.
pub fn holds(part: &Part, delete: &Delete) -> bool {
    if !delete.covers(part) {
        return false;
    }
    match &part.body {
        Body::Logs(index) => index.blocks.iter().any(|b| {
            let labels = &index.streams[b.stream as usize];
            delete.touches(labels, b.min_ns, b.max_ns)
        }),
        Body::Samples(index) => {
            let mut found = false;
            let (matchers, from, to) = (&delete.selector.matchers, delete.from, delete.to);
            let walked = index.select_series(&part.file, matchers, from, to, &mut |_| {
                found = true;
                Ok(())
            });
            // What cannot be looked up is rewritten: a merge sets aside what it cannot read.
            found || walked.is_err()
        }
    }
}

impl Store {
    /// Replaces parts by one with their content, or by none when nothing is left; returns the bytes
    /// written. `merging` is held.
    pub(crate) fn rewrite(
        &self,
        old: &[Arc<Part>],
        entry: Entry,
        breathe: &dyn Fn(),
    ) -> Result<u64, StoreError> {
        let disk = &self.inner.disk;
        // After the number was taken: a delete that is settled later has a higher one.
        let deletes = self.settled_deletes();
        let written = merge::write(disk, old, entry, &deletes, breathe)
            .and_then(|()| self.open_parts(&[entry]));
        let mut new = match written {
            Ok(new) => new,
            Err(e) => {
                crate::flush::remove_parts(disk, &[entry]);
                return Err(e);
            }
        };
        if new.iter().all(|p| p.totals().n_rows == 0) {
            new.clear();
            crate::flush::remove_parts(disk, &[entry]);
        }
        self.set_damaged_aside(old)?;
        let bytes = new.iter().map(|p| p.file.len()).sum();
        self.replace_parts(old, new)?;
        Ok(bytes)
    }
}
