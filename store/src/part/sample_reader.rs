//! Reading samples of a sample part: pages, shared times, value blocks.
//!
//! `samples.rs` finds the series and draws the format; this decodes what they hold. A damaged page
//! or block is an error of the series that need it, not of the others.

use std::collections::HashMap;
use std::rc::Rc;

use kansoku_model::Floats;

use super::file::{PartFile, Section};
use super::samples::{RowPlace, SampleIndex, SeriesRow, TimesRef};
use crate::StoreError;
use crate::bytes::{Malformed, Reader};
use crate::column::{floats, ints, mixed};
use crate::samples::{self, SampleColumns};

/// Many times what a writer puts in a block: more is damage, and must not become memory.
const BLOCK_ROWS_MAX: u32 = 1 << 16;
/// Decoded times that one query keeps, so that each scrape's times are decoded once.
const TIMES_KEPT: usize = 4096;

/// Rows of a block, by its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimesRun {
    block: TimesRef,
    rows: (usize, usize),
    /// First and last time of the rows.
    pub ends: (i64, i64),
}

/// Reads samples of series of one part; keeps the page and the times that it read last.
pub struct SampleReader<'a> {
    file: &'a PartFile,
    index: &'a SampleIndex,
    page: Option<u32>,
    page_times: Vec<TimesRef>,
    bytes: Vec<u8>,
    /// Where the entries start in `bytes`.
    entries_at: usize,
    times: HashMap<u64, Rc<Vec<i64>>>,
    values: Vec<f64>,
    scratch: Vec<u8>,
    /// Blocks that were decoded, and bytes that were read.
    pub n_blocks: u64,
    pub n_bytes: u64,
}

impl<'a> SampleReader<'a> {
    pub fn new(file: &'a PartFile, index: &'a SampleIndex) -> Self {
        Self {
            file,
            index,
            page: None,
            page_times: Vec::new(),
            bytes: Vec::new(),
            entries_at: 0,
            times: HashMap::new(),
            values: Vec::new(),
            scratch: Vec::new(),
            n_blocks: 0,
            n_bytes: 0,
        }
    }

    /// Appends to `out` the samples of `row` with `from_ms <= time <= to_ms`.
    pub fn read(
        &mut self,
        row: &SeriesRow,
        range: (i64, i64),
        out: &mut SampleColumns,
    ) -> Result<(), StoreError> {
        self.read_at(row.place(), range, out)
    }

    /// As `read`, of the series whose samples lie there.
    pub fn read_at(
        &mut self,
        row: RowPlace,
        (from_ms, to_ms): (i64, i64),
        out: &mut SampleColumns,
    ) -> Result<(), StoreError> {
        if self.page != Some(row.page) {
            self.load_page(row.page)?;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let entry = bytes
            .get(self.entries_at + row.offset as usize..)
            .unwrap_or_default();
        let result = self.read_entry(Reader::new(entry), (from_ms, to_ms), out);
        self.bytes = bytes;
        result
    }

    fn read_entry(
        &mut self,
        mut r: Reader<'_>,
        (from_ms, to_ms): (i64, i64),
        out: &mut SampleColumns,
    ) -> Result<(), StoreError> {
        let file = self.file;
        let damaged = |e: Malformed| file.damaged(&format!("samples: {}", e.0));
        for _ in 0..r.count(2).map_err(damaged)? {
            let (block, packed) = self.next_block(&mut r).map_err(damaged)?;
            if block.first > to_ms || block.last < from_ms {
                continue;
            }
            self.n_blocks += 1;
            let block_times = self.times_of(&block)?;
            let rows = samples::range(&block_times, from_ms, to_ms);
            let mut packed = Reader::new(packed);
            if packed.rest().first() == Some(&mixed::LAYOUT) {
                let mut block = mixed::decode(&mut packed, block_times.len()).map_err(damaged)?;
                block.times.extend_from_slice(&block_times);
                out.append(&block, rows);
                continue;
            }
            floats::decode(&mut packed, block_times.len(), &mut self.values).map_err(damaged)?;
            out.append_floats(&block_times[rows.clone()], &self.values[rows]);
        }
        Ok(())
    }

    /// Appends the samples of the series there to `values`, and where their times are to `times`. False when they are not
    /// plain floats, or not behind those that are there: some of them may have been added then.
    pub fn read_floats_at(
        &mut self,
        row: RowPlace,
        (from_ms, to_ms): (i64, i64),
        values: &mut Floats,
        times: &mut Vec<TimesRun>,
    ) -> Result<bool, StoreError> {
        if self.page != Some(row.page) {
            self.load_page(row.page)?;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let entry = bytes.get(self.entries_at + row.offset as usize..);
        let mut r = Reader::new(entry.unwrap_or_default());
        let result = self.read_floats_of(&mut r, (from_ms, to_ms), values, times);
        self.bytes = bytes;
        result
    }

    fn read_floats_of(
        &mut self,
        r: &mut Reader<'_>,
        (from_ms, to_ms): (i64, i64),
        values: &mut Floats,
        times: &mut Vec<TimesRun>,
    ) -> Result<bool, StoreError> {
        let file = self.file;
        let damaged = |e: Malformed| file.damaged(&format!("samples: {}", e.0));
        for _ in 0..r.count(2).map_err(damaged)? {
            let (block, packed) = self.next_block(r).map_err(damaged)?;
            if block.first > to_ms || block.last < from_ms {
                continue;
            }
            if packed.first() == Some(&mixed::LAYOUT) {
                return Ok(false);
            }
            let n = block.n_rows as usize;
            let mut run = TimesRun {
                block,
                rows: (0, n),
                ends: (block.first, block.last),
            };
            if block.first < from_ms || block.last > to_ms {
                let all = self.times_of(&block)?;
                let rows = samples::range(&all, from_ms, to_ms);
                let (Some(first), Some(last)) =
                    (all[rows.clone()].first(), all[rows.clone()].last())
                else {
                    continue;
                };
                run.ends = (*first, *last);
                run.rows = (rows.start, rows.end);
            }
            if times.last().is_some_and(|last| last.ends.1 >= run.ends.0) {
                return Ok(false);
            }
            self.n_blocks += 1;
            floats::decode_rows(packed, n, run.rows.0..run.rows.1, values).map_err(damaged)?;
            times.push(run);
        }
        Ok(true)
    }

    /// Appends the times that `run` tells of.
    pub fn append_times(&mut self, run: &TimesRun, out: &mut Vec<i64>) -> Result<(), StoreError> {
        let all = self.times_of(&run.block)?;
        out.extend_from_slice(&all[run.rows.0..run.rows.1]);
        Ok(())
    }

    /// The times and the packed values of the next block of an entry.
    fn next_block<'r>(&self, r: &mut Reader<'r>) -> Result<(TimesRef, &'r [u8]), Malformed> {
        let at = r.varint32()? as usize;
        let packed = r.text()?;
        let block = self.page_times.get(at);
        Ok((*block.ok_or(Malformed("unknown times"))?, packed))
    }

    fn times_of(&mut self, wanted: &TimesRef) -> Result<Rc<Vec<i64>>, StoreError> {
        let offset = wanted.section.offset;
        if let Some(known) = self.times.get(&offset) {
            return Ok(Rc::clone(known));
        }
        self.file.read(&wanted.section, &mut self.scratch)?;
        self.n_bytes += u64::from(wanted.section.len);
        let mut times = Vec::new();
        ints::decode(
            &mut Reader::new(&self.scratch),
            wanted.n_rows as usize,
            &mut times,
        )
        .map_err(|e| self.file.damaged(&format!("times at {offset}: {}", e.0)))?;
        if self.times.len() >= TIMES_KEPT {
            self.times.clear();
        }
        let times = Rc::new(times);
        self.times.insert(offset, Rc::clone(&times));
        Ok(times)
    }

    fn load_page(&mut self, page: u32) -> Result<(), StoreError> {
        self.page = None;
        let section = self.index.pages.get(page as usize);
        let section = section.ok_or_else(|| self.file.damaged("series on an unknown page"))?;
        self.file.read(section, &mut self.bytes)?;
        self.n_bytes += u64::from(section.len);
        let mut r = Reader::new(&self.bytes);
        let mut take = || {
            let mut times = Vec::new();
            for _ in 0..r.count(10)? {
                let (section, n_rows, first) = (Section::take(&mut r)?, r.varint32()?, r.signed()?);
                if n_rows > BLOCK_ROWS_MAX {
                    return Err(Malformed("more rows than a column may have"));
                }
                let last = first.wrapping_add(r.varint()? as i64);
                times.push(TimesRef {
                    section,
                    n_rows,
                    first,
                    last,
                });
            }
            Ok(times)
        };
        self.page_times = take().map_err(|e| self.file.damaged(&format!("page: {}", e.0)))?;
        self.entries_at = self.bytes.len() - r.rest().len();
        self.page = Some(page);
        Ok(())
    }
}
