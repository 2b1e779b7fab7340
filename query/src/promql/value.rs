//! What the engine computes with: the times of a query and columns of values over them.
//!
//! A column holds one value per step. A step without a sample holds [`ABSENT`], whose bits are
//! those of a staleness marker: no computation yields them and no sample in a vector has them.

use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_model::metric::STALE_BITS;
use kansoku_model::select::SeriesSet;

use super::ast::Extension;
use super::bucketless::Reading;
use super::native::FloatHistogram;
use super::text::Text;

/// "No sample at this step."
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_BITS);

/// Whether a stored value ends a series, or a column has no sample at a step.
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// The times at which an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub start_ms: i64,
    pub step_ms: i64,
    pub n_steps: usize,
}

impl Grid {
    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.time(self.n_steps.saturating_sub(1))
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.n_steps).map(|step| self.time(step))
    }
}

/// One series of an instant vector at all steps.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub labels: Labels,
    /// The metric name is to be removed at the end (delayed name removal).
    pub drop_name: bool,
    /// One per step; [`ABSENT`] where there is no sample, or a histogram.
    pub values: Vec<f64>,
    /// One per step, or empty when there is none.
    pub histograms: Vec<Option<Arc<FloatHistogram>>>,
}

/// What a series has at one step.
#[derive(Debug, Clone)]
pub(crate) enum Point {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Column {
    /// Without samples.
    pub(crate) fn new(labels: Labels, drop_name: bool) -> Self {
        Self {
            labels,
            drop_name,
            values: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// Floats only.
    pub(crate) fn floats(labels: Labels, drop_name: bool, values: Vec<f64>) -> Self {
        Self {
            values,
            ..Self::new(labels, drop_name)
        }
    }

    /// Adds what there is at the next step.
    pub(crate) fn push(&mut self, point: Option<Point>) {
        let n_before = self.values.len();
        match point {
            None => self.values.push(ABSENT),
            Some(Point::Float(value)) => self.values.push(value),
            Some(Point::Histogram(histogram)) => {
                self.values.push(ABSENT);
                self.histograms.resize(n_before, None);
                self.histograms.push(Some(histogram));
                return;
            }
        }
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(step)?.as_ref()
    }

    pub(crate) fn point(&self, step: usize) -> Option<Point> {
        match self.histogram(step) {
            Some(histogram) => Some(Point::Histogram(Arc::clone(histogram))),
            None => Some(self.values[step])
                .filter(|v| !is_absent(*v))
                .map(Point::Float),
        }
    }

    /// Whether there is a sample of any kind.
    pub(crate) fn is_present(&self, step: usize) -> bool {
        !is_absent(self.values[step]) || self.histogram(step).is_some()
    }

    /// Whether there is a sample at any step.
    pub(crate) fn any_present(&self) -> bool {
        self.values.iter().any(|v| !is_absent(*v)) || self.histograms.iter().any(Option::is_some)
    }

    /// Takes the sample of a step away.
    pub(crate) fn remove(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if let Some(histogram) = self.histograms.get_mut(step) {
            *histogram = None;
        }
    }
}

/// Steps of a vector that could not be held at once would not be answered at all.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// One per step, none absent.
    Scalar(Vec<f64>),
    String(Text),
    Vector(Vec<Column>),
}

impl Value {
    /// Values held.
    pub(crate) fn n_values(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::String(_) => 1,
            Self::Vector(columns) => {
                let n = |c: &Column| c.values.len() + weight(c.histograms.iter().flatten());
                columns.iter().map(n).sum()
            }
        }
    }
}

/// How many floats histograms count for.
pub(crate) fn weight<'a>(all: impl Iterator<Item = &'a Arc<FloatHistogram>>) -> usize {
    all.map(|h| h.weight()).sum()
}

/// Samples of one series for range functions, without staleness markers: floats and histograms apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeSeries {
    pub labels: Labels,
    pub drop_name: bool,
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    pub histogram_times: Vec<i64>,
    pub histograms: Vec<Arc<FloatHistogram>>,
    /// When what each float counts began, 0 where that is not known; empty when it is known of none or
    /// not asked for.
    pub starts: Vec<i64>,
    /// The same for the histograms.
    pub histogram_starts: Vec<i64>,
}

impl RangeSeries {
    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histogram_times.is_empty()
    }

    /// Whether there is nothing but floats, of which nobody knows when what they count began.
    pub(crate) fn is_plain(&self) -> bool {
        self.histograms.is_empty() && self.starts.is_empty()
    }
}

/// The argument of a range function: series and the window over them at each step.
pub(crate) struct RangeData<'a> {
    pub series: RangeOf<'a>,
    pub windows: Windows,
    /// Histograms of the store are read without buckets.
    pub bucketless: Option<Reading>,
}

/// Series of a range.
pub(crate) enum RangeOf<'a> {
    /// In memory.
    Held(Vec<RangeSeries>),
    /// In the store, read when their turn comes.
    Stored(Box<dyn SeriesSet + 'a>),
}

/// Which samples a step sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub range_ms: i64,
    pub reference: Reference,
    /// Windows also hold the sample at or before their start and, when smoothed, the next one after
    /// their end.
    pub extension: Option<Extension>,
    /// How far such samples may be away.
    pub lookback_ms: i64,
}

/// The time that a selector looks at when the query is at `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `t` less the offset.
    Offset(i64),
    /// Always this time: `@` less the offset.
    Fixed(i64),
}

impl Reference {
    pub(crate) fn time(self, t_ms: i64) -> i64 {
        match self {
            Self::Offset(offset_ms) => t_ms - offset_ms,
            Self::Fixed(time_ms) => time_ms,
        }
    }
}

/// What a range function sees at one step: samples in `start_ms < time <= end_ms`, at least one of either kind.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    /// Index in the series of the first sample here.
    pub first: usize,
    pub times: &'a [i64],
    pub values: &'a [f64],
    /// Some float of the series is lower than the one before it.
    pub falls: bool,
    pub histogram_times: &'a [i64],
    pub histograms: &'a [Arc<FloatHistogram>],
    /// As in the series.
    pub starts: &'a [i64],
    pub histogram_starts: &'a [i64],
    pub start_ms: i64,
    pub end_ms: i64,
    /// The time of the step.
    pub eval_ms: i64,
    /// Samples beyond the ends are there too.
    pub extension: Option<Extension>,
    /// The scalar arguments of the function at this step, in order.
    pub scalars: &'a [f64],
}

impl Window<'_> {
    /// When what the last float and the one before it count began.
    pub(crate) fn last_two_starts(&self) -> [i64; 2] {
        match self.starts {
            [.., before, last] => [*before, *last],
            _ => [0, 0],
        }
    }

    /// The last sample's value and time, when there are at least two samples: also the one before.
    pub(crate) fn last_two(&self) -> Option<[(i64, f64); 2]> {
        let n = self.values.len();
        (n >= 2).then(|| {
            [
                (self.times[n - 2], self.values[n - 2]),
                (self.times[n - 1], self.values[n - 1]),
            ]
        })
    }
}
