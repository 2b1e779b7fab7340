//! OTLP metrics as samples under the names that they have, as Fluent Bit takes them: gauges, cumulative sums,
//! histograms with their buckets, exponential ones as native histograms, summaries; with exemplars.
//!
//! Not here: Prometheus's names (`prometheus.rs`). Deltas have no place in a metric batch: their points are counted
//! and named to the sender.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::metric::{self, HistogramPoint, Point};
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Resource, Suffix};

use super::super::remote_write::check_histogram;
use super::super::{Refused, WireError};
use super::points::{Exemplar, Form, Metric, Raw, Temporality, bucket_of, number_text};
use super::{any, each_scope, native, shared_resource};

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
            if number == 2
                && let Some(metric) = Metric::read(field.message()?)?
            {
                decoder.metric(metric)?;
            }
        }
        let batch = decoder.batch;
        if batch.n_samples() > 0 {
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

/// Where the samples of a point go.
#[derive(Clone, Copy)]
struct Place {
    family: FamilyId,
    labels: (u32, u32),
    time_ms: Option<i64>,
    start_ms: i64,
}

impl Place {
    fn point(self, suffix: Suffix, value: f64) -> Point {
        Point {
            family: self.family,
            suffix,
            labels: self.labels,
            time_ms: self.time_ms,
            value,
        }
    }
}

impl<'a> Decoder<'a, '_> {
    fn metric(&mut self, metric: Metric<'a>) -> Result<(), WireError> {
        let (name, form) = (metric.name, metric.form);
        let reason = match metric.temporality {
            _ if name.is_empty() => Some("a metric has no name".to_owned()),
            Temporality::Cumulative => None,
            _ => Some(format!(
                "only cumulative temporality is supported; {name} has another"
            )),
        };
        if let Some(reason) = reason {
            self.refused.add(metric.points.len(), || reason);
            return Ok(());
        }
        let kind = match form {
            Form::Sum if metric.is_monotonic => MetricKind::Counter,
            Form::Gauge | Form::Sum => MetricKind::Gauge,
            Form::Histogram | Form::Exponential => MetricKind::Histogram,
            Form::Summary => MetricKind::Summary,
        };
        let batch = &mut self.batch;
        let family = self.families.entry(name);
        let family = *family.or_insert_with(|| batch.new_family(name, kind, metric.help));
        for message in metric.points {
            let raw = Raw::read(form, message)?;
            let mut labels = Vec::with_capacity(raw.attributes.len());
            for (name, value) in &raw.attributes {
                labels.push((*name, any::shown(*value)?));
            }
            let labels = labels.iter().map(|(n, v)| (*n, v.as_str()));
            let place = Place {
                family,
                labels: self.batch.label_set(labels),
                time_ms: Some(raw.time_ms()).filter(|ms| *ms > 0),
                start_ms: raw.start_ms(),
            };
            match form {
                Form::Gauge | Form::Sum => {
                    self.push(place, Suffix::None, raw.shown(raw.value));
                    self.exemplars(place, Suffix::None, raw.exemplars.iter())?;
                }
                Form::Histogram => self.histogram(place, &raw)?,
                Form::Exponential => self.exponential(place, name, &raw)?,
                Form::Summary => self.summary(place, &raw),
            }
        }
        Ok(())
    }

    fn push(&mut self, place: Place, suffix: Suffix, value: f64) {
        let point = place.point(suffix, value);
        self.batch.push_started(point, place.start_ms);
    }

    fn push_with(
        &mut self,
        place: Place,
        suffix: Suffix,
        label: (&str, &str),
        value: f64,
    ) -> Place {
        let labels = self.batch.longer_label_set(place.labels, [label]);
        let place = Place { labels, ..place };
        self.push(place, suffix, value);
        place
    }

    fn exemplars<'e>(
        &mut self,
        place: Place,
        suffix: Suffix,
        exemplars: impl Iterator<Item = &'e Exemplar<'a>>,
    ) -> Result<(), WireError>
    where
        'a: 'e,
    {
        for exemplar in exemplars {
            let labels = exemplar.labels()?;
            let pairs = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let labels = self.batch.label_set(pairs);
            let of_point = place.time_ms.unwrap_or(self.batch.time_ms);
            let point = Point {
                time_ms: Some(exemplar.time_ms(of_point)),
                ..place.point(suffix, exemplar.value)
            };
            self.batch.push_exemplar(metric::Exemplar { point, labels });
        }
        Ok(())
    }

    fn histogram(&mut self, place: Place, raw: &Raw<'a>) -> Result<(), WireError> {
        if !raw.counts.is_empty() && raw.counts.len() != raw.bounds.len() + 1 {
            self.refused.add(1, || {
                format!(
                    "{} buckets with {} bounds",
                    raw.counts.len(),
                    raw.bounds.len()
                )
            });
            return Ok(());
        }
        let bounds = match raw.counts.is_empty() {
            true => &[][..],
            false => &raw.bounds,
        };
        let of_bucket = |at: usize| {
            let exemplars = raw.exemplars.iter();
            exemplars.filter(move |exemplar| bucket_of(bounds, exemplar.value) == at)
        };
        let mut sum = 0u64;
        for (at, bound) in bounds.iter().enumerate() {
            sum = sum.saturating_add(raw.counts[at]);
            let (le, value) = (number_text(*bound), raw.shown(sum as f64));
            let bucket = self.push_with(place, Suffix::Bucket, ("le", &le), value);
            self.exemplars(bucket, Suffix::Bucket, of_bucket(at))?;
        }
        let count = raw.shown(raw.count as f64);
        let bucket = self.push_with(place, Suffix::Bucket, ("le", "+Inf"), count);
        self.exemplars(bucket, Suffix::Bucket, of_bucket(bounds.len()))?;
        if let Some(sum) = raw.sum {
            self.push(place, Suffix::Sum, raw.shown(sum));
        }
        self.push(place, Suffix::Count, count);
        Ok(())
    }

    fn exponential(&mut self, place: Place, name: &str, raw: &Raw<'a>) -> Result<(), WireError> {
        let histogram = native::exponential(raw, false);
        let checked = histogram.and_then(|h| check_histogram(&h).map(|()| h));
        match checked {
            Ok(histogram) => {
                self.batch.push_histogram(HistogramPoint {
                    point: place.point(Suffix::None, histogram.count()),
                    start_ms: place.start_ms,
                    histogram,
                });
                self.exemplars(place, Suffix::None, raw.exemplars.iter())
            }
            Err(reason) => {
                self.refused.add(1, || format!("{name}: {reason}"));
                Ok(())
            }
        }
    }

    fn summary(&mut self, place: Place, raw: &Raw<'_>) {
        for (quantile, value) in &raw.quantiles {
            let text = number_text(*quantile);
            self.push_with(place, Suffix::None, ("quantile", &text), raw.shown(*value));
        }
        self.push(place, Suffix::Sum, raw.shown(raw.sum.unwrap_or(0.0)));
        self.push(place, Suffix::Count, raw.shown(raw.count as f64));
    }
}
