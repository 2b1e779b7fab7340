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

/// The bytes of a list of integers, for fuzzing.
#[must_use]
pub fn encode_ints(values: &[i64], effort: Effort, is_loose: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let encode = if is_loose {
        ints::encode_loose
    } else {
        ints::encode
    };
    encode(values, effort, &mut out);
    out
}

/// The first of the `n` integers that `bytes` hold, `first` at least, for fuzzing; nothing when they hold none.
#[must_use]
pub fn decode_ints(bytes: &[u8], n: usize, first: usize) -> Option<Vec<i64>> {
    let mut out = Vec::new();
    ints::decode_first(bytes, n, first, &mut out).ok()?;
    Some(out)
}
