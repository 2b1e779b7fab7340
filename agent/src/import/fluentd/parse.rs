//! `<parse>`: Fluentd's parsers as `[PARSER]` and `[MULTILINE_PARSER]` sections.

use kansoku_parsers::config::fluentd::Element;
use kansoku_parsers::time::TimeFormat;

use super::params::Params;
use super::report::Report;
use super::text;
use super::written::Section;

/// The access logs of Apache; a dash is no value.
const APACHE2: &str = r#"^(?<host>[^ ]*) [^ ]* (?:-|(?<user>[^ ]*)) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>(?:[^"\\]|\\.)*?)(?: +\S*)?)?" (?<code>[^ ]*) (?:-|(?<size>[^ ]*))(?: "(?:-|(?<referer>(?:[^"\\]|\\.)*))" "(?:-|(?<agent>(?:[^"\\]|\\.)*))")?$"#;
/// The error log of Apache.
const APACHE_ERROR: &str = r"^\[[^ ]* (?<time>[^\]]*)\] \[(?<level>[^\]]*)\](?: \[pid (?<pid>[^\]]*)\])?(?: \[client (?<client>[^\]]*)\])? (?<message>.*)$";
/// The access log of nginx, also with the forwarded address behind it.
const NGINX: &str = r#"^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)"(?:\s+"?(?<http_x_forwarded_for>[^"]*)"?)?)?$"#;
const ACCESS_TIME: &str = "%d/%b/%Y:%H:%M:%S %z";
/// A line of a container runtime, under the names that Fluentd's plugin gives its fields.
const CRI: &str = r"^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<logtag>[^ ]*) (?<message>.*)$";
/// Lines of Kubernetes' own programs (klog).
const KLOG: &str = r"(?m:^(?<severity>\w)(?<time>\d{4} [^\s]*)\s+(?<pid>\d+)\s+(?<source>[^ \]]+)\] (?<message>.*))";
const KLOG_FIRST: &str = r"^\w\d{4}";

/// Messages of RFC 3164 behind their time.
const RFC3164: &str =
    r"(?<host>[^ ]*) (?<ident>[^ :\[]*)(?:\[(?<pid>[0-9]+)\])?(?:[^\:]*\:)? *(?<message>.*)$";
/// Messages of RFC 5424 behind their time.
const RFC5424: &str = r"(?<host>[!-~]{1,255}) (?<ident>[!-~]{1,48}) (?<pid>[!-~]{1,128}) (?<msgid>[!-~]{1,32}) (?<extradata>(?:\-|(?:\[.*?(?<!\\)\])+))(?: (?<message>(?m:.+)))?\z";

/// How lines are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parse {
    /// The line under this name.
    Raw(String),
    /// By a parser.
    By(String),
    /// Joined by a multiline parser, then by a parser.
    Joined(String, Option<String>),
    /// By the first parser that fits; the line under this name where none does, if that is asked for.
    FirstOf(Vec<String>, Option<String>),
    /// By a parser, and its field again; whether the parser's other fields stay.
    Nested(String, &'static str, Box<Parse>, bool),
}

/// The parsers of the result.
#[derive(Debug, Default)]
pub(super) struct Parsers {
    pub sections: Vec<Section>,
    n: usize,
}

impl Parsers {
    /// Adds a section, or finds the same, and returns its name.
    pub(super) fn add(
        &mut self,
        header: &'static str,
        what: &str,
        origin: &str,
        keys: &Section,
    ) -> String {
        let same = |s: &&Section| {
            s.get("name").is_some_and(|name| {
                let mut one = Section::plugin(header, name, "");
                one.extend(keys);
                s.is_alike(&one)
            })
        };
        if let Some(name) = self.sections.iter().find(same).and_then(|s| s.get("name")) {
            return name.to_owned();
        }
        self.n += 1;
        let name = format!("{what}_{}", self.n);
        let mut section = Section::plugin(header, &name, origin);
        section.extend(keys);
        self.sections.push(section);
        name
    }

    /// A parser that takes a whole text under a name.
    pub(super) fn whole(&mut self, key: &str) -> String {
        let keys = regex(&format!("(?m:\\A(?<{key}>.*)\\z)")).with("Skip_Empty_Values", "off");
        self.add("PARSER", "whole", "", &keys)
    }

    /// Whether a parser takes a time.
    pub(super) fn has_time(&self, name: &str) -> bool {
        let found = self.sections.iter().find(|s| s.get("name") == Some(name));
        found.is_some_and(|s| s.get("time_key").is_some())
    }

    /// Reads `<parse>`, or what stands for it in the old way: `format` beside the plugin's other keys.
    pub(super) fn of(&mut self, plugin: &Params<'_>, report: &Report, default: &str) -> Parse {
        let mut elements = plugin.elements("parse");
        if let Some(element) = elements.next() {
            if let Some(second) = elements.next() {
                report.lost(
                    &second.place,
                    "a second <parse>: one section reads its lines in one way",
                );
            }
            let params = Params::new(element, report);
            let parse = self.section(&params, report, default);
            params.finish();
            return parse;
        }
        match plugin.word("format") {
            None => self.kind(default, plugin, report),
            Some(format) if format.starts_with('/') => {
                let keys = Section::new("PARSER", "")
                    .with("Format", "regex")
                    .with("Regex", &text::pattern(&format));
                self.timed(plugin, keys, "regexp", "time", None)
            }
            Some(format) => self.kind(&format, plugin, report),
        }
    }

    fn section(&mut self, params: &Params<'_>, report: &Report, default: &str) -> Parse {
        let kind = params.kind();
        let kind = if kind.is_empty() { default } else { &kind };
        self.kind(kind, params, report)
    }

    fn kind(&mut self, kind: &str, params: &Params<'_>, report: &Report) -> Parse {
        // What decides nothing about the records.
        params.ignore(&[
            "json_parser",
            "stream_buffer_size",
            "timeout",
            "parser_engine",
            "parser_type",
        ]);
        match kind {
            "" => {
                params.lost(
                    "no parser is named, without which Fluentd does not start; texts stay whole",
                );
                Parse::Raw("message".to_owned())
            }
            "none" => {
                params.ignore(&["time_format", "time_key"]);
                Parse::Raw(
                    params
                        .word("message_key")
                        .unwrap_or_else(|| "message".to_owned()),
                )
            }
            "json" => self.timed(params, format("json"), "json", "time", None),
            "ltsv" => {
                params.ignore(&["delimiter", "label_delimiter", "delimiter_pattern"]);
                self.timed(params, format("ltsv"), "ltsv", "time", None)
            }
            "logfmt" => self.timed(params, format("logfmt"), "logfmt", "time", None),
            "regexp" => {
                let pattern = params.text("expression").map(|t| text::pattern(&t.written));
                let Some(pattern) = pattern else {
                    params.lost("<parse> of type regexp has no 'expression'; lines stay whole");
                    return Parse::Raw("message".to_owned());
                };
                params.ignore(&["ignorecase", "multiline"]);
                if !pattern.contains("(?<") {
                    params.lost("'expression' has no group (?<name>…), so that it gives no fields; texts stay whole");
                    return Parse::Raw("message".to_owned());
                }
                self.timed(params, regex(&pattern), "regexp", "time", None)
            }
            "apache2" => {
                let keys = regex(APACHE2).with("Types", "code:integer size:integer");
                self.timed(params, keys, "apache2", "time", Some(ACCESS_TIME))
            }
            "apache" => self.timed(params, regex(APACHE2), "apache", "time", Some(ACCESS_TIME)),
            "apache_error" => {
                let format = Some("%b %d %H:%M:%S.%L %Y");
                self.timed(params, regex(APACHE_ERROR), "apache_error", "time", format)
            }
            "nginx" => self.timed(params, regex(NGINX), "nginx", "time", Some(ACCESS_TIME)),
            "syslog" => Parse::By(self.syslog(params, false)),
            "cri" => self.cri(params, report),
            "csv" | "tsv" => self.separated(kind, params),
            "multiline" => self.multiline(params),
            "kubernetes" => {
                let keys = regex(KLOG);
                let keys = keys
                    .with("Time_Key", "time")
                    .with("Time_Format", "%m%d %H:%M:%S.%L");
                let parser = self.add("PARSER", "klog", "", &keys);
                let joiner = self.joiner(KLOG_FIRST, "", "klog_lines", None);
                Parse::Joined(joiner, Some(parser))
            }
            "multiline_kubernetes" => {
                params.ignore(&["format_firstline"]);
                self.kind("kubernetes", params, report)
            }
            "multi_format" => self.first_of(params, report),
            other => {
                params.lost(format!(
                    "the parser '{other}' has no counterpart; lines stay whole. Write a [PARSER] of format regex, json, logfmt or ltsv for them"
                ));
                Parse::Raw("message".to_owned())
            }
        }
    }

    /// Adds the keys that concern time and types.
    fn timed(
        &mut self,
        params: &Params<'_>,
        mut keys: Section,
        what: &str,
        time_key: &str,
        time_format: Option<&str>,
    ) -> Parse {
        let given_key = params.word("time_key");
        let key = given_key.clone().unwrap_or_else(|| time_key.to_owned());
        let given_format = params.word("time_format").map(|f| f.trim().to_owned());
        let format = match params.word("time_type").as_deref() {
            Some("unixtime" | "float") => Some("%s.%L".to_owned()),
            Some(other) if !matches!(other, "string" | "mixed") => {
                params.lost(format!(
                    "'time_type' is '{other}', but must be string, unixtime, float or mixed"
                ));
                None
            }
            // Fluentd takes the number that stands there for the time.
            None if what == "json" && given_format.is_none() => Some("%s.%L".to_owned()),
            _ => given_format
                .clone()
                .or_else(|| time_format.map(ToOwned::to_owned)),
        };
        let zone = (
            params.word("timezone"),
            params.switch("utc"),
            params.switch("localtime"),
        );
        match format.as_deref().map(time_format_of) {
            Some(Ok(format)) => {
                keys.set("Time_Key", &key);
                keys.set("Time_Format", &format);
                if params.switch("keep_time_key") == Some(true) {
                    keys.set("Time_Keep", "on");
                }
                set_zone(&mut keys, &format, zone);
            }
            Some(Err(why)) => {
                params.lost(format!(
                    "'time_format': {why}; records get the time at which they are read"
                ));
            }
            None => {
                params.ignore(&["keep_time_key"]);
                if given_key.is_some()
                    || what == "ltsv"
                    || matches!(what, "regexp" | "multiline")
                        && keys.get("regex").is_some_and(|r| r.contains("(?<time>"))
                {
                    params.differs(format!(
                        "'{key}' has no 'time_format': Fluentd guesses the form of the time, here the field stays as it is and the record has the time of reading; give the [PARSER] a Time_Format"
                    ));
                }
            }
        }
        self.types(params, what, &mut keys);
        if params.word("null_value_pattern").is_some() {
            params.lost("'null_value_pattern': values that fit it stay as they are; leave them out of the pattern of the [PARSER]");
        }
        let without_empty = params.switch("null_empty_string") == Some(true);
        if without_empty {
            params.differs("empty values are left out of the record instead of being null");
        }
        if keys.get("format") == Some("regex") {
            if !without_empty {
                keys.set("Skip_Empty_Values", "off");
            }
            if matches!(what, "apache2" | "apache" | "csv" | "tsv") {
                params.differs(
                    "fields without a value are left out of the record instead of being null",
                );
            }
        }
        if params.switch("estimate_current_event") == Some(false) {
            params.differs(
                "'estimate_current_event false': a record without a time gets the time of reading",
            );
        }
        Parse::By(self.add("PARSER", what, "", &keys))
    }

    fn types(&self, params: &Params<'_>, what: &str, keys: &mut Section) {
        let mut types = Vec::new();
        for (name, kind) in params.pairs("types") {
            match kind.split(':').next().unwrap_or_default() {
                "integer" => types.push(format!("{name}:integer")),
                "float" => types.push(format!("{name}:float")),
                "bool" => types.push(format!("{name}:bool")),
                "string" => types.push(format!("{name}:string")),
                other => params.lost(format!(
                    "'types': no field can become '{other}' ({name}); it stays a text"
                )),
            }
        }
        if !types.is_empty() && what == "json" {
            params.lost("'types': the values of JSON keep their own types; convert them with a filter type_converter");
        } else if !types.is_empty() {
            params.differs("'types': a value that does not read as its type stays a text, where Fluentd makes 0 or false of it; true and false alone are booleans");
            keys.set("Types", &types.join(" "));
        }
    }

    fn cri(&mut self, params: &Params<'_>, report: &Report) -> Parse {
        params.ignore(&["time_key", "time_format"]);
        let inner = params.elements("parse").next();
        let mut keys = regex(CRI)
            .with("Time_Key", "time")
            .with("Time_Format", "%Y-%m-%dT%H:%M:%S.%L%z")
            .with("Skip_Empty_Values", "off");
        if params.switch("keep_time_key") != Some(false) && inner.is_none() {
            keys.set("Time_Keep", "on");
        }
        let merges = params.switch("merge_cri_fields") != Some(false);
        let outer = self.add("PARSER", "cri", "", &keys);
        match inner {
            None => Parse::By(outer),
            Some(inner) => {
                let inner = Params::new(inner, report);
                let parse = self.section(&inner, report, "none");
                inner.finish();
                match parse {
                    Parse::Raw(_) => Parse::By(outer),
                    parse => {
                        params.differs("a line whose message has no time, or is not of the inner form, keeps the time and fields of the runtime, where Fluentd gives it the time of reading, or drops it");
                        Parse::Nested(outer, "message", Box::new(parse), merges)
                    }
                }
            }
        }
    }

    /// A parser for syslog, with the fields of Fluentd's.
    pub(super) fn syslog(&mut self, params: &Params<'_>, has_priority: bool) -> String {
        let priority = params.switch("with_priority").unwrap_or(has_priority);
        params.ignore(&["support_colonless_ident", "keep_time_key"]);
        let format = params.word("message_format").unwrap_or_default();
        if format == "auto" {
            params.differs("'message_format auto': messages are read as RFC 3164; those of RFC 5424 stay whole");
        }
        let (what, priority, rest, time, key) = match (format.as_str(), priority) {
            ("rfc5424", with) => {
                let priority = if with {
                    r"<(?<pri>\d{1,3})>\d\d{0,2}\s"
                } else {
                    ""
                };
                let time = "%Y-%m-%dT%H:%M:%S.%L%z";
                (
                    "syslog_5424",
                    priority,
                    RFC5424,
                    time,
                    "rfc5424_time_format",
                )
            }
            (_, with) => {
                let priority = if with { "<(?<pri>[0-9]{1,3})>" } else { "" };
                (
                    "syslog_3164",
                    priority,
                    RFC3164,
                    "%b %d %H:%M:%S",
                    "time_format",
                )
            }
        };
        let given = params.word(key);
        params.ignore(&[
            "time_format",
            "rfc5424_time_format",
            "parser_engine",
            "parser_type",
        ]);
        // A time has as many words as its format.
        let format = given
            .as_deref()
            .map_or(Ok(time.to_owned()), |f| time_format_of(f.trim()));
        let format = format.unwrap_or_else(|why| {
            params.lost(format!("'{key}': {why}; times are read as {time}"));
            time.to_owned()
        });
        let words = vec!["[^ ]+"; format.split_whitespace().count()].join(" +");
        let mut keys = regex(&format!("^{priority}(?<time>{words}) {rest}"))
            .with("Types", "pri:integer")
            .with("Time_Key", "time")
            .with("Time_Format", &format);
        let zone = (
            params.word("timezone"),
            params.switch("utc"),
            params.switch("localtime"),
        );
        set_zone(&mut keys, &format, zone);
        self.add("PARSER", what, "", &keys)
    }

    fn separated(&mut self, kind: &str, params: &Params<'_>) -> Parse {
        let names = params.list("keys");
        let delimiter = params.word("delimiter");
        let delimiter = delimiter
            .as_deref()
            .unwrap_or(if kind == "csv" { "," } else { "\t" });
        if names.is_empty() || delimiter.chars().count() != 1 {
            params.lost(format!(
                "the parser '{kind}' needs 'keys' and a delimiter of one character"
            ));
            return Parse::Raw("message".to_owned());
        }
        if kind == "csv" {
            params.differs("values of CSV keep their quotes, and must not hold the delimiter");
            params.ignore(&["parser_type"]);
        }
        let escaped = match delimiter {
            "\t" => "\\t".to_owned(),
            d if d.chars().all(char::is_alphanumeric) => d.to_owned(),
            d => format!("\\{d}"),
        };
        let mut pattern = String::from("^");
        for (at, name) in names.iter().enumerate() {
            let group = format!("(?<{name}>[^{escaped}]*)");
            let part = if at == 0 {
                group
            } else {
                format!("(?:{escaped}{group}")
            };
            pattern.push_str(&part);
        }
        pattern.push_str(&")?".repeat(names.len() - 1));
        self.timed(params, regex(&pattern), kind, "time", None)
    }

    fn multiline(&mut self, params: &Params<'_>) -> Parse {
        let first = params.text("format_firstline").map(|t| t.written);
        let formats: Vec<String> = (1..=20)
            .filter_map(|n| params.text(&format!("format{n}")))
            .map(|t| text::pattern(&t.written))
            .collect();
        params.ignore(&["unmatched_lines"]);
        let Some(first) = first else {
            params.lost("<parse> of type multiline without 'format_firstline': the agent needs to know a record's first line; lines stay as they are");
            return Parse::Raw("message".to_owned());
        };
        let joiner = self.joiner(&text::pattern(&first), "", "lines", None);
        if formats.is_empty() {
            params.lost("<parse> of type multiline has no 'format1', without which Fluentd does not start; records stay whole");
            return Parse::Joined(joiner, None);
        }
        // The joined lines end in a line end, which is no part of the record.
        let keys = regex(&format!("(?m:{})(?=(?m:.*)\\n\\z)", formats.concat()));
        match self.timed(params, keys, "multiline", "time", None) {
            Parse::By(parser) => Parse::Joined(joiner, Some(parser)),
            other => other,
        }
    }

    /// A multiline parser for records that begin with a line that `first` fits, or, where only `next` is
    /// given, go on with lines that it fits.
    pub(super) fn joiner(
        &mut self,
        first: &str,
        next: &str,
        what: &str,
        flush_ms: Option<u64>,
    ) -> String {
        let mut keys = Section::new("", "").with("Type", "regex");
        if let Some(flush) = flush_ms {
            keys.set("Flush_Timeout", &flush.to_string());
        }
        let (start, more) = match (first, next) {
            ("", next) => (format!("(?!(?:{next}))"), next.to_owned()),
            (first, "") => (
                first.to_owned(),
                format!("^(?!(?:{}))", first.trim_start_matches('^')),
            ),
            (first, next) => (first.to_owned(), next.to_owned()),
        };
        let quoted = |pattern: &str| format!("/{}/", pattern.replace('"', "\\\""));
        keys.set(
            "Rule",
            &format!("\"start_state\" \"{}\" \"more\"", quoted(&start)),
        );
        keys.set("Rule", &format!("\"more\" \"{}\" \"more\"", quoted(&more)));
        self.add("MULTILINE_PARSER", what, "", &keys)
    }

    fn first_of(&mut self, params: &Params<'_>, report: &Report) -> Parse {
        let patterns: Vec<&Element> = params.elements("pattern").collect();
        let mut names = Vec::new();
        for element in patterns {
            let pattern = Params::new(element, report);
            // The type of a pattern is called format.
            let kind = pattern.word("format").unwrap_or_else(|| pattern.kind());
            let parse = match kind.strip_prefix('/') {
                Some(_) => self.timed(
                    &pattern,
                    regex(&text::pattern(&kind)),
                    "regexp",
                    "time",
                    None,
                ),
                None => self.kind(&kind, &pattern, report),
            };
            pattern.finish();
            match parse {
                Parse::By(name) => names.push(name),
                Parse::Raw(key) => return Parse::FirstOf(names, Some(key)),
                _ => pattern.lost(format!("'{kind}' cannot be one of several formats")),
            }
        }
        Parse::FirstOf(names, None)
    }
}

fn format(name: &str) -> Section {
    Section::new("", "").with("Format", name)
}

fn regex(pattern: &str) -> Section {
    format("regex").with("Regex", pattern)
}

fn set_zone(
    keys: &mut Section,
    format: &str,
    (zone, utc, local): (Option<String>, Option<bool>, Option<bool>),
) {
    let has_own = ["%z", "%Z", "%s"].iter().any(|d| format.contains(d)) || format.ends_with('Z');
    if has_own {
        return;
    }
    match zone {
        Some(zone) if zone.starts_with(['+', '-']) => {
            keys.set("Time_Offset", &zone.replace(':', ""));
        }
        Some(zone) => keys.set("Time_Zone", &zone),
        None if utc == Some(true) || local == Some(false) => {}
        // Fluentd counts such times in the machine's own zone.
        None => keys.set("Time_System_Timezone", "on"),
    }
}

/// Ruby's strptime as ours.
fn time_format_of(ruby: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = ruby.chars().peekable();
    if ruby == "iso8601" {
        return Ok("%Y-%m-%dT%H:%M:%S.%L%z".to_owned());
    }
    if let Some(rest) = ruby.strip_prefix("%iso8601") {
        return Ok(format!("%Y-%m-%dT%H:%M:%S.%L%z{rest}"));
    }
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        // Flags and widths: `%-d`, `%9N`, `%:z`.
        while chars
            .next_if(|c| matches!(c, '-' | '_' | '^' | '#' | ':') || c.is_ascii_digit())
            .is_some()
        {}
        match chars.next() {
            Some('N') => out.push_str("%L"),
            Some('c') => out.push_str("%a %b %e %H:%M:%S %Y"),
            Some('x') => out.push_str("%D"),
            Some('X') => out.push_str("%T"),
            Some('r') => out.push_str("%I:%M:%S %p"),
            Some('v') => out.push_str("%e-%b-%Y"),
            Some('P') => out.push_str("%p"),
            Some(c) => out.extend(['%', c]),
            None => out.push('%'),
        }
    }
    TimeFormat::new(&out).map_err(|e| e.to_string())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_formats() {
        for (ruby, ours) in [
            ("%Y-%m-%dT%H:%M:%S.%NZ", Ok("%Y-%m-%dT%H:%M:%S.%LZ")),
            ("%Y-%m-%dT%H:%M:%S.%9N%:z", Ok("%Y-%m-%dT%H:%M:%S.%L%z")),
            ("%-d/%b/%Y", Ok("%d/%b/%Y")),
            ("%iso8601", Ok("%Y-%m-%dT%H:%M:%S.%L%z")),
            ("%Y %Q", Err(())),
            ("%", Err(())),
        ] {
            assert_eq!(
                time_format_of(ruby).map_err(|_| ()),
                ours.map(ToOwned::to_owned),
                "{ruby}"
            );
        }
    }
}
