//! Prometheus remote write: a `prometheus.WriteRequest` (1.0) or an `io.prometheus.write.v2.Request`
//! (2.0, in `symbols.rs`) becomes one metric batch.
//!
//! The one rule: what is valid in a request is
//! kept and what is not is counted with the reason for the first, so that one bad series does not
//! take the others away. A sink that knows the series takes their samples without their labels.
//! Only bytes that are no protobuf fail the whole request.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::metric::{self, HistogramPoint, Point};
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Suffix};

use super::protobuf::{Field, Message};
use super::{Refused, Window, WireError};

mod histograms;
mod symbols;

pub(super) use histograms::check as check_histogram;
pub use symbols::{decode_symbols, decode_symbols_into};

/// The most characters in the labels of an exemplar, as OpenMetrics has it.
const EXEMPLAR_MAX_CHARS: usize = 128;

/// What a request may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Label pairs of one series.
    pub max_labels: usize,
    /// Times of samples.
    pub window: Window,
}

/// A store that knows series by the bytes of their labels, so that those of a known one are neither
/// decoded nor checked again.
pub trait SeriesSink {
    /// The series that was defined with these label bytes.
    fn find(&mut self, spelling: &[u8]) -> Option<u32>;
    /// Makes a series known by its label bytes. The labels are sorted, and good. `None`: it will not
    /// be kept; its samples go into the batch.
    fn define(&mut self, spelling: &[u8], labels: &[(&str, &str)]) -> Option<u32>;
    /// Takes a sample of a series that the other two gave.
    fn push(&mut self, series: u32, time_ms: i64, value: f64);
    /// As `push`, with the time at which what the sample counts began, in Unix ms.
    fn push_started(&mut self, series: u32, time_ms: i64, value: f64, start_ms: i64);
}

/// Knows no series: all samples go into the batch.
#[derive(Debug, Clone, Copy)]
pub struct NoSeries;

impl SeriesSink for NoSeries {
    fn find(&mut self, _: &[u8]) -> Option<u32> {
        None
    }
    fn define(&mut self, _: &[u8], _: &[(&str, &str)]) -> Option<u32> {
        None
    }
    fn push(&mut self, _: u32, _: i64, _: f64) {}
    fn push_started(&mut self, _: u32, _: i64, _: f64, _: i64) {}
}

/// A decoded request.
#[derive(Debug)]
pub struct WriteRequest {
    /// All samples that were valid and that no sink took, and the metadata as families without points.
    pub batch: MetricBatch,
    /// Floats that were taken.
    pub n_samples: usize,
    /// Native histograms that were taken; they are in the batch.
    pub n_histograms: usize,
    /// Exemplars that were taken; they are in the batch.
    pub n_exemplars: usize,
    /// Samples and histograms that were not taken.
    pub refused: Refused,
}

/// Decodes a decompressed body.
///
/// # Errors
/// When it is no protobuf of this shape.
pub fn decode(body: &[u8], limits: &Limits) -> Result<WriteRequest, WireError> {
    decode_into(body, limits, &mut NoSeries)
}

/// Decodes a decompressed body and gives the samples to `sink`, as far as it takes their series.
///
/// # Errors
/// When it is no protobuf of this shape; forget what the sink got then.
pub fn decode_into(
    body: &[u8],
    limits: &Limits,
    sink: &mut impl SeriesSink,
) -> Result<WriteRequest, WireError> {
    let mut decoder = Decoder::new(limits, sink);
    // Metadata first: a family is made once, with its type if the request tells it anywhere.
    each(body, 3, |field| decoder.metadata(field))?;
    each(body, 1, |field| decoder.series(field))?;
    Ok(decoder.request)
}

fn each<'a>(
    body: &'a [u8],
    wanted: u64,
    mut with: impl FnMut(Field<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut message = Message::new(body);
    while let Some((number, field)) = message.next()? {
        if number == wanted {
            with(field)?;
        }
    }
    Ok(())
}

/// A float of the series at hand.
#[derive(Clone, Copy)]
struct Sample {
    time_ms: i64,
    value: f64,
    /// 0: not known.
    start_ms: i64,
}

struct Decoder<'a, 'l, S> {
    limits: &'l Limits,
    sink: &'l mut S,
    families: HashMap<&'a str, FamilyId>,
    /// Labels of the series at hand, kept for their memory.
    labels: Vec<(&'a [u8], &'a [u8])>,
    samples: Vec<Sample>,
    /// Histograms and exemplars of the series at hand, not read yet.
    histograms: Vec<Message<'a>>,
    exemplars: Vec<Message<'a>>,
    request: WriteRequest,
}

impl<'a, 'l, S: SeriesSink> Decoder<'a, 'l, S> {
    fn new(limits: &'l Limits, sink: &'l mut S) -> Self {
        Self {
            limits,
            sink,
            families: HashMap::new(),
            labels: Vec::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            request: WriteRequest {
                batch: MetricBatch::new("remote_write".into(), Arc::default(), 0),
                n_samples: 0,
                n_histograms: 0,
                n_exemplars: 0,
                refused: Refused::default(),
            },
        }
    }

    fn metadata(&mut self, field: Field<'a>) -> Result<(), WireError> {
        let (mut kind, mut name, mut help, mut unit) = (0, "", "", "");
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => kind = field.int()?,
                2 => name = field.text()?,
                4 => help = field.text()?,
                5 => unit = field.text()?,
                _ => {}
            }
        }
        // Info and state sets are gauges by value; a gauge histogram has no word in the store.
        let kind = match kind {
            1 => MetricKind::Counter,
            2 | 6 | 7 => MetricKind::Gauge,
            3 => MetricKind::Histogram,
            5 => MetricKind::Summary,
            _ => MetricKind::Unknown,
        };
        if !name.is_empty() && !self.families.contains_key(name) {
            let id = self.request.batch.new_family(name, kind, help);
            if !unit.is_empty() {
                self.request.batch.set_unit(id, unit);
            }
            self.families.insert(name, id);
        }
        Ok(())
    }

    fn series(&mut self, field: Field<'a>) -> Result<(), WireError> {
        self.clear();
        let mut message = field.message()?;
        let whole = message.clone();
        // Where the labels are, and whether nothing else is among them.
        message.skip_short(1);
        let (mut at, mut is_one_run) = (message.position(), true);
        let mut spelled = 0..at;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => {
                    if spelled.is_empty() {
                        spelled.start = at;
                    } else {
                        is_one_run &= spelled.end == at;
                    }
                    spelled.end = message.position();
                }
                2 => self.samples.push(read_sample(field.message()?)?),
                3 => self.exemplars.push(field.message()?),
                4 => self.histograms.push(field.message()?),
                _ => {}
            }
            at = message.position();
        }
        let spelling = is_one_run.then(|| whole.bytes_between(spelled.start, spelled.end));
        let known = spelling.and_then(|spelling| self.sink.find(spelling));
        if let Some(series) = known {
            let are_good = self.give(series);
            if are_good && self.histograms.is_empty() && self.exemplars.is_empty() {
                return Ok(());
            }
        }
        self.read_labels(&whole)?;
        let exemplars = std::mem::take(&mut self.exemplars);
        let mut labelled = Vec::with_capacity(exemplars.len());
        for exemplar in exemplars {
            labelled.push(read_exemplar(exemplar)?);
        }
        self.put(spelling, known, &labelled)
    }

    /// Forgets the series at hand.
    fn clear(&mut self) {
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    /// Takes the series at hand, whose labels are read; the samples of a known one were given already.
    fn put(
        &mut self,
        spelling: Option<&[u8]>,
        known: Option<u32>,
        exemplars: &[Exemplar<'a>],
    ) -> Result<(), WireError> {
        let n_samples = self.samples.len() + self.histograms.len();
        let labels = match self.checked_labels() {
            Ok(labels) => labels,
            Err(reason) => {
                self.request.refused.add(n_samples, || reason);
                return Ok(());
            }
        };
        if known.is_some() {
            self.refuse_outside(&labels);
        } else if !self.samples.is_empty() {
            // A series of refused samples only is not worth a place.
            let window = self.limits.window;
            let any = self.samples.iter().any(|s| window.holds(s.time_ms));
            let series = spelling.filter(|_| any);
            match series.and_then(|spelling| self.sink.define(spelling, &labels)) {
                Some(series) => {
                    self.give(series);
                    self.refuse_outside(&labels);
                }
                None => self.keep(&labels),
            }
        }
        if self.histograms.is_empty() && exemplars.is_empty() {
            return Ok(());
        }
        let (family, set) = self.place(&labels);
        for message in std::mem::take(&mut self.histograms) {
            self.histogram(message, family, set, &labels)?;
        }
        for exemplar in exemplars {
            self.exemplar(exemplar, family, set);
        }
        Ok(())
    }

    /// The family and the label set of a series in the batch.
    fn place(&mut self, labels: &[(&'a str, &'a str)]) -> (FamilyId, (u32, u32)) {
        let name = labels.iter().find(|(n, _)| *n == METRIC_NAME);
        let name = name.map_or("", |(_, v)| *v);
        let batch = &mut self.request.batch;
        let family = self.families.entry(name);
        let family = *family.or_insert_with(|| batch.new_family(name, MetricKind::Unknown, ""));
        let pairs = labels.iter().copied().filter(|(n, _)| *n != METRIC_NAME);
        (family, batch.label_set(pairs))
    }

    fn histogram(
        &mut self,
        message: Message<'a>,
        family: FamilyId,
        set: (u32, u32),
        labels: &[(&str, &str)],
    ) -> Result<(), WireError> {
        let read = histograms::read(message)?;
        if !self.limits.window.holds(read.time_ms) {
            self.refuse_time(read.time_ms, labels);
            return Ok(());
        }
        if let Err(reason) = histograms::check(&read.histogram) {
            let refused = &mut self.request.refused;
            refused.add(1, || format!("histogram of {}: {reason}", describe(labels)));
            return Ok(());
        }
        self.request.n_histograms += 1;
        self.request.batch.push_histogram(HistogramPoint {
            point: Point {
                family,
                suffix: Suffix::None,
                labels: set,
                time_ms: Some(read.time_ms),
                value: read.histogram.count(),
            },
            start_ms: read.start_ms,
            histogram: read.histogram,
        });
        Ok(())
    }

    /// Exemplars are no reason to refuse anything: one that is not good is left out, and not counted as
    /// written.
    fn exemplar(&mut self, exemplar: &Exemplar<'a>, family: FamilyId, set: (u32, u32)) {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
        let pairs = exemplar.labels.iter();
        let pairs: Option<Vec<_>> = pairs.map(|(n, v)| text(n).zip(text(v))).collect();
        let is_short = |pairs: &Vec<(&str, &str)>| {
            let n_chars = |t: &str| t.chars().count();
            let all: usize = pairs.iter().map(|(n, v)| n_chars(n) + n_chars(v)).sum();
            all <= EXEMPLAR_MAX_CHARS
        };
        let Some(pairs) = pairs.filter(is_short) else {
            return;
        };
        if !self.limits.window.holds(exemplar.time_ms) {
            return;
        }
        let batch = &mut self.request.batch;
        let labels = batch.label_set(pairs);
        let point = Point {
            family,
            suffix: Suffix::None,
            labels: set,
            time_ms: Some(exemplar.time_ms),
            value: exemplar.value,
        };
        batch.push_exemplar(metric::Exemplar { point, labels });
        self.request.n_exemplars += 1;
    }

    fn read_labels(&mut self, series: &Message<'a>) -> Result<(), WireError> {
        self.labels.clear();
        let mut message = series.clone();
        while let Some((number, field)) = message.next()? {
            if number == 1 {
                self.labels.push(read_label(field.message()?)?);
            }
        }
        Ok(())
    }

    /// Gives the samples at hand to the sink; says whether that is all of them.
    fn give(&mut self, series: u32) -> bool {
        let mut n_given = 0;
        for sample in &self.samples {
            if !self.limits.window.holds(sample.time_ms) {
                continue;
            }
            let Sample {
                time_ms,
                value,
                start_ms,
            } = *sample;
            match start_ms {
                0 => self.sink.push(series, time_ms, value),
                start_ms => self.sink.push_started(series, time_ms, value, start_ms),
            }
            n_given += 1;
        }
        self.request.n_samples += n_given;
        n_given == self.samples.len()
    }

    /// Refuses those of the samples at hand whose times are not taken.
    fn refuse_outside(&mut self, labels: &[(&str, &str)]) {
        for at in 0..self.samples.len() {
            let time_ms = self.samples[at].time_ms;
            if !self.limits.window.holds(time_ms) {
                self.refuse_time(time_ms, labels);
            }
        }
    }

    fn refuse_time(&mut self, time_ms: i64, labels: &[(&str, &str)]) {
        let window = self.limits.window;
        self.request.refused.add(1, || {
            format!(
                "out of bounds: time {time_ms} of {} is not within {} and {}",
                describe(labels),
                window.oldest_ms,
                window.newest_ms
            )
        });
    }

    /// The labels as sorted text, or why the series is refused.
    fn checked_labels(&mut self) -> Result<Vec<(&'a str, &'a str)>, String> {
        if self.labels.len() > self.limits.max_labels {
            return Err(format!(
                "series has {} labels, more than the limit of {} (limits.max_labels)",
                self.labels.len(),
                self.limits.max_labels
            ));
        }
        let text = |bytes: &'a [u8], what: &str| {
            std::str::from_utf8(bytes)
                .map_err(|_| format!("{what} is not UTF-8: {:?}", String::from_utf8_lossy(bytes)))
        };
        let mut labels = Vec::with_capacity(self.labels.len());
        for &(name, value) in &self.labels {
            if name.is_empty() {
                return Err("label name is empty".into());
            }
            labels.push((text(name, "label name")?, text(value, "label value")?));
        }
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(format!(
                "label name {:?} is given twice in {}",
                pair[0].0,
                describe(&labels)
            ));
        }
        let named = labels
            .iter()
            .any(|(n, v)| *n == METRIC_NAME && !v.is_empty());
        if !named {
            return Err(format!("series has no metric name: {}", describe(&labels)));
        }
        Ok(labels)
    }

    fn keep(&mut self, labels: &[(&'a str, &'a str)]) {
        let (family, set) = self.place(labels);
        for sample in &self.samples {
            if !self.limits.window.holds(sample.time_ms) {
                continue;
            }
            self.request.n_samples += 1;
            let point = Point {
                family,
                suffix: Suffix::None,
                labels: set,
                time_ms: Some(sample.time_ms),
                value: sample.value,
            };
            self.request.batch.push_started(point, sample.start_ms);
        }
        self.refuse_outside(labels);
    }
}

fn read_label(mut message: Message<'_>) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    while let Some((number, field)) = message.next()? {
        match number {
            1 => name = field.bytes()?.0,
            2 => value = field.bytes()?.0,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_sample(mut message: Message<'_>) -> Result<Sample, WireError> {
    let mut sample = Sample {
        time_ms: 0,
        value: 0.0,
        start_ms: 0,
    };
    while let Some((number, field)) = message.next()? {
        match number {
            1 => sample.value = field.double()?,
            2 => sample.time_ms = field.int()?,
            // Of version 2 only.
            3 => sample.start_ms = field.int()?,
            _ => {}
        }
    }
    Ok(sample)
}

/// An exemplar of the series at hand.
struct Exemplar<'a> {
    labels: Vec<(&'a [u8], &'a [u8])>,
    value: f64,
    time_ms: i64,
}

fn read_exemplar(mut message: Message<'_>) -> Result<Exemplar<'_>, WireError> {
    let mut exemplar = Exemplar {
        labels: Vec::new(),
        value: 0.0,
        time_ms: 0,
    };
    while let Some((number, field)) = message.next()? {
        match number {
            1 => exemplar.labels.push(read_label(field.message()?)?),
            2 => exemplar.value = field.double()?,
            3 => exemplar.time_ms = field.int()?,
            _ => {}
        }
    }
    Ok(exemplar)
}

/// A series in a message to its sender: bounded, since a label may be megabytes.
fn describe(labels: &[(&str, &str)]) -> String {
    const MAX_CHARS: usize = 200;
    let mut text = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let value: String = value.chars().take(MAX_CHARS).collect();
        text.push_str(&format!("{comma}{name}={value:?}"));
        if text.len() > MAX_CHARS {
            text.push_str(", ...");
            break;
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests;
