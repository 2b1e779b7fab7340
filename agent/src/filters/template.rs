//! Text with parts taken from the record: `$TAG.$1.$kubernetes['pod_name']`.
//!
//! As in Fluent Bit a part ends at a point, space, comma or double quote outside of brackets, and
//! what a record lacks is nothing.

use kansoku_model::LogBatch;

use super::accessor::{Accessor, Reading};

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A group of the pattern that matched.
    Group(usize),
    Accessor(Accessor),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When an accessor in it is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            rest = &rest[at..];
            if let Some(digit) = rest.as_bytes().get(1).filter(|b| b.is_ascii_digit()) {
                parts.push(Part::Group(usize::from(digit - b'0')));
                rest = &rest[2..];
                continue;
            }
            // The tag ends with its name: `$TAG_x` is the tag and `_x`.
            let len = if rest.starts_with("$TAG") && !rest.starts_with("$TAG[") {
                "$TAG".len()
            } else {
                accessor_len(rest)
            };
            parts.push(Part::Accessor(Accessor::new(&rest[..len])?));
            rest = &rest[len..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The template over a whole batch.
    #[must_use]
    pub fn over<'a>(&'a self, batch: &'a LogBatch) -> Filled<'a> {
        let part = |part: &'a Part| match part {
            Part::Text(text) => FilledPart::Text(text),
            Part::Group(n) => FilledPart::Group(*n),
            Part::Accessor(accessor) => FilledPart::Reading(accessor.over(batch)),
        };
        Filled {
            parts: self.parts.iter().map(part).collect(),
        }
    }
}

fn accessor_len(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '.' | ' ' | ',' | '"' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

enum FilledPart<'a> {
    Text(&'a str),
    Group(usize),
    Reading(Reading<'a>),
}

/// A template over one batch.
pub struct Filled<'a> {
    parts: Vec<FilledPart<'a>>,
}

impl Filled<'_> {
    /// The text for record `row`; `group` gives the groups of a pattern.
    #[must_use]
    pub fn text<'g>(&self, row: usize, group: impl Fn(usize) -> Option<&'g [u8]>) -> String {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                FilledPart::Text(text) => out.extend_from_slice(text.as_bytes()),
                FilledPart::Group(n) => out.extend_from_slice(group(*n).unwrap_or_default()),
                FilledPart::Reading(reading) => {
                    out.extend_from_slice(&reading.text(row).unwrap_or_default());
                }
            }
        }
        String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    #[test]
    fn parts_are_filled_in() {
        let mut batch = LogBatch::new("a.b.c".into(), Arc::default(), Vec::new());
        let row = batch.push(0, Position::at(1));
        batch.set_text("k", row, b"v");
        let json = kansoku_model::Value::Json(batch.store(br#"{"x.y":3}"#));
        batch.column_mut("m").values[row] = json;
        for (text, expected) in [
            ("new.$TAG[1].$k.end", "new.b.v.end"),
            ("$TAG_x", "a.b.c_x"),
            ("$m['x.y'],$none", "3,"),
            ("$0-$1$2", "whole-one"),
            ("plain", "plain"),
        ] {
            let template = Template::new(text).expect(text);
            let groups = [&b"whole"[..], b"one"];
            let filled = template.over(&batch).text(row, |n| groups.get(n).copied());
            assert_eq!(filled, expected, "{text}");
        }
        assert!(Template::new("$a[").is_err());
    }
}
