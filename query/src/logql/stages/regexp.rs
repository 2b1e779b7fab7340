//! `| regexp "(?P<status>\d+)"`: named groups become labels.

use std::fmt;
use std::sync::Arc;

use super::{Stage, StageWord};
use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::pattern_syntax;
use crate::logql::record::{Record, clean_text, sanitized_name};

pub const WORD: StageWord = StageWord {
    word: "regexp",
    about: "named groups of a regular expression become labels",
    parse: |parser| {
        let pattern = parser.text()?;
        let stage = Regexp::new(pattern)
            .map_err(|e| ParseError::of(format!("invalid regexp parser: {e}")))?;
        Ok(Arc::new(stage))
    },
};

#[derive(Debug)]
struct Regexp {
    pattern: String,
    regex: regex::bytes::Regex,
    /// Index of each named group and the label it becomes.
    groups: Vec<(usize, String)>,
}

impl Regexp {
    fn new(pattern: String) -> Result<Self, String> {
        if let Some(name) = pattern_syntax::repeated_name(&pattern) {
            return Err(format!("duplicate extracted label name '{name}'"));
        }
        let regex = pattern_syntax::compile_bytes(&pattern)?;
        let groups: Vec<_> = regex
            .capture_names()
            .enumerate()
            .filter_map(|(i, name)| Some((i, sanitized_name(name?, &mut String::new()).to_owned())))
            .collect();
        if groups.is_empty() {
            return Err("at least one named capture must be supplied".into());
        }
        Ok(Self {
            pattern,
            regex,
            groups,
        })
    }
}

impl Stage for Regexp {
    fn process(&self, record: &mut Record<'_>) -> bool {
        let Record { line, labels, .. } = record;
        if let Some(captures) = self.regex.captures(&pattern_syntax::readable(line)) {
            for (index, name) in &self.groups {
                let value = captures.get(*index).map_or(&b""[..], |m| m.as_bytes());
                labels.extract(name, &clean_text(value));
            }
        }
        true
    }
}

impl fmt::Display for Regexp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| regexp {}", Quoted(&self.pattern))
    }
}
