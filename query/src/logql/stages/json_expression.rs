//! `| json first="a.b[0]", second="[\"c d\"]"`: chosen values of a JSON line become labels.
//!
//! A value that is not there gives an empty label; objects and arrays are given as their text.

use std::fmt;
use std::sync::Arc;

use super::json_scan::{Scanner, Value, unescape};
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
        for expression in &self.expressions {
            // What is malformed before it is found holds nothing, as in Loki.
            let value = find(line, &expression.path).ok().flatten();
            let name = &expression.label;
            let taken = labels.has_before_parsing(name);
            match value {
                Some(value) => {
                    let text = text_of(value);
                    if taken {
                        labels.set(&format!("{name}{DUPLICATE_SUFFIX}"), &text);
                    } else {
                        labels.set(name, &text);
                    }
                }
                None if labels.get(name).is_none() => labels.set(name, ""),
                None => {}
            }
        }
        true
    }
}

fn text_of<'a>(value: Value<'a>) -> std::borrow::Cow<'a, str> {
    match value {
        Value::Text(raw) => unescape(raw),
        Value::Number(raw) | Value::Object(raw) | Value::Array(raw) => clean_text(raw),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Null => "".into(),
    }
}

/// Follows a path; `None` when it leads nowhere.
fn find<'a>(line: &'a [u8], path: &[Step]) -> Result<Option<Value<'a>>, &'static str> {
    let mut value = Scanner::new(line).value()?;
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
    while scanner.peek() != Some(b'}') {
        let key = scanner.key()?;
        let value = scanner.value()?;
        if key == wanted.as_bytes() || unescape(key) == wanted {
            return Ok(Some(value));
        }
        if !scanner.accept(b',') {
            break;
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
