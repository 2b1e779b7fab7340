//! Sample parts: series in order of their labels, their samples in blocks, an index of label values.
//!
//! Times that several series share (all series of one scrape) are stored once per part. Labels and
//! postings lie in compressed blocks on disk; in memory are only the places of those blocks.
//!
//! ```text
//! times   (plain section)   `ints` of one block's times; shared by any number of blocks
//! page    (section)         number of times used (varint), each: section reference, samples
//!                           (varint), first (signed), last minus first (varint);
//!                           then series entries: number of blocks (varint), each: index of its
//!                           times (varint), length (varint), values as `floats` or `mixed`
//! series  (section)         128 series: label bytes (text), samples (varint), oldest time (signed),
//!                           newest minus oldest, page, offset among the page's entries (varints)
//! values  (section)         values of one label name in order: value (text), number of series
//!                           (varint), series numbers (varints, as differences)
//! directory: number of series, number of samples (varints);
//!   pages: number, section references; series sections: the same;
//!   label names: number, each: name (text), number of value sections, each: its first value (text),
//!   section reference
//! ```

use std::collections::HashMap;
use std::ops::Range;

use kansoku_model::{Labels, Literals, Matcher};
use xxhash_rust::xxh3::xxh3_128;

use super::file::{PartFile, PartWriter, Section, Totals};
use super::postings::{Postings, Values};
use crate::StoreError;
use crate::bytes::{Malformed, Reader, put_signed, put_text, put_varint};
use crate::column::{Effort, floats, histograms, ints, mixed};
use crate::fs::Disk;
use crate::manifest::Entry;
use crate::samples::SampleColumns;

/// A page is ended at this size: one read gives one series without reading much of others.
const PAGE_BYTES: usize = 64 << 10;
/// Samples of a block: six hours at 15 seconds, long enough for pco.
const BLOCK_ROWS: usize = 1440;
/// Buckets of all histograms of a block: what a query must hold to read one of them.
const BLOCK_CELLS: usize = 1 << 18;
/// Series whose labels are compressed together.
const SERIES_PER_SECTION: usize = 128;
/// Label values (with their postings) that are compressed together.
const VALUES_BYTES: usize = 16 << 10;

/// The times of one or more blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimesRef {
    pub section: Section,
    pub n_rows: u32,
    pub first: i64,
    pub last: i64,
}

// ---- writing ----

/// Writes a sample part. Series must come in order of their labels.
pub struct SamplePartWriter {
    out: PartWriter,
    effort: Effort,
    /// Times written so far, by a hash of their bytes.
    times: HashMap<u128, TimesRef>,
    page: OpenPage,
    pages: Vec<Section>,
    series: Vec<u8>,
    series_sections: Vec<Section>,
    postings: Postings,
    n_series: u32,
    totals: Totals,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct OpenPage {
    times: Vec<TimesRef>,
    /// Place in `times` by the section's offset.
    known: HashMap<u64, u32>,
    entries: Vec<u8>,
}

impl SamplePartWriter {
    pub fn create(disk: &Disk, entry: Entry, effort: Effort) -> Result<Self, StoreError> {
        Ok(Self {
            out: PartWriter::create(disk, entry, effort)?,
            effort,
            times: HashMap::new(),
            page: OpenPage::default(),
            pages: Vec::new(),
            series: Vec::new(),
            series_sections: Vec::new(),
            postings: Postings::default(),
            n_series: 0,
            totals: Totals {
                min_time: i64::MAX,
                max_time: i64::MIN,
                ..Totals::default()
            },
            scratch: Vec::new(),
        })
    }

    /// Adds a series with its tidy samples.
    pub fn add(&mut self, labels: &Labels, samples: &SampleColumns) -> Result<(), StoreError> {
        let times = &samples.times;
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Ok(());
        };
        let (page, offset) = (self.pages.len(), self.page.entries.len());
        let blocks = blocks(samples);
        put_varint(&mut self.page.entries, blocks.len() as u64);
        for rows in blocks {
            let times = self.times_of(&times[rows.clone()])?;
            self.page
                .put_block(times, samples, rows, self.effort, &mut self.scratch);
        }
        self.postings.add(labels, self.n_series);
        put_text(&mut self.series, labels.as_bytes());
        put_varint(&mut self.series, times.len() as u64);
        put_signed(&mut self.series, first);
        put_varint(&mut self.series, last.wrapping_sub(first) as u64);
        put_varint(&mut self.series, page as u64);
        put_varint(&mut self.series, offset as u64);
        self.n_series += 1;
        self.totals.n_rows += times.len() as u64;
        self.totals.min_time = self.totals.min_time.min(first);
        self.totals.max_time = self.totals.max_time.max(last);
        if (self.n_series as usize).is_multiple_of(SERIES_PER_SECTION) {
            self.end_series_section()?;
        }
        if self.page.entries.len() >= PAGE_BYTES {
            self.end_page()?;
        }
        Ok(())
    }

    /// The reference to these times, written now when they are new.
    fn times_of(&mut self, times: &[i64]) -> Result<TimesRef, StoreError> {
        self.scratch.clear();
        times
            .iter()
            .for_each(|t| self.scratch.extend_from_slice(&t.to_le_bytes()));
        let key = xxh3_128(&self.scratch);
        if let Some(known) = self.times.get(&key) {
            return Ok(*known);
        }
        self.scratch.clear();
        ints::encode(times, self.effort, &mut self.scratch);
        let new = TimesRef {
            section: self.out.put_plain(&self.scratch)?,
            n_rows: times.len() as u32,
            first: times[0],
            last: times[times.len() - 1],
        };
        self.times.insert(key, new);
        Ok(new)
    }

    fn end_page(&mut self) -> Result<(), StoreError> {
        let page = std::mem::take(&mut self.page);
        if page.entries.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(page.entries.len() + page.times.len() * 24);
        put_varint(&mut bytes, page.times.len() as u64);
        for t in &page.times {
            t.section.put(&mut bytes);
            put_varint(&mut bytes, u64::from(t.n_rows));
            put_signed(&mut bytes, t.first);
            put_varint(&mut bytes, t.last.wrapping_sub(t.first) as u64);
        }
        bytes.extend_from_slice(&page.entries);
        self.pages.push(self.out.put_packed(&bytes)?);
        Ok(())
    }

    fn end_series_section(&mut self) -> Result<(), StoreError> {
        if !self.series.is_empty() {
            self.series_sections
                .push(self.out.put_packed(&self.series)?);
            self.series.clear();
        }
        Ok(())
    }

    /// Ends the part and returns its size.
    pub fn finish(mut self) -> Result<u64, StoreError> {
        self.end_page()?;
        self.end_series_section()?;
        let mut directory = Vec::new();
        put_varint(&mut directory, u64::from(self.n_series));
        put_varint(&mut directory, self.totals.n_rows);
        for sections in [&self.pages, &self.series_sections] {
            put_varint(&mut directory, sections.len() as u64);
            sections.iter().for_each(|s| s.put(&mut directory));
        }
        put_varint(&mut directory, self.postings.len() as u64);
        for (name, values) in self.postings.iter() {
            put_text(&mut directory, name.as_bytes());
            let sections = put_values(&mut self.out, values)?;
            put_varint(&mut directory, sections.len() as u64);
            for (first, section) in sections {
                put_text(&mut directory, first.as_bytes());
                section.put(&mut directory);
            }
        }
        self.totals.extra = u64::from(self.n_series);
        if self.n_series == 0 {
            self.totals = Totals::default();
        }
        self.out.finish(&directory, &self.totals)
    }
}

fn put_values<'a>(
    out: &mut PartWriter,
    values: &'a Values,
) -> Result<Vec<(&'a str, Section)>, StoreError> {
    let (mut sections, mut bytes, mut first) = (Vec::new(), Vec::new(), "");
    let mut ids: Vec<u32> = Vec::new();
    for (value, all) in values.sorted() {
        if bytes.is_empty() {
            first = value;
        }
        ids.clear();
        ids.extend(all);
        put_text(&mut bytes, value.as_bytes());
        put_varint(&mut bytes, ids.len() as u64);
        let mut last = 0;
        for &id in &ids {
            put_varint(&mut bytes, u64::from(id - last));
            last = id;
        }
        if bytes.len() >= VALUES_BYTES {
            sections.push((first, out.put_packed(&bytes)?));
            bytes.clear();
        }
    }
    if !bytes.is_empty() {
        sections.push((first, out.put_packed(&bytes)?));
    }
    Ok(sections)
}

impl OpenPage {
    fn put_block(
        &mut self,
        times: TimesRef,
        samples: &SampleColumns,
        rows: Range<usize>,
        effort: Effort,
        scratch: &mut Vec<u8>,
    ) {
        let at = *self.known.entry(times.section.offset).or_insert_with(|| {
            self.times.push(times);
            self.times.len() as u32 - 1
        });
        put_varint(&mut self.entries, u64::from(at));
        scratch.clear();
        if mixed::is_needed(samples, rows.clone()) {
            mixed::encode(samples, rows, effort, scratch);
        } else {
            floats::encode(&samples.values[rows], effort, scratch);
        }
        put_text(&mut self.entries, scratch);
    }
}

/// Where a series' samples are cut into blocks.
fn blocks(samples: &SampleColumns) -> Vec<Range<usize>> {
    let n = samples.len();
    if samples.histograms.is_empty() {
        let starts = (0..n).step_by(BLOCK_ROWS);
        return starts.map(|at| at..(at + BLOCK_ROWS).min(n)).collect();
    }
    let (mut blocks, mut first, mut n_cells) = (Vec::new(), 0, 0);
    for (row, histogram) in samples.histograms.iter().enumerate() {
        let more = histogram.as_ref().map_or(0, |h| histograms::cells(h));
        if row > first && (row - first >= BLOCK_ROWS || n_cells + more > BLOCK_CELLS) {
            blocks.push(first..row);
            (first, n_cells) = (row, 0);
        }
        n_cells += more;
    }
    blocks.push(first..n);
    blocks
}

// ---- reading ----

/// The directory of a sample part.
#[derive(Debug)]
pub struct SampleIndex {
    pub n_series: u32,
    pub(super) pages: Vec<Section>,
    series: Vec<Section>,
    names: Vec<LabelName>,
}

#[derive(Debug)]
struct LabelName {
    name: Box<str>,
    /// The first value of each section, and the section.
    values: Vec<(Box<str>, Section)>,
}

/// A series as its section has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRow {
    pub labels: Labels,
    pub n_samples: u64,
    pub min_ms: i64,
    pub max_ms: i64,
    page: u32,
    offset: u32,
}

/// Where the samples of a series lie in their part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    pub(super) page: u32,
    pub(super) offset: u32,
}

impl SeriesRow {
    pub fn place(&self) -> RowPlace {
        RowPlace {
            page: self.page,
            offset: self.offset,
        }
    }

    pub fn touches(&self, from_ms: i64, to_ms: i64) -> bool {
        self.min_ms <= to_ms && self.max_ms >= from_ms
    }
}

impl SampleIndex {
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let (n_series, _n_samples) = (r.varint32()?, r.varint()?);
        let pages = take_sections(&mut r)?;
        let series = take_sections(&mut r)?;
        if series.len() != (n_series as usize).div_ceil(SERIES_PER_SECTION) {
            return Err(Malformed("another number of series than promised"));
        }
        let mut names = Vec::new();
        for _ in 0..r.count(2)? {
            let name = r.str()?.into();
            let values = (0..r.count(8)?)
                .map(|_| Ok((r.str()?.into(), Section::take(&mut r)?)))
                .collect::<Result<_, Malformed>>()?;
            names.push(LabelName { name, values });
        }
        r.end()?;
        Ok(Self {
            n_series,
            pages,
            series,
            names,
        })
    }

    /// Calls `each` with the series that pass all matchers and may have samples in the range.
    pub fn select_series(
        &self,
        file: &PartFile,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        each: &mut dyn FnMut(SeriesRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let candidates = self.candidates(file, matchers)?;
        let mut next = 0;
        let n = candidates.as_ref().map_or(self.n_series as usize, Vec::len);
        let id_at = |i: usize| candidates.as_ref().map_or(i as u32, |ids| ids[i]);
        while next < n {
            let section = id_at(next) as usize / SERIES_PER_SECTION;
            let bytes = file.read_shared(&self.series[section])?;
            let mut r = Reader::new(&bytes);
            let mut at = (section * SERIES_PER_SECTION) as u32;
            while next < n && id_at(next) as usize / SERIES_PER_SECTION == section {
                let wanted = id_at(next);
                let damaged = |e: Malformed| file.damaged(&format!("series: {}", e.0));
                while at < wanted {
                    skip_row(&mut r).map_err(damaged)?;
                    at += 1;
                }
                let row = take_row(&mut r).map_err(damaged)?;
                (at, next) = (at + 1, next + 1);
                if row.touches(from_ms, to_ms)
                    && matchers.iter().all(|m| m.matches_labels(&row.labels))
                {
                    each(row)?;
                }
            }
        }
        Ok(())
    }

    /// All rows of one section of series, for merging.
    pub fn section_rows(
        &self,
        file: &PartFile,
        section: usize,
    ) -> Result<Option<Vec<SeriesRow>>, StoreError> {
        let Some(at) = self.series.get(section) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.read(at, &mut bytes)?;
        let mut r = Reader::new(&bytes);
        let mut rows = Vec::new();
        while !r.is_empty() {
            let row = take_row(&mut r).map_err(|e| file.damaged(&format!("series: {}", e.0)))?;
            rows.push(row);
        }
        Ok(Some(rows))
    }

    /// The series that the index does not rule out; `None` means all. The caller verifies.
    fn candidates(
        &self,
        file: &PartFile,
        matchers: &[Matcher],
    ) -> Result<Option<Vec<u32>>, StoreError> {
        let mut found: Option<Vec<u32>> = None;
        let demanding = || matchers.iter().filter(|m| !m.matches(""));
        for m in demanding() {
            let Some(wanted) = m.wanted() else {
                continue;
            };
            let ids = self.series_with(file, m, Some(&wanted))?;
            found = Some(match found {
                Some(other) => intersection(&other, &ids),
                None => ids,
            });
            if found.as_ref().is_some_and(Vec::is_empty) {
                return Ok(found);
            }
        }
        if found.is_none()
            && let Some(m) = demanding().next()
        {
            found = Some(self.series_with(file, m, None)?);
        }
        Ok(found)
    }

    /// The series that have the label with a value that passes `m`, in order. All such values are among
    /// the wanted ones.
    fn series_with(
        &self,
        file: &PartFile,
        m: &Matcher,
        wanted: Option<&Literals>,
    ) -> Result<Vec<u32>, StoreError> {
        let mut ids = Vec::new();
        self.each_value(file, &m.name, wanted, &mut |value, r| {
            let n = r.count(1)?;
            let wanted = m.matches(value);
            let mut id = 0u32;
            for _ in 0..n {
                id = id
                    .checked_add(r.varint32()?)
                    .ok_or(Malformed("series number"))?;
                if id >= self.n_series {
                    return Err(Malformed("series number"));
                }
                if wanted {
                    ids.push(id);
                }
            }
            Ok(())
        })?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The sections in which wanted values of a label may lie.
    fn sections<'s>(
        values: &'s [(Box<str>, Section)],
        wanted: Option<&Literals>,
    ) -> Vec<&'s Section> {
        // The last section whose first value is not beyond the text.
        let place = |text: &str| {
            let beyond = values.partition_point(|(first, _)| &**first <= text);
            beyond.saturating_sub(1)
        };
        let mut places: Vec<usize> = match wanted {
            None => (0..values.len()).collect(),
            Some(Literals::Set(texts)) => texts.iter().map(|text| place(text)).collect(),
            Some(Literals::Prefix(prefix)) => {
                let from = place(prefix);
                let rest = values[from..].iter().skip(1);
                let n =
                    rest.take_while(|(first, _)| **first <= **prefix || first.starts_with(prefix));
                (from..=from + n.count()).collect()
            }
        };
        places.dedup();
        places
            .into_iter()
            .filter_map(|at| Some(&values.get(at)?.1))
            .collect()
    }

    /// Calls `each` with the values of a label; `each` reads the postings that follow.
    fn each_value(
        &self,
        file: &PartFile,
        name: &str,
        wanted: Option<&Literals>,
        each: &mut dyn FnMut(&str, &mut Reader<'_>) -> Result<(), Malformed>,
    ) -> Result<(), StoreError> {
        let Ok(at) = self.names.binary_search_by(|n| (*n.name).cmp(name)) else {
            return Ok(());
        };
        for section in Self::sections(&self.names[at].values, wanted) {
            let bytes = file.read_shared(section)?;
            let mut r = Reader::new(&bytes);
            let mut walk = || {
                while !r.is_empty() {
                    let value = r.str()?;
                    each(value, &mut r)?;
                }
                Ok(())
            };
            walk().map_err(|e: Malformed| {
                file.damaged(&format!("values of the label {name}: {}", e.0))
            })?;
        }
        Ok(())
    }

    /// Bytes of the label values and of which series have them.
    pub fn postings_bytes(&self) -> u64 {
        let sections = self.names.iter().flat_map(|name| &name.values);
        sections.map(|(_, section)| u64::from(section.raw)).sum()
    }

    /// All label names.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| &*n.name)
    }

    /// Calls `each` with all values of a label.
    pub fn label_values(
        &self,
        file: &PartFile,
        name: &str,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), StoreError> {
        self.each_value(file, name, None, &mut |value, r| {
            for _ in 0..r.count(1)? {
                r.varint()?;
            }
            each(value);
            Ok(())
        })
    }
}

fn take_sections(r: &mut Reader<'_>) -> Result<Vec<Section>, Malformed> {
    (0..r.count(7)?).map(|_| Section::take(r)).collect()
}

fn take_row(r: &mut Reader<'_>) -> Result<SeriesRow, Malformed> {
    let labels = Labels::from_bytes(r.text()?).ok_or(Malformed("labels are not canonical"))?;
    let (n_samples, min_ms) = (r.varint()?, r.signed()?);
    Ok(SeriesRow {
        labels,
        n_samples,
        min_ms,
        max_ms: min_ms.wrapping_add(r.varint()? as i64),
        page: r.varint32()?,
        offset: r.varint32()?,
    })
}

fn skip_row(r: &mut Reader<'_>) -> Result<(), Malformed> {
    r.text()?;
    for _ in 0..5 {
        r.varint()?;
    }
    Ok(())
}

/// Numbers that are in both sorted lists.
fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let mut rest = long;
    let mut both = Vec::with_capacity(short.len());
    for &id in short {
        rest = &rest[rest.partition_point(|&other| other < id)..];
        if rest.first() == Some(&id) {
            both.push(id);
        }
    }
    both
}
