//! A query's text cut into tokens with their places.
//!
//! Words keep their spelling; whether one is a function depends on what follows it, as in Loki:
//! `sum` is a label name unless `(`, `by (` or `without (` comes next. The first fault ends the
//! token list with an `Error` token, which the parser reports when it gets there.

use std::fmt::{self, Write};

use super::range;
use super::stages;
use super::units;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A label name, in Loki's words an `IDENTIFIER`.
    Identifier(String),
    /// A word with a meaning, in lower case.
    Keyword(&'static str),
    /// A word that calls something, in lower case.
    Function(&'static str),
    Punctuation(&'static str),
    Text(String),
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    Bytes(u64),
    /// `[5m]` in nanoseconds.
    Range(i64),
    /// `--strict`
    Flag(&'static str),
    /// A character that stands for nothing.
    Unknown,
    End,
    Error(String),
}

/// A token and where it starts, counted from one.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
    pub column: usize,
}

/// Operators and brackets; a longer one comes before its own beginning.
const PUNCTUATION: &[&str] = &[
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", ",", ".", "=",
    "|", ">", "<", "+", "-", "*", "/", "%", "^", "[", "]",
];

/// Words that are never label names.
const KEYWORDS: &[&str] = &[
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "unwrap",
    "ip",
];

/// Flags of the logfmt stage.
const FLAGS: &[&str] = &["--strict", "--keep-empty"];

/// Words that call something when a parenthesis or a grouping follows.
const FUNCTIONS: &[&str] = &[
    "vector",
    "label_replace",
    "bytes",
    "duration",
    "duration_seconds",
    "approx_topk",
];

impl Kind {
    /// The token as syntax errors name it.
    pub fn describe(&self) -> String {
        match self {
            Self::Identifier(_) | Self::Unknown => "IDENTIFIER".into(),
            Self::Keyword(word) => (*word).into(),
            Self::Function("label_replace") => "label_replace".into(),
            Self::Function(word) => word.to_uppercase(),
            Self::Punctuation(text) => (*text).into(),
            Self::Text(_) => "STRING".into(),
            Self::Number(_) => "NUMBER".into(),
            Self::Duration(_) => "DURATION".into(),
            Self::Bytes(_) => "BYTES".into(),
            Self::Range(_) => "RANGE".into(),
            Self::Flag(_) => "FUNCTION_FLAG".into(),
            Self::End => "$end".into(),
            Self::Error(message) => message.clone(),
        }
    }
}

/// Cuts a query. The last token is `End` or `Error`.
pub fn tokenize(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        column: 1,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let (mut line, column) = (lexer.line, lexer.column);
        let is_range = lexer.peek() == Some('[');
        let kind = lexer.next_kind().unwrap_or_else(Kind::Error);
        if is_range || matches!(kind, Kind::Duration(_) | Kind::Bytes(_) | Kind::Flag(_)) {
            // Loki's lexer loses the line of what it reads by single characters.
            line = 0;
        }
        let last = matches!(kind, Kind::End | Kind::Error(_));
        tokens.push(Token { kind, line, column });
        if last {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes `len` bytes and keeps count of lines and columns.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        for c in taken.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        taken
    }

    /// Takes characters while `wanted` holds.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let len = self
            .rest
            .find(|c: char| !wanted(c))
            .unwrap_or(self.rest.len());
        self.take(len)
    }

    /// Skips white space and comments, which run from `#` to the end of the line.
    fn skip_blank(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn next_kind(&mut self) -> Result<Kind, String> {
        let Some(c) = self.peek() else {
            return Ok(Kind::End);
        };
        let second = self.rest[c.len_utf8()..].chars().next();
        match c {
            '"' => self.quoted(),
            '`' => self.raw(),
            '0'..='9' => Ok(self.number()),
            '.' if second.is_some_and(|d| d.is_ascii_digit()) => Ok(self.number()),
            '-' if second == Some('-') => Ok(self.flag()),
            '-' => Ok(self.negative_duration()),
            '[' => self.range(),
            c if c.is_alphabetic() || c == '_' => Ok(self.word()),
            _ => self.punctuation(),
        }
    }

    fn punctuation(&mut self) -> Result<Kind, String> {
        for text in PUNCTUATION {
            if self.rest.starts_with(text) {
                self.take(text.len());
                return Ok(Kind::Punctuation(text));
            }
        }
        self.take(self.peek().map_or(0, char::len_utf8));
        Ok(Kind::Unknown)
    }

    fn flag(&mut self) -> Kind {
        for flag in FLAGS {
            if let Some(after) = self.rest.strip_prefix(flag)
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '-')
            {
                self.take(flag.len());
                return Kind::Flag(flag);
            }
        }
        self.take(1);
        Kind::Punctuation("-")
    }

    fn negative_duration(&mut self) -> Kind {
        let len = 1 + self.rest[1..]
            .find(|c: char| !is_duration_char(c))
            .unwrap_or(self.rest.len() - 1);
        if let Ok(ns) = units::go_duration(&self.rest[..len]) {
            self.take(len);
            return Kind::Duration(ns);
        }
        // Go's reader knows no days; Prometheus's knows no sign.
        if let Ok(ns) = units::prometheus_duration(&self.rest[1..len])
            && self.rest[1..len].ends_with(char::is_alphabetic)
        {
            self.take(len);
            return Kind::Duration(-ns);
        }
        self.take(1);
        Kind::Punctuation("-")
    }

    /// A number, or a duration or size when its unit follows at once.
    fn number(&mut self) -> Kind {
        let start = self.rest;
        let digits = number_len(start);
        let unit_end = |wanted: fn(char) -> bool| {
            digits
                + start[digits..]
                    .find(|c: char| !wanted(c))
                    .unwrap_or(start.len() - digits)
        };
        let end = unit_end(is_duration_char);
        if end > digits
            && let Ok(ns) = units::query_duration(&start[..end])
        {
            self.take(end);
            return Kind::Duration(ns);
        }
        let end = unit_end(is_bytes_char);
        if end > digits
            && let Ok(n) = units::byte_size(&start[..end])
        {
            self.take(end);
            return Kind::Bytes(n);
        }
        Kind::Number(self.take(digits).to_owned())
    }

    fn range(&mut self) -> Result<Kind, String> {
        let Some(end) = self.rest.find(']') else {
            return Err("missing closing ']' in duration".into());
        };
        let ns = units::prometheus_duration(&self.rest[1..end])?;
        self.take(end + 1);
        Ok(Kind::Range(ns))
    }

    fn raw(&mut self) -> Result<Kind, String> {
        let Some(end) = self.rest[1..].find('`') else {
            return Err("literal not terminated".into());
        };
        let text = self.take(end + 2);
        Ok(Kind::Text(text[1..=end].to_owned()))
    }

    fn quoted(&mut self) -> Result<Kind, String> {
        let mut escaped = false;
        for (i, c) in self.rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let inner = &self.rest[1..i];
                    let text = unquote(inner)?;
                    self.take(i + 1);
                    return Ok(Kind::Text(text));
                }
                _ => {}
            }
        }
        Err("literal not terminated".into())
    }

    fn word(&mut self) -> Kind {
        let word = self.take_while(|c| c.is_alphanumeric() || c == '_');
        let lower = word.to_lowercase();
        if let Some(name) = function_name(&lower) {
            if name == "label_replace" || calls(self.rest) {
                return Kind::Function(name);
            }
            return Kind::Identifier(word.to_owned());
        }
        let keywords = KEYWORDS.iter().copied();
        let stages = stages::WORDS.iter().map(|stage| stage.word);
        match keywords.chain(stages).find(|k| *k == lower) {
            // A label may have that name.
            Some("ip") if !self.rest.trim_start().starts_with('(') => {
                Kind::Identifier(word.to_owned())
            }
            Some(keyword) => Kind::Keyword(keyword),
            None => Kind::Identifier(word.to_owned()),
        }
    }
}

/// The word as a function of some kind.
fn function_name(word: &str) -> Option<&'static str> {
    FUNCTIONS
        .iter()
        .copied()
        .chain(range::FUNCTIONS.iter().map(|f| f.name))
        .chain(super::ast::AggregateOp::ALL.iter().map(|(_, name)| *name))
        .find(|name| *name == word)
}

/// Whether what follows a word makes it a call.
fn calls(rest: &str) -> bool {
    let rest = rest.trim_start();
    if rest.starts_with('(') {
        return true;
    }
    ["by", "without"].iter().any(|word| {
        rest.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
            && rest[word.len()..].trim_start().starts_with('(')
    })
}

fn is_duration_char(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '.' | 'n' | 'u' | 'µ' | 'm' | 's' | 'h' | 'd' | 'w' | 'y')
}

fn is_bytes_char(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '.' | 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T' | 'P')
}

/// The length of a Go number at the start of `text`.
fn number_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') {
        return 2 + bytes[2..]
            .iter()
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
    }
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = if end + 1 + sign <= bytes.len() {
            digits(end + 1 + sign)
        } else {
            0
        };
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// A text as a query writes it: quoted, with Go's escapes.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{b}' => f.write_str("\\v")?,
                '\u{c}' => f.write_str("\\f")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Resolves the escapes of a Go string.
pub fn unquote(inner: &str) -> Result<String, String> {
    let invalid = || "invalid char escape".to_owned();
    if !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let c = rest[at + 1..].chars().next().ok_or_else(invalid)?;
        rest = &rest[at + 1 + c.len_utf8()..];
        let simple = match c {
            'a' => Some(0x07),
            'b' => Some(0x08),
            'f' => Some(0x0c),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(0x0b),
            '\\' => Some(b'\\'),
            '"' => Some(b'"'),
            '\'' => Some(b'\''),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            continue;
        }
        let (digits, radix, from) = match c {
            'x' => (2, 16, rest),
            'u' => (4, 16, rest),
            'U' => (8, 16, rest),
            '0'..='7' => (3, 8, &inner[inner.len() - rest.len() - 1..]),
            _ => return Err(invalid()),
        };
        let number = from
            .get(..digits)
            .and_then(|d| u32::from_str_radix(d, radix).ok())
            .ok_or_else(invalid)?;
        rest = &from[digits..];
        if matches!(c, 'u' | 'U') {
            let c = char::from_u32(number).ok_or_else(invalid)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.push(u8::try_from(number).map_err(|_| invalid())?);
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).map_err(|_| "invalid UTF-8 rune".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<String> {
        tokenize(text).iter().map(|t| t.kind.describe()).collect()
    }

    #[test]
    fn words_are_functions_only_when_called() {
        assert_eq!(
            kinds("sum by (sum) (rate"),
            [
                "SUM",
                "by",
                "(",
                "IDENTIFIER",
                ")",
                "(",
                "IDENTIFIER",
                "$end"
            ]
        );
        assert_eq!(kinds("BYTES_RATE ("), ["BYTES_RATE", "(", "$end"]);
    }

    #[test]
    fn numbers_durations_sizes_ranges_and_flags() {
        assert_eq!(
            kinds("1.5 .5 1e3 5m 1.5h 20KiB -5m - 5 [1h] --strict 0x10"),
            [
                "NUMBER",
                "NUMBER",
                "NUMBER",
                "DURATION",
                "DURATION",
                "BYTES",
                "DURATION",
                "-",
                "NUMBER",
                "RANGE",
                "FUNCTION_FLAG",
                "NUMBER",
                "$end"
            ]
        );
        assert_eq!(kinds("5minutes"), ["DURATION", "IDENTIFIER", "$end"]);
        assert_eq!(kinds("5e"), ["NUMBER", "IDENTIFIER", "$end"]);
    }

    #[test]
    fn strings_comments_and_places() {
        let tokens = tokenize("{a=\"x\\n\\u00e9\\x41\\101\"} # c \"\n|= `r\\n`");
        assert_eq!(tokens[3].kind, Kind::Text("x\né\u{41}A".into()));
        assert_eq!((tokens[5].line, tokens[5].column), (2, 1));
        assert_eq!(tokens[6].kind, Kind::Text("r\\n".into()));
    }

    #[test]
    fn quoted_texts_read_back() {
        for text in ["", "a\"b\\c", "\n\t\r\u{1}\u{7f}\u{85}", "é\u{2028}😀`"] {
            let tokens = tokenize(&Quoted(text).to_string());
            assert_eq!(tokens[0].kind, Kind::Text(text.into()));
        }
    }

    #[test]
    fn places_are_as_loki_counts_them() {
        let tokens = tokenize("a ; [5m] 5m 3KB --strict 7 @");
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 1, 0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(tokens[1].kind, Kind::Unknown);
        assert_eq!(tokens[1].kind.describe(), "IDENTIFIER");
    }

    #[test]
    fn faults_stand_at_the_end() {
        for (text, message) in [
            ("{a=\"x", "literal not terminated"),
            ("`x", "literal not terminated"),
            ("\"a\nb\"", "literal not terminated"),
            (r#""\q""#, "invalid char escape"),
            (r#""\xff""#, "invalid UTF-8 rune"),
            ("[5m", "missing closing ']' in duration"),
            ("[]", "empty duration string"),
        ] {
            let last = tokenize(text).pop().unwrap();
            assert_eq!(last.kind, Kind::Error(message.into()), "{text}");
        }
    }
}
