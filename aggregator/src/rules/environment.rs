//! What rules are evaluated in: where queries go, where results go, who is told of alerts.
//!
//! Two implementations: the running aggregator ([`super::live`]) and unit tests of rules
//! ([`super::unit_test`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kansoku_model::Labels;
use kansoku_query::promql::{QueryValue, Sample};

use super::alert::Alert;
use super::file::Expression;

/// Evaluates, stores and tells for rules.
pub trait Environment: Send + Sync {
    /// The value of an expression at a time; a scalar is a series without labels.
    ///
    /// # Errors
    /// When the query fails, or gives neither vector nor scalar.
    fn query(&self, expression: &Expression, time_ms: i64) -> Result<Vec<Sample>, String>;

    /// Stores samples durably.
    ///
    /// # Errors
    /// When that failed.
    fn append(&self, samples: &[Sample]) -> Result<(), String>;

    /// Tells the Alertmanagers.
    fn notify(&self, expression: &Expression, alerts: Vec<Alert>);

    /// Labels of this place among others.
    fn external_labels(&self) -> Arc<Labels>;

    /// Where people reach the aggregator.
    fn external_url(&self) -> &str;

    /// Numbers of evaluations and templates.
    fn counters(&self) -> &Counters;

    /// How often a firing alert is told again.
    fn resend_ms(&self) -> i64;
}

/// What is counted for all rules together.
#[derive(Debug, Default)]
pub struct Counters {
    templates: AtomicU64,
    failed_templates: AtomicU64,
}

impl Counters {
    /// A template was expanded.
    pub fn template(&self) {
        self.templates.fetch_add(1, Ordering::Relaxed);
    }

    /// It failed.
    pub fn template_failed(&self) {
        self.failed_templates.fetch_add(1, Ordering::Relaxed);
    }

    /// Templates that were expanded, and those of them that failed.
    #[must_use]
    pub fn templates(&self) -> (u64, u64) {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (read(&self.templates), read(&self.failed_templates))
    }
}

/// The samples of what an instant query gave.
///
/// # Errors
/// When it is neither vector nor scalar.
pub fn samples_of(value: QueryValue) -> Result<Vec<Sample>, String> {
    match value {
        QueryValue::Vector(samples) => Ok(samples),
        QueryValue::Scalar { time_ms, value } => Ok(vec![Sample {
            labels: Labels::default(),
            time_ms,
            value,
            histogram: None,
        }]),
        QueryValue::String { .. } | QueryValue::Matrix(_) => {
            Err("rule result is not a vector or scalar".into())
        }
    }
}
