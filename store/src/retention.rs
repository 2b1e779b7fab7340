//! Retention: parts go when they are too old, when all together are too large, and lines and samples
//! of some labels before the others.
//!
//! On a full disk this and deletes must work when nothing else does: the manifest that names fewer parts takes
//! a little room, which a file keeps for it. The rule: what retention takes is hidden from queries by its
//! time, whether its part could be rewritten or not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kansoku_model::Matcher;

use crate::deletes::{Delete, DeleteKind, Selector};
use crate::fs::Disk;
use crate::manifest::Entry;
use crate::part::Part;
use crate::store::{LOCK, Store};
use crate::{StoreError, deleting};

/// Keeps room for a manifest while the disk is full.
const RESERVE: &str = "RESERVE";
const RESERVE_BYTES: usize = 256 << 10;
/// Less than a manifest would take.
const RESERVE_MIN_BYTES: usize = 16 << 10;
/// Queries see what a rule takes move on in steps of this.
const RULE_STEP_MS: i64 = 60_000;

/// Makes the reserve when it is missing, as large as there is room; on a full disk it comes later.
fn keep_reserve(disk: &Disk) {
    if disk.open(RESERVE).is_ok() {
        return;
    }
    // No pattern: file systems that compress would keep no room for zeros.
    let mut state = 1u32;
    let noise: Vec<u8> = (0..RESERVE_BYTES)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let mut n_bytes = RESERVE_BYTES;
    while disk.write_synced(RESERVE, &noise[..n_bytes]).is_err() && n_bytes > RESERVE_MIN_BYTES {
        n_bytes /= 2;
    }
}

/// Makes a reserve anew that was made when there was less room.
fn grow_reserve(disk: &Disk) {
    let is_small = |len: u64| len < RESERVE_BYTES as u64;
    if disk.open(RESERVE).is_ok_and(|file| is_small(file.len())) && disk.remove(RESERVE).is_ok() {
        keep_reserve(disk);
    }
}

/// Does what must be possible on a full disk in the room that is kept for such, and keeps what is left of it.
pub fn in_reserve<T>(
    disk: &Disk,
    work: impl Fn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match work() {
        Err(StoreError::Full { .. }) => {
            disk.remove(RESERVE)?;
            let done = work();
            keep_reserve(disk);
            done
        }
        done => done,
    }
}

/// A shorter time for some streams and series.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionRule {
    /// What it is called in the configuration.
    pub name: String,
    /// All must pass the labels.
    pub matchers: Vec<Matcher>,
    pub period_ms: i64,
}

impl Store {
    /// Drops parts that are wholly older than the retention, then the oldest while there is more than
    /// may be; forgets marks that old. `merging` is held.
    pub(crate) fn expire(&self, now_ms: i64) -> Result<usize, StoreError> {
        let options = &self.inner.options;
        self.inner.marks.lock().expect(LOCK).expire_brief(now_ms);
        if options.retention_ms.is_none() && options.retention_bytes.is_none() {
            keep_reserve(&self.inner.disk);
            return Ok(0);
        }
        let mut old = self.surplus();
        if let Some(retention_ms) = options.retention_ms {
            let oldest_ms = now_ms.saturating_sub(retention_ms);
            self.inner.marks.lock().expect(LOCK).expire(oldest_ms);
            let view = self.inner.view();
            let is_known = |p: &Arc<Part>| old.iter().any(|o| Arc::ptr_eq(o, p));
            let expired = view.parts.iter().filter(|p| p.newest_ms() < oldest_ms);
            let more: Vec<_> = expired.filter(|p| !is_known(p)).cloned().collect();
            old.extend(more);
        }
        if old.is_empty() {
            keep_reserve(&self.inner.disk);
            return Ok(0);
        }
        self.with_reserve(|| self.replace_parts(&old, Vec::new()))?;
        if let Some(to_ms) = old.iter().map(|part| part.newest_ms()).max() {
            self.inner.changes.note_removed(to_ms);
        }
        self.inner.interner.sweep();
        // There is room for a whole one now, perhaps.
        grow_reserve(&self.inner.disk);
        self.inner
            .counters
            .parts_expired
            .fetch_add(old.len() as u64, Ordering::Relaxed);
        Ok(old.len())
    }

    /// Does what makes room; on a full disk once more in the room that is kept for it.
    pub(crate) fn with_reserve<T>(
        &self,
        work: impl Fn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        in_reserve(&self.inner.disk, work)
    }

    /// The oldest parts, as many as there are too many bytes.
    fn surplus(&self) -> Vec<Arc<Part>> {
        let Some(limit) = self.inner.options.retention_bytes else {
            return Vec::new();
        };
        let mut parts = self.inner.view().parts.clone();
        let wal_bytes = {
            let open = self.inner.wal.lock().expect(LOCK);
            open.wal.len() + open.ended.iter().map(|(_, bytes)| bytes).sum::<u64>()
        };
        let mut bytes = wal_bytes + parts.iter().map(|p| p.file.len()).sum::<u64>();
        parts.sort_by_key(|p| p.newest_ms());
        parts
            .into_iter()
            .take_while(|part| {
                let is_surplus = bytes > limit;
                bytes -= part.file.len();
                is_surplus
            })
            .collect()
    }

    /// Hides what rules take, and rewrites one part that is wholly older than a rule's time. Returns
    /// how many were rewritten. `merging` is held.
    pub(crate) fn expire_by_rule(&self, now_ms: i64) -> Result<usize, StoreError> {
        let rules = &self.inner.options.retention_rules;
        if rules.is_empty() {
            return Ok(0);
        }
        let now_ms = now_ms.div_euclid(RULE_STEP_MS) * RULE_STEP_MS;
        let expiring: Arc<[Arc<Delete>]> = rules.iter().flat_map(|r| taken(r, now_ms)).collect();
        let is_same = |a: &[Arc<Delete>], b: &[Arc<Delete>]| {
            a.iter().map(|d| d.to).eq(b.iter().map(|d| d.to))
        };
        if !is_same(&self.inner.view().expiring, &expiring) {
            self.change_view(|view| view.expiring = Arc::clone(&expiring));
            let of_samples = expiring.iter().filter(|d| d.kind == DeleteKind::Samples);
            if let Some(to_ms) = of_samples.map(|d| d.to).max() {
                self.inner.changes.note_removed(to_ms);
            }
        }
        let view = self.inner.view();
        let concerned = view.parts.iter().find(|part| {
            let is_over = |d: &&Arc<Delete>| part.totals().max_time <= d.to;
            let mut over = expiring.iter().filter(is_over);
            over.any(|d| deleting::holds(part, d))
        });
        let Some(part) = concerned else {
            return Ok(0);
        };
        let entry = Entry {
            number: self.take_number(),
            ..*part.entry()
        };
        self.rewrite(&[Arc::clone(part)], entry, &|| ())?;
        Ok(1)
    }
}

/// What a rule takes at a time, as deletes that cover every part.
fn taken(rule: &RetentionRule, now_ms: i64) -> [Arc<Delete>; 2] {
    let oldest_ms = now_ms.saturating_sub(rule.period_ms);
    let of = |kind, to| {
        Arc::new(Delete {
            id: rule.name.clone(),
            number: u64::MAX,
            settled: 0,
            is_wanted_now: true,
            is_done: false,
            kind,
            text: String::new(),
            selector: Selector {
                matchers: rule.matchers.clone(),
                lines: None,
            },
            from: i64::MIN,
            to,
            asked_ms: now_ms,
        })
    };
    [
        of(DeleteKind::Samples, oldest_ms - 1),
        of(DeleteKind::Logs, oldest_ms.saturating_mul(1_000_000) - 1),
    ]
}
