//! A limit on requests: so many at once, and one more each time an interval has passed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket of permissions that fills up again.
#[derive(Debug)]
pub struct RateLimit {
    burst: f64,
    interval: Duration,
    /// How many there are, and when that was.
    state: Mutex<(f64, Instant)>,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self {
            burst: f64::from(burst),
            interval,
            state: Mutex::new((f64::from(burst), now)),
        }
    }

    /// Takes a permission, if there is one.
    pub fn is_allowed(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *state;
        let elapsed = now.saturating_duration_since(since);
        let filled = left + elapsed.as_secs_f64() / self.interval.as_secs_f64();
        let filled = filled.min(self.burst);
        let is_allowed = filled >= 1.0;
        *state = (filled - f64::from(u8::from(is_allowed)), now);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let start = Instant::now();
        let limit = RateLimit::new(2, Duration::from_secs(10), start);
        let at = |seconds| limit.is_allowed(start + Duration::from_secs(seconds));
        let allowed = [0, 0, 0, 5, 10, 11, 100, 100, 100].map(at);
        assert_eq!(
            allowed,
            [true, true, false, false, true, false, true, true, false]
        );
    }
}
