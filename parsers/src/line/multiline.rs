//! Multiline parsers: which lines of a stream are one record.
//!
//! A [`Multiline`] is what a `[MULTILINE_PARSER]` section or a built-in name stands for. A
//! [`Joiner`] tries a list of them on each line and says where the line belongs; the text itself
//! stays with the caller, who joins slices. Nothing is stored here but a [`Stream`] per source, and
//! nothing is ever dropped: a record that would grow beyond the limit is flushed, marked as cut,
//! and goes on as the next one (Fluent Bit throws the rest of the line away).

pub mod builtin;
mod join;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};

use super::Parser;
pub use join::{Content, Flush, Joiner, Place, Step, Stream};
use rules::Rules;

/// How long an unfinished record waits for its next line, unless `flush_timeout` says otherwise.
pub const DEFAULT_FLUSH: Duration = Duration::from_secs(4);
/// `multiline_buffer_limit` of SERVICE when it is not set: the most bytes of one joined record.
pub const DEFAULT_LIMIT_BYTES: usize = 2 << 20;

/// The keys of a `[MULTILINE_PARSER]` section.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("name", OptionKind::Text, "", "name of the multiline parser"),
    OptionSpec::new(
        "type",
        OptionKind::Choice(&["regex", "endswith", "equal", "eq"]),
        "",
        "rules with patterns, or lines until one that ends with or equals match_string",
    ),
    OptionSpec::new(
        "rule",
        OptionKind::Text,
        "",
        "\"state[, state]\" \"/pattern/\" \"next state\"; for type regex",
    )
    .repeated(),
    OptionSpec::new(
        "match_string",
        OptionKind::Text,
        "",
        "the text that ends a record, for types endswith and equal",
    ),
    OptionSpec::new(
        "negate",
        OptionKind::Bool,
        "off",
        "a record ends where match_string is missing",
    ),
    OptionSpec::new(
        "flush_timeout",
        OptionKind::Int,
        "4000",
        "milliseconds until an unfinished record goes on without its rest",
    ),
    OptionSpec::new(
        "parser",
        OptionKind::Text,
        "",
        "parser that each line goes through first",
    ),
    OptionSpec::new(
        "key_content",
        OptionKind::Text,
        "",
        "field that holds the text to join; without one it is the line",
    ),
    OptionSpec::new(
        "key_pattern",
        OptionKind::Text,
        "",
        "field that match_string is looked for in; key_content when not set",
    ),
    OptionSpec::new(
        "key_group",
        OptionKind::Text,
        "",
        "field whose values keep lines apart, such as stream",
    ),
];

/// A multiline parser that a configuration names.
#[derive(Debug, Clone)]
pub struct Multiline {
    name: String,
    kind: Arc<Kind>,
    flush_after: Duration,
    parser: Option<Arc<Parser>>,
    key_content: Option<String>,
    key_pattern: Option<String>,
    key_group: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Rules(Rules),
    /// Lines up to one that ends with the text, or is it when `whole`.
    Until {
        text: Vec<u8>,
        whole: bool,
        negate: bool,
    },
}

impl Multiline {
    /// Builds one from its section; `parser_of` finds the parser that the section names.
    ///
    /// # Errors
    /// The first mistake.
    pub fn new(
        s: &Settings,
        parser_of: &dyn Fn(&str) -> Option<Arc<Parser>>,
    ) -> Result<Self, ConfigError> {
        s.check(OPTIONS)?;
        let name = s.required("name")?.to_owned();
        let kind = s.required("type")?.to_ascii_lowercase();
        let kind = if kind == "regex" {
            Kind::Rules(Rules::new(s)?)
        } else {
            let text = s.required("match_string")?.as_bytes().to_vec();
            Kind::Until {
                text,
                whole: kind != "endswith",
                negate: s.bool("negate", false)?,
            }
        };
        let parser = match s.get("parser") {
            None => None,
            Some(named) => Some(parser_of(&named.value).ok_or_else(|| {
                let message = format!(
                    "multiline parser '{name}' names the parser '{}', which is not defined",
                    named.value
                );
                ConfigError::new(&named.place, message)
            })?),
        };
        let text = |key| s.get(key).map(|found| found.value.clone());
        let flush_ms = u64::try_from(s.int("flush_timeout", 0)?).unwrap_or(0);
        Ok(Self {
            kind: Arc::new(kind),
            flush_after: if flush_ms == 0 {
                DEFAULT_FLUSH
            } else {
                Duration::from_millis(flush_ms)
            },
            parser,
            key_content: text("key_content"),
            key_pattern: text("key_pattern"),
            key_group: text("key_group"),
            name,
        })
    }

    /// The same with another field to join, as the filter's `multiline.key_content` sets it.
    #[must_use]
    pub fn for_key(&self, key_content: &str) -> Self {
        Self {
            key_content: Some(key_content.to_owned()),
            ..self.clone()
        }
    }

    /// The name; Fluent Bit looks it up without regard to case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long an unfinished record waits.
    #[must_use]
    pub fn flush_after(&self) -> Duration {
        self.flush_after
    }

    /// The parser that a line goes through before its fields are looked at. A line that does not
    /// fit it is not for this multiline parser.
    #[must_use]
    pub fn parser(&self) -> Option<&Arc<Parser>> {
        self.parser.as_ref()
    }

    /// The field to join; without one the whole line, and every record then ends with a newline.
    #[must_use]
    pub fn key_content(&self) -> Option<&str> {
        self.key_content.as_deref()
    }

    /// The field that decides, when it is another.
    #[must_use]
    pub fn key_pattern(&self) -> Option<&str> {
        self.key_pattern.as_deref()
    }

    /// The field whose values are joined apart.
    #[must_use]
    pub fn key_group(&self) -> Option<&str> {
        self.key_group.as_deref()
    }
}

/// The value of a `rule` key for its three parts, as YAML gives them.
#[must_use]
pub fn rule_text(state: &str, regex: &str, next_state: &str) -> String {
    let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\\\""));
    [state, regex, next_state].map(quoted).join(" ")
}
