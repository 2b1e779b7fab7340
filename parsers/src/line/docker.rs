//! Docker's json-file format: `{"log":"text\n","stream":"stdout","time":"2026-…Z"}`.
//!
//! Splitting only, into ranges of the line: the text stays escaped until someone needs it. A record
//! is complete when its text ends with a newline; joining the parts is the tail input's work.

use std::ops::Range;

use super::json::{self, Field, Item};
use crate::time;

/// A docker line cut into its parts; ranges count from the start of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerLine {
    /// The text between its quotes, as it stands in the line.
    pub log: Range<usize>,
    /// Whether `log` holds escapes: read it through [`json::unescape`].
    pub escaped: bool,
    /// Whether the text goes on in the stream's next line: it does not end with a newline.
    pub partial: bool,
    /// `stdout` or `stderr`; empty when the line has none.
    pub stream: Range<usize>,
    /// The time as written; empty when the line has none.
    pub time: Range<usize>,
    /// Unix nanoseconds, when the time is there and can be read.
    pub time_ns: Option<i64>,
    /// Whether the line has keys besides these three (`attrs`): parse it as JSON to get them.
    pub has_more: bool,
}

/// Cuts a line that was read without its newline. `fields` is scratch space, kept between calls.
#[must_use]
pub fn split(line: &[u8], fields: &mut Vec<Field>) -> Option<DockerLine> {
    json::fields(line, fields).ok()?;
    let mut found = DockerLine {
        log: 0..0,
        escaped: false,
        partial: true,
        stream: 0..0,
        time: 0..0,
        time_ns: None,
        has_more: false,
    };
    let mut has_log = false;
    for field in fields.iter() {
        let Item::Text { range, escaped } = &field.value else {
            found.has_more = true;
            continue;
        };
        match &line[field.key.clone()] {
            b"log" => {
                has_log = true;
                found.partial = !ends_with_newline(&line[range.clone()]);
                found.log = range.clone();
                found.escaped = *escaped;
            }
            b"stream" if !escaped => found.stream = range.clone(),
            b"time" if !escaped => {
                found.time_ns = time::rfc3339_ns(&line[range.clone()]);
                found.time = range.clone();
            }
            _ => found.has_more = true,
        }
    }
    has_log.then_some(found)
}

/// Whether escaped text ends with `\n`: an odd number of backslashes before the `n`.
fn ends_with_newline(text: &[u8]) -> bool {
    let Some(head) = text.strip_suffix(b"n") else {
        return false;
    };
    head.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_partial_ones_known() {
        let mut fields = Vec::new();
        let line =
            br#"{"log":"a \"b\"\n","stream":"stderr","time":"2026-11-21T09:00:00.000000001Z"}"#;
        let l = split(line, &mut fields).expect("a docker line");
        assert_eq!(&line[l.log], br#"a \"b\"\n"#);
        assert_eq!(&line[l.stream], b"stderr");
        assert_eq!(l.time_ns, Some(1_795_251_600_000_000_001));
        assert!(l.escaped && !l.partial && !l.has_more);

        let line = br#"{"log":"half\\n","attrs":{"a":"b"}}"#;
        let l = split(line, &mut fields).expect("a docker line");
        assert!(l.partial && l.has_more && l.time.is_empty() && l.time_ns.is_none());
        for line in [&b"plain"[..], b"{}", br#"{"log":1}"#, br#"{"log":"a"}x"#] {
            assert_eq!(split(line, &mut fields), None);
        }
    }
}
