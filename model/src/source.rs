//! Where records come from and how far into it they reach.
//!
//! A source is one ordered run of records: a generation of a log file, a collector's ticks, a
//! socket. Positions in it only grow, so one high-water mark per source tells a repeat from news.

/// Names one generation of one source for ever. Zero means "no source": never de-duplicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SourceId(pub u128);

impl SourceId {
    /// The id of data that has no identity of its own (a Loki push, a remote write).
    pub const NONE: Self = Self(0);

    /// The upper bits of ids of brief sources.
    const BRIEF: u128 = 0x6272_6965_6600 << 80;
    /// Which bits these are.
    const BRIEF_MASK: u128 = 0xffff_ffff_ffff << 80;

    /// The id of a source of few records, known by its content, that can come again for a short time only,
    /// such as one state of an object: its mark need not be kept as long as the data.
    #[must_use]
    pub fn brief(content: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(content)).made_brief()
    }

    const fn made_brief(self) -> Self {
        Self(self.0 & !Self::BRIEF_MASK | Self::BRIEF)
    }

    /// Whether it is the id of a brief source.
    #[must_use]
    pub const fn is_brief(self) -> bool {
        self.0 & Self::BRIEF_MASK == Self::BRIEF
    }

    /// The id of what is made of this source under another name (a new tag, metrics made of lines):
    /// always the same for the same source and name, and none for no source.
    #[must_use]
    pub fn derived(self, name: &str) -> Self {
        if !self.is_some() {
            return self;
        }
        let mut bytes = self.0.to_le_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        let made = Self(xxhash_rust::xxh3::xxh3_128(&bytes).max(1));
        match self.is_brief() {
            true => made.made_brief(),
            false => made,
        }
    }

    /// Whether the source takes part in de-duplication.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.0 != 0
    }
}

/// A point in a source: records are ordered by it and no two records of a source share one.
///
/// For a file, `offset` is the byte just past the line that completed the record; for others it
/// counts records. `ordinal` numbers the records that one offset gave (a flushed partial line, a
/// line that a filter split), from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Byte offset or count.
    pub offset: u64,
    /// Number among the records that end at the same offset.
    pub ordinal: u32,
}

impl Position {
    /// The first record that ends at `offset`.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        Self { offset, ordinal: 0 }
    }
}

/// The part of a source that a batch covers: records after `from`, up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    /// Which source.
    pub id: SourceId,
    /// Exclusive lower end: the position of the record before the first.
    pub from: Position,
    /// Inclusive upper end. May lie past the last record when a filter dropped some.
    pub to: Position,
}
