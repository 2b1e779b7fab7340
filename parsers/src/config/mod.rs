//! Fluent Bit's configuration formats as sections, keys and places; in `fluentd` those of Fluentd.
//!
//! What a plugin or key means is the agent's business; here are only the shapes that both formats
//! share, and `${VARIABLE}` in values.

pub mod classic;
pub mod condition;
pub mod fluentd;
pub mod routes;
pub mod yaml;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Place};

/// The most files of one configuration; more is an include that feeds itself.
const MAX_FILES: usize = 1000;

/// Keys of inputs that hold maps as Prometheus' configuration has them. Each map is one setting, written as YAML on one
/// line (in the classic format by hand, from a YAML list as JSON). A `${1}` in it is a group of its pattern
/// and no variable.
pub(crate) const MAP_LISTS: &[&str] = &[
    "relabel_configs",
    "metric_relabel_configs",
    "static_configs",
];

/// The text of one file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// How messages name the file.
    pub name: String,
    /// Equal for two paths that lead to the same file (device and inode).
    pub identity: String,
    pub bytes: Vec<u8>,
}

/// Turns a path or an include pattern, and the name of the file that includes it (empty for the first
/// one), into files. A pattern that matches nothing is an error.
pub type Read<'a> = &'a mut dyn FnMut(&str, &str) -> Result<Vec<Loaded>, String>;

/// Reads a configuration in the format that its name stands for: `.yaml` and `.yml` are YAML, all
/// else is classic.
///
/// # Errors
/// The first line that breaks the format.
pub fn parse(path: &str, read: Read<'_>) -> Result<Document, ConfigError> {
    if is_yaml(path) {
        yaml::parse(path, read)
    } else {
        classic::parse(path, read)
    }
}

/// Whether a file of that name is YAML.
#[must_use]
pub fn is_yaml(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    lower.ends_with(".yaml") || lower.ends_with(".yml")
}

/// A configuration as it was written, includes resolved.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub sections: Vec<Section>,
    /// `@SET`, last value each.
    pub variables: Vec<(String, String)>,
    /// What has no effect and surely was not meant so.
    pub warnings: Vec<ConfigError>,
}

/// One section with its keys in order.
#[derive(Debug, Clone)]
pub struct Section {
    pub kind: SectionKind,
    pub place: Place,
    pub settings: Vec<Setting>,
    /// Named groups of keys inside: an indented `[name]`, or a map in YAML.
    pub groups: Vec<Group>,
    /// YAML only: what an input or output does to its own records.
    pub processors: Vec<Processor>,
    /// YAML only: which records a filter sees.
    pub condition: Option<condition::Condition>,
    /// YAML only: which outputs get the records of an input, whatever their `match`.
    pub routes: Vec<routes::Route>,
}

impl Section {
    /// A section without keys.
    #[must_use]
    pub fn new(kind: SectionKind, place: Place) -> Self {
        Self {
            kind,
            place,
            settings: Vec::new(),
            groups: Vec::new(),
            processors: Vec::new(),
            condition: None,
            routes: Vec::new(),
        }
    }
}

/// Keys under a name inside a section.
#[derive(Debug, Clone)]
pub struct Group {
    /// Lower case.
    pub name: String,
    pub place: Place,
    pub settings: Vec<Setting>,
}

/// A filter or processor that belongs to one input or output.
#[derive(Debug, Clone)]
pub struct Processor {
    pub signal: Signal,
    pub place: Place,
    /// Its name and options; a map or a list of maps is JSON text.
    pub settings: Vec<Setting>,
    pub condition: Option<condition::Condition>,
}

/// Which kind of records a processor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Logs,
    Metrics,
    Traces,
}

/// What a section configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    Service,
    Parser,
    MultilineParser,
    StreamTask,
    Plugins,
    Upstream,
    UpstreamServers,
    Node,
    Custom,
    Input,
    Filter,
    Output,
}

impl SectionKind {
    /// The full names, in the order in which an abbreviation is looked up.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("SERVICE", Self::Service),
        ("PARSER", Self::Parser),
        ("MULTILINE_PARSER", Self::MultilineParser),
        ("STREAM_PROCESSOR", Self::StreamTask),
        ("STREAM_TASK", Self::StreamTask),
        ("PLUGINS", Self::Plugins),
        ("UPSTREAM_SERVERS", Self::UpstreamServers),
        ("CUSTOMS", Self::Custom),
        ("INPUTS", Self::Input),
        ("FILTERS", Self::Filter),
        ("OUTPUTS", Self::Output),
        ("NODE", Self::Node),
    ];

    /// The headers that a hint may name.
    pub const HEADERS: &'static [&'static str] = &[
        "SERVICE",
        "INPUT",
        "FILTER",
        "OUTPUT",
        "PARSER",
        "MULTILINE_PARSER",
    ];

    /// Reads a header: any case, and any beginning of a name will do (`[IN]`, `[S]`).
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("upstream") {
            return Some(Self::Upstream);
        }
        let begins = |full: &str| {
            full.get(..name.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(name))
        };
        let found = Self::NAMES
            .iter()
            .find(|(full, _)| !name.is_empty() && begins(full));
        found.map(|(_, kind)| *kind)
    }
}

impl Document {
    /// Replaces `${VARIABLE}` and `${VARIABLE:-default}` in the values of every section: first by
    /// `@SET` and `env`, then by `lookup` (the environment). What is not set becomes empty, with a
    /// warning. A key whose value is empty counts as not given, as in Fluent Bit.
    pub fn expand(&mut self, lookup: &dyn Fn(&str) -> Option<String>) {
        let variables = &self.variables;
        let find = |name: &str| {
            let set = variables.iter().find(|(n, _)| n == name);
            set.map(|(_, v)| v.clone())
                .or_else(|| lookup(name))
                .filter(|v| !v.is_empty())
        };
        let warnings = &mut self.warnings;
        let mut expand = |settings: &mut Vec<Setting>| {
            let has_variable =
                |s: &&mut Setting| s.value.contains("${") && !MAP_LISTS.contains(&&*s.key);
            for setting in settings.iter_mut().filter(has_variable) {
                let (value, unset) = expand(&setting.value, &find);
                for name in unset {
                    let message = format!(
                        "variable ${{{name}}} is not set; '{}' uses an empty text",
                        setting.key
                    );
                    warnings.push(ConfigError::new(&setting.place, message));
                }
                setting.value = value.trim().to_owned();
            }
            settings.retain(|s| !s.value.is_empty());
        };
        for section in &mut self.sections {
            expand(&mut section.settings);
            for group in &mut section.groups {
                expand(&mut group.settings);
            }
            for processor in &mut section.processors {
                expand(&mut processor.settings);
            }
        }
    }
}

/// Replaces variables in one text; also returns the names that are not set and have no default.
#[must_use]
pub fn expand(text: &str, find: &dyn Fn(&str) -> Option<String>) -> (String, Vec<String>) {
    let mut out = String::with_capacity(text.len());
    let mut unset = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let Some(end) = rest[at..].find('}') else {
            break;
        };
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..at + end];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match (find(name), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => unset.push(name.to_owned()),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    (out, unset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_may_be_abbreviated() {
        for (name, kind) in [
            ("INPUT", Some(SectionKind::Input)),
            ("in", Some(SectionKind::Input)),
            ("Inputs", Some(SectionKind::Input)),
            ("S", Some(SectionKind::Service)),
            ("OUTP", Some(SectionKind::Output)),
            ("UPSTREAM", Some(SectionKind::Upstream)),
            ("OUPUT", None),
            (" INPUT ", None),
            ("INPUTSS", None),
            ("", None),
        ] {
            assert_eq!(SectionKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn variables_are_replaced() {
        let find = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expected, unset) in [
            ("x${A}y${A}", "x1y1", 0),
            ("${B:-d:-e}", "d:-e", 0),
            ("${B}", "", 1),
            ("${A:-2}", "1", 0),
            ("$A $(A) ${A", "$A $(A) ${A", 0),
        ] {
            let (value, names) = expand(text, &find);
            assert_eq!((value.as_str(), names.len()), (expected, unset), "{text}");
        }
    }
}
