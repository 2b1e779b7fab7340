//! `| unpack`: a JSON object whose `_entry` is the real line and whose other texts are labels.
//!
//! The labels are taken only when there is an `_entry`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::json_scan::{MALFORMED, NO_OBJECT, Scanner, Value, unescape, unescape_bytes};
use super::{JSON_ERROR, Stage, StageWord};
use crate::logql::record::{ADDED_MAX, Record, sanitized_name};

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
                for (name, value) in labels {
                    record.labels.extract(&name, &value);
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
    let mut scanner = Scanner::new(line);
    if !scanner.accept(b'{') {
        return Err("expecting json object(6), but it is not");
    }
    let mut entry = None;
    let mut labels = Vec::new();
    let mut buf = String::new();
    let mut first = true;
    while !scanner.accept(b'}') {
        if scanner.peek().is_none() {
            return Err(NO_OBJECT);
        }
        if !first && !scanner.accept(b',') {
            return Err(MALFORMED);
        }
        first = false;
        let key = scanner.key()?;
        let Value::Text(raw) = scanner.value()? else {
            continue;
        };
        if key == ENTRY_KEY {
            entry = Some(unescape_bytes(raw).ok_or(MALFORMED)?);
        } else if labels.len() < ADDED_MAX {
            let key = unescape(key);
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
