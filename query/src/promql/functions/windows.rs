//! Range functions over series: the window of every step, moved along the samples once.
//!
//! Series are independent of each other, so several threads may take them.

use kansoku_model::{FloatsView, Labels};

use super::super::ast::Extension;
use super::super::error::QueryError;
use super::super::evaluate::Evaluator;
use super::super::of_times::{Advance, OfTimes};
use super::super::value::{
    Column, Point, RangeData, RangeOf, RangeSeries, Value, Window, Windows, weight,
};
use super::Call;
use super::float_change::{SampledWindow, changes, spans};

/// Steps between two looks at whether to go on: a long window over many samples takes a while.
const STEPS_PER_CHECK: usize = 64;

impl Call<'_, '_> {
    /// The change of floats over each window times `factor`. `look` sees the labels of each series that has floats; windows
    /// of anything but plain floats go to `body`, which must give the same for those.
    pub(super) fn float_changes(
        &self,
        data: &RangeData<'_>,
        is_counter: bool,
        factor: f64,
        look: &(dyn Fn(&Call<'_, '_>, &Labels) + Sync),
        body: impl Fn(&Call<'_, '_>, &RangeSeries, &Window<'_>) -> Option<Point> + Sync,
    ) -> Result<Value, QueryError> {
        let n_steps = self.grid.n_steps;
        let is_plain = data.windows.extension.is_none();
        let of_any = |ev: &Evaluator<'_>, series: &RangeSeries| {
            let call = self.on(ev);
            ev.hold(n_steps)?;
            if !series.times.is_empty() {
                look(&call, &series.labels);
            }
            let mut column = if is_plain && series.is_plain() {
                let spans = spans(&series.times, self.grid, &data.windows, ev.check)?;
                call.count_spans(&spans);
                let values = FloatsView::Plain(&series.values);
                let values = changes(&spans, values, is_counter, factor);
                Column::floats(series.labels.clone(), series.drop_name, values)
            } else {
                call.column(&data.windows, series, &[], |window| {
                    Ok(body(&call, series, window))
                })?
            };
            ev.hold(weight(column.histograms.iter().flatten()))?;
            ev.drop_name(&mut column);
            Ok(column)
        };
        let columns = match &data.series {
            RangeOf::Stored(found) if is_plain => {
                let state = || OfTimes::new(n_steps);
                self.evaluator.each_of_either(
                    &**found,
                    n_steps,
                    Some(state),
                    |ev, known, at, run| {
                        run.drop_markers();
                        if run.times.is_empty() {
                            return Ok(None);
                        }
                        ev.hold(n_steps)?;
                        let labels = found.labels(at);
                        look(&self.on(ev), labels);
                        let of_times =
                            |times: &[i64]| spans(times, self.grid, &data.windows, ev.check);
                        let spans = known.get(&run.times, of_times)?;
                        self.count_spans(&spans);
                        let values = changes(&spans, run.values.view(), is_counter, factor);
                        let mut column = Column::floats(labels.clone(), false, values);
                        ev.drop_name(&mut column);
                        Ok(Some(column))
                    },
                    |ev, at, read| ev.in_range(data, (&**found, at), read, of_any),
                )?
            }
            _ => self.evaluator.each_in_range(data, n_steps, of_any)?,
        };
        self.joined(columns)
    }

    fn count_spans(&self, spans: &[SampledWindow]) {
        if let Some(counts) = self.evaluator.step_counts() {
            for (step, span) in spans.iter().enumerate() {
                counts.add(self.grid, step, u64::from(span.n_samples));
            }
        }
    }

    /// The same call on another thread.
    fn on<'x, 'y>(&'x self, evaluator: &'x Evaluator<'y>) -> Call<'x, 'y> {
        Call { evaluator, ..*self }
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
            let call = self.on(ev);
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
            if let Some(counts) = self.evaluator.step_counts() {
                let histograms = series.histograms[of_histograms.clone()].iter();
                counts.add(self.grid, step, (rows.len() + weight(histograms)) as u64);
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
    let (in_floats, in_histograms) = (floats.window(), histograms.window());
    if in_floats.is_empty() && in_histograms.is_empty() {
        return (in_floats, in_histograms);
    }
    let oldest_ms = start_ms.saturating_sub(windows.lookback_ms);
    let anchor_ms = |times: &[i64], from: usize| {
        let time_ms = times[from.checked_sub(1)?];
        (time_ms > oldest_ms).then_some(time_ms)
    };
    let of_floats = anchor_ms(&series.times, in_floats.start);
    let of_histograms = anchor_ms(&series.histogram_times, in_histograms.start);
    let before = |from: usize, is_anchor: bool| from - usize::from(is_anchor);
    (
        before(in_floats.start, of_floats > of_histograms)..in_floats.end,
        before(in_histograms.start, of_histograms > of_floats)..in_histograms.end,
    )
}

/// Where a window is in the samples of one kind; it only moves forward.
#[derive(Default)]
struct Moving {
    from: Advance,
    to: Advance,
}

impl Moving {
    /// The samples of the last window, without any beyond its ends.
    fn window(&self) -> std::ops::Range<usize> {
        self.from.at()..self.to.at()
    }

    /// The samples of the next window; none when it is empty.
    #[inline]
    fn rows(
        &mut self,
        times: &[i64],
        start_ms: i64,
        end_ms: i64,
        windows: &Windows,
    ) -> std::ops::Range<usize> {
        let (from, to) = (self.from.to(times, start_ms), self.to.to(times, end_ms));
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
