//! Writing log parts: entries into blocks, blocks into pages, pages into the file.
//!
//! `logs.rs` draws what comes out. A large block is a page of its own; small ones of neighbouring streams
//! share a page up to `PAGE_BYTES` of text.

use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_model::select::LogBlock;

use super::file::{PartFile, PartWriter, Totals};
use super::filter::Filters;
use super::lines::Lines;
use super::logs::{Block, LogIndex, Page};
use crate::StoreError;
use crate::bytes::{put_signed, put_text, put_varint};
use crate::column::{Effort, ROWS_MAX, ints, texts};
use crate::fs::Disk;
use crate::manifest::Entry;
use crate::rows;
use crate::template::Encoder;

/// Blocks share a page up to this much text; a block this large is a page of its own.
const PAGE_BYTES: usize = 256 << 10;
/// A block is cut at this much text when a head is written out ...
const FLUSH_BLOCK_BYTES: usize = 1 << 20;
/// ... and at this much when parts are merged.
const MERGE_BLOCK_BYTES: usize = 4 << 20;
/// Parts from this version on hold pages as they are written here.
const SAME_PAGES_SINCE: u32 = 3;
/// Blocks from this on are taken over by merges as they are: encoding them anew would save little.
const COPY_FROM_BYTES: usize = MERGE_BLOCK_BYTES / 2;
/// A block is cut at this many entries, well below what a column may have.
const BLOCK_ROWS: usize = ROWS_MAX / 4;
/// No filter for less text than this: reading it costs no more than reading the filter.
const FILTER_FROM_BYTES: usize = 8 << 10;

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

    /// Takes a block over as it is encoded in another part, whose entries are not older than those of the
    /// stream before. False when it is to be added entry by entry: it is small, shares its page, or is
    /// damaged.
    pub fn copy(
        &mut self,
        labels: &Arc<Labels>,
        file: &PartFile,
        index: &LogIndex,
        block: &Block,
    ) -> Result<bool, StoreError> {
        let is_large =
            block.line_bytes as usize >= COPY_FROM_BYTES || block.n_rows as usize >= BLOCK_ROWS / 2;
        let page = index.page_of_its_own(block);
        let Some(page) = page.filter(|_| is_large && file.version >= SAME_PAGES_SINCE) else {
            return Ok(false);
        };
        let sections = page.sections();
        let mut stored = Vec::with_capacity(sections.len());
        for section in &sections {
            match file.read_stored(section) {
                Ok(bytes) => stored.push(bytes),
                Err(StoreError::Damaged { .. }) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        if self.streams.last() != Some(labels) {
            self.end_block()?;
            self.streams.push(Arc::clone(labels));
        }
        self.end_block()?;
        self.end_page()?;
        let mut copies = Vec::with_capacity(sections.len());
        for (section, stored) in sections.iter().zip(&stored) {
            copies.push(self.out.put_copy(section, stored)?);
        }
        self.blocks.push(Block {
            stream: self.streams.len() as u32 - 1,
            page: self.pages.len() as u32,
            ..*block
        });
        self.pages.push(page.moved(&copies));
        Ok(true)
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
        let filters = if page.rows.text.len() >= FILTER_FROM_BYTES {
            Filters::of(page.rows.lines.iter().map(|line| page.rows.bytes(*line)))
        } else {
            Filters::default()
        };
        self.pages.push(Page {
            times: self.out.put_packed(&page.times)?,
            lines: Lines::write(&mut self.out, &mut self.encoder, self.effort, &page.rows)?,
            metadata: match page.has_metadata {
                true => Some(self.out.put_packed(&page.metadata)?),
                false => None,
            },
            filter: match &filters.trigrams {
                Some(filter) => Some(self.out.put_packed(filter)?),
                None => None,
            },
            // Bits without order: nothing makes them smaller.
            ids: match &filters.ids {
                Some(filter) => Some(self.out.put_plain(filter)?),
                None => None,
            },
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
            let flags = [
                page.metadata.is_some(),
                page.filter.is_some(),
                page.lines.are_templates(),
                page.ids.is_some(),
            ];
            let flags = flags.iter().rev();
            out.push(flags.fold(0, |byte, is_set| byte << 1 | u8::from(*is_set)));
            page.lines.put(&mut out);
            let others = [page.metadata, page.filter, page.ids];
            others.iter().flatten().for_each(|s| s.put(&mut out));
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
