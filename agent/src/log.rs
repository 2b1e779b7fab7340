//! The agent's own log: Fluent Bit's line format, on standard error or into `log_file`.
//!
//! One global logger, because every thread writes to it and none can do without. It keeps no queue:
//! a line is written where it arises. A message that repeats within ten seconds is counted, not
//! written again, so that a broken disk or destination cannot flood the log.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How bad, or how chatty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The words that `log_level` takes.
    pub const WORDS: &'static [&'static str] =
        &["off", "error", "warn", "warning", "info", "debug", "trace"];

    /// Reads one of [`Self::WORDS`], any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What a plugin's section says of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Voice {
    /// `log_level`.
    pub level: Option<Level>,
    /// `log_suppress_interval`.
    pub repeat: Option<Duration>,
}

thread_local! {
    /// Whose voice the thread has: that of the plugin that runs on it now.
    static SPEAKER: Cell<Voice> = const { Cell::new(Voice { level: None, repeat: None }) };
}

/// Gives the thread its former voice back.
pub struct Speaking(Voice);

impl Drop for Speaking {
    fn drop(&mut self) {
        SPEAKER.set(self.0);
    }
}

/// Lets the thread log as `voice` says until the guard is dropped.
#[must_use]
pub fn speak_as(voice: Voice) -> Speaking {
    if let Some(level) = voice.level {
        CHATTIEST.fetch_max(level as u8, Ordering::Relaxed);
    }
    Speaking(SPEAKER.replace(voice))
}

/// A message written once is only counted for this long when it comes again.
const REPEAT_WINDOW: Duration = Duration::from_secs(10);
/// How many different messages are remembered; the oldest give way.
const MAX_REMEMBERED: usize = 256;

/// The chattiest level of any component, so that most calls end after one load.
static CHATTIEST: AtomicU8 = AtomicU8::new(Level::Info as u8);
/// Errors and warnings since the start, for the agent's own metrics.
static N_ERRORS: AtomicU64 = AtomicU64::new(0);
static N_WARNINGS: AtomicU64 = AtomicU64::new(0);
/// Held while one line is judged and written, so that lines never mix.
static LOGGER: LazyLock<Mutex<Logger>> = LazyLock::new(|| Mutex::new(Logger::default()));

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    FluentBit,
    /// As Go's log/slog writes it for Prometheus' programs.
    Logfmt,
    Json,
}

struct Logger {
    level: Level,
    format: Format,
    /// Levels of single plugins (`log_level` in their section) by component.
    components: HashMap<String, Level>,
    file: Option<File>,
    remembered: HashMap<u64, Repeat>,
    hasher: RandomState,
}

struct Repeat {
    since: Instant,
    n: u64,
}

impl Default for Logger {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::default(),
            components: HashMap::new(),
            file: None,
            remembered: HashMap::new(),
            hasher: RandomState::new(),
        }
    }
}

impl Logger {
    fn level_of(&self, component: &str) -> Level {
        self.components
            .get(component)
            .copied()
            .unwrap_or(self.level)
    }

    /// Whether the message must be written now, and how often it was swallowed before.
    fn admit(
        &mut self,
        component: &str,
        message: &str,
        now: Instant,
        window: Duration,
    ) -> Option<u64> {
        let key = self.hasher.hash_one((component, message));
        if let Some(repeat) = self.remembered.get_mut(&key) {
            if now.duration_since(repeat.since) < window {
                repeat.n += 1;
                return None;
            }
            let n = repeat.n;
            *repeat = Repeat { since: now, n: 0 };
            return Some(n);
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered
                .retain(|_, r| now.duration_since(r.since) < REPEAT_WINDOW);
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(key, Repeat { since: now, n: 0 });
        Some(0)
    }
}

fn logger() -> std::sync::MutexGuard<'static, Logger> {
    LOGGER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the level of everything that has none of its own.
pub fn set_level(level: Level) {
    let mut logger = logger();
    logger.level = level;
    let chattiest = logger.components.values().copied().fold(level, Level::max);
    CHATTIEST.store(chattiest as u8, Ordering::Relaxed);
}

/// Sets how lines are written.
pub fn set_format(format: Format) {
    logger().format = format;
}

/// Sets the level of one component (`input:tail:tail.0`).
pub fn set_component_level(component: &str, level: Level) {
    logger().components.insert(component.to_owned(), level);
    CHATTIEST.fetch_max(level as u8, Ordering::Relaxed);
}

/// Writes to a file instead of standard error, appending.
pub fn set_file(file: File) {
    logger().file = Some(file);
}

/// Errors and warnings logged since the start.
#[must_use]
pub fn counts() -> (u64, u64) {
    (
        N_ERRORS.load(Ordering::Relaxed),
        N_WARNINGS.load(Ordering::Relaxed),
    )
}

/// Logs an error: something was lost or does not work.
pub fn error(component: &str, message: impl Display) {
    N_ERRORS.fetch_add(1, Ordering::Relaxed);
    write(Level::Error, component, &message);
}

/// Logs a warning: something is wrong, and the agent goes on.
pub fn warn(component: &str, message: impl Display) {
    N_WARNINGS.fetch_add(1, Ordering::Relaxed);
    write(Level::Warn, component, &message);
}

/// Logs what an operator wants to know.
pub fn info(component: &str, message: impl Display) {
    write(Level::Info, component, &message);
}

/// Logs what helps to find a fault. Wrap costly arguments in `format_args!`.
pub fn debug(component: &str, message: impl Display) {
    write(Level::Debug, component, &message);
}

/// Logs every step.
pub fn trace(component: &str, message: impl Display) {
    write(Level::Trace, component, &message);
}

fn write(level: Level, component: &str, message: &dyn Display) {
    if level as u8 > CHATTIEST.load(Ordering::Relaxed) {
        return;
    }
    let text = message.to_string();
    let mut logger = logger();
    let voice = SPEAKER.get();
    if level > voice.level.unwrap_or_else(|| logger.level_of(component)) {
        return;
    }
    let window = voice.repeat.unwrap_or(REPEAT_WINDOW);
    let Some(swallowed) = logger.admit(component, &text, Instant::now(), window) else {
        return;
    };
    let now = jiff::Zoned::now();
    let time = match logger.format {
        Format::FluentBit => now.strftime("%Y/%m/%d %H:%M:%S").to_string(),
        Format::Logfmt | Format::Json => format!("{:.3}", now.timestamp()),
    };
    let line = Line {
        time,
        level,
        component,
        text: &text,
        swallowed,
    };
    let line = match logger.format {
        Format::FluentBit => line.to_string(),
        Format::Logfmt => line.logfmt(),
        Format::Json => line.json(),
    };
    // A log that cannot be written has nowhere to say so.
    let _ = match &mut logger.file {
        Some(file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

struct Line<'a> {
    time: String,
    level: Level,
    component: &'a str,
    text: &'a str,
    swallowed: u64,
}

impl Line<'_> {
    fn logfmt(&self) -> String {
        let (level, text) = (self.level.word().to_uppercase(), self.whole_text());
        format!(
            "time={} level={level} source={} msg={text:?}\n",
            self.time, self.component
        )
    }

    fn json(&self) -> String {
        let value = serde_json::json!({
            "time": self.time,
            "level": self.level.word().to_uppercase(),
            "source": self.component,
            "msg": self.whole_text(),
        });
        format!("{value}\n")
    }

    fn whole_text(&self) -> String {
        match self.swallowed {
            0 => self.text.to_owned(),
            n => format!("{} (and {n} times more before)", self.text),
        }
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[{}] [{:>5}] [{}] ",
            self.time,
            self.level.word(),
            self.component
        )?;
        // A message from outside must not be able to forge lines of its own.
        for c in self.text.chars() {
            if c.is_control() && c != '\t' {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if self.swallowed > 0 {
            write!(f, " (and {} times more before)", self.swallowed)?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_fluent_bits_form_and_stay_one_line() {
        let line = Line {
            time: "2026/11/21 09:00:00".into(),
            level: Level::Info,
            component: "input:tail:tail.0",
            text: "a\nb",
            swallowed: 0,
        };
        assert_eq!(
            line.to_string(),
            "[2026/11/21 09:00:00] [ info] [input:tail:tail.0] a\\nb\n"
        );
    }

    #[test]
    fn repeats_are_counted_until_the_window_ends() {
        let mut logger = Logger::default();
        let start = Instant::now();
        assert_eq!(logger.admit("a", "x", start, REPEAT_WINDOW), Some(0));
        assert_eq!(
            logger.admit("a", "x", start + Duration::from_secs(1), REPEAT_WINDOW),
            None
        );
        assert_eq!(
            logger.admit("a", "x", start + Duration::from_secs(2), REPEAT_WINDOW),
            None
        );
        assert_eq!(logger.admit("b", "x", start, REPEAT_WINDOW), Some(0));
        assert_eq!(
            logger.admit("a", "x", start + REPEAT_WINDOW, REPEAT_WINDOW),
            Some(2)
        );
        for i in 0..10 * MAX_REMEMBERED {
            logger.admit("a", &i.to_string(), start, REPEAT_WINDOW);
        }
        assert!(logger.remembered.len() <= MAX_REMEMBERED);
    }

    #[test]
    fn a_component_may_have_its_own_level() {
        let mut logger = Logger::default();
        logger
            .components
            .insert("input:tail:noisy".into(), Level::Error);
        assert_eq!(logger.level_of("input:tail:noisy"), Level::Error);
        assert_eq!(logger.level_of("input:tail:tail.0"), Level::Info);
        assert_eq!(Level::parse("WARNING"), Some(Level::Warn));
        assert_eq!(Level::parse("loud"), None);
    }
}
