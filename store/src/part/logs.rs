//! Log parts: blocks of one stream, gathered in pages so that small blocks compress together.
//!
//! `log_writer.rs` writes them, this reads them. Times can be read without the text. Blocks are sorted by stream, then by
//! time, and the entries of a block by time.
//!
//! ```text
//! page: sections
//!   times     per block: length, times as `ints`; length, line lengths as `ints`
//!   lines     the bytes of all lines, block by block, or four sections of templates and columns
//!             (`lines.rs`)
//!   metadata  per block: length, then number of columns (varint); each: name (text), values as
//!             `texts`. No section when no block has any
//!   filter    trigrams of all lines (`trigrams.rs`). No section when it would not help
//!   ids       pieces of ids (`ids.rs`, `fuse.rs`), which the trigrams then lack. No section when there
//!             are none
//! directory: number of streams (varint), label bytes of each (text);
//!   number of pages, each: times, 1 byte (bit 0: metadata, bit 1: filter, bit 2: templates, bit 3: ids),
//!   lines, the other sections (version 1: times, lines, the byte, the other sections; bits 2 and 3 are 0;
//!   version 2: bit 3 is 0);
//!   number of blocks, each: stream, page (varints, as differences from the block before), entries,
//!   bytes of lines, bytes of lines and metadata, oldest time (signed), newest minus oldest (varint)
//! ```

use std::sync::Arc;

use kansoku_model::select::LogBlock;
use kansoku_model::{AnyOf, FieldBlock, FieldsWanted, Labels, LineAutomaton, Needle, Slice};

use super::file::{PartFile, Section};
use super::filter;
use super::fuse::Fuse;
use super::lines::Lines;
use crate::StoreError;
use crate::bytes::{Malformed, Reader};
use crate::column::{ints, texts};
use crate::intern::Interner;
use crate::rows;
use crate::template::{Found, Search};

/// What reading an entry takes besides its text: time, length, place of the line, number, place of its metadata.
const ROW_BYTES: usize = 64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub times: Section,
    pub lines: Lines,
    pub metadata: Option<Section>,
    pub filter: Option<Section>,
    pub ids: Option<Section>,
}

impl Page {
    /// All sections, times first.
    pub fn sections(&self) -> Vec<Section> {
        let mut all = vec![self.times];
        all.extend_from_slice(self.lines.sections());
        all.extend(self.metadata.iter().chain(&self.filter).chain(&self.ids));
        all
    }

    /// The same page in other sections, in the order of `sections`.
    pub fn moved(&self, sections: &[Section]) -> Self {
        let (lines, others) = sections[1..].split_at(self.lines.sections().len());
        let mut others = others.iter();
        let mut next = |known: Option<Section>| known.and_then(|_| others.next().copied());
        Self {
            times: sections[0],
            lines: self.lines.moved(lines),
            metadata: next(self.metadata),
            filter: next(self.filter),
            ids: next(self.ids),
        }
    }
}

/// Where a block lies and what it spans.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    pub stream: u32,
    pub(super) page: u32,
    /// Number among the blocks of its page.
    pub(super) slot: u32,
    pub n_rows: u32,
    /// Where its lines start in the page's text.
    pub(super) line_start: u32,
    pub line_bytes: u32,
    /// Bytes of lines and metadata.
    pub raw_bytes: u64,
    pub min_ns: i64,
    pub max_ns: i64,
}

impl Block {
    /// Names the block within its part, for counting damage.
    pub fn place_key(&self) -> u64 {
        u64::from(self.page) << 32 | u64::from(self.slot)
    }
}

/// Which entries of a block are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub from_ns: i64,
    pub to_ns: i64,
    pub needles: &'a [&'a AnyOf],
    pub automata: &'a [Arc<LineAutomaton>],
    /// Lines that are told need not be there.
    pub counts_only: bool,
}

/// The directory of a log part.
#[derive(Debug)]
pub struct LogIndex {
    pub streams: Vec<Arc<Labels>>,
    pages: Vec<Page>,
    pub blocks: Vec<Block>,
}

impl LogIndex {
    pub fn decode(bytes: &[u8], version: u32, interner: &Interner) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let streams = (0..r.count(1)?)
            .map(|_| {
                let labels =
                    Labels::from_bytes(r.text()?).ok_or(Malformed("labels are not canonical"))?;
                Ok(interner.get(labels))
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        let mut pages = Vec::new();
        for _ in 0..r.count(15)? {
            let times = Section::take(&mut r)?;
            let (lines, flags) = if version == 1 {
                (Lines::take(&mut r, false)?, r.byte()?)
            } else {
                let flags = r.byte()?;
                (Lines::take(&mut r, flags & 4 != 0)?, flags)
            };
            let mut section = |bit: u8| -> Result<Option<Section>, Malformed> {
                if flags & bit == 0 {
                    Ok(None)
                } else {
                    Section::take(&mut r).map(Some)
                }
            };
            let (metadata, filter) = (section(1)?, section(2)?);
            let ids = if version < 3 { None } else { section(8)? };
            pages.push(Page {
                times,
                lines,
                metadata,
                filter,
                ids,
            });
        }
        let mut blocks: Vec<Block> = Vec::new();
        for _ in 0..r.count(7)? {
            let last = blocks.last();
            let stream = last.map_or(0, |b| b.stream).checked_add(r.varint32()?);
            let page = last.map_or(0, |b| b.page).checked_add(r.varint32()?);
            let stream = stream.filter(|s| (*s as usize) < streams.len());
            let page = page.filter(|p| (*p as usize) < pages.len());
            let (Some(stream), Some(page)) = (stream, page) else {
                return Err(Malformed("block of an unknown stream or page"));
            };
            let neighbour = last.filter(|b| b.page == page);
            let (n_rows, line_bytes, raw_bytes) = (r.varint32()?, r.varint32()?, r.varint()?);
            let min_ns = r.signed()?;
            let block = Block {
                stream,
                page,
                slot: neighbour.map_or(0, |b| b.slot + 1),
                n_rows,
                line_start: neighbour
                    .map_or(Some(0), |b| b.line_start.checked_add(b.line_bytes))
                    .ok_or(Malformed("page of more than 4 GiB"))?,
                line_bytes,
                raw_bytes,
                min_ns,
                max_ns: min_ns.wrapping_add(r.varint()? as i64),
            };
            blocks.push(block);
        }
        r.end()?;
        Ok(Self {
            streams,
            pages,
            blocks,
        })
    }

    /// The most memory that reading a block takes in any of these ways, with what it fills.
    pub fn loading_bytes(&self, block: &Block) -> usize {
        let page = &self.pages[block.page as usize];
        let n_rows = self.blocks_of(block.page).iter();
        let n_rows: usize = n_rows.map(|b| b.n_rows as usize).sum();
        let others = [Some(page.times), page.metadata].into_iter().flatten();
        let others: usize = others.map(|s| s.raw as usize + s.len as usize).sum();
        others + page.lines.loading_bytes(n_rows) + block.raw_bytes as usize + ROW_BYTES * n_rows
    }

    /// Whether the block's page surely lacks one of the needles.
    pub fn lacks(&self, file: &PartFile, block: &Block, needles: &[&AnyOf]) -> bool {
        let page = &self.pages[block.page as usize];
        if page.filter.is_none() && page.ids.is_none() {
            return false;
        }
        // Texts of less than three bytes cannot be asked for.
        let can_tell = |any: &&AnyOf| any.needles.iter().all(|n| n.text().len() >= 3);
        if !needles.iter().any(can_tell) {
            return false;
        }
        let read = |section: &Option<Section>| match section {
            Some(section) => file.read_shared(section).map(Some),
            None => Ok(None),
        };
        // A filter that cannot be read denies nothing.
        let (Ok(trigrams), Ok(ids)) = (read(&page.filter), read(&page.ids)) else {
            return false;
        };
        let Ok(ids) = ids.as_ref().map(|bytes| Fuse::read(bytes)).transpose() else {
            return false;
        };
        let trigrams = trigrams.as_ref().map(|bytes| &bytes[..]);
        let may_contain = |needle| filter::may_contain(trigrams, ids.as_ref(), needle);
        needles
            .iter()
            .any(|any| !any.needles.iter().any(may_contain))
    }

    /// The first of a block's lines that the filters of its page deny, which no filter may.
    pub fn denied<'a>(
        &self,
        file: &PartFile,
        block: &Block,
        mut lines: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<usize>, StoreError> {
        let page = &self.pages[block.page as usize];
        let read = |section: &Option<Section>| {
            let read = section.as_ref().map(|s| file.read_shared(s));
            read.transpose()
        };
        let (trigrams, ids) = (read(&page.filter)?, read(&page.ids)?);
        let ids = ids.as_ref().map(|bytes| Fuse::read(bytes)).transpose();
        let ids = ids.map_err(|e| file.damaged(&format!("filter of ids: {}", e.0)))?;
        let trigrams = trigrams.as_ref().map(|bytes| &bytes[..]);
        let is_denied = |line| !filter::may_contain(trigrams, ids.as_ref(), &Needle::new(line));
        Ok(lines.position(is_denied))
    }

    /// Reads all times and line lengths of a block.
    pub fn read_times(
        &self,
        file: &PartFile,
        block: &Block,
        times: &mut Vec<i64>,
        lens: &mut Vec<i64>,
    ) -> Result<(), StoreError> {
        self.read_times_and(file, block, times, Some(lens))
    }

    fn read_times_and(
        &self,
        file: &PartFile,
        block: &Block,
        times: &mut Vec<i64>,
        lens: Option<&mut Vec<i64>>,
    ) -> Result<(), StoreError> {
        let section = &self.pages[block.page as usize].times;
        let bytes = file.read_shared(section)?;
        let decode = || {
            let mut r = Reader::new(&bytes);
            for _ in 0..block.slot * 2 {
                r.text()?;
            }
            let n = block.n_rows as usize;
            ints::decode(&mut Reader::new(r.text()?), n, times)?;
            match lens {
                Some(lens) => ints::decode(&mut Reader::new(r.text()?), n, lens),
                None => Ok(()),
            }
        };
        decode()
            .map_err(|e| file.damaged(&format!("times of the page at {}: {}", section.offset, e.0)))
    }

    /// The blocks of a page; pages hold runs of blocks.
    fn blocks_of(&self, page: u32) -> &[Block] {
        let start = self.blocks.partition_point(|b| b.page < page);
        let end = self.blocks.partition_point(|b| b.page <= page);
        &self.blocks[start..end]
    }

    /// The page of a block that shares it with no other.
    pub(super) fn page_of_its_own(&self, block: &Block) -> Option<&Page> {
        let is_alone = self.blocks_of(block.page).len() == 1;
        is_alone.then(|| &self.pages[block.page as usize])
    }

    /// The times of all entries of a page.
    fn page_times(&self, file: &PartFile, page: u32) -> Result<Vec<i64>, StoreError> {
        let (mut all, mut times) = (Vec::new(), Vec::new());
        for block in self.blocks_of(page) {
            self.read_times_and(file, block, &mut times, None)?;
            all.append(&mut times);
        }
        Ok(all)
    }

    /// Whether any block of this one's page has structured metadata.
    pub fn has_metadata(&self, block: &Block) -> bool {
        self.pages[block.page as usize].metadata.is_some()
    }

    /// Reads the wanted entries of a block into `out`, which is cleared first; those that lack one of
    /// the needles may be left out.
    pub fn read_wanted(
        &self,
        file: &PartFile,
        block: &Block,
        wanted: &Wanted<'_>,
        out: &mut LogBlock,
    ) -> Result<(), StoreError> {
        out.clear();
        let page = &self.pages[block.page as usize];
        let (is_alone, is_whole) = (
            self.blocks_of(block.page).len() == 1,
            wanted.from_ns <= block.min_ns && block.max_ns < wanted.to_ns,
        );
        let is_all = is_whole && wanted.needles.is_empty() && wanted.automata.is_empty();
        if !page.lines.are_templates() || !is_alone || is_all {
            self.read(file, block, out)?;
            out.keep(rows::range(&out.times, wanted.from_ns, wanted.to_ns));
            return Ok(());
        }
        let mut ends = Vec::new();
        self.read_times_and(file, block, &mut out.times, None)?;
        let range = rows::range(&out.times, wanted.from_ns, wanted.to_ns);
        if range.is_empty() {
            out.clear();
            return Ok(());
        }
        let search = Search {
            rows: range,
            needles: wanted.needles,
            automata: wanted.automata,
        };
        let Found { rows, are_told } = page.lines.read_some(
            file,
            &out.times,
            &search,
            wanted.counts_only,
            &mut out.text,
            &mut ends,
        )?;
        if are_told {
            ends.resize(rows.len(), 0);
            out.are_told = true;
        }
        let mut start = 0;
        for end in ends {
            let len = end - start;
            out.lines.push(Slice { start, len });
            start = end;
        }
        if !rows.is_empty() {
            self.add_metadata(file, block, out)?;
        }
        let pick = |row: &u32| out.times[*row as usize];
        out.times = rows.iter().map(pick).collect();
        for (_, values) in &mut out.metadata {
            *values = rows.iter().map(|row| values[*row as usize]).collect();
        }
        Ok(())
    }

    /// Reads fields of the wanted entries of a block into `out`, which is cleared first. False when
    /// that saves nothing over reading the lines, or when entries have metadata of such names, before which fields step back.
    pub fn read_fields(
        &self,
        file: &PartFile,
        block: &Block,
        wanted: &Wanted<'_>,
        fields: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, StoreError> {
        out.clear();
        let page = &self.pages[block.page as usize];
        let is_alone = self.blocks_of(block.page).len() == 1;
        if !page.lines.are_templates()
            || !is_alone
            || self.has_metadata_of(file, block, &fields.names)?
        {
            return Ok(false);
        }
        let mut times = Vec::new();
        self.read_times_and(file, block, &mut times, None)?;
        let range = rows::range(&times, wanted.from_ns, wanted.to_ns);
        if range.is_empty() {
            return Ok(true);
        }
        let share = u64::from(block.line_bytes) * range.len() as u64;
        out.line_bytes = share / u64::from(block.n_rows.max(1));
        let search = Search {
            rows: range,
            needles: wanted.needles,
            automata: wanted.automata,
        };
        page.lines.read_fields(file, &times, &search, fields, out)
    }

    /// As `read_fields`, of all entries, without their times and order. False also when a field cannot be
    /// had without them.
    pub fn read_fields_unordered(
        &self,
        file: &PartFile,
        block: &Block,
        fields: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, StoreError> {
        out.clear();
        let page = &self.pages[block.page as usize];
        let is_alone = self.blocks_of(block.page).len() == 1;
        if !page.lines.are_templates()
            || !is_alone
            || self.has_metadata_of(file, block, &fields.names)?
        {
            return Ok(false);
        }
        out.line_bytes = u64::from(block.line_bytes);
        page.lines
            .read_fields_unordered(file, block.n_rows as usize, fields, out)
    }

    /// Reads all entries of a block into `out`, which is cleared first.
    pub fn read(
        &self,
        file: &PartFile,
        block: &Block,
        out: &mut LogBlock,
    ) -> Result<(), StoreError> {
        out.clear();
        let mut lens = Vec::new();
        self.read_times(file, block, &mut out.times, &mut lens)?;
        let page = &self.pages[block.page as usize];
        let is_alone = self.blocks_of(block.page).len() == 1;
        if is_alone {
            page.lines.read(file, &out.times, &mut out.text)?;
        } else {
            let text = file.share(page.lines.offset(), |text| {
                let times = self.page_times(file, block.page)?;
                page.lines.read(file, &times, text)
            })?;
            let lines = text
                .get(block.line_start as usize..)
                .and_then(|t| t.get(..block.line_bytes as usize));
            out.text.extend_from_slice(
                lines.ok_or_else(|| file.damaged("lines lie outside their page"))?,
            );
        }
        self.finish_read(file, block, &lens, out)
    }

    /// Whether entries of a block have structured metadata of one of these names.
    pub fn has_metadata_of(
        &self,
        file: &PartFile,
        block: &Block,
        names: &[String],
    ) -> Result<bool, StoreError> {
        let Some(section) = &self.pages[block.page as usize].metadata else {
            return Ok(false);
        };
        let bytes = file.read_shared(section)?;
        has_metadata_of(&bytes, block, names).map_err(|e| metadata_damaged(file, section, e))
    }

    /// Cuts the text of a block into lines and adds the metadata.
    fn finish_read(
        &self,
        file: &PartFile,
        block: &Block,
        lens: &[i64],
        out: &mut LogBlock,
    ) -> Result<(), StoreError> {
        let mut start = 0u64;
        for &len in lens {
            if len < 0 || start + len as u64 > out.text.len() as u64 {
                return Err(file.damaged("line lengths do not fit the text"));
            }
            out.lines.push(Slice {
                start: start as u32,
                len: len as u32,
            });
            start += len as u64;
        }
        self.add_metadata(file, block, out)
    }

    fn add_metadata(
        &self,
        file: &PartFile,
        block: &Block,
        out: &mut LogBlock,
    ) -> Result<(), StoreError> {
        if let Some(section) = &self.pages[block.page as usize].metadata {
            let bytes = file.read_shared(section)?;
            read_metadata(&bytes, block, out).map_err(|e| metadata_damaged(file, section, e))?;
        }
        Ok(())
    }
}

fn metadata_damaged(file: &PartFile, section: &Section, error: Malformed) -> StoreError {
    let (at, what) = (section.offset, error.0);
    file.damaged(&format!("metadata of the page at {at}: {what}"))
}

/// The metadata of a block among that of its page.
fn metadata_of<'a>(bytes: &'a [u8], block: &Block) -> Result<Reader<'a>, Malformed> {
    let mut r = Reader::new(bytes);
    for _ in 0..block.slot {
        r.text()?;
    }
    Ok(Reader::new(r.text()?))
}

fn has_metadata_of(bytes: &[u8], block: &Block, names: &[String]) -> Result<bool, Malformed> {
    let mut r = metadata_of(bytes, block)?;
    let n_columns = r.count(2)?;
    let mut text = Vec::new();
    for at in 0..n_columns {
        let name = r.str()?;
        if names.iter().any(|wanted| wanted == name) {
            return Ok(true);
        }
        // Nearly always there is one column, whose values need not be read.
        if at + 1 < n_columns {
            text.clear();
            texts::decode(&mut r, block.n_rows as usize, &mut text)?;
        }
    }
    Ok(false)
}

fn read_metadata(bytes: &[u8], block: &Block, out: &mut LogBlock) -> Result<(), Malformed> {
    let mut r = metadata_of(bytes, block)?;
    for _ in 0..r.count(2)? {
        let name = r.str()?.into();
        let values = texts::decode(&mut r, block.n_rows as usize, &mut out.text)?;
        out.metadata.push((name, values));
    }
    r.end()
}
