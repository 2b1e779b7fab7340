//! Texts that lines are searched for, with or without regard to the case of ASCII letters.
//!
//! A query names what its lines surely contain; a store looks for it in whatever form it keeps lines.
//! The rule: a needle says what must be there, never what is enough.

use std::ops::Range;

use memchr::memmem::Finder;

/// Letters from rare to frequent, as in English; what is none of them is rarer still.
const BY_FREQUENCY: &[u8; 26] = b"zqxjkvbpygfwmucldrhsnioate";

/// One text to look for.
#[derive(Debug, Clone)]
pub struct Needle {
    /// In lower case when case does not matter.
    text: Vec<u8>,
    /// For texts whose case matters.
    finder: Option<Finder<'static>>,
    /// Where the byte stands that is looked for first when case does not matter.
    rarest: usize,
}

impl Needle {
    /// A text as it stands.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self {
            text: text.to_vec(),
            finder: Some(Finder::new(text).into_owned()),
            rarest: 0,
        }
    }

    /// A text whose ASCII letters stand for both cases.
    #[must_use]
    pub fn ignoring_case(text: &[u8]) -> Self {
        if !text.iter().any(u8::is_ascii_alphabetic) {
            return Self::new(text);
        }
        let text = text.to_ascii_lowercase();
        let rank = |at: &usize| BY_FREQUENCY.iter().position(|b| *b == text[*at]);
        let rarest = (0..text.len()).min_by_key(rank).unwrap_or(0);
        Self {
            text,
            finder: None,
            rarest,
        }
    }

    /// The text, in lower case when case does not matter.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether ASCII letters stand for both cases.
    #[must_use]
    pub fn ignores_case(&self) -> bool {
        self.finder.is_none()
    }

    /// Whether `bytes` contain the text.
    #[must_use]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        match &self.finder {
            Some(finder) => finder.find(bytes).is_some(),
            None => self.is_in_any_case(bytes),
        }
    }

    fn is_in_any_case(&self, bytes: &[u8]) -> bool {
        let n = self.text.len();
        if bytes.len() < n {
            return false;
        }
        // Where the rarest byte may stand so that the rest has room.
        let places = &bytes[self.rarest..=bytes.len() - (n - self.rarest)];
        let rarest = self.text[self.rarest];
        memchr::memchr2_iter(rarest, rarest.to_ascii_uppercase(), places)
            .any(|at| bytes[at..at + n].eq_ignore_ascii_case(&self.text))
    }

    /// Whether `bytes` are this part of the text.
    #[must_use]
    pub fn part_is(&self, part: Range<usize>, bytes: &[u8]) -> bool {
        let part = &self.text[part];
        match &self.finder {
            Some(_) => part == bytes,
            None => part.eq_ignore_ascii_case(bytes),
        }
    }

    /// The bytes that may stand at a place of the text; twice the same when only one may.
    #[must_use]
    pub fn bytes_at(&self, at: usize) -> [u8; 2] {
        let byte = self.text[at];
        match &self.finder {
            Some(_) => [byte, byte],
            None => [byte, byte.to_ascii_uppercase()],
        }
    }
}

/// Texts of which a line contains at least one.
#[derive(Debug, Clone, Default)]
pub struct AnyOf {
    pub needles: Vec<Needle>,
    /// The condition is on a field of the line: it says nothing where the stream or the entry's
    /// metadata have a label of this name.
    pub field: Option<String>,
}

impl AnyOf {
    /// One text that must be there.
    #[must_use]
    pub fn text(text: &[u8]) -> Self {
        Self {
            needles: vec![Needle::new(text)],
            field: None,
        }
    }

    /// Whether `line` contains one of the texts.
    #[must_use]
    pub fn is_in(&self, line: &[u8]) -> bool {
        self.needles.iter().any(|needle| needle.is_in(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_matters_or_not() {
        for (text, line, exact, any_case) in [
            ("Reset by", "connection Reset by peer", true, true),
            ("Reset by", "CONNECTION RESET BY PEER", false, true),
            ("reset", "rese", false, false),
            ("reset", "reSET", false, true),
            ("404", "x404", true, true),
            ("z", "", false, false),
            ("", "", true, true),
            // Only ASCII letters have two cases here.
            ("é", "É", false, false),
        ] {
            let needle = Needle::new(text.as_bytes());
            assert_eq!(needle.is_in(line.as_bytes()), exact, "{text} in {line}");
            let needle = Needle::ignoring_case(text.as_bytes());
            assert_eq!(needle.is_in(line.as_bytes()), any_case, "{text} in {line}");
        }
        let needle = Needle::ignoring_case(b"Ab1");
        assert!(needle.part_is(1..3, b"B1") && !needle.part_is(1..3, b"b"));
        assert_eq!(needle.bytes_at(0), *b"aA");
        assert_eq!(Needle::new(b"a").bytes_at(0), *b"aa");
    }
}
