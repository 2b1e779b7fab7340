//! `| json first="a.b[0]", second="[\"c d\"]"`: chosen values of a JSON line become labels.
//!
//! A value that is not there gives an empty label; objects and arrays are given as their text.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::json_scan::{MALFORMED, Scanner, Value, unescape, unescape_bytes};
use super::{JSON_ERROR, Stage};
use crate::logql::error::ParseError;
use crate::logql::lexer::{Quoted, unquote};
use crate::logql::parser::Parser;
use crate::logql::record::{DUPLICATE_SUFFIX, Record, clean_text};

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
struct Expression {
    label: String,
    text: String,
    path: Vec<Step>,
}

#[derive(Debug)]
struct JsonExpressions {
    expressions: Vec<Expression>,
}

/// Reads `a="b", c`.
pub fn parse(parser: &mut Parser<'_>) -> Result<Arc<dyn Stage>, ParseError> {
    let mut expressions = Vec::new();
    for (label, text) in parser.extractions()? {
        let path = parse_path(&text).map_err(|e| {
            ParseError::in_stage(
                format!("| json {label}={text:?}"),
                format!("cannot parse expression [{text}]: {e}"),
            )
        })?;
        expressions.push(Expression { label, text, path });
    }
    Ok(Arc::new(JsonExpressions { expressions }))
}

/// Reads `a.b["c d"][0]`.
fn parse_path(text: &str) -> Result<Vec<Step>, String> {
    let mut path = Vec::new();
    let mut rest = text.trim();
    let unexpected = |rest: &str, wanted: &str| {
        let what = match rest.chars().next() {
            None => "$end".into(),
            Some('.') => "DOT".into(),
            Some('[') => "LSB".into(),
            Some(']') => "RSB".into(),
            Some(c) => c.to_string(),
        };
        format!("syntax error: unexpected {what}, expecting {wanted}")
    };
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = bracket_end(inner).ok_or_else(|| unexpected(inner, "STRING or INDEX"))?;
            let key = inner[..end].trim();
            rest = &inner[end + 1..];
            path.push(
                match key.strip_prefix('"').and_then(|k| k.strip_suffix('"')) {
                    Some(quoted) => Step::Key(unquote(quoted)?),
                    None => Step::Index(
                        key.parse()
                            .map_err(|_| unexpected(key, "STRING or INDEX"))?,
                    ),
                },
            );
            continue;
        }
        if !path.is_empty() {
            rest = rest
                .strip_prefix('.')
                .ok_or_else(|| unexpected(rest, "DOT or LSB"))?;
        }
        let len = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(rest.len());
        if len == 0 {
            return Err(unexpected(rest, "FIELD"));
        }
        path.push(Step::Key(rest[..len].to_owned()));
        rest = &rest[len..];
    }
    if path.is_empty() {
        return Err(unexpected("", "LSB or FIELD"));
    }
    Ok(path)
}

/// Where the bracket closes that was opened before `inner`, texts skipped.
fn bracket_end(inner: &str) -> Option<usize> {
    let (mut in_text, mut escaped) = (false, false);
    for (i, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            ']' if !in_text => return Some(i),
            _ => {}
        }
    }
    None
}

impl Stage for JsonExpressions {
    fn process(&self, record: &mut Record<'_>) -> bool {
        let Record { line, labels, .. } = record;
        match line.first() {
            None => return true,
            Some(b'"' | b'{' | b'[') => {}
            Some(_) => {
                labels.set_error(JSON_ERROR, "");
                return true;
            }
        }
        let paths: Vec<&[Step]> = self.expressions.iter().map(|e| e.path.as_slice()).collect();
        find_all(line, &paths, |found, value| match (found, value) {
            (Some(at), Ok(value)) => {
                let (name, text) = (&self.expressions[at].label, text_of(value));
                if labels.has_before_parsing(name) {
                    labels.set(&format!("{name}{DUPLICATE_SUFFIX}"), &text);
                } else {
                    labels.set(name, &text);
                }
            }
            (_, Err(fault)) => labels.set_error(JSON_ERROR, fault),
            (None, Ok(_)) => {}
        });
        for expression in &self.expressions {
            if labels.get(&expression.label).is_none() {
                labels.set(&expression.label, "");
            }
        }
        true
    }
}

/// Calls `found` with what stands at the paths, each once, in the order of the line. Like Loki's reader it goes from text to
/// text without asking whether the objects around them are closed, so that of a line that was cut off all is found
/// that was written. A fault without a path is the line's.
fn find_all<'a>(
    line: &'a [u8],
    paths: &[&[Step]],
    mut found: impl FnMut(Option<usize>, Result<Value<'a>, &'static str>),
) {
    let deepest = paths.iter().map(|p| p.len()).max().unwrap_or(0);
    let mut is_found = vec![false; paths.len()];
    // Keys of the objects around, as far as any path goes.
    let mut keys: Vec<Cow<'_, [u8]>> = vec![Cow::Borrowed(b""); deepest];
    let mut level = 0_isize;
    let mut scanner = Scanner::new(line);
    while is_found.contains(&false) {
        let Some(b) = scanner.peek() else { return };
        match b {
            b'"' => {
                let Ok(Value::Text(raw)) = scanner.value() else {
                    return;
                };
                if !scanner.accept(b':') {
                    continue;
                }
                let Some(key) = unescape_key(raw) else { return };
                let Ok(n_keys) = usize::try_from(level) else {
                    return found(None, Err(MALFORMED));
                };
                if n_keys > deepest {
                    continue;
                }
                let Some(last) = n_keys.checked_sub(1) else {
                    return found(None, Err(MALFORMED));
                };
                keys[last] = key;
                for (at, path) in paths.iter().enumerate() {
                    if path.len() == n_keys && !is_found[at] && is_below(path, &keys[..n_keys]) {
                        is_found[at] = true;
                        found(Some(at), scanner.clone().value());
                    }
                }
            }
            b'{' => {
                level += 1;
                scanner.skip();
            }
            b'}' | b']' => {
                level -= 1;
                scanner.skip();
            }
            b'[' => {
                let Ok(n_keys) = usize::try_from(level) else {
                    return found(None, Err(MALFORMED));
                };
                let is_wanted = |(at, path): &(usize, &&[Step])| {
                    !is_found[*at]
                        && matches!(path.get(n_keys), Some(Step::Index(_)))
                        && is_below(path, &keys[..n_keys])
                };
                let wanted: Vec<usize> = paths
                    .iter()
                    .enumerate()
                    .filter(is_wanted)
                    .map(|(at, _)| at)
                    .collect();
                if wanted.is_empty() {
                    // What is in arrays is not looked at.
                    if scanner.value().is_err() {
                        return;
                    }
                    continue;
                }
                scanner.skip();
                level += 1;
                let mut index = 0;
                while scanner.peek().is_some_and(|b| b != b']') {
                    let Ok(element) = scanner.value() else { break };
                    for at in &wanted {
                        if paths[*at][n_keys] != Step::Index(index) {
                            continue;
                        }
                        is_found[*at] = true;
                        if let Ok(Some(value)) = find_in(element, &paths[*at][n_keys + 1..]) {
                            found(Some(*at), Ok(value));
                        }
                    }
                    index += 1;
                    if !scanner.accept(b',') {
                        break;
                    }
                }
            }
            _ => scanner.skip(),
        }
    }
}

/// Whether a path goes through these keys.
fn is_below(path: &[Step], keys: &[Cow<'_, [u8]>]) -> bool {
    path.len() >= keys.len()
        && path.iter().zip(keys).all(|(step, key)| match step {
            Step::Key(wanted) => wanted.as_bytes() == &**key,
            Step::Index(_) => false,
        })
}

fn unescape_key(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    match memchr::memchr(b'\\', raw) {
        None => Some(Cow::Borrowed(raw)),
        Some(_) => unescape_bytes(raw).map(Cow::Owned),
    }
}

fn text_of<'a>(value: Value<'a>) -> Cow<'a, str> {
    match value {
        // Of an array the texts are unescaped, of an object not: so Loki does it.
        Value::Text(raw) | Value::Array(raw) => unescape(raw),
        Value::Number(raw) | Value::Object(raw) => clean_text(raw),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Null => "".into(),
    }
}

/// Follows a path into a value; `None` when it leads nowhere.
fn find_in<'a>(mut value: Value<'a>, path: &[Step]) -> Result<Option<Value<'a>>, &'static str> {
    for step in path {
        let found = match (step, value) {
            (Step::Key(key), Value::Object(text)) => find_key(text, key)?,
            (Step::Index(index), Value::Array(text)) => find_index(text, *index)?,
            _ => None,
        };
        match found {
            Some(inner) => value = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn find_key<'a>(object: &'a [u8], wanted: &str) -> Result<Option<Value<'a>>, &'static str> {
    let mut scanner = Scanner::new(object);
    scanner.accept(b'{');
    let mut is_first = true;
    while let Some(key) = scanner.member(is_first)? {
        is_first = false;
        let value = scanner.value()?;
        if &*key == wanted.as_bytes() {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn find_index(array: &[u8], wanted: usize) -> Result<Option<Value<'_>>, &'static str> {
    let mut scanner = Scanner::new(array);
    scanner.accept(b'[');
    let mut index = 0;
    while scanner.peek() != Some(b']') {
        let value = scanner.value()?;
        if index == wanted {
            return Ok(Some(value));
        }
        index += 1;
        if !scanner.accept(b',') {
            break;
        }
    }
    Ok(None)
}

impl fmt::Display for JsonExpressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| json ")?;
        for (i, e) in self.expressions.iter().enumerate() {
            write!(
                f,
                "{}{}={}",
                if i > 0 { "," } else { "" },
                e.label,
                Quoted(&e.text)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let key = |k: &str| Step::Key(k.into());
        assert_eq!(
            parse_path(r#"a.b[0]["c ] d"].e"#),
            Ok(vec![
                key("a"),
                key("b"),
                Step::Index(0),
                key("c ] d"),
                key("e")
            ])
        );
        for text in ["", ".a", "a..b", "a[", "a[x]", "a b", "[-1]"] {
            assert!(parse_path(text).is_err(), "{text}");
        }
    }
}
