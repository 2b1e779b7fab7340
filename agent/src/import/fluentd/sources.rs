//! `<source>`: Fluentd's inputs.

mod listeners;
mod tail;

use std::rc::Rc;

use kansoku_parsers::config::fluentd::Element;

use super::params::{As, Params};
use super::parse::Parse;
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
/// Types whose records have the tag of their section.
const TAGGED: &[&str] = &[
    "tail", "syslog", "tcp", "udp", "systemd", "exec", "sample", "dummy",
];

impl Converter {
    pub(super) fn source(&mut self, element: &Element) {
        let report = Rc::clone(&self.report);
        let params = Params::new(element, &report);
        let kind = params.kind();
        if TAGGED.contains(&kind.as_str())
            && let Err(why) = check_tag(&params, &kind)
        {
            params.lost(format!("{why}; the source is left out"));
            return;
        }
        let given = match kind.as_str() {
            "tail" => self.tail(&params, &report),
            "forward" => Some(listeners::forward(&params)),
            "http" => Some(listeners::http(&params, &report)),
            "syslog" => Some(self.syslog(&params, &report)),
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
        if given.logical.is_empty() || given.logical.contains(&Glob::new()) {
            self.report.lost(
                &element.place,
                "<source>: its files give no tag, or an empty one, and records are told apart by their tags here; write the tag without a star; the source is left out",
            );
            return;
        }
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
        let at = self.sources.len();
        self.own_filters
            .extend(given.filters.into_iter().map(|filter| (at, filter)));
        self.sources.push(Source {
            logical: given.logical,
            physical,
            label: plain(element, "@label").unwrap_or_default(),
            shown: format!("the source at {}", element.place),
            place: element.place.clone(),
            is_open: given.is_open,
        });
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

    /// Gives the filters of single sources the tags of those.
    pub(super) fn match_own_filters(&mut self) {
        for (at, mut filter) in std::mem::take(&mut self.own_filters) {
            let physical = &self.sources[at].physical;
            match physical.as_slice() {
                [one] if let Some(wildcard) = tags::wildcard(one) => {
                    filter.set_second("Match", &wildcard);
                }
                globs => {
                    filter.set_second("Match_Regex", &tags::regex(&[(globs.to_vec(), Vec::new())]));
                }
            }
            self.filters.push(filter);
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
                // A tag that is nothing but the prefix stays: records have to have one.
                if glob.starts_with(&head) && glob.len() > head.len() {
                    glob.drain(..head.len());
                }
            };
            for source in &mut self.sources {
                source.logical.iter_mut().for_each(strip);
                source.physical.iter_mut().for_each(strip);
            }
            for section in &mut self.inputs {
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

/// Whether a source has a tag that can be written.
fn check_tag(params: &Params<'_>, kind: &str) -> Result<(), String> {
    let is_written = params.element.get("tag").is_some();
    match params.word("tag").filter(|tag| !tag.is_empty()) {
        None if is_written => Err(format!(
            "<source> of type {kind} has an empty 'tag', or one that only a variable gives, and records are told apart by their tags here; name one"
        )),
        None if params.element.all("extract").next().is_some() => Err(format!(
            "<source> of type {kind} takes its tag from a field by <extract>, and here it is the input's own; name one in 'tag' and change it with a filter rewrite_tag"
        )),
        None => Err(format!(
            "<source> of type {kind} has no 'tag', without which Fluentd does not start; name one"
        )),
        Some(tag) if tag.trim() != tag || tag.contains(['\n', '\r']) => Err(format!(
            "<source> of type {kind} has line ends, or blanks at the ends, in its 'tag' {tag:?}, which the format cannot hold; name another"
        )),
        Some(_) => Ok(()),
    }
}

fn plain(element: &Element, key: &str) -> Option<String> {
    let text = text::text(&element.get(key)?.value).ok()?;
    Some(text.assumed).filter(|t| !t.is_empty())
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
