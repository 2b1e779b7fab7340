//! Go's regular expressions (RE2) turned into what the regex crate reads.
//!
//! The two agree on most; this rewrites where they do not: `\d \w \s \b` are ASCII in Go, `{` may
//! stand for itself, `[` inside a class stands for itself, `\Q..\E` quotes. It rewrites text only;
//! whether the result is a valid pattern is the regex crate's to say.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};

/// The most memory one compiled pattern may take: large alternations fit, bombs do not.
const REGEX_MAX_BYTES: usize = 4 << 20;

/// Compiles a Go pattern for lines, which are bytes.
pub fn compile_bytes(pattern: &str) -> Result<Regex, String> {
    check_names(pattern)?;
    RegexBuilder::new(&translate(pattern))
        .size_limit(REGEX_MAX_BYTES)
        .octal(true)
        .build()
        .map_err(|e| describe(&e, pattern))
}

/// Compiles a Go pattern for label values and template text.
pub fn compile_text(pattern: &str) -> Result<regex::Regex, String> {
    check_names(pattern)?;
    regex::RegexBuilder::new(&translate(pattern))
        .size_limit(REGEX_MAX_BYTES)
        .octal(true)
        .build()
        .map_err(|e| describe(&e, pattern))
}

/// Whether a line has a match. Where the line is no UTF-8, `.` and its like take each bad byte for
/// U+FFFD, as in Go.
pub fn matches_line(regex: &Regex, line: &[u8]) -> bool {
    regex.is_match(line)
        || match readable(line) {
            Cow::Borrowed(_) => false,
            Cow::Owned(text) => regex.is_match(&text),
        }
}

/// A line in which every character can be matched.
pub fn readable(line: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(line) {
        Ok(_) => Cow::Borrowed(line),
        Err(_) => Cow::Owned(String::from_utf8_lossy(line).into_owned().into_bytes()),
    }
}

/// One line, as Go's errors are, instead of the regex crate's drawing.
pub fn describe(error: &regex::Error, pattern: &str) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("expression too large (more than {limit} bytes compiled): `{pattern}`")
        }
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            let (reason, part) = match reason {
                // Go shows the part at fault.
                "unclosed character class" => {
                    let at = unclosed_class(pattern).unwrap_or(0);
                    ("missing closing ]", &pattern[at..])
                }
                "invalid capture group character" => (
                    "invalid named capture",
                    bad_name(pattern).unwrap_or(pattern),
                ),
                reason => (reason, pattern),
            };
            format!("error parsing regexp: {reason}: `{part}`")
        }
    }
}

/// Where the class begins that nothing closes.
fn unclosed_class(pattern: &str) -> Option<usize> {
    let (mut open, mut is_escaped, mut n_inside) = (None, false, 0);
    for (at, c) in pattern.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '[' if open.is_none() => {
                open = Some(at);
                n_inside = 0;
                continue;
            }
            // The first one stands for itself, also behind `^`.
            ']' if n_inside > 0 => open = None,
            '^' if n_inside == 0 => continue,
            _ => {}
        }
        n_inside += 1;
    }
    open
}

/// Names of groups are ASCII in Go.
fn check_names(pattern: &str) -> Result<(), String> {
    match bad_name(pattern) {
        Some(head) => Err(format!(
            "error parsing regexp: invalid named capture: `{head}`"
        )),
        None => Ok(()),
    }
}

/// The head of the first group whose name is none.
fn bad_name(pattern: &str) -> Option<&str> {
    let is_bad = |head: &&str| !head.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    names(pattern)
        .find(|(_, name)| is_bad(name))
        .map(|(head, _)| head)
}

/// The name that a second group has, too.
pub fn repeated_name(pattern: &str) -> Option<&str> {
    let mut seen = Vec::new();
    names(pattern).find_map(|(_, name)| match seen.contains(&name) {
        true => Some(name),
        false => {
            seen.push(name);
            None
        }
    })
}

/// Heads (`(?P<name>`) and names of groups.
fn names(pattern: &str) -> impl Iterator<Item = (&str, &str)> {
    let heads = pattern.match_indices("(?P<").map(|(at, _)| at);
    heads
        .filter(|at| !pattern[..*at].ends_with('\\'))
        .filter_map(|at| {
            let len = pattern[at..].find('>')?;
            Some((&pattern[at..=at + len], &pattern[at + 4..at + len]))
        })
}

/// The same pattern in the regex crate's syntax.
pub fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    // The first `]` of a class stands for itself.
    let mut class_start = false;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                rest = translate_escape(tail, in_class, &mut out);
                class_start = false;
                continue;
            }
            '[' if in_class => {
                if let Some(end) = posix_class_len(rest) {
                    out.push_str(&rest[..end]);
                    rest = &rest[end..];
                    class_start = false;
                    continue;
                }
                out.push_str("\\[");
            }
            '[' => {
                in_class = true;
                class_start = true;
                out.push('[');
                rest = tail;
                if let Some(after) = tail.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                continue;
            }
            ']' if in_class && class_start => out.push_str("\\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '{' if !in_class && !is_repetition(rest) => out.push_str("\\{"),
            _ => out.push(c),
        }
        class_start = false;
        rest = tail;
    }
    out
}

/// Writes what follows a backslash and returns what is left.
fn translate_escape<'a>(tail: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(c) = tail.chars().next() else {
        out.push('\\');
        return tail;
    };
    let after = &tail[c.len_utf8()..];
    match (c, in_class) {
        ('d', false) => out.push_str("[0-9]"),
        ('d', true) => out.push_str("0-9"),
        ('D', false) => out.push_str("[^0-9]"),
        ('D', true) => out.push_str("[^0-9]"),
        ('w', false) => out.push_str("[0-9A-Za-z_]"),
        ('w', true) => out.push_str("0-9A-Za-z_"),
        ('W', _) => out.push_str("[^0-9A-Za-z_]"),
        ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
        ('s', true) => out.push_str("\\t\\n\\f\\r "),
        ('S', _) => out.push_str("[^\\t\\n\\f\\r ]"),
        ('b', false) => out.push_str("(?-u:\\b)"),
        ('B', false) => out.push_str("\\B"),
        ('<' | '>', _) => out.push(c),
        ('Q', _) => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        ('E', _) => {}
        // The braces belong to the escape.
        ('p' | 'P' | 'x', _) if after.starts_with('{') => {
            let len = after.find('}').map_or(after.len(), |at| at + 1);
            out.push('\\');
            out.push(c);
            out.push_str(&after[..len]);
            return &after[len..];
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    after
}

/// The length of `[:alpha:]` at the start of `rest`.
fn posix_class_len(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix("[:")?;
    let end = inner.find(":]")?;
    let name = inner[..end].strip_prefix('^').unwrap_or(&inner[..end]);
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase())).then_some(end + 4)
}

/// Whether `rest` starts with `{2}`, `{2,}` or `{2,3}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inner, _)) = rest[1..].split_once('}') else {
        return false;
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    match inner.split_once(',') {
        Some((low, high)) => !low.is_empty() && digits(low) && digits(high),
        None => !inner.is_empty() && digits(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_match_as_in_go() {
        let cases = [
            (r#"{"level":"error"}"#, r#"x {"level":"error"} y"#, true),
            (r"a{2}", "aa", true),
            (r"a{,2}", "a{,2}", true),
            (r"\d+", "٣", false),
            (r"^\w+$", "abc_1", true),
            (r"[\d.]+ms", "1.5ms", true),
            (r"[[]x", "[x", true),
            (r"[]x]", "]", true),
            (r"[^]x]", "]", false),
            (r"[[:alpha:]]+", "ab", true),
            (r"[a&&b]", "&", true),
            (r"\Qa.b\E+", "a.bbb", true),
            (r"\Qa.b\E", "axb", false),
            (r"\<tag\>", "<tag>", true),
            (r"\bfoo\b", "a foo b", true),
            (r"(?P<x>a)(?i)B", "ab", true),
            (r"\x41\101", "AA", true),
            (r"^\p{Han}\x{1F600}\pL[\p{Lu}x]$", "日😀éÉ", true),
            (r"\P{Greek}", "λ", false),
        ];
        for (pattern, text, expected) in cases {
            let regex = compile_bytes(pattern).unwrap();
            assert_eq!(regex.is_match(text.as_bytes()), expected, "{pattern}");
        }
    }

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (pattern, expected) in [
            ("a[b", "error parsing regexp: missing closing ]: `[b`"),
            ("[]", "error parsing regexp: missing closing ]: `[]`"),
            (
                "(?P<é>.)",
                "error parsing regexp: invalid named capture: `(?P<é>`",
            ),
            (
                "x(?P<a-b>.)",
                "error parsing regexp: invalid named capture: `(?P<a-b>`",
            ),
        ] {
            assert_eq!(compile_bytes(pattern).unwrap_err(), expected);
        }
        assert_eq!(repeated_name("(?P<a>.)(?P<b>.)(?P<a>.)"), Some("a"));
        assert_eq!(repeated_name("(?P<a>.)(?P<b>.)"), None);
    }

    #[test]
    fn faults_and_bombs_are_one_line() {
        for pattern in ["(", "*a", "[z-a]", r"\y", "(?P<n>a{1000}){1000}"] {
            let error = compile_bytes(pattern).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
            assert!(error.contains(pattern), "{error}");
        }
    }
}
