//! The `[SERVICE]` section: every key with its type, and what became of those that have no meaning here.
//!
//! A key that is unknown to Fluent Bit too is a warning, as it is nothing there; a value that cannot
//! be read is an error, where Fluent Bit would silently take it for `off` or 0.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};

use kansoku_outputs::Unicode;
use kansoku_parsers::line::multiline::DEFAULT_LIMIT_BYTES;

use crate::log::Level;
use crate::pipeline::{DEFAULT_MEM_LIMIT_BYTES, StorageSpec};

/// What the `[SERVICE]` sections and the command line say about the agent itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub flush: Duration,
    /// How long the outputs may go on delivering after the inputs have stopped.
    pub grace: Duration,
    pub log_level: Level,
    pub log_file: Option<PathBuf>,
    /// Where the HTTP server listens; `None` = it is off.
    pub http: Option<SocketAddr>,
    /// `None` = `/api/v1/health` always answers ok.
    pub health: Option<HealthCheck>,
    /// Where filesystem storage and dead letters live.
    pub storage_path: Option<PathBuf>,
    pub storage: StorageSpec,
    /// `storage.metrics`: whether `/api/v1/storage` answers.
    pub storage_metrics: bool,
    pub mem_limit_bytes: u64,
    /// `hot_reload`: SIGHUP and `/api/v2/reload` read the configuration again.
    pub hot_reload: bool,
    /// `multiline_buffer_limit`.
    pub multiline_limit_bytes: usize,
    pub scheduler_base: Duration,
    pub scheduler_cap: Duration,
    /// How the outputs write JSON.
    pub unicode: Unicode,
}

/// `/api/v1/health` answers error when more than these happened within the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    pub errors: u64,
    pub retry_failures: u64,
    pub period: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            errors: 5,
            retry_failures: 5,
            period: Duration::from_secs(60),
        }
    }
}

/// Every key with a meaning.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "flush",
        OptionKind::Float,
        "1",
        "seconds a record may wait before it is sent",
    ),
    OptionSpec::new(
        "grace",
        OptionKind::Time,
        "5",
        "time for the outputs to finish after a stop signal",
    ),
    OptionSpec::new(
        "daemon",
        OptionKind::Bool,
        "off",
        "only off: a supervisor or container runs the agent",
    ),
    OptionSpec::new(
        "log_level",
        OptionKind::Choice(Level::WORDS),
        "info",
        "how much the agent logs of itself",
    ),
    OptionSpec::new(
        "log_file",
        OptionKind::Text,
        "",
        "file for the agent's log; default standard error",
    ),
    OptionSpec::new(
        "parsers_file",
        OptionKind::Text,
        "",
        "file with [PARSER] sections",
    )
    .repeated(),
    OptionSpec::new(
        "plugins_file",
        OptionKind::Text,
        "",
        "file with [PLUGINS] sections; only one that names none can be used",
    )
    .repeated(),
    OptionSpec::new(
        "streams_file",
        OptionKind::Text,
        "",
        "file with [STREAM_TASK] sections; only one that names none can be used",
    ),
    OptionSpec::new(
        "json.escape_unicode",
        OptionKind::Bool,
        "on",
        "outputs write JSON in ASCII, with \\u00e9 for what lies beyond; off: as UTF-8, which is shorter",
    ),
    OptionSpec::new(
        "hot_reload",
        OptionKind::Bool,
        "off",
        "read the configuration again on SIGHUP and on POST /api/v2/reload",
    ),
    OptionSpec::new(
        "hot_reload.ensure_thread_safety",
        OptionKind::Bool,
        "on",
        "a reload is always safe, also when this is off",
    ),
    OptionSpec::new(
        "multiline_buffer_limit",
        OptionKind::Text,
        "2MB",
        "most bytes of one joined record; K, M and G are 1024-based here",
    ),
    OptionSpec::new(
        "security.fips_mode",
        OptionKind::Bool,
        "off",
        "only off: there is no FIPS mode",
    ),
    OptionSpec::new(
        "http_server",
        OptionKind::Bool,
        "off",
        "serve metrics and health over HTTP",
    ),
    OptionSpec::new(
        "http_listen",
        OptionKind::Text,
        "0.0.0.0",
        "address of the HTTP server",
    ),
    OptionSpec::new(
        "http_port",
        OptionKind::Int,
        "2020",
        "port of the HTTP server; 0 lets the system pick one",
    ),
    OptionSpec::new(
        "health_check",
        OptionKind::Bool,
        "off",
        "let /api/v1/health fail on errors",
    ),
    OptionSpec::new(
        "hc_errors_count",
        OptionKind::Int,
        "5",
        "output errors in hc_period that are too many",
    ),
    OptionSpec::new(
        "hc_retry_failure_count",
        OptionKind::Int,
        "5",
        "given up batches in hc_period that are too many",
    ),
    OptionSpec::new(
        "hc_period",
        OptionKind::Time,
        "60",
        "period of the health check",
    ),
    OptionSpec::new(
        "storage.path",
        OptionKind::Text,
        "",
        "folder for filesystem storage and dead letters",
    ),
    OptionSpec::new(
        "mem_limit",
        OptionKind::Size,
        "2097152",
        "bytes of records in memory, over all inputs and outputs",
    ),
    OptionSpec::new(
        "storage.sync",
        OptionKind::Choice(&["normal", "full"]),
        "normal",
        "full: spilled records are on the disk before they are acknowledged; normal: written at once, synced once a second",
    ),
    OptionSpec::new(
        "storage.checksum",
        OptionKind::Bool,
        "on",
        "check spilled records when they are read back; they are written with a checksum in any case. In Fluent Bit this is off by default",
    ),
    OptionSpec::new(
        "storage.metrics",
        OptionKind::Bool,
        "on",
        "serve /api/v1/storage",
    ),
    OptionSpec::new(
        "storage.max_chunks_up",
        OptionKind::Int,
        "128",
        "spilled batches that may be in memory",
    ),
    OptionSpec::new(
        "storage.backlog.mem_limit",
        OptionKind::Size,
        "5M",
        "bytes of spilled batches that may be in memory",
    ),
    OptionSpec::new(
        "storage.keep.rejected",
        OptionKind::Bool,
        "on",
        "keep undeliverable records as dead letters",
    ),
    OptionSpec::new(
        "storage.rejected.path",
        OptionKind::Text,
        "rejected",
        "folder for dead letters, below storage.path",
    ),
    OptionSpec::new(
        "storage.rejected.limit",
        OptionKind::Size,
        "268435456",
        "bytes of dead letters of one output",
    ),
    OptionSpec::new(
        "storage.delete_irrecoverable_chunks",
        OptionKind::Bool,
        "off",
        "delete damaged spill files instead of keeping them aside",
    ),
    OptionSpec::new(
        "scheduler.base",
        OptionKind::Time,
        "5",
        "start of the retry back-off",
    ),
    OptionSpec::new(
        "scheduler.cap",
        OptionKind::Time,
        "60",
        "longest wait between two retries",
    ),
];

/// Keys of Fluent Bit that are accepted with a warning, and why they do nothing.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "hot_reload.timeout",
        "a reload that cannot finish leaves the old configuration running",
    ),
    ("dns.mode", "names are resolved by the system"),
    ("dns.resolver", "names are resolved by the system"),
    ("dns.prefer_ipv4", "names are resolved by the system"),
    ("dns.prefer_ipv6", "names are resolved by the system"),
    (
        "storage.backlog.flush_on_shutdown",
        "a backlog stays on disk until it is delivered",
    ),
    ("storage.trim_files", "stored files have no slack"),
    ("storage.type", "set storage.type in the [INPUT] sections"),
    (
        "storage.inherit",
        "set storage.type in the [INPUT] sections",
    ),
    ("coro_stack_size", "there are no coroutines"),
    ("json.convert_nan_to_null", "NaN is always written as null"),
    ("sp.convert_from_str_to_num", "there is no stream processor"),
    ("enable_chunk_trace", "there is no chunk trace"),
    ("flush.adaptive", "a full batch never waits for flush"),
];

impl Service {
    /// Reads the keys of all `[SERVICE]` sections together; the last value of a key wins.
    /// Mistakes that change nothing are added to `warnings`.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn of(settings: &Settings, warnings: &mut Vec<ConfigError>) -> Result<Self, ConfigError> {
        let mut known = Settings {
            plugin: "SERVICE".into(),
            place: settings.place.clone(),
            settings: Vec::new(),
        };
        for s in &settings.settings {
            if let Some(spec) = OPTIONS.iter().find(|o| o.name == s.key) {
                if !spec.repeats {
                    known.settings.retain(|k| k.key != s.key);
                }
                known.settings.push(s.clone());
            } else if let Some((key, why)) = WITHOUT_EFFECT
                .iter()
                .find(|(key, _)| s.key.starts_with(key))
            {
                warnings.push(ConfigError::new(
                    &s.place,
                    format!("'{key}' has no effect: {why}"),
                ));
            } else {
                let names = OPTIONS.iter().map(|o| o.name);
                let hint = did_you_mean(&s.key, names);
                let message = format!("unknown key '{}' in SERVICE is ignored{hint}", s.key);
                warnings.push(ConfigError::new(&s.place, message));
            }
        }
        known.check(OPTIONS)?;
        Self::of_checked(&known)
    }

    fn of_checked(s: &Settings) -> Result<Self, ConfigError> {
        let refused = |key: &str, message: &str| {
            let place = s.get(key).map_or(&s.place, |found| &found.place);
            ConfigError::new(place, message)
        };
        if s.bool("daemon", false)? {
            return Err(refused(
                "daemon",
                "'daemon' can only be off: let a supervisor or a container run the agent",
            ));
        }
        if s.bool("security.fips_mode", false)? {
            return Err(refused(
                "security.fips_mode",
                "'security.fips_mode' can only be off: there is no FIPS mode",
            ));
        }
        // Read for the check of its value: a reload is safe in any case.
        s.bool("hot_reload.ensure_thread_safety", true)?;
        let flush = s.float("flush", 1.0)?;
        if !(flush > 0.0 && flush <= MAX_FLUSH_SECONDS) {
            return Err(refused(
                "flush",
                "'flush' must be more than 0 and at most 3600 seconds",
            ));
        }
        let count = |key: &str| -> Result<u64, ConfigError> {
            u64::try_from(s.int(key, 5)?)
                .map_err(|_| refused(key, &format!("'{key}' must not be negative")))
        };
        let seconds =
            |key: &str, default: f64| s.seconds(key, default).map(Duration::from_secs_f64);
        let health = HealthCheck {
            errors: count("hc_errors_count")?,
            retry_failures: count("hc_retry_failure_count")?,
            period: seconds("hc_period", 60.0)?,
        };
        Ok(Self {
            flush: Duration::from_secs_f64(flush),
            grace: seconds("grace", 5.0)?,
            log_level: Level::parse(s.text("log_level", "info")).unwrap_or(Level::Info),
            log_file: s.get("log_file").map(|s| s.value.clone().into()),
            http: if s.bool("http_server", false)? {
                Some(address(s)?)
            } else {
                None
            },
            health: s.bool("health_check", false)?.then_some(health),
            storage_path: s.get("storage.path").map(|s| s.value.clone().into()),
            storage: storage(s)?,
            storage_metrics: s.bool("storage.metrics", true)?,
            mem_limit_bytes: mem_limit(s)?,
            hot_reload: s.bool("hot_reload", false)?,
            multiline_limit_bytes: multiline_limit(s)?,
            unicode: match s.bool("json.escape_unicode", true)? {
                true => Unicode::Escaped,
                false => Unicode::Plain,
            },
            scheduler_base: seconds("scheduler.base", 5.0)?,
            scheduler_cap: seconds("scheduler.cap", 60.0)?,
        })
    }
}

/// More would look like a hang.
const MAX_FLUSH_SECONDS: f64 = 3600.0;

/// Fluent Bit reads this one size in powers of 1024.
fn multiline_limit(s: &Settings) -> Result<usize, ConfigError> {
    let Some(setting) = s.get("multiline_buffer_limit") else {
        return Ok(DEFAULT_LIMIT_BYTES);
    };
    let lower = setting.value.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        _ => None,
    };
    let number = digits.trim().parse::<usize>().ok();
    let limit = number
        .zip(shift)
        .and_then(|(n, shift)| n.checked_shl(shift));
    limit.filter(|n| (1..=MAX_MULTILINE_BYTES).contains(n)).ok_or_else(|| {
        let message = format!(
            "'multiline_buffer_limit' is '{}', but must be a size such as 512K or 2MB, at most 1G",
            setting.value
        );
        ConfigError::new(&setting.place, message)
    })
}

/// A joined record has to fit into a batch.
const MAX_MULTILINE_BYTES: usize = 1 << 30;

/// Less would not hold one batch of a busy file.
const MIN_MEM_LIMIT_BYTES: u64 = 2 << 20;

fn mem_limit(s: &Settings) -> Result<u64, ConfigError> {
    let limit = s.size("mem_limit", DEFAULT_MEM_LIMIT_BYTES)?;
    if limit >= MIN_MEM_LIMIT_BYTES {
        return Ok(limit);
    }
    let place = s.get("mem_limit").map_or(&s.place, |found| &found.place);
    let message = format!("'mem_limit' must be at least {MIN_MEM_LIMIT_BYTES} bytes");
    Err(ConfigError::new(place, message))
}

fn storage(s: &Settings) -> Result<StorageSpec, ConfigError> {
    let default = StorageSpec::default();
    let chunks = s.int("storage.max_chunks_up", default.max_chunks_up as i64)?;
    let Some(max_chunks_up) = usize::try_from(chunks).ok().filter(|n| *n > 0) else {
        let found = s.get("storage.max_chunks_up");
        let place = found.map_or(&s.place, |found| &found.place);
        let message = "'storage.max_chunks_up' must be at least 1";
        return Err(ConfigError::new(place, message));
    };
    Ok(StorageSpec {
        checksum: s.bool("storage.checksum", default.checksum)?,
        sync_full: s
            .text("storage.sync", "normal")
            .eq_ignore_ascii_case("full"),
        max_chunks_up,
        backlog_mem_bytes: s.size("storage.backlog.mem_limit", default.backlog_mem_bytes)?,
        keep_rejected: s.bool("storage.keep.rejected", default.keep_rejected)?,
        rejected_path: s.text("storage.rejected.path", "rejected").into(),
        rejected_limit_bytes: s.size("storage.rejected.limit", default.rejected_limit_bytes)?,
        delete_irrecoverable: s.bool("storage.delete_irrecoverable_chunks", false)?,
    })
}

fn address(s: &Settings) -> Result<SocketAddr, ConfigError> {
    let at = |key: &str| s.get(key).map_or(&s.place, |found| &found.place).clone();
    let port = u16::try_from(s.int("http_port", 2020)?).map_err(|_| {
        ConfigError::new(&at("http_port"), "'http_port' must be between 0 and 65535")
    })?;
    let host = s.text("http_listen", "0.0.0.0");
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match bare {
        "localhost" => "127.0.0.1",
        other => other,
    };
    let ip = ip.parse().map_err(|_| {
        let message = format!(
            "'http_listen' is '{host}', but must be an address such as 0.0.0.0, 127.0.0.1 or ::"
        );
        ConfigError::new(&at("http_listen"), message)
    })?;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<(Service, Vec<String>), String> {
        let mut warnings = Vec::new();
        let service = Service::of(&Settings::of("SERVICE", pairs), &mut warnings)
            .map_err(|e| e.to_string())?;
        Ok((service, warnings.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn keys_are_typed_and_the_last_wins() {
        let (service, warnings) = read(&[
            ("flush", "5"),
            ("flush", "0.2"),
            ("HTTP_Server", "On"),
            ("http_port", "0"),
            ("http_listen", "[::]"),
            ("health_check", "on"),
            ("hc_period", "5m"),
            ("parsers_file", "a"),
            ("parsers_file", "b"),
            ("log_level", "Warning"),
        ])
        .expect("valid");
        assert_eq!(service.flush, Duration::from_millis(200));
        assert_eq!(
            service.http.map(|a| a.to_string()).as_deref(),
            Some("[::]:0")
        );
        assert_eq!(service.health.map(|h| h.period.as_secs()), Some(300));
        assert_eq!(service.log_level, Level::Warn);
        assert!(warnings.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            (
                "flush",
                "0",
                "'flush' must be more than 0 and at most 3600 seconds",
            ),
            ("flush", "x", "'flush' is 'x', but must be a number"),
            (
                "daemon",
                "on",
                "'daemon' can only be off: let a supervisor or a container run the agent",
            ),
            (
                "http_server",
                "1",
                "'http_server' is '1', but must be true, on, yes, false, off or no",
            ),
            (
                "log_level",
                "loud",
                "'log_level' is 'loud', but must be one of off, error, warn, warning, info, debug, trace",
            ),
            (
                "hc_errors_count",
                "-1",
                "'hc_errors_count' must not be negative",
            ),
            (
                "multiline_buffer_limit",
                "5 quarts",
                "'multiline_buffer_limit' is '5 quarts', but must be a size such as 512K or 2MB, at most 1G",
            ),
            (
                "security.fips_mode",
                "on",
                "'security.fips_mode' can only be off: there is no FIPS mode",
            ),
        ];
        for (key, value, message) in cases {
            assert_eq!(
                read(&[(key, value)]).unwrap_err(),
                format!("command line: {message}")
            );
        }
        assert!(read(&[("http_server", "on"), ("http_port", "70000")]).is_err());
        assert!(read(&[("http_server", "on"), ("http_listen", "here")]).is_err());
    }

    #[test]
    fn what_means_nothing_is_a_warning() {
        let (_, warnings) = read(&[
            ("flsh", "1"),
            ("storage.trim_files", "on"),
            ("Config_Watch", "on"),
        ])
        .expect("valid");
        assert_eq!(
            warnings[0],
            "command line: unknown key 'flsh' in SERVICE is ignored; did you mean 'flush'?"
        );
        assert_eq!(
            warnings[1],
            "command line: 'storage.trim_files' has no effect: stored files have no slack"
        );
        assert!(warnings[2].contains("unknown key 'config_watch' in SERVICE is ignored; known: "));
    }
}
