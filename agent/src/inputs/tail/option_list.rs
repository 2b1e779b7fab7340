//! The table of tail's options: Fluent Bit's names, with our defaults and what each means here.
//!
//! Reading them is `options`. The rule: whatever has no effect says so in its description.

use kansoku_model::{OptionKind, OptionSpec};

const fn option(
    name: &'static str,
    kind: OptionKind,
    default: &'static str,
    about: &'static str,
) -> OptionSpec {
    OptionSpec::new(name, kind, default, about)
}

use OptionKind::{Bool, Choice, Int, List, Size, Text, Time};

/// How many parsers `parser_1` and following may name.
pub(super) const MORE_PARSERS: [&str; 9] = [
    "parser_1", "parser_2", "parser_3", "parser_4", "parser_5", "parser_6", "parser_7", "parser_8",
    "parser_9",
];

/// Every option.
pub(super) const OPTIONS: &[OptionSpec] = &[
    option(
        "path",
        List,
        "",
        "patterns of the files to follow; .gz files are unpacked",
    ),
    option("exclude_path", List, "", "patterns of files to leave out"),
    option("key", Text, "log", "field for lines that no parser reads"),
    option("path_key", Text, "", "field that gets the file's name"),
    option("offset_key", Text, "", "field that gets the line's offset"),
    option(
        "tag_regex",
        Text,
        "",
        "named groups of the path for <name> in tag; files that do not match are not read",
    ),
    option(
        "parser",
        Text,
        "",
        "parser for each line, or for what multiline.parser joined",
    ),
    option(
        "multiline.parser",
        List,
        "",
        "cri, docker: join what the runtime split; others then join lines to records",
    )
    .repeated(),
    option(
        "multiline",
        Bool,
        "off",
        "join lines by parser_firstline (the old way)",
    ),
    option(
        "parser_firstline",
        Text,
        "",
        "parser that knows the first line, for multiline on",
    ),
    option(
        MORE_PARSERS[0],
        Text,
        "",
        "parser for fields in further lines; parser_2 to parser_9 as well",
    ),
    option(MORE_PARSERS[1], Text, "", "see parser_1"),
    option(MORE_PARSERS[2], Text, "", "see parser_1"),
    option(MORE_PARSERS[3], Text, "", "see parser_1"),
    option(MORE_PARSERS[4], Text, "", "see parser_1"),
    option(MORE_PARSERS[5], Text, "", "see parser_1"),
    option(MORE_PARSERS[6], Text, "", "see parser_1"),
    option(MORE_PARSERS[7], Text, "", "see parser_1"),
    option(MORE_PARSERS[8], Text, "", "see parser_1"),
    option(
        "multiline_flush",
        Time,
        "4",
        "how long a partial line waits for its rest",
    ),
    option(
        "multiline_buffer_limit",
        Size,
        "2M",
        "a joined record is cut at this size",
    ),
    option(
        "docker_mode",
        Bool,
        "off",
        "join docker's JSON lines before the parser reads them",
    ),
    option(
        "docker_mode_flush",
        Int,
        "4",
        "seconds a split line waits for its rest",
    ),
    option(
        "docker_mode_parser",
        Text,
        "",
        "parser that knows a first line: further complete lines are added to it",
    ),
    option(
        "read_from_head",
        Bool,
        "off",
        "read files found at the first start from their beginning",
    ),
    option(
        "read_newly_discovered_files_from_head",
        Bool,
        "on",
        "the same for files found later",
    ),
    option(
        "refresh_interval",
        Time,
        "60",
        "look through all folders this often, besides events",
    ),
    option(
        "watcher_interval",
        Time,
        "",
        "check this often besides events whether names stand for other files; unset: with refresh_interval",
    ),
    option(
        "progress_check_interval",
        Time,
        "",
        "read all files this often besides events; unset: events suffice",
    ),
    option(
        "progress_check_interval_nsec",
        Int,
        "0",
        "nanoseconds added to progress_check_interval",
    ),
    option(
        "rotate_wait",
        Time,
        "5",
        "how long a rotated file stays open after its end was reached",
    ),
    option(
        "ignore_older",
        Time,
        "0",
        "do not start files unchanged for longer, nor take older records of multiline and docker_mode; 0 = all",
    ),
    option(
        "ignore_active_older_files",
        Bool,
        "off",
        "let go of files unchanged for ignore_older until they change again",
    ),
    option(
        "buffer_max_size",
        Size,
        "2MiB",
        "longer lines are cut, or skipped with skip_long_lines; never is the file given up",
    ),
    option(
        "skip_long_lines",
        Bool,
        "off",
        "skip lines over buffer_max_size",
    ),
    option(
        "truncate_long_lines",
        Bool,
        "on",
        "cut lines over buffer_max_size",
    ),
    option(
        "skip_empty_lines",
        Bool,
        "off",
        "no record for an empty line",
    ),
    option(
        "unicode.encoding",
        Text,
        "",
        "UTF-16LE, UTF-16BE, or auto: by the byte order mark",
    ),
    option(
        "generic.encoding",
        Text,
        "",
        "ShiftJIS, UHC, GBK, GB18030, Big5, Win1252, ...: the files' encoding",
    ),
    option(
        "db",
        Text,
        "",
        "SQLite file that keeps offsets; Fluent Bit's are continued",
    ),
    option(
        "db.sync",
        Choice(&["off", "normal", "full", "extra"]),
        "normal",
        "SQLite's synchronous mode",
    ),
    option(
        "db.locking",
        Bool,
        "off",
        "no other process may open the db",
    ),
    option(
        "db.journal_mode",
        Choice(&["wal", "delete", "truncate", "persist", "memory", "off"]),
        "wal",
        "SQLite's journal",
    ),
    option(
        "db.compare_filename",
        Bool,
        "off",
        "an offset counts only for a file of the same name, besides its content",
    ),
    option("exit_on_eof", Bool, "off", "end when all files are read"),
    option(
        "inotify_watcher",
        Bool,
        "on",
        "off = poll, for file systems without events",
    ),
    option(
        "static_batch_size",
        Size,
        "",
        "bytes of one file before the next has its turn; the same as event_batch_size",
    ),
    option(
        "event_batch_size",
        Size,
        "4MiB",
        "bytes of one file before the next has its turn",
    ),
    option(
        "file_cache_advise",
        Bool,
        "off",
        "drop what was read from the page cache",
    ),
    option(
        "buffer_chunk_size",
        Size,
        "",
        "no effect: the read size adapts",
    ),
    option(
        "threaded",
        Bool,
        "",
        "no effect: every input has its thread",
    ),
];
