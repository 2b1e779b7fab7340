//! Which times of samples changed since when: what keeps answers of queries true that somebody holds on to.
//!
//! A change is noted when queries see it and before it is acknowledged. So who takes a [`ChangeMark`], then a
//! snapshot, and computes something from that, is told by [`Changes::since`] of everything that the snapshot may lack.
//! The rule: what is told to be unchanged is unchanged; of what is told to have changed that may not be true.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Changes that are kept apart; of more, neighbours are taken for one.
const CHANGES_MAX: usize = 1024;

/// A moment in the changes of one open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeMark {
    /// Tells open stores of a process apart.
    store: u64,
    number: u64,
    removed_to_ms: i64,
}

/// What may have changed since a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Samples from this time on were added or deleted.
    pub from_ms: i64,
    /// Samples up to this time were removed by the retention.
    pub removed_to_ms: i64,
}

impl Changed {
    /// Nothing is as it was.
    pub const ALL: Self = Self {
        from_ms: i64::MIN,
        removed_to_ms: i64::MAX,
    };
    /// Everything is as it was.
    pub const NOTHING: Self = Self {
        from_ms: i64::MAX,
        removed_to_ms: i64::MIN,
    };
}

/// The changes of one open store.
#[derive(Debug)]
pub(crate) struct Changes {
    store: u64,
    /// Held for a few comparisons.
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    number: u64,
    /// Number and first time of changes, both ascending: one that is followed by a change of the same or an earlier time
    /// is told by that.
    changes: Vec<(u64, i64)>,
    removed_to_ms: i64,
}

impl Changes {
    pub fn new() -> Self {
        Self {
            // Of this opening alone, whatever else this process opened or opens.
            store: RandomState::new().hash_one(0),
            log: Mutex::new(Log {
                number: 0,
                changes: Vec::new(),
                removed_to_ms: i64::MIN,
            }),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples from `from_ms` on were added or taken away.
    pub fn note(&self, from_ms: i64) {
        let mut log = self.log();
        log.number += 1;
        let number = log.number;
        let n_earlier = log.changes.partition_point(|(_, first)| *first < from_ms);
        log.changes.truncate(n_earlier);
        log.changes.push((number, from_ms));
        if log.changes.len() > CHANGES_MAX {
            // Of two neighbours the earlier time with the later number.
            let pairs = log.changes.chunks(2);
            log.changes = pairs
                .map(|pair| (pair[pair.len() - 1].0, pair[0].1))
                .collect();
        }
    }

    /// All samples up to `to_ms` may be gone.
    pub fn note_removed(&self, to_ms: i64) {
        let mut log = self.log();
        // A second removal up to the same time is one, too.
        log.removed_to_ms = to_ms.max(log.removed_to_ms.saturating_add(1));
    }

    pub fn mark(&self) -> ChangeMark {
        let log = self.log();
        ChangeMark {
            store: self.store,
            number: log.number,
            removed_to_ms: log.removed_to_ms,
        }
    }

    pub fn since(&self, mark: ChangeMark) -> Changed {
        if mark.store != self.store {
            return Changed::ALL;
        }
        let log = self.log();
        let n_before = log
            .changes
            .partition_point(|(number, _)| *number <= mark.number);
        let first = log.changes.get(n_before);
        Changed {
            from_ms: first.map_or(i64::MAX, |(_, first)| *first),
            removed_to_ms: if log.removed_to_ms > mark.removed_to_ms {
                log.removed_to_ms
            } else {
                i64::MIN
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn a_mark_is_told_the_first_time_of_all_later_changes() {
        let (mut random, changes) = (Random(3), Changes::new());
        let (mut all, mut marks) = (Vec::new(), Vec::new());
        for at in 0..20_000i64 {
            marks.push((changes.mark(), all.len()));
            let late = if random.below(10) == 0 {
                random.below(5000) as i64
            } else {
                0
            };
            let from_ms = at * 10 - late;
            changes.note(from_ms);
            all.push(from_ms);
        }
        assert!(changes.log().changes.len() <= CHANGES_MAX);
        assert_eq!(changes.since(changes.mark()), Changed::NOTHING);
        let (mut first, mut n_exact) = (i64::MAX, 0);
        for (mark, n_before) in marks.iter().rev() {
            first = first.min(all[*n_before]);
            let told = changes.since(*mark).from_ms;
            assert!(told <= first, "{told} after {first}");
            n_exact += usize::from(told == first);
        }
        // Those of late are told exactly.
        assert!(n_exact > 500, "{n_exact}");
    }

    #[test]
    fn removals_and_other_stores_are_told() {
        let changes = Changes::new();
        let before = changes.mark();
        changes.note_removed(500);
        let told = changes.since(before);
        assert_eq!((told.from_ms, told.removed_to_ms), (i64::MAX, 500));
        let after = changes.mark();
        assert_eq!(changes.since(after), Changed::NOTHING);
        changes.note_removed(400);
        assert!(
            changes.since(after).removed_to_ms >= 500,
            "once more up to there"
        );
        assert_eq!(Changes::new().since(before), Changed::ALL);
    }
}
