//! Checking a store that nobody has open: every checksum, every promise of the format, and the WAL.
//!
//! It reads everything and changes nothing. The rule: what is wrong is said with its file and goes on
//! to the next, so that one look shows all the damage there is.

use std::path::Path;
use std::sync::Arc;

use kansoku_model::select::LogBlock;

use crate::deletes;
use crate::fs::Disk;
use crate::intern::Interner;
use crate::manifest::{self, Manifest};
use crate::memory::Memory;
use crate::part::{Body, Part, SampleReader, Shared};
use crate::records::Replayed;
use crate::references::SeriesTable;
use crate::rows;
use crate::samples::SampleColumns;
use crate::state::{self, State};
use crate::wal::{self, Entry};
use crate::{Damage, ParseSelector, StoreError};

/// Series that definitions in the WAL may have, as memory.
const SERIES_MAX_BYTES: usize = 1 << 30;
/// A WAL segment is never longer than one group of appends past its limit.
const SEGMENT_MAX_BYTES: u64 = 8 << 30;

/// What was read, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    pub parts: u64,
    pub part_bytes: u64,
    /// Log entries in parts.
    pub entries: u64,
    /// Samples in parts.
    pub samples: u64,
    pub wal_segments: u64,
    pub wal_entries: u64,
    /// Bytes behind the last whole entry of a segment: an append that was never acknowledged.
    pub torn_bytes: u64,
    pub deletes: u64,
    /// Empty when all is well.
    pub damaged: Vec<Damage>,
}

/// Reads all of the store in `path`.
///
/// # Errors
/// `Locked` when a process has the store open; `Damaged` when there is no manifest to go by.
pub fn check(path: &Path, parse: ParseSelector) -> Result<Checked, StoreError> {
    let disk = Disk::new(path);
    let manifest = read_manifest(&disk)?;
    let _lock = disk.lock("LOCK")?;
    let mut checked = Checked::default();
    let mut check = Check {
        disk: &disk,
        checked: &mut checked,
    };
    check.tables(&manifest, parse);
    check.order(&manifest);
    check.parts(&manifest);
    check.wal(&manifest)?;
    Ok(checked)
}

/// The manifest of a folder that must be a store.
pub fn read_manifest(disk: &Disk) -> Result<Manifest, StoreError> {
    let damaged = |what: &str| StoreError::damaged(&disk.path(manifest::NAME), what);
    match disk.read(manifest::NAME, manifest::FILE_MAX_BYTES)? {
        Some(bytes) => Manifest::decode(&bytes).ok_or_else(|| damaged("the manifest is damaged")),
        None => Err(damaged("missing: the folder is no store")),
    }
}

struct Check<'a> {
    disk: &'a Disk,
    checked: &'a mut Checked,
}

impl Check<'_> {
    fn damage(&mut self, name: &str, what: impl Into<String>) {
        self.checked.damaged.push(Damage {
            path: self.disk.path(name),
            offset_bytes: 0,
            len_bytes: 0,
            what: what.into(),
        });
    }

    /// State file and deletes.
    fn tables(&mut self, manifest: &Manifest, parse: ParseSelector) {
        if manifest.state != 0 {
            let name = manifest::state_name(manifest.state);
            match self.disk.read(&name, state::FILE_MAX_BYTES) {
                Ok(None) => self.damage(&name, "missing"),
                Ok(Some(bytes)) => {
                    if let Err(e) = State::decode(&bytes) {
                        self.damage(&name, e.0);
                    }
                }
                Err(e) => self.damage(&name, e.to_string()),
            }
        }
        if manifest.deletes != 0 {
            let name = manifest::deletes_name(manifest.deletes);
            match self.disk.read(&name, deletes::FILE_MAX_BYTES) {
                Ok(None) => self.damage(&name, "missing"),
                Ok(Some(bytes)) => match deletes::decode(&bytes, parse) {
                    Ok(all) => self.checked.deletes = all.len() as u64,
                    Err(e) => self.damage(&name, e),
                },
                Err(e) => self.damage(&name, e.to_string()),
            }
        }
    }

    /// Numbers: each once, below the next one, and no flush in two parts of one signal and day.
    fn order(&mut self, manifest: &Manifest) {
        let mut parts: Vec<_> = manifest.parts.iter().collect();
        parts.sort_by_key(|p| (p.signal, p.day, p.flushes));
        for pair in parts.windows(2) {
            let [a, b] = pair else { continue };
            if (a.signal, a.day) == (b.signal, b.day) && b.flushes.0 <= a.flushes.1 {
                let what = format!("{} holds the same flush", a.file_name());
                self.damage(&b.file_name(), what);
            }
        }
        parts.sort_by_key(|p| p.number);
        for pair in parts.windows(2) {
            if pair[0].number == pair[1].number {
                self.damage(&pair[1].file_name(), "two parts have this number");
            }
        }
        for part in parts {
            let (first, last) = part.flushes;
            if first > last || last >= manifest.next || part.number >= manifest.next {
                self.damage(&part.file_name(), "numbers are out of order");
            }
        }
    }

    fn parts(&mut self, manifest: &Manifest) {
        let shared = Arc::new(Shared {
            disk: self.disk.clone(),
            memory: Arc::new(Memory::new(0)),
            store: 0,
            damaged_blocks: 0.into(),
        });
        let interner = Interner::default();
        for entry in &manifest.parts {
            let name = entry.file_name();
            let part = match Part::open(&shared, *entry, &interner) {
                Ok(part) => part,
                Err(e) => {
                    self.damage(&name, text_of(&e));
                    continue;
                }
            };
            self.checked.parts += 1;
            self.checked.part_bytes += part.file.len();
            let wrong = match &part.body {
                Body::Logs(_) => logs(&part),
                Body::Samples(_) => samples(&part),
            };
            match &part.body {
                Body::Logs(_) => self.checked.entries += part.totals().n_rows,
                Body::Samples(_) => self.checked.samples += part.totals().n_rows,
            }
            for what in wrong {
                self.damage(&name, what);
            }
        }
    }

    fn wal(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut numbers: Vec<u64> = self
            .disk
            .list(wal::FOLDER)?
            .iter()
            .filter_map(|name| wal::segment_number(name))
            .filter(|number| *number >= manifest.wal_from)
            .collect();
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            if pair[0] + 1 != pair[1] {
                let name = wal::segment_name(pair[1]);
                self.damage(&name, "the segment before this one is missing");
            }
        }
        let last_written = wal::last_written(self.disk, numbers.iter().copied());
        for number in numbers {
            let name = wal::segment_name(number);
            let Some(bytes) = self.disk.read(&name, SEGMENT_MAX_BYTES)? else {
                continue;
            };
            self.segment(number, last_written == Some(number), &bytes);
        }
        Ok(())
    }

    fn segment(&mut self, number: u64, is_last: bool, bytes: &[u8]) {
        let mut undecodable = 0;
        let mut replayed = Replayed::new(Arc::new(SeriesTable::new(SERIES_MAX_BYTES)));
        wal::read_segment(bytes, is_last, |entry| {
            if let Entry::Definitions(body) = entry {
                undecodable += usize::from(replayed.define(body).is_err());
            }
        });
        let report = wal::read_segment(bytes, is_last, |entry| {
            let is_bad = match entry {
                Entry::Definitions(_) | Entry::Group => false,
                Entry::Frame(frame) => frame.decode().is_err(),
                Entry::Samples(body) => replayed.samples(body).map_or(true, |(_, lost)| lost > 0),
            };
            undecodable += usize::from(is_bad);
        });
        let name = wal::segment_name(number);
        for (offset_bytes, len_bytes, what) in report.damaged {
            self.checked.damaged.push(Damage {
                path: self.disk.path(&name),
                offset_bytes,
                len_bytes,
                what: what.to_owned(),
            });
        }
        if undecodable > 0 {
            self.damage(&name, format!("{undecodable} entries do not decode"));
        }
        self.checked.wal_segments += 1;
        self.checked.wal_entries += report.entries;
        let torn = report.torn_at.map_or(0, |at| bytes.len() as u64 - at);
        self.checked.torn_bytes += torn;
    }
}

/// The error without the path, which stands beside it.
fn text_of(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { what, .. } => what.clone(),
        other => other.to_string(),
    }
}

/// What is wrong with a log part.
fn logs(part: &Part) -> Vec<String> {
    let Body::Logs(index) = &part.body else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    if !index.streams.windows(2).all(|w| w[0] < w[1]) {
        wrong.push("streams are not in order of their labels".to_owned());
    }
    let (mut n_rows, mut raw_bytes) = (0, 0);
    let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
    let mut rows = LogBlock::default();
    for (at, block) in index.blocks.iter().enumerate() {
        if let Err(e) = index.read(&part.file, block, &mut rows) {
            wrong.push(format!("block {at}: {}", text_of(&e)));
            continue;
        }
        let ends = (rows.times.first().copied(), rows.times.last().copied());
        if !rows::is_sorted(&rows.times) || ends != (Some(block.min_ns), Some(block.max_ns)) {
            wrong.push(format!("block {at}: times are not those of the directory"));
        }
        if rows.times.len() != block.n_rows as usize || rows::raw_bytes(&rows) != block.raw_bytes {
            wrong.push(format!(
                "block {at}: entries are not those of the directory"
            ));
        }
        let lines = rows.lines.iter().map(|line| rows.bytes(*line));
        match index.denied(&part.file, block, lines) {
            Ok(None) => {}
            Ok(Some(row)) => wrong.push(format!(
                "block {at}: the filter of its page denies its line {row}"
            )),
            Err(e) => wrong.push(format!("block {at}: filter: {}", text_of(&e))),
        }
        n_rows += u64::from(block.n_rows);
        raw_bytes += block.raw_bytes;
        oldest = oldest.min(block.min_ns);
        newest = newest.max(block.max_ns);
    }
    let totals = part.totals();
    let ranges = (totals.min_time, totals.max_time) == (oldest, newest);
    let is_read = wrong.is_empty() && !index.blocks.is_empty();
    if is_read && (!ranges || (n_rows, raw_bytes) != (totals.n_rows, totals.extra)) {
        wrong.push("totals of the footer are not those of the blocks".to_owned());
    }
    wrong
}

/// What is wrong with a sample part.
fn samples(part: &Part) -> Vec<String> {
    let Body::Samples(index) = &part.body else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    let mut reader = SampleReader::new(&part.file, index);
    let mut samples = SampleColumns::default();
    let (mut n_series, mut n_samples, mut last) = (0, 0, None);
    for section in 0.. {
        let rows = match index.section_rows(&part.file, section) {
            Ok(Some(rows)) => rows,
            Ok(None) => break,
            Err(e) => {
                wrong.push(format!("series section {section}: {}", text_of(&e)));
                continue;
            }
        };
        for row in rows {
            n_series += 1;
            samples.clear();
            if let Err(e) = reader.read(&row, (i64::MIN, i64::MAX), &mut samples) {
                wrong.push(format!("{}: {}", row.labels, text_of(&e)));
                continue;
            }
            let times = &samples.times;
            let ends = (times.first().copied(), times.last().copied());
            let is_ordered = times.windows(2).all(|w| w[0] < w[1]);
            if !is_ordered || ends != (Some(row.min_ms), Some(row.max_ms)) {
                wrong.push(format!("{}: times are not those of the index", row.labels));
            }
            if times.len() as u64 != row.n_samples || times.len() != samples.values.len() {
                wrong.push(format!("{}: samples are missing", row.labels));
            }
            n_samples += row.n_samples;
            if last.is_some_and(|last| last >= row.labels) {
                wrong.push(format!("{}: series are not in order", row.labels));
            }
            last = Some(row.labels);
        }
    }
    for name in index.label_names() {
        let mut n_values = 0;
        match index.label_values(&part.file, name, &mut |_| n_values += 1) {
            Err(e) => wrong.push(format!("values of {name}: {}", text_of(&e))),
            Ok(()) if n_values == 0 => wrong.push(format!("values of {name}: there are none")),
            Ok(()) => {}
        }
    }
    let totals = part.totals();
    if wrong.is_empty() && (n_series, n_samples) != (totals.extra, totals.n_rows) {
        wrong.push("totals of the footer are not those of the series".to_owned());
    }
    wrong
}
