//! Patterns in Ruby syntax (Onigmo, as Fluent Bit runs them) for the regex crate.
//!
//! The differences are translated: `^` and `$` stand at every line, `\h` is a hex digit, `\<` and
//! `/…/im` are plain. What the regex crate cannot run in linear time, look-around, backreferences
//! and possessive quantifiers, is refused. Patterns work on bytes, so that a line that is not UTF-8
//! is parsed like any other; `\d`, `\w` and `\s` are ASCII, as they are in Ruby.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, Look};

/// A compiled pattern may take this much memory; more is a mistake such as `.{1000}{1000}`.
const MAX_COMPILED_BYTES: usize = 8 << 20;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// Compiles a pattern as it stands in a Fluent Bit configuration.
///
/// # Errors
/// When it is malformed, or needs what is not supported.
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    Translated::new(pattern)?.build(true)
}

/// A pattern that is asked for yes or no.
///
/// Most texts are one line; there `^` is the start of the text and nothing else, which lets the
/// search give up at the first byte.
#[derive(Debug, Clone)]
pub struct Pattern {
    anywhere: Regex,
    in_line: Regex,
    first: FirstBytes,
}

impl Pattern {
    /// Compiles a pattern as it stands in a Fluent Bit configuration.
    ///
    /// # Errors
    /// When it is malformed, or needs what is not supported.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let translated = Translated::new(pattern)?;
        Ok(Self {
            anywhere: translated.build(true)?,
            in_line: translated.build(false)?,
            first: translated.first_bytes(),
        })
    }

    /// Whether it is found in the text.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.anywhere.is_match(text)
    }

    /// Whether it is found in a text that holds no newline.
    #[must_use]
    pub fn is_match_in_line(&self, line: &[u8]) -> bool {
        debug_assert!(!line.contains(&b'\n'));
        self.in_line.is_match(line)
    }

    /// The bytes that a line without newline which it matches can start with.
    #[must_use]
    pub fn first_bytes(&self) -> FirstBytes {
        self.first
    }
}

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstBytes([u64; 4]);

impl FirstBytes {
    /// No byte at all.
    pub const NONE: Self = Self([0; 4]);
    /// Every byte.
    pub const ANY: Self = Self([u64::MAX; 4]);

    /// Whether a line may match: it is empty, or starts with one of the bytes.
    #[must_use]
    pub fn allows(&self, line: &[u8]) -> bool {
        line.first()
            .is_none_or(|b| self.0[usize::from(*b >> 6)] >> (b & 63) & 1 == 1)
    }

    /// Both sets.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    fn of(pattern: &Hir) -> Self {
        if !pattern.properties().look_set_prefix().contains(Look::Start) {
            return Self::ANY;
        }
        let mut extractor = Extractor::new();
        extractor
            .kind(ExtractKind::Prefix)
            .limit_class(256)
            .limit_literal_len(1)
            .limit_total(512);
        let starts = extractor.extract(pattern);
        let Some(literals) = starts.literals() else {
            return Self::ANY;
        };
        let mut bytes = Self::NONE;
        for literal in literals {
            // The empty text starts every line.
            let Some(b) = literal.as_bytes().first() else {
                return Self::ANY;
            };
            bytes.0[usize::from(*b >> 6)] |= 1 << (b & 63);
        }
        bytes
    }
}

/// A pattern in the syntax of the regex crate.
struct Translated<'a> {
    original: &'a str,
    pattern: String,
    flags: &'a str,
}

impl<'a> Translated<'a> {
    fn new(original: &'a str) -> Result<Self, PatternError> {
        let (body, flags) = strip_slashes(original);
        Ok(Self {
            original,
            pattern: translate(body)?,
            flags,
        })
    }

    /// Classes are ASCII, as in Ruby, unless the pattern itself is not.
    fn unicode(&self) -> bool {
        !self.pattern.is_ascii() || self.pattern.contains("\\p")
    }

    fn build(&self, multi_line: bool) -> Result<Regex, PatternError> {
        RegexBuilder::new(&self.pattern)
            .unicode(self.unicode())
            .multi_line(multi_line)
            .dot_matches_new_line(self.flags.contains('m'))
            .case_insensitive(self.flags.contains('i'))
            .ignore_whitespace(self.flags.contains('x'))
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|e| {
                let text = e.to_string();
                let reason = text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                PatternError(format!("pattern '{}': {reason}", self.original))
            })
    }

    fn first_bytes(&self) -> FirstBytes {
        let parsed = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(self.unicode())
            .dot_matches_new_line(self.flags.contains('m'))
            .case_insensitive(self.flags.contains('i'))
            .ignore_whitespace(self.flags.contains('x'))
            .build()
            .parse(&self.pattern);
        parsed.map_or(FirstBytes::ANY, |hir| FirstBytes::of(&hir))
    }
}

/// `/body/flags`, or the whole as the body.
fn strip_slashes(pattern: &str) -> (&str, &str) {
    let inner = pattern
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'));
    match inner {
        Some((body, flags)) if flags.chars().all(|c| "imxo".contains(c)) => (body, flags),
        _ => (pattern, ""),
    }
}

fn translate(body: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(body.len() + 8);
    let mut rest = body;
    // Depth of nested `[`.
    let mut class = 0;
    while let Some(c) = rest.chars().next() {
        let unsupported = |what: &str| {
            let message = format!(
                "pattern '{body}': {what} is not supported yet; rewrite the pattern without it"
            );
            Err(PatternError(message))
        };
        let mut taken = c.len_utf8();
        match c {
            '\\' => {
                let Some(escaped) = rest[1..].chars().next() else {
                    return Err(PatternError(format!(
                        "pattern '{body}' ends with a single backslash"
                    )));
                };
                taken += escaped.len_utf8();
                match escaped {
                    'h' if class > 0 => out.push_str("0-9a-fA-F"),
                    'h' => out.push_str("[0-9a-fA-F]"),
                    'H' => out.push_str("[^0-9a-fA-F]"),
                    'e' => out.push_str("\\x1b"),
                    'Z' => out.push_str("(?:\\n?\\z)"),
                    'b' if class > 0 => out.push_str("\\x08"),
                    '1'..='9' | 'k' | 'g' if class == 0 => return unsupported("a backreference"),
                    'G' | 'K' | 'R' | 'X' => return unsupported(&format!("\\{escaped}")),
                    // `\<` would be the start of a word here; in Ruby it is a plain `<`.
                    '<' | '>' | '_' | '"' | '\'' | ' ' | '`' | '@' | '%' | ',' | ':' | ';'
                    | '=' | '!' => {
                        push_plain(&mut out, escaped);
                    }
                    'y' | 'i' | 'j' | 'l' | 'm' | 'o' | 'q' | 'c' | 'E' | 'F' | 'I' | 'J' | 'L'
                    | 'M' | 'N' | 'O' | 'Q' | 'T' | 'U' | 'V' | 'Y' | 'C' => out.push(escaped),
                    _ => out.push_str(&rest[..taken]),
                }
            }
            '[' if class == 0 => {
                class = 1;
                out.push('[');
                if rest[1..].starts_with('^') {
                    out.push('^');
                    taken += 1;
                }
                // A bracket right at the start is itself.
                if rest[taken..].starts_with(']') {
                    out.push_str("\\]");
                    taken += 1;
                }
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").unwrap_or(0) + 2;
                out.push_str(&rest[..end]);
                taken = end;
            }
            // A class in a class, in Ruby as here.
            '[' => {
                class += 1;
                out.push('[');
            }
            ']' if class > 0 => {
                class -= 1;
                out.push(']');
            }
            // In a class, doubled characters are operators of the regex crate only.
            '~' | '-' if class > 0 && rest[1..].starts_with(c) => {
                out.push('\\');
                out.push(c);
            }
            '(' if class == 0 && rest.starts_with("(?") => {
                let after = &rest[2..];
                for (look, what) in [
                    ("=", "look-ahead"),
                    ("!", "look-ahead"),
                    ("<=", "look-behind"),
                    ("<!", "look-behind"),
                    (">", "an atomic group"),
                    ("~", "an absence group"),
                    ("(", "a conditional group"),
                ] {
                    if after.starts_with(look) {
                        return unsupported(what);
                    }
                }
                if after.starts_with('#') {
                    // A comment.
                    taken = rest.find(')').map_or(rest.len(), |at| at + 1);
                } else {
                    let head = after.find([')', ':', '<', '\'']).unwrap_or(0);
                    let flags = &after[..head];
                    taken = 2 + head;
                    out.push_str("(?");
                    // Ruby's `m` lets the point match a newline.
                    out.push_str(&flags.replace('m', "s"));
                    if after[head..].starts_with('\'') {
                        let name = &after[head + 1..];
                        let Some(end) = name.find('\'') else {
                            return Err(PatternError(format!(
                                "pattern '{body}': a group name has no end"
                            )));
                        };
                        out.push_str(&format!("<{}>", &name[..end]));
                        taken += end + 2;
                    }
                }
            }
            '{' if class == 0 && !is_repetition(rest) => out.push_str("\\{"),
            '*' | '+' | '?' | '}'
                if class == 0 && rest[1..].starts_with('+') && !out.is_empty() && c != '}' =>
            {
                return unsupported("a possessive quantifier");
            }
            other => out.push(other),
        }
        rest = &rest[taken..];
    }
    Ok(out)
}

fn push_plain(out: &mut String, c: char) {
    out.push_str(&format!("\\x{:02x}", u32::from(c)));
}

fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest[1..].split_once('}') else {
        return false;
    };
    !inside.is_empty() && inside != "," && inside.chars().all(|c| c.is_ascii_digit() || c == ',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(pattern: &str, text: &str, name: &str) -> Option<String> {
        let regex = compile(pattern).expect(pattern);
        let found = regex.captures(text.as_bytes())?;
        Some(String::from_utf8_lossy(found.name(name)?.as_bytes()).into_owned())
    }

    #[test]
    fn ruby_patterns_run() {
        let cases = [
            (r"^\<(?<a>[0-9]{1,5})\>1", "<34>1 x", "34"),
            (r"^(?<a>[^\[]*)\[", "app[12]", "app"),
            (r"(?<a>[^]]+)\]", "[x]y]", "[x"),
            (r"/^(?<a>A.B)$/im", "a\nb", "a\nb"),
            (r"^(?<a>\h+)$", "dead01", "dead01"),
            (r"(?<a>[\h-]+)", "zzde-ad", "de-ad"),
            (r"^(?<a>b)$", "a\nb\nc", "b"),
            (r#"^{"(?<a>\w+)"}"#, r#"{"k"}"#, "k"),
            (r"(?'a'x+)", "axx", "xx"),
            (r"(?m:(?<a>a.b))", "a\nb", "a\nb"),
            (r"(?<a>[[:alpha:]]+)", "12ab", "ab"),
            (r"(?<a>[^\[\]]+)", "[x]", "x"),
            (r"(?<a>.*)", "観測", "観測"),
            (r"(?<a>観.)", "x観測", "観測"),
            (r"(?<a>\/a\-b)\z", "/a-b", "/a-b"),
            (r"^(?<a>[^ ]*) {2}", "x  y", "x"),
            (r"(?<a>[a-c[xy]]+)", "1bxy", "bxy"),
            (r"(?#note)(?<a>x)", "x", "x"),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                group(pattern, text, "a").as_deref(),
                Some(expected),
                "{pattern}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_match() {
        let regex = compile("^(?<a>.*)$").expect("valid");
        assert!(regex.is_match(b"x\xff\xfey"));
        assert_eq!(regex.find(b"x\xff\xfey").map(|m| m.len()), Some(4));
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let cases = [
            ("a(?=b)", "look-ahead"),
            ("a(?!b)", "look-ahead"),
            ("(?<=a)b", "look-behind"),
            ("(?<!a)b", "look-behind"),
            (r"(a)\1", "a backreference"),
            (r"(?<x>a)\k<x>", "a backreference"),
            ("(?>a)", "an atomic group"),
            ("a++", "a possessive quantifier"),
        ];
        for (pattern, what) in cases {
            let message = compile(pattern).expect_err(pattern).to_string();
            assert_eq!(
                message,
                format!(
                    "pattern '{pattern}': {what} is not supported yet; rewrite the pattern without it"
                )
            );
        }
        assert!(
            compile("(")
                .unwrap_err()
                .to_string()
                .starts_with("pattern '(': unclosed group")
        );
        assert!(compile("a\\").is_err());
        assert!(compile("a{1000}{1000}{1000}").is_err());
    }
}
