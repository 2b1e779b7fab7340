//! How far delivery is behind: the gauges `lag_bytes` and `lag_seconds`.
//!
//! It moves nothing and opens nothing. The rule: only generations with something to read, to send or
//! to be acknowledged are asked, so that quiet files cost nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::{Key, Tailer};
use crate::inputs::tail::generation::Generation;
use crate::offsets::nanoseconds;

/// How often the lag is measured while there is any.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
const NS_PER_S: i64 = 1_000_000_000;

impl Tailer {
    /// Something is there that has not been delivered.
    pub(super) fn want_measure(&mut self) {
        self.next_measure
            .get_or_insert_with(|| Instant::now() + MEASURE_EVERY);
    }

    /// Sets the gauges; looks again as long as there is a lag.
    pub(super) fn measure(&mut self) {
        self.next_measure = None;
        let mut slowest: HashMap<Key, u64> = HashMap::new();
        let mut oldest_ns = i64::MAX;
        for (key, generation) in &self.generations {
            if generation.gone || !generation.is_behind() {
                continue;
            }
            let main = generation.lag.map_or(*key, |lag| lag.main);
            let offset = slowest.entry(main).or_insert(u64::MAX);
            *offset = (*offset).min(generation.checkpoint.offset);
            oldest_ns = oldest_ns.min(generation.oldest_ns().unwrap_or(i64::MAX));
        }
        let size = |key: &Key| self.generations.get(key).map_or(0, Generation::known_size);
        let lags = slowest
            .iter()
            .map(|(key, at)| size(key).saturating_sub(*at));
        let lag_bytes = lags.sum::<u64>();
        let now_ns = nanoseconds(SystemTime::now());
        let age = match oldest_ns {
            i64::MAX => 0,
            oldest => now_ns.saturating_sub(oldest).max(0) / NS_PER_S,
        };
        let counters = &self.link.counters;
        counters.lag_bytes.set(lag_bytes);
        counters.lag_seconds.set(age.unsigned_abs());
        if !slowest.is_empty() {
            self.want_measure();
        }
    }
}
