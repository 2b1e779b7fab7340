//! Evaluates one range function over the entries of its selector.
//!
//! Entries stream by once. What is kept is bounded by series and steps; a query without stages
//! whose labels cannot depend on the entry reads nothing but times.

use std::collections::HashMap;
use std::ops::ControlFlow;

use kansoku_model::select::{Direction, LogBlock, LogBlockRef, LogSelect, MatchOp};
use kansoku_model::{FieldBlock, FieldsWanted, Labels, LogSource};

use super::ast::{Grouping, RangeExpr};
use super::engine::{Limits, Watch};
use super::error::QueryError;
use super::output::Statistics;
use super::pipeline::{Pipeline, load_record};
use super::range::{self, Body, Cell, Range, Steps, Total, WindowCursor};
use super::record::{ERROR_LABEL, Record};
use super::table::{ABSENT, ROW_BYTES, Row, Table};

/// What is kept for one series.
enum State {
    /// Differences: a value counts from its first step up to where it is taken off again.
    Totals(Vec<Total>),
    Cells(Vec<Cell>),
    Samples(Vec<(i64, f64)>),
}

struct Series {
    labels: Labels,
    state: State,
}

impl State {
    fn n_bytes(&self) -> usize {
        match self {
            Self::Totals(totals) => totals.capacity() * size_of::<Total>(),
            Self::Cells(cells) => cells.capacity() * size_of::<Cell>(),
            Self::Samples(samples) => samples.capacity() * SAMPLE_BYTES,
        }
    }
}

const SAMPLE_BYTES: usize = size_of::<(i64, f64)>();

/// Evaluates a range function; `outer` is the grouping of a `sum` around it that may be applied to
/// the entries themselves.
pub fn run(
    source: &dyn LogSource,
    expr: &RangeExpr,
    outer: Option<&Grouping>,
    steps: Steps,
    limits: &Limits,
    watch: &mut Watch<'_>,
    statistics: &mut Statistics,
) -> Result<Table, QueryError> {
    let Some(body) = expr.function.body(expr.unwrap.is_some()) else {
        let name = expr.function.name;
        return Err(QueryError::Evaluation(format!(
            "{name} takes no such input"
        )));
    };
    let grouping = grouping_of(expr, outer, body);
    let pipeline = Pipeline::for_metric(&expr.log, expr.unwrap.as_ref(), grouping.as_ref());
    let shifted = steps.earlier(expr.offset_ns);
    let counts_only = expr.unwrap.is_none() && !expr.function.counts_bytes();
    let whole = pipeline.whole_automata().filter(|_| counts_only);
    let wanted = LogSelect {
        matchers: expr.log.matchers.clone(),
        from_ns: shifted
            .start_ns
            .saturating_sub(expr.range_ns)
            .saturating_add(1),
        to_ns: shifted.last_ns().saturating_add(1),
        direction: Direction::Forward,
        needles: pipeline.needles(),
        counts_only: whole.is_some(),
        automata: whole.unwrap_or_else(|| pipeline.automata()),
    };
    // What a line's length counts for needs it whole.
    let fields = match expr.function.counts_bytes() {
        true => None,
        false => pipeline.fields(),
    };
    let mut scan = Scan {
        expr,
        body,
        grouping: grouping.as_ref(),
        pipeline: &pipeline,
        steps: shifted,
        cursor: WindowCursor::new(shifted, expr.range_ns),
        limits,
        series: Vec::new(),
        index: HashMap::new(),
        n_samples: 0,
        statistics,
        fields: fields.as_ref(),
        block: LogBlock::default(),
        field_block: FieldBlock::default(),
        rows: Vec::new(),
        key: Vec::new(),
    };
    watch.select(source, &wanted, &mut |block, watch| {
        scan.visit(block, watch)
    })?;
    scan.finish(watch)
}

/// By what entries are grouped into series.
fn grouping_of(expr: &RangeExpr, outer: Option<&Grouping>, body: Body) -> Option<Grouping> {
    if matches!(body, Body::Absent) {
        return Some(Grouping {
            without: false,
            names: Vec::new(),
        });
    }
    let mut grouping = outer.or(expr.grouping.as_ref()).cloned();
    if let Some(unwrap) = &expr.unwrap {
        let without = grouping.get_or_insert(Grouping {
            without: true,
            names: Vec::new(),
        });
        // The unwrapped label differs from entry to entry and names no series.
        if without.without {
            without.names.push(unwrap.label.clone());
        }
    }
    grouping
}

/// What judging an entry by columns takes: its outcomes, value and key, and the tables that keys are numbered with.
const JUDGED_BYTES: usize = 128;

/// The memory of a block of fields while its entries are judged.
fn judged_bytes(block: &FieldBlock) -> usize {
    let n_rows: usize = block.groups.iter().map(|group| group.n_rows).sum();
    block.held_bytes() + JUDGED_BYTES * n_rows.max(block.times.len())
}

pub struct Scan<'a> {
    pub expr: &'a RangeExpr,
    body: Body,
    pub grouping: Option<&'a Grouping>,
    pub pipeline: &'a Pipeline,
    steps: Steps,
    pub cursor: WindowCursor,
    limits: &'a Limits,
    series: Vec<Series>,
    index: HashMap<Box<[u8]>, usize>,
    n_samples: usize,
    pub statistics: &'a mut Statistics,
    /// What lines are read for, where fields are enough; whether empty ones are passed over.
    pub fields: Option<&'a (FieldsWanted, bool)>,
    /// Memory that is used again for every block.
    block: LogBlock,
    field_block: FieldBlock,
    rows: Vec<u32>,
    key: Vec<u8>,
}

impl Scan<'_> {
    fn visit(
        &mut self,
        block_ref: &dyn LogBlockRef,
        watch: &mut Watch<'_>,
    ) -> Result<ControlFlow<()>, QueryError> {
        self.statistics.blocks_read += 1;
        if self.needs_times_only(block_ref) {
            self.take_times(block_ref, watch)?;
            return Ok(ControlFlow::Continue(()));
        }
        if let Some((wanted, _)) = self.fields {
            watch.hold_loading(block_ref, self.kept_bytes())?;
            let mut block = std::mem::take(&mut self.field_block);
            if let Some(steps) = self.steps_of_all_counted(block_ref) {
                let is_known = block_ref.load_fields_unordered(wanted, &mut block)?;
                if is_known {
                    watch.hold_block(self.block.held_bytes() + judged_bytes(&block))?;
                }
                if is_known && self.count_fields(&block, block_ref, steps, watch)? {
                    self.field_block = block;
                    return Ok(ControlFlow::Continue(()));
                }
            }
            let kept_bytes = self.block.held_bytes() + block.held_bytes();
            watch.hold_loading(block_ref, kept_bytes)?;
            let visited = match block_ref.load_fields(wanted, &mut block) {
                Ok(true) => Some(
                    watch
                        .hold_block(self.block.held_bytes() + judged_bytes(&block))
                        .and_then(|()| self.take_fields(&block, block_ref, watch)),
                ),
                Ok(false) => None,
                Err(error) => Some(Err(error.into())),
            };
            self.field_block = block;
            if let Some(visited) = visited {
                return visited.map(ControlFlow::Continue);
            }
        }
        let kept_bytes = self.kept_bytes();
        watch.hold_loading(block_ref, kept_bytes)?;
        let mut block = std::mem::take(&mut self.block);
        let visited = match block_ref.load(&mut block) {
            Ok(()) => watch
                .hold_block(block.held_bytes() + self.field_block.held_bytes())
                .and_then(|()| self.take_block(&block, block_ref, watch)),
            Err(error) => Err(error.into()),
        };
        self.block = block;
        visited.map(ControlFlow::Continue)
    }

    /// The memory of the buffers that are used again for every block.
    fn kept_bytes(&self) -> usize {
        self.block.held_bytes() + self.field_block.held_bytes()
    }

    /// Neither lines nor metadata can change what an entry counts for.
    fn needs_times_only(&self, block_ref: &dyn LogBlockRef) -> bool {
        self.pipeline.is_empty()
            && self.expr.unwrap.is_none()
            && (self.is_grouped_by(block_ref.labels()) || !block_ref.has_metadata())
    }

    /// Whether labels of the stream are all that entries are grouped by. Metadata never takes the name of one.
    fn is_grouped_by(&self, stream: &Labels) -> bool {
        let is_there = |name: &String| stream.get(name).is_some();
        self.grouping
            .is_some_and(|g| !g.without && g.names.iter().all(is_there))
    }

    fn take_times(
        &mut self,
        block_ref: &dyn LogBlockRef,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        if let Some((entries, bytes)) = block_ref.totals()
            && matches!(self.body, Body::Total(_) | Body::Absent)
            && let Some(at) = self.steps_of_all(block_ref)
        {
            self.statistics.entries_read += entries;
            self.statistics.entries_passed += entries;
            self.statistics.bytes_read += bytes;
            let series = self.series_of(&Record::new(block_ref.labels()), watch)?;
            self.add_total(series, at, entries as i64, bytes as i64);
            return Ok(());
        }
        let (mut times, mut lens) = (Vec::new(), Vec::new());
        watch.hold_loading(block_ref, self.kept_bytes())?;
        block_ref.load_times(&mut times, &mut lens)?;
        let n_bytes = times.capacity() * size_of::<i64>() + lens.capacity() * size_of::<u32>();
        watch.hold_block(n_bytes + self.kept_bytes())?;
        watch.check()?;
        self.statistics.entries_read += times.len() as u64;
        self.statistics.entries_passed += times.len() as u64;
        self.statistics.bytes_read += lens.iter().map(|l| u64::from(*l)).sum::<u64>();
        let record = Record::new(block_ref.labels());
        let mut series = None;
        for (time_ns, len) in times.iter().zip(&lens) {
            let Some(at) = self.cursor.steps_of(*time_ns) else {
                continue;
            };
            let series = match series {
                Some(series) => series,
                None => *series.insert(self.series_of(&record, watch)?),
            };
            self.add(series, at, *time_ns, 1.0, *len as usize, watch)?;
        }
        Ok(())
    }

    /// The steps that all entries of a block count for, when counting them is all there is to do.
    fn steps_of_all_counted(&mut self, block_ref: &dyn LogBlockRef) -> Option<(usize, usize)> {
        let only_counts = matches!(self.body, Body::Total(_) | Body::Absent)
            && self.expr.unwrap.is_none()
            && block_ref.totals().is_some();
        only_counts.then(|| self.steps_of_all(block_ref)).flatten()
    }

    /// The steps that all entries of a block count for, when they are the same.
    fn steps_of_all(&mut self, block_ref: &dyn LogBlockRef) -> Option<(usize, usize)> {
        let (oldest, newest) = block_ref.time_range_ns();
        let of_oldest = self.cursor.steps_of(oldest)?;
        (self.cursor.steps_of(newest) == Some(of_oldest)).then_some(of_oldest)
    }

    fn take_block(
        &mut self,
        block: &LogBlock,
        block_ref: &dyn LogBlockRef,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        self.statistics.entries_read += block.times.len() as u64;
        self.statistics.bytes_read += block.lines.iter().map(|l| u64::from(l.len)).sum::<u64>();
        let mut rows = std::mem::take(&mut self.rows);
        self.pipeline.surviving_rows(block, &mut rows);
        let mut record = Record::new(block_ref.labels());
        record.labels.want_only(self.pipeline.wanted());
        // The same labels for every entry: find the series once.
        let same_labels = self.pipeline.keeps_labels()
            && self.expr.unwrap.is_none()
            && (block.metadata.is_empty() || self.is_grouped_by(block_ref.labels()));
        let mut series = None;
        let mut result = Ok(());
        for row in &rows {
            result = watch.tick().and_then(|()| {
                let row = *row as usize;
                self.take_row(block, row, &mut record, same_labels, &mut series, watch)
            });
            if result.is_err() {
                break;
            }
        }
        self.rows = rows;
        result
    }

    /// Takes an entry of a block by its line.
    pub fn take_row<'b>(
        &mut self,
        block: &'b LogBlock,
        row: usize,
        record: &mut Record<'b>,
        same_labels: bool,
        series: &mut Option<usize>,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        let time_ns = block.times[row];
        let Some(at) = self.cursor.steps_of(time_ns) else {
            return Ok(());
        };
        if let (true, Some(series)) = (same_labels, *series) {
            self.statistics.entries_passed += 1;
            let n_bytes = block.lines[row].len as usize;
            return self.add(series, at, time_ns, 1.0, n_bytes, watch);
        }
        let metadata_bytes = load_record(record, block, row) as u64;
        self.statistics.metadata_bytes_read += metadata_bytes;
        self.statistics.bytes_read += metadata_bytes;
        if !self.pipeline.process(record) {
            return Ok(());
        }
        self.take_record(record, at, same_labels, series, watch)
    }

    /// Takes an entry that has passed the stages.
    pub fn take_record(
        &mut self,
        record: &mut Record<'_>,
        at: (usize, usize),
        same_labels: bool,
        series: &mut Option<usize>,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        let value = match &self.expr.unwrap {
            Some(unwrap) => match unwrap.value(record) {
                Some(value) => value,
                None => return Ok(()),
            },
            None => 1.0,
        };
        self.statistics.entries_passed += 1;
        self.check_error(record)?;
        let of_stream = self
            .grouping
            .is_some_and(|g| !g.without && record.labels.are_of_stream(&g.names));
        let found = match (of_stream, *series) {
            (true, Some(found)) => found,
            _ => self.series_of(record, watch)?,
        };
        // Kept for entries of the stream whose labels nothing has touched.
        *series = (of_stream || same_labels).then_some(found);
        self.add(found, at, record.time_ns, value, record.line.len(), watch)
    }

    /// An entry with `__error__` fails the query, unless the query groups by that label.
    fn check_error(&self, record: &Record<'_>) -> Result<(), QueryError> {
        let error = record.labels.error();
        let asked_for = || {
            self.grouping
                .is_some_and(|g| !g.without && g.names.iter().any(|n| n == ERROR_LABEL))
        };
        if error.is_empty() || asked_for() {
            return Ok(());
        }
        Err(QueryError::Pipeline(format!(
            "pipeline error: '{error}' for series: '{}'.\n\
             Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
             To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
             The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n",
            record.labels.all()
        )))
    }

    /// The series that an entry is of.
    pub fn series_of(
        &mut self,
        record: &Record<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<usize, QueryError> {
        record.labels.write_key(self.grouping, &mut self.key);
        if let Some(series) = self.index.get(self.key.as_slice()) {
            return Ok(*series);
        }
        let n = self.steps.n;
        let n_points = (self.series.len() + 1).saturating_mul(n);
        if n_points > self.limits.max_points {
            return Err(QueryError::Limit(format!(
                "the query would hold more than {} points ({} series at {n} steps); consider a longer step, a shorter time range or fewer series",
                self.limits.max_points,
                self.series.len() + 1
            )));
        }
        let labels = record.labels.grouped(self.grouping);
        let cell_bytes = match self.body {
            Body::Total(_) | Body::Absent => size_of::<Total>(),
            Body::Fold(_) => size_of::<Cell>(),
            Body::Samples(_) | Body::Quantile => 0,
        };
        // Before it is taken: a series of many steps is large.
        let of_labels = ROW_BYTES + labels.as_bytes().len() + self.key.len();
        watch.hold(of_labels + cell_bytes.saturating_mul(n + 1))?;
        let state = match self.body {
            // One more than there are steps, for what ends with the last one.
            Body::Total(_) | Body::Absent => State::Totals(vec![Total::default(); n + 1]),
            Body::Fold(_) => State::Cells(vec![Cell::default(); n]),
            Body::Samples(_) | Body::Quantile => State::Samples(Vec::new()),
        };
        self.series.push(Series { labels, state });
        let series = self.series.len() - 1;
        self.index.insert(self.key.as_slice().into(), series);
        Ok(series)
    }

    /// Adds a value of an entry to its series.
    pub fn add(
        &mut self,
        series: usize,
        (first, last): (usize, usize),
        time_ns: i64,
        value: f64,
        bytes: usize,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        match &mut self.series[series].state {
            State::Totals(_) => self.add_total(series, (first, last), 1, bytes as i64),
            State::Cells(cells) => {
                if let Body::Fold(fold) = self.body {
                    for cell in &mut cells[first..=last] {
                        fold.add(cell, time_ns, value);
                    }
                }
            }
            State::Samples(samples) => {
                if self.n_samples >= self.limits.max_samples {
                    return Err(QueryError::Limit(format!(
                        "{} would hold more than {} values; consider a shorter time range or fewer entries",
                        self.expr.function.name, self.limits.max_samples
                    )));
                }
                self.n_samples += 1;
                if samples.len() == samples.capacity() {
                    // The old ones are there until they are copied.
                    let more = samples.len().max(4);
                    watch.hold((samples.len() + more) * SAMPLE_BYTES)?;
                    let before = samples.capacity();
                    samples.reserve_exact(more);
                    watch.release(before * SAMPLE_BYTES);
                }
                samples.push((time_ns, value));
            }
        }
        Ok(())
    }

    pub fn add_total(
        &mut self,
        series: usize,
        (first, last): (usize, usize),
        entries: i64,
        bytes: i64,
    ) {
        if let State::Totals(differences) = &mut self.series[series].state {
            differences[first].entries += entries;
            differences[first].bytes += bytes;
            differences[last + 1].entries -= entries;
            differences[last + 1].bytes -= bytes;
        }
    }

    fn finish(mut self, watch: &mut Watch<'_>) -> Result<Table, QueryError> {
        let range_seconds = self.expr.range_ns as f64 / 1e9;
        // Entries that are only counted do not come in order of time.
        if matches!(self.body, Body::Total(_)) {
            self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        if matches!(self.body, Body::Absent) {
            return Ok(self.finish_absent());
        }
        let rows: Result<Vec<Row>, QueryError> = self
            .series
            .into_iter()
            .map(|series| {
                let state_bytes = series.state.n_bytes();
                // Besides the result, quantiles copy and rank the values.
                let work_bytes = match &series.state {
                    State::Samples(_) => state_bytes + 24 * self.steps.n,
                    _ => 0,
                };
                watch.hold(8 * self.steps.n + work_bytes)?;
                let values = match (series.state, self.body) {
                    (State::Totals(differences), Body::Total(finish)) => {
                        running_totals(&differences)
                            .map(|total| match total.entries {
                                0 => ABSENT,
                                _ => finish(total, range_seconds),
                            })
                            .collect()
                    }
                    (State::Cells(cells), Body::Fold(fold)) => cells
                        .iter()
                        .map(|cell| match cell.count {
                            0 => ABSENT,
                            _ => fold.finish(cell, range_seconds),
                        })
                        .collect(),
                    (State::Samples(samples), Body::Samples(finish)) => {
                        over_samples(samples, self.expr, self.steps, finish)
                    }
                    (State::Samples(samples), Body::Quantile) => {
                        quantiles(samples, self.expr, self.steps)
                    }
                    _ => vec![ABSENT; self.steps.n],
                };
                watch.release(state_bytes + work_bytes);
                Ok(Row {
                    labels: series.labels,
                    values,
                })
            })
            .collect();
        let mut table = Table { rows: rows? };
        table.drop_empty();
        Ok(table)
    }

    /// One where no entry is, labelled with what the selector says exactly.
    fn finish_absent(self) -> Table {
        let mut values = vec![1.0; self.steps.n];
        for series in &self.series {
            if let State::Totals(differences) = &series.state {
                for (value, total) in values.iter_mut().zip(running_totals(differences)) {
                    if total.entries > 0 {
                        *value = ABSENT;
                    }
                }
            }
        }
        let matchers = &self.expr.log.matchers;
        let pairs = matchers.iter().filter(|m| {
            let n = matchers.iter().filter(|other| other.name == m.name).count();
            m.op == MatchOp::Equal && n == 1
        });
        let mut table = Table {
            rows: vec![Row {
                labels: Labels::from_pairs(pairs.map(|m| (&m.name, &m.value))),
                values,
            }],
        };
        table.drop_empty();
        table
    }
}

/// The totals of the steps from their differences.
fn running_totals(differences: &[Total]) -> impl Iterator<Item = Total> + '_ {
    let steps = &differences[..differences.len().saturating_sub(1)];
    steps.iter().scan(Total::default(), |total, difference| {
        total.entries += difference.entries;
        total.bytes += difference.bytes;
        Some(*total)
    })
}

/// The samples of each step in order of time: where its range begins and ends among them.
fn windows(
    samples: &mut [(i64, f64)],
    range_ns: i64,
    steps: Steps,
) -> impl Iterator<Item = (i64, usize, usize)> + '_ {
    if !samples.is_sorted_by_key(|(time, _)| *time) {
        samples.sort_by_key(|(time, _)| *time);
    }
    let samples = &*samples;
    (0..steps.n).map(move |k| {
        let end_ns = steps.time_ns(k);
        let start_ns = end_ns.saturating_sub(range_ns);
        let from = samples.partition_point(|(time, _)| *time <= start_ns);
        let to = samples.partition_point(|(time, _)| *time <= end_ns);
        (end_ns, from, to)
    })
}

fn over_samples(
    mut samples: Vec<(i64, f64)>,
    expr: &RangeExpr,
    steps: Steps,
    finish: fn(&[(i64, f64)], Range) -> f64,
) -> Vec<f64> {
    let range_ns = expr.range_ns;
    let windows: Vec<_> = windows(&mut samples, range_ns, steps).collect();
    let value = |(end_ns, from, to)| match from < to {
        true => finish(&samples[from..to], Range { end_ns, range_ns }),
        false => ABSENT,
    };
    windows.into_iter().map(value).collect()
}

fn quantiles(mut samples: Vec<(i64, f64)>, expr: &RangeExpr, steps: Steps) -> Vec<f64> {
    let windows: Vec<_> = windows(&mut samples, expr.range_ns, steps)
        .map(|(_, from, to)| (from, to))
        .collect();
    let filled = windows.iter().copied().filter(|(from, to)| from < to);
    let filled: Vec<(usize, usize)> = filled.collect();
    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
    drop(samples);
    let q = expr.parameter.unwrap_or(f64::NAN);
    let mut found = range::quantile::of_windows(&values, &filled, q).into_iter();
    let value = |(from, to): &(usize, usize)| match from < to {
        true => found.next().unwrap_or(ABSENT),
        false => ABSENT,
    };
    windows.iter().map(value).collect()
}
