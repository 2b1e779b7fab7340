//! Samples of a snapshot: runs from parts and heads, laid over each other series by series.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kansoku_model::select::{SelectError, SeriesData};
use kansoku_model::{Labels, Matcher, SeriesSource};

use super::Snapshot;
use crate::deletes;
use crate::head::LOCK;
use crate::part::samples::SampleIndex;
use crate::part::{Body, Part, PartFile, SampleReader};
use crate::samples::SampleColumns;
use crate::{DeleteKind, StoreError};

/// The series found so far.
struct Found {
    by_labels: HashMap<Labels, usize>,
    series: Vec<(Labels, SampleColumns)>,
    n_samples: usize,
    max_samples: usize,
}

impl Found {
    /// Adds a newer run of a series.
    fn add(&mut self, labels: &Labels, samples: &SampleColumns) -> Result<(), SelectError> {
        if samples.is_empty() {
            return Ok(());
        }
        let at = match self.by_labels.get(labels) {
            Some(at) => *at,
            None => {
                let Entry::Vacant(free) = self.by_labels.entry(labels.clone()) else {
                    unreachable!("looked up just now")
                };
                let new = (labels.clone(), SampleColumns::default());
                self.series.push(new);
                *free.insert(self.series.len() - 1)
            }
        };
        let one = &mut self.series[at].1;
        let before = one.len();
        one.lay_over(samples);
        let of_histograms = samples.weight() - samples.len();
        self.n_samples += one.len() - before + of_histograms;
        if self.n_samples > self.max_samples {
            return Err(SelectError::Limit(format!(
                "the query needs more than {} samples; select fewer series or a shorter time",
                self.max_samples
            )));
        }
        Ok(())
    }
}

impl SeriesSource for Snapshot {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let mut found = Found {
            by_labels: HashMap::new(),
            series: Vec::new(),
            n_samples: 0,
            max_samples,
        };
        // Oldest first: a later run overrides an earlier one.
        for part in &self.view.parts {
            let Body::Samples(index) = &part.body else {
                continue;
            };
            if part.totals().min_time <= to_ms && part.totals().max_time >= from_ms {
                self.select_in_part(part, index, matchers, (from_ms, to_ms), &mut found)?;
            }
        }
        let deletes = self.deletes_of_heads(DeleteKind::Samples);
        for head in self.heads() {
            let head = head.series.read().expect(LOCK);
            for one in head.matching(matchers) {
                let mut samples = one.copy_range(from_ms, to_ms);
                deletes::strike_samples(&deletes, &one.labels, &mut samples);
                found.add(&one.labels, &samples)?;
            }
        }
        let given = found
            .series
            .into_iter()
            .map(|(labels, samples)| SeriesData {
                labels,
                times: samples.times,
                values: samples.values,
                histograms: samples.histograms,
                starts: samples.starts,
            });
        Ok(given.collect())
    }
}

impl Snapshot {
    fn select_in_part(
        &self,
        part: &Part,
        index: &SampleIndex,
        matchers: &[Matcher],
        range: (i64, i64),
        found: &mut Found,
    ) -> Result<(), SelectError> {
        let (file, deletes) = (&part.file, self.deletes_of(part));
        let mut reader = SampleReader::new(file, index);
        let mut samples = SampleColumns::default();
        let mut refused = None;
        let result = index.select_series(file, matchers, range.0, range.1, &mut |row| {
            if refused.is_some() {
                return Ok(());
            }
            samples.clear();
            match reader.read(&row, range, &mut samples) {
                Ok(()) => {
                    deletes::strike_samples(&deletes, &row.labels, &mut samples);
                    refused = found.add(&row.labels, &samples).err();
                }
                // A damaged page takes only its own series with it.
                Err(error) => self.note_damage(file, &error),
            }
            Ok(())
        });
        if let Err(error) = result {
            self.note_damage(file, &error);
        }
        refused.map_or(Ok(()), Err)
    }

    fn note_damage(&self, file: &PartFile, error: &StoreError) {
        file.count_damage(u64::MAX);
        self.notes.note(error);
    }
}
