//! Cuts a PromQL text into tokens with their byte ranges.
//!
//! It knows three states (plain, in braces, in brackets) because names, colons and operators mean
//! different things in each. It keeps no meaning: numbers and strings are decoded by the parser.

use super::ast::{BinaryOp, Span};
use super::text::Text;
use crate::number::quote;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    End,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    MatchRegex,
    /// `!~`
    MatchNotRegex,
    At,
    Op(BinaryOp),
    Number,
    Duration,
    String,
    /// A name without colon; keywords and aggregations are told apart by the parser.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    /// The text is not PromQL from here on.
    Error(String),
}

/// A token and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

/// Words that are no metric name in some places; any case is accepted.
pub const KEYWORDS: [&str; 13] = [
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "fill",
    "fill_left",
    "fill_right",
    "anchored",
    "smoothed",
];

/// Words that stand for a time or a duration in some places.
pub const STAND_INS: [&str; 6] = ["start", "end", "step", "range", "max_of", "min_of"];

/// Cuts the whole text. The last token is `End` or `Error`.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        at: 0,
        in_braces: false,
        in_brackets: false,
        had_colon: false,
        n_parens: 0,
    };
    let mut out = Vec::new();
    loop {
        let token = lexer.next();
        let done = matches!(token.kind, TokenKind::End | TokenKind::Error(_));
        out.push(token);
        if done {
            return out;
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    in_braces: bool,
    in_brackets: bool,
    /// A colon was seen in these brackets; there is at most one.
    had_colon: bool,
    n_parens: usize,
}

fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        self.skip_space_and_comments();
        let start = self.at;
        let kind = if start >= self.bytes.len() {
            self.end()
        } else if self.in_braces {
            self.in_braces()
        } else {
            self.plain()
        };
        // An error points at one place, not at what follows it.
        let end = self.at.max(start);
        let is_right_paren = matches!(kind, TokenKind::Error(_)) && self.text[start..end] == *")";
        let start = if is_right_paren { end } else { start };
        Token {
            kind,
            span: Span { start, end },
        }
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'#' => {
                    let rest = &self.bytes[self.at..];
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn end(&self) -> TokenKind {
        let message = if self.in_braces {
            "unexpected end of input inside braces"
        } else if self.n_parens > 0 {
            "unclosed left parenthesis"
        } else if self.in_brackets {
            "unclosed left bracket"
        } else {
            return TokenKind::End;
        };
        TokenKind::Error(message.to_owned())
    }

    fn current_char(&self) -> char {
        self.text[self.at..]
            .chars()
            .next()
            .unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn unexpected(&self, place: &str) -> TokenKind {
        TokenKind::Error(format!(
            "unexpected character{place}: {:?}",
            self.current_char()
        ))
    }

    fn take(&mut self, n_bytes: usize, kind: TokenKind) -> TokenKind {
        self.at += n_bytes;
        kind
    }

    fn in_braces(&mut self) -> TokenKind {
        match (self.peek(0), self.peek(1)) {
            (b'}', _) => {
                self.in_braces = false;
                self.take(1, TokenKind::RightBrace)
            }
            (b'{', _) => TokenKind::Error("unexpected left brace '{'".to_owned()),
            (b',', _) => self.take(1, TokenKind::Comma),
            (b'=', b'~') => self.take(2, TokenKind::MatchRegex),
            (b'=', _) => self.take(1, TokenKind::Assign),
            (b'!', b'~') => self.take(2, TokenKind::MatchNotRegex),
            (b'!', b'=') => self.take(2, TokenKind::Op(BinaryOp::NotEqual)),
            (b'!', _) => {
                self.at += 1;
                TokenKind::Error(format!(
                    "unexpected character after '!' inside braces: {:?}",
                    self.current_char()
                ))
            }
            (b'"' | b'\'' | b'`', _) => self.string(),
            (b, _) if is_name_start(b) => {
                while is_name(self.peek(0)) {
                    self.at += 1;
                }
                TokenKind::Identifier
            }
            _ => self.unexpected(" inside braces"),
        }
    }

    fn plain(&mut self) -> TokenKind {
        use TokenKind::Op;
        match (self.peek(0), self.peek(1)) {
            (b',', _) => self.take(1, TokenKind::Comma),
            (b'(', _) => {
                self.n_parens += 1;
                self.take(1, TokenKind::LeftParen)
            }
            (b')', _) => {
                if self.n_parens == 0 {
                    self.at += 1;
                    return TokenKind::Error("unexpected right parenthesis ')'".to_owned());
                }
                self.n_parens -= 1;
                self.take(1, TokenKind::RightParen)
            }
            (b'{', _) => {
                self.in_braces = true;
                self.take(1, TokenKind::LeftBrace)
            }
            (b'[', _) => {
                if self.in_brackets {
                    return TokenKind::Error("unexpected left bracket '['".to_owned());
                }
                self.in_brackets = true;
                self.had_colon = false;
                self.take(1, TokenKind::LeftBracket)
            }
            (b']', _) => {
                if !self.in_brackets {
                    return TokenKind::Error("unexpected right bracket ']'".to_owned());
                }
                self.in_brackets = false;
                self.take(1, TokenKind::RightBracket)
            }
            (b':', _) if self.in_brackets => {
                if self.had_colon {
                    return TokenKind::Error("unexpected colon ':'".to_owned());
                }
                self.had_colon = true;
                self.take(1, TokenKind::Colon)
            }
            (b'@', _) => self.take(1, TokenKind::At),
            (b'+', _) => self.take(1, Op(BinaryOp::Add)),
            (b'-', _) => self.take(1, Op(BinaryOp::Sub)),
            (b'*', _) => self.take(1, Op(BinaryOp::Mul)),
            (b'/', _) => self.take(1, Op(BinaryOp::Div)),
            (b'%', _) => self.take(1, Op(BinaryOp::Mod)),
            (b'^', _) => self.take(1, Op(BinaryOp::Pow)),
            (b'=', b'=') => self.take(2, Op(BinaryOp::Equal)),
            (b'=', b'~') => {
                self.at += 1;
                TokenKind::Error("unexpected character after '=': '~'".to_owned())
            }
            (b'=', _) => self.take(1, TokenKind::Assign),
            (b'!', b'=') => self.take(2, Op(BinaryOp::NotEqual)),
            (b'!', _) => {
                self.at += 1;
                TokenKind::Error(format!(
                    "unexpected character after '!': {:?}",
                    self.current_char()
                ))
            }
            (b'<', b'=') => self.take(2, Op(BinaryOp::LessEqual)),
            (b'<', b'/') => self.take(2, Op(BinaryOp::TrimUpper)),
            (b'>', b'/') => self.take(2, Op(BinaryOp::TrimLower)),
            (b'<', _) => self.take(1, Op(BinaryOp::Less)),
            (b'>', b'=') => self.take(2, Op(BinaryOp::GreaterEqual)),
            (b'>', _) => self.take(1, Op(BinaryOp::Greater)),
            (b'"' | b'\'' | b'`', _) => self.string(),
            (b'0'..=b'9', _) | (b'.', b'0'..=b'9') => self.number_or_duration(),
            (b, _) if is_name_start(b) || b == b':' => self.word(),
            _ => self.unexpected(""),
        }
    }

    fn word(&mut self) -> TokenKind {
        let start = self.at;
        let mut has_colon = false;
        while is_name(self.peek(0)) || (self.peek(0) == b':' && !self.in_brackets) {
            has_colon |= self.peek(0) == b':';
            self.at += 1;
        }
        if has_colon {
            return TokenKind::MetricIdentifier;
        }
        match self.text[start..self.at].to_ascii_lowercase().as_str() {
            "and" => TokenKind::Op(BinaryOp::And),
            "or" => TokenKind::Op(BinaryOp::Or),
            "unless" => TokenKind::Op(BinaryOp::Unless),
            "atan2" => TokenKind::Op(BinaryOp::Atan2),
            "inf" | "nan" => TokenKind::Number,
            _ => TokenKind::Identifier,
        }
    }

    fn digits(&mut self, hex: bool) {
        while {
            let b = self.peek(0);
            b.is_ascii_digit() || b == b'_' || (hex && b.is_ascii_hexdigit())
        } {
            self.at += 1;
        }
    }

    fn number_or_duration(&mut self) -> TokenKind {
        let start = self.at;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') {
            self.at += 2;
            self.digits(true);
            return self.end_of_number(start, TokenKind::Number);
        }
        self.digits(false);
        let whole = self.at > start;
        if whole && self.duration_unit() > 0 {
            loop {
                self.at += self.duration_unit();
                let before = self.at;
                self.digits(false);
                if self.at == before {
                    return self.end_of_number(start, TokenKind::Duration);
                }
                if self.duration_unit() == 0 {
                    return self.bad_number(start);
                }
            }
        }
        if self.peek(0) == b'.' {
            self.at += 1;
            self.digits(false);
            if self.peek(0) == b'.' {
                self.at += 1;
                return self.bad_number(start);
            }
        }
        if matches!(self.peek(0), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(0), b'+' | b'-') {
                self.at += 1;
            }
            self.digits(false);
        }
        self.end_of_number(start, TokenKind::Number)
    }

    /// Bytes of the duration unit here, 0 when there is none.
    fn duration_unit(&self) -> usize {
        match (self.peek(0), self.peek(1)) {
            (b'm', b's') => 2,
            (b's' | b'm' | b'h' | b'd' | b'w' | b'y', _) => 1,
            _ => 0,
        }
    }

    /// A number must not run into a letter, digit or point.
    fn end_of_number(&mut self, start: usize, kind: TokenKind) -> TokenKind {
        let next = self.peek(0);
        if is_name(next) {
            // A duration is read up to what does not belong to it.
            self.at += usize::from(kind == TokenKind::Duration);
            return self.bad_number(start);
        }
        kind
    }

    fn bad_number(&self, start: usize) -> TokenKind {
        TokenKind::Error(format!(
            "bad number or duration syntax: {}",
            quote(&self.text[start..self.at])
        ))
    }

    fn string(&mut self) -> TokenKind {
        let (start, delimiter) = (self.at, self.peek(0));
        self.at += 1;
        loop {
            let Some(&b) = self.bytes.get(self.at) else {
                let kind = if delimiter == b'`' { "raw" } else { "quoted" };
                return TokenKind::Error(format!("unterminated {kind} string"));
            };
            self.at += 1;
            if b == delimiter {
                let token = &self.text[start..self.at];
                return unquote(token).map_or_else(TokenKind::Error, |_| TokenKind::String);
            }
            if delimiter == b'`' {
                continue;
            }
            match b {
                b'\n' => return TokenKind::Error("unterminated quoted string".to_owned()),
                // What is escaped cannot end the string.
                b'\\' if self.at == self.bytes.len() => {
                    return TokenKind::Error("escape sequence not terminated".to_owned());
                }
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }
}

/// Decodes a quoted string token: Go's escapes in `"` and `'`, none in backticks.
///
/// # Errors
/// When an escape is not known.
pub fn unquote(token: &str) -> Result<Text, String> {
    let delimiter = token.as_bytes().first().copied().unwrap_or(0);
    let body = token
        .len()
        .checked_sub(1)
        .and_then(|end| token.get(1..end))
        .unwrap_or("");
    if delimiter == b'`' {
        return Ok(Text::new(body.into()));
    }
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b == b'\\' {
            rest = escape(rest, delimiter, &mut out)?;
        } else {
            out.push(b);
        }
    }
    Ok(Text::new(out))
}

fn escape<'a>(rest: &'a [u8], delimiter: u8, out: &mut Vec<u8>) -> Result<&'a [u8], String> {
    let (&b, tail) = rest.split_first().ok_or("escape sequence not terminated")?;
    let simple = match b {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        b if b == delimiter => b,
        b'x' => {
            out.push(code_point(tail, 2, 16, delimiter)? as u8);
            return Ok(&tail[2..]);
        }
        b'u' | b'U' => {
            let n_digits = if b == b'u' { 4 } else { 8 };
            let code = code_point(tail, n_digits, 16, delimiter)?;
            let c = char::from_u32(code).ok_or(NO_CODE_POINT)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(&tail[n_digits..]);
        }
        b'0'..=b'7' => {
            let code = code_point(rest, 3, 8, delimiter)?;
            out.push(u8::try_from(code).map_err(|_| NO_CODE_POINT)?);
            return Ok(&rest[3..]);
        }
        _ => return Err(format!("unknown escape sequence {}", named(rest))),
    };
    out.push(simple);
    Ok(tail)
}

const NO_CODE_POINT: &str = "escape sequence is an invalid Unicode code point";

fn code_point(text: &[u8], n_digits: usize, radix: u32, end: u8) -> Result<u32, String> {
    let mut code = 0u32;
    for at in 0..n_digits {
        // The string ends where its text does.
        let here = text.get(at..).filter(|t| !t.is_empty());
        let here = here.unwrap_or(std::slice::from_ref(&end));
        let digit = char::from(here[0])
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", named(here)))?;
        code = code.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok(code)
}

/// The first character as Go's `%#U` writes it.
fn named(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4)]);
    let c = text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
    let code = format!("U+{:04X}", u32::from(c));
    if c.is_control() {
        return code;
    }
    format!("{code} '{c}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_decode_as_go_decodes_them() {
        let cases = [
            (r#""a\"b""#, Ok("a\"b")),
            (r"'it\'s'", Ok("it's")),
            (r"`raw\n`", Ok(r"raw\n")),
            (r#""\x41\u00e9\U0001F600\101""#, Ok("Aé😀A")),
            (r#""\q""#, Err("unknown escape sequence U+0071 'q'")),
            (r#""\xc5z\377\xf0\x9f""#, Ok("\u{fffd}z\u{fffd}\u{fffd}")),
            (
                r#""\x4""#,
                Err("illegal character U+0022 '\"' in escape sequence"),
            ),
        ];
        for (token, expected) in cases {
            assert_eq!(
                unquote(token).map(|text| text.to_lossy().into_owned()),
                expected.map(str::to_owned).map_err(str::to_owned),
                "{token}"
            );
        }
    }

    #[test]
    fn words_numbers_and_durations() {
        use TokenKind::*;
        let kinds =
            |text: &str| -> Vec<TokenKind> { tokens(text).into_iter().map(|t| t.kind).collect() };
        assert_eq!(kinds("a:b 1h30m"), [MetricIdentifier, Duration, End]);
        assert_eq!(
            kinds("0x1F .5 1e-3 1_000"),
            [Number, Number, Number, Number, End]
        );
        assert_eq!(kinds("Inf # tail"), [Number, End]);
        assert_eq!(
            kinds("x[5m:1m]"),
            [
                Identifier,
                LeftBracket,
                Duration,
                Colon,
                Duration,
                RightBracket,
                End
            ]
        );
        assert_eq!(
            kinds("5mm"),
            [Error("bad number or duration syntax: \"5mm\"".into())]
        );
    }
}
