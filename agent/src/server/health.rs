//! `/api/v1/health`: error when the outputs failed too often within a period.
//!
//! The counters are sampled a fixed number of times per period, so the answer is exact to a sixtieth
//! of it and costs nothing when nobody asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::service::HealthCheck;
use crate::pipeline::Metrics;

/// Samples kept of one period.
const SAMPLES: usize = 60;
/// Sampling more often than this would be most of what an idle agent does.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Sums over all outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Failures {
    errors: u64,
    retry_failures: u64,
}

pub(super) struct Health {
    check: Option<HealthCheck>,
    metrics: Arc<Metrics>,
    /// Oldest first. Guarded for the moment of a push or a look.
    samples: Mutex<VecDeque<Failures>>,
}

impl Health {
    pub(super) fn new(check: Option<HealthCheck>, metrics: Arc<Metrics>) -> Self {
        let health = Self {
            check,
            metrics,
            samples: Mutex::default(),
        };
        health.sample();
        health
    }

    /// Samples for ever.
    pub(super) async fn watch(&self) {
        let Some(check) = self.check else { return };
        let pause = (check.period / SAMPLES as u32).max(MIN_PAUSE);
        loop {
            tokio::time::sleep(pause).await;
            self.sample();
        }
    }

    fn sample(&self) {
        let now = self.now();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        samples.push_back(now);
    }

    fn now(&self) -> Failures {
        let mut sum = Failures::default();
        for output in &self.metrics.outputs {
            sum.errors += output.errors.get();
            sum.retry_failures += output.retries_failed.get();
        }
        sum
    }

    /// `/api/v2/health`, in Fluent Bit's shape.
    pub(super) fn json(&self) -> serde_json::Value {
        let check = self.check.unwrap_or_default();
        let within = self.within_period();
        serde_json::json!({
            "status": if self.is_ok() { "ok" } else { "error" },
            "errors": within.errors,
            "retries_failed": within.retry_failures,
            "error_limit": check.errors,
            "retry_failure_limit": check.retry_failures,
            "period_limit": check.period.as_secs(),
        })
    }

    /// Failures since the oldest sample.
    fn within_period(&self) -> Failures {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let before = samples.front().copied().unwrap_or_default();
        let now = self.now();
        Failures {
            errors: now.errors - before.errors,
            retry_failures: now.retry_failures - before.retry_failures,
        }
    }

    pub(super) fn is_ok(&self) -> bool {
        let Some(check) = self.check else { return true };
        let within = self.within_period();
        within.errors <= check.errors && within.retry_failures <= check.retry_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::OutputCounters;

    #[test]
    fn failures_count_for_one_period() {
        let output = Arc::new(OutputCounters::default());
        let metrics = Arc::new(Metrics {
            outputs: vec![output.clone()],
            ..Metrics::default()
        });
        output.errors.add(100);
        let check = HealthCheck {
            errors: 5,
            retry_failures: 0,
            period: Duration::from_secs(60),
        };
        let health = Health::new(Some(check), metrics.clone());
        assert!(health.is_ok(), "what was before the start does not count");
        output.errors.add(5);
        assert!(health.is_ok(), "as many as allowed");
        output.errors.add(1);
        assert!(!health.is_ok());
        for _ in 0..=SAMPLES {
            health.sample();
        }
        assert!(health.is_ok(), "a period later");
        output.retries_failed.add(1);
        assert!(!health.is_ok());
        assert!(Health::new(None, metrics).is_ok());
    }
}
