//! `| decolorize`: removes terminal colour codes from the line.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::{Stage, StageWord};
use crate::logql::record::Record;

pub const WORD: StageWord = StageWord {
    word: "decolorize",
    about: "removes ANSI escape sequences from the line",
    parse: |_| Ok(Arc::new(Decolorize)),
};

const ESCAPE: u8 = 0x1b;

#[derive(Debug)]
struct Decolorize;

impl Stage for Decolorize {
    fn process(&self, record: &mut Record<'_>) -> bool {
        if memchr::memchr(ESCAPE, &record.line).is_some() {
            record.line = Cow::Owned(without_escapes(&record.line));
        }
        true
    }

    fn changes_line(&self) -> bool {
        true
    }
}

impl fmt::Display for Decolorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| decolorize")
    }
}

fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memchr(ESCAPE, rest) {
        out.extend_from_slice(&rest[..at]);
        let len = sequence_len(&rest[at..]);
        if len == 0 {
            out.push(ESCAPE);
        }
        rest = &rest[at + len.max(1)..];
    }
    out.extend_from_slice(rest);
    out
}

/// The length of the escape sequence at the start of `text`, zero when it is none.
fn sequence_len(text: &[u8]) -> usize {
    match text.get(1) {
        // Control sequences: parameters, intermediates, then one final byte.
        Some(b'[') => {
            let middle = text[2..]
                .iter()
                .take_while(|b| (0x20..=0x3f).contains(*b))
                .count();
            match text.get(2 + middle) {
                Some(0x40..=0x7e) => 3 + middle,
                _ => 0,
            }
        }
        // Operating system commands run up to a bell or a string terminator.
        Some(b']') => text[2..]
            .iter()
            .position(|b| *b == 0x07 || *b == ESCAPE)
            .map_or(0, |end| {
                let bell = text[2 + end] == 0x07;
                if bell || text.get(3 + end) == Some(&b'\\') {
                    3 + end + usize::from(!bell)
                } else {
                    0
                }
            }),
        Some(b'(' | b')' | b'#') if text.len() > 2 => 3,
        Some(b'0'..=b'9' | b'A'..=b'Z' | b'=' | b'>' | b'<' | b'~' | b'c') => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_and_the_rest_stays() {
        let cases = [
            ("\x1b[31mred\x1b[0m plain", "red plain"),
            ("\x1b[1;38;5;9mx\x1b[K", "x"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b", "\x1b"),
            ("a\x1b[", "a\x1b["),
            ("\x1b]never ends", "\x1b]never ends"),
        ];
        for (line, expected) in cases {
            assert_eq!(without_escapes(line.as_bytes()), expected.as_bytes());
        }
    }
}
