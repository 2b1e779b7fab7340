//! Samples of a snapshot: runs from parts and heads, laid over each other series by series.
//!
//! What is found first is only where the runs of each series lie; they are decoded when somebody reads the
//! series. The rule: samples that come after the series were found are not seen, so that all series of
//! a query are of one moment.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kansoku_model::select::{ReadCost, SelectError, SeriesData, SeriesReader, SeriesSet};
use kansoku_model::{FloatRun, Labels, Matcher, SeriesSource};

use super::Snapshot;
use crate::deletes::{self, Delete};
use crate::head::{Head, LOCK};
use crate::part::samples::{RowPlace, SampleIndex};
use crate::part::{Body, Part, PartFile, SampleReader, TimesRun};
use crate::samples::SampleColumns;
use crate::{DeleteKind, StoreError};

impl SeriesSource for Snapshot {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let found = self.find_series(matchers, (from_ms, to_ms));
        let mut reader = Reader::new(&found);
        let (mut all, mut n_samples) = (Vec::new(), 0);
        for (at, series) in found.series.iter().enumerate() {
            let mut samples = SampleColumns::default();
            reader.read_into(at, &mut samples);
            if samples.is_empty() {
                continue;
            }
            n_samples += samples.weight();
            if n_samples > max_samples {
                return Err(SelectError::Limit(format!(
                    "the query needs more than {max_samples} samples; select fewer series or a shorter time"
                )));
            }
            all.push(SeriesData {
                labels: series.labels.clone(),
                times: samples.times,
                values: samples.values,
                histograms: samples.histograms,
                starts: samples.starts,
            });
        }
        Ok(all)
    }

    fn find<'a>(
        &'a self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        _max_samples: usize,
    ) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        Ok(Box::new(self.find_series(matchers, (from_ms, to_ms))))
    }
}

/// Series of a snapshot and where their samples lie.
struct Found<'a> {
    snapshot: &'a Snapshot,
    range: (i64, i64),
    parts: Vec<FoundPart<'a>>,
    heads: Vec<&'a Head>,
    deletes_of_heads: Vec<&'a Delete>,
    /// In order of their labels.
    series: Vec<OneSeries>,
    /// Of all series, those of one in order of age.
    places: Vec<Place>,
    /// About how many there are.
    n_samples: u64,
    /// What readers have decoded and read; added when one is dropped.
    n_blocks: AtomicU64,
    n_bytes: AtomicU64,
}

struct FoundPart<'a> {
    file: &'a PartFile,
    index: &'a SampleIndex,
    deletes: Vec<&'a Delete>,
}

struct OneSeries {
    labels: Labels,
    places: Range<u32>,
}

/// A run of samples.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Which of the parts, and where in it.
    Part(u32, RowPlace),
    /// Which of the heads, which of its series, and how much of that was there.
    Head { head: u32, id: u32, n_bytes: u32 },
}

impl Snapshot {
    fn find_series(&self, matchers: &[Matcher], range: (i64, i64)) -> Found<'_> {
        let matchers = &*self.scoped(matchers);
        let mut found = Found {
            snapshot: self,
            range,
            parts: Vec::new(),
            heads: self.heads().collect(),
            deletes_of_heads: self.deletes_of_heads(DeleteKind::Samples),
            series: Vec::new(),
            places: Vec::new(),
            n_samples: 0,
            n_blocks: AtomicU64::new(0),
            n_bytes: AtomicU64::new(0),
        };
        // Oldest first: a later run overrides an earlier one.
        let mut all: Vec<(Labels, Place)> = Vec::new();
        for part in &self.view.parts {
            if let Body::Samples(index) = &part.body
                && part.totals().min_time <= range.1
                && part.totals().max_time >= range.0
            {
                found.find_in_part(part, index, matchers, &mut all);
            }
        }
        for at in 0..found.heads.len() {
            found.find_in_head(at, matchers, &mut all);
        }
        // Parts are in this order already, so that there is little to sort; equal ones stay in order of age.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        found.series.reserve(all.len());
        found.places.reserve(all.len());
        for (labels, place) in all {
            let at = found.places.len() as u32;
            found.places.push(place);
            match found.series.last_mut() {
                Some(last) if last.labels == labels => last.places.end = at + 1,
                _ => found.series.push(OneSeries {
                    labels,
                    places: at..at + 1,
                }),
            }
        }
        found
    }

    fn note_damage(&self, file: &PartFile, error: &StoreError) {
        file.count_damage(u64::MAX);
        self.notes.note(error);
    }
}

/// What a share of `n` is when only the part of `bounds` within `range` counts.
fn share(n: u64, bounds: (i64, i64), range: (i64, i64)) -> u64 {
    let span = |from: i64, to: i64| to.saturating_sub(from).max(1) as f64;
    let within = span(bounds.0.max(range.0), bounds.1.min(range.1));
    (n as f64 * (within / span(bounds.0, bounds.1)).min(1.0)) as u64
}

/// About what a sample takes in a head.
const HEAD_SAMPLE_BYTES: u64 = 3;

impl<'a> Found<'a> {
    fn find_in_part(
        &mut self,
        part: &'a Part,
        index: &'a SampleIndex,
        matchers: &[Matcher],
        all: &mut Vec<(Labels, Place)>,
    ) {
        let (at, (from_ms, to_ms)) = (self.parts.len() as u32, self.range);
        let n_samples = &mut self.n_samples;
        let result = index.select_series(&part.file, matchers, from_ms, to_ms, &mut |row| {
            *n_samples += share(row.n_samples, (row.min_ms, row.max_ms), (from_ms, to_ms));
            let place = Place::Part(at, row.place());
            all.push((row.labels, place));
            Ok(())
        });
        if let Err(error) = result {
            self.snapshot.note_damage(&part.file, &error);
        }
        self.parts.push(FoundPart {
            file: &part.file,
            index,
            deletes: self.snapshot.deletes_of(part),
        });
    }

    fn find_in_head(&mut self, at: usize, matchers: &[Matcher], all: &mut Vec<(Labels, Place)>) {
        let (from_ms, to_ms) = self.range;
        let head = self.heads[at].series.read().expect(LOCK);
        for (id, one) in head.matching(matchers) {
            let (min_ms, max_ms) = one.bounds();
            if min_ms > to_ms || max_ms < from_ms {
                continue;
            }
            let n_bytes = one.n_bytes();
            self.n_samples += share(
                u64::from(n_bytes) / HEAD_SAMPLE_BYTES,
                (min_ms, max_ms),
                self.range,
            );
            let head = at as u32;
            let place = Place::Head { head, id, n_bytes };
            all.push((Labels::clone(&one.labels), place));
        }
    }
}

impl SeriesSet for Found<'_> {
    fn n_series(&self) -> usize {
        self.series.len()
    }

    fn n_samples(&self) -> u64 {
        self.n_samples
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.series[at].labels
    }

    fn cost(&self) -> ReadCost {
        ReadCost {
            n_parts: self.parts.len() as u64,
            n_heads: self.heads.len() as u64,
            n_blocks: self.n_blocks.load(Ordering::Relaxed),
            n_bytes: self.n_bytes.load(Ordering::Relaxed),
        }
    }

    fn reader(&self) -> Box<dyn SeriesReader + '_> {
        Box::new(Reader::new(self))
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        for part in self.parts.iter().flatten() {
            let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
            add(&self.found.n_blocks, part.n_blocks);
            add(&self.found.n_bytes, part.n_bytes);
        }
    }
}

/// Of lists of times that series share so many are kept, and so many times in all of them: about 8 MiB.
const SHARED_LISTS: usize = 64;
const SHARED_TIMES: usize = 1 << 20;

/// Times of one series, and where they came from.
struct SharedTimes {
    /// Part and rows, of each of its runs in parts.
    runs: Vec<(u32, TimesRun)>,
    /// Behind those of the runs stand as many that heads had.
    n_of_heads: usize,
    times: Arc<Vec<i64>>,
}

/// The newest lists of times, so that series of one scrape share theirs.
#[derive(Default)]
struct TimesKept {
    lists: VecDeque<SharedTimes>,
    n_times: usize,
}

impl TimesKept {
    /// The list of the times of `runs` and of those of heads behind them.
    fn find(&self, runs: &[(u32, TimesRun)], of_heads: &[i64]) -> Option<Arc<Vec<i64>>> {
        let is_it = |known: &&SharedTimes| {
            known.n_of_heads == of_heads.len()
                && known.runs == runs
                && known.times.ends_with(of_heads)
        };
        let known = self.lists.iter().rev().find(is_it)?;
        Some(Arc::clone(&known.times))
    }

    fn keep(
        &mut self,
        runs: Vec<(u32, TimesRun)>,
        n_of_heads: usize,
        times: Vec<i64>,
    ) -> Arc<Vec<i64>> {
        let times = Arc::new(times);
        self.n_times += times.len();
        self.lists.push_back(SharedTimes {
            runs,
            n_of_heads,
            times: Arc::clone(&times),
        });
        while self.lists.len() > SHARED_LISTS || self.n_times > SHARED_TIMES {
            let Some(oldest) = self.lists.pop_front() else {
                break;
            };
            self.n_times -= oldest.times.len();
        }
        times
    }
}

/// Reads the series one after the other; what parts share among series is decoded once.
struct Reader<'f> {
    found: &'f Found<'f>,
    /// One per part, made when it is needed.
    parts: Vec<Option<SampleReader<'f>>>,
    /// The run that is laid over those before it.
    run: SampleColumns,
    samples: SampleColumns,
    kept: TimesKept,
    /// Those of the series that is read.
    runs: Vec<(u32, TimesRun)>,
    part_runs: Vec<TimesRun>,
}

impl<'f> Reader<'f> {
    fn new(found: &'f Found<'f>) -> Self {
        Self {
            found,
            parts: found.parts.iter().map(|_| None).collect(),
            run: SampleColumns::default(),
            samples: SampleColumns::default(),
            kept: TimesKept::default(),
            runs: Vec::new(),
            part_runs: Vec::new(),
        }
    }

    fn part(&mut self, at: u32) -> &mut SampleReader<'f> {
        let part = &self.found.parts[at as usize];
        self.parts[at as usize].get_or_insert_with(|| SampleReader::new(part.file, part.index))
    }

    /// See [`SeriesReader::read_floats`]. An error means no more than false: `read_into` notes it.
    fn floats_into(&mut self, at: usize, out: &mut FloatRun) -> Result<bool, StoreError> {
        let found = self.found;
        let places = &found.series[at].places;
        let places = &found.places[places.start as usize..places.end as usize];
        out.values.clear();
        self.runs.clear();
        let mut newest = None;
        let mut from_heads = std::mem::take(&mut self.run);
        from_heads.clear();
        let mut is_plain = true;
        for place in places {
            is_plain = match *place {
                Place::Part(at, place) => {
                    // Parts are older than heads, and what is deleted is left out elsewhere.
                    let is_next = from_heads.is_empty();
                    is_next
                        && found.parts[at as usize].deletes.is_empty()
                        && self.part_floats(at, place, &mut newest, out)?
                }
                Place::Head { head, id, n_bytes } => {
                    let head = found.heads[head as usize].series.read().expect(LOCK);
                    let before = from_heads.len();
                    let one = &head.series[id as usize];
                    one.read_range(found.range, n_bytes, &mut from_heads);
                    let times = &from_heads.times[before..];
                    let is_next = times.first() > newest.as_ref() || times.is_empty();
                    newest = times.last().copied().or(newest);
                    let is_plain = from_heads.histograms.is_empty() && from_heads.starts.is_empty();
                    is_plain && is_next && found.deletes_of_heads.is_empty()
                }
            };
            if !is_plain {
                break;
            }
        }
        if is_plain {
            out.values.extend_from_floats(&from_heads.values);
            out.times = self.times_of_runs(&from_heads.times)?;
        }
        self.run = from_heads;
        Ok(is_plain)
    }

    fn part_floats(
        &mut self,
        at: u32,
        place: RowPlace,
        newest: &mut Option<i64>,
        out: &mut FloatRun,
    ) -> Result<bool, StoreError> {
        let range = self.found.range;
        let mut runs = std::mem::take(&mut self.part_runs);
        runs.clear();
        let reader = self.part(at);
        let is_plain = reader.read_floats_at(place, range, &mut out.values, &mut runs);
        let is_next = runs
            .first()
            .is_none_or(|first| Some(first.ends.0) > *newest);
        *newest = runs.last().map(|last| last.ends.1).or(*newest);
        self.runs.extend(runs.iter().map(|run| (at, *run)));
        self.part_runs = runs;
        Ok(is_plain? && is_next)
    }

    /// The times of `runs` and of what heads have behind them.
    fn times_of_runs(&mut self, of_heads: &[i64]) -> Result<Arc<Vec<i64>>, StoreError> {
        if of_heads.is_empty() && self.runs.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(known) = self.kept.find(&self.runs, of_heads) {
            return Ok(known);
        }
        let runs = std::mem::take(&mut self.runs);
        let mut times = Vec::new();
        for (part, run) in &runs {
            self.part(*part).append_times(run, &mut times)?;
        }
        times.extend_from_slice(of_heads);
        Ok(self.kept.keep(runs, of_heads.len(), times))
    }

    fn read_into(&mut self, at: usize, samples: &mut SampleColumns) {
        let one = &self.found.series[at];
        let places = one.places.start as usize..one.places.end as usize;
        samples.clear();
        for place in &self.found.places[places] {
            if samples.is_empty() {
                self.read_run(*place, &one.labels, samples);
            } else {
                let mut run = std::mem::take(&mut self.run);
                run.clear();
                self.read_run(*place, &one.labels, &mut run);
                samples.lay_over(&run);
                self.run = run;
            }
        }
    }

    fn read_run(&mut self, place: Place, labels: &Labels, samples: &mut SampleColumns) {
        let found = self.found;
        match place {
            Place::Part(at, place) => {
                let part = &found.parts[at as usize];
                match self.part(at).read_at(place, found.range, samples) {
                    Ok(()) => deletes::strike_samples(&part.deletes, labels, samples),
                    // A damaged page takes only its own series with it.
                    Err(error) => {
                        samples.clear();
                        found.snapshot.note_damage(part.file, &error);
                    }
                }
            }
            Place::Head { head, id, n_bytes } => {
                let head = found.heads[head as usize].series.read().expect(LOCK);
                head.series[id as usize].read_range(found.range, n_bytes, samples);
                deletes::strike_samples(&found.deletes_of_heads, labels, samples);
            }
        }
    }
}

impl SeriesReader for Reader<'_> {
    fn read(&mut self, at: usize, out: &mut SeriesData) -> Result<(), SelectError> {
        let mut samples = std::mem::take(&mut self.samples);
        self.read_into(at, &mut samples);
        std::mem::swap(&mut out.times, &mut samples.times);
        std::mem::swap(&mut out.values, &mut samples.values);
        std::mem::swap(&mut out.histograms, &mut samples.histograms);
        std::mem::swap(&mut out.starts, &mut samples.starts);
        self.samples = samples;
        Ok(())
    }

    fn read_floats(&mut self, at: usize, out: &mut FloatRun) -> Result<bool, SelectError> {
        Ok(self.floats_into(at, out).unwrap_or(false))
    }
}
