//! Fluent Bit's configuration formats as sections, keys and places.
//!
//! What a plugin or key means is the agent's business; here are only the shapes that both formats
//! share, and `${VARIABLE}` in values.

pub mod classic;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Place};

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
    /// `@SET`, then by `lookup` (the environment). What is not set becomes empty, with a warning.
    pub fn expand(&mut self, lookup: &dyn Fn(&str) -> Option<String>) {
        let variables = &self.variables;
        let find = |name: &str| {
            let set = variables.iter().find(|(n, _)| n == name);
            set.map(|(_, v)| v.clone())
                .or_else(|| lookup(name))
                .filter(|v| !v.is_empty())
        };
        for setting in self.sections.iter_mut().flat_map(|s| &mut s.settings) {
            if !setting.value.contains("${") {
                continue;
            }
            let (value, unset) = expand(&setting.value, &find);
            for name in unset {
                let message = format!(
                    "variable ${{{name}}} is not set; '{}' uses an empty text",
                    setting.key
                );
                self.warnings
                    .push(ConfigError::new(&setting.place, message));
            }
            setting.value = value;
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
