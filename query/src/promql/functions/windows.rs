//! Range functions over series: the window of every step, moved along the samples once.
//!
//! Series are independent of each other, so several threads may take them.

use super::super::ast::Extension;
use super::super::error::QueryError;
use super::super::value::{
    ABSENT, Column, Point, RangeData, RangeSeries, Value, Window, Windows, weight,
};
use super::Call;

/// Steps between two looks at whether to go on: a long window over many samples takes a while.
const STEPS_PER_CHECK: usize = 64;

/// A window over a series of floats alone, at least one of them, without samples beyond its ends.
pub(super) struct Plain<'a> {
    pub times: &'a [i64],
    pub values: &'a [f64],
    /// Some float of the series is lower than the one before it.
    pub falls: bool,
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Call<'_, '_> {
    /// As [`Self::over_samples`] for functions that see plain floats mostly: `plain` must give what `body` gives. `look`
    /// sees each series first.
    pub(super) fn over_floats(
        &self,
        data: &RangeData<'_>,
        look: &(dyn Fn(&Call<'_, '_>, &RangeSeries) + Sync),
        plain: impl Fn(&Plain<'_>) -> Option<f64> + Sync,
        body: impl Fn(&Call<'_, '_>, &RangeSeries, &Window<'_>) -> Option<Point> + Sync,
    ) -> Result<Value, QueryError> {
        let n_steps = self.grid.n_steps;
        let columns = self.evaluator.each_in_range(data, n_steps, |ev, series| {
            let call = Call {
                evaluator: ev,
                ..*self
            };
            ev.hold(n_steps)?;
            look(&call, series);
            let is_plain = series.histograms.is_empty() && series.starts.is_empty();
            let mut column = if is_plain && data.windows.extension.is_none() {
                call.plain_column(&data.windows, series, &plain)?
            } else {
                call.column(&data.windows, series, &[], |window| {
                    Ok(body(&call, series, window))
                })?
            };
            ev.hold(weight(column.histograms.iter().flatten()))?;
            ev.drop_name(&mut column);
            Ok(column)
        })?;
        self.joined(columns)
    }

    fn plain_column(
        &self,
        windows: &Windows,
        series: &RangeSeries,
        plain: impl Fn(&Plain<'_>) -> Option<f64>,
    ) -> Result<Column, QueryError> {
        let (times, values) = (&*series.times, &*series.values);
        let falls = values.windows(2).any(|pair| pair[1] < pair[0]);
        let (mut from, mut to) = (0, 0);
        let mut results = Vec::with_capacity(self.grid.n_steps);
        for step in 0..self.grid.n_steps {
            if step % STEPS_PER_CHECK == 0 {
                (self.evaluator.check)()?;
            }
            let end_ms = windows.reference.time(self.grid.time(step));
            let start_ms = end_ms.saturating_sub(windows.range_ms);
            while to < times.len() && times[to] <= end_ms {
                to += 1;
            }
            while from < to && times[from] <= start_ms {
                from += 1;
            }
            let window = Plain {
                times: &times[from..to],
                values: &values[from..to],
                falls,
                start_ms,
                end_ms,
            };
            let result = if from < to { plain(&window) } else { None };
            results.push(result.unwrap_or(ABSENT));
        }
        Ok(Column::floats(
            series.labels.clone(),
            series.drop_name,
            results,
        ))
    }

    /// Gives `body` the window of every step of every series that holds a sample, with the state of that
    /// series.
    pub(super) fn over_samples<S>(
        &self,
        data: &RangeData<'_>,
        keeps_name: bool,
        state: impl Fn(&Call<'_, '_>, &RangeSeries) -> S + Sync,
        body: impl Fn(
            &mut S,
            &Call<'_, '_>,
            &RangeSeries,
            &Window<'_>,
        ) -> Result<Option<Point>, QueryError>
        + Sync,
    ) -> Result<Value, QueryError> {
        let scalars = self.scalars()?;
        let n_steps = self.grid.n_steps;
        let columns = self.evaluator.each_in_range(data, n_steps, |ev, series| {
            let call = Call {
                evaluator: ev,
                ..*self
            };
            ev.hold(n_steps)?;
            let mut state = state(&call, series);
            let mut column = call.column(&data.windows, series, &scalars, |window| {
                body(&mut state, &call, series, window)
            })?;
            ev.hold(weight(column.histograms.iter().flatten()))?;
            if !keeps_name {
                ev.drop_name(&mut column);
            }
            Ok(column)
        })?;
        self.joined(columns)
    }

    /// What `body` makes of each window.
    fn column(
        &self,
        windows: &Windows,
        series: &RangeSeries,
        scalars: &[Vec<f64>],
        mut body: impl FnMut(&Window<'_>) -> Result<Option<Point>, QueryError>,
    ) -> Result<Column, QueryError> {
        let mut at_step = vec![0.0; scalars.len()];
        let (mut floats, mut histograms) = (Moving::default(), Moving::default());
        let mut column = Column::new(series.labels.clone(), series.drop_name);
        column.values.reserve_exact(self.grid.n_steps);
        // Most counters never fall, so that most windows of them need not be looked through.
        let falls = series.values.windows(2).any(|pair| pair[1] < pair[0]);
        for step in 0..self.grid.n_steps {
            if step % STEPS_PER_CHECK == 0 {
                (self.evaluator.check)()?;
            }
            let eval_ms = self.grid.time(step);
            let end_ms = windows.reference.time(eval_ms);
            let start_ms = end_ms.saturating_sub(windows.range_ms);
            let mut rows = floats.rows(&series.times, start_ms, end_ms, windows);
            let mut of_histograms = match series.histogram_times.is_empty() {
                true => 0..0,
                false => histograms.rows(&series.histogram_times, start_ms, end_ms, windows),
            };
            let is_mixed = !series.times.is_empty() && !series.histogram_times.is_empty();
            if is_mixed && windows.extension == Some(Extension::Anchored) {
                (rows, of_histograms) = anchored(series, &floats, &histograms, start_ms, windows);
            }
            if rows.is_empty() && of_histograms.is_empty() {
                column.push(None);
                continue;
            }
            for (slot, all) in at_step.iter_mut().zip(scalars) {
                *slot = all[step];
            }
            let rows_of_starts = rows.clone();
            let window = Window {
                first: rows.start,
                times: &series.times[rows.clone()],
                values: &series.values[rows],
                falls,
                histogram_times: &series.histogram_times[of_histograms.clone()],
                histograms: &series.histograms[of_histograms.clone()],
                starts: series.starts.get(rows_of_starts).unwrap_or_default(),
                histogram_starts: series
                    .histogram_starts
                    .get(of_histograms)
                    .unwrap_or_default(),
                start_ms,
                end_ms,
                eval_ms,
                extension: windows.extension,
                scalars: &at_step,
            };
            column.push(body(&window)?);
        }
        Ok(column)
    }
}

/// The samples of either kind in a window whose anchor is the newest sample at or before its start, of whichever kind
/// that is.
fn anchored(
    series: &RangeSeries,
    floats: &Moving,
    histograms: &Moving,
    start_ms: i64,
    windows: &Windows,
) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let (in_floats, in_histograms) = (floats.from..floats.to, histograms.from..histograms.to);
    if in_floats.is_empty() && in_histograms.is_empty() {
        return (in_floats, in_histograms);
    }
    let oldest_ms = start_ms.saturating_sub(windows.lookback_ms);
    let anchor_ms = |times: &[i64], from: usize| {
        let time_ms = times[from.checked_sub(1)?];
        (time_ms > oldest_ms).then_some(time_ms)
    };
    let of_floats = anchor_ms(&series.times, floats.from);
    let of_histograms = anchor_ms(&series.histogram_times, histograms.from);
    let before = |from: usize, is_anchor: bool| from - usize::from(is_anchor);
    (
        before(floats.from, of_floats > of_histograms)..floats.to,
        before(histograms.from, of_histograms > of_floats)..histograms.to,
    )
}

/// Where a window is in the samples of one kind; it only moves forward.
#[derive(Default)]
struct Moving {
    from: usize,
    to: usize,
}

impl Moving {
    /// The samples of the next window; none when it is empty.
    #[inline]
    fn rows(
        &mut self,
        times: &[i64],
        start_ms: i64,
        end_ms: i64,
        windows: &Windows,
    ) -> std::ops::Range<usize> {
        while times.get(self.to).is_some_and(|t| *t <= end_ms) {
            self.to += 1;
        }
        while self.from < self.to && times[self.from] <= start_ms {
            self.from += 1;
        }
        let (from, to) = (self.from, self.to);
        let (mut first, mut last) = (from, to);
        if windows.extension.is_some() {
            // The sample before the window is the last that `from` moved past.
            let oldest_ms = start_ms.saturating_sub(windows.lookback_ms);
            let known = |at: usize| times[at] > oldest_ms;
            first = from.checked_sub(1).filter(|at| known(*at)).unwrap_or(from);
        }
        if windows.extension == Some(Extension::Smoothed)
            && to.checked_sub(1).is_none_or(|at| times[at] < end_ms)
            && times
                .get(to)
                .is_some_and(|t| *t < end_ms.saturating_add(windows.lookback_ms))
        {
            last = to + 1;
        }
        // Something must lie after the start and something not after the end.
        if last == from || first == to {
            return from..from;
        }
        first..last
    }
}
