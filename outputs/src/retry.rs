//! The one retry policy: exponential back-off with jitter, for ever or up to a limit.
//!
//! Pure arithmetic; the caller brings randomness and sleeps. Fluent Bit gives up after one retry by
//! default and loses the data; here a number must be asked for.

use std::time::Duration;

use kansoku_model::{ConfigError, Settings};

/// The first retry comes after this part of `base`: early, because most failures are restarts of
/// the other side.
const FIRST_WAIT_PART: u32 = 20;

/// When to try again and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// SERVICE `scheduler.base`: the back-off starts at a twentieth of it and doubles from there.
    pub base: Duration,
    /// It never exceeds this (SERVICE `scheduler.cap`).
    pub cap: Duration,
    /// How many retries before the batch goes to the dead letters; `None` = never.
    pub limit: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(5),
            cap: Duration::from_secs(60),
            limit: None,
        }
    }
}

impl RetryPolicy {
    /// The policy with the `retry_limit` of an output: a number, `no_retries`, or `no_limits`/`false`.
    ///
    /// # Errors
    /// When the value is none of these.
    pub fn with_limit_of(mut self, settings: &Settings) -> Result<Self, ConfigError> {
        let Some(s) = settings.get("retry_limit") else {
            return Ok(self);
        };
        self.limit = match s.value.to_ascii_lowercase().as_str() {
            "no_limits" | "false" | "off" | "no" => None,
            "no_retries" => Some(0),
            number => Some(number.parse().map_err(|_| {
                ConfigError::new(
                    &s.place,
                    format!(
                        "'retry_limit' is '{}', but must be a number, no_limits, false or no_retries",
                        s.value
                    ),
                )
            })?),
        };
        Ok(self)
    }

    /// How long to wait before retry number `attempt` (from 1), or `None` to give up. `random` is
    /// any number; it spreads the waits of many agents over half the interval.
    #[must_use]
    pub fn wait(&self, attempt: u32, random: u64) -> Option<Duration> {
        if self.limit.is_some_and(|limit| attempt > limit) {
            return None;
        }
        let first = self.base / FIRST_WAIT_PART;
        let doubled = first.saturating_mul(1u32 << attempt.saturating_sub(1).min(20));
        let full = doubled.min(self.cap);
        let spread_ms = (full.as_millis() as u64 / 2).max(1);
        Some(full - Duration::from_millis(random % spread_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_stay_there() {
        let p = RetryPolicy::default();
        let waits: Vec<u64> = (1..=12)
            .map(|n| p.wait(n, 0).expect("no limit").as_millis() as u64)
            .collect();
        assert_eq!(waits[..5], [250, 500, 1000, 2000, 4000]);
        assert_eq!(waits[11], 60_000);
        assert!(p.wait(1_000_000, u64::MAX).expect("no limit") >= Duration::from_secs(30));
    }

    #[test]
    fn limits_are_read_as_fluent_bit_reads_them() {
        let limit = |text: &str| {
            RetryPolicy::default()
                .with_limit_of(&Settings::of("http", &[("Retry_Limit", text)]))
                .map(|p| p.limit)
        };
        assert_eq!(limit("5"), Ok(Some(5)));
        assert_eq!(limit("False"), Ok(None));
        assert_eq!(limit("no_limits"), Ok(None));
        assert_eq!(limit("no_retries"), Ok(Some(0)));
        assert!(
            limit("some")
                .unwrap_err()
                .to_string()
                .contains("must be a number")
        );
        let one = RetryPolicy {
            limit: Some(1),
            ..RetryPolicy::default()
        };
        assert!(one.wait(1, 0).is_some() && one.wait(2, 0).is_none());
    }
}
