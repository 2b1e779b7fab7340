//! Which series and streams are active, and which new ones are taken: the limits on their number and on the
//! labels of each.
//!
//! Active is what had a sample or line within the last one or two windows of twenty minutes. The rule: what
//! is active goes on being taken whatever a limit says; a limit keeps out new ones only, so that a sender who
//! makes too many takes no place from the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kansoku_model::metric::Point;
use kansoku_model::stream::default_labels;
use kansoku_model::{Labels, LogBatch, MetricBatch, RecordBatch, Streams};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::head::Head;
use crate::spread::Spread;

/// How long a window is. Twice the age at which heads are written out, so that what goes on is seen in each.
const WINDOW_MS: i64 = 20 * 60 * 1000;
/// Labels in a message are cut here.
const SHOWN_MAX_BYTES: usize = 300;

/// What a store takes of new series and streams; `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Active series.
    pub max_series: u64,
    /// Active series of one metric name.
    pub max_series_per_metric: u64,
    /// Active streams.
    pub max_streams: u64,
    /// Labels of a series or stream.
    pub max_labels: u64,
    /// Bytes of a label's name.
    pub max_name_bytes: u64,
    /// Bytes of a label's value.
    pub max_value_bytes: u64,
}

impl Limits {
    pub const NONE: Self = Self {
        max_series: u64::MAX,
        max_series_per_metric: u64::MAX,
        max_streams: u64::MAX,
        max_labels: u64::MAX,
        max_name_bytes: u64::MAX,
        max_value_bytes: u64::MAX,
    };
}

/// Which limit keeps something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Series,
    MetricSeries,
    Streams,
    Labels,
    NameLength,
    ValueLength,
}

impl Reason {
    pub const ALL: [Self; 6] = [
        Self::Series,
        Self::MetricSeries,
        Self::Streams,
        Self::Labels,
        Self::NameLength,
        Self::ValueLength,
    ];

    /// The name that Mimir's and Loki's metrics give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Series => "per_user_series_limit",
            Self::MetricSeries => "per_metric_series_limit",
            Self::Streams => "stream_limit",
            Self::Labels => "max_label_names_per_series",
            Self::NameLength => "label_name_too_long",
            Self::ValueLength => "label_value_too_long",
        }
    }
}

/// Records that limits kept out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// By reason, in the order of [`Reason::ALL`].
    pub counts: [u64; Reason::ALL.len()],
    /// What was wrong with the first.
    pub first: Option<String>,
}

impl Refused {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether only the number of streams kept records out: another try may succeed.
    #[must_use]
    pub fn is_of_streams_only(&self) -> bool {
        self.counts[Reason::Streams as usize] == self.total()
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.first = self.first.take().or(other.first);
    }

    fn add(&mut self, n: u64, (reason, text): &(Reason, String)) {
        self.counts[*reason as usize] += n;
        self.first.get_or_insert_with(|| text.clone());
    }
}

/// When a series was seen last, and of which metric it is.
#[derive(Debug, Clone, Copy)]
struct Seen {
    window: u32,
    metric: u32,
}

#[derive(Debug, Default)]
struct Known {
    series: HashMap<u64, Seen, Spread>,
    /// Numbers of metric names.
    metrics: HashMap<u64, u32, Spread>,
    /// By number: series.
    of_metric: Vec<u32>,
    streams: HashMap<u64, u32, Spread>,
    window: u32,
    window_began_ms: Option<i64>,
}

/// The active series and streams of a store.
#[derive(Debug)]
pub struct Active {
    limits: Limits,
    /// Drawn anew for each store: nobody can prepare labels that are taken for others.
    seed: u64,
    /// Taken for a look at one series, or at those that are new in a head.
    known: Mutex<Known>,
    /// Numbers as of the last change.
    n_series: AtomicU64,
    n_largest_metric: AtomicU64,
    n_streams: AtomicU64,
}

const LOCK: &str = "nothing panics while it changes the active series";

impl Active {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            seed: RandomState::new().hash_one(0),
            known: Mutex::default(),
            n_series: AtomicU64::new(0),
            n_largest_metric: AtomicU64::new(0),
            n_streams: AtomicU64::new(0),
        }
    }

    pub fn n_series(&self) -> u64 {
        self.n_series.load(Ordering::Relaxed)
    }

    pub fn n_streams(&self) -> u64 {
        self.n_streams.load(Ordering::Relaxed)
    }

    fn key(&self, text: &[u8]) -> u64 {
        xxh3_64_with_seed(text, self.seed)
    }

    /// Forgets what was not seen for a whole window.
    pub fn rotate(&self, now_ms: i64) {
        let mut known = self.known.lock().expect(LOCK);
        let began = *known.window_began_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(began) < WINDOW_MS {
            return;
        }
        known.window_began_ms = Some(now_ms);
        known.window += 1;
        let oldest = known.window - 1;
        known.series.retain(|_, seen| seen.window >= oldest);
        known.streams.retain(|_, window| *window >= oldest);
        // Numbers of names are given anew, or names that are gone would stay.
        let (mut number, mut of_metric) = (HashMap::<u32, u32>::new(), Vec::new());
        for seen in known.series.values_mut() {
            let new = *number.entry(seen.metric).or_insert_with(|| {
                of_metric.push(0);
                of_metric.len() as u32 - 1
            });
            seen.metric = new;
            of_metric[new as usize] += 1;
        }
        known.metrics.retain(|_, old| match number.get(old) {
            Some(new) => {
                *old = *new;
                true
            }
            None => false,
        });
        known.of_metric = of_metric;
        known.series.shrink_to_fit();
        let largest = known.of_metric.iter().copied().max().unwrap_or(0);
        self.n_largest_metric
            .store(largest.into(), Ordering::Relaxed);
        self.count(&known);
    }

    fn count(&self, known: &Known) {
        self.n_series
            .store(known.series.len() as u64, Ordering::Relaxed);
        self.n_streams
            .store(known.streams.len() as u64, Ordering::Relaxed);
    }

    /// Takes in what a head has got since the last call.
    pub fn note(&self, head: &Head) {
        let mut noted = head.noted.lock().expect(LOCK);
        let (n_series, n_streams) = head.counts();
        if (n_series, n_streams) == *noted {
            return;
        }
        // No lock of the head is waited for while `known` is held: who changes a head waits for the
        // table of series, and who adds to that table waits for `known`.
        let series: Vec<Arc<Labels>> = {
            let series = head.series.read().expect(LOCK);
            let new = series.series.get(noted.0..).unwrap_or_default();
            new.iter().map(|one| Arc::clone(&one.labels)).collect()
        };
        let streams: Vec<u64> = {
            let logs = head.logs.read().expect(LOCK);
            let new = logs.streams.get(noted.1..).unwrap_or_default();
            new.iter()
                .map(|one| self.key(one.labels.as_bytes()))
                .collect()
        };
        *noted = (noted.0 + series.len(), noted.1 + streams.len());
        let mut known = self.known.lock().expect(LOCK);
        for labels in &series {
            self.insert(&mut known, labels);
        }
        let window = known.window;
        known
            .streams
            .extend(streams.into_iter().map(|key| (key, window)));
        self.count(&known);
    }

    fn insert(&self, known: &mut Known, labels: &Labels) {
        let window = known.window;
        if let Some(seen) = known.series.get_mut(&self.key(labels.as_bytes())) {
            seen.window = window;
            return;
        }
        let next = known.of_metric.len() as u32;
        let name = self.key(labels.metric_name().as_bytes());
        let metric = *known.metrics.entry(name).or_insert(next);
        if metric == next {
            known.of_metric.push(0);
        }
        let n = &mut known.of_metric[metric as usize];
        *n += 1;
        self.n_largest_metric
            .fetch_max((*n).into(), Ordering::Relaxed);
        let seen = Seen { window, metric };
        known.series.insert(self.key(labels.as_bytes()), seen);
        self.n_series
            .store(known.series.len() as u64, Ordering::Relaxed);
    }

    /// Takes a series in if it is known or there is room for it.
    pub fn admit(&self, labels: &Labels) -> Result<(), (Reason, String)> {
        let mut known = self.known.lock().expect(LOCK);
        if !known.series.contains_key(&self.key(labels.as_bytes())) {
            self.check_labels("series", labels.iter(), labels)?;
            let Limits {
                max_series,
                max_series_per_metric,
                ..
            } = self.limits;
            if known.series.len() as u64 >= max_series {
                return Err((
                    Reason::Series,
                    format!(
                        "per-user series limit of {max_series} exceeded: {} is a new series and {} are active; send fewer different label values, or raise max_series",
                        shown(labels),
                        known.series.len()
                    ),
                ));
            }
            let name = labels.metric_name();
            let number = known.metrics.get(&self.key(name.as_bytes()));
            let n = number.map_or(0, |at| u64::from(known.of_metric[*at as usize]));
            if n >= max_series_per_metric {
                return Err((
                    Reason::MetricSeries,
                    format!(
                        "per-metric series limit of {max_series_per_metric} exceeded: {} is a new series and {n} of metric {name} are active; send fewer different label values, or raise max_series_per_metric",
                        shown(labels)
                    ),
                ));
            }
        }
        self.insert(&mut known, labels);
        Ok(())
    }

    fn admit_stream(&self, labels: &Labels) -> Result<(), (Reason, String)> {
        let mut known = self.known.lock().expect(LOCK);
        let key = self.key(labels.as_bytes());
        if !known.streams.contains_key(&key) {
            self.check_labels("stream", labels.iter(), labels)?;
            let limit = self.limits.max_streams;
            if known.streams.len() as u64 >= limit {
                return Err((
                    Reason::Streams,
                    format!(
                        "Maximum active stream limit exceeded when trying to create stream {}: {} are active, the limit is {limit}; reduce the number of active streams (reduce labels or reduce label values), or raise max_streams",
                        shown(labels),
                        known.streams.len()
                    ),
                ));
            }
        }
        let window = known.window;
        known.streams.insert(key, window);
        self.count(&known);
        Ok(())
    }

    fn check_labels<'a>(
        &self,
        what: &str,
        pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        labels: &Labels,
    ) -> Result<(), (Reason, String)> {
        let Limits {
            max_labels,
            max_name_bytes,
            max_value_bytes,
            ..
        } = self.limits;
        let n = pairs.clone().count() as u64;
        if n > max_labels {
            return Err((
                Reason::Labels,
                format!(
                    "{what} {} has {n} label names; limit {max_labels} (max_labels)",
                    shown(labels)
                ),
            ));
        }
        for (name, value) in pairs {
            if name.len() as u64 > max_name_bytes {
                return Err((
                    Reason::NameLength,
                    format!(
                        "{what} {} has label name too long: '{}' of {} bytes; limit {max_name_bytes} (max_label_name_length)",
                        shown(labels),
                        cut(name),
                        name.len()
                    ),
                ));
            }
            if value.len() as u64 > max_value_bytes {
                return Err((
                    Reason::ValueLength,
                    format!(
                        "{what} {} has label value too long: that of '{name}' has {} bytes; limit {max_value_bytes} (max_label_value_length)",
                        shown(labels),
                        value.len()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Takes out of a batch what limits keep out.
    pub fn filter(&self, batch: &mut RecordBatch) -> Refused {
        match batch {
            RecordBatch::Logs(logs) => self.filter_logs(logs),
            RecordBatch::Metrics(metrics) => self.filter_metrics(metrics),
        }
    }

    fn filter_logs(&self, batch: &mut LogBatch) -> Refused {
        let mut refused = Refused::default();
        // Far from the limit and with good labels there is nothing to look for. A batch is one source, whose
        // records differ by `stream` alone.
        let base = default_labels(&batch.resource, &batch.tag);
        let n_streams = if batch.column("stream").is_some() {
            batch.len() as u64
        } else {
            1
        };
        let has_room = self.n_streams().saturating_add(n_streams) <= self.limits.max_streams;
        let is_good = |labels: &Labels| self.check_labels("stream", labels.iter(), labels).is_ok();
        if has_room && is_good(&base.with("stream", "stdout")) {
            return refused;
        }
        let streams = Streams::of(batch);
        let verdicts: Vec<_> = streams
            .labels
            .iter()
            .map(|l| self.admit_stream(l))
            .collect();
        if verdicts.iter().all(Result::is_ok) {
            return refused;
        }
        let kept: Vec<bool> = streams
            .of_row
            .iter()
            .map(|at| {
                let verdict = &verdicts[*at as usize];
                if let Err(why) = verdict {
                    refused.add(1, why);
                }
                verdict.is_ok()
            })
            .collect();
        batch.retain(|row| kept[row]);
        refused
    }

    fn filter_metrics(&self, batch: &mut MetricBatch) -> Refused {
        let mut refused = Refused::default();
        let n = (batch.points().len() + batch.histograms().len()) as u64;
        let has_room = |known: &AtomicU64, limit: u64| {
            known.load(Ordering::Relaxed).saturating_add(n) <= limit
        };
        if has_room(&self.n_series, self.limits.max_series)
            && has_room(&self.n_largest_metric, self.limits.max_series_per_metric)
            && self.has_good_labels(batch)
        {
            return refused;
        }
        // A label set that repeats is looked at once.
        let mut verdicts = HashMap::<Labels, Result<(), (Reason, String)>>::new();
        let mut verdict = |labels: Labels| {
            let found = verdicts.entry(labels);
            let found = found.or_insert_with_key(|labels| self.admit(labels));
            found
                .as_ref()
                .err()
                .inspect(|why| refused.add(1, why))
                .is_none()
        };
        let kept: Vec<bool> = batch
            .points()
            .iter()
            .map(|p| verdict(batch.series_of(p)))
            .collect();
        let histograms = batch.histograms().iter();
        let kept_histograms: Vec<bool> = histograms
            .map(|h| verdict(batch.series_of(&h.point)))
            .collect();
        if refused.total() > 0 {
            batch.retain(|row| kept[row]);
            batch.retain_histograms(|row| kept_histograms[row]);
        }
        refused
    }

    fn has_good_labels(&self, batch: &MetricBatch) -> bool {
        let Limits {
            max_labels,
            max_name_bytes,
            max_value_bytes,
            ..
        } = self.limits;
        let is_short = |(name, value): (&str, &str)| {
            name.len() as u64 <= max_name_bytes && value.len() as u64 <= max_value_bytes
        };
        let fixed = &batch.resource.labels;
        // The name of the metric is a label, too.
        let n_fixed = fixed.len() as u64 + 1;
        let is_good = |p: &Point| n_fixed + u64::from(p.labels.1) <= max_labels;
        fixed.iter().all(is_short)
            && batch
                .families()
                .iter()
                .all(|f| f.name.len as u64 <= max_value_bytes)
            && batch.pairs().all(is_short)
            && batch.points().iter().all(is_good)
            && batch.histograms().iter().all(|h| is_good(&h.point))
    }
}

fn shown(labels: &Labels) -> String {
    cut(&labels.to_string()).to_owned()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_MAX_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{T0_MS, T0_NS, logs, samples};

    fn series(i: usize) -> Labels {
        Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())])
    }

    #[test]
    fn new_series_beyond_a_limit_are_refused_and_known_ones_go_on() {
        let limits = Limits {
            max_series: 3,
            ..Limits::NONE
        };
        let active = Active::new(limits);
        for i in 0..3 {
            active.admit(&series(i)).unwrap();
        }
        let (reason, text) = active.admit(&series(3)).unwrap_err();
        assert_eq!(reason, Reason::Series);
        assert!(
            text.contains("limit of 3") && text.contains("i=\"3\"") && text.contains("max_series"),
            "{text}"
        );
        active.admit(&series(1)).unwrap();
        let mut batch = RecordBatch::Metrics(samples(1, 0, "m", T0_MS, &[0.0; 5]));
        let refused = active.filter(&mut batch);
        assert_eq!((refused.total(), batch.n_records()), (2, 3));
        assert_eq!(refused.counts[Reason::Series as usize], 2);
    }

    #[test]
    fn a_metric_has_a_limit_of_its_own() {
        let active = Active::new(Limits {
            max_series_per_metric: 2,
            ..Limits::NONE
        });
        let mut batch = RecordBatch::Metrics(samples(1, 0, "m", T0_MS, &[0.0; 5]));
        let refused = active.filter(&mut batch);
        assert_eq!(
            (
                refused.counts[Reason::MetricSeries as usize],
                batch.n_records()
            ),
            (3, 2)
        );
        let mut other = RecordBatch::Metrics(samples(1, 0, "n", T0_MS, &[0.0; 2]));
        assert_eq!(active.filter(&mut other).total(), 0);
    }

    #[test]
    fn who_is_silent_for_two_windows_makes_room() {
        let active = Active::new(Limits {
            max_series: 2,
            max_series_per_metric: 2,
            ..Limits::NONE
        });
        active.rotate(0);
        active.admit(&series(0)).unwrap();
        active.admit(&series(1)).unwrap();
        active.rotate(WINDOW_MS);
        active.admit(&series(0)).unwrap();
        assert!(
            active.admit(&series(2)).is_err(),
            "one window is not enough"
        );
        active.rotate(2 * WINDOW_MS);
        active.admit(&series(2)).unwrap();
        assert!(active.admit(&series(1)).is_err());
        assert_eq!(active.n_series(), 2);
    }

    #[test]
    fn streams_and_labels_have_limits() {
        let active = Active::new(Limits {
            max_streams: 2,
            max_labels: 3,
            max_name_bytes: 10,
            max_value_bytes: 20,
            ..Limits::NONE
        });
        let ask = |app: &str| {
            let mut batch = RecordBatch::Logs(logs(1, app, 0, &[(T0_NS, "a"), (T0_NS, "b")]));
            let refused = active.filter(&mut batch);
            if refused.total() == 0 {
                let head = Head::default();
                head.apply(&batch);
                active.note(&head);
            }
            (
                refused.counts,
                batch.n_records(),
                refused.first.unwrap_or_default(),
            )
        };
        assert_eq!(ask("a").1, 2);
        assert_eq!(ask("b").1, 2);
        let (counts, n_kept, text) = ask("c");
        assert_eq!((counts[Reason::Streams as usize], n_kept), (2, 0));
        assert!(
            text.starts_with("Maximum active stream limit exceeded"),
            "{text}"
        );
        assert_eq!(ask("a").1, 2, "a known one goes on");
        let (counts, _, text) = ask(&"x".repeat(21));
        assert_eq!(counts[Reason::ValueLength as usize], 2);
        assert!(text.contains("21 bytes; limit 20"), "{text}");
        let long = Labels::from_pairs([("__name__", "m"), ("a_long_name", "1")]);
        assert_eq!(active.admit(&long).unwrap_err().0, Reason::NameLength);
        let many = Labels::from_pairs([("__name__", "m"), ("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(active.admit(&many).unwrap_err().0, Reason::Labels);
    }
}
