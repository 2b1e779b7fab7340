//! JSON objects cut flat: every key and scalar as a range of the line, nested values as one range.
//!
//! Nothing is built and nothing is copied; the whole text is validated, so that a nested value can
//! be passed on as it stands. Escapes are resolved only by whoever reads the text.

use std::ops::Range;

/// How deep arrays and objects may nest: deeper text is no log record but an attack on recursion.
const MAX_DEPTH: u32 = 64;
/// The most fields of one record: more would make more columns than a batch can bear.
pub const MAX_FIELDS: usize = 1024;

/// One `"key": value` of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The key between its quotes.
    pub key: Range<usize>,
    pub key_escaped: bool,
    pub value: Item,
}

/// A value of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Null,
    Bool(bool),
    Int(i64),
    /// Also whole numbers that do not fit 64 bits.
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    /// The text between its quotes; `escaped` when it must go through [`unescape`].
    Text {
        range: Range<usize>,
        escaped: bool,
    },
    /// A valid array or object with its brackets.
    Nested(Range<usize>),
}

/// Why text is not one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a json object: {expected} expected at byte {at}")]
pub struct JsonError {
    pub at: usize,
    pub expected: &'static str,
}

/// Cuts `text`, which must be one object with nothing but blanks around it, into `out` (cleared first).
///
/// # Errors
/// When it is no valid object, nests deeper than 64 levels or has more than [`MAX_FIELDS`] fields.
pub fn fields(text: &[u8], out: &mut Vec<Field>) -> Result<(), JsonError> {
    out.clear();
    let mut r = Reader { text, at: 0 };
    r.blanks();
    r.eat(b'{', "{")?;
    r.blanks();
    if r.peek() == Some(b'}') {
        r.at += 1;
    } else {
        loop {
            if out.len() == MAX_FIELDS {
                return Err(r.expected("at most 1024 fields"));
            }
            let (key, key_escaped) = r.key()?;
            let value = r.item()?;
            out.push(Field {
                key,
                key_escaped,
                value,
            });
            r.blanks();
            match r.next() {
                Some(b',') => r.blanks(),
                Some(b'}') => break,
                _ => {
                    r.at = r.at.saturating_sub(1);
                    return Err(r.expected("`,` or `}`"));
                }
            }
        }
    }
    r.blanks();
    if r.at == text.len() {
        Ok(())
    } else {
        Err(r.expected("the end"))
    }
}

/// Appends the text that the inside of a JSON string stands for. Unpaired surrogates become U+FFFD;
/// what is no escape is kept as it is.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied();
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(c @ (b'"' | b'\\' | b'/')) => out.push(c),
            Some(b'u') => rest = unescape_unicode(rest, out),
            Some(other) => out.extend_from_slice(&[b'\\', other]),
            None => out.push(b'\\'),
        }
    }
    out.extend_from_slice(rest);
}

/// Reads the digits after `\u`, and the second half of a surrogate pair; returns what follows.
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = hex4(rest) else {
        out.extend_from_slice(b"\\u");
        return rest;
    };
    let after = &rest[4..];
    let mut code = first;
    let mut end = after;
    if (0xd800..0xdc00).contains(&first)
        && let Some(low) = after.strip_prefix(b"\\u").and_then(hex4)
        && (0xdc00..0xe000).contains(&low)
    {
        code = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
        end = &after[6..];
    }
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    end
}

/// Where in valid JSON, from byte `from` on, the escape of half a surrogate pair stands alone. Its six
/// bytes are no text, and many readers refuse the whole value because of them.
pub fn lone_surrogate(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr(b'\\', text.get(at..)?)?;
        let code = |at: usize| text.get(at..)?.strip_prefix(b"\\u").and_then(hex4);
        at += match code(at) {
            None => 2,
            Some(0xd800..0xdc00) if matches!(code(at + 6), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => return Some(at),
            Some(_) => 6,
        };
    }
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?;
    digits
        .iter()
        .try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?))
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError {
            at: self.at,
            expected,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let b = self.peek();
        self.at += 1;
        b
    }

    fn eat(&mut self, wanted: u8, name: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(wanted) {
            return Err(self.expected(name));
        }
        self.at += 1;
        Ok(())
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A key with its colon and the blanks around.
    fn key(&mut self) -> Result<(Range<usize>, bool), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.string()?;
        self.blanks();
        self.eat(b':', "`:`")?;
        self.blanks();
        Ok(key)
    }

    fn item(&mut self) -> Result<Item, JsonError> {
        match self.peek() {
            Some(b'"') => self
                .string()
                .map(|(range, escaped)| Item::Text { range, escaped }),
            Some(b'{' | b'[') => self.nested().map(Item::Nested),
            _ => self.scalar(),
        }
    }

    /// The range between the quotes and whether there are escapes in it.
    fn string(&mut self) -> Result<(Range<usize>, bool), JsonError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(stop) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return Err(self.expected("the end of a string"));
            };
            // Without a branch per byte, so that the compiler can look at many bytes at once.
            if rest[..stop].iter().fold(false, |bad, b| bad | (*b < 0x20)) {
                return Err(self.expected("no raw control character in a string"));
            }
            self.at += stop;
            if rest[stop] == b'"' {
                self.at += 1;
                return Ok((start..self.at - 1, escaped));
            }
            escaped = true;
            match rest.get(stop + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                Some(b'u') if hex4(&rest[stop + 2..]).is_some() => self.at += 6,
                _ => return Err(self.expected("a valid escape")),
            }
        }
    }

    fn scalar(&mut self) -> Result<Item, JsonError> {
        let start = self.at;
        while let Some(b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E') = self.peek() {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        let item = match word {
            b"null" => Some(Item::Null),
            b"true" => Some(Item::Bool(true)),
            b"false" => Some(Item::Bool(false)),
            _ => number(word),
        };
        item.ok_or(JsonError {
            at: start,
            expected: "a value",
        })
    }

    /// An array or object, validated without recursion: one bit per open bracket tells its kind.
    fn nested(&mut self) -> Result<Range<usize>, JsonError> {
        let start = self.at;
        let mut objects = 0u64;
        let mut depth = 0;
        loop {
            // A value stands here.
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        return Err(self.expected("at most 64 nested levels"));
                    }
                    self.at += 1;
                    depth += 1;
                    objects = objects << 1 | u64::from(open == b'{');
                    self.blanks();
                    if self.peek() != Some(if open == b'{' { b'}' } else { b']' }) {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.item()?;
                }
            }
            // A value ended here: a comma, or any number of closing brackets.
            loop {
                self.blanks();
                let in_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.blanks();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => self.at += 1,
                    Some(b']') if !in_object => self.at += 1,
                    _ => return Err(self.expected("`,` or a closing bracket")),
                }
                depth -= 1;
                objects >>= 1;
                if depth == 0 {
                    return Ok(start..self.at);
                }
            }
        }
    }
}

fn number(word: &[u8]) -> Option<Item> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if whole == 0 || (whole > 1 && digits[0] == b'0') {
        return None;
    }
    let text = std::str::from_utf8(word).ok()?;
    if whole == digits.len() {
        if let Ok(number) = text.parse() {
            return Some(Item::Int(number));
        }
        if let Ok(number) = text.parse() {
            return Some(Item::Uint(number));
        }
    }
    // Rust reads more than JSON allows: a point or an exponent needs digits after it.
    let mut rest = &digits[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if n == 0 {
            return None;
        }
        rest = &fraction[n..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) {
        let exponent = exponent
            .strip_prefix(b"+")
            .or(exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        if exponent.is_empty() || !exponent.iter().all(u8::is_ascii_digit) {
            return None;
        }
    } else if !rest.is_empty() {
        return None;
    }
    // What no float can hold is no number, as in Fluent Bit.
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(Item::Float(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Result<String, JsonError> {
        let mut out = Vec::new();
        fields(text.as_bytes(), &mut out)?;
        let show = |f: &Field| {
            let value = match &f.value {
                Item::Text { range, escaped } => format!(
                    "{}'{}'",
                    if *escaped { "esc" } else { "" },
                    &text[range.clone()]
                ),
                Item::Nested(range) => text[range.clone()].to_owned(),
                other => format!("{other:?}"),
            };
            format!("{}={value}", &text[f.key.clone()])
        };
        Ok(out.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn objects_are_cut_flat() {
        let cases = [
            ("{}", ""),
            (
                r#" {"a" : 1 , "b":-2.5e3,"c":"x\ny"} "#,
                r"a=Int(1) b=Float(-2500.0) c=esc'x\ny'",
            ),
            (
                r#"{"n":null,"t":true,"f":false,"e":""}"#,
                "n=Null t=Bool(true) f=Bool(false) e=''",
            ),
            (
                r#"{"o":{"a":[1,{}, []],"b":{"c":"]"}},"z":0}"#,
                r#"o={"a":[1,{}, []],"b":{"c":"]"}} z=Int(0)"#,
            ),
            (
                r#"{"big":18446744073709551615}"#,
                "big=Uint(18446744073709551615)",
            ),
            (
                r#"{"a":9223372036854775807,"b":9223372036854775808,"c":-9223372036854775808}"#,
                "a=Int(9223372036854775807) b=Uint(9223372036854775808) c=Int(-9223372036854775808)",
            ),
            (
                r#"{"a":18446744073709551616,"b":-9223372036854775809}"#,
                "a=Float(1.8446744073709552e19) b=Float(-9.223372036854776e18)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":.5}",
            "{\"a\":nul}",
            "{\"a\":[1,]}",
            "{\"a\":[1}",
            "{\"a\":{\"b\"}}",
            "{a:1}",
            "{\"a\":1} x",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\t\"}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":[-1e999]}",
            "{} {}",
        ] {
            assert!(cut(text).is_err(), "{text}");
            assert!(
                serde_json::from_str::<serde_json::Value>(text).is_err() || !text.starts_with('{'),
                "{text}"
            );
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(65), "]".repeat(65));
        assert_eq!(cut(&deep).unwrap_err().expected, "at most 64 nested levels");
    }

    #[test]
    fn escapes_are_resolved() {
        let cases = [
            (r"plain", "plain"),
            (r#"a\"b\\c\/d\n\t"#, "a\"b\\c/d\n\t"),
            (r"\u89b3\ud83d\ude00", "観😀"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\q\", r"\q\"),
        ];
        for (raw, expected) in cases {
            let mut out = Vec::new();
            unescape(raw.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
