//! How many bytes a tenant may send per second.
//!
//! A bucket that fills at the rate. The one rule: a request passes while there is anything in the bucket,
//! whatever its size, and what it takes too much is paid back by the following ones: so no request is too
//! large to pass ever.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds of the rate that may be used at once.
const BURST_SECONDS: f64 = 2.0;

/// The bucket of one tenant.
#[derive(Debug)]
pub struct Rate {
    bytes_per_second: u64,
    /// What is in it, and when that was; locked for the time of one request's arithmetic.
    state: Mutex<Option<(f64, Instant)>>,
}

impl Rate {
    /// A full bucket; 0 is no limit.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            state: Mutex::default(),
        }
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// How long to wait, when the bucket is empty.
    pub fn take(&self, bytes: usize, now: Instant) -> Result<(), Duration> {
        if self.bytes_per_second == 0 {
            return Ok(());
        }
        let rate = self.bytes_per_second as f64;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = rate * BURST_SECONDS;
        let (held, at) = state.unwrap_or((full, now));
        let elapsed = now.saturating_duration_since(at).as_secs_f64();
        let held = (held + elapsed * rate).min(full);
        if held <= 0.0 {
            *state = Some((held, now));
            return Err(Duration::from_secs_f64((-held / rate).clamp(0.0, 86_400.0)));
        }
        *state = Some((held - bytes as f64, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_too_much_is_paid_back() {
        let (rate, begin) = (Rate::new(100), Instant::now());
        let at = |ms: u64| begin + Duration::from_millis(ms);
        assert_eq!(rate.take(150, at(0)), Ok(()));
        assert_eq!(rate.take(350, at(0)), Ok(()), "50 are left");
        assert_eq!(rate.take(1, at(0)), Err(Duration::from_secs(3)));
        assert_eq!(rate.take(1, at(2000)), Err(Duration::from_secs(1)));
        assert_eq!(rate.take(1, at(3500)), Ok(()));
        assert_eq!(rate.take(1000, at(1_000_000)), Ok(()));
        assert!(rate.take(1, at(1_007_000)).is_err(), "two seconds fill it");
        assert_eq!(Rate::new(0).take(usize::MAX, at(0)), Ok(()));
    }
}
