//! logfmt: `key=value other="a quoted value" bare`.
//!
//! Cutting only, into ranges of the line. A bare key stands for true, `key=` for an empty text.

use std::ops::Range;

/// What stands after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogfmtValue {
    /// A key without `=`.
    Bare,
    /// The text, between its quotes when it has them; `escaped` when it must go through
    /// [`super::json::unescape`].
    Text { range: Range<usize>, escaped: bool },
}

/// Calls `each` with every key and value; stops early when it returns false.
pub fn pairs(line: &[u8], mut each: impl FnMut(Range<usize>, LogfmtValue) -> bool) {
    let is_key = |b: u8| b > b' ' && b != b'=' && b != b'"';
    let mut at = 0;
    while at < line.len() {
        let start = at;
        at += line[at..].iter().take_while(|b| is_key(**b)).count();
        if at == start {
            // A blank, or a character that can start no key.
            at += 1;
            continue;
        }
        let key = start..at;
        let value = if line.get(at) == Some(&b'=') {
            at += 1;
            let (value, end) = value(line, at);
            at = end;
            value
        } else {
            LogfmtValue::Bare
        };
        if !each(key, value) {
            return;
        }
    }
}

/// The value that starts at `at`, and where it ends.
fn value(line: &[u8], at: usize) -> (LogfmtValue, usize) {
    if line.get(at) != Some(&b'"') {
        let len = line[at..].iter().take_while(|b| **b > b' ').count();
        let range = at..at + len;
        return (
            LogfmtValue::Text {
                range,
                escaped: false,
            },
            at + len,
        );
    }
    let start = at + 1;
    let mut end = start;
    let mut escaped = false;
    while let Some(b) = line.get(end) {
        match b {
            b'"' => break,
            b'\\' => {
                escaped = true;
                end += 2;
            }
            _ => end += 1,
        }
    }
    let end = end.min(line.len());
    let range = start..end;
    (
        LogfmtValue::Text { range, escaped },
        (end + 1).min(line.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_cut() {
        let show = |line: &str| {
            let mut out = String::new();
            pairs(line.as_bytes(), |key, value| {
                let value = match value {
                    LogfmtValue::Bare => "!".to_owned(),
                    LogfmtValue::Text { range, escaped } => {
                        format!("{}{}", &line[range], if escaped { "\\" } else { "" })
                    }
                };
                out += &format!("[{}|{value}]", &line[key]);
                true
            });
            out
        };
        for (line, expected) in [
            ("a=1 b=two", "[a|1][b|two]"),
            (r#"m="x y" n="q\"r" o"#, r#"[m|x y][n|q\"r\][o|!]"#),
            ("a= b==c", "[a|][b|=c]"),
            (r#"a="open"#, "[a|open]"),
            (r#"a="open\"#, r"[a|open\\]"),
            ("  =x \"y\" ", "[x|!][y|!]"),
            ("", ""),
        ] {
            assert_eq!(show(line), expected, "{line}");
        }
    }
}
