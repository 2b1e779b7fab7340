//! `| unpack`: a JSON object whose `_entry` is the real line and whose other texts are labels.
//!
//! The labels are taken only when there is an `_entry`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use kansoku_model::json::lossy;

use super::json_scan::{BAD_ESCAPE, Scanner, Value, unescape, unescape_bytes};
use super::{JSON_ERROR, Stage, StageWord};
use crate::logql::record::{ADDED_MAX, DUPLICATE_SUFFIX, Record, sanitized_name};

pub const WORD: StageWord = StageWord {
    word: "unpack",
    about: "the `_entry` of a JSON object becomes the line, its other texts labels",
    parse: |_| Ok(Arc::new(Unpack)),
};

/// The key whose value is the packed line.
const ENTRY_KEY: &[u8] = b"_entry";

#[derive(Debug)]
struct Unpack;

impl Stage for Unpack {
    fn process(&self, record: &mut Record<'_>) -> bool {
        if record.line.is_empty() {
            return true;
        }
        let unpacked = unpack(&record.line);
        match unpacked {
            Ok(Some((entry, labels))) => {
                // Of a key that comes twice the last one counts, unless a stage before has found it.
                let name_of =
                    |(name, value): (String, String)| match record.labels.has_before_parsing(&name)
                    {
                        true => (format!("{name}{DUPLICATE_SUFFIX}"), value),
                        false => (name, value),
                    };
                let mut labels: Vec<_> = labels.into_iter().map(name_of).collect();
                labels.retain(|(name, _)| {
                    record.labels.wants(name) && !record.labels.was_parsed(name)
                });
                for (name, value) in labels {
                    record.labels.set(&name, &value);
                }
                record.line = Cow::Owned(entry);
            }
            Ok(None) => {}
            Err(reason) => record.labels.set_error(JSON_ERROR, reason),
        }
        true
    }

    fn changes_line(&self) -> bool {
        true
    }
}

type Unpacked = (Vec<u8>, Vec<(String, String)>);

fn unpack(line: &[u8]) -> Result<Option<Unpacked>, &'static str> {
    // Blanks before the brace are not skipped.
    if line.first() != Some(&b'{') {
        return Err("expecting json object(6), but it is not");
    }
    let mut scanner = Scanner::new(&line[1..]);
    let mut entry = None;
    let mut labels = Vec::new();
    let mut buf = String::new();
    let mut is_first = true;
    while let Some(key) = scanner.member(is_first)? {
        is_first = false;
        let Value::Text(raw) = scanner.value()? else {
            continue;
        };
        if &*key == ENTRY_KEY {
            entry = Some(unescape_bytes(raw).ok_or(BAD_ESCAPE)?);
        } else if labels.len() < ADDED_MAX {
            let key = lossy(&key);
            let name = sanitized_name(&key, &mut buf);
            labels.push((name.to_owned(), unescape(raw).into_owned()));
        }
    }
    Ok(entry.map(|entry| (entry, labels)))
}

impl fmt::Display for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| unpack")
    }
}
