//! `| json`: every scalar of a JSON object becomes a label, nested names joined by `_`.
//!
//! Arrays and nulls are left out, as in Loki. `| json a="b.c"` is in `json_expression`.

use std::fmt;
use std::sync::Arc;

use kansoku_model::Extraction;
use kansoku_model::json::lossy;

use super::json_expression;
use super::json_scan::{NO_OBJECT, Scanner, Value, unescape};
use super::{JSON_ERROR, Stage, StageWord};
use crate::logql::record::{ADDED_MAX, Record, RecordLabels, append_sanitized, clean_text};

pub const WORD: StageWord = StageWord {
    word: "json",
    about: "fields of a JSON object become labels, all of them or those asked for by path",
    parse: |parser| {
        if parser.at_identifier() {
            return json_expression::parse(parser);
        }
        Ok(Arc::new(Json))
    },
};

/// The deepest object whose fields are read: label names grow with every level.
const DEPTH_MAX: usize = 64;

/// Every field of a line.
#[derive(Debug)]
pub struct Json;

impl Stage for Json {
    fn process(&self, record: &mut Record<'_>) -> bool {
        let Record { line, labels, .. } = record;
        if let Err(reason) = extract(line, labels) {
            labels.set_error(JSON_ERROR, &reason);
        }
        true
    }

    fn takes_fields(&self) -> bool {
        true
    }

    fn extraction(&self) -> Option<(Extraction, bool)> {
        Some((Extraction::Json, false))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| json")
    }
}

fn extract(line: &[u8], labels: &mut RecordLabels<'_>) -> Result<(), String> {
    let mut scanner = Scanner::new(line);
    if !scanner.accept(b'{') {
        return Err(NO_OBJECT.into());
    }
    let mut name = String::new();
    // Length of the name before each open object.
    let mut open: Vec<usize> = vec![0];
    let mut is_first = true;
    while let Some(prefix_len) = open.last().copied() {
        let key = scanner.member(is_first)?;
        is_first = false;
        let Some(key) = key else {
            open.pop();
            name.truncate(prefix_len);
            continue;
        };
        let before = name.len();
        push_key(&mut name, &key);
        if scanner.peek() == Some(b'{') {
            // Nothing is taken out of an object that was cut off. What is in one that is whole is whole, too.
            if open.len() == 1 && !scanner.is_closed() {
                return Err(NO_OBJECT.into());
            }
            scanner.accept(b'{');
            if open.len() >= DEPTH_MAX {
                return Err(format!("objects nested deeper than {DEPTH_MAX}"));
            }
            open.push(before);
            is_first = true;
            continue;
        }
        let value = scanner.value()?;
        let kept = name.is_empty() || set(labels, &name, value);
        if !kept {
            return Err(format!("more than {ADDED_MAX} labels"));
        }
        name.truncate(before);
    }
    Ok(())
}

/// Appends a key to the name of the object it is in.
fn push_key(name: &mut String, key: &[u8]) {
    let key = lossy(key);
    let key = key.trim();
    if key.is_empty() {
        return;
    }
    if name.is_empty() {
        if key.starts_with(|c: char| c.is_ascii_digit()) {
            name.push('_');
        }
    } else {
        name.push('_');
    }
    append_sanitized(name, key);
}

fn set(labels: &mut RecordLabels<'_>, name: &str, value: Value<'_>) -> bool {
    // Resolving escapes costs; do it only for what somebody reads. Who wants a name with the suffix
    // of duplicates wants the plain one, too.
    if !labels.wants(name) {
        return true;
    }
    match value {
        Value::Text(raw) => labels.extract(name, &unescape(raw)),
        Value::Number(raw) => labels.extract(name, &clean_text(raw)),
        Value::Bool(b) => labels.extract(name, if b { "true" } else { "false" }),
        Value::Null | Value::Object(_) | Value::Array(_) => true,
    }
}
