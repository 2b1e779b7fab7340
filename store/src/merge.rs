//! Merging parts of one signal and day into one larger part.
//!
//! `choose` says what to merge, `write` makes the new part; `store.rs` makes it visible. Only
//! neighbours in flush order are merged, so that "the later flush counts" keeps its meaning, and
//! only runs that at least double their largest part, so that a byte is rewritten at most once per
//! doubling. A day to which nothing came for an hour is brought together with less. What cannot be
//! read is left out and counted; the caller sets such parts aside. A large block of log entries into
//! which no other part's entries fall is taken over as it is encoded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_model::select::LogBlock;

use crate::StoreError;
use crate::column::Effort;
use crate::deletes::{self, Delete};
use crate::fs::Disk;
use crate::manifest::{Day, Entry, Signal};
use crate::part::log_writer::LogPartWriter;
use crate::part::logs::{Block, LogIndex};
use crate::part::samples::{SampleIndex, SamplePartWriter, SeriesRow};
use crate::part::{Body, Part, PartFile, SampleReader};
use crate::samples::SampleColumns;

/// More at once would hold too many open blocks in memory.
const RUN_MAX: usize = 16;
/// A day to which no flush came for so long is taken to be over.
const QUIET_MS: i64 = 3_600_000;

/// What makes a run of parts worth a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    parts_min: usize,
    /// How large the new part is at least, in percent of the largest old one.
    growth_percent: u64,
}

impl Worth {
    /// While more comes.
    const GROWING: Self = Self {
        parts_min: 4,
        growth_percent: 200,
    };
    /// When the day is over. What comes late rewrites it when it is a quarter of it.
    const QUIET: Self = Self {
        parts_min: 2,
        growth_percent: 125,
    };
    /// When somebody asks for it.
    pub const ANY: Self = Self {
        parts_min: 2,
        growth_percent: 100,
    };
}

/// Which days get no more flushes. It counts from the time it is first asked.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The newest flush of a day, and when it was first seen.
    newest: HashMap<(Signal, Day), (u64, i64)>,
}

impl Arrivals {
    /// Takes note of the parts there are.
    pub fn observe(&mut self, parts: &[Arc<Part>], now_ms: i64) {
        let mut newest: HashMap<(Signal, Day), u64> = HashMap::new();
        for entry in parts.iter().map(|p| p.entry()) {
            let flush = newest.entry((entry.signal, entry.day)).or_default();
            *flush = entry.flushes.1.max(*flush);
        }
        let seen = |key: &(Signal, Day), flush: u64| match self.newest.get(key) {
            // A clock that was set back begins anew.
            Some(&(known, since_ms)) if known == flush && since_ms <= now_ms => since_ms,
            _ => now_ms,
        };
        self.newest = newest
            .into_iter()
            .map(|(key, flush)| (key, (flush, seen(&key, flush))))
            .collect();
    }

    /// What makes a merge of this day's parts worth while.
    pub fn worth(&self, signal: Signal, day: Day, now_ms: i64) -> Worth {
        match self.newest.get(&(signal, day)) {
            Some((_, since_ms)) if now_ms.saturating_sub(*since_ms) >= QUIET_MS => Worth::QUIET,
            _ => Worth::GROWING,
        }
    }
}

/// What no merge exceeds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of the new part.
    pub part_bytes: u64,
    /// Label values of all series together: they are in memory until the new part is written.
    pub postings_bytes: u64,
}

/// Length of a part, and of its postings.
type Size = (u64, u64);

/// The parts that are best merged next, in flush order. Empty when there is nothing to do. No merge
/// reaches across a border, a number between flushes.
pub fn choose(
    parts: &[Arc<Part>],
    borders: &[u64],
    bounds: Bounds,
    worth: &dyn Fn(Signal, Day) -> Worth,
) -> Vec<Arc<Part>> {
    let mut groups: BTreeMap<(Signal, Day, usize), Vec<&Arc<Part>>> = BTreeMap::new();
    for part in parts {
        let entry = part.entry();
        groups
            .entry((entry.signal, entry.day, side(borders, entry)))
            .or_default()
            .push(part);
    }
    let mut best: Option<(u64, &[&Arc<Part>])> = None;
    for ((signal, day, _), group) in &mut groups {
        group.sort_by_key(|p| p.entry().flushes);
        let size = |part: &&Arc<Part>| match &part.body {
            Body::Samples(index) => (part.file.len(), index.postings_bytes()),
            Body::Logs(_) => (part.file.len(), 0),
        };
        let sizes: Vec<Size> = group.iter().map(size).collect();
        for run in runs(&sizes, bounds, worth(*signal, *day)) {
            let mean = sizes[run.clone()].iter().map(|s| s.0).sum::<u64>() / run.len() as u64;
            if best.is_none_or(|(least, _)| mean < least) {
                best = Some((mean, &group[run]));
            }
        }
    }
    best.map(|(_, run)| run.iter().map(|p| Arc::clone(p)).collect())
        .unwrap_or_default()
}

/// How many borders a part lies behind.
fn side(borders: &[u64], entry: &Entry) -> usize {
    borders.iter().filter(|b| entry.flushes.1 < **b).count()
}

/// The runs of neighbours that may be merged. Where no more comes, only those that no longer one
/// holds: once is enough.
fn runs(sizes: &[Size], bounds: Bounds, worth: Worth) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for start in 0..sizes.len() {
        for end in start + worth.parts_min..=sizes.len().min(start + RUN_MAX) {
            let run = &sizes[start..end];
            let total: u64 = run.iter().map(|s| s.0).sum();
            let postings: u64 = run.iter().map(|s| s.1).sum();
            let largest = run.iter().map(|s| s.0).max().unwrap_or(0);
            if total * 100 >= largest * worth.growth_percent
                && total <= bounds.part_bytes
                && postings <= bounds.postings_bytes
            {
                found.push(start..end);
            }
        }
    }
    if worth != Worth::GROWING {
        let all = found.clone();
        found.retain(|run| {
            let holds = |other: &std::ops::Range<usize>| {
                other.start <= run.start && run.end <= other.end && other != run
            };
            !all.iter().any(holds)
        });
    }
    found
}

/// Writes one part with the content of all `parts`, which are in flush order, without what `deletes`
/// take. `breathe` is called now and then, so that a long merge does not hold up the flushes.
pub fn write(
    disk: &Disk,
    parts: &[Arc<Part>],
    entry: Entry,
    deletes: &[Arc<Delete>],
    breathe: &dyn Fn(),
) -> Result<(), StoreError> {
    match entry.signal {
        Signal::Logs => write_logs(disk, parts, entry, deletes, breathe),
        Signal::Samples => write_samples(disk, parts, entry, deletes, breathe),
    }
}

/// The deletes that take something of the part.
fn concerning<'a>(deletes: &'a [Arc<Delete>], part: &Part) -> Vec<&'a Delete> {
    let deletes = deletes.iter().map(|d| &**d);
    deletes.filter(|d| d.covers(part)).collect()
}

/// Passes what was read; a damaged piece is counted and gives `None`, other failures end the merge.
fn readable<T>(
    file: &PartFile,
    at: u64,
    result: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged { .. }) => {
            file.count_damage(at);
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

// ---- logs ----

/// The blocks of one part from some place on, and the rows of the block that is being read.
struct LogCursor<'a> {
    file: &'a PartFile,
    index: &'a LogIndex,
    deletes: Vec<&'a Delete>,
    next: usize,
    rows: LogBlock,
    row: usize,
}

impl<'a> LogCursor<'a> {
    /// The stream of the next entry.
    fn labels(&self) -> Option<&'a Arc<Labels>> {
        self.block().map(|b| &self.index.streams[b.stream as usize])
    }

    fn block(&self) -> Option<&'a Block> {
        self.index.blocks.get(self.next)
    }

    /// The time of the next entry of the stream, without reading its block.
    fn time(&self, labels: &Labels) -> Option<i64> {
        if self.labels().is_none_or(|l| **l != *labels) {
            return None;
        }
        self.rows
            .times
            .get(self.row)
            .copied()
            .or(self.block().map(|b| b.min_ns))
    }

    /// Adds the entries of the block that are not newer than `until_ns` to the new part.
    fn give(&mut self, part: &mut LogPartWriter, until_ns: i64) -> Result<(), StoreError> {
        let Some(block) = self.block() else {
            return Ok(());
        };
        if self.rows.times.is_empty() {
            let labels = &self.index.streams[block.stream as usize];
            let concerns = |d: &&Delete| d.touches(labels, block.min_ns, block.max_ns);
            if block.max_ns <= until_ns
                && !self.deletes.iter().any(concerns)
                && part.copy(labels, self.file, self.index, block)?
            {
                self.advance();
                return Ok(());
            }
            let read = self.index.read(self.file, block, &mut self.rows);
            if readable(self.file, self.next as u64, read)?.is_none() {
                self.advance();
                return Ok(());
            }
            let labels = &self.index.streams[block.stream as usize];
            let deletes = self.deletes.iter().copied();
            deletes::strike_entries(deletes, labels, &mut self.rows);
            if self.rows.times.is_empty() {
                self.advance();
                return Ok(());
            }
        }
        let rest = &self.rows.times[self.row..];
        // At least one: the caller chose this cursor because its next entry is the oldest.
        let n = rest
            .partition_point(|&t| t <= until_ns)
            .max(1)
            .min(rest.len());
        let labels = &self.index.streams[block.stream as usize];
        part.add(labels, &self.rows, self.row..self.row + n)?;
        self.row += n;
        if self.row >= self.rows.times.len() {
            self.advance();
        }
        Ok(())
    }

    fn advance(&mut self) {
        self.rows.clear();
        self.row = 0;
        self.next += 1;
    }
}

fn write_logs(
    disk: &Disk,
    parts: &[Arc<Part>],
    entry: Entry,
    deletes: &[Arc<Delete>],
    breathe: &dyn Fn(),
) -> Result<(), StoreError> {
    let mut out = LogPartWriter::create(disk, entry, Effort::Merge)?;
    let mut cursors: Vec<LogCursor<'_>> = parts
        .iter()
        .filter_map(|part| match &part.body {
            Body::Logs(index) => Some(LogCursor {
                file: &part.file,
                index,
                deletes: concerning(deletes, part),
                next: 0,
                rows: LogBlock::default(),
                row: 0,
            }),
            Body::Samples(_) => None,
        })
        .collect();
    while let Some(labels) = cursors.iter().filter_map(LogCursor::labels).min().cloned() {
        loop {
            let mut times: Vec<(i64, usize)> = Vec::with_capacity(cursors.len());
            for (at, cursor) in cursors.iter().enumerate() {
                times.extend(cursor.time(&labels).map(|t| (t, at)));
            }
            times.sort_unstable();
            let Some(&(_, oldest)) = times.first() else {
                break;
            };
            let until = times.get(1).map_or(i64::MAX, |(t, _)| *t);
            cursors[oldest].give(&mut out, until)?;
            breathe();
        }
    }
    out.finish().map(drop)
}

// ---- samples ----

struct SampleCursor<'a> {
    file: &'a PartFile,
    index: &'a SampleIndex,
    deletes: Vec<&'a Delete>,
    reader: SampleReader<'a>,
    next_section: usize,
    /// Rows of the section that is being read, last one first.
    rows: Vec<SeriesRow>,
}

impl SampleCursor<'_> {
    fn fill(&mut self) -> Result<(), StoreError> {
        while self.rows.is_empty() {
            let section = self.next_section;
            self.next_section += 1;
            let read = self.index.section_rows(self.file, section);
            match readable(self.file, section as u64, read)? {
                Some(Some(rows)) => {
                    self.rows = rows;
                    self.rows.reverse();
                }
                Some(None) => {
                    self.next_section = section;
                    return Ok(());
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn write_samples(
    disk: &Disk,
    parts: &[Arc<Part>],
    entry: Entry,
    deletes: &[Arc<Delete>],
    breathe: &dyn Fn(),
) -> Result<(), StoreError> {
    let mut out = SamplePartWriter::create(disk, entry, Effort::Merge)?;
    let mut cursors: Vec<SampleCursor<'_>> = parts
        .iter()
        .filter_map(|part| match &part.body {
            Body::Samples(index) => Some(SampleCursor {
                file: &part.file,
                index,
                deletes: concerning(deletes, part),
                reader: SampleReader::new(&part.file, index),
                next_section: 0,
                rows: Vec::new(),
            }),
            Body::Logs(_) => None,
        })
        .collect();
    let (mut all, mut more) = (SampleColumns::default(), SampleColumns::default());
    loop {
        for cursor in &mut cursors {
            cursor.fill()?;
        }
        let least = cursors
            .iter()
            .filter_map(|c| c.rows.last())
            .map(|r| &r.labels)
            .min()
            .cloned();
        let Some(labels) = least else { break };
        all.clear();
        for cursor in &mut cursors {
            let Some(row) = cursor.rows.pop_if(|row| row.labels == labels) else {
                continue;
            };
            more.clear();
            let read = (cursor.reader).read(&row, (i64::MIN, i64::MAX), &mut more);
            if readable(cursor.file, u64::MAX, read)?.is_some() {
                let deletes = &cursor.deletes;
                deletes::strike_samples(deletes, &labels, &mut more);
                all.lay_over(&more);
            }
        }
        if !all.is_empty() {
            out.add(&labels, &all)?;
        }
        breathe();
    }
    out.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART_MAX_BYTES: u64 = 8 << 30;
    const BOUNDS: Bounds = Bounds {
        part_bytes: PART_MAX_BYTES,
        postings_bytes: 1000,
    };

    fn plain(sizes: &[u64]) -> Vec<Size> {
        sizes.iter().map(|len| (*len, 0)).collect()
    }

    #[test]
    fn parts_on_both_sides_of_a_border_stay_apart() {
        let entry = |first, last| Entry {
            number: 1,
            signal: Signal::Logs,
            day: Day::Mixed,
            flushes: (first, last),
        };
        assert_eq!(side(&[10, 20], &entry(1, 9)), 2);
        assert_eq!(side(&[10, 20], &entry(11, 19)), 1);
        assert_eq!(side(&[10, 20], &entry(21, 21)), 0);
        assert_eq!(side(&[], &entry(1, 99)), 0);
    }

    #[test]
    fn runs_double_their_largest_part_at_least() {
        // (sizes, some run is allowed)
        let cases: &[(&[u64], bool)] = &[
            (&[10, 10, 10], false),
            (&[10, 10, 10, 10], true),
            (&[100, 1, 1, 1, 1], true),
            (&[1000, 1, 1, 1], false),
            (&[64, 16, 16, 16, 16], true),
            (&[PART_MAX_BYTES; 4], false),
            (&[], false),
        ];
        for (sizes, allowed) in cases {
            let found = runs(&plain(sizes), BOUNDS, Worth::GROWING);
            assert_eq!(!found.is_empty(), *allowed, "{sizes:?}");
            for run in found {
                let largest = sizes[run.clone()].iter().max().unwrap();
                assert!(sizes[run].iter().sum::<u64>() >= 2 * largest);
            }
        }
    }

    #[test]
    fn a_day_of_flushes_is_rewritten_few_times() {
        let (mut sizes, mut written): (Vec<u64>, u64) = (Vec::new(), 0);
        for flush in 0..1000 {
            sizes.push(10 + flush % 3);
            while let Some(run) = runs(&plain(&sizes), BOUNDS, Worth::GROWING)
                .into_iter()
                .min_by_key(|r| sizes[r.clone()].iter().sum::<u64>() / r.len() as u64)
            {
                let total = sizes[run.clone()].iter().sum();
                written += total;
                sizes.splice(run, [total]);
            }
        }
        assert!(written / 10_000 < 12, "amplification {}", written / 10_000);
        assert!(sizes.len() < 30, "{} parts stay", sizes.len());
    }

    #[test]
    fn a_day_that_is_over_becomes_one_part_and_late_data_does_not_rewrite_it_each_time() {
        for (sizes, worth, expected) in [
            (&[112, 112, 35, 7][..], Worth::QUIET, Some(0..4)),
            (&[100, 1, 1], Worth::QUIET, Some(1..3)),
            (&[100, 2], Worth::QUIET, None),
            (&[100, 25], Worth::QUIET, Some(0..2)),
            (&[100, 2], Worth::ANY, Some(0..2)),
            (&[100], Worth::ANY, None),
            (&[PART_MAX_BYTES, 2], Worth::ANY, None),
        ] {
            let found: Vec<_> = expected.into_iter().collect();
            assert_eq!(
                runs(&plain(sizes), BOUNDS, worth),
                found,
                "{sizes:?} {worth:?}"
            );
        }
        assert_eq!(runs(&plain(&[1; 20]), BOUNDS, Worth::ANY).len(), 5);
        // Four parts of many series each are more than memory holds; three are not.
        let many = runs(&[(1, 300); 5], BOUNDS, Worth::ANY);
        assert_eq!(many, [0..3, 1..4, 2..5]);
        assert!(runs(&[(1, 300); 5], BOUNDS, Worth::GROWING).is_empty());
        let (mut sizes, mut written): (Vec<u64>, u64) = (vec![10_000], 0);
        for late in 0..1000 {
            sizes.push(1 + late % 3);
            while let Some(run) = runs(&plain(&sizes), BOUNDS, Worth::QUIET).first() {
                let total = sizes[run.clone()].iter().sum();
                written += total;
                sizes.splice(run.clone(), [total]);
            }
        }
        assert!(written < 2 * 12_000, "{written} bytes written");
    }
}
