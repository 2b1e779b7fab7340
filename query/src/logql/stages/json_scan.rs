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
pub const BAD_ESCAPE: &str = "Encountered an invalid escape sequence in a string";
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

    /// Goes past one byte.
    pub fn skip(&mut self) {
        self.at += 1;
    }

    /// Takes `wanted` if it comes next.
    pub fn accept(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Takes the next key of an object and its colon, behind the brace or, unless it is the first, behind the
    /// member before it; `None` with the closing brace. Faults have the words of Loki's reader.
    pub fn member(&mut self, is_first: bool) -> Result<Option<Cow<'a, [u8]>>, &'static str> {
        if is_first {
            self.peek().ok_or(MALFORMED)?;
        } else {
            match self.peek().ok_or(NO_ARRAY)? {
                b'}' => {}
                b',' => {
                    self.accept(b',');
                    self.peek().ok_or(NO_ARRAY)?;
                }
                _ => return Err(NO_OBJECT),
            }
        }
        if self.accept(b'}') {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(NO_OBJECT);
        }
        let raw = self.quoted().map_err(|_| MALFORMED)?;
        let key = match memchr::memchr(b'\\', raw) {
            None => Cow::Borrowed(raw),
            Some(_) => Cow::Owned(unescape_bytes(raw).ok_or(BAD_ESCAPE)?),
        };
        match self.accept(b':') {
            true => Ok(Some(key)),
            false => Err(MALFORMED),
        }
    }

    /// Whether what comes next is closed somewhere, without taking it.
    pub fn is_closed(&self) -> bool {
        self.clone().value().is_ok()
    }

    /// Takes a whole value.
    pub fn value(&mut self) -> Result<Value<'a>, &'static str> {
        match self.peek().ok_or(MALFORMED)? {
            b'"' => self.quoted().map(Value::Text),
            b'{' => self.nested(b'}', NO_OBJECT).map(Value::Object),
            b'[' => self.nested(b']', NO_ARRAY).map(Value::Array),
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

    /// Takes an object or array by counting its kind of brackets outside texts.
    fn nested(&mut self, close: u8, unclosed: &'static str) -> Result<&'a [u8], &'static str> {
        let start = self.at;
        let open = self.text[start];
        let mut depth = 0usize;
        while let Some(b) = self.text.get(self.at) {
            match b {
                b'"' => {
                    self.quoted().map_err(|_| unclosed)?;
                    continue;
                }
                b if *b == open => depth += 1,
                b if *b == close => {
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

/// Resolves escapes; `None` when one is no JSON escape, or half a character.
pub fn unescape_bytes(raw: &[u8]) -> Option<Vec<u8>> {
    unescape_as(raw, false)
}

/// The same for quoted values of logfmt: half a character is U+FFFD, and `\'` an escape.
pub fn unescape_logfmt(raw: &[u8]) -> Option<Vec<u8>> {
    unescape_as(raw, true)
}

fn unescape_as(raw: &[u8], is_logfmt: bool) -> Option<Vec<u8>> {
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
            b'\'' if is_logfmt => kind,
            b'u' => {
                let (c, after) = match unicode_escape(rest) {
                    Some(found) => found,
                    None if is_logfmt && hex4(rest).is_some() => {
                        (char::REPLACEMENT_CHARACTER, &rest[4..])
                    }
                    None => return None,
                };
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

/// The character of `XXXX` or of a surrogate pair.
fn unicode_escape(rest: &[u8]) -> Option<(char, &[u8])> {
    let high = hex4(rest)?;
    let after = &rest[4..];
    if !(0xd800..0xe000).contains(&high) {
        return Some((char::from_u32(high)?, after));
    }
    let low_text = after.strip_prefix(b"\\u")?;
    let low = hex4(low_text).filter(|low| *low >= 0xdc00)?;
    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    // Halves that are none make what is no character.
    Some((char::from_u32(code).unwrap_or(' '), &low_text[4..]))
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
            (r"\ud83dx", ""),
            (r"\ud83d\u0041", ""),
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
