//! `rate_gate`: the most records and bytes that an input may send in a window of time.
//!
//! What is above it waits until the window ends, so the input reads no further: nothing is dropped.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

/// The limits, and what of them is used up.
#[derive(Debug)]
pub struct RateGate {
    /// Per second, on average over a window; 0 is no limit.
    pub max_records: u64,
    pub max_bytes: u64,
    pub window: Duration,
    used: Mutex<Option<Used>>,
}

/// Of the window that has begun.
#[derive(Debug, Clone, Copy)]
struct Used {
    since: Instant,
    records: u64,
    bytes: u64,
}

impl RateGate {
    /// A gate nothing has passed yet.
    #[must_use]
    pub fn new(max_records: u64, max_bytes: u64, window: Duration) -> Self {
        Self {
            max_records,
            max_bytes,
            window,
            used: Mutex::default(),
        }
    }

    /// How long records have to wait at `now`; else they are counted. As in Fluent Bit what passes
    /// the limit is let through and closes the gate for the rest of the window.
    fn pass(&self, now: Instant, records: u64, bytes: u64) -> Option<Duration> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let current = (*used).filter(|u| now.duration_since(u.since) < self.window);
        let mut current = current.unwrap_or(Used {
            since: now,
            records: 0,
            bytes: 0,
        });
        let seconds = self.window.as_secs_f64();
        let is_over = |n: u64, limit: u64| limit > 0 && n as f64 / seconds > limit as f64;
        if is_over(current.records, self.max_records) || is_over(current.bytes, self.max_bytes) {
            *used = Some(current);
            return Some(self.window - now.duration_since(current.since));
        }
        current.records += records;
        current.bytes += bytes;
        *used = Some(current);
        None
    }

    /// Waits until records may pass; `false` when `closed` ends before. `pausing` is told of a wait.
    pub(super) fn wait(
        &self,
        records: u64,
        bytes: u64,
        closed: &Receiver<()>,
        pausing: impl Fn(bool),
    ) -> bool {
        while let Some(rest) = self.pass(Instant::now(), records, bytes) {
            pausing(true);
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

    #[test]
    fn what_is_above_waits_for_the_next_window() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let gate = RateGate::new(5, 1000, Duration::from_secs(2));
        // Ten records in two seconds; the batch that passes the limit is let through.
        assert_eq!(gate.pass(at(0), 8, 10), None);
        assert_eq!(gate.pass(at(100), 3, 10), None);
        assert_eq!(gate.pass(at(500), 1, 10), Some(Duration::from_millis(1500)));
        assert_eq!(gate.pass(at(2000), 1, 2001), None);
        assert_eq!(gate.pass(at(2500), 1, 1), Some(Duration::from_millis(1500)));
        assert_eq!(gate.pass(at(4000), 1, 1), None);
        let open = RateGate::new(0, 0, Duration::from_secs(1));
        assert_eq!(open.pass(at(0), u64::MAX / 4, u64::MAX / 4), None);
        assert_eq!(open.pass(at(0), 1, 1), None);
    }

    #[test]
    fn a_wait_ends_when_the_pipeline_does() {
        let gate = RateGate::new(1, 0, Duration::from_secs(60));
        let (sender, closed) = crossbeam_channel::bounded(0);
        assert!(gate.wait(61, 0, &closed, |_| {}));
        drop(sender);
        assert!(!gate.wait(1, 0, &closed, |_| {}));
    }
}
