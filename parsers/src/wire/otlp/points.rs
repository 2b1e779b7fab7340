//! Data points of metrics as they stand in a request, of all kinds in one shape.

use kansoku_model::metric::STALE_BITS;

use super::super::WireError;
use super::super::prometheus_protobuf::zigzag;
use super::super::protobuf::{Field, Message};
use super::any::{self, key_value};
use super::fixed64;
use super::parts::Pairs;
use super::text;

/// A point's flag for "no value".
const NO_VALUE: i64 = 1;

/// The most characters in the labels of an exemplar, as OpenMetrics has it.
const EXEMPLAR_MAX_CHARS: usize = 128;

/// What a metric holds: its field's number in the `Metric` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// What the change from point to point means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporality {
    Cumulative,
    Delta,
    /// Not told, or not known.
    Other,
}

/// A metric and its points.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    pub name: &'a str,
    pub help: &'a str,
    pub unit: &'a str,
    pub form: Form,
    pub temporality: Temporality,
    pub is_monotonic: bool,
    pub points: Vec<Message<'a>>,
}

impl<'a> Metric<'a> {
    /// Reads a `Metric`; `None` when it holds nothing that is known.
    pub fn read(mut message: Message<'a>) -> Result<Option<Self>, WireError> {
        let (mut name, mut help, mut unit, mut data) = ("", "", "", None);
        while let Some((number, field)) = message.next()? {
            let form = match number {
                1 => {
                    name = field.text()?;
                    continue;
                }
                2 => {
                    help = field.text()?;
                    continue;
                }
                3 => {
                    unit = field.text()?;
                    continue;
                }
                5 => Form::Gauge,
                7 => Form::Sum,
                9 => Form::Histogram,
                10 => Form::Exponential,
                11 => Form::Summary,
                _ => continue,
            };
            data = Some((form, field));
        }
        let Some((form, field)) = data else {
            return Ok(None);
        };
        let has_temporality = !matches!(form, Form::Gauge | Form::Summary);
        let mut metric = Self {
            name,
            help,
            unit,
            form,
            temporality: match has_temporality {
                true => Temporality::Other,
                false => Temporality::Cumulative,
            },
            is_monotonic: false,
            points: Vec::new(),
        };
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => metric.points.push(field.message()?),
                2 if has_temporality => {
                    metric.temporality = match field.int()? {
                        1 => Temporality::Delta,
                        2 => Temporality::Cumulative,
                        _ => Temporality::Other,
                    }
                }
                3 => metric.is_monotonic = field.int()? != 0,
                _ => {}
            }
        }
        Ok(Some(metric))
    }
}

/// Buckets whose bounds are powers of a base.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub offset: i32,
    pub counts: Vec<u64>,
}

/// The fields of a point of any kind.
#[derive(Debug, Default)]
pub(super) struct Raw<'a> {
    pub attributes: Pairs<'a>,
    /// Nanoseconds; 0 is not known.
    pub time_ns: u64,
    pub start_ns: u64,
    pub value: f64,
    pub count: u64,
    pub sum: Option<f64>,
    pub counts: Vec<u64>,
    pub bounds: Vec<f64>,
    pub scale: i32,
    pub zero_count: u64,
    pub positive: Buckets,
    pub negative: Buckets,
    /// Quantiles and their values.
    pub quantiles: Vec<(f64, f64)>,
    pub exemplars: Vec<Exemplar<'a>>,
    pub is_stale: bool,
}

/// An observation, and what led to it.
#[derive(Debug, Default)]
pub(super) struct Exemplar<'a> {
    pub time_ns: u64,
    pub value: f64,
    trace: &'a [u8],
    span: &'a [u8],
    attributes: Pairs<'a>,
}

impl<'a> Raw<'a> {
    pub fn read(form: Form, message: Message<'a>) -> Result<Self, WireError> {
        let mut raw = Self::default();
        match form {
            Form::Gauge | Form::Sum => raw.number(message)?,
            Form::Histogram => raw.histogram(message)?,
            Form::Exponential => raw.exponential(message)?,
            Form::Summary => raw.summary(message)?,
        }
        Ok(raw)
    }

    /// Unix milliseconds; 0 is not known.
    pub fn time_ms(&self) -> i64 {
        ms(self.time_ns)
    }

    pub fn start_ms(&self) -> i64 {
        ms(self.start_ns)
    }

    /// `value`, or the mark of a series that ends.
    pub fn shown(&self, value: f64) -> f64 {
        match self.is_stale {
            true => f64::from_bits(STALE_BITS),
            false => value,
        }
    }

    fn number(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        while let Some((number, field)) = message.next()? {
            match number {
                2 => self.start_ns = fixed64(field)?,
                3 => self.time_ns = fixed64(field)?,
                4 => self.value = field.double()?,
                5 => self.exemplars.push(Exemplar::read(field.message()?)?),
                6 => self.value = fixed64(field)?.cast_signed() as f64,
                7 => self.attributes.push(key_value(field)?),
                8 => self.flags(field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn histogram(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        while let Some((number, field)) = message.next()? {
            match number {
                2 => self.start_ns = fixed64(field)?,
                3 => self.time_ns = fixed64(field)?,
                4 => self.count = fixed64(field)?,
                5 => self.sum = Some(field.double()?),
                6 => packed(field, &mut self.counts)?,
                7 => field.doubles(&mut |bound| self.bounds.push(bound))?,
                8 => self.exemplars.push(Exemplar::read(field.message()?)?),
                9 => self.attributes.push(key_value(field)?),
                10 => self.flags(field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn exponential(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        while let Some((number, field)) = message.next()? {
            match number {
                1 => self.attributes.push(key_value(field)?),
                2 => self.start_ns = fixed64(field)?,
                3 => self.time_ns = fixed64(field)?,
                4 => self.count = fixed64(field)?,
                5 => self.sum = Some(field.double()?),
                6 => self.scale = zigzag(field.int()?) as i32,
                7 => self.zero_count = fixed64(field)?,
                8 => self.positive = Buckets::read(field.message()?)?,
                9 => self.negative = Buckets::read(field.message()?)?,
                10 => self.flags(field)?,
                11 => self.exemplars.push(Exemplar::read(field.message()?)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn summary(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        while let Some((number, field)) = message.next()? {
            match number {
                2 => self.start_ns = fixed64(field)?,
                3 => self.time_ns = fixed64(field)?,
                4 => self.count = fixed64(field)?,
                5 => self.sum = Some(field.double()?),
                6 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut message = field.message()?;
                    while let Some((number, field)) = message.next()? {
                        match number {
                            1 => quantile = field.double()?,
                            2 => value = field.double()?,
                            _ => {}
                        }
                    }
                    self.quantiles.push((quantile, value));
                }
                7 => self.attributes.push(key_value(field)?),
                8 => self.flags(field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn flags(&mut self, field: Field<'_>) -> Result<(), WireError> {
        self.is_stale = field.int()? & NO_VALUE != 0;
        Ok(())
    }
}

impl Buckets {
    fn read(mut message: Message<'_>) -> Result<Self, WireError> {
        let mut buckets = Self::default();
        while let Some((number, field)) = message.next()? {
            match number {
                1 => buckets.offset = zigzag(field.int()?) as i32,
                2 => field.varints(&mut |count| buckets.counts.push(count))?,
                _ => {}
            }
        }
        Ok(buckets)
    }
}

impl<'a> Exemplar<'a> {
    fn read(mut message: Message<'a>) -> Result<Self, WireError> {
        let mut exemplar = Self::default();
        while let Some((number, field)) = message.next()? {
            match number {
                2 => exemplar.time_ns = fixed64(field)?,
                3 => exemplar.value = field.double()?,
                4 => exemplar.span = field.bytes()?.0,
                5 => exemplar.trace = field.bytes()?.0,
                6 => exemplar.value = fixed64(field)?.cast_signed() as f64,
                7 => exemplar.attributes.push(key_value(field)?),
                _ => {}
            }
        }
        Ok(exemplar)
    }

    /// Its time in Unix milliseconds; that of the point when it has none.
    pub fn time_ms(&self, of_point: i64) -> i64 {
        match self.time_ns {
            0 => of_point,
            ns => ms(ns),
        }
    }

    /// `trace_id`, `span_id`, and the attributes if they are short enough to go with them. Source: Prometheus,
    /// `getPromExemplars`.
    pub fn labels(&self) -> Result<Vec<(String, String)>, WireError> {
        let mut labels = Vec::new();
        for (name, id) in [("trace_id", self.trace), ("span_id", self.span)] {
            if id.iter().any(|byte| *byte != 0) {
                let mut hex = Vec::new();
                any::write_hex(&mut hex, id);
                let hex = String::from_utf8_lossy(&hex).into_owned();
                labels.push((name.to_owned(), hex));
            }
        }
        let n_ids = labels.len();
        for (name, value) in &self.attributes {
            labels.push(((*name).to_owned(), text::text(*value)?.into_owned()));
        }
        let n_chars = |text: &str| text.chars().count();
        let all: usize = labels.iter().map(|(n, v)| n_chars(n) + n_chars(v)).sum();
        if all > EXEMPLAR_MAX_CHARS {
            labels.truncate(n_ids);
        }
        labels.sort_unstable();
        labels.dedup_by(|a, b| a.0 == b.0);
        Ok(labels)
    }
}

/// The index of the bucket of a classic histogram that a value is counted in.
pub(super) fn bucket_of(bounds: &[f64], value: f64) -> usize {
    let at = bounds.iter().position(|bound| value <= *bound);
    at.unwrap_or(bounds.len())
}

fn ms(time_ns: u64) -> i64 {
    (time_ns / 1_000_000) as i64
}

/// Numbers of eight bytes, packed or one by one.
fn packed(field: Field<'_>, out: &mut Vec<u64>) -> Result<(), WireError> {
    match field {
        Field::Bytes(bytes, offset) if bytes.len() % 8 != 0 => Err(WireError::new(
            offset,
            "otlp: packed numbers must have eight bytes each",
        )),
        Field::Bytes(bytes, _) => {
            let (eights, _) = bytes.as_chunks::<8>();
            out.extend(eights.iter().map(|eight| u64::from_le_bytes(*eight)));
            Ok(())
        }
        other => {
            out.push(fixed64(other)?);
            Ok(())
        }
    }
}

/// As Prometheus writes bounds and quantiles.
pub(super) fn number_text(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        };
    }
    format!("{n}")
}
