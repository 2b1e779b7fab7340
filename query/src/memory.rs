//! Memory that queries may take, each by itself and all of them together.
//!
//! A query counts what it holds; here that is taken from what all queries share in large pieces,
//! so that threads seldom meet. The rule: what was taken is given back when the query ends, however it ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Taken at a time of what all queries share.
const PIECE_BYTES: usize = 256 << 10;

/// Why a query must end, with the flag whose value it would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// More bytes than this one query may hold.
    OfOne(usize),
    /// More bytes than all queries may hold together.
    OfAll(usize),
}

impl TooMuch {
    /// What is told; `cure` says what a user of the language can do.
    #[must_use]
    pub fn text(self, cure: &str) -> String {
        match self {
            Self::OfOne(limit) => format!(
                "the query needs more than {limit} bytes of memory, which --query.max-memory allows; {cure}"
            ),
            Self::OfAll(limit) => format!(
                "all queries together need more than {limit} bytes of memory, which --query.max-memory-total allows; try again when others have ended, or select less"
            ),
        }
    }
}

/// Memory that several queries share.
#[derive(Debug)]
pub struct Memory {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Memory {
    /// So many bytes for all queries together.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            held_bytes: AtomicUsize::new(0),
        }
    }

    /// What queries hold.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, n_bytes: usize) -> bool {
        let held = &self.held_bytes;
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let now = held.checked_add(n_bytes)?;
            (now <= self.limit_bytes).then_some(now)
        });
        taken.is_ok()
    }

    fn give_back(&self, n_bytes: usize) {
        self.held_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

/// What one query holds of it.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    /// The most that it may hold.
    limit_bytes: usize,
    /// Taken from `memory`, at least what is held.
    taken_bytes: AtomicUsize,
    /// Held while more is taken: threads that took the same piece at once would be refused what is there.
    growing: Mutex<()>,
}

impl Share {
    /// Of a query that may hold so many bytes; nothing is taken yet.
    #[must_use]
    pub fn new(memory: Arc<Memory>, limit_bytes: usize) -> Self {
        Self {
            memory,
            limit_bytes,
            taken_bytes: AtomicUsize::new(0),
            growing: Mutex::new(()),
        }
    }

    /// The query holds `n_bytes` in all, from any of its threads.
    ///
    /// # Errors
    /// When that is more than it may hold, or than the others leave.
    pub fn grow_to(&self, n_bytes: usize) -> Result<(), TooMuch> {
        if n_bytes <= self.taken_bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        if n_bytes > self.limit_bytes {
            return Err(TooMuch::OfOne(self.limit_bytes));
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.taken_bytes.load(Ordering::Relaxed);
        if n_bytes <= taken {
            return Ok(());
        }
        let wanted = n_bytes.checked_next_multiple_of(PIECE_BYTES);
        let wanted = wanted.unwrap_or(n_bytes).min(self.limit_bytes);
        if !self.memory.take(wanted - taken) {
            return Err(TooMuch::OfAll(self.memory.limit_bytes));
        }
        self.taken_bytes.store(wanted, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.give_back(*self.taken_bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_held_to_their_own_and_to_the_common_bound() {
        let memory = Arc::new(Memory::new(4 * PIECE_BYTES));
        let of = |limit| Share::new(Arc::clone(&memory), limit);
        let (one, two) = (of(3 * PIECE_BYTES), of(3 * PIECE_BYTES));
        one.grow_to(1).unwrap();
        assert_eq!(memory.held_bytes(), PIECE_BYTES);
        one.grow_to(2 * PIECE_BYTES + 1).unwrap();
        one.grow_to(5).unwrap();
        assert_eq!(memory.held_bytes(), 3 * PIECE_BYTES);
        let error = one.grow_to(3 * PIECE_BYTES + 1).unwrap_err();
        assert_eq!(error, TooMuch::OfOne(3 * PIECE_BYTES));
        assert_eq!(
            error.text("ask for less"),
            "the query needs more than 786432 bytes of memory, which --query.max-memory allows; ask for less"
        );
        two.grow_to(PIECE_BYTES).unwrap();
        let error = two.grow_to(PIECE_BYTES + 1).unwrap_err();
        assert_eq!(error, TooMuch::OfAll(4 * PIECE_BYTES));
        assert!(error.text("").contains("--query.max-memory-total allows"));
        drop(one);
        two.grow_to(3 * PIECE_BYTES).unwrap();
        drop(two);
        assert_eq!(memory.held_bytes(), 0);
    }

    #[test]
    fn threads_take_no_more_than_is_needed() {
        let memory = Arc::new(Memory::new(512 * PIECE_BYTES));
        let share = Share::new(Arc::clone(&memory), usize::MAX);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (1..=512).for_each(|n| share.grow_to(n * PIECE_BYTES).unwrap());
                });
            }
        });
        assert_eq!(memory.held_bytes(), 512 * PIECE_BYTES);
        drop(share);
        assert_eq!(memory.held_bytes(), 0);
    }
}
