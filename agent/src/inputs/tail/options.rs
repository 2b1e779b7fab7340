//! The options of tail, as Fluent Bit names them, read into one typed value.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use regex::Regex;

use super::lines::{Format, LineRules};
use crate::offsets::OffsetOptions;
use crate::plugin::Environment;

/// The longest line kept whole when `buffer_max_size` is not set: far above what container runtimes
/// write (16 KiB), and small enough for a few to be in memory.
const DEFAULT_LINE_MAX_BYTES: u64 = 2 << 20;
/// A joined record's bound, Fluent Bit's `multiline_buffer_limit`.
const DEFAULT_JOIN_LIMIT_BYTES: u64 = 2_000_000;
/// No line may be longer: a batch must stay well below the largest frame.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Every option; see the notes of those that have no effect here.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "path",
        OptionKind::List,
        "",
        "patterns of the files to follow",
    ),
    OptionSpec::new(
        "exclude_path",
        OptionKind::List,
        "",
        "patterns of files to leave out",
    ),
    OptionSpec::new(
        "key",
        OptionKind::Text,
        "log",
        "field for lines that no parser reads",
    ),
    OptionSpec::new(
        "path_key",
        OptionKind::Text,
        "",
        "field that gets the file's name",
    ),
    OptionSpec::new(
        "offset_key",
        OptionKind::Text,
        "",
        "field that gets the line's offset",
    ),
    OptionSpec::new(
        "tag_regex",
        OptionKind::Text,
        "",
        "named groups of the path for <name> in tag; files that do not match are not read",
    ),
    OptionSpec::new("parser", OptionKind::Text, "", "parser for each line"),
    OptionSpec::new(
        "multiline.parser",
        OptionKind::List,
        "",
        "cri, docker: join what the runtime split",
    ),
    OptionSpec::new(
        "multiline_flush",
        OptionKind::Time,
        "4",
        "how long a partial line waits for its rest",
    ),
    OptionSpec::new(
        "multiline_buffer_limit",
        OptionKind::Size,
        "2M",
        "a joined record is cut at this size",
    ),
    OptionSpec::new(
        "read_from_head",
        OptionKind::Bool,
        "off",
        "read files found at the first start from their beginning",
    ),
    OptionSpec::new(
        "read_newly_discovered_files_from_head",
        OptionKind::Bool,
        "on",
        "the same for files found later",
    ),
    OptionSpec::new(
        "refresh_interval",
        OptionKind::Time,
        "60",
        "look through all folders this often, besides events",
    ),
    OptionSpec::new(
        "rotate_wait",
        OptionKind::Time,
        "5",
        "how long a rotated file stays open after its end was reached",
    ),
    OptionSpec::new(
        "ignore_older",
        OptionKind::Time,
        "0",
        "do not start files unchanged for longer; 0 = all",
    ),
    OptionSpec::new(
        "buffer_max_size",
        OptionKind::Size,
        "2MiB",
        "longer lines are cut, or skipped with skip_long_lines; never is the file given up",
    ),
    OptionSpec::new(
        "skip_long_lines",
        OptionKind::Bool,
        "off",
        "skip lines over buffer_max_size",
    ),
    OptionSpec::new(
        "truncate_long_lines",
        OptionKind::Bool,
        "on",
        "cut lines over buffer_max_size",
    ),
    OptionSpec::new(
        "skip_empty_lines",
        OptionKind::Bool,
        "off",
        "no record for an empty line",
    ),
    OptionSpec::new(
        "db",
        OptionKind::Text,
        "",
        "SQLite file that keeps offsets; Fluent Bit's are continued",
    ),
    OptionSpec::new(
        "db.sync",
        OptionKind::Choice(&["off", "normal", "full", "extra"]),
        "normal",
        "SQLite's synchronous mode",
    ),
    OptionSpec::new(
        "db.locking",
        OptionKind::Bool,
        "off",
        "no other process may open the db",
    ),
    OptionSpec::new(
        "db.journal_mode",
        OptionKind::Choice(&["wal", "delete", "truncate", "persist", "memory", "off"]),
        "wal",
        "SQLite's journal",
    ),
    OptionSpec::new(
        "db.compare_filename",
        OptionKind::Bool,
        "off",
        "an offset counts only for a file of the same name, besides its content",
    ),
    OptionSpec::new(
        "exit_on_eof",
        OptionKind::Bool,
        "off",
        "end when all files are read",
    ),
    OptionSpec::new(
        "inotify_watcher",
        OptionKind::Bool,
        "on",
        "off = poll, for file systems without events",
    ),
    OptionSpec::new(
        "buffer_chunk_size",
        OptionKind::Size,
        "",
        "no effect: the read size adapts",
    ),
    OptionSpec::new(
        "static_batch_size",
        OptionKind::Size,
        "",
        "no effect: files take turns of 4 MiB",
    ),
    OptionSpec::new(
        "event_batch_size",
        OptionKind::Size,
        "",
        "no effect: files take turns of 4 MiB",
    ),
    OptionSpec::new(
        "watcher_interval",
        OptionKind::Time,
        "",
        "no effect: folders are watched",
    ),
    OptionSpec::new(
        "progress_check_interval",
        OptionKind::Time,
        "",
        "no effect: folders are watched",
    ),
    OptionSpec::new(
        "file_cache_advise",
        OptionKind::Bool,
        "",
        "no effect: the page cache is left alone",
    ),
    OptionSpec::new(
        "threaded",
        OptionKind::Bool,
        "",
        "no effect: every input has its thread",
    ),
];

/// What becomes of a line over the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LongLines {
    Truncate,
    Skip,
}

/// All options, read and checked.
pub(super) struct TailOptions {
    pub(super) patterns: Vec<Pattern>,
    pub(super) excluded: Vec<Pattern>,
    pub(super) tag_regex: Option<Regex>,
    pub(super) rules: LineRules,
    pub(super) read_from_head: bool,
    pub(super) read_new_from_head: bool,
    pub(super) refresh_interval: Duration,
    pub(super) rotate_wait: Duration,
    pub(super) ignore_older: Option<Duration>,
    pub(super) line_max_bytes: usize,
    pub(super) long_lines: LongLines,
    pub(super) db: Option<OffsetOptions>,
    pub(super) compare_filename: bool,
    pub(super) exit_on_eof: bool,
    pub(super) inotify: bool,
    pub(super) host_name: Arc<str>,
}

impl TailOptions {
    /// # Errors
    /// The first mistake.
    pub(super) fn new(s: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        let seconds = |key, default| s.seconds(key, default).map(Duration::from_secs_f64);
        s.required("path")?;
        let line_max = s.size("buffer_max_size", DEFAULT_LINE_MAX_BYTES)?;
        let ignore_older = seconds("ignore_older", 0.0)?;
        Ok(Self {
            patterns: patterns(s, "path")?,
            excluded: patterns(s, "exclude_path")?,
            tag_regex: tag_regex(s)?,
            rules: line_rules(s, environment)?,
            read_from_head: s.bool("read_from_head", false)?,
            read_new_from_head: s.bool("read_newly_discovered_files_from_head", true)?,
            // Zero would look through the folders without a pause.
            refresh_interval: seconds("refresh_interval", 60.0)?.max(Duration::from_millis(100)),
            rotate_wait: seconds("rotate_wait", 5.0)?,
            ignore_older: (!ignore_older.is_zero()).then_some(ignore_older),
            line_max_bytes: line_max.clamp(64, MAX_LINE_BYTES) as usize,
            long_lines: long_lines(s)?,
            db: s.get("db").map(|db| OffsetOptions {
                path: PathBuf::from(&db.value),
                sync: s.text("db.sync", "normal").to_ascii_lowercase(),
                locking: s.bool("db.locking", false).unwrap_or(false),
                journal_mode: s.text("db.journal_mode", "wal").to_ascii_lowercase(),
            }),
            compare_filename: s.bool("db.compare_filename", false)?,
            exit_on_eof: s.bool("exit_on_eof", false)?,
            inotify: s.bool("inotify_watcher", true)?,
            host_name: environment.host_name.clone(),
        })
    }

    /// Whether the input's patterns want this path.
    pub(super) fn wants(&self, path: &std::path::Path) -> bool {
        let strict = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let wanted = |p: &Pattern| p.matches_path_with(path, strict);
        self.patterns.iter().any(wanted) && !self.excludes(path)
    }

    /// As `fnmatch` without flags: `*` in `exclude_path` matches slashes too.
    pub(super) fn excludes(&self, path: &std::path::Path) -> bool {
        self.excluded.iter().any(|p| p.matches_path(path))
    }
}

fn patterns(s: &Settings, key: &str) -> Result<Vec<Pattern>, ConfigError> {
    let read = |word: &str| {
        let home = std::env::var("HOME").unwrap_or_default();
        let full = match word.strip_prefix("~/") {
            Some(rest) => format!("{home}/{rest}"),
            // Names of events and of files must be spelt alike, so nothing stays relative.
            None if word.starts_with('/') || key == "exclude_path" => word.to_owned(),
            None => {
                let here = std::env::current_dir().unwrap_or_default();
                format!("{}/{}", here.display(), word.trim_start_matches("./"))
            }
        };
        Pattern::new(&full).map_err(|e| {
            let place = s.get(key).map_or(&s.place, |found| &found.place);
            ConfigError::new(place, format!("'{key}' has a bad pattern '{word}': {e}"))
        })
    };
    s.list(key).into_iter().map(read).collect()
}

fn tag_regex(s: &Settings) -> Result<Option<Regex>, ConfigError> {
    let Some(setting) = s.get("tag_regex") else {
        return Ok(None);
    };
    Regex::new(&setting.value)
        .map(Some)
        .map_err(|e| ConfigError::new(&setting.place, format!("'tag_regex' cannot be read: {e}")))
}

fn long_lines(s: &Settings) -> Result<LongLines, ConfigError> {
    let skip = s.bool("skip_long_lines", false)?;
    let truncate = s.bool("truncate_long_lines", !skip)?;
    Ok(if skip && !truncate {
        LongLines::Skip
    } else {
        LongLines::Truncate
    })
}

fn line_rules(s: &Settings, environment: &Environment) -> Result<LineRules, ConfigError> {
    let key = |name| s.get(name).map(|found| Arc::from(found.value.as_str()));
    let parser = match s.get("parser") {
        None => None,
        Some(p) => Some(environment.parsers.get(&p.value).cloned().ok_or_else(|| {
            let known = environment.parsers.keys().map(String::as_str);
            let hint = kansoku_model::plugin::did_you_mean(&p.value, known);
            ConfigError::new(
                &p.place,
                format!("unknown parser '{}'{hint}; is parsers_file set?", p.value),
            )
        })?),
    };
    Ok(LineRules {
        key: s.text("key", "log").into(),
        path_key: key("path_key"),
        offset_key: key("offset_key"),
        formats: formats(s)?,
        parser,
        skip_empty_lines: s.bool("skip_empty_lines", false)?,
        join_limit_bytes: s
            .size("multiline_buffer_limit", DEFAULT_JOIN_LIMIT_BYTES)?
            .clamp(1024, MAX_LINE_BYTES) as usize,
        join_timeout: Duration::from_secs_f64(s.seconds("multiline_flush", 4.0)?),
    })
}

fn formats(s: &Settings) -> Result<Vec<Format>, ConfigError> {
    let read = |word: &str| match word.to_ascii_lowercase().as_str() {
        "cri" => Ok(Format::Cri),
        "docker" => Ok(Format::Docker),
        _ => {
            let place = s.get("multiline.parser").map_or(&s.place, |m| &m.place);
            let hint = kansoku_model::plugin::did_you_mean(word, ["cri", "docker"].into_iter());
            Err(ConfigError::new(
                place,
                format!("'multiline.parser' cannot be '{word}' in tail{hint}"),
            ))
        }
    };
    s.list("multiline.parser").into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pairs: &[(&str, &str)]) -> String {
        let settings = Settings::of("tail", pairs);
        let built = settings
            .check(OPTIONS)
            .and_then(|()| TailOptions::new(&settings, &Environment::default()));
        built.err().map_or("ok".into(), |e| e.message)
    }

    #[test]
    fn mistakes_are_named() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[
                    ("path", "/var/log/containers/*.log"),
                    ("multiline.parser", "docker, cri"),
                ],
                "ok",
            ),
            (&[], "tail needs 'path', which is not set"),
            (
                &[("path", "/a/[")],
                "'path' has a bad pattern '/a/[': Pattern syntax error near position 3: invalid range pattern",
            ),
            (
                &[("path", "/a"), ("multiline.parser", "cry")],
                "'multiline.parser' cannot be 'cry' in tail; did you mean 'cri'?",
            ),
            (
                &[("path", "/a"), ("parser", "nginx")],
                "unknown parser 'nginx'; is parsers_file set?",
            ),
            (
                &[("path", "/a"), ("tag_regex", "(")],
                "'tag_regex' cannot be read: regex parse error:\n    (\n    ^\nerror: unclosed group",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(message(pairs), *expected);
        }
    }

    #[test]
    fn exclusion_crosses_folders_and_inclusion_does_not() {
        let settings = Settings::of(
            "tail",
            &[
                ("path", "/var/log/*.log"),
                ("exclude_path", "*_kube-system_*"),
            ],
        );
        let options = TailOptions::new(&settings, &Environment::default()).unwrap();
        for (path, expected) in [
            ("/var/log/a.log", true),
            ("/var/log/x/a.log", false),
            ("/var/log/p_kube-system_c.log", false),
        ] {
            assert_eq!(options.wants(path.as_ref()), expected, "{path}");
        }
    }
}
