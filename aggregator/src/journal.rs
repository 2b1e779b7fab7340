//! What the program tells on stderr: one logfmt line an event.
//!
//! Not the metrics and not the answers to clients. The one rule: a line names what happened and,
//! where something must be done, what.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How severe an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The least severe level that is written; set once at the start.
static LEAST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Sets the least severe level that is written.
pub fn set_level(level: Level) {
    LEAST.store(level as u8, Ordering::Relaxed);
}

/// Writes an event, if its level is wanted.
pub fn log(level: Level, message: &str) {
    if level as u8 >= LEAST.load(Ordering::Relaxed) {
        let line = line(SystemTime::now(), level, message);
        // A closed stderr must not stop the service.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

pub fn debug(message: &str) {
    log(Level::Debug, message);
}

pub fn info(message: &str) {
    log(Level::Info, message);
}

pub fn warn(message: &str) {
    log(Level::Warn, message);
}

pub fn error(message: &str) {
    log(Level::Error, message);
}

/// Tells the same trouble once a minute instead of once a request.
#[derive(Debug, Default)]
pub struct Sparing {
    /// What was told last and when; locked for the time of one comparison.
    last: Mutex<Option<(String, Instant)>>,
}

/// How long a message is not repeated.
const SPARE: Duration = Duration::from_secs(60);

impl Sparing {
    /// Writes an error unless it was the last one told, less than a minute ago.
    pub fn error(&self, message: &str) {
        if self.wants(message, Instant::now()) {
            error(message);
        }
    }

    fn wants(&self, message: &str, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let told = last.as_ref().is_some_and(|(text, time)| {
            text == message && now.saturating_duration_since(*time) < SPARE
        });
        if !told {
            *last = Some((message.to_owned(), now));
        }
        !told
    }
}

fn line(time: SystemTime, level: Level, message: &str) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let level = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let mut out = String::with_capacity(message.len() + 64);
    let time = crate::clock::rfc3339_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let _ = writeln!(out, "ts={time} level={level} msg={message:?}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(
            line(time, Level::Warn, "bad \"x\"\nnext"),
            "ts=2023-11-14T22:13:20.123Z level=warn msg=\"bad \\\"x\\\"\\nnext\"\n"
        );
        assert!(Level::Debug < Level::Error);
    }

    #[test]
    fn the_same_trouble_is_told_once_a_minute() {
        let (sparing, now) = (Sparing::default(), Instant::now());
        assert!(sparing.wants("full", now));
        assert!(!sparing.wants("full", now + SPARE / 2));
        assert!(sparing.wants("full", now + SPARE));
        assert!(sparing.wants("poisoned", now + SPARE));
    }
}
