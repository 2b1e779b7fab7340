//! Reads samples for selectors and subqueries: each selector once, for all steps together.
//!
//! Windows are open on the left. A staleness marker hides a series from an instant selector and is
//! itself hidden from a range.

use std::sync::Arc;

use kansoku_model::select::{SelectError, SeriesData};
use kansoku_model::{Labels, Matcher};

use super::ast::{At, Duration, Expr, ExprKind, Extension, Modifiers, Selector, Subquery};
use super::error::QueryError;
use super::evaluate::Evaluator;
use super::native::FloatHistogram;
use super::smoothed;
use super::value::{
    ABSENT, Column, Grid, Point, RangeData, RangeSeries, Reference, Value, is_absent,
};

/// As many bytes of a histogram count as a sample.
const SAMPLE_BYTES: usize = 16;
/// The most evaluations of a subquery's expression; more would hardly end.
const MAX_SUBQUERY_STEPS: i64 = 10_000_000;

impl Evaluator<'_> {
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

    /// Samples of a selector that windows of `range_ms` before and `ahead_ms` after each step can
    /// reach.
    fn fetch(
        &self,
        matchers: &[Matcher],
        reference: Reference,
        range_ms: i64,
        ahead_ms: i64,
        grid: &Grid,
    ) -> Result<Vec<SeriesData>, QueryError> {
        (self.check)()?;
        let from_ms = reference
            .time(grid.start_ms)
            .saturating_sub(range_ms)
            .saturating_add(1);
        let to_ms = reference.time(grid.end_ms()).saturating_add(ahead_ms);
        let series = self
            .source
            .select(matchers, from_ms, to_ms, self.samples_left())
            .map_err(|error| match error {
                SelectError::Limit(_) => Self::too_many_samples(),
                // The store stops for the reason that `check` gives, if it still gives one.
                SelectError::Cancelled(_) => (self.check)().err().unwrap_or_else(|| error.into()),
                SelectError::Storage(_) => error.into(),
            })?;
        let weight = |s: &SeriesData| {
            let bytes: usize = s.histograms.iter().flatten().map(|h| h.size_bytes()).sum();
            s.times.len() + bytes / SAMPLE_BYTES
        };
        let n_samples = series.iter().map(weight).sum();
        self.samples_read
            .set(self.samples_read.get() + n_samples as u64);
        self.hold(n_samples)?;
        Ok(series)
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
        let fetched = self.fetch(&selector.matchers, reference, lookback_ms, 0, grid)?;
        self.hold(fetched.len().saturating_mul(grid.n_steps))?;
        let mut columns = Vec::with_capacity(fetched.len());
        for series in fetched {
            (self.check)()?;
            let at = |t_ms: i64| reference.time(t_ms);
            let present = mixed_column(&series, grid, lookback_ms, at);
            let mut column = Column::new(series.labels, false);
            for (step, t_ms) in grid.times().enumerate() {
                let n_seen = series.times.partition_point(|time| *time <= at(t_ms));
                let newest = n_seen.checked_sub(1).filter(|_| present.is_present(step));
                column.push(newest.map(|newest| {
                    let start_ms = series.starts.get(newest).copied().unwrap_or(0);
                    Point::Float(start_ms as f64 / 1000.0)
                }));
            }
            if column.any_present() {
                columns.push(column);
            }
        }
        columns.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
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
        let fetched = self.fetch(matchers, reference, lookback_ms, 0, grid)?;
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
            let time = |step: usize| {
                let n_seen = series.times.partition_point(|t| *t <= at(grid.time(step)));
                let newest = n_seen.checked_sub(1).filter(|_| column.is_present(step));
                newest.map(|at| series.times[at])
            };
            found.push((series.labels, (0..grid.n_steps).map(time).collect()));
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn instant_columns(
        &self,
        selector: &Selector,
        grid: &Grid,
        keeps_histograms: bool,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Column>, QueryError> {
        let reference = self.reference(&selector.modifiers)?;
        let lookback_ms = self.options.lookback_ms;
        let smoothed = selector.extension == Some(Extension::Smoothed);
        let ahead_ms = if smoothed { lookback_ms } else { 0 };
        let fetched = self.fetch(&selector.matchers, reference, lookback_ms, ahead_ms, grid)?;
        self.hold(fetched.len().saturating_mul(grid.n_steps))?;
        let mut columns = Vec::with_capacity(fetched.len());
        for series in fetched {
            (self.check)()?;
            if !series.histograms.is_empty() {
                let at = |t_ms: i64| reference.time(t_ms);
                let mut column = match smoothed {
                    true => smoothed::column(self, selector.span, &series, grid, at),
                    false => mixed_column(&series, grid, lookback_ms, at),
                };
                if !keeps_histograms {
                    column = sample_times(&series, &column, grid, at);
                }
                self.hold(super::value::weight(column.histograms.iter().flatten()))?;
                if column.any_present() {
                    columns.push(column);
                }
                continue;
            }
            let mut any = false;
            let mut next = 0;
            let values = grid
                .times()
                .map(|t_ms| {
                    let at_ms = reference.time(t_ms);
                    while series.times.get(next).is_some_and(|time| *time <= at_ms) {
                        next += 1;
                    }
                    let Some(last) = next.checked_sub(1) else {
                        return ABSENT;
                    };
                    let (time_ms, value) = (series.times[last], series.values[last]);
                    if time_ms <= at_ms - lookback_ms || is_absent(value) {
                        return ABSENT;
                    }
                    any = true;
                    let next =
                        smoothed.then(|| Some((*series.times.get(next)?, series.values[next])));
                    match next.flatten() {
                        Some((next_ms, next_value)) if next_ms < at_ms + lookback_ms => pick(
                            at_ms,
                            interpolate((time_ms, value), (next_ms, next_value), at_ms),
                        ),
                        _ => pick(time_ms, value),
                    }
                })
                .collect();
            if any {
                columns.push(Column::floats(series.labels, false, values));
            }
        }
        // The source gives no order; results should not depend on its mood.
        columns.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(columns)
    }

    /// The argument of a range function: a selector with a range or a subquery.
    pub(crate) fn range_data(&self, expr: &Expr, grid: &Grid) -> Result<RangeData, QueryError> {
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
    ) -> Result<RangeData, QueryError> {
        let range_ms = self.positive_ms(range)?;
        let reference = self.reference(&selector.modifiers)?;
        let lookback_ms = self.options.lookback_ms;
        let (before_ms, ahead_ms) = match selector.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (lookback_ms, 0),
            Some(Extension::Smoothed) => (lookback_ms, lookback_ms),
        };
        let reach_ms = range_ms.saturating_add(before_ms);
        let fetched = self.fetch(&selector.matchers, reference, reach_ms, ahead_ms, grid)?;
        let mut series: Vec<RangeSeries> = fetched
            .into_iter()
            .map(|series| without_stale(series, self.options.start_timestamps))
            .filter(|one| !one.is_empty())
            .collect();
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(RangeData {
            series,
            range_ms,
            reference,
            extension: selector.extension,
            lookback_ms,
        })
    }

    fn subquery(&self, subquery: &Subquery, grid: &Grid) -> Result<RangeData, QueryError> {
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
        let mut data = RangeData {
            series: Vec::new(),
            range_ms,
            reference,
            extension: None,
            lookback_ms: 0,
        };
        if start_ms > end_ms {
            return Ok(data);
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
        for column in columns {
            let series = present_samples(column, &inner);
            if !series.is_empty() {
                data.series.push(series);
            }
        }
        Ok(data)
    }
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
    for (step, t_ms) in grid.times().enumerate() {
        let at = series
            .times
            .partition_point(|time| *time <= reference(t_ms));
        let time = at.checked_sub(1).filter(|_| column.is_present(step));
        times.push(time.map(|at| Point::Float(series.times[at] as f64 / 1000.0)));
    }
    times
}

fn without_stale(series: SeriesData, wants_starts: bool) -> RangeSeries {
    let (mut times, mut values) = (series.times, series.values);
    let mut starts = if wants_starts {
        series.starts
    } else {
        Vec::new()
    };
    let (mut histogram_times, mut histograms) = (Vec::new(), Vec::new());
    let mut histogram_starts = Vec::new();
    for (at, stored) in series.histograms.iter().enumerate() {
        if let Some(stored) = stored.as_ref().filter(|h| !h.is_stale()) {
            histogram_times.push(times[at]);
            histograms.push(Arc::new(FloatHistogram::of(stored)));
            histogram_starts.extend(starts.get(at));
        }
    }
    if values.iter().any(|v| is_absent(*v)) {
        let mut flags = values.iter().map(|v| !is_absent(*v));
        times.retain(|_| flags.next().unwrap_or(false));
        let mut flags = values.iter().map(|v| !is_absent(*v));
        starts.retain(|_| flags.next().unwrap_or(false));
        values.retain(|v| !is_absent(*v));
    }
    RangeSeries {
        labels: series.labels,
        drop_name: false,
        times,
        values,
        histogram_times,
        histograms,
        starts,
        histogram_starts,
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
    let (histogram_times, histograms) = histograms.unzip();
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

/// The value at `at_ms` on the line through two samples.
pub(super) fn interpolate(before: (i64, f64), after: (i64, f64), at_ms: i64) -> f64 {
    let share = (at_ms - before.0) as f64 / (after.0 - before.0) as f64;
    before.1 + (after.1 - before.1) * share
}
