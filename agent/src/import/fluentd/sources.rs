//! `<source>`: Fluentd's inputs.

use std::rc::Rc;

use kansoku_parsers::config::fluentd::Element;

use super::params::{As, Params};
use super::parse::{self, Parse};
use super::routing::{self, Source};
use super::tags::{self, Glob, Piece};
use super::text;
use super::written::Section;
use super::{Converter, origin, report::Report};

/// What a `<source>` became.
struct Given {
    inputs: Vec<Section>,
    logical: Vec<Glob>,
    physical: Option<Vec<Glob>>,
    is_open: bool,
    /// Filters for its records alone, before all others.
    filters: Vec<Section>,
}

impl Given {
    fn new(input: Section, logical: Vec<Glob>) -> Self {
        Self {
            inputs: vec![input],
            logical,
            physical: None,
            is_open: false,
            filters: Vec::new(),
        }
    }
}

/// Where the databases of positions go.
const STATE_FOLDER: &str = "/var/lib/kansoku";

impl Converter {
    pub(super) fn source(&mut self, element: &Element) {
        let report = Rc::clone(&self.report);
        let params = Params::new(element, &report);
        let kind = params.kind();
        let given = match kind.as_str() {
            "tail" => self.tail(&params, &report),
            "forward" => Some(forward(&params)),
            "http" => Some(http(&params, &report)),
            "syslog" => Some(syslog(&params, &report)),
            "tcp" | "udp" => Some(self.socket(&kind, &params, &report)),
            "systemd" => Some(systemd(&params, self.inputs.len())),
            "exec" => Some(self.exec(&params, &report)),
            "sample" | "dummy" => Some(sample(&params)),
            "monitor_agent" => {
                self.own_server(&params, 24220, "/api/v1/metrics, /api/v1/health and /api/v1/storage instead of /api/plugins.json");
                None
            }
            "prometheus" => {
                params.ignore(&["aggregated_metrics_path"]);
                params.ignore_elements(&["transport", "ssl"]);
                let path = params
                    .word("metrics_path")
                    .unwrap_or_else(|| "/metrics".to_owned());
                self.own_server(
                    &params,
                    24231,
                    &format!("/metrics instead of {path}, and the agent's own names of metrics"),
                );
                None
            }
            "prometheus_monitor" | "prometheus_output_monitor" | "prometheus_tail_monitor" => {
                params.ignore(&["interval"]);
                params.ignore_elements(&["labels"]);
                params.differs(format!("'{kind}': /metrics of the agent's HTTP server tells of inputs, outputs and files without it"));
                None
            }
            "gc_stat" | "object_space" | "debug_agent" => {
                params.differs(format!(
                    "'{kind}' looks into Ruby's process and has nothing to look at here"
                ));
                params.ignore(&[
                    "bind",
                    "port",
                    "unix_path",
                    "emit_interval",
                    "tag",
                    "object_path",
                    "top",
                ]);
                None
            }
            other => {
                report.lost(
                    &element.place,
                    format!("<source> of type {other}: {}", instead_of(other)),
                );
                return;
            }
        };
        params.finish();
        if let Some(given) = given {
            self.add_source(element, given);
        }
    }

    fn add_source(&mut self, element: &Element, given: Given) {
        for mut input in given.inputs {
            if let Some(alias) = plain(element, "@id") {
                input.set("Alias", &alias);
            }
            if let Some(level) = plain(element, "@log_level") {
                input.set("Log_Level", if level == "fatal" { "error" } else { &level });
            }
            self.inputs.push(input);
        }
        let physical = given.physical.unwrap_or_else(|| given.logical.clone());
        for mut filter in given.filters {
            match physical.as_slice() {
                [one] if tags::wildcard(one).is_some() => {
                    filter.set_second("Match", &tags::wildcard(one).unwrap_or_default());
                }
                globs => {
                    filter.set_second("Match_Regex", &tags::regex(&[(globs.to_vec(), Vec::new())]));
                }
            }
            self.filters.push(filter);
        }
        self.sources.push(Source {
            logical: given.logical,
            physical,
            label: plain(element, "@label").unwrap_or_default(),
            shown: format!("the source at {}", element.place),
            place: element.place.clone(),
            is_open: given.is_open,
        });
    }

    fn tail(&mut self, params: &Params<'_>, report: &Report) -> Option<Given> {
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
        if params.switch("emit_unmatched_lines") != Some(true) && !matches!(parse, Parse::Raw(_)) {
            params.differs("lines that the parser does not fit are kept in the field log, where Fluentd drops them with a warning");
        }
        let filters = parse_keys(&mut input, &parse);
        let mut given = Given::new(input, tail_tags(&tag, &paths.assumed));
        given.filters = filters;
        Some(given)
    }

    fn socket(&mut self, kind: &str, params: &Params<'_>, report: &Report) -> Given {
        let tag = params.word("tag").unwrap_or_default();
        let mut input = Section::plugin("INPUT", kind, &origin(params.element)).with("Tag", &tag);
        input.set(
            "Listen",
            &params
                .text("bind")
                .map_or("0.0.0.0".to_owned(), |t| t.written),
        );
        input.set(
            "Port",
            &params.text("port").map_or("5170".to_owned(), |t| t.written),
        );
        params.copy(
            &mut input,
            &[("source_address_key", "Source_Address_Key", As::Text)],
        );
        let separator = params.word("delimiter");
        params.ignore(&[
            "body_size_limit",
            "message_length_limit",
            "blocking_timeout",
            "send_keepalive_packet",
            "remove_newline",
        ]);
        transport(params, &mut input);
        input.set("Format", "none");
        if let Some(separator) = separator {
            input.set(
                "Separator",
                &separator.replace('\n', "\\n").replace('\r', "\\r"),
            );
        }
        let parse = self.parsers.of(params, report, "none");
        let mut given = Given::new(input, vec![tags::literal(&tag)]);
        match parse {
            Parse::By(name) => given.inputs[0].set("Parser", &name),
            Parse::Raw(key) if key == "log" => {}
            Parse::Raw(key) => given.filters.push(Section::plugin("FILTER", "modify", "").with("Rename", &format!("log {key}"))),
            _ => params.lost("this form of <parse> cannot be read from a socket; lines stay whole in the field log"),
        }
        given
    }

    fn exec(&mut self, params: &Params<'_>, report: &Report) -> Given {
        let tag = params.word("tag").unwrap_or_default();
        let mut input = Section::plugin("INPUT", "exec", &origin(params.element)).with("Tag", &tag);
        params.copy(&mut input, &[("command", "Command", As::Text)]);
        match params.word("run_interval") {
            Some(interval) => {
                let seconds = text::seconds(&interval).unwrap_or(60.0).max(1.0);
                input.set("Interval_Sec", &(seconds as u64).to_string());
            }
            None => {
                params.differs("'run_interval' is not set: Fluentd runs the command once and reads on; here it runs once, to its end");
                input.set("Oneshot", "on");
            }
        }
        params.ignore(&[
            "connect_mode",
            "read_block_size",
            "encoding",
            "command_timeout",
        ]);
        match self.parsers.of(params, report, "tsv") {
            Parse::By(name) => input.set("Parser", &name),
            Parse::Raw(_) => {}
            _ => params.lost("this form of <parse> cannot read what a command prints; lines stay whole in the field exec"),
        }
        Given::new(input, vec![tags::literal(&tag)])
    }

    /// The agent's own HTTP server, which stands for Fluentd's monitoring plugins.
    fn own_server(&mut self, params: &Params<'_>, port: u16, what: &str) {
        let port = params
            .text("port")
            .map_or_else(|| port.to_string(), |t| t.written);
        let listen = params
            .text("bind")
            .map_or_else(|| "0.0.0.0".to_owned(), |t| t.written);
        params.ignore(&["include_config", "include_retry", "tag", "emit_interval"]);
        let has_one = self.service.iter().any(|(key, _)| key == "HTTP_Port");
        if has_one {
            params.differs("the agent has one HTTP server, which is set already");
            return;
        }
        params.differs(format!("the agent's own HTTP server stands for it: {what}"));
        for (key, value) in [
            ("HTTP_Server", "on"),
            ("HTTP_Listen", &listen),
            ("HTTP_Port", &port),
        ] {
            self.service.push((key.to_owned(), value.to_owned()));
        }
    }

    /// Sources that `rewrite_tag_filter` makes: its records go through the label again.
    pub(super) fn rewritten(&mut self, labels: &super::Labels<'_>) {
        let mut names: Vec<&String> = labels.keys().collect();
        names.sort();
        for name in names {
            for (element, _) in &labels[name] {
                if routing::kind(element) != "rewrite_tag_filter" {
                    continue;
                }
                for rule in element.all("rule") {
                    let Some(tag) = plain(rule, "tag") else {
                        continue;
                    };
                    let glob = super::filters::template_glob(&tag);
                    let is_open = glob.contains(&Piece::Any);
                    let label = plain(rule, "label").or_else(|| plain(element, "@label"));
                    self.sources.push(Source {
                        logical: vec![glob.clone()],
                        physical: vec![glob],
                        label: label.unwrap_or_default(),
                        shown: format!("the rule at {}", rule.place),
                        place: rule.place.clone(),
                        is_open,
                    });
                }
            }
        }
    }

    /// `detect_exceptions` strips a prefix off the tags; here the source never gives it.
    pub(super) fn strip_prefixes(&mut self, labels: &mut super::Labels<'_>) {
        let of = |element: &Element| {
            let is_one = routing::kind(element) == "detect_exceptions";
            plain(element, "remove_tag_prefix").filter(|_| is_one)
        };
        let prefixes: Vec<String> = labels
            .values()
            .flatten()
            .filter_map(|(e, _)| of(e))
            .collect();
        for prefix in prefixes {
            let head = tags::literal(&format!("{prefix}."));
            let strip = |glob: &mut Glob| {
                if glob.starts_with(&head) {
                    glob.drain(..head.len());
                }
            };
            for source in &mut self.sources {
                source.logical.iter_mut().for_each(strip);
                source.physical.iter_mut().for_each(strip);
            }
            for section in self.inputs.iter_mut().chain(&mut self.filters) {
                section.strip_tag(&format!("{prefix}."));
            }
            for (_, patterns) in labels.values_mut().flatten() {
                for pattern in patterns {
                    if let tags::Pattern::Globs(globs) = pattern {
                        globs.iter_mut().for_each(strip);
                    }
                }
            }
        }
    }
}

fn plain(element: &Element, key: &str) -> Option<String> {
    let text = text::text(&element.get(key)?.value).ok()?;
    Some(text.assumed).filter(|t| !t.is_empty())
}

/// The keys of `tail` for a way of reading lines, and the filters that do the rest.
fn parse_keys(input: &mut Section, parse: &Parse) -> Vec<Section> {
    let mut filters = Vec::new();
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
            input.set("Key", key);
            filters.extend(parser_filter(key, names));
        }
        Parse::Nested(outer, key, inner) => {
            input.set("Parser", outer);
            match &**inner {
                Parse::By(name) => filters.extend(parser_filter(key, std::slice::from_ref(name))),
                Parse::FirstOf(names, _) => filters.extend(parser_filter(key, names)),
                _ => {}
            }
        }
    }
    filters
}

fn parser_filter(key: &str, names: &[String]) -> Option<Section> {
    let mut filter = Section::plugin("FILTER", "parser", "").with("Key_Name", key);
    for name in names {
        filter.set("Parser", name);
    }
    (!names.is_empty()).then(|| filter.with("Reserve_Data", "on"))
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

fn forward(params: &Params<'_>) -> Given {
    let mut input = Section::plugin("INPUT", "forward", &origin(params.element));
    let tag = params.word("tag");
    let prefix = params.word("add_tag_prefix").map(|p| format!("{p}."));
    if let Some(tag) = &tag {
        input.set("Tag", tag);
    }
    if let Some(prefix) = &prefix {
        input.set("Tag_Prefix", prefix);
    }
    input.set(
        "Listen",
        &params
            .text("bind")
            .map_or("0.0.0.0".to_owned(), |t| t.written),
    );
    input.set(
        "Port",
        &params
            .text("port")
            .map_or("24224".to_owned(), |t| t.written),
    );
    params.copy(
        &mut input,
        &[("chunk_size_limit", "Buffer_Max_Size", As::Size)],
    );
    params.ignore(&[
        "backlog",
        "linger_timeout",
        "blocking_timeout",
        "resolve_hostname",
        "deny_keepalive",
        "send_keepalive_packet",
        "chunk_size_warn_limit",
        "skip_invalid_event",
        "decompression_size_limit",
    ]);
    transport(params, &mut input);
    if let Some(security) = params.nested("security") {
        security.copy(
            &mut input,
            &[
                ("self_hostname", "Self_Hostname", As::Text),
                ("shared_key", "Shared_Key", As::Text),
            ],
        );
        security.ignore(&["user_auth", "allow_anonymous_source"]);
        for user in security.elements("user") {
            let written = |key| Some(text::text(&user.get(key)?.value).ok()?.written);
            if let (Some(name), Some(password)) = (written("username"), written("password")) {
                input.set("Security.Users", &format!("{name} {password}"));
            }
        }
        security.finish();
    }
    let any = prefix.map_or_else(|| tags::starred("*"), |p| tags::starred(&format!("{p}*")));
    let logical = tag.as_ref().map_or(any, |t| tags::literal(t));
    let mut given = Given::new(input, vec![logical]);
    given.is_open = tag.is_none();
    given
}

/// `<transport tls>` of an input that listens.
fn transport(params: &Params<'_>, input: &mut Section) {
    let Some(transport) = params.nested("transport") else {
        return;
    };
    if transport.element.argument.to_string() == "tls" {
        input.set("tls", "on");
        transport.copy(
            input,
            &[
                ("cert_path", "tls.crt_file", As::Text),
                ("private_key_path", "tls.key_file", As::Text),
                ("ca_path", "tls.ca_file", As::Text),
                ("client_cert_auth", "tls.verify_client_cert", As::Switch),
            ],
        );
        transport.ignore(&[
            "version",
            "min_version",
            "max_version",
            "ciphers",
            "insecure",
        ]);
    }
    transport.ignore(&["linger_timeout"]);
    transport.finish();
}

fn http(params: &Params<'_>, report: &Report) -> Given {
    let mut input = Section::plugin("INPUT", "http", &origin(params.element));
    input.set(
        "Listen",
        &params
            .text("bind")
            .map_or("0.0.0.0".to_owned(), |t| t.written),
    );
    input.set(
        "Port",
        &params.text("port").map_or("9880".to_owned(), |t| t.written),
    );
    let code = if params.switch("use_204_response") == Some(true) {
        "204"
    } else {
        "200"
    };
    input.set("Successful_Response_Code", code);
    params.copy(
        &mut input,
        &[
            ("body_size_limit", "Buffer_Max_Size", As::Size),
            ("add_remote_addr", "Add_Remote_Addr", As::Switch),
        ],
    );
    params.ignore(&[
        "keepalive_timeout",
        "backlog",
        "blocking_timeout",
        "dump_error_log",
        "decompression_size_limit",
        "respond_with_empty_img",
        "cors_allow_credentials",
    ]);
    transport(params, &mut input);
    if let Some(parse) = params.elements("parse").next() {
        let parse = Params::new(parse, report);
        if !matches!(parse.kind().as_str(), "" | "json" | "in_http") {
            parse.lost(
                "the http input takes JSON and forms; lines in other formats come in over tcp",
            );
        }
        parse.ignore(&[
            "time_key",
            "time_format",
            "keep_time_key",
            "expression",
            "time_type",
        ]);
        parse.finish();
    }
    let mut given = Given::new(input, vec![tags::starred("*")]);
    given.is_open = true;
    given
}

fn syslog(params: &Params<'_>, report: &Report) -> Given {
    let mut input = Section::plugin("INPUT", "syslog", &origin(params.element));
    let tag = params.word("tag").unwrap_or_default();
    input.set("Tag", &tag);
    let protocol = params.word("protocol_type");
    let transport_of = params
        .elements("transport")
        .next()
        .map(|t| t.argument.to_string());
    let mode = match transport_of.or(protocol).as_deref() {
        Some("tcp" | "tls") => "tcp",
        _ => "udp",
    };
    input.set("Mode", mode);
    input.set(
        "Listen",
        &params
            .text("bind")
            .map_or("0.0.0.0".to_owned(), |t| t.written),
    );
    input.set(
        "Port",
        &params.text("port").map_or("5140".to_owned(), |t| t.written),
    );
    transport(params, &mut input);
    let parser = match params.elements("parse").next() {
        Some(parse) => {
            let parse = Params::new(parse, report);
            let kind = parse.kind();
            if !matches!(kind.as_str(), "" | "syslog") {
                parse.lost(format!("<parse> of type {kind}: messages are read as syslog; name a parser of yours in Parser"));
            }
            let name = parse::syslog_parser(&parse, true);
            parse.finish();
            name
        }
        None => parse::syslog_parser(params, true),
    };
    input.set("Parser", &parser);
    if params.word("frame_type").as_deref() == Some("octet_count") {
        input.set("Format", "octet_counting");
    }
    params.copy(
        &mut input,
        &[
            ("source_address_key", "Source_Address_Key", As::Text),
            ("message_length_limit", "Buffer_Max_Size", As::Size),
        ],
    );
    params.ignore(&[
        "blocking_timeout",
        "send_keepalive_packet",
        "resolve_hostname",
        "delimiter",
        "emit_unmatched_lines",
        "format",
    ]);
    for key in ["severity_key", "priority_key", "facility_key"] {
        if params.word(key).is_some() {
            params.differs(format!(
                "'{key}': the field pri holds facility * 8 + severity as a number"
            ));
        }
    }
    let mut logical = tags::starred(&format!("{tag}."));
    logical.extend([Piece::Part, Piece::Char('.'), Piece::Part]);
    let mut given = Given::new(input, vec![logical]);
    given.physical = Some(vec![tags::literal(&tag)]);
    given
}

fn systemd(params: &Params<'_>, n: usize) -> Given {
    let mut input = Section::plugin("INPUT", "systemd", &origin(params.element));
    let tag = params.word("tag").unwrap_or_default();
    input.set("Tag", &tag);
    params.copy(&mut input, &[("path", "Path", As::Text)]);
    let key = if params.element.get("matches").is_some() {
        "matches"
    } else {
        "filters"
    };
    let matches = params.word(key).unwrap_or_else(|| "[]".to_owned());
    let matches: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&matches)
        .unwrap_or_else(|_| {
            params.lost(format!(
                "'{key}' is no list of objects; all entries are taken"
            ));
            Vec::new()
        });
    let mut fields = 0;
    for wanted in &matches {
        for (name, value) in wanted {
            fields += 1;
            match value.as_str() {
                Some(value) => input.set("Systemd_Filter", &format!("{name}={value}")),
                None => params.lost(format!("'{key}': several values of {name} are not understood; write a Systemd_Filter for each")),
            }
        }
    }
    if matches.len() == 1 && fields > 1 {
        input.set("Systemd_Filter_Type", "and");
    } else if fields > matches.len() {
        params.lost(format!(
            "'{key}' mixes 'and' and 'or'; an entry is taken when one of the fields fits"
        ));
    }
    let head = params.switch("read_from_head") == Some(true);
    input.set("Read_From_Tail", if head { "off" } else { "on" });
    input.set("DB", &format!("{STATE_FOLDER}/systemd-{n}.db"));
    params.ignore_elements(&["storage"]);
    params.ignore(&["pos_file"]);
    let mut filters = Vec::new();
    if let Some(entry) = params.nested("entry") {
        entry.copy(
            &mut input,
            &[
                ("fields_strip_underscores", "Strip_Underscores", As::Switch),
                ("fields_lowercase", "Lowercase", As::Switch),
            ],
        );
        let map = entry.word("field_map").unwrap_or_default();
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&map).unwrap_or_default();
        let mut rename = Section::plugin("FILTER", "modify", "");
        let strict = entry.switch("field_map_strict") == Some(true);
        let mut kept = Section::plugin("FILTER", "record_modifier", "");
        for (from, to) in &map {
            match to.as_str() {
                Some(to) if !to.is_empty() && !to.contains(' ') => {
                    rename.set("Hard_rename", &format!("{from} {to}"));
                    kept.set("Allowlist_key", to);
                }
                _ => entry.lost(format!(
                    "'field_map': {from} becomes several fields; copy it with a filter modify"
                )),
            }
        }
        if !map.is_empty() {
            filters.push(rename);
            if strict {
                filters.push(kept);
            }
        }
        entry.finish();
    }
    let mut given = Given::new(input, vec![tags::literal(&tag)]);
    given.filters = filters;
    given
}

fn sample(params: &Params<'_>) -> Given {
    let tag = params.word("tag").unwrap_or_default();
    let mut input = Section::plugin("INPUT", "dummy", &origin(params.element)).with("Tag", &tag);
    let key = if params.element.get("sample").is_some() {
        "sample"
    } else {
        "dummy"
    };
    let records = params
        .word(key)
        .unwrap_or_else(|| r#"{"message":"sample"}"#.to_owned());
    let one = match serde_json::from_str::<serde_json::Value>(&records) {
        Ok(serde_json::Value::Array(all)) => {
            if all.len() > 1 {
                params.lost(format!(
                    "'{key}' has several records; the first is made again and again"
                ));
            }
            all.into_iter().next().unwrap_or_default().to_string()
        }
        Ok(one) => one.to_string(),
        Err(_) => records,
    };
    input.set("Dummy", &one);
    params.copy(
        &mut input,
        &[("rate", "Rate", As::Text), ("size", "Copies", As::Text)],
    );
    params.ignore(&["suspend", "reuse_record"]);
    Given::new(input, vec![tags::literal(&tag)])
}

/// What to do about an input that has no counterpart.
fn instead_of(kind: &str) -> &'static str {
    match kind {
        "unix" => "use forward with Unix_Path",
        "kubernetes_objects" | "kubernetes_events" => "use the input kubernetes_events",
        "docker_metrics" | "docker" => "use the input container_metrics",
        "windows_eventlog" | "windows_eventlog2" => {
            "the agent runs on Linux; keep Fluentd on Windows and send to a forward input"
        }
        "elasticsearch" | "sql" | "mysql_replicator" | "s3" | "sqs" | "kafka" | "kafka_group"
        | "rabbitmq" | "mqtt" | "gelf" => {
            "there is no such input; keep a Fluentd for it that sends to a forward input of the agent"
        }
        "statsd" => "use the input statsd",
        "http_pull" | "http_poll" => "use the input exec with curl",
        _ => {
            "there is no such input; keep Fluentd for it and let it send to a forward input of the agent"
        }
    }
}
