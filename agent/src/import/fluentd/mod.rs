//! A Fluentd configuration as one of ours.
//!
//! Nothing is lost silently: every attribute and section that has no counterpart is in the report, with
//! its place and what to do. The result is Fluent Bit's classic format, which the agent reads.

mod buffer;
mod filters;
mod lua;
mod outputs;
mod params;
mod parse;
mod report;
mod routing;
mod sources;
mod stores;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod transform;
mod written;

use std::collections::HashMap;
use std::rc::Rc;

use kansoku_model::Place;
use kansoku_parsers::config::fluentd::{Configuration, Element, Value};

use params::Params;
use parse::Parsers;
use report::Report;
pub use report::{Finding, Grade};
use routing::{Arrival, Routes, Source};
use tags::Pattern;
use written::Section;

/// The name of the file with parsers.
pub const PARSERS_FILE: &str = "parsers.conf";
/// The name of the main file.
pub const MAIN_FILE: &str = "kansoku.conf";

/// What came of it.
#[derive(Debug)]
pub struct Conversion {
    /// Names and texts: the main file first, then those that it names.
    pub files: Vec<(String, String)>,
    pub findings: Vec<Finding>,
    /// Inputs, filters and outputs of the result.
    pub n_sections: usize,
}

/// A value with its variables at their defaults; `lookup` is asked for those that are set.
pub fn evaluate(value: &Value, lookup: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let written = text::text(value).ok()?.written;
    let (text, _) = kansoku_parsers::config::expand(&written, &|name| match name {
        "DOLLAR" => Some("$".to_owned()),
        name => lookup(name).filter(|v| !v.is_empty()),
    });
    Some(text)
}

/// Converts a configuration.
#[must_use]
pub fn convert(configuration: &Configuration) -> Conversion {
    let converter = Converter::default();
    for warning in &configuration.warnings {
        converter
            .report
            .differs(&warning.place, warning.message.clone());
    }
    converter.convert(&configuration.elements)
}

/// What the conversion has so far.
#[derive(Default)]
struct Converter {
    report: Rc<Report>,
    parsers: Parsers,
    service: Vec<(String, String)>,
    inputs: Vec<Section>,
    filters: Vec<Section>,
    outputs: Vec<Section>,
    upstreams: Vec<Section>,
    sources: Vec<Source>,
    /// Filters for the records of one source alone, by its place among the sources.
    own_filters: Vec<(usize, Section)>,
    /// Whether something buffers on disk, so that inputs that cannot read again have to, too.
    has_file_buffer: bool,
    n_lua: usize,
}

/// All there is of one label (or of the root), in order.
type Labels<'a> = HashMap<String, Vec<(&'a Element, Vec<Pattern>)>>;

impl Converter {
    fn convert(mut self, elements: &[Element]) -> Conversion {
        let mut labels: Labels<'_> = HashMap::from([(String::new(), Vec::new())]);
        let mut written = vec![String::new()];
        let mut sources = Vec::new();
        self.sort(elements, "", &mut labels, &mut written, &mut sources, 0);
        for source in sources {
            self.source(source);
        }
        self.rewritten(&labels);
        self.strip_prefixes(&mut labels);
        self.match_own_filters();
        let mut routes = Routes {
            labels,
            sources: std::mem::take(&mut self.sources),
            arrivals: HashMap::new(),
            edges: Vec::new(),
            entangled: Vec::new(),
            missing: Vec::new(),
            circles: Vec::new(),
        };
        routes.follow();
        self.tell_of(&routes);
        for label in routes.order(&written) {
            self.label(&label, &routes);
        }
        self.finish()
    }

    /// Puts sections to their labels.
    fn sort<'a>(
        &mut self,
        elements: &'a [Element],
        label: &str,
        labels: &mut Labels<'a>,
        written: &mut Vec<String>,
        sources: &mut Vec<&'a Element>,
        depth: usize,
    ) {
        for element in elements {
            match element.name.as_str() {
                "source" if label.is_empty() => sources.push(element),
                "match" | "filter" => {
                    let argument = text::text(&element.argument).map(|t| t.assumed);
                    let argument = argument.unwrap_or_default();
                    let argument = if argument.is_empty() {
                        "**".to_owned()
                    } else {
                        argument
                    };
                    match tags::patterns(&argument) {
                        Ok(patterns) => {
                            labels
                                .entry(label.to_owned())
                                .or_default()
                                .push((element, patterns));
                        }
                        Err(why) => self.report.lost(
                            &element.place,
                            format!("<{} {argument}>: {why}", element.name),
                        ),
                    }
                }
                "label" if label.is_empty() => {
                    let name = element.argument.to_string();
                    if !written.contains(&name) {
                        written.push(name.clone());
                    }
                    labels.entry(name.clone()).or_default();
                    self.sort(&element.elements, &name, labels, written, sources, depth);
                }
                "worker" if depth == 0 => {
                    self.report.differs(
                        &element.place,
                        "<worker>: there is one process, whose inputs have threads of their own; what it holds is taken once",
                    );
                    self.sort(
                        &element.elements,
                        label,
                        labels,
                        written,
                        sources,
                        depth + 1,
                    );
                }
                "system" => self.system(element),
                name => self.report.lost(
                    &element.place,
                    format!("<{name}> is no section that stands here"),
                ),
            }
        }
    }

    fn system(&mut self, element: &Element) {
        let report = Rc::clone(&self.report);
        let params = Params::new(element, &report);
        if let Some(level) = params.element.get("log_level").map(|a| a.value.to_string()) {
            let level = match level.as_str() {
                "fatal" => "error",
                known @ ("trace" | "debug" | "info" | "warn" | "error") => known,
                _ => "info",
            };
            self.service
                .push(("Log_Level".to_owned(), level.to_owned()));
        }
        // How a Ruby process runs and what it prints of itself.
        params.ignore(&[
            "workers",
            "root_dir",
            "process_name",
            "suppress_repeated_stacktrace",
            "ignore_repeated_log_interval",
            "ignore_same_log_interval",
            "emit_error_log_interval",
            "suppress_config_dump",
            "log_event_verbose",
            "without_source",
            "strict_config_value",
            "enable_msgpack_time_support",
            "disable_shared_socket",
            "enable_input_metrics",
            "enable_size_metrics",
            "enable_jit",
            "file_permission",
            "dir_permission",
            "umask",
            "restart_worker_interval",
            "with_source_only",
            "enable_get_dump",
            "config_include_dir",
        ]);
        if params.word("rpc_endpoint").is_some() {
            params.differs("'rpc_endpoint': the agent is told by SIGHUP, or by POST /api/v2/reload with Hot_Reload on");
        }
        params.ignore_elements(&["log", "source_only_buffer"]);
        params.finish();
    }

    /// Tells of what routing cannot say.
    fn tell_of(&self, routes: &Routes<'_>) {
        for (a, b) in routes.clashes() {
            let (first, second) = (&routes.sources[a], &routes.sources[b]);
            let message = format!(
                "{} and {} may give the same tags to different labels, and records are told apart by their tags here; give one of them another tag",
                first.shown, second.shown
            );
            self.report.lost(&second.place, message);
        }
        for element in &routes.entangled {
            self.report.lost(
                &element.place,
                "this copy goes through filters, which the other copies' records would pass, too: a record exists once per tag here; send the copy on under a tag of its own with a filter rewrite_tag (KEEP true)",
            );
        }
        for (element, label) in &routes.missing {
            self.report.lost(
                &element.place,
                format!("the label {label} does not exist; its records go nowhere"),
            );
        }
        for element in &routes.circles {
            self.report
                .lost(&element.place, "labels send to each other in a circle");
        }
        for (label, sections) in &routes.labels {
            if matches!(label.as_str(), "@ERROR" | "@FLUENT_LOG") {
                for (element, _) in sections {
                    let what = if label == "@ERROR" {
                        "<label @ERROR>: records that a destination refuses for good go to the dead letters below storage.path; there is no label for them"
                    } else {
                        "<label @FLUENT_LOG>: the agent's own log is no stream of records; read it with Log_File and tail, or from its container"
                    };
                    if routing::kind(element) != "null" {
                        self.report.lost(&element.place, what);
                    }
                }
            }
        }
    }

    /// Converts the sections of a label, filters and outputs in their order.
    fn label(&mut self, label: &str, routes: &Routes<'_>) {
        let Some(sections) = routes.labels.get(label) else {
            return;
        };
        for (at, (element, _)) in sections.iter().enumerate() {
            let arrivals = routes.arrivals.get(&(label.to_owned(), at));
            let Some(arrivals) = arrivals else {
                if !matches!(label, "@ERROR" | "@FLUENT_LOG") {
                    self.unreached(element, label, routes);
                }
                continue;
            };
            let is_match = element.name == "match";
            if is_match && !filters::is_filter(&routing::kind(element)) {
                self.output(element, arrivals, routes);
            } else {
                self.filter(element, arrivals, routes);
            }
        }
    }

    fn unreached(&self, element: &Element, label: &str, routes: &Routes<'_>) {
        // Fluentd's own log, which no source of the configuration gives.
        let is_own_log = element
            .argument
            .to_string()
            .split_whitespace()
            .all(|p| p.starts_with("fluent."));
        let is_null = routing::kind(element) == "null";
        if is_own_log && is_null {
            return;
        }
        let entered = label.is_empty()
            || routes.sources.iter().any(|s| s.label == label)
            || routes.edges.iter().any(|(_, to)| to == label);
        let why = match (is_own_log, entered) {
            (true, _) => "the agent's own log is no stream of records",
            (_, true) => {
                "no record comes here: no source gives such tags, or an earlier <match> takes them all"
            }
            (_, false) => "no source and no relabel sends to its label",
        };
        let name = &element.name;
        self.report.lost(
            &element.place,
            format!(
                "<{name} {}>{}: {why}",
                element.argument,
                shown_kind(element)
            ),
        );
    }

    /// Gives a section the tags of the records that come to it.
    fn set_match(
        &self,
        section: &mut Section,
        arrivals: &[Arrival],
        routes: &Routes<'_>,
        place: &Place,
    ) {
        let sources = &routes.sources;
        let is_whole = |arrival: &&Arrival| arrival.condition.is_empty();
        let whole: Vec<usize> = arrivals.iter().filter(is_whole).map(|a| a.source).collect();
        if (0..sources.len()).all(|s| whole.contains(&s)) {
            section.set_second("Match", "*");
            return;
        }
        if whole.len() == arrivals.len()
            && let Some(wildcard) = wildcard(&whole, sources)
        {
            section.set_second("Match", &wildcard);
            return;
        }
        let mut expressions: Vec<(Vec<tags::Glob>, tags::Condition)> = Vec::new();
        for arrival in arrivals {
            let source = &sources[arrival.source];
            if !arrival.condition.is_empty() && source.logical != source.physical {
                let message = format!(
                    "{} gives all its records one tag here, where Fluentd adds facility and severity; <{}> takes all of them or none",
                    source.shown,
                    section.get("name").unwrap_or_default()
                );
                self.report.lost(place, message);
                expressions.push((source.physical.clone(), Vec::new()));
            } else {
                expressions.push((source.physical.clone(), arrival.condition.clone()));
            }
        }
        let all: Vec<tags::Glob> = sources.iter().flat_map(|s| s.physical.clone()).collect();
        let expression = match tags::alone(&all, &expressions) {
            Some(globs) => tags::regex(&[(globs, Vec::new())]),
            None => {
                let mut once = Vec::new();
                for expression in expressions {
                    if !once.contains(&expression) {
                        once.push(expression);
                    }
                }
                tags::regex(&once)
            }
        };
        section.set_second("Match_Regex", &expression);
    }

    fn finish(mut self) -> Conversion {
        let report = Rc::clone(&self.report);
        let mut service = Section::new("SERVICE", "");
        self.service.dedup();
        for (key, value) in &self.service {
            if service.get(key).is_none() {
                service.set(key, value);
            }
        }
        if self.has_file_buffer {
            service.set("storage.path", "/var/lib/kansoku/storage");
        }
        if !self.parsers.sections.is_empty() {
            service.set("Parsers_File", PARSERS_FILE);
        }
        let n_sections = self.inputs.len() + self.filters.len() + self.outputs.len();
        let mut main = vec![service];
        main.append(&mut self.inputs);
        main.append(&mut self.filters);
        main.append(&mut self.outputs);
        // Without its tags a section would take other records, or none.
        main.retain(|section| {
            let mut misfits = section.misfits();
            let Some(key) = misfits.find(|k| matches!(*k, "Tag" | "Match" | "Match_Regex")) else {
                return true;
            };
            let message = format!(
                "the value of '{key}' in [{}] has line ends or blanks at its ends, which the format cannot hold; the section is left out",
                section.get("name").unwrap_or_default()
            );
            report.lost(&Place::new(MAIN_FILE, 0), message);
            false
        });
        for section in &mut main {
            let keys: Vec<String> = section.misfits().map(ToOwned::to_owned).collect();
            for key in keys {
                let message = format!(
                    "the value of '{key}' in [{}] has line ends or blanks at its ends, which the format cannot hold; it is left out",
                    section.get("name").unwrap_or("SERVICE")
                );
                report.lost(&Place::new(MAIN_FILE, 0), message);
            }
            section.drop_misfits();
        }
        let head = "Made from a Fluentd configuration by kansoku-agent import.";
        let mut files = vec![(MAIN_FILE.to_owned(), written::file(head, &main))];
        if !self.parsers.sections.is_empty() {
            files.push((
                PARSERS_FILE.to_owned(),
                written::file(head, &self.parsers.sections),
            ));
        }
        files.extend(self.upstream_files());
        Conversion {
            files,
            findings: report.findings(),
            n_sections,
        }
    }

    fn upstream_files(&self) -> Vec<(String, String)> {
        let one = |section: &Section| {
            let name = section.get("file").unwrap_or_default().to_owned();
            (name, section.upstream_text())
        };
        self.upstreams.iter().map(one).collect()
    }
}

/// One wildcard for these sources, if no other source's tags fit it.
fn wildcard(whole: &[usize], sources: &[Source]) -> Option<String> {
    let others = |open| -> Vec<tags::Glob> {
        let all = sources.iter().enumerate();
        let other = all.filter(|(at, s)| !whole.contains(at) && (open || !s.is_open));
        other.flat_map(|(_, s)| s.physical.clone()).collect()
    };
    let own: Vec<&tags::Glob> = whole.iter().flat_map(|s| &sources[*s].physical).collect();
    let is_free = |glob: &tags::Glob| {
        // Sources with tags from outside are taken to give none of these.
        let others = others(!own.contains(&glob));
        others.is_empty() || !tags::meet(std::slice::from_ref(glob), &others)
    };
    // The shortest beginning that says it, up to a point; then the whole.
    let first = own.first()?;
    let mut candidates = Vec::new();
    for (at, piece) in first.iter().enumerate() {
        if *piece == tags::Piece::Char('.') {
            let mut glob = first[..=at].to_vec();
            glob.push(tags::Piece::Any);
            candidates.push(glob);
        }
        if *piece == tags::Piece::Any {
            break;
        }
    }
    if own.len() == 1 {
        candidates.push((*first).clone());
    }
    let covers = |glob: &tags::Glob| {
        let pattern = vec![(Pattern::Globs(vec![glob.clone()]), true)];
        own.iter()
            .all(|o| tags::share(std::slice::from_ref(*o), &pattern) == tags::Share::All)
    };
    let found = candidates
        .iter()
        .find(|glob| covers(glob) && is_free(glob))?;
    tags::wildcard(found)
}

fn shown_kind(element: &Element) -> String {
    let kind = routing::kind(element);
    if kind.is_empty() {
        kind
    } else {
        format!(" of type {kind}")
    }
}

/// The head of a section, for the comment above what it became.
fn origin(element: &Element) -> String {
    let argument = element.argument.to_string();
    let argument = if argument.is_empty() {
        argument
    } else {
        format!(" {argument}")
    };
    format!(
        "{}: <{}{argument}>{}",
        element.place,
        element.name,
        shown_kind(element)
    )
}
