//! Histograms read without their buckets, where a query wants nothing but counts and sums of them.
//!
//! The rule is Prometheus's (its `HistogramStatsIterator`): buckets are left out below `histogram_count`, `histogram_sum` and
//! `histogram_avg`, unless a subquery, a function of whole histograms or a trim stands around the selector, too. Without
//! buckets nobody could tell resets any more, so each sample is told from the one read before it whether it is behind one.
//! Aggregations see these hints, and warn of those that collide.

use std::sync::Arc;

use kansoku_model::histogram::{Counts, NativeHistogram, ResetHint};
use kansoku_model::select::SeriesData;

use super::ast::{Expr, ExprKind};
use super::native::FloatHistogram;
use super::value::{Grid, Reference};

/// Functions that want counts and sums only.
const OF_STATISTICS: &[&str] = &["histogram_avg", "histogram_count", "histogram_sum"];
/// Functions that want all of a histogram.
const OF_BUCKETS: &[&str] = &[
    "histogram_fraction",
    "histogram_quantile",
    "histogram_quantiles",
];

/// Marks the selectors of a query that are read without buckets.
pub(super) fn mark(expr: &mut Expr) {
    mark_below(expr, false);
}

fn mark_below(expr: &mut Expr, mut is_enough: bool) {
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            selector.is_bucketless = is_enough;
            return;
        }
        // Its steps need the buckets to tell resets by themselves.
        ExprKind::Subquery(_) => return,
        ExprKind::Binary(binary) if binary.op.is_trim() => return,
        ExprKind::Call { function, .. } if OF_BUCKETS.contains(&function.name) => return,
        ExprKind::Call { function, .. } => is_enough |= OF_STATISTICS.contains(&function.name),
        _ => {}
    }
    expr.for_each_child_mut(&mut |child| mark_below(child, is_enough));
}

/// Which samples of a series the steps of a query read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub grid: Grid,
    pub reference: Reference,
    /// How far before and after its time a step looks.
    pub before_ms: i64,
    pub after_ms: i64,
    /// A step that begins behind all that was read so far leaves out what lies between, and forgets what was before.
    pub forgets: bool,
}

impl Reading {
    /// Takes the buckets away and notes the resets. The series may begin before what the steps read: that is looked at to
    /// see what follows it without a reset, as Prometheus knows that of the samples of a chunk, and is taken away.
    pub(crate) fn strip(&self, series: &mut SeriesData) {
        let first_ms = self.reference.time(self.grid.start_ms);
        let begin_ms = first_ms.saturating_sub(self.before_ms);
        let n_before = series.times.partition_point(|time| *time <= begin_ms);
        if !series.histograms.is_empty() {
            let hints = self.hints(series, n_before);
            for (stored, hint) in series.histograms.iter_mut().zip(hints) {
                if let Some(stored) = stored {
                    *stored = Arc::new(without_buckets(stored, hint));
                }
            }
            series.histograms.drain(..n_before);
        }
        series.times.drain(..n_before);
        series.values.drain(..n_before);
        series.starts.drain(..n_before.min(series.starts.len()));
    }

    /// What each sample is told of resets.
    fn hints(&self, series: &SeriesData, n_before: usize) -> Vec<ResetHint> {
        let times = &series.times;
        let own = |h: &Option<Arc<NativeHistogram>>| {
            let hint = h.as_ref().map(|h| h.reset_hint);
            hint.unwrap_or_default()
        };
        let mut hints: Vec<ResetHint> = series.histograms.iter().map(own).collect();
        let mut last: Option<FloatHistogram> = None;
        // The sample that reading stands at, and the first one that was not looked at.
        let (mut next, mut unread) = (n_before, n_before);
        for t_ms in self.grid.times() {
            let at_ms = self.reference.time(t_ms);
            let end_ms = at_ms.saturating_add(self.after_ms);
            let begin_ms = at_ms.saturating_sub(self.before_ms);
            let is_behind = |time: &i64| *time < begin_ms;
            if self.forgets && times.get(next).is_some_and(is_behind) {
                next += times[next..].partition_point(is_behind);
                unread = unread.max(next);
                last = None;
            }
            next += times[next..].partition_point(|time| *time < end_ms);
            // The one at the end is read, and is where the next step begins.
            let is_at_end = times.get(next).is_some_and(|time| *time == end_ms);
            while unread < next + usize::from(is_at_end) {
                let row = unread;
                unread += 1;
                let stored = series.histograms[row].as_ref();
                let Some(stored) = stored.filter(|h| !h.is_stale()) else {
                    continue;
                };
                let current = FloatHistogram::of(stored);
                if current.hint == ResetHint::Unknown {
                    hints[row] = match &last {
                        Some(last) if current.is_reset_after(last) => ResetHint::Yes,
                        Some(_) => ResetHint::No,
                        None if is_counted_on(series, row, &current) => ResetHint::No,
                        None => ResetHint::Unknown,
                    };
                }
                last = Some(current);
            }
        }
        hints
    }
}

/// Whether the sample before a row is a counter of the same kind that the row goes on counting from: Prometheus has both
/// in one chunk then.
fn is_counted_on(series: &SeriesData, row: usize, current: &FloatHistogram) -> bool {
    let stored = |row: usize| series.histograms.get(row)?.as_ref();
    let before = row.checked_sub(1).and_then(stored);
    before.zip(stored(row)).is_some_and(|(before, stored)| {
        let is_counter = !before.is_stale() && before.reset_hint != ResetHint::Gauge;
        let is_same_kind =
            std::mem::discriminant(&before.counts) == std::mem::discriminant(&stored.counts);
        is_counter && is_same_kind && !current.is_reset_after(&FloatHistogram::of(before))
    })
}

fn without_buckets(stored: &NativeHistogram, reset_hint: ResetHint) -> NativeHistogram {
    let count = match &stored.counts {
        Counts::Integer { count, .. } => *count as f64,
        Counts::Float { count, .. } => *count,
    };
    NativeHistogram {
        schema: stored.schema,
        counts: Counts::Float {
            count,
            zero: 0.0,
            negative: Vec::new(),
            positive: Vec::new(),
        },
        reset_hint,
        ..NativeHistogram::empty(stored.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn buckets_are_left_out_where_nobody_looks_at_them() {
        let cases = [
            ("histogram_count(x)", vec![true]),
            ("histogram_sum(sum(rate(x[5m])) / 2)", vec![true]),
            ("histogram_avg((x)) + y", vec![true, false]),
            ("x", vec![false]),
            ("histogram_stddev(x)", vec![false]),
            ("histogram_count(increase(x[5m:1m]))", vec![false]),
            ("max_over_time(histogram_count(x)[5m:1m])", vec![false]),
            ("histogram_count(x </ 5)", vec![false]),
            ("histogram_count(x - y >/ scalar(z))", vec![false; 3]),
            (
                "histogram_quantile(0.9, x + histogram_count(y))",
                vec![false; 2],
            ),
            (
                "histogram_count(x * histogram_fraction(0, 1, y))",
                vec![true, false],
            ),
        ];
        for (text, expected) in cases {
            let query = parse(text).unwrap();
            let selectors = query.expr.selectors();
            let found: Vec<bool> = selectors.iter().map(|s| s.is_bucketless).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn resets_are_told_by_the_sample_that_was_read_before() {
        use ResetHint::{Gauge, No, Unknown, Yes};
        let sample = |(time_ms, count, hint): &(i64, u64, ResetHint)| {
            let mut stored = NativeHistogram::empty(f64::from(*count as u32));
            stored.counts = Counts::Integer {
                count: *count,
                zero: *count,
                negative: Vec::new(),
                positive: Vec::new(),
            };
            stored.reset_hint = *hint;
            if *count == 0 {
                stored.sum = f64::from_bits(kansoku_model::metric::STALE_BITS);
            }
            (*time_ms, Some(Arc::new(stored)))
        };
        let samples = [
            (10, 5, Unknown),
            (20, 6, Unknown),
            (30, 0, Unknown),
            (40, 4, Unknown),
            (50, 9, Gauge),
            (60, 8, Unknown),
            (70, 9, Unknown),
        ];
        let run = |(start_ms, step_ms, n_steps), before_ms, forgets| {
            let (times, histograms) = samples.iter().map(sample).unzip();
            let mut series = SeriesData {
                times,
                values: vec![0.0; samples.len()],
                histograms,
                ..SeriesData::default()
            };
            let grid = Grid {
                start_ms,
                step_ms,
                n_steps,
            };
            let reading = Reading {
                grid,
                reference: Reference::Offset(0),
                before_ms,
                after_ms: 0,
                forgets,
            };
            reading.strip(&mut series);
            let of = |h: &Option<Arc<NativeHistogram>>| {
                let h = FloatHistogram::of(h.as_ref().unwrap());
                assert_eq!(h.zero_count, 0.0);
                h.hint
            };
            series.histograms.iter().map(of).collect::<Vec<_>>()
        };
        // All are read; the marker is not compared with, and what is known stays.
        let all = [Unknown, No, Unknown, Yes, Gauge, Yes, No];
        assert_eq!(run((70, 10, 1), 100, true), all);
        assert_eq!(run((10, 10, 7), 10, true), all);
        assert_eq!(run((10, 10, 7), 9, false), all);
        // Steps that leave samples out begin anew; what goes on counting is known to.
        let anew = [Unknown, No, Unknown, Unknown, Gauge, Unknown, No];
        assert_eq!(run((10, 10, 7), 9, true), anew);
        let some = [No, Unknown, Unknown, Gauge, Unknown, Unknown];
        assert_eq!(run((20, 20, 3), 5, true), some);
        assert_eq!(
            run((25, 35, 2), 15, true)[2..],
            [Unknown, Gauge, Yes, Unknown]
        );
        // What lies before is looked at and taken away.
        assert_eq!(run((70, 1, 1), 10, true), [No]);
        assert_eq!(run((70, 1, 1), 20, true), [Unknown, No]);
    }
}
