//! `| logfmt`: pairs of a logfmt line become labels, all of them or, with `a="b"`, chosen ones.
//!
//! `--strict` makes a fault an error instead of skipping it; `--keep-empty` keeps pairs without a
//! value.

use std::fmt;
use std::sync::Arc;

use kansoku_model::Extraction;

use super::logfmt_scan::Scanner;
use super::{LOGFMT_ERROR, Stage, StageWord};
use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::parser::Parser;
use crate::logql::record::{
    ADDED_MAX, DUPLICATE_SUFFIX, Record, RecordLabels, clean_text, sanitized_name,
};

pub const WORD: StageWord = StageWord {
    word: "logfmt",
    about: "pairs of a logfmt line become labels, all of them or those asked for by key",
    parse,
};

/// `| logfmt` without flags.
pub const PLAIN: Logfmt = Logfmt {
    strict: false,
    keep_empty: false,
    expressions: Vec::new(),
};

#[derive(Debug)]
pub struct Logfmt {
    strict: bool,
    keep_empty: bool,
    /// Label and key; empty for all pairs.
    expressions: Vec<(String, String)>,
}

fn parse(parser: &mut Parser<'_>) -> Result<Arc<dyn Stage>, ParseError> {
    let (mut strict, mut keep_empty) = (false, false);
    while let Some(flag) = parser.accept_flag() {
        strict |= flag == "--strict";
        keep_empty |= flag == "--keep-empty";
    }
    let expressions = if parser.at_identifier() {
        parser.extractions()?
    } else {
        Vec::new()
    };
    for (label, key) in &expressions {
        check_key(key).map_err(|fault| {
            ParseError::in_stage(
                format!("| logfmt {label}={key:?}"),
                format!("cannot parse expression [{key}]: {fault}"),
            )
        })?;
    }
    Ok(Arc::new(Logfmt {
        strict,
        keep_empty,
        expressions,
    }))
}

impl Stage for Logfmt {
    fn process(&self, record: &mut Record<'_>) -> bool {
        let Record { line, labels, .. } = record;
        for (label, _) in &self.expressions {
            if !labels.has_before_parsing(label) {
                labels.set(label, "");
            }
        }
        let mut buf = String::new();
        for pair in Scanner::new(line) {
            let (key, value) = match pair {
                Ok(pair) => pair,
                Err(fault) if self.strict => {
                    labels.set_error(LOGFMT_ERROR, &fault);
                    break;
                }
                Err(_) => continue,
            };
            let key = clean_text(key);
            let name = sanitized_name(&key, &mut buf);
            if name.is_empty() {
                continue;
            }
            if !self.expressions.is_empty() {
                if !self.set_chosen(labels, name, &value) {
                    break;
                }
            } else if (self.keep_empty || !value.is_empty())
                && !labels.extract(name, &clean_text(&value))
            {
                labels.set_error(LOGFMT_ERROR, &format!("more than {ADDED_MAX} labels"));
                break;
            }
        }
        true
    }

    fn takes_fields(&self) -> bool {
        true
    }

    fn extraction(&self) -> Option<(Extraction, bool)> {
        let is_all = self.expressions.is_empty();
        is_all.then_some((Extraction::Logfmt, !self.keep_empty))
    }
}

impl Logfmt {
    /// False when the rest of the line is not looked at: the label has been found, under the name that a
    /// taken one gets.
    fn set_chosen(&self, labels: &mut RecordLabels<'_>, name: &str, value: &[u8]) -> bool {
        let is_key = self.expressions.iter().any(|(_, key)| key == name);
        // What is no text is nothing.
        let value = std::str::from_utf8(value).unwrap_or_default();
        let value = match value.contains(char::REPLACEMENT_CHARACTER) {
            true => "",
            false => value,
        };
        // Without its key a label is taken from the pair of its own name.
        let is_chosen = |label: &str, key: &str| match is_key {
            true => key == name,
            false => label == name,
        };
        for (label, _) in self.expressions.iter().filter(|(l, k)| is_chosen(l, k)) {
            if !labels.has_before_parsing(label) {
                labels.set(label, value);
                continue;
            }
            let renamed = format!("{label}{DUPLICATE_SUFFIX}");
            if labels.was_parsed(&renamed) {
                return false;
            }
            labels.set(&renamed, value);
        }
        true
    }
}

/// A key is a name or a quoted text; the words for what is none are those of Loki.
fn check_key(key: &str) -> Result<(), String> {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let text = key.trim();
    if text.starts_with('"') {
        return Ok(());
    }
    let len = text.bytes().take_while(is_name).count();
    if len == 0 || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("syntax error: unexpected $end".into());
    }
    match text[len..].trim_start().chars().next() {
        None | Some('"') => Ok(()),
        Some(c) if c.is_ascii_alphabetic() || c == '_' => {
            Err("syntax error: unexpected KEY, expecting STRING".into())
        }
        Some(c) => Err(format!("unexpected char {c}")),
    }
}

impl fmt::Display for Logfmt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| logfmt")?;
        if self.strict {
            f.write_str(" --strict")?;
        }
        if self.keep_empty {
            f.write_str(" --keep-empty")?;
        }
        for (i, (label, key)) in self.expressions.iter().enumerate() {
            write!(
                f,
                "{}{label}={}",
                if i > 0 { "," } else { " " },
                Quoted(key)
            )?;
        }
        Ok(())
    }
}
