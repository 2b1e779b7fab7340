//! `throttle`: lets an average number of records per interval pass and drops the rest.
//!
//! The average is taken over a sliding window of intervals, as in Fluent Bit. What is dropped is
//! counted in the filter's metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings};

use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:throttle";
/// The longest window, in intervals.
const MAX_WINDOW: i64 = 86_400;

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "throttle",
    about: "Lets an average number of records per interval pass and drops the rest.",
    options: &[
        OptionSpec::new("rate", OptionKind::Float, "1", "records per interval"),
        OptionSpec::new(
            "window",
            OptionKind::Int,
            "5",
            "intervals over which the average is taken",
        ),
        OptionSpec::new("interval", OptionKind::Time, "1", "one interval"),
        OptionSpec::new(
            "print_status",
            OptionKind::Bool,
            "off",
            "log the rate once an interval",
        ),
    ],
    example: "[FILTER]\n    Name     throttle\n    Match    noisy.*\n    Rate     1000\n    Window   60\n    Interval 1s\n",
    build,
};

struct Throttle {
    rate: f64,
    interval: Duration,
    print_status: bool,
    /// Held while one batch is counted.
    window: Mutex<Window>,
}

/// Records that passed, by interval; a ring.
struct Window {
    counts: Vec<u64>,
    at: usize,
    since: Instant,
}

impl Window {
    /// Opens the intervals that have begun since; returns whether there were any.
    fn slide(&mut self, now: Instant, interval: Duration) -> bool {
        let passed = now.saturating_duration_since(self.since).as_nanos() / interval.as_nanos();
        if passed == 0 {
            return false;
        }
        self.since += interval.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX));
        for _ in 0..passed.min(self.counts.len() as u128) {
            self.at = (self.at + 1) % self.counts.len();
            self.counts[self.at] = 0;
        }
        true
    }

    fn average(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64 / self.counts.len() as f64
    }
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let error = |key: &str, message: &str| {
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        ConfigError::new(place, message)
    };
    let rate = settings.float("rate", 1.0)?;
    if rate <= 0.0 {
        return Err(error("rate", "'rate' must be greater than 0"));
    }
    let window = settings.int("window", 5)?;
    if !(1..=MAX_WINDOW).contains(&window) {
        return Err(error("window", "'window' must be between 1 and 86400"));
    }
    let interval = Duration::from_secs_f64(settings.seconds("interval", 1.0)?);
    if interval < Duration::from_millis(1) {
        return Err(error(
            "interval",
            "'interval' must be a millisecond or more",
        ));
    }
    Ok(Box::new(Throttle {
        rate,
        interval,
        print_status: settings.bool("print_status", false)?,
        window: Mutex::new(Window {
            counts: vec![0; window as usize],
            at: 0,
            since: Instant::now(),
        }),
    }))
}

impl Throttle {
    fn apply_at(&self, batch: &mut LogBatch, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.slide(now, self.interval) && self.print_status {
            log::info(
                COMPONENT,
                format_args!(
                    "{} records pass per interval of {:?}, {} may",
                    window.average(),
                    self.interval,
                    self.rate
                ),
            );
        }
        batch.retain(|_| {
            let passes = window.average() < self.rate;
            let at = window.at;
            window.counts[at] += u64::from(passes);
            passes
        });
    }
}

impl Filter for Throttle {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        self.apply_at(batch, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    #[test]
    fn the_average_over_the_window_is_kept() {
        let throttle = Throttle {
            rate: 2.0,
            interval: Duration::from_secs(1),
            print_status: false,
            window: Mutex::new(Window {
                counts: vec![0; 3],
                at: 0,
                since: Instant::now(),
            }),
        };
        let start = throttle.window.lock().expect("lock").since;
        let passes = |seconds: u64, n: u64| {
            let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
            for i in 0..n {
                batch.push(0, Position::at(i));
            }
            throttle.apply_at(&mut batch, start + Duration::from_secs(seconds));
            batch.len()
        };
        assert_eq!(passes(0, 10), 6, "a burst may use the whole window");
        assert_eq!(passes(1, 10), 0);
        assert_eq!(passes(2, 1), 0);
        assert_eq!(passes(3, 10), 6, "the burst has left the window");
        assert_eq!(passes(100, 4), 4);
        assert_eq!(passes(101, 4), 2);
    }
}
