//! Walks JSON text without building a tree: keys and values come out as slices of the line.
//!
//! It is as forgiving as Loki's reader: what follows the outermost value is not looked at, and
//! what was found before a fault has been found. Nested values are skipped in a loop, never by
//! recursion, so that no input can exhaust the stack.

use std::borrow::Cow;

/// A value as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Between its quotes, escapes unresolved.
    Text(&'a [u8]),
    Number(&'a [u8]),
    Bool(bool),
    Null,
    /// With its braces.
    Object(&'a [u8]),
    /// With its brackets.
    Array(&'a [u8]),
}

pub const MALFORMED: &str = "Malformed JSON error";
pub const UNKNOWN_VALUE: &str = "Unknown value type";
pub const NO_OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
pub const NO_ARRAY: &str = "Value is array, but can't find closing ']' symbol";
pub const NO_TEXT: &str = "Value is string, but can't find closing '\"' symbol";

/// A place in JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no white space.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b) = self.text.get(self.at) {
            if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*b);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `wanted` if it comes next.
    pub fn accept(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Takes a key and its colon.
    pub fn key(&mut self) -> Result<&'a [u8], &'static str> {
        if self.peek() != Some(b'"') {
            return Err(MALFORMED);
        }
        let key = self.quoted()?;
        if self.accept(b':') {
            Ok(key)
        } else {
            Err(MALFORMED)
        }
    }

    /// Takes a whole value.
    pub fn value(&mut self) -> Result<Value<'a>, &'static str> {
        match self.peek().ok_or(MALFORMED)? {
            b'"' => self.quoted().map(Value::Text),
            b'{' => self.nested(NO_OBJECT).map(Value::Object),
            b'[' => self.nested(NO_ARRAY).map(Value::Array),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value<'a>, &'static str> {
        let start = self.at;
        let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        let len = self.text[start..]
            .iter()
            .position(ends)
            .unwrap_or(self.text.len() - start);
        let word = &self.text[start..start + len];
        self.at = start + len;
        match word {
            b"true" => Ok(Value::Bool(true)),
            b"false" => Ok(Value::Bool(false)),
            b"null" => Ok(Value::Null),
            [b'-' | b'0'..=b'9', ..] => Ok(Value::Number(word)),
            _ => Err(UNKNOWN_VALUE),
        }
    }

    /// Takes a text whose opening quote comes next.
    fn quoted(&mut self) -> Result<&'a [u8], &'static str> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match memchr::memchr2(b'"', b'\\', self.text.get(at..).unwrap_or_default()) {
                Some(i) if self.text[at + i] == b'"' => {
                    self.at = at + i + 1;
                    return Ok(&self.text[start..at + i]);
                }
                // An escape takes the byte after the backslash with it.
                Some(i) => at += i + 2,
                None => {
                    self.at = self.text.len();
                    return Err(NO_TEXT);
                }
            }
        }
    }

    /// Takes an object or array by counting brackets outside texts.
    fn nested(&mut self, unclosed: &'static str) -> Result<&'a [u8], &'static str> {
        let start = self.at;
        let mut depth = 0usize;
        while let Some(b) = self.text.get(self.at) {
            match b {
                b'"' => {
                    self.quoted()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(&self.text[start..self.at]);
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(unclosed)
    }
}

/// The text of a string value; what cannot be unescaped is empty, bad UTF-8 becomes spaces.
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        return crate::logql::record::clean_text(raw);
    }
    match unescape_bytes(raw) {
        Some(bytes) => Cow::Owned(crate::logql::record::clean_text(&bytes).into_owned()),
        None => Cow::Borrowed(""),
    }
}

/// Resolves escapes; `None` when one is no JSON escape.
pub fn unescape_bytes(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let kind = *rest.get(at + 1)?;
        rest = &rest[at + 2..];
        let byte = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (c, after) = unicode_escape(rest)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The character of `XXXX` or of a surrogate pair; a lone surrogate is a space.
fn unicode_escape(rest: &[u8]) -> Option<(char, &[u8])> {
    let high = hex4(rest)?;
    let after = &rest[4..];
    if !(0xd800..0xe000).contains(&high) {
        return Some((char::from_u32(high)?, after));
    }
    if let Some(low_text) = after.strip_prefix(b"\\u")
        && let Some(low) = hex4(low_text)
        && high < 0xdc00
        && (0xdc00..0xe000).contains(&low)
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return Some((char::from_u32(code)?, &low_text[4..]));
    }
    Some((' ', after))
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_slices() {
        let mut s = Scanner::new(br#" "a\"b" {"x":"}"} [1,[2]] -1.5e3 true null"#);
        assert_eq!(s.value(), Ok(Value::Text(br#"a\"b"#)));
        assert_eq!(s.value(), Ok(Value::Object(br#"{"x":"}"}"#)));
        assert_eq!(s.value(), Ok(Value::Array(b"[1,[2]]")));
        assert_eq!(s.value(), Ok(Value::Number(b"-1.5e3")));
        assert_eq!(s.value(), Ok(Value::Bool(true)));
        assert_eq!(s.value(), Ok(Value::Null));
        assert_eq!(s.value(), Err(MALFORMED));
        assert_eq!(Scanner::new(b"{\"a\":1").value(), Err(NO_OBJECT));
        assert_eq!(Scanner::new(b"\"a\\").value(), Err(NO_TEXT));
        assert_eq!(Scanner::new(b"nul").value(), Err(UNKNOWN_VALUE));
    }

    #[test]
    fn escapes() {
        for (raw, text) in [
            (r"a\n\t\/\\", "a\n\t/\\"),
            (r"\u00e9\ud83d\ude00", "é😀"),
            (r"\ud83dx", " x"),
            (r"\q", ""),
            (r"\u12", ""),
        ] {
            assert_eq!(unescape(raw.as_bytes()), text, "{raw}");
        }
        assert_eq!(unescape(b"a\xffb"), "a b");
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let text = "[".repeat(1_000_000);
        assert_eq!(Scanner::new(text.as_bytes()).value(), Err(NO_ARRAY));
    }
}
