//! Parsers that are there without a parsers file, under the names and with the keys of the parsers
//! files that come with Fluent Bit. A configuration may define them anew.
//!
//! Their patterns are written from the log formats as templates: `{name}` is a field up to the next
//! blank, `{name:form}` one of another form, see [`form`].

mod common;
mod programs;

use kansoku_model::Settings;

use super::{Parser, Zones};

/// A parser without its regular parts.
struct BuiltIn {
    name: &'static str,
    /// A template for format regex; else the format itself.
    line: Line,
    /// Further keys of the section.
    keys: &'static [(&'static str, &'static str)],
}

enum Line {
    Template(&'static str),
    Format(&'static str),
}

const ACCESS_TIME: (&str, &str) = ("time_format", "%d/%b/%Y:%H:%M:%S %z");
const RFC3339: (&str, &str) = ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z");
const SYSLOG_TIME: (&str, &str) = ("time_format", "%b %d %H:%M:%S");
const KEEP: (&str, &str) = ("time_keep", "on");

const fn template(
    name: &'static str,
    template: &'static str,
    keys: &'static [(&'static str, &'static str)],
) -> BuiltIn {
    BuiltIn {
        name,
        line: Line::Template(template),
        keys,
    }
}

const fn format(
    name: &'static str,
    format: &'static str,
    keys: &'static [(&'static str, &'static str)],
) -> BuiltIn {
    BuiltIn {
        name,
        line: Line::Format(format),
        keys,
    }
}

/// All built-in parsers.
#[must_use]
pub fn all(zones: Zones<'_>) -> Vec<Parser> {
    let lists = [common::PARSERS, programs::PARSERS];
    lists
        .into_iter()
        .flatten()
        .map(|b| b.build(zones))
        .collect()
}

/// The names of all built-in parsers.
pub fn names() -> impl Iterator<Item = &'static str> {
    [common::PARSERS, programs::PARSERS]
        .into_iter()
        .flatten()
        .map(|b| b.name)
}

/// The built-in parser of that name.
#[must_use]
pub fn named(name: &str, zones: Zones<'_>) -> Option<Parser> {
    let mut all = [common::PARSERS, programs::PARSERS].into_iter().flatten();
    all.find(|b| b.name == name).map(|b| b.build(zones))
}

impl BuiltIn {
    fn build(&self, zones: Zones<'_>) -> Parser {
        let mut pairs = vec![("name", self.name)];
        let pattern;
        match self.line {
            Line::Format(format) => pairs.push(("format", format)),
            Line::Template(template) => {
                pattern = expand(template);
                pairs.extend([("format", "regex"), ("regex", pattern.as_str())]);
            }
        }
        pairs.extend(self.keys);
        Parser::new(&Settings::of("parser", &pairs), zones).expect("built-in parsers are valid")
    }
}

/// The pattern of a template.
fn expand(template: &str) -> String {
    let mut pattern = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, field)) = rest.split_once("{{") {
        // A form may end with a brace itself.
        let end = field.find("}}").unwrap_or(field.len());
        let end = end
            + field[end..]
                .bytes()
                .skip(2)
                .take_while(|b| *b == b'}')
                .count();
        let after = field.get(end + 2..).unwrap_or_default();
        let field = &field[..end];
        let (name, kind) = field.split_once(':').unwrap_or((field, "word"));
        pattern.push_str(before);
        pattern.push_str(&match name {
            "" => form(kind).to_owned(),
            _ => format!("(?<{name}>{})", form(kind)),
        });
        rest = after;
    }
    pattern.push_str(rest);
    // The request of an access log stands in many lines.
    pattern.replace("%REQUEST%", REQUEST)
}

/// Method, path and the protocol that old clients leave out.
const REQUEST: &str = r#"(?<method>\S+)(?: +(?<path>[^"]*?)(?: +\S*)?)?"#;

/// The forms that a field of a template can have; anything else is a pattern of its own.
fn form(kind: &str) -> &str {
    match kind {
        "word" => "[^ ]*",
        "words" => "[^ ]+",
        "token" => r"\S+",
        "quoted" => r#"[^"]*"#,
        "bracket" => r"[^\]]*",
        "rest" => ".*",
        "some" => ".+",
        "digits" => r"\d+",
        "name" => r"\w+",
        // Month, day (with one or two blanks before it) and time of old syslog.
        "stamp" => "[^ ]* {1,2}[^ ]* [^ ]*",
        // A program in old syslog, and its process id.
        "program" => r"[\w/.-]*",
        "mac" => "(?:[0-9a-f]{2}:){5}[0-9a-f]{2}",
        pattern => pattern,
    }
}

#[cfg(test)]
mod tests;
