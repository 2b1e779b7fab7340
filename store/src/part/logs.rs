//! Log parts: blocks of one stream, gathered in pages so that small blocks compress together.
//!
//! A large block is a page of its own; small ones of neighbouring streams share a page up to
//! `PAGE_BYTES` of text. Times can be read without the text. Blocks are sorted by stream, then by
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
//! directory: number of streams (varint), label bytes of each (text);
//!   number of pages, each: times, 1 byte (bit 0: metadata, bit 1: filter, bit 2: templates), lines,
//!   the other sections (version 1: times, lines, the byte, the other sections; bit 2 is 0);
//!   number of blocks, each: stream, page (varints, as differences from the block before), entries,
//!   bytes of lines, bytes of lines and metadata, oldest time (signed), newest minus oldest (varint)
//! ```

use std::sync::Arc;

use kansoku_model::select::LogBlock;
use kansoku_model::{AnyOf, FieldRange, Labels, Slice};

use super::file::{PartFile, PartWriter, Section, Totals};
use super::lines::Lines;
use super::trigrams;
use crate::StoreError;
use crate::bytes::{Malformed, Reader, put_signed, put_text, put_varint};
use crate::column::{Effort, ROWS_MAX, ints, texts};
use crate::fs::Disk;
use crate::intern::Interner;
use crate::manifest::Entry;
use crate::rows;
use crate::template::{Encoder, Fields, Search};

/// Blocks share a page up to this much text; a block this large is a page of its own.
const PAGE_BYTES: usize = 256 << 10;
/// A block is cut at this much text when a head is written out ...
const FLUSH_BLOCK_BYTES: usize = 1 << 20;
/// ... and at this much when parts are merged.
const MERGE_BLOCK_BYTES: usize = 4 << 20;
/// A block is cut at this many entries, well below what a column may have.
const BLOCK_ROWS: usize = ROWS_MAX / 4;
/// No filter for less text than this: reading it costs no more than reading the filter.
const FILTER_FROM_BYTES: usize = 8 << 10;

#[derive(Debug, Clone, Copy)]
struct Page {
    times: Section,
    lines: Lines,
    metadata: Option<Section>,
    filter: Option<Section>,
}

/// Where a block lies and what it spans.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    pub stream: u32,
    page: u32,
    /// Number among the blocks of its page.
    slot: u32,
    pub n_rows: u32,
    /// Where its lines start in the page's text.
    line_start: u32,
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

// ---- writing ----

/// Writes a log part. Streams must come in order of their labels, a stream's entries in time order.
pub struct LogPartWriter {
    out: PartWriter,
    effort: Effort,
    encoder: Encoder,
    streams: Vec<Arc<Labels>>,
    pages: Vec<Page>,
    blocks: Vec<Block>,
    /// Entries of the newest stream that are no block yet.
    rows: LogBlock,
    page: OpenPage,
}

/// The page that is being filled.
#[derive(Default)]
struct OpenPage {
    times: Vec<u8>,
    /// The entries of all its blocks, without metadata.
    rows: LogBlock,
    metadata: Vec<u8>,
    has_metadata: bool,
    n_blocks: u32,
}

impl LogPartWriter {
    pub fn create(disk: &Disk, entry: Entry, effort: Effort) -> Result<Self, StoreError> {
        let encoder = Encoder::new(effort)
            .map_err(|e| StoreError::io("compress", &disk.path(&entry.file_name()), &e))?;
        Ok(Self {
            out: PartWriter::create(disk, entry, effort)?,
            effort,
            encoder,
            streams: Vec::new(),
            pages: Vec::new(),
            blocks: Vec::new(),
            rows: LogBlock::default(),
            page: OpenPage::default(),
        })
    }

    /// Adds entries of a stream, not older than those it was given before.
    pub fn add(
        &mut self,
        labels: &Arc<Labels>,
        from: &LogBlock,
        wanted: std::ops::Range<usize>,
    ) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        if self.streams.last() != Some(labels) {
            self.end_block()?;
            self.streams.push(Arc::clone(labels));
        }
        let limit = match self.effort {
            Effort::Flush => FLUSH_BLOCK_BYTES,
            Effort::Merge => MERGE_BLOCK_BYTES,
        };
        let mut start = wanted.start;
        while start < wanted.end {
            let mut room = limit.saturating_sub(self.rows.text.len());
            let mut end = start;
            while end < wanted.end && room > 0 && self.rows.times.len() + end - start < BLOCK_ROWS {
                room = room.saturating_sub(from.lines[end].len as usize);
                end += 1;
            }
            rows::append(&mut self.rows, from, start..end);
            if self.rows.text.len() >= limit || end < wanted.end {
                self.end_block()?;
            }
            start = end;
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.rows);
        let (Some(&min_ns), Some(&max_ns)) = (rows.times.first(), rows.times.last()) else {
            return Ok(());
        };
        debug_assert!(rows::is_sorted(&rows.times));
        let line_bytes: usize = rows.lines.iter().map(|s| s.len as usize).sum();
        if self.page.n_blocks > 0 && self.page.rows.text.len() + line_bytes > PAGE_BYTES {
            self.end_page()?;
        }
        self.blocks.push(Block {
            stream: self.streams.len() as u32 - 1,
            page: self.pages.len() as u32,
            slot: self.page.n_blocks,
            n_rows: rows.times.len() as u32,
            line_start: self.page.rows.text.len() as u32,
            line_bytes: line_bytes as u32,
            raw_bytes: rows::raw_bytes(&rows),
            min_ns,
            max_ns,
        });
        self.page.put(&rows, self.effort);
        if self.page.rows.text.len() >= PAGE_BYTES {
            self.end_page()?;
        }
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), StoreError> {
        let page = std::mem::take(&mut self.page);
        if page.n_blocks == 0 {
            return Ok(());
        }
        let mut filter = None;
        if page.rows.text.len() >= FILTER_FROM_BYTES {
            let mut builder = trigrams::Builder::new();
            // Pieces that span two lines do no harm: they only add bits.
            builder.add(&page.rows.text);
            filter = builder.finish();
        }
        self.pages.push(Page {
            times: self.out.put_packed(&page.times)?,
            lines: Lines::write(&mut self.out, &mut self.encoder, &page.rows)?,
            metadata: match page.has_metadata {
                true => Some(self.out.put_packed(&page.metadata)?),
                false => None,
            },
            filter: filter.map(|f| self.out.put_packed(&f)).transpose()?,
        });
        Ok(())
    }

    /// Ends the part and returns its size.
    pub fn finish(mut self) -> Result<u64, StoreError> {
        self.end_block()?;
        self.end_page()?;
        let mut totals = Totals {
            min_time: self.blocks.iter().map(|b| b.min_ns).min().unwrap_or(0),
            max_time: self.blocks.iter().map(|b| b.max_ns).max().unwrap_or(0),
            ..Totals::default()
        };
        for b in &self.blocks {
            totals.n_rows += u64::from(b.n_rows);
            totals.extra += b.raw_bytes;
        }
        let directory = self.directory();
        self.out.finish(&directory, &totals)
    }

    fn directory(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.streams.len() as u64);
        self.streams
            .iter()
            .for_each(|l| put_text(&mut out, l.as_bytes()));
        put_varint(&mut out, self.pages.len() as u64);
        for page in &self.pages {
            page.times.put(&mut out);
            let (metadata, filter) = (page.metadata.is_some(), page.filter.is_some());
            let templates = page.lines.are_templates();
            out.push(u8::from(metadata) | u8::from(filter) << 1 | u8::from(templates) << 2);
            page.lines.put(&mut out);
            page.metadata
                .iter()
                .chain(&page.filter)
                .for_each(|s| s.put(&mut out));
        }
        put_varint(&mut out, self.blocks.len() as u64);
        let (mut stream, mut page) = (0, 0);
        for b in &self.blocks {
            put_varint(&mut out, u64::from(b.stream - stream));
            put_varint(&mut out, u64::from(b.page - page));
            put_varint(&mut out, u64::from(b.n_rows));
            put_varint(&mut out, u64::from(b.line_bytes));
            put_varint(&mut out, b.raw_bytes);
            put_signed(&mut out, b.min_ns);
            put_varint(&mut out, b.max_ns.wrapping_sub(b.min_ns) as u64);
            (stream, page) = (b.stream, b.page);
        }
        out
    }
}

impl OpenPage {
    fn put(&mut self, rows: &LogBlock, effort: Effort) {
        let mut column = Vec::new();
        ints::encode(&rows.times, effort, &mut column);
        put_text(&mut self.times, &column);
        column.clear();
        let lens: Vec<i64> = rows.lines.iter().map(|s| i64::from(s.len)).collect();
        ints::encode(&lens, effort, &mut column);
        put_text(&mut self.times, &column);
        for (&line, time) in rows.lines.iter().zip(&rows.times) {
            rows::push(&mut self.rows, *time, rows.bytes(line));
        }
        column.clear();
        put_varint(&mut column, rows.metadata.len() as u64);
        for (name, values) in &rows.metadata {
            put_text(&mut column, name.as_bytes());
            texts::encode(values, &rows.text, &mut column);
        }
        put_text(&mut self.metadata, &column);
        self.has_metadata |= !rows.metadata.is_empty();
        self.n_blocks += 1;
    }
}

// ---- reading ----

/// Which entries of a block are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub from_ns: i64,
    pub to_ns: i64,
    pub needles: &'a [&'a AnyOf],
    /// The only fields that matter of lines that are JSON objects.
    pub fields: Option<&'a [String]>,
    /// Where numbers of fields lie.
    pub ranges: &'a [&'a FieldRange],
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
            pages.push(Page {
                times,
                lines,
                metadata,
                filter,
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

    /// Whether the block's page surely lacks one of the needles.
    pub fn lacks(&self, file: &PartFile, block: &Block, needles: &[&AnyOf]) -> bool {
        let Some(filter) = &self.pages[block.page as usize].filter else {
            return false;
        };
        // Texts of less than three bytes cannot be asked for.
        let can_tell = |any: &&AnyOf| any.needles.iter().all(|n| n.text().len() >= 3);
        if !needles.iter().any(can_tell) {
            return false;
        }
        // A filter that cannot be read denies nothing.
        let Ok(filter) = file.read_shared(filter) else {
            return false;
        };
        let may_contain = |needle| trigrams::may_contain(&filter, needle);
        needles
            .iter()
            .any(|any| !any.needles.iter().any(may_contain))
    }

    /// Reads all times and line lengths of a block.
    pub fn read_times(
        &self,
        file: &PartFile,
        block: &Block,
        times: &mut Vec<i64>,
        lens: &mut Vec<i64>,
    ) -> Result<(), StoreError> {
        let section = &self.pages[block.page as usize].times;
        let bytes = file.read_shared(section)?;
        let mut decode = || {
            let mut r = Reader::new(&bytes);
            for _ in 0..block.slot * 2 {
                r.text()?;
            }
            let n = block.n_rows as usize;
            ints::decode(&mut Reader::new(r.text()?), n, times)?;
            ints::decode(&mut Reader::new(r.text()?), n, lens)
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

    /// The times of all entries of a page.
    fn page_times(&self, file: &PartFile, page: u32) -> Result<Vec<i64>, StoreError> {
        let (mut all, mut times, mut lens) = (Vec::new(), Vec::new(), Vec::new());
        for block in self.blocks_of(page) {
            self.read_times(file, block, &mut times, &mut lens)?;
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
        let is_all = is_whole && wanted.needles.is_empty() && wanted.fields.is_none();
        if !page.lines.are_templates() || !is_alone || is_all {
            self.read(file, block, out)?;
            out.keep(rows::range(&out.times, wanted.from_ns, wanted.to_ns));
            return Ok(());
        }
        let (mut lens, mut ends) = (Vec::new(), Vec::new());
        self.read_times(file, block, &mut out.times, &mut lens)?;
        let range = rows::range(&out.times, wanted.from_ns, wanted.to_ns);
        if range.is_empty() {
            out.clear();
            return Ok(());
        }
        let search = Search {
            rows: range,
            needles: wanted.needles,
            fields: wanted.fields.map(|names| Fields {
                names,
                ranges: wanted.ranges,
            }),
        };
        let rows = page
            .lines
            .read_some(file, &out.times, &search, &mut out.text, &mut ends)?;
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
            read_metadata(&bytes, block, out).map_err(|e| {
                file.damaged(&format!(
                    "metadata of the page at {}: {}",
                    section.offset, e.0
                ))
            })?;
        }
        Ok(())
    }
}

fn read_metadata(bytes: &[u8], block: &Block, out: &mut LogBlock) -> Result<(), Malformed> {
    let mut r = Reader::new(bytes);
    for _ in 0..block.slot {
        r.text()?;
    }
    let mut r = Reader::new(r.text()?);
    for _ in 0..r.count(2)? {
        let name = r.str()?.into();
        let values = texts::decode(&mut r, block.n_rows as usize, &mut out.text)?;
        out.metadata.push((name, values));
    }
    r.end()
}
