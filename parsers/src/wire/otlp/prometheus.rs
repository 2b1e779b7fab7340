//! OTLP metrics as Prometheus stores them: translated names, `job` and `instance`, promoted resource attributes,
//! `target_info`, native histograms, exemplars, times of start.
//!
//! Source: Prometheus, `storage/remote/otlptranslator/prometheusremotewrite` and `OTLPConfig` in `config/config.go`. Not
//! here: what the agent makes of OTLP for its other outputs (`metrics.rs`). The rule: what is good in a request is kept,
//! what is not is counted with the reason for the first.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::metric::{self, HistogramPoint, Point};
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Suffix};

use super::super::remote_write::{self, Limits};
use super::super::{Refused, WireError};
use super::names::{LabelRules, Shape, Strategy, label_name, metric_name, unit_name};
use super::parts::{Pairs, Scope, each_resource, find};
use super::points::{Exemplar, Form, Metric, Raw, Temporality, bucket_of, number_text};
use super::{native, text};

/// Which resource attributes become labels of every series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promote {
    Only(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

/// How metrics are translated; the defaults are Prometheus's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub strategy: Strategy,
    pub promote: Promote,
    /// `target_info` has `service.name` and its like, too.
    pub keeps_identifying: bool,
    /// Histograms with named bounds become native ones with custom buckets.
    pub has_custom_buckets: bool,
    /// Name, version, schema and attributes of the scope become labels.
    pub promotes_scope: bool,
    /// Deltas are stored as they come, without a type; otherwise they are refused.
    pub keeps_deltas: bool,
    /// See [`LabelRules`].
    pub has_key_prefix: bool,
    pub keeps_underscores: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            promote: Promote::Only(BTreeSet::new()),
            keeps_identifying: false,
            has_custom_buckets: false,
            promotes_scope: false,
            keeps_deltas: false,
            has_key_prefix: true,
            keeps_underscores: true,
        }
    }
}

/// A translated request.
#[derive(Debug)]
pub struct Translated {
    pub batch: MetricBatch,
    /// Data points that were not taken.
    pub refused: Refused,
}

/// The attributes that `job` and `instance` are made of.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// `target_info` is repeated so often that a query at any time between two points finds it: half of the time that
/// PromQL looks back.
const TARGET_INFO_STEP_MS: i64 = 150_000;
/// Points of one request that lie further apart get it at both ends only as far back as this.
const TARGET_INFO_SPAN_MS: i64 = 24 * 3_600_000;

/// Translates a whole `ExportMetricsServiceRequest`.
///
/// # Errors
/// When it is no such message.
pub fn translate(body: &[u8], rules: &Rules, limits: &Limits) -> Result<Translated, WireError> {
    let mut translator = Translator {
        rules,
        limits,
        label_rules: LabelRules {
            is_utf8: !rules.strategy.escapes(),
            has_key_prefix: rules.has_key_prefix,
            keeps_underscores: rules.keeps_underscores,
        },
        batch: MetricBatch::new("otlp".into(), Arc::default(), 0),
        refused: Refused::default(),
        of_resource: Labels::default(),
        of_scope: Labels::default(),
        identity: Labels::default(),
        times: None,
    };
    each_resource(body, |resource, scopes| {
        translator.resource(resource, scopes)
    })?;
    Ok(Translated {
        batch: translator.batch,
        refused: translator.refused,
    })
}

/// Labels in the order in which they were set, each name once.
#[derive(Debug, Default, Clone)]
struct Labels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Labels<'a> {
    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// An empty value is none.
    fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(pair) => pair.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter().map(|(n, v)| (&**n, &**v));
        pairs.filter(|(_, value)| !value.is_empty())
    }
}

struct Translator<'a, 'l> {
    rules: &'l Rules,
    limits: &'l Limits,
    label_rules: LabelRules,
    batch: MetricBatch,
    refused: Refused,
    /// Promoted attributes of the resource at hand.
    of_resource: Labels<'a>,
    /// Labels of the scope at hand.
    of_scope: Labels<'a>,
    /// `job` and `instance`.
    identity: Labels<'a>,
    /// First and last time of the points that were taken of the resource at hand.
    times: Option<(i64, i64)>,
}

/// Where the samples of a metric go.
#[derive(Debug, Clone, Copy)]
struct Place {
    family: FamilyId,
    labels: (u32, u32),
    time_ms: i64,
    start_ms: i64,
}

impl<'a> Translator<'a, '_> {
    fn resource(&mut self, resource: &Pairs<'a>, scopes: Vec<Scope<'a>>) -> Result<(), WireError> {
        self.identity = identity(resource)?;
        self.times = None;
        let promoted = resource
            .iter()
            .filter(|(name, _)| match &self.rules.promote {
                Promote::Only(names) => names.contains(*name),
                Promote::AllBut(names) => !names.contains(*name),
            });
        let promoted: Pairs<'a> = promoted.copied().collect();
        let found = self.named(&promoted, |_| false)?;
        // Without its labels the resource's points would be others.
        self.of_resource = match found {
            Ok(labels) => labels,
            Err(reason) => return self.refuse_all(scopes, &reason),
        };
        for scope in scopes {
            self.scope(scope)?;
        }
        if let Some((first, last)) = self.times {
            self.target_info(resource, first, last)?;
        }
        Ok(())
    }

    fn scope(&mut self, scope: Scope<'a>) -> Result<(), WireError> {
        self.of_scope = Labels::default();
        if self.rules.promotes_scope && !scope.name.is_empty() {
            for (name, value) in &scope.attributes {
                let name = format!("otel_scope_{name}");
                match label_name(&name, &self.label_rules) {
                    Ok(name) => {
                        let name = Cow::Owned(name.into_owned());
                        self.of_scope.set(name, text::text(*value)?);
                    }
                    Err(reason) => return self.refuse_all(vec![scope], &reason),
                }
            }
            for (name, value) in [
                ("otel_scope_name", scope.name),
                ("otel_scope_version", scope.version),
                ("otel_scope_schema_url", scope.schema_url),
            ] {
                self.of_scope.set(name.into(), value.into());
            }
        }
        let mut message = scope.part;
        while let Some((number, field)) = message.next()? {
            if number == 2
                && let Some(metric) = Metric::read(field.message()?)?
            {
                self.metric(metric)?;
            }
        }
        Ok(())
    }

    /// Counts all points of some scopes as refused.
    fn refuse_all(&mut self, scopes: Vec<Scope<'a>>, reason: &str) -> Result<(), WireError> {
        for scope in scopes {
            let mut message = scope.part;
            while let Some((number, field)) = message.next()? {
                if number == 2
                    && let Some(metric) = Metric::read(field.message()?)?
                {
                    self.refused.add(metric.points.len(), || reason.to_owned());
                }
            }
        }
        Ok(())
    }

    fn metric(&mut self, metric: Metric<'a>) -> Result<(), WireError> {
        if metric.points.is_empty() {
            return Ok(());
        }
        let name = match self.family_name(&metric) {
            Ok(name) => name,
            Err(reason) => {
                self.refused.add(metric.points.len(), || reason);
                return Ok(());
            }
        };
        let is_delta = metric.temporality == Temporality::Delta;
        let kind = match metric.form {
            _ if is_delta => MetricKind::Unknown,
            Form::Sum if metric.is_monotonic => MetricKind::Counter,
            Form::Gauge | Form::Sum => MetricKind::Gauge,
            Form::Histogram | Form::Exponential => MetricKind::Histogram,
            Form::Summary => MetricKind::Summary,
        };
        let family = self.batch.family(&name, kind, metric.help);
        let unit = unit_name(metric.unit);
        if !unit.is_empty() {
            self.batch.set_unit(family, &unit);
        }
        for message in metric.points {
            let raw = Raw::read(metric.form, message)?;
            if let Err(reason) = self.point(family, metric.form, is_delta, &raw)? {
                self.refused.add(1, || format!("{name}: {reason}"));
            }
        }
        Ok(())
    }

    fn family_name(&self, metric: &Metric<'_>) -> Result<String, String> {
        let is_taken = match metric.temporality {
            Temporality::Cumulative => true,
            Temporality::Delta => self.rules.keeps_deltas,
            Temporality::Other => false,
        };
        if !is_taken {
            return Err(format!(
                "invalid temporality and type combination for metric {:?}; send cumulative temporality \
                 (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative) or set otlp.keep_deltas to true",
                metric.name
            ));
        }
        let shape = match metric.form {
            Form::Gauge => Shape::Gauge,
            Form::Sum if metric.is_monotonic => Shape::Counter,
            Form::Sum | Form::Histogram | Form::Exponential | Form::Summary => Shape::Other,
        };
        metric_name(metric.name, metric.unit, shape, self.rules.strategy)
    }

    /// Takes a point, or says why not.
    fn point(
        &mut self,
        family: FamilyId,
        form: Form,
        is_delta: bool,
        raw: &Raw<'a>,
    ) -> Result<Result<(), String>, WireError> {
        let time_ms = raw.time_ms();
        let window = self.limits.window;
        if !window.holds(time_ms) {
            return Ok(Err(format!(
                "out of bounds: time {time_ms} is not within {} and {}",
                window.oldest_ms, window.newest_ms
            )));
        }
        let labels = match self.labels_of(raw)? {
            Ok(labels) => labels,
            Err(reason) => return Ok(Err(reason)),
        };
        let has_further = match form {
            Form::Histogram => !self.rules.has_custom_buckets,
            Form::Summary => true,
            Form::Gauge | Form::Sum | Form::Exponential => false,
        };
        // The name, and the bound or the quantile.
        let n_labels = labels.pairs().count() + 1 + usize::from(has_further);
        if n_labels > self.limits.max_labels {
            return Ok(Err(format!(
                "series has {n_labels} labels, more than the limit of {} (limits.max_labels)",
                self.limits.max_labels
            )));
        }
        let place = |batch: &mut MetricBatch| Place {
            family,
            labels: batch.label_set(labels.pairs()),
            time_ms,
            start_ms: raw.start_ms(),
        };
        let histogram = match form {
            Form::Exponential => native::exponential(raw, is_delta),
            Form::Histogram => match check_bounds(raw) {
                Ok(()) if !self.rules.has_custom_buckets => {
                    let place = place(&mut self.batch);
                    self.classic(place, raw)?;
                    self.taken(time_ms);
                    return Ok(Ok(()));
                }
                Ok(()) => native::custom(raw, is_delta),
                Err(reason) => Err(reason),
            },
            Form::Gauge | Form::Sum => {
                let place = place(&mut self.batch);
                self.push(place, Suffix::None, raw.shown(raw.value));
                if form == Form::Sum {
                    self.exemplars(place, Suffix::None, &raw.exemplars)?;
                }
                self.taken(time_ms);
                return Ok(Ok(()));
            }
            Form::Summary => {
                let place = place(&mut self.batch);
                self.summary(place, raw);
                self.taken(time_ms);
                return Ok(Ok(()));
            }
        };
        let checked = histogram.and_then(|h| remote_write::check_histogram(&h).map(|()| h));
        let histogram: NativeHistogram = match checked {
            Ok(histogram) => histogram,
            Err(reason) => return Ok(Err(reason)),
        };
        let place = place(&mut self.batch);
        self.batch.push_histogram(HistogramPoint {
            point: place.point(Suffix::None, histogram.count()),
            start_ms: place.start_ms,
            histogram,
        });
        self.exemplars(place, Suffix::None, &raw.exemplars)?;
        self.taken(time_ms);
        Ok(Ok(()))
    }

    fn taken(&mut self, time_ms: i64) {
        let (first, last) = self.times.unwrap_or((time_ms, time_ms));
        self.times = Some((first.min(time_ms), last.max(time_ms)));
    }

    /// The labels of a point, without the name.
    fn labels_of(&self, raw: &Raw<'a>) -> Result<Result<Labels<'a>, String>, WireError> {
        let mut labels = match self.named(&raw.attributes, |name| name == "__name__")? {
            Ok(labels) => labels,
            Err(reason) => return Ok(Err(reason)),
        };
        for (name, value) in &self.of_resource.0 {
            if labels.get(name).is_empty() {
                labels.set(name.clone(), value.clone());
            }
        }
        for (name, value) in self.identity.0.iter().chain(&self.of_scope.0) {
            labels.set(name.clone(), value.clone());
        }
        Ok(Ok(labels))
    }

    /// Attributes as labels. Values of attributes that get the same name are joined in the order of the attributes'
    /// own names.
    fn named(
        &self,
        pairs: &Pairs<'a>,
        is_left_out: impl Fn(&str) -> bool,
    ) -> Result<Result<Labels<'a>, String>, WireError> {
        let mut sorted: Pairs<'a> = pairs.clone();
        sorted.retain(|(name, _)| !is_left_out(name));
        sorted.sort_by_key(|(name, _)| *name);
        let mut labels = Labels::default();
        for (name, value) in sorted {
            let name = match label_name(name, &self.label_rules) {
                Ok(name) => name,
                Err(reason) => return Ok(Err(reason)),
            };
            let value = text::text(value)?;
            let known = labels.get(&name);
            let value = match known.is_empty() || self.label_rules.is_utf8 {
                true => value,
                false => Cow::Owned(format!("{known};{value}")),
            };
            labels.set(name, value);
        }
        Ok(Ok(labels))
    }

    fn push(&mut self, place: Place, suffix: Suffix, value: f64) {
        let point = place.point(suffix, value);
        self.batch.push_started(point, place.start_ms);
    }

    /// The same place with a label more, which takes the place of one that is there.
    fn with(&mut self, place: Place, name: &str, value: &str) -> Place {
        let is_there = self.batch.pairs_of(place.labels).any(|(n, _)| n == name);
        let labels = if is_there {
            let own = self.batch.pairs_of(place.labels);
            let own = own.filter(|(n, _)| *n != name);
            let own: Vec<(String, String)> = own.map(|(n, v)| (n.into(), v.into())).collect();
            let own = own.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            self.batch.label_set(own.chain([(name, value)]))
        } else {
            self.batch.longer_label_set(place.labels, [(name, value)])
        };
        Place { labels, ..place }
    }

    fn classic(&mut self, place: Place, raw: &Raw<'a>) -> Result<(), WireError> {
        if let Some(sum) = raw.sum {
            self.push(place, Suffix::Sum, raw.shown(sum));
        }
        let count = raw.shown(raw.count as f64);
        self.push(place, Suffix::Count, count);
        // Each exemplar goes with the bucket that it was counted in.
        let mut of_buckets: Vec<(usize, &Exemplar<'a>)> = raw
            .exemplars
            .iter()
            .map(|exemplar| (bucket_of(&raw.bounds, exemplar.value), exemplar))
            .collect();
        of_buckets.sort_by_key(|(bucket, _)| *bucket);
        let mut sum = 0u64;
        for at in 0..=raw.bounds.len() {
            let is_last = at == raw.bounds.len();
            if !is_last && raw.counts.is_empty() {
                continue;
            }
            sum = sum.saturating_add(raw.counts.get(at).copied().unwrap_or(0));
            let (le, value) = match is_last {
                true => ("+Inf".to_owned(), count),
                false => (number_text(raw.bounds[at]), raw.shown(sum as f64)),
            };
            let bucket = self.with(place, "le", &le);
            self.push(bucket, Suffix::Bucket, value);
            // Without counts there is one bucket for all of them.
            let is_of = |of: usize| of == at || (is_last && raw.counts.is_empty());
            for (_, exemplar) in of_buckets.iter().filter(|(of, _)| is_of(*of)) {
                self.exemplar(bucket, Suffix::Bucket, exemplar)?;
            }
        }
        Ok(())
    }

    fn summary(&mut self, place: Place, raw: &Raw<'_>) {
        self.push(place, Suffix::Sum, raw.shown(raw.sum.unwrap_or(0.0)));
        self.push(place, Suffix::Count, raw.shown(raw.count as f64));
        for (quantile, value) in &raw.quantiles {
            let of_quantile = self.with(place, "quantile", &number_text(*quantile));
            self.push(of_quantile, Suffix::None, raw.shown(*value));
        }
    }

    fn exemplars(
        &mut self,
        place: Place,
        suffix: Suffix,
        exemplars: &[Exemplar<'a>],
    ) -> Result<(), WireError> {
        for exemplar in exemplars {
            self.exemplar(place, suffix, exemplar)?;
        }
        Ok(())
    }

    /// One that is outside of the times that are taken is left out; its point does not suffer for it.
    fn exemplar(
        &mut self,
        place: Place,
        suffix: Suffix,
        exemplar: &Exemplar<'a>,
    ) -> Result<(), WireError> {
        let time_ms = exemplar.time_ms(place.time_ms);
        if !self.limits.window.holds(time_ms) {
            return Ok(());
        }
        let labels = exemplar.labels()?;
        let pairs = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels = self.batch.label_set(pairs);
        let point = Place { time_ms, ..place }.point(suffix, exemplar.value);
        self.batch.push_exemplar(metric::Exemplar { point, labels });
        Ok(())
    }

    /// One more series, of what is known of the resource besides its identity.
    fn target_info(
        &mut self,
        resource: &Pairs<'a>,
        first: i64,
        last: i64,
    ) -> Result<(), WireError> {
        let is_known = |name: &str| IDENTIFYING.contains(&name);
        let says_nothing = resource.iter().all(|(name, _)| is_known(name));
        if says_nothing || self.identity.pairs().next().is_none() {
            return Ok(());
        }
        let keeps = self.rules.keeps_identifying;
        let Ok(mut labels) = self.named(resource, |name| is_known(name) && !keeps)? else {
            // The points told it already, if the attribute is promoted; else it is no reason to refuse them.
            return Ok(());
        };
        for (name, value) in &self.identity.0 {
            labels.set(name.clone(), value.clone());
        }
        if labels.pairs().count() >= self.limits.max_labels {
            let n = labels.pairs().count() + 1;
            self.refused.add(1, || {
                format!("target_info has {n} labels, more than the limit (limits.max_labels)")
            });
            return Ok(());
        }
        let family = self
            .batch
            .family("target_info", MetricKind::Gauge, "Target metadata");
        let labels = self.batch.label_set(labels.pairs());
        let mut time_ms = first.max(last.saturating_sub(TARGET_INFO_SPAN_MS));
        loop {
            let place = Place {
                family,
                labels,
                time_ms,
                start_ms: 0,
            };
            self.push(place, Suffix::None, 1.0);
            if time_ms >= last {
                return Ok(());
            }
            time_ms = time_ms.saturating_add(TARGET_INFO_STEP_MS).min(last);
        }
    }
}

impl Place {
    fn point(self, suffix: Suffix, value: f64) -> Point {
        Point {
            family: self.family,
            suffix,
            labels: self.labels,
            time_ms: Some(self.time_ms),
            value,
        }
    }
}

/// `job` of the service's namespace and name, `instance` of its instance's id.
fn identity<'a>(resource: &Pairs<'a>) -> Result<Labels<'a>, WireError> {
    let [namespace, name, instance] = IDENTIFYING.map(|name| find(resource, name));
    let mut labels = Labels::default();
    if let Some(name) = name {
        let name = text::text(name)?;
        let job = match namespace {
            Some(namespace) => Cow::Owned(format!("{}/{name}", text::text(namespace)?)),
            None => name,
        };
        labels.set("job".into(), job);
    }
    if let Some(instance) = instance {
        labels.set("instance".into(), text::text(instance)?);
    }
    // An empty one is none, and takes nothing away.
    labels.0.retain(|(_, value)| !value.is_empty());
    Ok(labels)
}

fn check_bounds(raw: &Raw<'_>) -> Result<(), String> {
    if !raw.counts.is_empty() && raw.counts.len() != raw.bounds.len() + 1 {
        return Err(format!(
            "{} buckets with {} bounds",
            raw.counts.len(),
            raw.bounds.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
