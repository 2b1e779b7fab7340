//! OTLP metrics as samples: gauges, cumulative sums, histograms with their buckets, summaries.
//!
//! Exponential histograms and delta temporality have no place in a metric batch: their points are
//! counted and named to the sender.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::metric::{Point, STALE_BITS};
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Resource, Suffix};

use super::super::protobuf::{Field, Message};
use super::super::{Refused, WireError};
use super::{any, each_scope, fixed64, shared_resource};

/// A point's flag for "no value".
const NO_VALUE: i64 = 1;
const CUMULATIVE: i64 = 2;

/// A decoded request.
#[derive(Debug, Default)]
pub struct Metrics {
    /// One batch per scope.
    pub batches: Vec<MetricBatch>,
    /// Points that were not taken.
    pub refused: Refused,
}

/// Reads a whole `ExportMetricsServiceRequest`.
///
/// # Errors
/// When it is no such message.
pub fn decode(
    body: &[u8],
    now_ms: i64,
    tag: &Arc<str>,
    base: &Arc<Resource>,
) -> Result<Metrics, WireError> {
    let mut metrics = Metrics::default();
    each_scope(body, |shared, mut scope| {
        let mut resource = Arc::unwrap_or_clone(shared_resource(shared, base));
        resource.labels = shared.labels();
        let mut decoder = Decoder {
            batch: MetricBatch::new(tag.clone(), Arc::new(resource), now_ms),
            families: HashMap::new(),
            refused: &mut metrics.refused,
        };
        while let Some((number, field)) = scope.next()? {
            if number == 2 {
                decoder.metric(field.message()?)?;
            }
        }
        let batch = decoder.batch;
        if !batch.points().is_empty() {
            metrics.batches.push(batch);
        }
        Ok(())
    })?;
    Ok(metrics)
}

struct Decoder<'a, 'r> {
    batch: MetricBatch,
    families: HashMap<&'a str, FamilyId>,
    refused: &'r mut Refused,
}

/// The fields of a point of any kind.
#[derive(Default)]
struct Raw<'a> {
    labels: Vec<(String, String)>,
    time_ms: Option<i64>,
    value: f64,
    count: Option<u64>,
    sum: Option<f64>,
    counts: Vec<u64>,
    bounds: Vec<f64>,
    quantiles: Vec<Message<'a>>,
    is_stale: bool,
}

impl<'a> Decoder<'a, '_> {
    fn metric(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        let (mut name, mut help, mut data) = ("", "", None);
        while let Some((number, field)) = message.next()? {
            match number {
                1 => name = field.text()?,
                2 => help = field.text()?,
                5 | 7 | 9 | 10 | 11 => data = Some((number, field)),
                _ => {}
            }
        }
        let Some((form, field)) = data else {
            return Ok(());
        };
        let (mut points, mut temporality, mut is_monotonic) = (Vec::new(), CUMULATIVE, false);
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => points.push(field.message()?),
                2 if form != 5 && form != 11 => temporality = field.int()?,
                3 => is_monotonic = field.int()? != 0,
                _ => {}
            }
        }
        let reason = match (form, temporality) {
            _ if name.is_empty() => Some("a metric has no name".to_owned()),
            (10, _) => Some(format!(
                "exponential histograms are not supported; send explicit buckets for {name}"
            )),
            (7 | 9, t) if t != CUMULATIVE => Some(format!(
                "only cumulative temporality is supported; {name} has another"
            )),
            _ => None,
        };
        if let Some(reason) = reason {
            self.refused.add(points.len(), || reason);
            return Ok(());
        }
        let kind = match form {
            7 if is_monotonic => MetricKind::Counter,
            9 => MetricKind::Histogram,
            11 => MetricKind::Summary,
            _ => MetricKind::Gauge,
        };
        let batch = &mut self.batch;
        let family = self.families.entry(name);
        let family = *family.or_insert_with(|| batch.new_family(name, kind, help));
        for message in points {
            match form {
                9 => self.histogram(family, Raw::histogram(message)?),
                11 => self.summary(family, Raw::summary(message)?)?,
                _ => {
                    let raw = Raw::number(message)?;
                    self.push(family, Suffix::None, &raw, None, raw.value);
                }
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        family: FamilyId,
        suffix: Suffix,
        raw: &Raw<'_>,
        extra: Option<(&str, &str)>,
        value: f64,
    ) {
        let own = raw.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels = self.batch.label_set(own.chain(extra));
        let value = if raw.is_stale {
            f64::from_bits(STALE_BITS)
        } else {
            value
        };
        self.batch.push(Point {
            family,
            suffix,
            labels,
            time_ms: raw.time_ms,
            value,
        });
    }

    fn histogram(&mut self, family: FamilyId, raw: Raw<'_>) {
        if !raw.counts.is_empty() && raw.counts.len() != raw.bounds.len() + 1 {
            self.refused.add(1, || {
                format!(
                    "{} buckets with {} bounds",
                    raw.counts.len(),
                    raw.bounds.len()
                )
            });
            return;
        }
        let mut sum = 0u64;
        for (count, bound) in raw.counts.iter().zip(&raw.bounds) {
            sum = sum.saturating_add(*count);
            let le = number_text(*bound);
            self.push(family, Suffix::Bucket, &raw, Some(("le", &le)), sum as f64);
        }
        let count = raw.count.unwrap_or(0) as f64;
        self.push(family, Suffix::Bucket, &raw, Some(("le", "+Inf")), count);
        if let Some(sum) = raw.sum {
            self.push(family, Suffix::Sum, &raw, None, sum);
        }
        self.push(family, Suffix::Count, &raw, None, count);
    }

    fn summary(&mut self, family: FamilyId, mut raw: Raw<'_>) -> Result<(), WireError> {
        for mut message in std::mem::take(&mut raw.quantiles) {
            let (mut quantile, mut value) = (0.0, 0.0);
            while let Some((number, field)) = message.next()? {
                match number {
                    1 => quantile = field.double()?,
                    2 => value = field.double()?,
                    _ => {}
                }
            }
            let text = number_text(quantile);
            self.push(family, Suffix::None, &raw, Some(("quantile", &text)), value);
        }
        self.push(family, Suffix::Sum, &raw, None, raw.sum.unwrap_or(0.0));
        let count = raw.count.unwrap_or(0) as f64;
        self.push(family, Suffix::Count, &raw, None, count);
        Ok(())
    }
}

impl<'a> Raw<'a> {
    fn common(&mut self, number: u64, field: Field<'a>, flags: u64) -> Result<(), WireError> {
        if number == 3 {
            let time_ms = fixed64(field)? / 1_000_000;
            self.time_ms = i64::try_from(time_ms).ok().filter(|ms| *ms > 0);
        } else if number == flags {
            self.is_stale = field.int()? & NO_VALUE != 0;
        }
        Ok(())
    }

    fn number(mut message: Message<'a>) -> Result<Self, WireError> {
        let mut raw = Self::default();
        while let Some((number, field)) = message.next()? {
            match number {
                7 => raw.labels.push(any::attribute(field)?),
                4 => raw.value = field.double()?,
                6 => raw.value = fixed64(field)?.cast_signed() as f64,
                _ => raw.common(number, field, 8)?,
            }
        }
        Ok(raw)
    }

    fn histogram(mut message: Message<'a>) -> Result<Self, WireError> {
        let mut raw = Self::default();
        while let Some((number, field)) = message.next()? {
            match number {
                9 => raw.labels.push(any::attribute(field)?),
                4 => raw.count = Some(fixed64(field)?),
                5 => raw.sum = Some(field.double()?),
                6 => packed(field, &mut raw.counts)?,
                7 => {
                    let mut bits = Vec::new();
                    packed(field, &mut bits)?;
                    raw.bounds.extend(bits.into_iter().map(f64::from_bits));
                }
                _ => raw.common(number, field, 10)?,
            }
        }
        Ok(raw)
    }

    fn summary(mut message: Message<'a>) -> Result<Self, WireError> {
        let mut raw = Self::default();
        while let Some((number, field)) = message.next()? {
            match number {
                7 => raw.labels.push(any::attribute(field)?),
                4 => raw.count = Some(fixed64(field)?),
                5 => raw.sum = Some(field.double()?),
                6 => raw.quantiles.push(field.message()?),
                _ => raw.common(number, field, 8)?,
            }
        }
        Ok(raw)
    }
}

/// Numbers of eight bytes, packed or one by one.
fn packed(field: Field<'_>, out: &mut Vec<u64>) -> Result<(), WireError> {
    match field {
        Field::Bytes(bytes, offset) if bytes.len() % 8 != 0 => Err(WireError::new(
            offset,
            "otlp: packed numbers must have eight bytes each",
        )),
        Field::Bytes(bytes, _) => {
            let number = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("chunks of eight"));
            out.extend(bytes.chunks_exact(8).map(number));
            Ok(())
        }
        other => {
            out.push(fixed64(other)?);
            Ok(())
        }
    }
}

/// As Prometheus writes bounds and quantiles.
fn number_text(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        };
    }
    format!("{n}")
}
