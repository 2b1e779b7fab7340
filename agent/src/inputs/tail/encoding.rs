//! Text that is not UTF-8: where its lines end and how they become UTF-8.
//!
//! Lines are cut in the file's own bytes and decoded one by one, so that offsets stay offsets into
//! the file. The rule: every byte sequence decodes to something; what is invalid becomes U+FFFD.

use std::borrow::Cow;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, Settings};

/// How the bytes of a file are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf16Le,
    Utf16Be,
    /// One whose newline is the byte 10, and whose other characters never contain it.
    Bytes(&'static encoding_rs::Encoding),
}

/// What the options say of encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Bytes are taken as they are.
    Utf8,
    /// A byte order mark tells UTF-16; without one the bytes are taken as they are.
    Auto,
    Fixed(Encoding),
}

/// Fluent Bit's names for `generic.encoding`, with those of the WHATWG.
const GENERIC: &[(&str, &str)] = &[
    ("shiftjis", "shift_jis"),
    ("sjis", "shift_jis"),
    ("uhc", "euc-kr"),
    ("gbk", "gbk"),
    ("gb18030", "gb18030"),
    ("big5", "big5"),
    ("win866", "ibm866"),
    ("win874", "windows-874"),
    ("win949", "euc-kr"),
    ("win1250", "windows-1250"),
    ("win1251", "windows-1251"),
    ("win1252", "windows-1252"),
    ("win1253", "windows-1253"),
    // As Fluent Bit's own documentation spells it.
    ("win2513", "windows-1253"),
    ("win1254", "windows-1254"),
    ("win1255", "windows-1255"),
    ("win1256", "windows-1256"),
];

impl Wanted {
    /// Reads `unicode.encoding` and `generic.encoding`.
    ///
    /// # Errors
    /// For an unknown name, or when both are set.
    pub(super) fn new(s: &Settings) -> Result<Self, ConfigError> {
        let generic = s.get("generic.encoding");
        if let Some(unicode) = s.get("unicode.encoding") {
            if generic.is_some() {
                let message =
                    "'unicode.encoding' and 'generic.encoding' exclude each other; remove one";
                return Err(ConfigError::new(&unicode.place, message));
            }
            return match unicode.value.to_ascii_lowercase().as_str() {
                "auto" => Ok(Self::Auto),
                "utf-16le" | "utf16-le" | "utf-16-le" => Ok(Self::Fixed(Encoding::Utf16Le)),
                "utf-16be" | "utf16-be" | "utf-16-be" => Ok(Self::Fixed(Encoding::Utf16Be)),
                "utf-8" | "utf8" => Ok(Self::Utf8),
                other => Err(ConfigError::new(
                    &unicode.place,
                    format!(
                        "'unicode.encoding' is '{other}', but must be auto, UTF-16LE, UTF-16BE or UTF-8"
                    ),
                )),
            };
        }
        let Some(generic) = generic else {
            return Ok(Self::Utf8);
        };
        let name = generic.value.to_ascii_lowercase();
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let known = GENERIC.iter().find(|(ours, _)| *ours == plain);
        let label = known.map_or(name.as_str(), |(_, label)| label);
        match encoding_rs::Encoding::for_label(label.as_bytes()) {
            Some(e) if e == encoding_rs::UTF_8 => Ok(Self::Utf8),
            Some(e) if e.is_ascii_compatible() => Ok(Self::Fixed(Encoding::Bytes(e))),
            _ => {
                let hint = did_you_mean(&plain, GENERIC.iter().map(|(ours, _)| *ours));
                let value = &generic.value;
                let message = format!("'generic.encoding' cannot be '{value}'{hint}");
                Err(ConfigError::new(&generic.place, message))
            }
        }
    }
}

impl Encoding {
    /// What a file's first bytes say of it.
    pub(super) fn of_mark(first: &[u8]) -> Option<Self> {
        match first {
            [0xff, 0xfe, ..] => Some(Self::Utf16Le),
            [0xfe, 0xff, ..] => Some(Self::Utf16Be),
            _ => None,
        }
    }

    /// The UTF-8 text of a line.
    pub(super) fn decode(self, line: &[u8]) -> Cow<'_, str> {
        let encoding = match self {
            Self::Utf16Le => encoding_rs::UTF_16LE,
            Self::Utf16Be => encoding_rs::UTF_16BE,
            Self::Bytes(encoding) => encoding,
        };
        encoding.decode_without_bom_handling(line).0
    }
}

/// Bytes of a newline, and of the smallest character.
pub(super) fn width(encoding: Option<Encoding>) -> usize {
    match encoding {
        Some(Encoding::Utf16Le | Encoding::Utf16Be) => 2,
        _ => 1,
    }
}

/// The end of the first line, past its newline. `bytes` begin with a whole character.
pub(super) fn first_line_end(encoding: Option<Encoding>, bytes: &[u8]) -> Option<usize> {
    let low = match encoding {
        Some(Encoding::Utf16Le) => 0,
        Some(Encoding::Utf16Be) => 1,
        _ => return memchr::memchr(b'\n', bytes).map(|n| n + 1),
    };
    memchr::memchr_iter(b'\n', bytes).find_map(|n| utf16_newline(bytes, n, low))
}

/// The end of the last line in `bytes`, past its newline.
pub(super) fn last_line_end(encoding: Option<Encoding>, bytes: &[u8]) -> Option<usize> {
    let low = match encoding {
        Some(Encoding::Utf16Le) => 0,
        Some(Encoding::Utf16Be) => 1,
        _ => return memchr::memrchr(b'\n', bytes).map(|n| n + 1),
    };
    memchr::memrchr_iter(b'\n', bytes).find_map(|n| utf16_newline(bytes, n, low))
}

/// The end of the newline whose byte 10 stands at `n`, if it is one: that byte is number `low` of two.
fn utf16_newline(bytes: &[u8], n: usize, low: usize) -> Option<usize> {
    let start = n.checked_sub(low).filter(|start| start % 2 == 0)?;
    (bytes.get(start + 1 - low) == Some(&0)).then_some(start + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> Result<Wanted, String> {
        Wanted::new(&Settings::of("tail", pairs)).map_err(|e| e.message)
    }

    #[test]
    fn names_are_fluent_bits_and_the_usual_ones() {
        for (name, expected) in [
            ("ShiftJIS", encoding_rs::SHIFT_JIS),
            ("UHC", encoding_rs::EUC_KR),
            ("WIn1256", encoding_rs::WINDOWS_1256),
            ("latin1", encoding_rs::WINDOWS_1252),
            ("Win866", encoding_rs::IBM866),
        ] {
            let fixed = Wanted::Fixed(Encoding::Bytes(expected));
            assert_eq!(wanted(&[("generic.encoding", name)]), Ok(fixed), "{name}");
        }
        let auto = wanted(&[("unicode.encoding", "AUTO")]);
        assert_eq!(auto, Ok(Wanted::Auto));
        for (pairs, expected) in [
            (
                vec![("generic.encoding", "gbx")],
                "'generic.encoding' cannot be 'gbx'; did you mean 'gbk'?",
            ),
            (
                vec![("generic.encoding", "utf-16le")],
                "'generic.encoding' cannot be 'utf-16le'",
            ),
            (
                vec![("unicode.encoding", "utf7")],
                "'unicode.encoding' is 'utf7', but must be",
            ),
            (
                vec![("unicode.encoding", "auto"), ("generic.encoding", "gbk")],
                "'unicode.encoding' and 'generic.encoding' exclude each other",
            ),
        ] {
            let error = wanted(&pairs).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn newlines_of_two_bytes_are_not_found_within_characters() {
        // U+0A0A and U+0A00 hold the byte 10 in both places.
        for (encoding, text) in [
            (Encoding::Utf16Le, "\u{a0a}\u{a00}a\n\u{10a}"),
            (Encoding::Utf16Be, "\u{a0a}\u{a00}a\n\u{10a}"),
        ] {
            let bytes: Vec<u8> = text
                .encode_utf16()
                .flat_map(|unit| match encoding {
                    Encoding::Utf16Le => unit.to_le_bytes(),
                    _ => unit.to_be_bytes(),
                })
                .collect();
            assert_eq!(first_line_end(Some(encoding), &bytes), Some(8));
            assert_eq!(last_line_end(Some(encoding), &bytes), Some(8));
            assert_eq!(last_line_end(Some(encoding), &bytes[..7]), None);
            assert_eq!(encoding.decode(&bytes[..6]), "\u{a0a}\u{a00}a");
        }
        assert_eq!(first_line_end(None, b"a\nb\n"), Some(2));
        assert_eq!(last_line_end(None, b"a\nb\nc"), Some(4));
    }
}
