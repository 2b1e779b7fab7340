//! Prometheus' protobuf exposition: `io.prometheus.client.MetricFamily` messages, each behind its length.
//!
//! Source: prometheus/client_model `metrics.proto`, and for what becomes of it Prometheus' `model/textparse/protobufparse.go`. Not here:
//! exemplars and start times, which a batch cannot hold. The rule: a metric that cannot be read is counted with the reason for the
//! first; bytes that are no protobuf end the page.

use std::sync::Arc;

use kansoku_model::histogram::{Counts, NativeHistogram, ResetHint, Span};
use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Resource, Suffix};

use super::prometheus_text::Page;
use super::protobuf::{Field, Message};
use super::{Refused, WireError};

/// The most buckets of a histogram: a thousand times what clients make.
const MAX_BUCKETS: usize = 160_000;

/// Which forms of a histogram that has both are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histograms {
    /// Native ones; else only the classic part.
    pub native: bool,
    /// The classic part also of native ones.
    pub always_classic: bool,
}

/// Reads a page.
///
/// # Errors
/// When it is no protobuf.
pub fn parse(
    body: &[u8],
    histograms: Histograms,
    tag: Arc<str>,
    resource: Arc<Resource>,
    now_ms: i64,
) -> Result<Page, WireError> {
    let mut reader = Reader {
        histograms,
        batch: MetricBatch::new(tag, resource, now_ms),
        refused: Refused::default(),
    };
    let mut stream = Message::new(body);
    while let Some(family) = stream.next_delimited()? {
        reader.family(family)?;
    }
    Ok(Page {
        batch: reader.batch,
        refused: reader.refused,
    })
}

struct Reader {
    histograms: Histograms,
    batch: MetricBatch,
    refused: Refused,
}

/// What the `type` of a family says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Simple(MetricKind),
    Summary,
    Histogram { is_gauge: bool },
}

/// The family that is being read.
struct Family {
    id: FamilyId,
    kind: Kind,
}

impl Reader {
    fn family(&mut self, family: Message<'_>) -> Result<(), WireError> {
        let (mut name, mut help, mut number) = ("", "", 0);
        let mut metrics = Vec::new();
        let mut fields = family;
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => name = value.text()?,
                2 => help = value.text()?,
                3 => number = value.int()?,
                4 => metrics.push(value.message()?),
                _ => {}
            }
        }
        let (kind, metric_kind) = match number {
            0 => (Kind::Simple(MetricKind::Counter), MetricKind::Counter),
            1 => (Kind::Simple(MetricKind::Gauge), MetricKind::Gauge),
            2 => (Kind::Summary, MetricKind::Summary),
            3 => (Kind::Simple(MetricKind::Unknown), MetricKind::Unknown),
            4 => (Kind::Histogram { is_gauge: false }, MetricKind::Histogram),
            5 => (Kind::Histogram { is_gauge: true }, MetricKind::Histogram),
            other => {
                let reason = || format!("family '{name}' has the unknown type {other}");
                self.refused.add(metrics.len(), reason);
                return Ok(());
            }
        };
        if name.is_empty() {
            self.refused
                .add(metrics.len(), || "a family has no name".into());
            return Ok(());
        }
        let id = self.batch.family(name, metric_kind, help);
        let family = Family { id, kind };
        for metric in metrics {
            if let Some(why) = self.metric(&family, metric)? {
                self.refused.add(1, || format!("family '{name}': {why}"));
            }
        }
        Ok(())
    }

    /// Reads one metric, or says why it is refused.
    fn metric(
        &mut self,
        family: &Family,
        metric: Message<'_>,
    ) -> Result<Option<&'static str>, WireError> {
        let mut labels: Vec<(&str, &str)> = Vec::new();
        let (mut value, mut summary, mut histogram, mut time_ms) = (None, None, None, None);
        let mut fields = metric;
        while let Some((number, field)) = fields.next()? {
            match (number, family.kind) {
                (1, _) => labels.push(label(field)?),
                (2, Kind::Simple(MetricKind::Gauge))
                | (3, Kind::Simple(MetricKind::Counter))
                | (5, Kind::Simple(MetricKind::Unknown)) => value = Some(simple(field)?),
                (4, Kind::Summary) => summary = Some(field.message()?),
                (7, Kind::Histogram { .. }) => histogram = Some(field.message()?),
                (6, _) => time_ms = Some(field.int()?).filter(|ms| *ms != 0),
                _ => {}
            }
        }
        if labels.iter().any(|(name, _)| name.is_empty()) {
            return Ok(Some("a label has no name"));
        }
        let mut writer = Writer {
            batch: &mut self.batch,
            family: family.id,
            labels,
            time_ms,
        };
        match (value, summary, histogram, family.kind) {
            (Some(value), ..) => writer.sample(Suffix::None, None, value),
            (_, Some(summary), ..) => writer.summary(summary)?,
            (_, _, Some(message), Kind::Histogram { is_gauge }) => {
                let histogram = read_histogram(message, is_gauge)?;
                return Ok(writer.histogram(histogram, self.histograms));
            }
            _ => return Ok(Some("a metric has no value of the family's type")),
        }
        Ok(None)
    }
}

fn label<'a>(field: Field<'a>) -> Result<(&'a str, &'a str), WireError> {
    let (mut name, mut value) = ("", "");
    let mut fields = field.message()?;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// The value of a counter, gauge or untyped metric.
fn simple(field: Field<'_>) -> Result<f64, WireError> {
    let mut value = 0.0;
    let mut fields = field.message()?;
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            value = field.double()?;
        }
    }
    Ok(value)
}

/// A histogram's message, both forms.
#[derive(Default)]
struct Read {
    count: u64,
    count_float: f64,
    sum: f64,
    /// Upper bounds and cumulative counts.
    buckets: Vec<(f64, f64)>,
    schema: i32,
    zero_threshold: f64,
    zero: u64,
    zero_float: f64,
    negative_spans: Vec<Span>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_spans: Vec<Span>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    is_gauge: bool,
}

fn read_histogram(message: Message<'_>, is_gauge: bool) -> Result<Read, WireError> {
    let mut read = Read {
        is_gauge,
        ..Read::default()
    };
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => read.count = field.int()?.cast_unsigned(),
            2 => read.sum = field.double()?,
            3 => read.buckets.push(bucket(field)?),
            4 => read.count_float = field.double()?,
            5 => read.schema = zigzag(field.int()?) as i32,
            6 => read.zero_threshold = field.double()?,
            7 => read.zero = field.int()?.cast_unsigned(),
            8 => read.zero_float = field.double()?,
            9 => read.negative_spans.push(span(field)?),
            10 => field.varints(&mut |n| read.negative_deltas.push(zigzag(n.cast_signed())))?,
            11 => field.doubles(&mut |x| read.negative_counts.push(x))?,
            12 => read.positive_spans.push(span(field)?),
            13 => field.varints(&mut |n| read.positive_deltas.push(zigzag(n.cast_signed())))?,
            14 => field.doubles(&mut |x| read.positive_counts.push(x))?,
            _ => {}
        }
    }
    Ok(read)
}

/// A classic bucket.
fn bucket(field: Field<'_>) -> Result<(f64, f64), WireError> {
    let (mut bound, mut count, mut count_float) = (0.0, 0, 0.0);
    let mut fields = field.message()?;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => count = field.int()?.cast_unsigned(),
            2 => bound = field.double()?,
            4 => count_float = field.double()?,
            _ => {}
        }
    }
    let count = if count_float == 0.0 {
        count as f64
    } else {
        count_float
    };
    Ok((bound, count))
}

pub(super) fn span(field: Field<'_>) -> Result<Span, WireError> {
    let (mut offset, mut length) = (0, 0);
    let mut fields = field.message()?;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => offset = zigzag(field.int()?) as i32,
            2 => length = u32::try_from(field.int()?).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(Span { offset, length })
}

pub(super) fn zigzag(n: i64) -> i64 {
    let n = n.cast_unsigned();
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

impl Read {
    fn is_native(&self) -> bool {
        !self.positive_spans.is_empty()
            || !self.negative_spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero > 0
            || self.zero_float > 0.0
    }

    fn count(&self) -> f64 {
        match self.count_float {
            0.0 => self.count as f64,
            count => count,
        }
    }

    fn into_native(self) -> NativeHistogram {
        let counts = if self.count_float > 0.0 || self.zero_float > 0.0 {
            Counts::Float {
                count: self.count_float,
                zero: self.zero_float,
                negative: self.negative_counts,
                positive: self.positive_counts,
            }
        } else {
            Counts::Integer {
                count: self.count,
                zero: self.zero,
                negative: self.negative_deltas,
                positive: self.positive_deltas,
            }
        };
        NativeHistogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            negative_spans: self.negative_spans,
            positive_spans: self.positive_spans,
            counts,
            custom_bounds: Vec::new(),
            reset_hint: if self.is_gauge {
                ResetHint::Gauge
            } else {
                ResetHint::Unknown
            },
        }
    }
}

/// Adds the samples of one metric.
struct Writer<'a> {
    batch: &'a mut MetricBatch,
    family: FamilyId,
    labels: Vec<(&'a str, &'a str)>,
    time_ms: Option<i64>,
}

impl Writer<'_> {
    fn sample(&mut self, suffix: Suffix, more: Option<(&str, &str)>, value: f64) {
        let point = self.point(suffix, more, value);
        self.batch.push(point);
    }

    fn point(&mut self, suffix: Suffix, more: Option<(&str, &str)>, value: f64) -> Point {
        let labels = self
            .batch
            .label_set(self.labels.iter().copied().chain(more));
        Point {
            family: self.family,
            suffix,
            labels,
            time_ms: self.time_ms,
            value,
        }
    }

    fn summary(&mut self, message: Message<'_>) -> Result<(), WireError> {
        let (mut count, mut sum) = (0, 0.0);
        let mut quantiles = Vec::new();
        let mut fields = message;
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => count = field.int()?.cast_unsigned(),
                2 => sum = field.double()?,
                3 => quantiles.push(quantile(field)?),
                _ => {}
            }
        }
        self.sample(Suffix::Count, None, count as f64);
        self.sample(Suffix::Sum, None, sum);
        for (quantile, value) in quantiles {
            let text = open_metrics_float(quantile);
            self.sample(Suffix::None, Some(("quantile", &text)), value);
        }
        Ok(())
    }

    fn histogram(&mut self, read: Read, wanted: Histograms) -> Option<&'static str> {
        let is_native = wanted.native && read.is_native();
        if !is_native || (wanted.always_classic && !read.buckets.is_empty()) {
            self.classic(&read);
        }
        if !is_native {
            return None;
        }
        let histogram = read.into_native();
        let n_buckets = histogram.negative_spans.len() + histogram.positive_spans.len();
        if !histogram.is_consistent() || n_buckets > MAX_BUCKETS {
            return Some(
                "a native histogram's buckets do not fit its spans or its schema is unknown",
            );
        }
        let point = self.point(Suffix::None, None, histogram.count());
        self.batch.push_sample(point, Some(histogram));
        None
    }

    fn classic(&mut self, read: &Read) {
        self.sample(Suffix::Count, None, read.count());
        self.sample(Suffix::Sum, None, read.sum);
        let mut has_infinity = false;
        for (bound, count) in &read.buckets {
            has_infinity |= *bound == f64::INFINITY;
            let text = open_metrics_float(*bound);
            self.sample(Suffix::Bucket, Some(("le", &text)), *count);
        }
        if !has_infinity {
            self.sample(Suffix::Bucket, Some(("le", "+Inf")), read.count());
        }
    }
}

fn quantile(field: Field<'_>) -> Result<(f64, f64), WireError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut fields = field.message()?;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}

/// A bound as OpenMetrics writes it: whole numbers with `.0`.
fn open_metrics_float(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            // Go writes two digits of the exponent and its sign.
            Some((digits, exponent)) => {
                let (sign, digits_of) = match exponent.strip_prefix('-') {
                    Some(rest) => ('-', rest),
                    None => ('+', exponent),
                };
                format!("{digits}e{sign}{digits_of:0>2}")
            }
            None => text,
        }
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests;
