//! The text form of a Loki stream's labels: `{job="x", env="prod"}`.
//!
//! Only equality, since this names a stream and selects nothing. The rule is Loki's: names are
//! `[a-zA-Z_][a-zA-Z0-9_]*`, values are Go strings in double or single quotes or raw ones in backticks.

use std::borrow::Cow;

use kansoku_model::Labels;

/// Reads the labels of a stream.
///
/// # Errors
/// In Loki's words, with line 1 and the column.
pub fn parse(text: &str) -> Result<Labels, String> {
    let mut reader = Reader { text, at: 0 };
    reader.expect('{')?;
    let mut pairs: Vec<(&str, Cow<'_, str>)> = Vec::new();
    reader.space();
    while !reader.eat('}') {
        if !pairs.is_empty() {
            reader.expect(',')?;
        }
        let name = reader.name()?;
        if pairs.iter().any(|(n, _)| *n == name) {
            return Err(format!(
                "stream '{text}' has duplicate label name: '{name}'"
            ));
        }
        reader.expect('=')?;
        let value = reader.value()?;
        pairs.push((name, value));
        reader.space();
    }
    reader.space();
    match reader.rest() {
        "" => Ok(Labels::from_pairs(pairs)),
        _ => Err(reader.error("end of text")),
    }
}

/// Whether a label may be called so in LogQL.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.rest().starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.eat(wanted) {
            Ok(())
        } else {
            Err(self.error(&format!("'{wanted}'")))
        }
    }

    fn name(&mut self) -> Result<&'a str, String> {
        self.space();
        let rest = self.rest();
        let len = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let name = &rest[..len];
        if !is_name(name) {
            return Err(self.error("a label name"));
        }
        self.at += len;
        Ok(name)
    }

    fn value(&mut self) -> Result<Cow<'a, str>, String> {
        self.space();
        let rest = self.rest();
        let Some(quote @ ('"' | '\'' | '`')) = rest.chars().next() else {
            return Err(self.error("a quoted value"));
        };
        let body = &rest[1..];
        let mut escaped = false;
        let end = body.char_indices().find(|&(_, c)| {
            let ends = c == quote && !escaped;
            escaped = quote != '`' && c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else {
            return Err(self.error("a closing quote"));
        };
        let value = &body[..end];
        let value = if quote != '`' && value.contains('\\') {
            Cow::Owned(unescape(value, quote).ok_or_else(|| self.error("a valid escape"))?)
        } else {
            Cow::Borrowed(value)
        };
        self.at += end + 2;
        Ok(value)
    }

    fn error(&self, expected: &str) -> String {
        let column = self.text[..self.at].chars().count() + 1;
        let found = match self.rest().chars().next() {
            Some(c) => format!("{c:?}"),
            None => "the end".into(),
        };
        format!(
            "parse error at line 1, col {column}: syntax error: unexpected {found}, expecting {expected}"
        )
    }
}

/// Go's escapes in a string between such quotes.
fn unescape(text: &str, quote: char) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            c if c == '\\' || c == quote => out.push(c as u8),
            'x' => out.push(u8::try_from(hex(&mut rest, 2)?).ok()?),
            'u' | 'U' => {
                let digits = if kind == 'u' { 4 } else { 8 };
                let c = char::from_u32(hex(&mut rest, digits)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).ok()
}

fn hex(rest: &mut &str, digits: usize) -> Option<u32> {
    let text = rest.get(..digits)?;
    *rest = &rest[digits..];
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_mistakes_are_placed() {
        let cases = [
            ("{}", "{}"),
            (r#"{job="a"}"#, r#"{job="a"}"#),
            (r#" { b = "2" , a="1" } "#, r#"{a="1", b="2"}"#),
            (r#"{a="x\"y\\z\n\u89b3"}"#, "{a=\"x\\\"y\\\\z\\n観\"}"),
            (r#"{a='x"y\'z'}"#, r#"{a="x\"y'z"}"#),
            (
                r#"{a='\"'}"#,
                "parse error at line 1, col 4: syntax error: unexpected '\\'', expecting a valid escape",
            ),
            ("{a=`c:\\d`}", r#"{a="c:\\d"}"#),
            (r#"{stream="stdout"}"#, r#"{stream="stdout"}"#),
            (
                "job=\"a\"",
                "parse error at line 1, col 1: syntax error: unexpected 'j', expecting '{'",
            ),
            (
                "{job=\"a\"",
                "parse error at line 1, col 9: syntax error: unexpected the end, expecting ','",
            ),
            (
                "{job=a}",
                "parse error at line 1, col 6: syntax error: unexpected 'a', expecting a quoted value",
            ),
            (
                "{a=\"1\" b=\"2\"}",
                "parse error at line 1, col 8: syntax error: unexpected 'b', expecting ','",
            ),
            (
                "{a.b=\"1\"}",
                "parse error at line 1, col 3: syntax error: unexpected '.', expecting '='",
            ),
            (
                "{a=\"1\", a=\"2\"}",
                "stream '{a=\"1\", a=\"2\"}' has duplicate label name: 'a'",
            ),
            (
                "{a=\"\\q\"}",
                "parse error at line 1, col 4: syntax error: unexpected '\"', expecting a valid escape",
            ),
            (
                "{a=\"1\"} x",
                "parse error at line 1, col 9: syntax error: unexpected 'x', expecting end of text",
            ),
        ];
        for (text, expected) in cases {
            let got = match parse(text) {
                Ok(labels) => labels.to_string(),
                Err(message) => message,
            };
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn odd_texts_never_panic() {
        for text in [
            "",
            "{",
            "{\"",
            "{a=\"\\",
            "{a=\"\\u12",
            "{a=\"\\x観",
            "{観=\"1\"}",
            "{,}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
