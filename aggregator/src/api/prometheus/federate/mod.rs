//! `/federate`: the newest sample of each selected series, as a Prometheus scrapes it.
//!
//! In the text format, or in protobuf for those who take that, which is the only one with native histograms. The rules are
//! Prometheus's: nothing older than the lookback, no series whose newest sample is a staleness marker, `instance=""` where
//! there is none, external labels where they lack. Source: Prometheus, `web/federate.go`.

mod escaping;
mod protobuf;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use kansoku_model::histogram::{NativeHistogram, ResetHint};
use kansoku_model::labels::METRIC_NAME;
use kansoku_model::metric::STALE_BITS;
use kansoku_model::select::{SelectError, SeriesData, SeriesSource};
use kansoku_model::{Labels, Matcher};
use kansoku_query::promql;

use self::escaping::Escaping;
use super::envelope::ApiError;
use super::plain::{self, Allowance};
use crate::api::gate::Interrupt;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;

/// Copies of a series' labels: in the tree, as texts, in the answer.
const LABEL_COPIES: usize = 4;
/// What a series takes besides its labels, until it is written.
const SERIES_BYTES: usize = 512;

/// Answers the call.
pub async fn federate(app: Arc<App>, call: Call) -> Reply {
    plain::run(app, call, QueryKind::PromqlFederate, answer).await
}

fn answer(app: &App, call: &Call, interrupt: &Interrupt) -> Result<Reply, ApiError> {
    let selectors = call.form.all("match[]").map(promql::metric_selector);
    let selectors: Vec<Vec<Matcher>> = selectors
        .collect::<Result<_, _>>()
        .map_err(|e| ApiError::bad_data(e.to_string()))?;
    let snapshot = call.tenant.snapshot(&app.tenants.opener)?;
    let now_ms = clock::now_ms();
    let lookback_ms = i64::try_from(app.settings.query_lookback.as_millis()).unwrap_or(i64::MAX);
    let mut allowance = Allowance::new(app, &call.tenant);
    let mut n_kept_bytes = 0;
    let mut newest: BTreeMap<Labels, Sample> = BTreeMap::new();
    for matchers in &selectors {
        interrupt.check()?;
        let from_ms = now_ms.saturating_sub(lookback_ms);
        let found = snapshot.select(matchers, from_ms, now_ms, allowance.max_samples());
        let of_samples = |text| SelectError::Limit(text).into();
        let found = found.map_err(|e| allowance.refused(e, of_samples))?;
        allowance.take(&found, n_kept_bytes)?;
        let labels = found.iter().map(|one| one.labels.as_bytes().len());
        n_kept_bytes += labels
            .map(|n| LABEL_COPIES * n + SERIES_BYTES)
            .sum::<usize>();
        let last = |series: SeriesData| Some((Sample::last(&series)?, series.labels));
        newest.extend(found.into_iter().filter_map(last).map(|(s, l)| (l, s)));
    }
    let format = Format::negotiate(call.header(hyper::header::ACCEPT));
    let families = families(newest, &app.rules.external_labels(), format.kind);
    // What was selected is gone by now, but for the newest samples.
    allowance.hold(n_kept_bytes)?;
    let mut out = Vec::new();
    for family in &families {
        match format.kind {
            Kind::Text => text::write(&mut out, family, format.escaping),
            Kind::Protobuf => protobuf::write(&mut out, family, format.escaping),
        }
    }
    Ok(Reply::new(StatusCode::OK, format.content_type(), out))
}

/// A float or a histogram.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Float(f64),
    Histogram(Arc<NativeHistogram>),
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    time_ms: i64,
    value: Value,
}

impl Sample {
    /// The newest of a series, unless it ends there.
    fn last(series: &SeriesData) -> Option<Self> {
        let at = series.times.len().checked_sub(1)?;
        let value = match series.histograms.get(at) {
            Some(Some(histogram)) if histogram.is_stale() => return None,
            Some(Some(histogram)) => Value::Histogram(histogram.clone()),
            _ if series.values[at].to_bits() == STALE_BITS => return None,
            _ => Value::Float(series.values[at]),
        };
        let time_ms = series.times[at];
        Some(Self { time_ms, value })
    }

    fn family_kind(&self) -> FamilyKind {
        match &self.value {
            Value::Float(_) => FamilyKind::Untyped,
            Value::Histogram(h) if h.reset_hint == ResetHint::Gauge => FamilyKind::GaugeHistogram,
            Value::Histogram(_) => FamilyKind::Histogram,
        }
    }
}

/// What a family is; the numbers are those of `io.prometheus.client.MetricType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FamilyKind {
    Untyped = 3,
    Histogram = 4,
    GaugeHistogram = 5,
}

/// Samples of one name and kind that follow each other.
#[derive(Debug)]
struct Family {
    name: String,
    kind: FamilyKind,
    /// Labels without the name, those added last, and the sample.
    metrics: Vec<(Vec<(String, String)>, Sample)>,
}

/// The samples by name, each with the labels it leaves with. Series without a name, and histograms that the format
/// cannot tell, are left out.
fn families(
    newest: BTreeMap<Labels, Sample>,
    external: &[(String, String)],
    format: Kind,
) -> Vec<Family> {
    let mut added = external.to_vec();
    if !added.iter().any(|(name, _)| name == "instance") {
        added.push(("instance".into(), String::new()));
        added.sort();
    }
    let can_tell = |sample: &Sample| match &sample.value {
        Value::Histogram(h) => format == Kind::Protobuf || h.is_custom(),
        Value::Float(_) => true,
    };
    let mut samples: Vec<(Labels, Sample)> = newest
        .into_iter()
        .filter(|(labels, sample)| !labels.metric_name().is_empty() && can_tell(sample))
        .collect();
    samples.sort_by(|a, b| a.0.metric_name().cmp(b.0.metric_name()));
    let mut families: Vec<Family> = Vec::new();
    for (labels, sample) in samples {
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let lacking = added.iter().filter(|(name, _)| labels.get(name).is_none());
        let pairs = own.chain(lacking.map(|(n, v)| (n.as_str(), v.as_str())));
        let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let (name, kind) = (labels.metric_name(), sample.family_kind());
        match families.last_mut() {
            Some(last) if last.name == name && last.kind == kind => {
                last.metrics.push((pairs, sample));
            }
            _ => families.push(Family {
                name: name.to_owned(),
                kind,
                metrics: vec![(pairs, sample)],
            }),
        }
    }
    families
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    kind: Kind,
    escaping: Escaping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Protobuf,
}

impl Format {
    /// What a client's `Accept` asks for, the best first; text when it asks for nothing known.
    fn negotiate(accept: &str) -> Self {
        let mut clauses: Vec<Clause<'_>> = accept.split(',').map(Clause::of).collect();
        clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::default();
        for clause in clauses {
            let asked = clause.parameter("escaping").and_then(Escaping::of);
            escaping = asked.unwrap_or(escaping);
            let kind = match clause.kind {
                "application/vnd.google.protobuf"
                    if clause.parameter("proto") == Some("io.prometheus.client.MetricFamily")
                        && clause.parameter("encoding") == Some("delimited") =>
                {
                    Kind::Protobuf
                }
                "text/plain" => Kind::Text,
                _ => continue,
            };
            return Self { kind, escaping };
        }
        let kind = Kind::Text;
        Self { kind, escaping }
    }

    fn content_type(self) -> &'static str {
        match (self.kind, self.escaping) {
            (Kind::Text, Escaping::Underscores) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
            }
            (Kind::Text, Escaping::Dots) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=dots"
            }
            (Kind::Text, Escaping::Values) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=values"
            }
            (Kind::Text, Escaping::AllowUtf8) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"
            }
            (Kind::Protobuf, Escaping::Underscores) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
            }
            (Kind::Protobuf, Escaping::Dots) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=dots"
            }
            (Kind::Protobuf, Escaping::Values) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=values"
            }
            (Kind::Protobuf, Escaping::AllowUtf8) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8"
            }
        }
    }
}

/// A part of an `Accept` header.
struct Clause<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl<'a> Clause<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("");
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q");
        Self {
            kind,
            quality: quality.and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0),
            parameters,
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let found = self.parameters.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            time_ms: 1000,
            value: Value::Float(value),
        }
    }

    fn histogram(reset_hint: ResetHint) -> Sample {
        Sample {
            time_ms: 1000,
            value: Value::Histogram(Arc::new(NativeHistogram {
                reset_hint,
                ..NativeHistogram::empty(1.0)
            })),
        }
    }

    #[test]
    fn accept_headers_are_those_of_prometheus() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let cases = [
            ("", Kind::Text, Escaping::Underscores),
            ("*/*", Kind::Text, Escaping::Underscores),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5",
                Kind::Text,
                Escaping::AllowUtf8,
            ),
            (
                &format!("text/plain;q=0.5,{protobuf};q=0.9"),
                Kind::Protobuf,
                Escaping::Underscores,
            ),
            (
                &format!("text/plain;q=0.9,{protobuf};q=0.5"),
                Kind::Text,
                Escaping::Underscores,
            ),
            (
                "application/vnd.google.protobuf;encoding=delimited",
                Kind::Text,
                Escaping::Underscores,
            ),
        ];
        for (accept, kind, escaping) in cases {
            assert_eq!(
                Format::negotiate(accept),
                Format { kind, escaping },
                "{accept}"
            );
        }
    }

    #[test]
    fn families_are_by_name_and_kind_with_the_labels_that_lack() {
        let newest = || {
            BTreeMap::from([
                (
                    Labels::from_pairs([("__name__", "b"), ("a", "1")]),
                    sample(1.0),
                ),
                (
                    Labels::from_pairs([("__name__", "a"), ("x", "2"), ("instance", "i")]),
                    sample(2.0),
                ),
                (
                    Labels::from_pairs([("__name__", "a"), ("cluster", "own")]),
                    sample(3.0),
                ),
                (Labels::from_pairs([("nameless", "x")]), sample(4.0)),
                (
                    Labels::from_pairs([("__name__", "b"), ("a", "2")]),
                    histogram(ResetHint::No),
                ),
                (
                    Labels::from_pairs([("__name__", "b"), ("a", "3")]),
                    histogram(ResetHint::Gauge),
                ),
            ])
        };
        let external = [("cluster".to_owned(), "eu".to_owned())];
        let families_of = |kind| {
            let told = families(newest(), &external, kind);
            let told = told
                .into_iter()
                .map(|f| (f.name, f.kind as u8, f.metrics.len()));
            told.collect::<Vec<_>>()
        };
        let expected = [("a".to_owned(), 3, 2), ("b".to_owned(), 3, 1)];
        assert_eq!(families_of(Kind::Text), expected);
        let more = [("b".to_owned(), 4, 1), ("b".to_owned(), 5, 1)];
        assert_eq!(families_of(Kind::Protobuf), [&expected[..], &more].concat());
        let first = &families(newest(), &external, Kind::Text)[0].metrics;
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(first[0].0, [pair("cluster", "own"), pair("instance", "")]);
        assert_eq!(
            first[1].0,
            [pair("instance", "i"), pair("x", "2"), pair("cluster", "eu")]
        );
    }

    #[test]
    fn a_series_that_has_ended_is_left_out() {
        let ended = |value, histograms| SeriesData {
            times: vec![5],
            values: vec![value],
            histograms,
            ..SeriesData::default()
        };
        let stale = f64::from_bits(STALE_BITS);
        assert_eq!(Sample::last(&ended(stale, Vec::new())), None);
        let marker = Arc::new(NativeHistogram::empty(stale));
        assert_eq!(Sample::last(&ended(stale, vec![Some(marker)])), None);
        assert!(Sample::last(&ended(f64::NAN, Vec::new())).is_some());
        assert_eq!(Sample::last(&SeriesData::default()), None);
    }
}
