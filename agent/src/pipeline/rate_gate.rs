//! `rate_gate`: the most records and bytes that an input may send in a window of time.
//!
//! What is above it waits until the window ends, so the input reads no further: nothing is dropped.
//! With back-pressure the limits are divided by one more than the pressure: the requests under way that
//! hold records of the input, and how often these have failed. As in Fluent Bit a closed gate opens again
//! within its window when the pressure is gone and so much of the limits is free as `resume_ratio` says.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

/// How often a closed gate looks whether the pressure has gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The limits, and what of them is used up.
#[derive(Debug)]
pub struct RateGate {
    /// Per second, on average over a window; 0 is no limit.
    pub max_records: u64,
    pub max_bytes: u64,
    pub window: Duration,
    /// Whether requests under way lower the limits.
    pub backpressure: bool,
    /// How much of the limits a window may have used up when it opens the gate again.
    pub resume_ratio: f64,
    used: Mutex<Option<Used>>,
}

/// Of the window that has begun.
#[derive(Debug, Clone, Copy)]
struct Used {
    since: Instant,
    records: u64,
    bytes: u64,
    is_closed: bool,
}

impl RateGate {
    /// A gate nothing has passed yet.
    #[must_use]
    pub fn new(
        (max_records, max_bytes): (u64, u64),
        window: Duration,
        backpressure: bool,
        resume_ratio: f64,
    ) -> Self {
        Self {
            max_records,
            max_bytes,
            window,
            backpressure,
            resume_ratio,
            used: Mutex::default(),
        }
    }

    /// How long records have to wait at `now`; else they are counted. As in Fluent Bit what passes
    /// the limit is let through and closes the gate.
    fn pass(&self, now: Instant, pressure: u64, records: u64, bytes: u64) -> Option<Duration> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let current = (*used).filter(|u| now.duration_since(u.since) < self.window);
        let mut current = current.unwrap_or(Used {
            since: now,
            records: 0,
            bytes: 0,
            is_closed: false,
        });
        let pressure = if self.backpressure { pressure } else { 0 };
        let ratio = if current.is_closed {
            self.resume_ratio
        } else {
            1.0
        };
        let share = ratio / (pressure as f64 + 1.0);
        let seconds = self.window.as_secs_f64();
        let is_over = |n: u64, limit: u64| limit > 0 && n as f64 / seconds > limit as f64 * share;
        current.is_closed =
            is_over(current.records, self.max_records) || is_over(current.bytes, self.max_bytes);
        if current.is_closed {
            *used = Some(current);
            return Some(self.window - now.duration_since(current.since));
        }
        current.records += records;
        current.bytes += bytes;
        *used = Some(current);
        None
    }

    /// Waits until records may pass; `false` when `closed` ends before. `pressure` tells of requests
    /// under way, `pausing` is told of a wait.
    pub(super) fn wait(
        &self,
        (records, bytes): (u64, u64),
        pressure: impl Fn() -> u64,
        closed: &Receiver<()>,
        pausing: impl Fn(bool),
    ) -> bool {
        while let Some(rest) = self.pass(Instant::now(), pressure(), records, bytes) {
            pausing(true);
            let rest = if self.backpressure {
                rest.min(LOOK_EVERY)
            } else {
                rest
            };
            if closed.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
        }
        pausing(false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_above_waits_for_the_next_window() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let gate = RateGate::new((5, 1000), 2 * SECOND, true, 0.8);
        // Ten records in two seconds; the batch that passes the limit is let through.
        assert_eq!(gate.pass(at(0), 0, 8, 10), None);
        assert_eq!(gate.pass(at(100), 0, 3, 10), None);
        let rest = Some(Duration::from_millis(1500));
        assert_eq!(gate.pass(at(500), 0, 1, 10), rest);
        assert_eq!(gate.pass(at(2000), 0, 1, 2001), None);
        assert_eq!(gate.pass(at(2500), 0, 1, 1), rest);
        assert_eq!(gate.pass(at(4000), 0, 1, 1), None);
        let open = RateGate::new((0, 0), SECOND, true, 0.8);
        assert_eq!(open.pass(at(0), 9, u64::MAX / 4, u64::MAX / 4), None);
        assert_eq!(open.pass(at(0), 9, 1, 1), None);
    }

    #[test]
    fn requests_under_way_lower_the_limits() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let gate = RateGate::new((100, 0), SECOND, true, 0.8);
        assert_eq!(gate.pass(at(0), 3, 26, 0), None);
        // 26 are more than a quarter of 100, but less than four fifths once nothing is under way.
        assert!(gate.pass(at(100), 3, 1, 0).is_some());
        assert_eq!(gate.pass(at(200), 0, 60, 0), None);
        // 86 are not.
        assert!(gate.pass(at(300), 3, 1, 0).is_some());
        assert!(gate.pass(at(400), 0, 1, 0).is_some());
        assert_eq!(gate.pass(at(1000), 3, 1, 0), None);
        let indifferent = RateGate::new((100, 0), SECOND, false, 0.8);
        assert_eq!(indifferent.pass(at(0), 3, 26, 0), None);
        assert_eq!(indifferent.pass(at(100), 3, 1, 0), None);
    }

    #[test]
    fn a_wait_ends_when_the_pipeline_does() {
        let gate = RateGate::new((1, 0), 60 * SECOND, true, 0.8);
        let (sender, closed) = crossbeam_channel::bounded(0);
        assert!(gate.wait((61, 0), || 0, &closed, |_| {}));
        drop(sender);
        assert!(!gate.wait((1, 0), || 0, &closed, |_| {}));
    }
}
