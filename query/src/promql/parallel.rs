//! Work on many series, on several threads when there is much of it and threads are free.
//!
//! What comes out is what one thread would give, to the bit: results and notes stand in the order of the
//! series, and of several errors the first one counts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use kansoku_model::FloatRun;
use kansoku_model::select::{SeriesData, SeriesSet};

use super::error::QueryError;
use super::evaluate::Evaluator;
use super::notes::Notes;

/// Threads beyond their own that all queries may use together.
#[derive(Debug, Default)]
pub struct Threads {
    free: AtomicUsize,
}

impl Threads {
    /// So many of them; without any, every query runs on its own thread.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self {
            free: AtomicUsize::new(n),
        }
    }

    /// Takes as many as are free, `most` at the most.
    fn take(&self, most: usize) -> Taken<'_> {
        let take = |free: usize| free.checked_sub(free.min(most));
        let before = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Taken {
            threads: self,
            n: before.map_or(0, |free| free.min(most)),
        }
    }
}

/// Threads that a query has until this is dropped.
struct Taken<'a> {
    threads: &'a Threads,
    n: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.threads.free.fetch_add(self.n, Ordering::Relaxed);
    }
}

/// Series that a thread takes at a time.
const CHUNK: usize = 32;
/// Samples and results from which on another thread is worth its start (some 50 µs).
const VALUES_PER_THREAD: usize = if cfg!(test) { 1000 } else { 100_000 };

/// What became of the series of a chunk.
struct Chunk<T> {
    number: usize,
    results: Result<Vec<T>, QueryError>,
    notes: Notes,
}

impl Evaluator<'_> {
    /// Gives `work` the numbers from 0 to `n` and returns what it made of them, in their order. Each thread has a state of
    /// its own; `n_values` tells how much there is to do.
    pub(super) fn each<S, T: Send>(
        &self,
        n: usize,
        n_values: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&Evaluator<'_>, &mut S, usize) -> Result<Option<T>, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        let wanted = (n_values / VALUES_PER_THREAD).min(n.div_ceil(CHUNK));
        let taken = self.options.threads.take(wanted.saturating_sub(1));
        if taken.n == 0 {
            let mut state = state();
            let all = (0..n).filter_map(|at| work(self, &mut state, at).transpose());
            return all.collect();
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let run = || {
            let (mut state, mut done) = (state(), Vec::new());
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= n.div_ceil(CHUNK) {
                    break;
                }
                let own = self.fork();
                let members = number * CHUNK..n.min((number + 1) * CHUNK);
                let results: Result<Vec<T>, _> = members
                    .filter_map(|at| work(&own, &mut state, at).transpose())
                    .collect();
                if results.is_err() {
                    // Chunks before this one are under way and will be ended.
                    failed.store(true, Ordering::Relaxed);
                }
                done.push(Chunk {
                    number,
                    results,
                    notes: own.into_notes(),
                });
            }
            done
        };
        let mut chunks = thread::scope(|scope| {
            let start = |_| thread::Builder::new().spawn_scoped(scope, run).ok();
            // Without further threads the work is done all the same.
            let others: Vec<_> = (0..taken.n).filter_map(start).collect();
            let mut chunks = run();
            for other in others {
                match other.join() {
                    Ok(done) => chunks.extend(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            chunks
        });
        chunks.sort_by_key(|chunk| chunk.number);
        let mut all = Vec::with_capacity(n);
        for chunk in chunks {
            self.take_notes(chunk.notes);
            all.append(&mut chunk.results?);
        }
        Ok(all)
    }

    /// Gives `work` the samples of each series of a set; those of one series are held while it works.
    pub(super) fn each_read<T: Send>(
        &self,
        set: &dyn SeriesSet,
        n_steps: usize,
        work: impl Fn(&Evaluator<'_>, usize, &mut SeriesData) -> Result<Option<T>, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        let of_floats = |_: &Evaluator<'_>, (): &mut (), _, _: &mut FloatRun| Ok(None);
        self.each_of_either(set, n_steps, None::<fn()>, of_floats, work)
    }

    /// As [`Self::each_read`]; series of nothing but floats go to `of_floats` as the store has them, with a state of each
    /// thread.
    pub(super) fn each_of_either<S, T: Send>(
        &self,
        set: &dyn SeriesSet,
        n_steps: usize,
        state: Option<impl Fn() -> S + Sync>,
        of_floats: impl Fn(
            &Evaluator<'_>,
            &mut S,
            usize,
            &mut FloatRun,
        ) -> Result<Option<T>, QueryError>
        + Sync,
        of_any: impl Fn(&Evaluator<'_>, usize, &mut SeriesData) -> Result<Option<T>, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        let n_samples = usize::try_from(set.n_samples()).unwrap_or(usize::MAX);
        let n_values = n_samples.saturating_add(set.n_series().saturating_mul(n_steps));
        let state = || {
            let of_floats = state.as_ref().map(|state| (state(), FloatRun::default()));
            (set.reader(), of_floats, SeriesData::default())
        };
        let n_before = self.n_samples_read();
        let n_as_stored = AtomicUsize::new(0);
        let done = self.each(set.n_series(), n_values, state, |ev, state, at| {
            (ev.check)()?;
            let (reader, floats, series) = state;
            let to_error = |error| ev.select_error(error);
            if let Some((state, run)) = floats
                && reader.read_floats(at, run).map_err(to_error)?
            {
                n_as_stored.fetch_add(1, Ordering::Relaxed);
                let n_read = run.times.len();
                ev.count_samples(n_read);
                ev.hold(n_read)?;
                let result = of_floats(ev, state, at, run);
                ev.release(n_read);
                return result;
            }
            reader.read(at, series).map_err(to_error)?;
            let n_read = ev.count_read(series)?;
            let result = of_any(ev, at, series);
            ev.release(n_read);
            result
        });
        if let Some(trace) = &self.options.trace {
            let n_samples = self.n_samples_read() - n_before;
            trace.read(set, n_samples, n_as_stored.into_inner());
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::select::SelectError;
    use kansoku_model::{Labels, Matcher, SeriesSource};

    use super::super::{Engine, Options, json, parse};
    use super::*;

    /// Series `x` and `y_total` of all kinds of floats, staleness markers and resets among them.
    struct Many;

    impl SeriesSource for Many {
        fn select(
            &self,
            matchers: &[Matcher],
            from_ms: i64,
            to_ms: i64,
            _max_samples: usize,
        ) -> Result<Vec<SeriesData>, SelectError> {
            let mut state = 88_172_645_463_325_252u64;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let mut found = Vec::new();
            for n in 0..300u64 {
                let name = if n % 3 == 0 { "x" } else { "y_total" };
                let (group, n) = ((n % 7).to_string(), n.to_string());
                let labels = [("__name__", name), ("group", &group), ("n", &n)];
                let mut one = SeriesData {
                    labels: Labels::from_pairs(labels),
                    ..SeriesData::default()
                };
                let mut counter = 0.0;
                for second in 0..90 {
                    let time = second * 1000 + (random() % 300) as i64;
                    counter += (random() % 1000) as f64 / 7.0;
                    let value = match random() % 100 {
                        0 => f64::from_bits(kansoku_model::metric::STALE_BITS),
                        1 => f64::NAN,
                        2 => f64::INFINITY,
                        3 => 1e300,
                        4 => {
                            counter = 0.0;
                            counter
                        }
                        _ => counter,
                    };
                    if (from_ms..=to_ms).contains(&time) {
                        one.times.push(time);
                        one.values.push(value);
                    }
                }
                if matchers.iter().all(|m| m.matches_labels(&one.labels)) {
                    found.push(one);
                }
            }
            Ok(found)
        }
    }

    fn answer(threads: usize, text: &str) -> Result<(String, Vec<String>), QueryError> {
        let engine = Engine::new(Options {
            threads: Arc::new(Threads::new(threads)),
            ..Options::default()
        });
        let query = parse(text).unwrap();
        let output = engine.range(&Many, &query, 0, 90_000, 1000, &|| Ok(()))?;
        let mut data = Vec::new();
        json::write_data(&mut data, &output);
        let notes = [output.warnings, output.infos].concat();
        Ok((String::from_utf8(data).unwrap(), notes))
    }

    #[test]
    fn several_threads_answer_as_one_does() {
        for text in [
            "{n=~\".+\"}",
            "sum by (group) (rate({group=~\".+\"}[20s]))",
            "avg(avg_over_time({group=~\".+\"}[30s]))",
            "stddev by (group) (sum_over_time(x[17s]))",
            "topk(5, increase({group=~\".+\"}[10s]))",
            "quantile_over_time(1.5, {group=~\".+\"}[10s])",
            "sum(max_over_time(rate({group=~\".+\"}[10s])[20s:3s]))",
            "last_over_time(y_total[3s])",
            "double_exponential_smoothing({group=~\".+\"}[10s], 2, 0.5)",
        ] {
            let alone = answer(0, text);
            assert!(alone.as_ref().map_or(true, |(data, _)| data.len() > 500));
            for threads in [1, 5] {
                assert!(answer(threads, text) == alone, "{text} on {threads}");
            }
        }
    }

    #[test]
    fn threads_are_lent_and_given_back() {
        let threads = Threads::new(3);
        let two = threads.take(2);
        let rest = threads.take(2);
        assert_eq!((two.n, rest.n, threads.take(1).n), (2, 1, 0));
        drop(two);
        assert_eq!(threads.take(9).n, 2);
        drop(rest);
        assert_eq!(threads.take(9).n, 3);
    }
}
