//! The options of tail, as Fluent Bit names them, read into one typed value.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;
use kansoku_model::{ConfigError, Settings};
use kansoku_parsers::line::Parser;
use kansoku_parsers::line::multiline::{Joiner, Multiline};
use kansoku_parsers::line::pattern::Pattern as RubyPattern;

use super::encoding::Wanted;
use super::lines::{DockerMode, FirstLine, Format, Grouping, LineRules};
use super::option_list::MORE_PARSERS;
use crate::config::{find_multiline, find_parser, find_parser_or_raw};
use crate::log;
use crate::offsets::OffsetOptions;
use crate::plugin::Environment;

/// The longest line kept whole when `buffer_max_size` is not set: far above what container runtimes
/// write (16 KiB), and small enough for a few to be in memory.
const DEFAULT_LINE_MAX_BYTES: u64 = 2 << 20;
/// No line may be longer: a batch must stay well below the largest frame.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// How much of one file is read before the next has its turn, unless `event_batch_size` says so.
const TURN_BYTES: u64 = 4 << 20;
/// The least of it: one read.
const MIN_TURN_BYTES: u64 = 256 << 10;
/// Intervals are not shorter, so that the tail does not spin.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

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
    pub(super) tag_regex: Option<RubyPattern>,
    pub(super) rules: LineRules,
    pub(super) read_from_head: bool,
    pub(super) read_new_from_head: bool,
    pub(super) refresh_interval: Duration,
    pub(super) rotate_wait: Duration,
    pub(super) ignore_older: Option<Duration>,
    /// Files that are open are let go of, too, when they are older than `ignore_older`.
    pub(super) ignore_active: bool,
    /// Between checks of what names stand for, besides events.
    pub(super) watcher_interval: Option<Duration>,
    /// Between looks at all files, besides events.
    pub(super) progress_interval: Option<Duration>,
    /// How much of one file is read before the next has its turn.
    pub(super) turn_bytes: u64,
    /// What was read is dropped from the page cache.
    pub(super) drop_cache: bool,
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
            refresh_interval: seconds("refresh_interval", 60.0)?.max(MIN_INTERVAL),
            rotate_wait: seconds("rotate_wait", 5.0)?,
            ignore_older: (!ignore_older.is_zero()).then_some(ignore_older),
            ignore_active: s.bool("ignore_active_older_files", false)?,
            watcher_interval: interval(s, "watcher_interval", Duration::ZERO)?,
            progress_interval: interval(
                s,
                "progress_check_interval",
                Duration::from_nanos(s.int("progress_check_interval_nsec", 0)?.max(0) as u64),
            )?,
            turn_bytes: s
                .size("event_batch_size", s.size("static_batch_size", TURN_BYTES)?)?
                .max(MIN_TURN_BYTES),
            drop_cache: s.bool("file_cache_advise", false)?,
            line_max_bytes: line_max.clamp(64, MAX_LINE_BYTES) as usize,
            long_lines: long_lines(s)?,
            db: offset_options(s)?,
            compare_filename: s.bool("db.compare_filename", false)?,
            exit_on_eof: s.bool("exit_on_eof", false)?,
            inotify: s.bool("inotify_watcher", true)?,
            host_name: environment.host_name.clone(),
        })
    }

    /// `ignore_older`.
    pub(super) fn is_too_old(&self, metadata: &std::fs::Metadata) -> bool {
        let age = metadata.modified().ok().and_then(|m| m.elapsed().ok());
        matches!((self.ignore_older, age), (Some(limit), Some(age)) if age > limit)
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

fn offset_options(s: &Settings) -> Result<Option<OffsetOptions>, ConfigError> {
    let Some(db) = s.get("db") else {
        return Ok(None);
    };
    let path = PathBuf::from(&db.value);
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let folder = folder.display();
        let message = format!(
            "'db' is '{}', but {folder} is no folder; create it or change 'db'",
            db.value
        );
        return Err(ConfigError::new(&db.place, message));
    }
    Ok(Some(OffsetOptions {
        path,
        sync: s.text("db.sync", "normal").to_ascii_lowercase(),
        locking: s.bool("db.locking", false)?,
        journal_mode: s.text("db.journal_mode", "wal").to_ascii_lowercase(),
    }))
}

/// `None` when it is not set, or zero.
fn interval(s: &Settings, key: &str, more: Duration) -> Result<Option<Duration>, ConfigError> {
    let every = Duration::from_secs_f64(s.seconds(key, 0.0)?) + more;
    Ok((!every.is_zero()).then(|| every.max(MIN_INTERVAL)))
}

fn tag_regex(s: &Settings) -> Result<Option<RubyPattern>, ConfigError> {
    let Some(setting) = s.get("tag_regex") else {
        return Ok(None);
    };
    RubyPattern::new(&setting.value)
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

/// The parser that `key` names, if it is set.
fn parser_of(
    s: &Settings,
    environment: &Environment,
    key: &str,
) -> Result<Option<Arc<Parser>>, ConfigError> {
    s.get(key).map(|p| find_parser(environment, p)).transpose()
}

/// As [`parser_of`] for the keys with which Fluent Bit goes on without a parser that it does not know.
fn parser_or_raw(s: &Settings, environment: &Environment, key: &str) -> Option<Arc<Parser>> {
    s.get(key).and_then(|p| find_parser_or_raw(environment, p))
}

fn line_rules(s: &Settings, environment: &Environment) -> Result<LineRules, ConfigError> {
    let key = |name| s.get(name).map(|found| Arc::from(found.value.as_str()));
    let flush = Duration::from_secs_f64(s.seconds("multiline_flush", 4.0)?);
    let docker_mode = if s.bool("docker_mode", false)? {
        Some(DockerMode {
            first_line: parser_or_raw(s, environment, "docker_mode_parser"),
        })
    } else {
        None
    };
    let (formats, joining) = multiline_parsers(s, environment)?;
    let multiline = s.bool("multiline", false)?;
    if multiline && docker_mode.is_some() {
        let place = s.get("docker_mode").map_or(&s.place, |found| &found.place);
        let message = "'multiline' and 'docker_mode' exclude each other; remove one";
        return Err(ConfigError::new(place, message));
    }
    // As in Fluent Bit, which does not say so.
    let overruled = s.get("multiline.parser").is_some() && (multiline || docker_mode.is_some());
    if overruled {
        let message = "'multiline' and 'docker_mode' have no effect beside 'multiline.parser'";
        log::warn("input:tail", format_args!("{}: {message}", s.place));
    }
    let docker_mode = docker_mode.filter(|_| !overruled);
    let multiline = multiline && !overruled;
    let join_timeout = if docker_mode.is_some() {
        // Fluent Bit takes less than a second for one.
        Duration::from_secs(s.int("docker_mode_flush", 4)?.max(1) as u64)
    } else {
        flush
    };
    let parser = parser_or_raw(s, environment, "parser");
    // As in Fluent Bit, the parser of single lines wins.
    let limit = s.size(
        "multiline_buffer_limit",
        environment.multiline_limit_bytes as u64,
    )?;
    let join_limit_bytes = limit.clamp(1024, MAX_LINE_BYTES) as usize;
    let grouping = if multiline && parser.is_none() {
        Some(Grouping::FirstLine(first_line(s, environment)?))
    } else if joining.is_empty() {
        None
    } else {
        Some(Grouping::Joined(Joiner::new(joining, join_limit_bytes)))
    };
    let group_timeout = match &grouping {
        Some(Grouping::Joined(joiner)) => joiner.flush_after(),
        _ => flush,
    };
    Ok(LineRules {
        key: s.text("key", "log").into(),
        path_key: key("path_key"),
        offset_key: key("offset_key"),
        formats,
        docker_mode,
        grouping,
        parser,
        skip_empty_lines: s.bool("skip_empty_lines", false)?,
        ignore_older: Some(s.seconds("ignore_older", 0.0)?)
            .filter(|older| *older > 0.0)
            .map(Duration::from_secs_f64),
        encoding: Wanted::new(s)?,
        join_limit_bytes,
        join_timeout,
        group_timeout,
    })
}

fn first_line(s: &Settings, environment: &Environment) -> Result<FirstLine, ConfigError> {
    let more = MORE_PARSERS
        .iter()
        .filter_map(|key| parser_of(s, environment, key).transpose());
    Ok(FirstLine {
        first: parser_of(s, environment, "parser_firstline")?.ok_or_else(|| {
            let message = "'multiline' needs 'parser_firstline', which is not set";
            ConfigError::new(&s.place, message)
        })?,
        more: more.collect::<Result<_, _>>()?,
    })
}

/// The runtimes in `multiline.parser`, and the other multiline parsers, each in order: a line is
/// unwrapped first, whatever the order of the list.
fn multiline_parsers(
    s: &Settings,
    environment: &Environment,
) -> Result<(Vec<Format>, Vec<Arc<Multiline>>), ConfigError> {
    let place = s.get("multiline.parser").map_or(&s.place, |m| &m.place);
    let (mut formats, mut joining) = (Vec::new(), Vec::new());
    for word in s.list("multiline.parser") {
        match word.to_ascii_lowercase().as_str() {
            "cri" => formats.push(Format::Cri),
            "docker" => formats.push(Format::Docker),
            _ => joining.push(find_multiline(environment, word, place)?),
        }
    }
    Ok((formats, joining))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::tail::option_list::OPTIONS;

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
                "unknown multiline parser 'cry' (parsers come from parsers_file in [SERVICE])",
            ),
            (
                &[
                    ("path", "/a"),
                    ("multiline", "on"),
                    ("parser_firstline", "nginx"),
                ],
                "unknown parser 'nginx' (parsers come from parsers_file in [SERVICE])",
            ),
            (
                &[("path", "/a"), ("multiline", "on")],
                "'multiline' needs 'parser_firstline', which is not set",
            ),
            (
                &[("path", "/a"), ("multiline", "on"), ("docker_mode", "on")],
                "'multiline' and 'docker_mode' exclude each other; remove one",
            ),
            (
                &[("path", "/a"), ("db", "/no/such/tail.db")],
                "'db' is '/no/such/tail.db', but /no/such is no folder; create it or change 'db'",
            ),
            (
                &[("path", "/a"), ("tag_regex", "(")],
                "'tag_regex' cannot be read: pattern '(': unclosed group",
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
