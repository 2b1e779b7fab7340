//! `| decolorize`: removes terminal colour codes from the line.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use regex::bytes::{NoExpand, Regex};

use super::{Stage, StageWord};
use crate::logql::record::Record;

pub const WORD: StageWord = StageWord {
    word: "decolorize",
    about: "removes ANSI escape sequences from the line",
    parse: |_| Ok(Arc::new(Decolorize)),
};

/// Loki's own, which is that of the package stripansi: it takes more than standards call a sequence, and less.
const PATTERN: &str = "[\u{1b}\u{9b}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\u{7})|(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";

static SEQUENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(PATTERN).expect("the pattern is a constant"));

#[derive(Debug)]
struct Decolorize;

impl Stage for Decolorize {
    fn process(&self, record: &mut Record<'_>) -> bool {
        // The first bytes of what a sequence may begin with.
        if memchr::memchr2(0x1b, 0xc2, &record.line).is_some()
            && let Cow::Owned(clean) = SEQUENCE.replace_all(&record.line, NoExpand(b""))
        {
            record.line = Cow::Owned(clean);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_as_in_loki() {
        let cases: [(&[u8], &[u8]); 11] = [
            (b"\x1b[31mred\x1b[0m plain", b"red plain"),
            (b"\x1b[1;38;5;9mx\x1b[K", b"x"),
            (b"\x1b]0;title\x07x", b"x"),
            (b"\x1b", b"\x1b"),
            (b"a\x1b[", b"a\x1b["),
            (b"\x1b[31", b""),
            (b"\x1b[ab", b"\x1b[ab"),
            (b"\xc2\x9b31mx", b"x"),
            (b"\x9b31mx", b"\x9b31mx"),
            (b"\x1b[1 qx", b" qx"),
            (b"\xff\x1b[1mx", b"\xffx"),
        ];
        let labels = kansoku_model::Labels::default();
        for (line, expected) in cases {
            let mut record = Record::new(&labels);
            record.reset(1, line);
            assert!(Decolorize.process(&mut record));
            assert_eq!(&*record.line, expected, "{line:?}");
        }
    }
}
