//! Column encodings: a list of values in, bytes out, and back.
//!
//! Each is a file of its own and picks the smallest of its layouts by looking at the values. None
//! knows files or checksums. The rule: what comes back is bit for bit what went in.

mod bits;
pub mod floats;
pub mod histograms;
pub mod ints;
pub mod mixed;
mod patched;
pub mod texts;

/// The most rows that one encoded column may have; decoders refuse more, writers cut before.
pub const ROWS_MAX: usize = 1 << 20;

/// How much work an encoder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Written once and soon merged.
    Flush,
    /// Stays for long.
    Merge,
}

impl Effort {
    /// The zstd levels to choose from. The higher one is not always the smaller: on lines full of
    /// random ids level 1 gave 6.3 and level 3 gave 5.9 times less than the text.
    pub fn zstd_levels(self) -> &'static [i32] {
        match self {
            Self::Flush => &[1],
            Self::Merge => &[1, 3],
        }
    }
}
