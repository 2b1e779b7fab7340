//! Samples of a snapshot: runs from parts and heads, laid over each other series by series.
//!
//! What is found first is only where the runs of each series lie; they are decoded when somebody reads the
//! series. The rule: samples that come after the series were found are not seen, so that all series of
//! a query are of one moment.

use std::ops::Range;

use kansoku_model::select::{SelectError, SeriesData, SeriesReader, SeriesSet};
use kansoku_model::{Labels, Matcher, SeriesSource};

use super::Snapshot;
use crate::deletes::{self, Delete};
use crate::head::{Head, LOCK};
use crate::part::samples::{RowPlace, SampleIndex};
use crate::part::{Body, Part, PartFile, SampleReader};
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
        let mut found = Found {
            snapshot: self,
            range,
            parts: Vec::new(),
            heads: self.heads().collect(),
            deletes_of_heads: self.deletes_of_heads(DeleteKind::Samples),
            series: Vec::new(),
            places: Vec::new(),
            n_samples: 0,
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

    fn reader(&self) -> Box<dyn SeriesReader + '_> {
        Box::new(Reader::new(self))
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
}

impl<'f> Reader<'f> {
    fn new(found: &'f Found<'f>) -> Self {
        Self {
            found,
            parts: found.parts.iter().map(|_| None).collect(),
            run: SampleColumns::default(),
            samples: SampleColumns::default(),
        }
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
                let reader = self.parts[at as usize]
                    .get_or_insert_with(|| SampleReader::new(part.file, part.index));
                match reader.read_at(place, found.range, samples) {
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
}
