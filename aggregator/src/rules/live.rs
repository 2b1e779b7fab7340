//! The running aggregator as rules see it: queries over a snapshot, results through the WAL.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use kansoku_model::labels::Labels;
use kansoku_model::metric::{HistogramPoint, Point, Suffix};
use kansoku_model::{MetricBatch, MetricKind, RecordBatch};
use kansoku_query::logql;
use kansoku_query::promql::notation::stored;
use kansoku_query::promql::{Engine, Options, QueryError, Sample};
use kansoku_query::template::prometheus::table_link;
use kansoku_store::Incoming;
use tokio::runtime::Handle;

use super::alert::Alert;
use super::environment::{Counters, Environment, samples_of};
use super::file::Expression;
use super::notifier::{Notification, Notifier};
use crate::api::gate;
use crate::app::App;
use crate::clock;
use crate::ingest::Outcome;
use crate::telemetry::Protocol;
use crate::tenants::Tenant;

/// What rules work with while the program runs.
#[derive(Debug)]
pub struct Live {
    pub app: Arc<App>,
    /// Whose data is asked and who gets the results.
    pub tenant: Arc<Tenant>,
    pub notifier: Arc<Notifier>,
    pub external_labels: Arc<Labels>,
    pub external_url: String,
    /// Evaluation runs on threads that know no runtime.
    pub runtime: Handle,
}

/// Counters outlive a change of the configuration.
fn counters() -> &'static Counters {
    static COUNTERS: OnceLock<Counters> = OnceLock::new();
    COUNTERS.get_or_init(Counters::default)
}

/// Numbers of templates since the start.
#[must_use]
pub fn templates() -> (u64, u64) {
    counters().templates()
}

impl Environment for Live {
    fn query(&self, expression: &Expression, time_ms: i64) -> Result<Vec<Sample>, String> {
        let tenant = &self.tenant;
        let (begun, timeout) = (Instant::now(), self.app.query_timeout(tenant));
        // As any query of the tenant: within its slots, and those of all.
        let deadline = tokio::time::Instant::now() + timeout;
        let entered = self
            .runtime
            .block_on(gate::enter(&self.app, tenant, deadline));
        let _slots = entered.map_err(|why| why.message().to_owned())?;
        let text = expression.to_string();
        let active = self.app.active_queries.get();
        let _active = active.and_then(|all| all.begin(&text, clock::now_ms()));
        let snapshot = tenant.whole_snapshot(&self.app.tenants.opener);
        let snapshot = snapshot.map_err(|e| e.to_string())?;
        let is_late = || begun.elapsed() >= timeout;
        const LATE: &str = "query timed out in expression evaluation";
        match expression {
            Expression::Promql(query) => {
                let lookback = self.app.settings.query_lookback.as_millis();
                let engine = Engine::new(Options {
                    lookback_ms: i64::try_from(lookback).unwrap_or(i64::MAX),
                    max_samples: self.app.query_max_samples(tenant),
                    max_bytes: self.app.query_max_bytes(tenant),
                    memory: Arc::clone(&self.app.query_memory),
                    delayed_name_removal: self.app.settings.test_mode,
                    start_timestamps: self.app.settings.test_mode,
                    ..Options::default()
                });
                let check = || match is_late() {
                    true => Err(QueryError::Timeout(LATE.into())),
                    false => Ok(()),
                };
                let output = engine.instant(&snapshot, query, time_ms, &check);
                samples_of(output.map_err(|e| e.to_string())?.value)
            }
            Expression::Logql(metric, _) => {
                let engine = logql::Engine {
                    limits: logql::Limits {
                        max_samples: self.app.query_max_samples(tenant),
                        ..logql::Limits::default()
                    },
                };
                let check = || match is_late() {
                    true => Err(logql::QueryError::Cancelled(LATE.into())),
                    false => Ok(()),
                };
                let share = self.app.query_share(tenant);
                let context = logql::Context {
                    memory: Some(&share),
                    check: &check,
                };
                let time_ns = time_ms.saturating_mul(1_000_000);
                let answer = engine.metric_instant(&snapshot, metric, time_ns, &context);
                let answer = answer.map_err(|e| e.to_string())?;
                let sample = |labels, value| Sample {
                    labels,
                    time_ms,
                    value,
                    histogram: None,
                };
                Ok(match answer.value {
                    logql::output::InstantValue::Scalar { value, .. } => {
                        vec![sample(Labels::default(), value)]
                    }
                    logql::output::InstantValue::Vector(samples) => samples
                        .into_iter()
                        .map(|s| sample(s.labels, s.value))
                        .collect(),
                })
            }
        }
    }

    fn append(&self, samples: &[Sample]) -> Result<(), String> {
        let tenant = &self.tenant;
        let store = tenant.store(&self.app.tenants.opener);
        let store = store.map_err(|e| e.to_string())?;
        let incoming = vec![Incoming::Batch(RecordBatch::Metrics(batch_of(samples)))];
        let appended = store.append(incoming).map_err(|e| e.to_string())?;
        let outcome = Outcome {
            accepted: appended.accepted,
            duplicates: appended.duplicates,
            refused: appended.refused.total(),
            limited: appended.refused,
        };
        tenant.discard_refused(&outcome.limited);
        self.app.telemetry.ingested(Protocol::Rules, 0, &outcome);
        match outcome.refused {
            0 => Ok(()),
            n => Err(format!(
                "{n} of {} series were kept out by a limit of the store; raise max_series (limits)",
                samples.len()
            )),
        }
    }

    fn notify(&self, expression: &Expression, alerts: Vec<Alert>) {
        let link = format!(
            "{}{}",
            self.external_url,
            table_link(&expression.to_string())
        );
        let name: Arc<str> = self.tenant.name().into();
        let notifications = alerts.into_iter().map(|alert| Notification {
            starts_at_ms: alert.fired_at_ms.unwrap_or(alert.active_at_ms),
            ends_at_ms: alert.resolved_at_ms.unwrap_or(alert.valid_until_ms),
            labels: alert.labels,
            annotations: alert.annotations,
            generator_url: link.clone(),
            tenant: Arc::clone(&name),
        });
        self.notifier.send(&name, notifications.collect());
    }

    fn external_labels(&self) -> Arc<Labels> {
        Arc::clone(&self.external_labels)
    }

    fn external_url(&self) -> &str {
        &self.external_url
    }

    fn counters(&self) -> &Counters {
        counters()
    }

    fn resend_ms(&self) -> i64 {
        let delay = self.app.settings.rules.resend_delay.as_millis();
        i64::try_from(delay).unwrap_or(i64::MAX)
    }
}

fn batch_of(samples: &[Sample]) -> MetricBatch {
    let time_ms = samples.first().map_or(0, |s| s.time_ms);
    let mut batch = MetricBatch::new("rules".into(), Arc::default(), time_ms);
    for sample in samples {
        let family = batch.family(sample.labels.metric_name(), MetricKind::Unknown, "");
        let labels = sample.labels.iter().filter(|(name, _)| *name != "__name__");
        let labels = batch.label_set(labels);
        let point = Point {
            family,
            suffix: Suffix::None,
            labels,
            time_ms: Some(sample.time_ms),
            value: sample.value,
        };
        match &sample.histogram {
            None => batch.push(point),
            Some(histogram) => batch.push_histogram(HistogramPoint {
                point: Point {
                    value: histogram.count,
                    ..point
                },
                start_ms: 0,
                histogram: stored(histogram),
            }),
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_points_of_the_same_series() {
        let labels = Labels::from_pairs([("__name__", "ALERTS"), ("alertname", "A")]);
        let sample = Sample {
            labels: labels.clone(),
            time_ms: 5,
            value: 1.0,
            histogram: None,
        };
        let batch = batch_of(&[sample]);
        let point = &batch.points()[0];
        assert_eq!(batch.series_of(point), labels);
        assert_eq!((batch.time_of(point), point.value), (5, 1.0));
    }
}
