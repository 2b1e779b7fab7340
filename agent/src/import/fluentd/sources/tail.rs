//! `tail`: files, and the ways of reading their lines.

use super::super::params::{As, Params};
use super::super::parse::Parse;
use super::super::report::Report;
use super::super::tags::{self, Glob, Piece};
use super::super::written::Section;
use super::super::{Converter, origin};
use super::{Given, STATE_FOLDER};

impl Converter {
    pub(super) fn tail(&mut self, params: &Params<'_>, report: &Report) -> Option<Given> {
        let mut input = Section::plugin("INPUT", "tail", &origin(params.element));
        let Some(path) = params.text("path") else {
            params.lost("<source> of type tail has no 'path' that can be used; it is left out");
            params.ignore_elements(&["parse"]);
            return None;
        };
        let delimiter = params.word("path_delimiter");
        let mut paths = path.clone();
        if let Some(delimiter) = delimiter.filter(|d| d != ",") {
            paths.written = paths.written.replace(&delimiter, ",");
            paths.assumed = paths.assumed.replace(&delimiter, ",");
        }
        if paths.assumed.contains('%') {
            params.differs(
                "'path' holds a date; a star stands for it, so older files are followed as well",
            );
            paths.written = undated(&paths.written);
            paths.assumed = undated(&paths.assumed);
        }
        let tag = params.word("tag").unwrap_or_default();
        input.set("Tag", &tag);
        input.set("Path", &paths.written);
        let excluded = params.text("exclude_path").filter(|t| t.has_variable);
        if let Some(excluded) = excluded.filter(|t| !t.written.contains('[')) {
            input.put("Exclude_Path", &excluded);
        } else if let excluded = params.list("exclude_path")
            && !excluded.is_empty()
        {
            let excluded: Vec<String> = excluded.iter().map(|p| undated(p)).collect();
            input.set("Exclude_Path", &excluded.join(","));
        }
        params.copy(
            &mut input,
            &[
                ("path_key", "Path_Key", As::Text),
                ("read_from_head", "Read_from_Head", As::Switch),
                ("refresh_interval", "Refresh_Interval", As::Time),
                ("rotate_wait", "Rotate_Wait", As::Time),
                ("limit_recently_modified", "Ignore_Older", As::Time),
                ("multiline_flush_interval", "Multiline_Flush", As::Time),
                ("max_line_size", "Buffer_Max_Size", As::Size),
            ],
        );
        if input.get("buffer_max_size").is_some() {
            input.set("Skip_Long_Lines", "on");
        }
        let named = tag
            .replace(['*', '/'], "")
            .trim_matches('.')
            .replace('.', "-");
        let named = if named.is_empty() {
            "tail".to_owned()
        } else {
            named
        };
        input.set(
            "DB",
            &format!("{STATE_FOLDER}/{named}-{}.db", self.inputs.len()),
        );
        if params.element.get("pos_file").is_some() {
            params.ignore(&["pos_file"]);
            report.differs(params.place(), "'pos_file': positions are kept in DB and start anew; with Read_from_Head on the files that are there are read once more");
        }
        encoding(params, &mut input);
        if params.switch("enable_stat_watcher") == Some(false) {
            input.set("Inotify_Watcher", "off");
        }
        params.ignore(&[
            "read_lines_limit",
            "enable_watch_timer",
            "open_on_every_update",
            "skip_refresh_on_startup",
            "pos_file_compaction_interval",
            "ignore_repeated_permission_error",
            "follow_inodes",
            "path_timezone",
            "format_firstline",
            "glob_policy",
        ]);
        if params
            .text("read_bytes_limit_per_second")
            .is_some_and(|t| t.assumed != "-1")
        {
            params.differs(
                "'read_bytes_limit_per_second': use Rate_Gate and Rate_Gate.Max_Bytes of the input",
            );
        }
        let parse = self.parsers.of(params, report, "");
        let emits_unmatched = params.switch("emit_unmatched_lines") == Some(true);
        let unmatched = if emits_unmatched {
            "unmatched_line"
        } else {
            "log"
        };
        if !emits_unmatched && !matches!(parse, Parse::Raw(_) | Parse::FirstOf(_, Some(_))) {
            params.differs(format!("lines that the parser does not fit are kept in the field {unmatched}, and records whose time it does not fit keep that field, where Fluentd drops them with a warning"));
        }
        let filters = parse_keys(&mut input, &parse, unmatched);
        let mut given = Given::new(input, tail_tags(&tag, &paths.assumed));
        given.filters = filters;
        Some(given)
    }
}

/// The keys of `tail` for a way of reading lines, and the filters that do the rest.
fn parse_keys(input: &mut Section, parse: &Parse, unmatched: &str) -> Vec<Section> {
    let mut filters = Vec::new();
    let is_whole = matches!(
        parse,
        Parse::Raw(_) | Parse::Joined(_, None) | Parse::FirstOf(..)
    );
    if !is_whole && unmatched != "log" {
        input.set("Key", unmatched);
    }
    match parse {
        Parse::Raw(key) => input.set("Key", key),
        Parse::By(name) => input.set("Parser", name),
        Parse::Joined(joiner, parser) => {
            input.set("multiline.parser", joiner);
            match parser {
                Some(parser) => input.set("Parser", parser),
                None => input.set("Key", "message"),
            }
        }
        Parse::FirstOf(names, key) => {
            let key = key.as_deref().unwrap_or(unmatched);
            input.set("Key", key);
            filters.extend(parser_filter(key, names, true));
        }
        Parse::Nested(outer, key, inner, merges) => {
            input.set("Parser", outer);
            match &**inner {
                Parse::By(name) => {
                    filters.extend(parser_filter(key, std::slice::from_ref(name), *merges));
                }
                Parse::FirstOf(names, _) => filters.extend(parser_filter(key, names, *merges)),
                _ => {}
            }
        }
    }
    filters
}

fn parser_filter(key: &str, names: &[String], reserves: bool) -> Option<Section> {
    let mut filter = Section::plugin("FILTER", "parser", "").with("Key_Name", key);
    for name in names {
        filter.set("Parser", name);
    }
    (!names.is_empty()).then(|| filter.with("Reserve_Data", if reserves { "on" } else { "off" }))
}

/// The tags that `tail` gives: a star is the path, with points for slashes.
fn tail_tags(tag: &str, paths: &str) -> Vec<Glob> {
    let Some((before, after)) = tag.split_once('*') else {
        return vec![tags::literal(tag)];
    };
    let one = |path: &str| {
        let path = path.trim().trim_start_matches('/').replace('/', ".");
        let mut glob = tags::literal(before);
        let mut in_class = false;
        for c in path.chars() {
            match c {
                '[' | '{' => in_class = true,
                ']' | '}' => {
                    in_class = false;
                    glob.push(Piece::Any);
                }
                _ if in_class => {}
                '*' | '?' => glob.push(Piece::Any),
                c => glob.push(Piece::Char(c)),
            }
        }
        glob.extend(tags::literal(after));
        // Several slashes, or a hidden folder's point behind one, are one point in the tag.
        glob.dedup_by(|a, b| a == b && matches!(*a, Piece::Any | Piece::Char('.')));
        glob
    };
    paths
        .split(',')
        .filter(|p| !p.trim().is_empty())
        .map(one)
        .collect()
}

/// Strftime's letters in a path as stars.
fn undated(path: &str) -> String {
    let mut out = String::new();
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                chars.next();
                if !out.ends_with('*') {
                    out.push('*');
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn encoding(params: &Params<'_>, input: &mut Section) {
    let from = params.word("from_encoding");
    let encoding = params.word("encoding").unwrap_or_default();
    let name = from.unwrap_or(encoding);
    let ours = match name.to_ascii_lowercase().replace('_', "-").as_str() {
        "" | "utf-8" | "ascii-8bit" | "us-ascii" | "binary" => return,
        "utf-16le" => return input.set("Unicode.Encoding", "UTF-16LE"),
        "utf-16be" => return input.set("Unicode.Encoding", "UTF-16BE"),
        "shift-jis" | "sjis" | "windows-31j" | "cp932" => "ShiftJIS",
        "gbk" | "cp936" => "GBK",
        "gb18030" => "GB18030",
        "big5" => "Big5",
        "cp949" | "euc-kr" => "UHC",
        "iso-8859-1" | "windows-1252" | "cp1252" => "Win1252",
        "windows-1251" | "cp1251" => "Win1251",
        _ => {
            return params.lost(format!(
                "the encoding '{name}' is not known; see generic.encoding of tail"
            ));
        }
    };
    input.set("Generic.Encoding", ours);
}
