//! Names for outputs in small: a number each, a set of them, and the acknowledgements that speak
//! of them.

use std::sync::Arc;

/// The most outputs a pipeline may have: a set of them is one word.
pub const MAX_OUTPUTS: usize = 64;

/// Called once, when every output that matches has the batch safely (or will never take it).
pub type Acknowledge = Box<dyn FnOnce() + Send>;

/// Called whenever more outputs are done with the batch, with these outputs; each output is named
/// once.
pub type AcknowledgeOutputs = Arc<dyn Fn(OutputSet) + Send + Sync>;

/// Some of a pipeline's outputs, by their numbers in configuration order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct OutputSet(u64);

impl OutputSet {
    /// No output.
    pub const EMPTY: Self = Self(0);

    /// The first `n` outputs.
    #[must_use]
    pub fn first(n: usize) -> Self {
        debug_assert!(n <= MAX_OUTPUTS);
        Self(u64::MAX.checked_shr(64 - n as u32).unwrap_or(0))
    }

    /// One output.
    #[must_use]
    pub fn one(output: usize) -> Self {
        Self(1 << output)
    }

    #[must_use]
    pub fn contains(self, output: usize) -> bool {
        self.0 >> output & 1 == 1
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn with(self, output: usize) -> Self {
        Self(self.0 | 1 << output)
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The outputs' numbers.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_OUTPUTS).filter(move |&n| self.contains(n))
    }

    /// A bit for each, by its number.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = OutputSet::one(0).with(63);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        assert_eq!(set.without(OutputSet::one(0)), OutputSet::one(63));
        assert_eq!(OutputSet::first(0), OutputSet::EMPTY);
        assert_eq!(OutputSet::first(64).len(), 64);
        assert_eq!(OutputSet::first(2).common(set), OutputSet::one(0));
    }
}
