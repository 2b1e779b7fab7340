//! The lines of a page of a log part: as templates and columns, or as they are.
//!
//! Which of the two is smaller is known only when both are compressed. Merges do that, first with the
//! lowest level; a head that is written out, and soon merged, estimates plain lines from a sample and from
//! how many of them repeat. Templates that are not clearly smaller are compared in full. The rule: a page
//! takes no more than its plain lines would.
//!
//! ```text
//! kind 0, plain:     reference of the bytes of all lines
//! kind 1, templates: bytes of all lines (varint); references of structure, numbers, texts, packed
//! ```

use std::cell::Cell;
use std::collections::HashSet;

use kansoku_model::prehashed::Prehashed;
use kansoku_model::select::LogBlock;
use kansoku_model::{FieldBlock, FieldsWanted};
use xxhash_rust::xxh3::xxh3_64;

use super::file::{PartFile, PartWriter, Section};
use crate::StoreError;
use crate::bytes::{Malformed, Reader, put_varint};
use crate::column::Effort;
use crate::template::{self, Encoder, Found, Parts, Search};

/// Text that tells how well plain lines compress.
const SAMPLE_BYTES: usize = 256 << 10;
/// Templates are taken without comparing them in full when they take less than this part of the estimate,
/// or of the lowest level.
const CLEARLY_SMALLER: f64 = 0.8;
/// Memory for a section that a thread keeps from page to page; few sections are larger.
const KEPT_MAX_BYTES: usize = 1 << 20;
/// The most text of a page: a block, and a line that made it too large.
const TEXT_MAX_BYTES: usize = 1 << 30;

/// Where the lines of a page are.
#[derive(Debug, Clone, Copy)]
pub enum Lines {
    Plain(Section),
    Templates {
        text_bytes: usize,
        /// Structure, numbers, texts, packed.
        sections: [Section; 4],
    },
}

impl Lines {
    /// Names the page in the file.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Plain(section) => section.offset,
            Self::Templates { sections, .. } => sections[0].offset,
        }
    }

    /// The sections, structure of templates first.
    pub fn sections(&self) -> &[Section] {
        match self {
            Self::Plain(section) => std::slice::from_ref(section),
            Self::Templates { sections, .. } => sections,
        }
    }

    /// The same lines in other sections, as many as `sections` gives.
    pub fn moved(&self, sections: &[Section]) -> Self {
        let mut moved = *self;
        match &mut moved {
            Self::Plain(section) => *section = sections[0],
            Self::Templates { sections: all, .. } => all.copy_from_slice(sections),
        }
        moved
    }

    pub fn are_templates(&self) -> bool {
        matches!(self, Self::Templates { .. })
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(section) => section.put(out),
            Self::Templates {
                text_bytes,
                sections,
            } => {
                put_varint(out, *text_bytes as u64);
                sections.iter().for_each(|s| s.put(out));
            }
        }
    }

    pub fn take(r: &mut Reader<'_>, is_templates: bool) -> Result<Self, Malformed> {
        if !is_templates {
            return Section::take(r).map(Self::Plain);
        }
        let text_bytes = r.varint32()? as usize;
        if text_bytes > TEXT_MAX_BYTES {
            return Err(Malformed("page is larger than any may be"));
        }
        let mut sections = [Section::default(); 4];
        for section in &mut sections {
            *section = Section::take(r)?;
        }
        Ok(Self::Templates {
            text_bytes,
            sections,
        })
    }

    /// Writes the lines of `rows`, whose text holds nothing but them.
    pub fn write(
        out: &mut PartWriter,
        encoder: &mut Encoder,
        effort: Effort,
        rows: &LogBlock,
    ) -> Result<Self, StoreError> {
        let streams = template::encode(encoder, &rows.text, &rows.lines, &rows.times);
        let raw = [
            &streams.structure[..],
            &streams.numbers,
            &streams.texts,
            &streams.packed,
        ];
        let structure = out.pack(raw[0])?;
        let texts = out.pack(raw[2])?;
        let smaller = |packed: &Vec<u8>, raw: &[u8]| packed.len().min(raw.len());
        let total =
            smaller(&structure, raw[0]) + raw[1].len() + smaller(&texts, raw[2]) + raw[3].len();
        let sample = &rows.text[..rows.text.len().min(SAMPLE_BYTES)];
        let ratio = out.pack_fast(sample)?.len() as f64 / sample.len().max(1) as f64;
        // A line that came before costs zstd next to nothing, however far back that was.
        let mut estimate = distinct_bytes(rows) as f64 * ratio;
        if effort == Effort::Merge {
            estimate = estimate.min(out.pack_fast(&rows.text)?.len() as f64);
        }
        if total as f64 > estimate * CLEARLY_SMALLER {
            let plain = out.pack(&rows.text)?;
            if plain.len().min(rows.text.len()) <= total {
                return out.put_smaller(&plain, &rows.text).map(Self::Plain);
            }
        }
        Ok(Self::Templates {
            text_bytes: rows.text.len(),
            sections: [
                out.put_smaller(&structure, raw[0])?,
                out.put_plain(raw[1])?,
                out.put_smaller(&texts, raw[2])?,
                out.put_plain(raw[3])?,
            ],
        })
    }

    /// The most memory that reading takes in any of these ways, of a page of `n_rows` entries; with what it fills.
    pub fn loading_bytes(&self, n_rows: usize) -> usize {
        let raw = |section: &Section| section.raw as usize;
        let stored = |section: &Section| section.len as usize;
        match self {
            Self::Plain(section) => raw(section) + stored(section),
            Self::Templates {
                text_bytes,
                sections,
            } => {
                let sections: usize = sections.iter().map(|s| raw(s) + stored(s)).sum();
                sections + template::decoding_bytes(n_rows, *text_bytes)
            }
        }
    }

    /// Reads the text of the page, whose entries have these times, into `text`, which is cleared
    /// first.
    pub fn read(
        &self,
        file: &PartFile,
        times: &[i64],
        text: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Plain(section) => file.read(section, text),
            Self::Templates { text_bytes, .. } => self.decode(file, text, |parts, text| {
                template::decode(parts, times, *text_bytes, text, &mut Vec::new())
            }),
        }
    }

    /// Reads those lines of templates that are searched for: gives their numbers, and each ends where
    /// `ends` says; unless they are told, which is asked for with `may_tell`.
    pub fn read_some(
        &self,
        file: &PartFile,
        times: &[i64],
        search: &Search<'_>,
        may_tell: bool,
        text: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<Found, StoreError> {
        let text_bytes = match self {
            Self::Plain(section) => section.raw as usize,
            Self::Templates { text_bytes, .. } => *text_bytes,
        };
        self.decode(file, text, |parts, text| {
            template::decode_or_tell(parts, times, text_bytes, search, may_tell, text, ends)
        })
    }

    /// Reads fields of those lines of templates that are searched for. False when they are not kept
    /// so.
    pub fn read_fields(
        &self,
        file: &PartFile,
        times: &[i64],
        search: &Search<'_>,
        wanted: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, StoreError> {
        let Self::Templates { text_bytes, .. } = self else {
            return Ok(false);
        };
        self.decode(file, &mut Vec::new(), |parts, _| {
            template::decode_fields(parts, times, *text_bytes, search, wanted, out)
        })
    }

    /// As `read_fields`, of all `n_rows` lines in no order.
    pub fn read_fields_unordered(
        &self,
        file: &PartFile,
        n_rows: usize,
        wanted: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, StoreError> {
        let Self::Templates { text_bytes, .. } = self else {
            return Ok(false);
        };
        self.decode(file, &mut Vec::new(), |parts, _| {
            template::decode_fields_unordered(parts, n_rows, *text_bytes, wanted, out)
        })
    }

    fn decode<T>(
        &self,
        file: &PartFile,
        text: &mut Vec<u8>,
        decode: impl FnOnce(Parts<'_>, &mut Vec<u8>) -> Result<T, Malformed>,
    ) -> Result<T, StoreError> {
        let damaged = |e: Malformed| {
            let at = self.offset();
            file.damaged(&format!("lines of the page at {at}: {}", e.0))
        };
        let Self::Templates { sections, .. } = self else {
            return Err(damaged(Malformed("no templates")));
        };
        thread_local! {
            /// Taking memory from the system anew costs more than reading most sections.
            static SECTIONS: Cell<[Vec<u8>; 4]> = const { Cell::new([const { Vec::new() }; 4]) };
        }
        let mut bytes = SECTIONS.take();
        for (bytes, section) in bytes.iter_mut().zip(sections) {
            file.read(section, bytes)?;
        }
        let parts = Parts {
            structure: &bytes[0],
            numbers: &bytes[1],
            texts: &bytes[2],
            packed: &bytes[3],
        };
        text.clear();
        let decoded = decode(parts, text).map_err(damaged);
        for section in &mut bytes {
            if section.capacity() > KEPT_MAX_BYTES {
                *section = Vec::new();
            }
        }
        SECTIONS.set(bytes);
        decoded
    }
}

/// Bytes of the lines without those that are the same as one before.
fn distinct_bytes(rows: &LogBlock) -> usize {
    let mut seen: HashSet<u64, Prehashed> = HashSet::default();
    let lines = rows.lines.iter();
    let distinct = lines.filter(|line| seen.insert(xxh3_64(rows.bytes(**line))));
    distinct.map(|line| line.len as usize).sum()
}
