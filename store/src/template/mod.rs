//! Lines of logs as templates and typed columns, and back, byte for byte.
//!
//! Lines that differ only in some places share a template: the text between the places. The values
//! of one place are a column, and each column takes the smallest of its layouts: one value, integers,
//! decimals, times near the entry's, packed characters, a dictionary, templates once more, or the
//! bytes as they are. It knows neither files nor checksums; FORMAT.md draws the bytes. The rules:
//! every layout is chosen by a check that it gives the bytes back, and decoding any bytes ends in
//! lines or in `Malformed`, with memory bounded by the number of lines and their promised length.

mod clock;
mod encode;
mod fields;
mod layout;
mod load;
mod matching;
mod numbers;
mod packed;
mod search;
mod split;
mod tokens;

pub use crate::column::Effort;
pub use encode::{Encoder, encode};
pub use fields::{decode_fields, decode_fields_unordered};
pub use load::{Found, Search, decode, decode_or_tell, decode_some, decoding_bytes};

pub use crate::bytes::Malformed;

/// The four parts of encoded lines, each for its own section of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Streams {
    /// Templates and the layouts of the columns.
    pub structure: Vec<u8>,
    /// Integers, in the layouts of `column::ints`.
    pub numbers: Vec<u8>,
    /// Entries of dictionaries, and texts that fit no other layout.
    pub texts: Vec<u8>,
    /// Characters of small alphabets, packed.
    pub packed: Vec<u8>,
}

/// Borrowed parts.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub structure: &'a [u8],
    pub numbers: &'a [u8],
    pub texts: &'a [u8],
    pub packed: &'a [u8],
}

impl Streams {
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            structure: &self.structure,
            numbers: &self.numbers,
            texts: &self.texts,
            packed: &self.packed,
        }
    }
}

/// What is wrong when nothing more telling can be said.
const DAMAGED: Malformed = Malformed("templates do not follow their format");

/// Columns within columns: lines, values, values of values.
const DEPTH_MAX: usize = 3;

/// Layouts of a column; the first byte of its description.
mod tag {
    pub const CONSTANT: u8 = 0;
    pub const INTEGERS: u8 = 1;
    pub const DECIMALS: u8 = 2;
    pub const TIMES: u8 = 3;
    pub const PACKED: u8 = 4;
    pub const DICTIONARY: u8 = 5;
    pub const RAW: u8 = 6;
    pub const TEMPLATES: u8 = 7;
}

#[cfg(test)]
mod tests;
