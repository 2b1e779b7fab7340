//! Which bytes a match can start with: a table that answers "no" before any search.

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, Look};

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstBytes([u64; 4]);

impl FirstBytes {
    /// No byte at all.
    pub const NONE: Self = Self([0; 4]);
    /// Every byte.
    pub const ANY: Self = Self([u64::MAX; 4]);

    /// Whether a line may match: it is empty, or starts with one of the bytes.
    #[must_use]
    pub fn allows(&self, line: &[u8]) -> bool {
        line.first().is_none_or(|b| self.has(*b))
    }

    /// Whether the byte is in the set.
    #[must_use]
    pub fn has(&self, b: u8) -> bool {
        self.0[usize::from(b >> 6)] >> (b & 63) & 1 == 1
    }

    /// Adds a byte.
    pub fn add(&mut self, b: u8) {
        self.0[usize::from(b >> 6)] |= 1 << (b & 63);
    }

    /// Both sets.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Whether no byte is in both.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        (0..4).all(|i| self.0[i] & other.0[i] == 0)
    }

    /// What a line can start with for a pattern that stands at its start; else every byte.
    pub(super) fn of(pattern: &Hir) -> Self {
        if !pattern.properties().look_set_prefix().contains(Look::Start) {
            return Self::ANY;
        }
        let mut extractor = Extractor::new();
        extractor
            .kind(ExtractKind::Prefix)
            .limit_class(256)
            .limit_literal_len(1)
            .limit_total(512);
        let starts = extractor.extract(pattern);
        let Some(literals) = starts.literals() else {
            return Self::ANY;
        };
        let mut bytes = Self::NONE;
        for literal in literals {
            // The empty text starts every line.
            let Some(b) = literal.as_bytes().first() else {
                return Self::ANY;
            };
            bytes.add(*b);
        }
        bytes
    }
}
