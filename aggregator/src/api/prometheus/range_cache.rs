//! Results of range queries that are asked again and again while their window moves along, as dashboards do: the steps
//! that cannot have changed are reused, and only the others are evaluated.
//!
//! The engine tells which queries have steps that stand alone, the store since when which samples changed. The one rule:
//! an answer is, byte for byte, the one that an evaluation of all steps gives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_query::promql::reuse;
use kansoku_query::promql::{QueryError, QueryOutput, QueryStats, QueryValue, Series};
use kansoku_store::{ChangeMark, Changed};

use super::params::Range;

/// No result takes more than this share of the whole.
const ENTRY_SHARE: usize = 8;
/// Memory of an entry besides its points and labels.
const ENTRY_BYTES: usize = 512;
const SERIES_BYTES: usize = 128;
const POINT_BYTES: usize = 16;

/// What a result is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub tenant: String,
    /// As it is written: a panel asks in the same words each time.
    pub query: String,
    pub lookback_ms: i64,
    pub step_ms: i64,
    /// Where the steps lie between their multiples.
    pub phase_ms: i64,
    /// Panels of an hour and of a day are apart.
    pub length: u32,
}

impl Key {
    /// Of a query over these times.
    #[must_use]
    pub fn new(tenant: &str, query: &str, lookback_ms: i64, range: &Range) -> Self {
        let n_steps = (range.end_ms - range.start_ms) / range.step_ms + 1;
        Self {
            tenant: tenant.to_owned(),
            query: query.to_owned(),
            lookback_ms,
            step_ms: range.step_ms,
            phase_ms: range.start_ms.rem_euclid(range.step_ms),
            length: n_steps.unsigned_abs().ilog2(),
        }
    }
}

/// All steps of one query.
#[derive(Debug)]
pub struct Entry {
    /// Taken before the snapshot that it was computed from.
    mark: ChangeMark,
    first_ms: i64,
    last_ms: i64,
    /// How far back a step looks.
    reach_ms: i64,
    series: Vec<Series>,
    n_bytes: usize,
}

/// Results kept, the least recently used ones given up first.
#[derive(Debug)]
pub struct RangeCache {
    limit_bytes: usize,
    /// Held for a look-up and for the insertion of a pointer.
    kept: Mutex<Kept>,
    pub counters: Counters,
}

/// How the cache does.
#[derive(Debug, Default)]
pub struct Counters {
    /// Queries of which some steps were reused.
    pub hits: AtomicU64,
    /// Queries that could have been reused, had there been anything.
    pub misses: AtomicU64,
    pub steps_reused: AtomicU64,
    pub steps_evaluated: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Key, (Arc<Entry>, u64)>,
    n_bytes: usize,
    /// Counts uses, to tell old ones from new ones.
    uses: u64,
}

impl RangeCache {
    /// A cache of so many bytes; of none it keeps nothing.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            kept: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// Whether it keeps anything at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.limit_bytes > 0
    }

    /// Bytes kept.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.kept().n_bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let mut kept = self.kept();
        kept.uses += 1;
        let uses = kept.uses;
        let (entry, used) = kept.entries.get_mut(key)?;
        *used = uses;
        Some(Arc::clone(entry))
    }

    fn put(&self, key: Key, entry: Entry) {
        if entry.n_bytes > self.limit_bytes / ENTRY_SHARE {
            return;
        }
        let mut kept = self.kept();
        kept.uses += 1;
        let uses = kept.uses;
        kept.n_bytes += entry.n_bytes;
        if let Some((old, _)) = kept.entries.insert(key, (Arc::new(entry), uses)) {
            kept.n_bytes -= old.n_bytes;
        }
        while kept.n_bytes > self.limit_bytes {
            let oldest = kept.entries.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some((old, _)) = kept.entries.remove(&oldest) {
                kept.n_bytes -= old.n_bytes;
            }
        }
    }

    /// The answer of a query whose steps look back `reach_ms`. `mark` was taken before the snapshot that `evaluate` reads;
    /// `changed_since` tells what changed until now.
    ///
    /// # Errors
    /// Those of `evaluate`.
    pub fn answer(
        &self,
        key: Key,
        range: &Range,
        reach_ms: i64,
        mark: ChangeMark,
        changed_since: impl Fn(ChangeMark) -> Changed,
        mut evaluate: impl FnMut(&Range) -> Result<QueryOutput, QueryError>,
    ) -> Result<QueryOutput, QueryError> {
        let last_ms = range.end_ms - (range.end_ms - range.start_ms) % range.step_ms;
        let known = self.get(&key);
        let reused = known.and_then(|known| {
            let changed = changed_since(known.mark);
            let (from_ms, to_ms) = known.unchanged(&changed, range, last_ms)?;
            Some((reuse::cut(&known.series, from_ms, to_ms), from_ms, to_ms))
        });
        let n_steps = |from_ms: i64, to_ms: i64| ((to_ms - from_ms) / range.step_ms + 1) as u64;
        let n_all = n_steps(range.start_ms, last_ms);
        let output = match reused {
            None => {
                self.counters.count(0, n_all);
                evaluate(range)?
            }
            Some((series, from_ms, to_ms)) => {
                let n_reused = n_steps(from_ms, to_ms);
                self.counters.count(n_reused, n_all - n_reused);
                let before = Range {
                    end_ms: from_ms - range.step_ms,
                    ..*range
                };
                let after = Range {
                    start_ms: to_ms + range.step_ms,
                    end_ms: range.end_ms,
                    ..*range
                };
                let mut pieces = Pieces::default();
                if before.end_ms >= before.start_ms {
                    pieces.add(evaluate(&before)?);
                }
                pieces.series.push(series);
                if after.end_ms >= after.start_ms {
                    pieces.add(evaluate(&after)?);
                }
                // What came meanwhile is in the steps evaluated, perhaps, and not in the others.
                let meanwhile = changed_since(mark);
                let is_torn = meanwhile.from_ms <= to_ms || meanwhile.removed_to_ms > i64::MIN;
                match pieces.whole().filter(|_| !is_torn) {
                    Some(output) => output,
                    // Or histograms have come, or there is something to be told: of all steps, in its order.
                    None => evaluate(range)?,
                }
            }
        };
        if let Some(entry) = Entry::of(&output, mark, (range.start_ms, last_ms), reach_ms) {
            self.put(key, entry);
        }
        Ok(output)
    }
}

impl Counters {
    fn count(&self, n_reused: u64, n_evaluated: u64) {
        let counter = if n_reused > 0 {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.steps_reused.fetch_add(n_reused, Ordering::Relaxed);
        self.steps_evaluated
            .fetch_add(n_evaluated, Ordering::Relaxed);
    }
}

/// Evaluations of some steps and what is reused, in order of time.
#[derive(Default)]
struct Pieces {
    series: Vec<Vec<Series>>,
    stats: QueryStats,
    is_unlike: bool,
}

impl Pieces {
    fn add(&mut self, output: QueryOutput) {
        self.stats.samples_read += output.stats.samples_read;
        self.stats.peak_samples = self.stats.peak_samples.max(output.stats.peak_samples);
        match plain(&output) {
            Some(_) => {
                if let QueryValue::Matrix(series) = output.value {
                    self.series.push(series);
                }
            }
            None => self.is_unlike = true,
        }
    }

    fn whole(self) -> Option<QueryOutput> {
        (!self.is_unlike).then(|| QueryOutput {
            value: QueryValue::Matrix(reuse::join(self.series)),
            warnings: Vec::new(),
            infos: Vec::new(),
            stats: self.stats,
        })
    }
}

/// The series of an output of nothing but floats, without anything to be told of it.
fn plain(output: &QueryOutput) -> Option<&[Series]> {
    match &output.value {
        QueryValue::Matrix(series)
            if output.warnings.is_empty()
                && output.infos.is_empty()
                && series.iter().all(|one| one.histograms.is_empty()) =>
        {
            Some(series)
        }
        _ => None,
    }
}

impl Entry {
    fn of(
        output: &QueryOutput,
        mark: ChangeMark,
        (first_ms, last_ms): (i64, i64),
        reach_ms: i64,
    ) -> Option<Self> {
        let series = plain(output)?;
        let of_one = |one: &Series| {
            SERIES_BYTES + one.labels.as_bytes().len() + one.times.len() * POINT_BYTES
        };
        Some(Self {
            mark,
            first_ms,
            last_ms,
            reach_ms,
            n_bytes: ENTRY_BYTES + series.iter().map(of_one).sum::<usize>(),
            series: series.to_vec(),
        })
    }

    /// The first and the last of its steps that the range asks for and that are what they were; steps of both are aligned.
    fn unchanged(&self, changed: &Changed, range: &Range, last_ms: i64) -> Option<(i64, i64)> {
        let aligned_up = |t: i64| {
            let past = t.saturating_sub(range.start_ms).rem_euclid(range.step_ms);
            if past == 0 {
                t
            } else {
                t.saturating_add(range.step_ms - past)
            }
        };
        // The window of a step begins behind `t - reach`.
        let first_whole = changed.removed_to_ms.saturating_add(self.reach_ms);
        let from_ms = self.first_ms.max(range.start_ms);
        let from_ms = from_ms.max(aligned_up(first_whole.max(from_ms)));
        let mut to_ms = self.last_ms.min(last_ms);
        if changed.from_ms <= to_ms {
            // The last step before the first change.
            to_ms = aligned_up(changed.from_ms.max(from_ms)) - range.step_ms;
        }
        (from_ms <= to_ms).then_some((from_ms, to_ms))
    }
}

#[cfg(test)]
mod tests;
