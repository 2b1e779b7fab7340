//! `application/x-www-form-urlencoded`: parameters of URLs and of POST bodies.
//!
//! The rule is Go's `url.ParseQuery`: `+` is a space, `%XX` a byte, a broken escape is an error.

/// Parameters in order; a name may repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Appends the parameters of `text`.
    ///
    /// # Errors
    /// When an escape is broken.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if pair.contains(';') {
                return Err("invalid semicolon separator in query".into());
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.0.push((unescape(name, true)?, unescape(value, true)?));
        }
        Ok(())
    }

    /// The first value of `name`, or the empty text.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }

    /// All of it for a person who reads a log.
    #[must_use]
    pub fn shown(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }

    /// All values of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Undoes percent escapes; bytes that are no UTF-8 become U+FFFD.
///
/// # Errors
/// When an escape is broken.
pub fn unescape(text: &str, plus_is_space: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).and_then(hex);
                let Some(byte) = digits else {
                    let end = (at + 3).min(bytes.len());
                    let escape = String::from_utf8_lossy(&bytes[at..end]);
                    return Err(format!("invalid URL escape {escape:?}"));
                };
                out.push(byte);
                at += 3;
                continue;
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(String::from_utf8(out)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let (high, low) = (digit(digits[0])?, digit(digits[1])?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_unescaped_and_the_first_wins() {
        let mut form = Form::default();
        form.read("query=up%7Bjob%3D%22a%22%7D+%2B+1&match[]=a&match[]=b&empty&x=")
            .unwrap();
        form.read("query=second&bad=%ff").unwrap();
        assert_eq!(form.get("query"), "up{job=\"a\"} + 1");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((form.get("empty"), form.get("none")), ("", ""));
        assert_eq!(form.get("bad"), "\u{fffd}");
    }

    #[test]
    fn broken_escapes_are_errors() {
        for (text, message) in [
            ("a=%", "invalid URL escape \"%\""),
            ("a=%4", "invalid URL escape \"%4\""),
            ("a=%zz1", "invalid URL escape \"%zz\""),
            ("a=1;b=2", "invalid semicolon separator in query"),
        ] {
            assert_eq!(Form::default().read(text), Err(message.into()));
        }
        assert_eq!(unescape("a+b", false).unwrap(), "a+b");
    }
}
