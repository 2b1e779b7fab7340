//! `| pattern "<ip> - <_> <status>"`: text between literals becomes labels; also the syntax of
//! the line filters `|>` and `!>`.

use std::fmt;
use std::sync::Arc;

use kansoku_model::{Extraction, PatternPiece as Piece};
use memchr::memmem;

use super::{Stage, StageWord};
use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::record::{Record, clean_text};

pub const WORD: StageWord = StageWord {
    word: "pattern",
    about: "the text between literals becomes labels",
    parse: |parser| {
        let text = parser.text()?;
        let stage = Pattern::new(text)
            .map_err(|e| ParseError::of(format!("invalid pattern parser: {e}")))?;
        Ok(Arc::new(stage))
    },
};

/// Cuts a pattern into pieces; two captures never follow each other.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(name) = capture_name(rest) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            } else if let Some(Piece::Capture(before)) = pieces.last() {
                return Err(format!(
                    "found consecutive capture '<{before}><{name}>': invalid expression"
                ));
            }
            pieces.push(Piece::Capture(name.to_owned()));
            rest = &rest[name.len() + 2..];
        } else {
            literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// The name in `<name>` at the start of `rest`.
fn capture_name(rest: &str) -> Option<&str> {
    let (name, _) = rest.strip_prefix('<')?.split_once('>')?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (starts && valid).then_some(name)
}

#[derive(Debug)]
struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

impl Pattern {
    fn new(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL".into());
        }
        let pieces = pieces(&text)?;
        let mut names: Vec<&str> = Vec::new();
        for piece in &pieces {
            if let Piece::Capture(name) = piece
                && name != "_"
            {
                if names.contains(&name.as_str()) {
                    return Err(format!(
                        "duplicate capture name ({name}): invalid expression"
                    ));
                }
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err("at least one capture is required".into());
        }
        Ok(Self { text, pieces })
    }
}

impl Stage for Pattern {
    fn process(&self, record: &mut Record<'_>) -> bool {
        let Record { line, labels, .. } = record;
        let mut rest: &[u8] = line;
        let mut pieces = self.pieces.as_slice();
        if rest.is_empty() {
            return true;
        }
        if let [Piece::Literal(literal), after @ ..] = pieces {
            let Some(tail) = rest.strip_prefix(literal.as_slice()) else {
                return true;
            };
            rest = tail;
            pieces = after;
        }
        while let [Piece::Capture(name), after @ ..] = pieces {
            // A capture goes up to the next literal, or to the end when that is missing.
            let found = match after.first() {
                Some(Piece::Literal(literal)) => {
                    memmem::find(rest, literal).map(|at| (at, at + literal.len()))
                }
                _ => None,
            };
            let (end, next) = found.unwrap_or((rest.len(), rest.len()));
            if name != "_" {
                labels.extract(name, &clean_text(&rest[..end]));
            }
            if found.is_none() {
                return true;
            }
            rest = &rest[next..];
            pieces = &after[1..];
        }
        true
    }

    fn extraction(&self) -> Option<(Extraction, bool)> {
        Some((Extraction::Pattern(self.pieces.clone()), false))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| pattern {}", Quoted(&self.text))
    }
}

/// A pattern that a whole line matches or not; its captures are `<_>` only and never empty.
#[derive(Debug)]
pub struct LinePattern {
    pieces: Vec<Piece>,
}

impl LinePattern {
    /// Reads a pattern of a line filter.
    pub fn new(text: &str) -> Result<Self, String> {
        let pieces = pieces(text)?;
        for piece in &pieces {
            if let Piece::Capture(name) = piece
                && name != "_"
            {
                return Err(format!("named captures are not allowed: found '<{name}>'"));
            }
        }
        Ok(Self { pieces })
    }

    /// Whether the line is of this pattern.
    pub fn matches(&self, line: &[u8]) -> bool {
        if line.is_empty() || self.pieces.is_empty() {
            return line.is_empty() && self.pieces.is_empty();
        }
        let mut rest = line;
        for (i, piece) in self.pieces.iter().enumerate() {
            let Piece::Literal(literal) = piece else {
                continue;
            };
            let Some(at) = memmem::find(rest, literal) else {
                return false;
            };
            // What stands before a later literal is a capture, and a capture holds something.
            if i > 0 && at == 0 {
                return false;
            }
            rest = &rest[at + literal.len()..];
        }
        let ends_in_capture = matches!(self.pieces.last(), Some(Piece::Capture(_)));
        ends_in_capture != rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_patterns_say_why() {
        for (text, message) in [
            ("abc", "at least one capture is required"),
            ("<_>", "at least one capture is required"),
            (
                "<a><b>",
                "found consecutive capture '<a><b>': invalid expression",
            ),
            ("<a> <a>", "duplicate capture name (a): invalid expression"),
        ] {
            assert_eq!(Pattern::new(text.into()).unwrap_err(), message);
        }
        assert!(LinePattern::new("<x> y").is_err());
    }

    #[test]
    fn line_patterns() {
        for (pattern, line, expected) in [
            ("<_> baz", "foo bar baz", true),
            ("<_> bar", "foo bar baz", false),
            ("foo <_>", "foo bar baz", true),
            ("<_> bar <_>", " bar ", false),
            ("<_>bar<_>", " bar ", true),
            ("", "", true),
            ("", "x", false),
            ("<1> x", "<1> x", true),
        ] {
            let p = LinePattern::new(pattern).unwrap();
            assert_eq!(p.matches(line.as_bytes()), expected, "{pattern:?} {line:?}");
        }
    }
}
