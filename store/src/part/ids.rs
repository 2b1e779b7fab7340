//! Ids in lines: what they are, and the pieces of them that a filter knows.
//!
//! Trace ids, UUIDs and digests hold every short piece of hexadecimal text there is, so a filter over
//! three-byte pieces tells nothing about them. The rule: whether a text is an id is seen by the text
//! alone, not by where it stands. An **id** is a run of hexadecimal digits and dashes that cannot be
//! made longer, of 16 bytes or more and with a letter in it. A filter holds its eighths: bytes 0..8,
//! 8..16 and so on from its start, as long as they are whole, letters in lower case. Any part of an id of 15 bytes and
//! more has at least one of them, wherever it was cut out.

use std::ops::Range;

use super::fuse::Fuse;

/// Shorter runs are words and numbers.
const LENGTH_MIN: usize = 16;
pub const PIECE: usize = 8;
/// Letters of eight bytes in lower case; digits and dashes have the bit already.
const LOWER_CASE: u64 = 0x2020_2020_2020_2020;

const NONE: u8 = 0;
const DIGIT: u8 = 1;
const LETTER: u8 = 2;

/// What each byte is to an id.
const KINDS: [u8; 256] = {
    let mut kinds = [NONE; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_digit() || byte == b'-' {
            kinds[at] = DIGIT;
        } else if byte.is_ascii_hexdigit() {
            kinds[at] = LETTER;
        }
        at += 1;
    }
    kinds
};

fn kind(byte: u8) -> u8 {
    KINDS[usize::from(byte)]
}

/// Whether the whole run is an id.
fn is_id(run: &[u8]) -> bool {
    run.len() >= LENGTH_MIN && run.iter().any(|byte| kind(*byte) == LETTER)
}

/// The ids of a line, in order.
pub fn ids_of(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    // Whatever is long enough covers every sixteenth byte somewhere.
    let mut probe = LENGTH_MIN - 1;
    std::iter::from_fn(move || {
        while probe < line.len() {
            if kind(line[probe]) == NONE {
                probe += LENGTH_MIN;
                continue;
            }
            let is_in = |byte: &&u8| kind(**byte) != NONE;
            let start = probe - line[..probe].iter().rev().take_while(is_in).count();
            let end = probe + line[probe..].iter().take_while(is_in).count();
            probe = end + LENGTH_MIN;
            if is_id(&line[start..end]) {
                return Some(start..end);
            }
        }
        None
    })
}

/// The runs of bytes of ids in a text, ids or not, in order.
pub fn runs_of(text: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match runs.last_mut() {
            _ if kind(*byte) == NONE => {}
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// The pieces of an id from its start on.
pub fn pieces(id: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, _) = id.as_chunks::<PIECE>();
    whole.iter().map(|p| u64::from_le_bytes(*p) | LOWER_CASE)
}

/// What is known about a run of bytes of ids in a text that is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub bytes: &'a [u8],
    /// It may go on to the left or to the right in the line.
    pub is_open: [bool; 2],
}

impl Run<'_> {
    /// Whether the run surely is, or is part of, an id. `Some(false)`: surely not.
    pub fn is_id(&self) -> Option<bool> {
        match (is_id(self.bytes), self.is_open) {
            (true, _) => Some(true),
            (false, [false, false]) => Some(false),
            (false, _) => None,
        }
    }

    /// Whether some id may have the run in it.
    pub fn may_be_in(&self, ids: &Fuse<'_>) -> bool {
        let starts = if self.is_open[0] { 0..PIECE } else { 0..1 };
        starts.into_iter().any(|start| {
            let rest = self.bytes.get(start..).unwrap_or_default();
            pieces(rest).all(|piece| ids.has(piece))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_id() {
        let cases: &[(&str, &[&str])] = &[
            (
                "trace=5f3a9c1e77b04d2e8c6a1f0b9d3e4a57 x",
                &["5f3a9c1e77b04d2e8c6a1f0b9d3e4a57"],
            ),
            (
                "13B17094-4249-480d-a7e9-77f36b11034b",
                &["13B17094-4249-480d-a7e9-77f36b11034b"],
            ),
            (
                "a deadbeefdeadbee, deadbeefdeadbeef!",
                &["deadbeefdeadbeef"],
            ),
            // No letter in it: times, numbers, rulers.
            (
                "1795132800000000000 2026-11-20-00-01-32 ----------------",
                &[],
            ),
            // Within a longer word it is an id all the same: nothing but the run counts.
            ("xyz0123456789abcdefghi", &["0123456789abcdef"]),
            ("pod-0ff62823f-3a392b", &["d-0ff62823f-3a392b"]),
            ("", &[]),
        ];
        for (line, expected) in cases {
            let found: Vec<&str> = ids_of(line.as_bytes()).map(|r| &line[r]).collect();
            assert_eq!(found, *expected, "{line}");
            let by_runs: Vec<&str> = runs_of(line.as_bytes())
                .into_iter()
                .filter(|r| is_id(&line.as_bytes()[r.clone()]))
                .map(|r| &line[r])
                .collect();
            assert_eq!(by_runs, *expected, "{line}");
        }
    }

    #[test]
    fn pieces_do_not_depend_on_case_and_end_with_the_last_whole_one() {
        let of = |id: &[u8]| pieces(id).collect::<Vec<_>>();
        assert_eq!(of(b"0123-5678ABCDEF0123"), of(b"0123-5678abcdef0"));
        assert_eq!(of(b"0123-567").len(), 1);
        assert!(of(b"0123-56").is_empty());
    }
}
