//! A sorted set of label pairs in one allocation, as Prometheus and Loki know it.
//!
//! The bytes are canonical (sorted by name, no duplicates, no empty values), so equality and hash
//! are those of one byte string, and the same bytes serve on disk.

use std::cmp::Ordering;
use std::fmt;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Sorted label pairs. An empty value means the label is absent, so none is stored; only answers of log
/// queries show some.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Box<[u8]>);

impl Labels {
    /// Sorts, drops empty values, and keeps the last pair of a repeated name.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        Self::of(pairs, false)
    }

    /// The same with empty values, as the answer to a log query shows a field that was found empty. Never stored.
    pub fn with_empty<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        Self::of(pairs, true)
    }

    fn of<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
        keeps_empty: bool,
    ) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut bytes = Vec::with_capacity(pairs.len() * 24);
        for (i, (name, value)) in pairs.iter().enumerate() {
            let repeated = pairs
                .get(i + 1)
                .is_some_and(|next| next.0.as_ref() == name.as_ref());
            if !repeated && (keeps_empty || !value.as_ref().is_empty()) {
                put(&mut bytes, name.as_ref());
                put(&mut bytes, value.as_ref());
            }
        }
        Self(bytes.into_boxed_slice())
    }

    /// The canonical bytes: per pair a varint length and the name, a varint length and the value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads canonical bytes back. `None` when they are not what `as_bytes` gives.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut last: Option<&str> = None;
        while !rest.is_empty() {
            let name = take(&mut rest)?;
            let value = take(&mut rest)?;
            if value.is_empty() || last.is_some_and(|l| l >= name) {
                return None;
            }
            last = Some(name);
        }
        Some(Self(bytes.into()))
    }

    /// The pairs in order of name.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// The value of `name`, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut rest = &*self.0;
        while !rest.is_empty() {
            let (found, value) = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
            if found == name.as_bytes() {
                return std::str::from_utf8(value).ok();
            }
        }
        None
    }

    /// The metric name, or the empty text.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// A copy with `name` set, or removed when `value` is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::from_pairs(
            self.iter()
                .filter(|(n, _)| *n != name)
                .chain([(name, value)]),
        )
    }

    /// A copy of the pairs whose name passes `keep`.
    #[must_use]
    pub fn filtered(&self, keep: impl FnMut(&str) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        self.put_filtered(&mut bytes, keep);
        Self(bytes.into_boxed_slice())
    }

    /// Appends the canonical bytes of the pairs whose name passes `keep`.
    pub fn put_filtered(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&str) -> bool) {
        let mut rest = &*self.0;
        while !rest.is_empty() {
            let pair = rest;
            let name = take(&mut rest).expect("label bytes are canonical");
            take_bytes(&mut rest).expect("label bytes are canonical");
            if keep(name) {
                out.extend_from_slice(&pair[..pair.len() - rest.len()]);
            }
        }
    }

    /// A hash of the pairs that is the same in every process. Senders choose labels: whoever uses it must do
    /// with label sets whose hashes are equal.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }

    /// A copy without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.filtered(|n| n != METRIC_NAME)
    }
}

/// Iterates over the pairs of a label set.
#[derive(Debug, Clone)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let name = take(&mut self.0).expect("label bytes are canonical");
        let value = take(&mut self.0).expect("label bytes are canonical");
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Ord for Labels {
    /// Pair by pair: name, then value, then the shorter set first, as Prometheus sorts.
    fn cmp(&self, other: &Self) -> Ordering {
        let n_same = same_bytes(&self.0, &other.0);
        if n_same == self.0.len().min(other.0.len()) {
            return self.0.len().cmp(&other.0.len());
        }
        // The text with the first byte that differs, in both.
        let (mut a, mut b) = (&*self.0, &*other.0);
        loop {
            let (Some(one), Some(two)) = (take_bytes(&mut a), take_bytes(&mut b)) else {
                return self.0.cmp(&other.0);
            };
            if self.0.len() - a.len() > n_same {
                return one.cmp(two);
            }
        }
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Labels {
    /// Loki's and Prometheus's text form: `{a="1", b="2"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

/// Writes text in double quotes the way Go does for printable text, which every reader of label
/// sets and of queries understands: `"`, `\` and control characters are escaped.
///
/// # Errors
/// Those of `out`.
pub fn write_quoted(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{7}' => out.write_str("\\a")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{b}' => out.write_str("\\v")?,
            '\u{c}' => out.write_str("\\f")?,
            c if c.is_ascii_control() => write!(out, "\\x{:02x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

fn put(out: &mut Vec<u8>, text: &str) {
    let mut n = text.len();
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(text.as_bytes());
}

/// How many bytes both begin with.
fn same_bytes(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 8;
    let words = a.chunks_exact(WORD).zip(b.chunks_exact(WORD));
    let at = words.take_while(|(a, b)| a == b).count() * WORD;
    let rest = a[at..].iter().zip(&b[at..]);
    at + rest.take_while(|(a, b)| a == b).count()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut n, mut shift) = (0usize, 0u32);
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        n |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // A longer form of the same length would make two byte strings of one set.
            if byte == 0 && shift > 0 {
                return None;
            }
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let text = rest.get(..n)?;
    *rest = &rest[n..];
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_drops_empty_and_keeps_the_last_of_a_name() {
        let l = Labels::from_pairs([("b", "1"), ("a", "x"), ("c", ""), ("b", "2")]);
        assert_eq!(l.iter().collect::<Vec<_>>(), [("a", "x"), ("b", "2")]);
        assert_eq!(l.get("b"), Some("2"));
        assert_eq!(l.get("c"), None);
        assert_eq!(l.to_string(), r#"{a="x", b="2"}"#);
    }

    #[test]
    fn canonical_bytes_round_trip_and_others_are_refused() {
        let long = "v".repeat(300);
        let l = Labels::from_pairs([("a", long.as_str()), ("観測", "値")]);
        assert_eq!(Labels::from_bytes(l.as_bytes()), Some(l.clone()));
        assert_eq!(Labels::from_bytes(b"\x01a\x00"), None, "empty value");
        assert_eq!(
            Labels::from_bytes(b"\x01b\x011\x01a\x011"),
            None,
            "unsorted"
        );
        assert_eq!(Labels::from_bytes(b"\x05a"), None, "short");
        assert_eq!(
            Labels::from_bytes(b"\xff\xff\xff\xff\xff\xff"),
            None,
            "length"
        );
        assert_eq!(
            Labels::from_bytes(b"\x81\x00a\x011"),
            None,
            "a length in a longer form"
        );
    }

    #[test]
    fn written_as_go_quotes() {
        let text = "a\"b\\\n\u{1}\u{301}\u{1ce6}\u{200b}é";
        assert_eq!(
            Labels::from_pairs([("a", text)]).to_string(),
            "{a=\"a\\\"b\\\\\\n\\x01\u{301}\u{1ce6}\u{200b}é\"}"
        );
    }

    #[test]
    fn orders_by_pairs_not_by_bytes() {
        let short = Labels::from_pairs([("a", "zz")]);
        let long = Labels::from_pairs([("a", "zzz"), ("b", "1")]);
        let other = Labels::from_pairs([("aaaa", "1")]);
        assert!(short < long && long < other);
        let texts = ["", "a", "aa", "ab", "b", "bbbbbbbbbbbb", "bbbbbbbbbbbbb"];
        let mut all = vec![Labels::default()];
        for (a, b) in texts.iter().flat_map(|a| texts.map(|b| (*a, b))) {
            all.push(Labels::from_pairs([("a", a), ("name", b)]));
            all.push(Labels::from_pairs([
                ("a", a),
                ("same", "same"),
                ("tail", b),
            ]));
            all.push(Labels::from_pairs([(
                if a.is_empty() { "n" } else { a },
                b,
            )]));
        }
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            assert_eq!(a.cmp(b), a.iter().cmp(b.iter()), "{a} {b}");
        }
    }

    #[test]
    fn with_sets_and_removes() {
        let l = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(l.with("a", ""), Labels::from_pairs([("b", "2")]));
        assert_eq!(l.with("c", "3").len(), 3);
    }
}
