//! When a metric input collects: at once, and then at fixed times that differ from node to node.
//!
//! Times are multiples of the interval plus a phase made of the node's name, so a thousand nodes
//! spread their load evenly and the samples of one node keep an exact distance. A tick that was
//! missed, because the outputs pushed back or the machine slept, is not made up for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use kansoku_model::{ConfigError, Position, Settings, Source, SourceId};
use xxhash_rust::xxh3::xxh3_64;

use crate::resident;

/// The shortest interval: below it the collecting itself would be most of what is seen.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// After so long the batch of a tick is sent, as a rule, and its memory is free.
const SENT_AFTER: Duration = Duration::from_secs(1);

/// Several intervals that share a phase.
pub struct Ticker {
    phase_ms: u64,
    intervals_ms: Vec<u64>,
    /// Unix milliseconds of the next tick of each interval.
    next_ms: Vec<u64>,
    source: SourceId,
    n_ticks: u64,
}

/// A moment to collect.
#[derive(Debug, PartialEq)]
pub struct Tick {
    /// Unix milliseconds.
    pub now_ms: i64,
    /// For each interval whether it is its turn.
    pub is_due: Vec<bool>,
    /// The place of this tick in the run, so that a repeat of its batch is known as one.
    pub source: Source,
}

impl Ticker {
    /// A ticker whose first tick is at once.
    #[must_use]
    pub fn new(node: &str, intervals: &[Duration]) -> Self {
        let n = intervals.len();
        let milliseconds = |i: &Duration| (*i).max(MIN_INTERVAL).as_millis() as u64;
        Self {
            phase_ms: xxh3_64(node.as_bytes()) >> 16,
            intervals_ms: intervals.iter().map(milliseconds).collect(),
            next_ms: vec![0; n],
            source: random_source(),
            n_ticks: 0,
        }
    }

    /// Waits for the next tick. `None` means that the agent stops.
    pub fn wait(&mut self, stop: &Receiver<()>) -> Option<Tick> {
        let mut is_tidy = false;
        loop {
            let now_ms = unix_ms();
            if let Some(tick) = self.tick_at(now_ms) {
                return match stop.try_recv() {
                    Err(crossbeam_channel::TryRecvError::Empty) => Some(tick),
                    _ => None,
                };
            }
            let mut wait = Duration::from_millis(self.wait_ms(now_ms));
            let is_pause = !is_tidy && wait >= 2 * SENT_AFTER;
            if is_pause {
                wait = SENT_AFTER;
            }
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) if is_pause => {
                    resident::give_back_freed();
                    // The code of a tick is not run before the next one.
                    resident::release_program_pages();
                    is_tidy = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Never longer than the interval: the clock may be set back meanwhile.
    pub(super) fn wait_ms(&self, now_ms: u64) -> u64 {
        let waits = self.next_ms.iter().zip(&self.intervals_ms);
        let wait = waits.map(|(next, interval)| next.saturating_sub(now_ms).clamp(1, *interval));
        wait.min().unwrap_or(1000)
    }

    /// The tick that is due at this time, if one is.
    pub(super) fn tick_at(&mut self, now_ms: u64) -> Option<Tick> {
        let phase_ms = self.phase_ms;
        let slots = self.next_ms.iter_mut().zip(&self.intervals_ms);
        let due = slots.map(|(next, interval)| {
            let phase = phase_ms % interval;
            let following = (now_ms.saturating_sub(phase) / interval + 1) * interval + phase;
            // A time far ahead is one from before the clock was set back.
            let is_due = *next <= now_ms || *next > now_ms + interval;
            if is_due {
                *next = following;
            }
            is_due
        });
        let is_due: Vec<bool> = due.collect();
        if !is_due.contains(&true) {
            return None;
        }
        Some(Tick {
            is_due,
            ..self.next(now_ms as i64)
        })
    }

    /// A tick beside the regular ones, at once.
    pub(super) fn now(&mut self) -> Tick {
        self.next(unix_ms() as i64)
    }

    /// A tick beside the regular ones, at which nothing is due.
    pub(super) fn next(&mut self, now_ms: i64) -> Tick {
        self.n_ticks += 1;
        Tick {
            now_ms,
            is_due: Vec::new(),
            source: Source {
                id: self.source,
                from: Position::at(self.n_ticks - 1),
                to: Position::at(self.n_ticks),
            },
        }
    }

    /// The same without the tick at once.
    #[must_use]
    pub(super) fn after(mut self, now_ms: u64) -> Self {
        self.tick_at(now_ms);
        self
    }
}

/// The longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);

/// Reads an interval that a ticker can keep.
///
/// # Errors
/// When it is too short or too long.
pub fn interval(settings: &Settings, key: &str, default_s: f64) -> Result<Duration, ConfigError> {
    let seconds = settings.seconds(key, default_s)?;
    if (MIN_INTERVAL.as_secs_f64()..=MAX_INTERVAL.as_secs_f64()).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    let place = settings.get(key).map_or(&settings.place, |s| &s.place);
    Err(ConfigError::new(
        place,
        format!("'{key}' is {seconds} s, but must be 0.1 s to 1 day"),
    ))
}

/// Unix milliseconds now; 0 before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as u64)
}

/// A source that no other run has.
pub(crate) fn random_source() -> SourceId {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    SourceId((half() << 64 | half()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_distance_and_missed_ones_are_left_out() {
        let mut ticker = Ticker::new("n1", &[Duration::from_secs(5), Duration::from_secs(60)]);
        let start = 1_800_000_000_123;
        let first = ticker.tick_at(start).expect("the first tick is at once");
        assert_eq!(first.is_due, [true, true]);
        let next = ticker.next_ms[0];
        assert!(next > start && next <= start + 5000);
        assert_eq!((next - ticker.phase_ms % 5000) % 5000, 0);
        assert!(ticker.tick_at(next - 1).is_none());
        let second = ticker.tick_at(next).expect("it is time");
        assert!(second.is_due[0]);
        assert_eq!(ticker.next_ms[0], next + 5000);
        let late = ticker.tick_at(next + 33_333).expect("it is time");
        assert!(late.is_due[0]);
        assert_eq!(ticker.next_ms[0], next + 35_000);
        assert_eq!(late.source.from, second.source.to);
        assert_eq!(late.source.to, Position::at(3));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_ticks() {
        let mut ticker = Ticker::new("n1", &[Duration::from_secs(5)]);
        ticker.tick_at(1_800_000_000_000).expect("the first tick");
        assert!(ticker.wait_ms(1_700_000_000_000) <= 5000);
        assert!(ticker.tick_at(1_700_000_000_000).is_some());
    }

    #[test]
    fn nodes_differ_and_runs_too() {
        let phase = |node: &str| Ticker::new(node, &[]).phase_ms % 5000;
        assert_ne!(phase("node-1"), phase("node-2"));
        assert_ne!(random_source(), random_source());
    }

    #[test]
    fn stopping_ends_the_wait() {
        let (sender, stop) = crossbeam_channel::bounded(0);
        drop(sender);
        let mut ticker = Ticker::new("n1", &[Duration::from_secs(3600)]);
        assert_eq!(ticker.wait(&stop), None);
    }
}
