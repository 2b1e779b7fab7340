//! Reads samples for selectors and subqueries: each selector once, for all steps together.
//!
//! Windows are open on the left. A staleness marker hides a series from an instant selector and is
//! itself hidden from a range.

use std::sync::Arc;

use kansoku_model::select::{SelectError, SeriesData, SeriesSet};
use kansoku_model::{FloatRun, FloatsView, Labels, Matcher};

use super::ast::{At, Duration, Expr, ExprKind, Extension, Modifiers, Selector, Subquery};
use super::bucketless::Reading;
use super::error::QueryError;
use super::evaluate::{Evaluator, Stop};
use super::native::{FloatHistogram, ResetHint};
use super::of_times::{Advance, OfTimes};
use super::smoothed;
use super::value::{
    ABSENT, Column, Grid, Point, RangeData, RangeOf, RangeSeries, Reference, Value, Windows,
    is_absent,
};

/// As many bytes of a histogram count as a sample.
const SAMPLE_BYTES: usize = 16;
/// The most evaluations of a subquery's expression; more would hardly end.
const MAX_SUBQUERY_STEPS: i64 = 10_000_000;

impl<'a> Evaluator<'a> {
    fn duration_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        duration
            .evaluate_ms(self.times)
            .map_err(QueryError::Execution)
    }

    fn positive_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        let found_ms = self.duration_ms(duration)?;
        if found_ms <= 0 {
            return Err(QueryError::Execution(
                "duration must be greater than 0".to_owned(),
            ));
        }
        Ok(found_ms)
    }

    pub(super) fn offset_ms(&self, modifiers: &Modifiers) -> Result<i64, QueryError> {
        let offset = modifiers.offset.as_ref();
        offset.map_or(Ok(0), |offset| self.duration_ms(offset))
    }

    /// The time that `@` names.
    pub(super) fn at_ms(&self, at: At) -> i64 {
        match at {
            At::Start => self.query_start_ms,
            At::End => self.query_end_ms,
            At::Time(time_ms) => time_ms,
        }
    }

    fn reference(&self, modifiers: &Modifiers) -> Result<Reference, QueryError> {
        let offset_ms = self.offset_ms(modifiers)?;
        Ok(match modifiers.at {
            None => Reference::Offset(offset_ms),
            Some(at) => Reference::Fixed(self.at_ms(at) - offset_ms),
        })
    }

    /// Series of a selector with the samples that windows of `range_ms` before and `ahead_ms` after each step
    /// can reach.
    fn find(
        &self,
        matchers: &[Matcher],
        reference: Reference,
        (range_ms, ahead_ms): (i64, i64),
        grid: &Grid,
    ) -> Result<Box<dyn SeriesSet + 'a>, QueryError> {
        (self.check)()?;
        let from_ms = reference
            .time(grid.start_ms)
            .saturating_sub(range_ms)
            .saturating_add(1);
        let to_ms = reference.time(grid.end_ms()).saturating_add(ahead_ms);
        let found = self
            .source
            .find(matchers, from_ms, to_ms, self.samples_left())
            .map_err(|error| self.select_error(error))?;
        // Those of the set and those of what is made of it.
        let labels = (0..found.n_series()).map(|at| found.labels(at));
        self.hold_labels(labels.clone().chain(labels))?;
        if let Some(trace) = &self.options.trace {
            trace.found(matchers, (from_ms, to_ms), &*found);
        }
        Ok(found)
    }

    /// What a store's error is for the query.
    pub(super) fn select_error(&self, error: SelectError) -> QueryError {
        match error {
            SelectError::Limit(_) => Self::too_many_samples(),
            // The store stops for the reason that `check` gives, if it still gives one.
            SelectError::Cancelled(_) => (self.check)().err().unwrap_or_else(|| error.into()),
            SelectError::Storage(_) => error.into(),
        }
    }

    /// Counts the samples of a series that was read, as read and as held; returns what they count for.
    pub(super) fn count_read(&self, series: &SeriesData) -> Result<usize, QueryError> {
        let histograms = series.histograms.iter().flatten();
        let bytes: usize = histograms.map(|h| h.size_bytes()).sum();
        let n = series.times.len() + bytes / SAMPLE_BYTES;
        self.count_samples(n);
        self.hold(n)?;
        Ok(n)
    }

    /// All series that a selector reaches back `range_ms` for, with their samples.
    fn fetch(
        &self,
        matchers: &[Matcher],
        reference: Reference,
        range_ms: i64,
        grid: &Grid,
    ) -> Result<Vec<SeriesData>, QueryError> {
        let found = self.find(matchers, reference, (range_ms, 0), grid)?;
        let mut reader = found.reader();
        let mut all = Vec::new();
        for at in 0..found.n_series() {
            (self.check)()?;
            let mut series = SeriesData::default();
            let read = reader.read(at, &mut series);
            read.map_err(|error| self.select_error(error))?;
            self.count_read(&series)?;
            if !series.times.is_empty() {
                series.labels = found.labels(at).clone();
                all.push(series);
            }
        }
        Ok(all)
    }

    /// The newest sample of each series at each step, no older than the lookback.
    pub(crate) fn instant_selector(
        &self,
        selector: &Selector,
        grid: &Grid,
    ) -> Result<Vec<Column>, QueryError> {
        self.instant_columns(selector, grid, true, |_, value| value)
    }

    /// As [`Self::instant_selector`], but the values are the samples' times in seconds.
    pub(crate) fn sample_times(
        &self,
        selector: &Selector,
        grid: &Grid,
    ) -> Result<Vec<Column>, QueryError> {
        self.instant_columns(selector, grid, false, |time_ms, _| time_ms as f64 / 1000.0)
    }

    /// As [`Self::sample_times`], but when what the samples count began; 0 where that is not known.
    pub(crate) fn start_times(
        &self,
        selector: &Selector,
        grid: &Grid,
    ) -> Result<Vec<Column>, QueryError> {
        let reference = self.reference(&selector.modifiers)?;
        let lookback_ms = self.options.lookback_ms;
        let fetched = self.fetch(&selector.matchers, reference, lookback_ms, grid)?;
        self.hold(fetched.len().saturating_mul(grid.n_steps))?;
        let mut columns = Vec::with_capacity(fetched.len());
        for series in fetched {
            (self.check)()?;
            let at = |t_ms: i64| reference.time(t_ms);
            let present = mixed_column(&series, grid, lookback_ms, at);
            let mut column = Column::new(Labels::default(), false);
            for newest in newest(&series, &present, grid, at) {
                column.push(newest.map(|newest| {
                    let start_ms = series.starts.get(newest).copied().unwrap_or(0);
                    Point::Float(start_ms as f64 / 1000.0)
                }));
            }
            if column.any_present() {
                column.labels = series.labels;
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// For each series that passes the time of its newest sample at each step.
    ///
    /// # Errors
    /// When such a sample is a histogram.
    pub(super) fn newest_times(
        &self,
        matchers: &[Matcher],
        reference: Reference,
        grid: &Grid,
    ) -> Result<Vec<(Labels, Vec<Option<i64>>)>, QueryError> {
        let lookback_ms = self.options.lookback_ms;
        let fetched = self.fetch(matchers, reference, lookback_ms, grid)?;
        self.hold(fetched.len().saturating_mul(grid.n_steps))?;
        let mut found = Vec::with_capacity(fetched.len());
        for series in fetched {
            (self.check)()?;
            let at = |t_ms: i64| reference.time(t_ms);
            let column = mixed_column(&series, grid, lookback_ms, at);
            if column.histograms.iter().any(Option::is_some) {
                let message = "info sample should be float";
                return Err(QueryError::Execution(message.to_owned()));
            }
            let times = newest(&series, &column, grid, at)
                .map(|newest| newest.map(|at| series.times[at]))
                .collect();
            found.push((series.labels, times));
        }
        Ok(found)
    }

    fn instant_columns(
        &self,
        selector: &Selector,
        grid: &Grid,
        keeps_histograms: bool,
        pick: impl Fn(i64, f64) -> f64 + Sync,
    ) -> Result<Vec<Column>, QueryError> {
        let reference = self.reference(&selector.modifiers)?;
        let lookback_ms = self.options.lookback_ms;
        let smoothed = selector.extension == Some(Extension::Smoothed);
        let ahead_ms = if smoothed { lookback_ms } else { 0 };
        let reach_ms = (selector.reach_ms(lookback_ms, lookback_ms), ahead_ms);
        let found = self.find(&selector.matchers, reference, reach_ms, grid)?;
        self.hold(found.n_series().saturating_mul(grid.n_steps))?;
        let newest = |times: &[i64]| newest_of(times, grid, reference, lookback_ms, self.check);
        let of_floats =
            |_: &Evaluator<'_>, known: &mut OfTimes<Vec<u32>>, at, run: &mut FloatRun| {
                let newest = known.get(&run.times, newest)?;
                let (times, samples) = (&*run.times, run.values.view());
                let values = match samples {
                    FloatsView::Scaled(scaled, power) => {
                        picked(&newest, |at| pick(times[at], scaled[at] as f64 / power))
                    }
                    FloatsView::Plain(plain) => picked(&newest, |at| match plain[at] {
                        value if is_absent(value) => ABSENT,
                        value => pick(times[at], value),
                    }),
                };
                Ok(values.map(|values| Column::floats(found.labels(at).clone(), false, values)))
            };
        let state = (!smoothed).then_some(|| OfTimes::new(grid.n_steps));
        let bucketless = selector.is_bucketless.then_some(Reading {
            grid: *grid,
            reference,
            before_ms: lookback_ms,
            after_ms: ahead_ms,
            // Reading between the samples keeps what it has read.
            forgets: !smoothed,
        });
        let of_any = |ev: &Evaluator<'_>, number, series: &mut SeriesData| {
            if let Some(reading) = &bucketless {
                reading.strip(series);
            }
            if !series.histograms.is_empty() {
                let at = |t_ms: i64| reference.time(t_ms);
                series.labels = found.labels(number).clone();
                let mut column = match smoothed {
                    true => smoothed::column(ev, selector.span, series, grid, at),
                    false => mixed_column(series, grid, lookback_ms, at),
                };
                if !keeps_histograms {
                    column = sample_times(series, &column, grid, at);
                }
                ev.hold(super::value::weight(column.histograms.iter().flatten()))?;
                return Ok(column.any_present().then_some(column));
            }
            let (times, samples) = (&*series.times, &*series.values);
            let (mut any, mut next) = (false, 0);
            let mut values = Vec::with_capacity(grid.n_steps);
            for step in 0..grid.n_steps {
                let at_ms = reference.time(grid.time(step));
                while times.get(next).is_some_and(|time| *time <= at_ms) {
                    next += 1;
                }
                let last = next.checked_sub(1);
                let last = last.filter(|last| times[*last] > at_ms - lookback_ms);
                let Some(last) = last.filter(|last| !is_absent(samples[*last])) else {
                    values.push(ABSENT);
                    continue;
                };
                any = true;
                let newest = (times[last], samples[last]);
                let after = if smoothed { times.get(next) } else { None };
                values.push(match after {
                    Some(after_ms) if *after_ms < at_ms + lookback_ms => {
                        let after = (*after_ms, samples[next]);
                        pick(at_ms, interpolate(newest, after, at_ms))
                    }
                    _ => pick(newest.0, newest.1),
                });
            }
            Ok(any.then(|| Column::floats(found.labels(number).clone(), false, values)))
        };
        let columns = self.each_of_either(&*found, grid.n_steps, state, of_floats, of_any)?;
        if let Some(counts) = self.step_counts() {
            for column in &columns {
                for step in (0..grid.n_steps).filter(|step| column.is_present(*step)) {
                    let of_histogram = super::value::weight(column.histogram(step).into_iter());
                    counts.add(grid, step, of_histogram.max(1) as u64);
                }
            }
        }
        Ok(columns)
    }

    /// The argument of a range function: a selector with a range or a subquery.
    pub(crate) fn range_data(&self, expr: &Expr, grid: &Grid) -> Result<RangeData<'a>, QueryError> {
        match &expr.unwrap_parens().kind {
            ExprKind::Matrix { selector, range } => self.range_selector(selector, range, grid),
            ExprKind::Subquery(subquery) => self.subquery(subquery, grid),
            _ => Err(QueryError::Execution("expected a range vector".to_owned())),
        }
    }

    fn range_selector(
        &self,
        selector: &Selector,
        range: &Duration,
        grid: &Grid,
    ) -> Result<RangeData<'a>, QueryError> {
        let range_ms = self.positive_ms(range)?;
        let reference = self.reference(&selector.modifiers)?;
        let lookback_ms = self.options.lookback_ms;
        let (before_ms, ahead_ms) = match selector.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (lookback_ms, 0),
            Some(Extension::Smoothed) => (lookback_ms, lookback_ms),
        };
        let before_ms = range_ms.saturating_add(before_ms);
        let reach_ms = (selector.reach_ms(before_ms, lookback_ms), ahead_ms);
        let found = self.find(&selector.matchers, reference, reach_ms, grid)?;
        let bucketless = selector.is_bucketless.then_some(Reading {
            grid: *grid,
            reference,
            before_ms,
            after_ms: ahead_ms,
            forgets: true,
        });
        Ok(RangeData {
            series: RangeOf::Stored(found),
            windows: Windows {
                range_ms,
                reference,
                extension: selector.extension,
                lookback_ms,
            },
            bucketless,
        })
    }

    /// Gives `work` the samples of each series of a range; those that have none are left out.
    pub(super) fn each_in_range<T: Send>(
        &self,
        data: &RangeData<'_>,
        n_steps: usize,
        work: impl Fn(&Evaluator<'_>, &RangeSeries) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        match &data.series {
            RangeOf::Held(all) => {
                let of = |one: &RangeSeries| one.times.len() + n_steps;
                let n_values = all.iter().map(of).sum();
                self.each(
                    all.len(),
                    n_values,
                    || (),
                    |ev, (), at| work(ev, &all[at]).map(Some),
                )
            }
            RangeOf::Stored(found) => self.each_read(&**found, n_steps, |ev, at, read| {
                ev.in_range(data, (&**found, at), read, &work)
            }),
        }
    }

    /// Gives `work` what a range sees of the series at `at`, unless that is nothing.
    pub(super) fn in_range<T>(
        &self,
        data: &RangeData<'_>,
        (found, at): (&dyn SeriesSet, usize),
        read: &mut SeriesData,
        work: impl Fn(&Evaluator<'_>, &RangeSeries) -> Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        if let Some(reading) = &data.bucketless {
            reading.strip(read);
        }
        let series = &mut RangeSeries::default();
        take_present(read, series, self.options.start_timestamps);
        let result = if series.is_empty() {
            None
        } else {
            series.labels = found.labels(at).clone();
            Some(work(self, series)?)
        };
        // The memory serves for the next one.
        read.times = std::mem::take(&mut series.times);
        read.values = std::mem::take(&mut series.values);
        Ok(result)
    }

    /// All series of a range at once.
    pub(super) fn read_all(&self, data: RangeData<'_>) -> Result<Vec<RangeSeries>, QueryError> {
        match data.series {
            RangeOf::Held(all) => Ok(all),
            RangeOf::Stored(_) => self.each_in_range(&data, 1, |ev, series| {
                let weight = super::value::weight(series.histograms.iter());
                ev.hold(series.times.len() + weight)?;
                Ok(series.clone())
            }),
        }
    }

    fn subquery(&self, subquery: &Subquery, grid: &Grid) -> Result<RangeData<'a>, QueryError> {
        let range_ms = self.positive_ms(&subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => self.positive_ms(step)?,
            None => self.options.default_subquery_step_ms.max(1),
        };
        let reference = self.reference(&subquery.modifiers)?;
        let open_start_ms = reference.time(grid.start_ms).saturating_sub(range_ms);
        let end_ms = reference.time(grid.end_ms());
        // Steps fall on multiples of the step since the epoch; the window is open on the left.
        let mut start_ms = open_start_ms.div_euclid(step_ms) * step_ms;
        if start_ms <= open_start_ms {
            start_ms = start_ms.saturating_add(step_ms);
        }
        let windows = Windows {
            range_ms,
            reference,
            extension: None,
            lookback_ms: 0,
        };
        let held = |series| RangeData {
            series: RangeOf::Held(series),
            windows,
            bucketless: None,
        };
        if start_ms > end_ms {
            return Ok(held(Vec::new()));
        }
        let n_steps = (end_ms - start_ms) / step_ms + 1;
        if n_steps > MAX_SUBQUERY_STEPS {
            return Err(QueryError::Limit(format!(
                "subquery has more than {MAX_SUBQUERY_STEPS} steps; use a longer step"
            )));
        }
        let inner = Grid {
            start_ms,
            step_ms,
            n_steps: n_steps as usize,
        };
        let Value::Vector(columns) = self.eval(&subquery.operand, &inner)? else {
            return Err(QueryError::Execution(
                "subquery is only allowed on instant vector".to_owned(),
            ));
        };
        let all = columns.into_iter().map(|c| present_samples(c, &inner));
        Ok(held(all.filter(|series| !series.is_empty()).collect()))
    }
}

/// A step that sees no sample.
const NO_SAMPLE: u32 = u32::MAX;
/// Steps between two looks at whether to go on.
const STEPS_PER_CHECK: usize = 4096;

/// For each step the place of the newest sample, no older than the lookback.
fn newest_of(
    times: &[i64],
    grid: &Grid,
    reference: Reference,
    lookback_ms: i64,
    check: Stop<'_>,
) -> Result<Vec<u32>, QueryError> {
    let mut seen = Advance::default();
    let mut newest = Vec::with_capacity(grid.n_steps);
    for step in 0..grid.n_steps {
        if step % STEPS_PER_CHECK == 0 {
            check()?;
        }
        let at_ms = reference.time(grid.time(step));
        let last = seen.to(times, at_ms).checked_sub(1);
        let last = last.filter(|last| times[*last] > at_ms - lookback_ms);
        newest.push(last.map_or(NO_SAMPLE, |last| last as u32));
    }
    Ok(newest)
}

/// The values at these places, if there is any.
fn picked(newest: &[u32], value: impl Fn(usize) -> f64) -> Option<Vec<f64>> {
    let of = |at: &u32| match *at {
        NO_SAMPLE => ABSENT,
        at => value(at as usize),
    };
    let values: Vec<f64> = newest.iter().map(of).collect();
    values.iter().any(|v| !is_absent(*v)).then_some(values)
}

/// An instant selector over a series that holds histograms.
fn mixed_column(
    series: &SeriesData,
    grid: &Grid,
    lookback_ms: i64,
    reference: impl Fn(i64) -> i64,
) -> Column {
    let mut column = Column::new(series.labels.clone(), false);
    let mut next = 0;
    // One that stays is decoded once.
    let mut decoded: Option<(usize, Arc<FloatHistogram>)> = None;
    for t_ms in grid.times() {
        let at_ms = reference(t_ms);
        while series.times.get(next).is_some_and(|time| *time <= at_ms) {
            next += 1;
        }
        let last = next.checked_sub(1);
        let last = last.filter(|last| series.times[*last] > at_ms - lookback_ms);
        column.push(last.and_then(|last| {
            match series.histograms.get(last).unwrap_or(&None) {
                None => Some(series.values[last])
                    .filter(|v| !is_absent(*v))
                    .map(Point::Float),
                Some(stored) if stored.is_stale() => None,
                Some(stored) => {
                    let held = decoded.take().filter(|(at, _)| *at == last);
                    let held = held.unwrap_or_else(|| (last, Arc::new(FloatHistogram::of(stored))));
                    let histogram = Arc::clone(&held.1);
                    decoded = Some(held);
                    Some(Point::Histogram(histogram))
                }
            }
        }));
    }
    column
}

/// The times of the samples that a column was made of, in seconds.
fn sample_times(
    series: &SeriesData,
    column: &Column,
    grid: &Grid,
    reference: impl Fn(i64) -> i64,
) -> Column {
    let mut times = Column::new(column.labels.clone(), false);
    for newest in newest(series, column, grid, reference) {
        times.push(newest.map(|at| Point::Float(series.times[at] as f64 / 1000.0)));
    }
    times
}

/// For each step the place of the sample that a column was made of, if it has one there.
fn newest<'a>(
    series: &'a SeriesData,
    column: &'a Column,
    grid: &'a Grid,
    reference: impl Fn(i64) -> i64 + 'a,
) -> impl Iterator<Item = Option<usize>> + 'a {
    grid.times().enumerate().map(move |(step, t_ms)| {
        let at_ms = reference(t_ms);
        let n_seen = series.times.partition_point(|time| *time <= at_ms);
        n_seen.checked_sub(1).filter(|_| column.is_present(step))
    })
}

/// Moves what a range sees of a series to `into`, which is empty: floats and histograms apart, and no staleness markers.
fn take_present(series: &mut SeriesData, into: &mut RangeSeries, wants_starts: bool) {
    into.times = std::mem::take(&mut series.times);
    into.values = std::mem::take(&mut series.values);
    if wants_starts {
        into.starts = std::mem::take(&mut series.starts);
    }
    for (at, stored) in series.histograms.iter().enumerate() {
        if let Some(stored) = stored.as_ref().filter(|h| !h.is_stale()) {
            into.histogram_times.push(into.times[at]);
            into.histograms.push(Arc::new(FloatHistogram::of(stored)));
            into.histogram_starts.extend(into.starts.get(at));
        }
    }
    let values = &mut into.values;
    if values.iter().any(|v| is_absent(*v)) {
        let mut flags = values.iter().map(|v| !is_absent(*v));
        into.times.retain(|_| flags.next().unwrap_or(false));
        let mut flags = values.iter().map(|v| !is_absent(*v));
        into.starts.retain(|_| flags.next().unwrap_or(false));
        values.retain(|v| !is_absent(*v));
    }
}

fn present_samples(column: Column, grid: &Grid) -> RangeSeries {
    let mut times = Vec::new();
    let mut values = Vec::new();
    for (time_ms, value) in grid.times().zip(column.values) {
        if !is_absent(value) {
            times.push(time_ms);
            values.push(value);
        }
    }
    let histograms = grid.times().zip(column.histograms);
    let histograms = histograms.filter_map(|(time_ms, h)| Some((time_ms, h?)));
    let (histogram_times, mut histograms): (_, Vec<Arc<FloatHistogram>>) = histograms.unzip();
    note_resets_once(&mut histograms);
    RangeSeries {
        labels: column.labels,
        drop_name: column.drop_name,
        times,
        values,
        histogram_times,
        histograms,
        starts: Vec::new(),
        histogram_starts: Vec::new(),
    }
}

/// Steps may be closer than samples: a histogram behind a reset that comes again tells of no other reset.
fn note_resets_once(histograms: &mut [Arc<FloatHistogram>]) {
    for at in (1..histograms.len()).rev() {
        if histograms[at].hint == ResetHint::Yes && histograms[at] == histograms[at - 1] {
            Arc::make_mut(&mut histograms[at]).hint = ResetHint::Unknown;
        }
    }
}

/// The value at `at_ms` on the line through two samples.
pub(super) fn interpolate(before: (i64, f64), after: (i64, f64), at_ms: i64) -> f64 {
    let share = (at_ms - before.0) as f64 / (after.0 - before.0) as f64;
    before.1 + (after.1 - before.1) * share
}
