//! Fields of log lines as columns: what a query asks for, and what a store gives that keeps lines so.
//!
//! A query that only computes with fields needs no line. The rule: a field has the very bytes that
//! stand in the line; what a reader makes of them is the reader's business. Lines whose fields the
//! store does not surely know come whole.

use crate::digits::{put_decimal, put_integer};
use crate::select::LogBlock;

/// How fields are found in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extraction {
    /// Members of a JSON object, by their name or what `| json` makes of it.
    Json,
    /// Pairs of a logfmt line.
    Logfmt,
    /// The text between literals.
    Pattern(Vec<PatternPiece>),
}

/// A piece of a pattern; two captures never follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternPiece {
    Literal(Vec<u8>),
    /// Its name; `_` for text of no interest.
    Capture(String),
}

/// The fields that a query computes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldsWanted {
    pub of: Extraction,
    pub names: Vec<String>,
}

/// What the bytes of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldForm {
    /// The value.
    Plain,
    /// The inside of a JSON text, escapes unresolved.
    JsonText,
    /// A JSON number, `true`, `false` or `null`.
    JsonWord,
}

/// One field of several entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub form: FieldForm,
    pub values: FieldValues,
}

/// The bytes of a field, one value per entry.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValues {
    Same(Vec<u8>),
    /// Decimal digits, filled with zeros in front up to a width.
    Integers {
        width: usize,
        values: Vec<i64>,
    },
    /// `mantissa / 10^scale` with all its `scale` (1 to 18) digits; the width is of the part before
    /// the point.
    Decimals {
        width: usize,
        scales: Vec<i64>,
        mantissas: Vec<i64>,
    },
    Coded {
        entries: Texts,
        /// The entry of each value.
        codes: Vec<u32>,
    },
    Each(Texts),
}

/// Texts one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<u32>,
}

impl Texts {
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    #[must_use]
    pub fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Ends the text whose bytes were appended.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }
}

impl FieldValues {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Same(text) => text.capacity(),
            Self::Integers { values, .. } => values.capacity() * size_of::<i64>(),
            Self::Decimals {
                scales, mantissas, ..
            } => (scales.capacity() + mantissas.capacity()) * size_of::<i64>(),
            Self::Coded { entries, codes } => {
                entries.held_bytes() + codes.capacity() * size_of::<u32>()
            }
            Self::Each(texts) => texts.held_bytes(),
        }
    }

    /// Appends the bytes of a value.
    pub fn put(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Same(text) => out.extend_from_slice(text),
            Self::Integers { width, values } => put_integer(out, values[at], *width),
            Self::Decimals {
                width,
                scales,
                mantissas,
            } => {
                let is_decimal = put_decimal(out, mantissas[at], scales[at], *width);
                debug_assert!(is_decimal, "who makes the column checks its scales");
            }
            Self::Coded { entries, codes } => {
                out.extend_from_slice(entries.get(codes[at] as usize));
            }
            Self::Each(texts) => out.extend_from_slice(texts.get(at)),
        }
    }
}

/// Entries whose lines have the same fields.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldGroup {
    pub n_rows: usize,
    /// Their numbers in the block, ascending; none when the block is without order.
    pub rows: Vec<u32>,
    /// As many as names are wanted; `None` where the lines have no such field.
    pub fields: Vec<Option<Field>>,
}

/// Entries of one stream without structured metadata; each is in one group or among `lines`.
#[derive(Debug, Clone, Default)]
pub struct FieldBlock {
    /// Unix nanoseconds, ascending.
    pub times: Vec<i64>,
    pub groups: Vec<FieldGroup>,
    /// Entries that are given whole ...
    pub lines: LogBlock,
    /// ... and their numbers in the block, ascending.
    pub line_rows: Vec<u32>,
    /// Bytes of all their lines, about.
    pub line_bytes: u64,
}

impl FieldBlock {
    /// The memory that it holds, as good as to the byte.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let groups = self.groups.iter().map(|group| {
            let fields = group.fields.iter().flatten().map(|f| f.values.held_bytes());
            group.rows.capacity() * size_of::<u32>() + fields.sum::<usize>()
        });
        self.times.capacity() * size_of::<i64>()
            + groups.sum::<usize>()
            + self.lines.held_bytes()
            + self.line_rows.capacity() * size_of::<u32>()
    }

    /// Forgets the content.
    pub fn clear(&mut self) {
        self.times.clear();
        self.groups.clear();
        self.lines.clear();
        self.line_rows.clear();
        self.line_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_give_their_bytes() {
        let mut texts = Texts::default();
        for text in ["GET", "", "POST"] {
            texts.bytes.extend_from_slice(text.as_bytes());
            texts.end();
        }
        let columns = [
            (FieldValues::Same(b"x".into()), ["x", "x"]),
            (
                FieldValues::Integers {
                    width: 3,
                    values: vec![7, -1234],
                },
                ["007", "-1234"],
            ),
            (
                FieldValues::Decimals {
                    width: 1,
                    scales: vec![2, 1],
                    mantissas: vec![5, -25],
                },
                ["0.05", "-2.5"],
            ),
            (
                FieldValues::Coded {
                    entries: texts.clone(),
                    codes: vec![2, 0],
                },
                ["POST", "GET"],
            ),
            (FieldValues::Each(texts), ["GET", ""]),
        ];
        for (values, expected) in columns {
            for (at, expected) in expected.iter().enumerate() {
                let mut out = Vec::new();
                values.put(at, &mut out);
                assert_eq!(out, expected.as_bytes());
            }
        }
    }
}
