//! Reads `key=value key="quoted value"` pairs from a line.
//!
//! Faults are given as they are met; reading goes on after the next blank, so that a caller may
//! choose to be strict or not.

use std::borrow::Cow;

/// A key, its value, both as bytes of the line unless a quoted value had escapes.
pub type Pair<'a> = (&'a [u8], Cow<'a, [u8]>);

/// A place in a logfmt line.
#[derive(Debug)]
pub struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The length of the run of bytes from here for which `inside` holds.
    fn run(&self, inside: impl Fn(u8) -> bool) -> usize {
        let rest = &self.line[self.at..];
        rest.iter().position(|b| !inside(*b)).unwrap_or(rest.len())
    }

    fn fault(&self, what: &str) -> String {
        format!("logfmt syntax error at pos {} : {what}", self.at + 1)
    }

    fn unexpected(&self) -> String {
        let c = char::from(self.line.get(self.at).copied().unwrap_or(b' '));
        self.fault(&format!("unexpected {c:?}"))
    }

    /// Goes on at the next blank.
    fn skip_value(&mut self) {
        self.at += self.run(|b| b > b' ');
    }

    fn key_and_value(&mut self) -> Result<Pair<'a>, String> {
        let start = self.at;
        self.at += self.run(|b| b > b' ' && b != b'=' && b != b'"');
        let key = &self.line[start..self.at];
        match self.line.get(self.at) {
            Some(b'"') => return Err(self.unexpected()),
            Some(b'=') if key.is_empty() => return Err(self.unexpected()),
            _ => {}
        }
        let is_clean = |key: &str| !key.contains(char::REPLACEMENT_CHARACTER);
        if !key.is_ascii() && !std::str::from_utf8(key).is_ok_and(is_clean) {
            return Err(self.fault("invalid key"));
        }
        if self.line.get(self.at) != Some(&b'=') {
            return Ok((key, Cow::Borrowed(b"")));
        }
        self.at += 1;
        if self.line.get(self.at) == Some(&b'"') {
            return Ok((key, self.quoted()?));
        }
        let start = self.at;
        self.at += self.run(|b| b > b' ' && b != b'=' && b != b'"');
        if matches!(self.line.get(self.at), Some(b'=' | b'"')) {
            return Err(self.unexpected());
        }
        Ok((key, Cow::Borrowed(&self.line[start..self.at])))
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, String> {
        let start = self.at + 1;
        let mut escapes = false;
        let mut at = start;
        while let Some(i) = memchr::memchr2(b'"', b'\\', self.line.get(at..).unwrap_or_default()) {
            if self.line[at + i] == b'\\' {
                escapes = true;
                at += i + 2;
                continue;
            }
            let raw = &self.line[start..at + i];
            self.at = at + i + 1;
            if !escapes {
                return Ok(Cow::Borrowed(raw));
            }
            return super::json_scan::unescape_logfmt(raw)
                .map(Cow::Owned)
                .ok_or_else(|| self.fault("invalid quoted value"));
        }
        self.at = self.line.len();
        Err(self.fault("unterminated quoted value"))
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Result<Pair<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.at += self.run(|b| b <= b' ');
        if self.at >= self.line.len() {
            return None;
        }
        let before = self.at;
        let pair = self.key_and_value();
        if pair.is_err() {
            // A fault found at the end of a quoted value leaves nothing to skip.
            if self.at == before || self.line.get(self.at).is_some_and(|b| *b > b' ') {
                self.skip_value();
            }
            self.at = self.at.max(before + 1);
        }
        Some(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<String> {
        Scanner::new(line.as_bytes())
            .map(|pair| match pair {
                Ok((key, value)) => format!(
                    "{}:{}",
                    String::from_utf8_lossy(key),
                    String::from_utf8_lossy(&value)
                ),
                Err(e) => e,
            })
            .collect()
    }

    #[test]
    fn pairs_and_faults() {
        assert_eq!(
            read(r#"a=1 b="x \"y\" z"  c= d é=ü"#),
            ["a:1", "b:x \"y\" z", "c:", "d:", "é:ü"]
        );
        assert_eq!(
            read(r#"a=b=c d=1"#),
            [r#"logfmt syntax error at pos 4 : unexpected '='"#, "d:1"]
        );
        assert_eq!(
            read(r#"=x d=1"#),
            [r#"logfmt syntax error at pos 1 : unexpected '='"#, "d:1"]
        );
        assert_eq!(
            read(r#"d=1 a="x"#),
            [
                "d:1",
                "logfmt syntax error at pos 9 : unterminated quoted value"
            ]
        );
        assert_eq!(
            read(r#"a="\q" b=2"#),
            ["logfmt syntax error at pos 7 : invalid quoted value", "b:2"]
        );
        assert_eq!(
            read("\u{fffd}=1 b\u{fffd} c=2"),
            [
                "logfmt syntax error at pos 4 : invalid key",
                "logfmt syntax error at pos 11 : invalid key",
                "c:2"
            ]
        );
        assert_eq!(
            read(r#"a="\ud83d\'" b="\ud83d\ude00""#),
            ["a:\u{fffd}'", "b:😀"]
        );
        assert!(read("   ").is_empty());
    }
}
