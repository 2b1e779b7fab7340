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
        let fault = key.bytes().any(|b| b <= b' ' || b == b'=' || b == b'"');
        if key.is_empty() || fault {
            return Err(ParseError::in_stage(
                format!("| logfmt {label}={key:?}"),
                format!("cannot parse expression [{key}]: syntax error: unexpected $end"),
            ));
        }
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
                self.set_chosen(labels, name, &value);
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
    fn set_chosen(&self, labels: &mut RecordLabels<'_>, name: &str, value: &[u8]) {
        for (label, key) in &self.expressions {
            if !matches_key(key, name) {
                continue;
            }
            let value = clean_text(value);
            if labels.has_before_parsing(label) {
                labels.set(&format!("{label}{DUPLICATE_SUFFIX}"), &value);
            } else {
                labels.set(label, &value);
            }
        }
    }
}

fn matches_key(wanted: &str, name: &str) -> bool {
    wanted == name || sanitized_name(wanted, &mut String::new()) == name
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
