//! What takes the room: parts, and entries, samples and bytes by stream, metric and label.
//!
//! It reads directories and indexes of parts, not their data; what is only in the WAL is counted as
//! bytes. Bytes of one stream or metric are its share of the part by text and by samples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kansoku_model::Labels;

use crate::check::read_manifest;
use crate::fs::Disk;
use crate::intern::Interner;
use crate::manifest::Day;
use crate::memory::Memory;
use crate::part::samples::SampleIndex;
use crate::part::{Body, Part, Shared};
use crate::{DeleteKind, StoreError, wal};

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    pub name: String,
    pub kind: DeleteKind,
    /// Days since 1970-01-01; none for a part of several.
    pub day: Option<i64>,
    pub flushes: (u64, u64),
    /// Logs: Unix nanoseconds, samples: Unix milliseconds.
    pub oldest: i64,
    pub newest: i64,
    /// Entries or samples.
    pub rows: u64,
    /// Streams or series.
    pub series: u64,
    pub bytes: u64,
}

/// What one stream, metric or label has.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share {
    /// Entries or samples.
    pub rows: u64,
    /// Uncompressed text; 0 for samples.
    pub raw_bytes: u64,
    /// Its share of the files.
    pub bytes: f64,
    /// Streams or series, at most so many at a time.
    pub series: u64,
}

/// What takes the room.
#[derive(Debug, Clone, Default)]
pub struct Inspected {
    pub parts: Vec<PartInfo>,
    pub wal_bytes: u64,
    pub streams: BTreeMap<String, Share>,
    pub metrics: BTreeMap<String, Share>,
    /// By name: distinct values, of samples and of logs.
    pub labels: BTreeMap<String, (u64, u64)>,
    /// Parts that could not be read.
    pub unreadable: Vec<String>,
}

/// Looks at the store in `path`, which may be open elsewhere.
///
/// # Errors
/// When there is no manifest to go by.
pub fn inspect(path: &Path) -> Result<Inspected, StoreError> {
    let disk = Disk::new(path);
    let manifest = read_manifest(&disk)?;
    let shared = Arc::new(Shared {
        disk: disk.clone(),
        memory: Arc::new(Memory::new(0)),
        store: 0,
        damaged_blocks: 0.into(),
    });
    let interner = Interner::default();
    let mut found = Inspected::default();
    let mut values: [BTreeMap<String, BTreeSet<String>>; 2] = Default::default();
    for entry in &manifest.parts {
        let part = match Part::open(&shared, *entry, &interner) {
            Ok(part) => part,
            Err(e) => {
                found.unreadable.push(e.to_string());
                continue;
            }
        };
        let (totals, bytes) = (part.totals(), part.file.len());
        let series = match &part.body {
            Body::Logs(index) => index.streams.len() as u64,
            Body::Samples(_) => totals.extra,
        };
        found.parts.push(PartInfo {
            name: entry.file_name(),
            kind: kind_of(&part),
            day: match entry.day {
                Day::One(day) => Some(day),
                Day::Mixed => None,
            },
            flushes: entry.flushes,
            oldest: totals.min_time,
            newest: totals.max_time,
            rows: totals.n_rows,
            series,
            bytes,
        });
        let walked = match &part.body {
            Body::Logs(_) => {
                add_streams(&part, &mut found.streams, &mut values[1]);
                Ok(())
            }
            Body::Samples(index) => add_metrics(&part, index, &mut found.metrics, &mut values[0]),
        };
        if let Err(e) = walked {
            found.unreadable.push(e.to_string());
        }
    }
    for (at, by_name) in values.into_iter().enumerate() {
        for (name, values) in by_name {
            let counts = found.labels.entry(name).or_default();
            let count = if at == 0 {
                &mut counts.0
            } else {
                &mut counts.1
            };
            *count = values.len() as u64;
        }
    }
    for name in disk.list(wal::FOLDER)? {
        if wal::segment_number(&name).is_some_and(|n| n >= manifest.wal_from) {
            found.wal_bytes += disk.open(&format!("{}/{name}", wal::FOLDER))?.len();
        }
    }
    Ok(found)
}

fn kind_of(part: &Part) -> DeleteKind {
    match part.body {
        Body::Logs(_) => DeleteKind::Logs,
        Body::Samples(_) => DeleteKind::Samples,
    }
}

fn note_values(labels: &Labels, values: &mut BTreeMap<String, BTreeSet<String>>) {
    for (name, value) in labels {
        let known = values.entry(name.to_owned()).or_default();
        if !known.contains(value) {
            known.insert(value.to_owned());
        }
    }
}

fn add_streams(
    part: &Part,
    streams: &mut BTreeMap<String, Share>,
    values: &mut BTreeMap<String, BTreeSet<String>>,
) {
    let Body::Logs(index) = &part.body else {
        return;
    };
    let whole = part.totals().extra.max(1) as f64;
    for labels in &index.streams {
        note_values(labels, values);
        streams.entry(labels.to_string()).or_default().series = 1;
    }
    for block in &index.blocks {
        let labels = index.streams[block.stream as usize].to_string();
        let share = streams.entry(labels).or_default();
        share.rows += u64::from(block.n_rows);
        share.raw_bytes += block.raw_bytes;
        share.bytes += part.file.len() as f64 * block.raw_bytes as f64 / whole;
    }
}

fn add_metrics(
    part: &Part,
    index: &SampleIndex,
    metrics: &mut BTreeMap<String, Share>,
    values: &mut BTreeMap<String, BTreeSet<String>>,
) -> Result<(), StoreError> {
    let whole = part.totals().n_rows.max(1) as f64;
    let mut series: BTreeMap<String, u64> = BTreeMap::new();
    let mut section = 0;
    while let Some(rows) = index.section_rows(&part.file, section)? {
        section += 1;
        for row in rows {
            note_values(&row.labels, values);
            let name = row.labels.metric_name();
            let share = metrics.entry(name.to_owned()).or_default();
            share.rows += row.n_samples;
            share.bytes += part.file.len() as f64 * row.n_samples as f64 / whole;
            *series.entry(name.to_owned()).or_default() += 1;
        }
    }
    for (name, n) in series {
        let share = metrics.entry(name).or_default();
        share.series = share.series.max(n);
    }
    Ok(())
}
