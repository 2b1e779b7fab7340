//! Which series and streams there are, and their label names and values.

use std::collections::BTreeSet;
use std::sync::Arc;

use kansoku_model::select::SelectError;
use kansoku_model::{Labels, Matcher};

use super::Snapshot;
use super::logs::Passes;
use crate::deletes::{Delete, DeleteKind};
use crate::head::{Chunk, LOCK};
use crate::part::samples::SampleIndex;
use crate::part::{Body, Part};

/// Label sets that one call may collect: beyond this an answer helps nobody.
const SERIES_MAX: usize = 2_000_000;

/// Takes one label set of a walk; its error ends the walk.
type Each<'a> = dyn FnMut(&Labels) -> Result<(), SelectError> + 'a;

/// What is in memory of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBounds {
    /// Runs of samples, one for each series of a head.
    pub n_runs: u64,
    /// Unix milliseconds; as in Prometheus the largest number without any sample...
    pub oldest_ms: i64,
    /// ...and the least.
    pub newest_ms: i64,
}

/// A part of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleBlock {
    /// Its number, which grows.
    pub number: u64,
    /// Unix milliseconds, both included.
    pub oldest_ms: i64,
    pub newest_ms: i64,
    pub n_samples: u64,
    pub n_series: u64,
    /// How many flushes are merged in it.
    pub n_flushes: u64,
}

impl Snapshot {
    /// The parts of samples, oldest first.
    #[must_use]
    pub fn sample_blocks(&self) -> Vec<SampleBlock> {
        let parts = self.sample_parts(i64::MIN, i64::MAX);
        let mut blocks: Vec<SampleBlock> = parts
            .map(|(part, _)| SampleBlock {
                number: part.entry().number,
                oldest_ms: part.totals().min_time,
                newest_ms: part.totals().max_time,
                n_samples: part.totals().n_rows,
                n_series: part.totals().extra,
                n_flushes: part.entry().flushes.1 - part.entry().flushes.0 + 1,
            })
            .collect();
        blocks.sort_by_key(|b| (b.oldest_ms, b.number));
        blocks
    }

    /// The bounds of the samples that are not written out yet.
    #[must_use]
    pub fn head_bounds(&self) -> HeadBounds {
        let mut bounds = HeadBounds {
            n_runs: 0,
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
        };
        for head in self.heads() {
            let head = head.series.read().expect(LOCK);
            bounds.n_runs += head.series.len() as u64;
            for one in &head.series {
                let (oldest, newest) = one.bounds();
                bounds.oldest_ms = bounds.oldest_ms.min(oldest);
                bounds.newest_ms = bounds.newest_ms.max(newest);
            }
        }
        bounds
    }

    /// Labels of the series with samples in `from_ms..=to_ms` that pass one of the matcher lists
    /// (no list: all). Sorted. Parts answer by the oldest and newest sample of a series.
    ///
    /// # Errors
    /// `Limit` when there are too many to list.
    pub fn metric_series(
        &self,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Labels>, SelectError> {
        let found = label_sets(|each| self.each_metric_series(any_of, from_ms, to_ms, each))?;
        Ok(found.into_iter().collect())
    }

    /// Label names of those series. Sorted. Without matchers whole parts answer, so a name may be
    /// up to a day outside the range.
    ///
    /// # Errors
    /// `Limit` when there are too many to list.
    pub fn metric_label_names(
        &self,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<String>, SelectError> {
        if !any_of.is_empty() || !self.scope.is_empty() {
            let found = label_names(|each| self.each_metric_series(any_of, from_ms, to_ms, each))?;
            return Ok(found.into_iter().collect());
        }
        let all = [Vec::new()];
        let mut found = label_names(|each| self.each_series_of_heads(&all, from_ms, to_ms, each))?;
        for (_, index) in self.sample_parts(from_ms, to_ms) {
            found.extend(index.label_names().map(str::to_owned));
        }
        Ok(found.into_iter().collect())
    }

    /// Values of the label `name` in those series. Sorted. Without matchers whole parts answer, so
    /// a value may be up to a day outside the range.
    ///
    /// # Errors
    /// `Limit` when there are too many to list.
    pub fn metric_label_values(
        &self,
        name: &str,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<String>, SelectError> {
        if !any_of.is_empty() || !self.scope.is_empty() {
            let found = label_values(name, |each| {
                self.each_metric_series(any_of, from_ms, to_ms, each)
            })?;
            return Ok(found.into_iter().collect());
        }
        let all = [Vec::new()];
        let mut found = label_values(name, |each| {
            self.each_series_of_heads(&all, from_ms, to_ms, each)
        })?;
        for (part, index) in self.sample_parts(from_ms, to_ms) {
            let walked = index.label_values(&part.file, name, &mut |value| {
                if !found.contains(value) {
                    found.insert(value.to_owned());
                }
            });
            if let Err(error) = walked {
                self.notes.note(&error);
            }
            limit(found.len())?;
        }
        Ok(found.into_iter().collect())
    }

    /// Labels of the streams with entries in `from_ns..to_ns` that pass one of the matcher lists
    /// (no list: all). Sorted. Answered by the oldest and newest entry of each block.
    ///
    /// # Errors
    /// `Limit` when there are too many to list.
    pub fn log_series(
        &self,
        any_of: &[Vec<Matcher>],
        from_ns: i64,
        to_ns: i64,
    ) -> Result<Vec<Labels>, SelectError> {
        let found = label_sets(|each| self.each_stream(any_of, from_ns, to_ns, each))?;
        Ok(found.into_iter().collect())
    }

    /// Label names of those streams. Sorted.
    ///
    /// # Errors
    /// `Limit` when there are too many to list.
    pub fn log_label_names(
        &self,
        any_of: &[Vec<Matcher>],
        from_ns: i64,
        to_ns: i64,
    ) -> Result<Vec<String>, SelectError> {
        let found = label_names(|each| self.each_stream(any_of, from_ns, to_ns, each))?;
        Ok(found.into_iter().collect())
    }

    /// Values of the label `name` in those streams. Sorted.
    ///
    /// # Errors
    /// `Limit` when there are too many to list.
    pub fn log_label_values(
        &self,
        name: &str,
        any_of: &[Vec<Matcher>],
        from_ns: i64,
        to_ns: i64,
    ) -> Result<Vec<String>, SelectError> {
        let found = label_values(name, |each| self.each_stream(any_of, from_ns, to_ns, each))?;
        Ok(found.into_iter().collect())
    }

    /// Calls `each` with every wanted series, perhaps more than once.
    fn each_metric_series(
        &self,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
        each: &mut Each<'_>,
    ) -> Result<(), SelectError> {
        let all = [Vec::new()];
        let any_of = if any_of.is_empty() { &all } else { any_of };
        let any_of = &*self.scoped_any(any_of);
        for (part, index) in self.sample_parts(from_ms, to_ms) {
            let (file, deletes) = (&part.file, self.deletes_of(part));
            for matchers in any_of {
                let mut refused = Ok(());
                let walked = index.select_series(file, matchers, from_ms, to_ms, &mut |row| {
                    let takes = |d: &&Delete| d.takes_all(&row.labels, row.min_ms, row.max_ms);
                    if refused.is_ok() && !deletes.iter().any(takes) {
                        refused = each(&row.labels);
                    }
                    Ok(())
                });
                if let Err(error) = walked {
                    self.notes.note(&error);
                }
                refused?;
            }
        }
        self.each_series_of_heads(any_of, from_ms, to_ms, each)
    }

    /// The sample parts with data in the range.
    fn sample_parts(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = (&Part, &SampleIndex)> {
        let touches =
            move |p: &&Arc<Part>| p.totals().min_time <= to_ms && p.totals().max_time >= from_ms;
        self.view
            .parts
            .iter()
            .filter(touches)
            .filter_map(|part| match &part.body {
                Body::Samples(index) => Some((&**part, index)),
                Body::Logs(_) => None,
            })
    }

    fn each_series_of_heads(
        &self,
        any_of: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
        each: &mut Each<'_>,
    ) -> Result<(), SelectError> {
        let deletes = self.deletes_of_heads(DeleteKind::Samples);
        for head in self.heads() {
            let head = head.series.read().expect(LOCK);
            for matchers in any_of {
                for (_, one) in head
                    .matching(matchers)
                    .filter(|(_, s)| s.touches(from_ms, to_ms))
                {
                    let (oldest, newest) = one.bounds();
                    let takes = |d: &&Delete| d.takes_all(&one.labels, oldest, newest);
                    if !deletes.iter().any(takes) {
                        each(&one.labels)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with every wanted stream, perhaps more than once.
    fn each_stream(
        &self,
        any_of: &[Vec<Matcher>],
        from_ns: i64,
        to_ns: i64,
        each: &mut Each<'_>,
    ) -> Result<(), SelectError> {
        let all = [Vec::new()];
        let any_of = if any_of.is_empty() { &all } else { any_of };
        let mut passes: Vec<Passes<'_>> = any_of.iter().map(|m| Passes::new(self, m)).collect();
        let touches = |min: i64, max: i64| min < to_ns && max >= from_ns;
        for part in &self.view.parts {
            let Body::Logs(index) = &part.body else {
                continue;
            };
            if !touches(part.totals().min_time, part.totals().max_time) {
                continue;
            }
            let mut last = None;
            let deletes = self.deletes_of(part);
            for block in index.blocks.iter().filter(|b| touches(b.min_ns, b.max_ns)) {
                let labels = &index.streams[block.stream as usize];
                let takes = |d: &&Delete| d.takes_all(labels, block.min_ns, block.max_ns);
                if deletes.iter().any(takes) {
                    continue;
                }
                if last.replace(block.stream) != Some(block.stream)
                    && passes.iter_mut().any(|p| p.check(labels))
                {
                    each(labels)?;
                }
            }
        }
        let deletes = self.deletes_of_heads(DeleteKind::Logs);
        for head in self.heads() {
            let logs = head.logs.read().expect(LOCK);
            for stream in &logs.streams {
                let is_there = |c: &Arc<Chunk>| {
                    let takes = |d: &&Delete| d.takes_all(&stream.labels, c.min_ns, c.max_ns);
                    touches(c.min_ns, c.max_ns) && !deletes.iter().any(takes)
                };
                let is_wanted = stream.chunks.iter().any(is_there)
                    && passes.iter_mut().any(|p| p.check(&stream.labels));
                if is_wanted {
                    each(&stream.labels)?;
                }
            }
        }
        Ok(())
    }
}

fn limit(n: usize) -> Result<(), SelectError> {
    if n > SERIES_MAX {
        return Err(SelectError::Limit(format!(
            "more than {SERIES_MAX} results; give narrower matchers or a shorter time"
        )));
    }
    Ok(())
}

/// The label sets that `walk` goes through, each once.
fn label_sets(
    walk: impl FnOnce(&mut Each<'_>) -> Result<(), SelectError>,
) -> Result<BTreeSet<Labels>, SelectError> {
    let mut found = BTreeSet::new();
    walk(&mut |labels| {
        if !found.contains(labels) {
            found.insert(labels.clone());
        }
        limit(found.len())
    })?;
    Ok(found)
}

/// The label names of the label sets that `walk` goes through.
fn label_names(
    walk: impl FnOnce(&mut Each<'_>) -> Result<(), SelectError>,
) -> Result<BTreeSet<String>, SelectError> {
    let mut found = BTreeSet::new();
    walk(&mut |labels| {
        for (name, _) in labels {
            if !found.contains(name) {
                found.insert(name.to_owned());
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// The values of the label `name` in the label sets that `walk` goes through.
fn label_values(
    name: &str,
    walk: impl FnOnce(&mut Each<'_>) -> Result<(), SelectError>,
) -> Result<BTreeSet<String>, SelectError> {
    let mut found = BTreeSet::new();
    walk(&mut |labels| {
        if let Some(value) = labels.get(name)
            && !found.contains(value)
        {
            found.insert(value.to_owned());
        }
        limit(found.len())
    })?;
    Ok(found)
}
