//! JSON values one behind the other, as sockets and request bodies carry them: where each ends.
//!
//! Not here: whether a value is valid; only brackets and strings are looked at. The rule: whatever
//! stands there, every step gets further or says that bytes are missing.

use std::ops::Range;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An object.
    Object(Range<usize>),
    /// An array.
    Array(Range<usize>),
    /// Anything else up to the next line end or bracket.
    Other(Range<usize>),
    /// A value that the bytes end in; it starts here.
    Incomplete(usize),
    /// Nothing but blanks.
    End,
}

/// The next value at or after `at`. Blanks and commas between values are passed over.
#[must_use]
pub fn next(bytes: &[u8], mut at: usize) -> Step {
    while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',') = bytes.get(at) {
        at += 1;
    }
    let Some(first) = bytes.get(at) else {
        return Step::End;
    };
    match first {
        b'{' => end(bytes, at).map_or(Step::Incomplete(at), |end| Step::Object(at..end)),
        b'[' => end(bytes, at).map_or(Step::Incomplete(at), |end| Step::Array(at..end)),
        b'"' => match string_end(bytes, at + 1) {
            Some(end) => Step::Other(at..end),
            None => Step::Incomplete(at),
        },
        _ => {
            let rest = &bytes[at + 1..];
            let len = rest
                .iter()
                .position(|b| matches!(b, b'\n' | b',' | b'{' | b'['));
            Step::Other(at..len.map_or(bytes.len(), |len| at + 1 + len))
        }
    }
}

/// Past the closing quote of a string whose inside starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Past the bracket that closes the one at `at`; brackets are only counted, not matched by kind.
fn end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => {
                at = string_end(bytes, at + 1)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<String> {
        let (mut at, mut out) = (0, Vec::new());
        loop {
            let (name, range) = match next(text.as_bytes(), at) {
                Step::Object(range) => ("object", range),
                Step::Array(range) => ("array", range),
                Step::Other(range) => ("other", range),
                Step::Incomplete(at) => {
                    out.push(format!("incomplete {}", &text[at..]));
                    return out;
                }
                Step::End => return out,
            };
            at = range.end;
            out.push(format!("{name} {}", &text[range]));
        }
    }

    #[test]
    fn values_are_cut() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \n,", &[]),
            (
                r#"{"a":"}\""}{"b":[{}]}"#,
                &[r#"object {"a":"}\""}"#, r#"object {"b":[{}]}"#],
            ),
            ("[1,[2]]\n{", &["array [1,[2]]", "incomplete {"]),
            (r#"{"a":"\"#, &[r#"incomplete {"a":"\"#]),
            ("hello\n{}", &["other hello", "object {}"]),
            ("}{}", &["other }", "object {}"]),
            (r#""x{", 5"#, &[r#"other "x{""#, "other 5"]),
        ];
        for (text, expected) in cases {
            assert_eq!(steps(text), *expected, "{text}");
        }
    }
}
