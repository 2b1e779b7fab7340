//! Lines, words and numbers of kernel text. Not a tokenizer for anything that people write: the
//! kernel separates by blanks and newlines, quotes nothing, and writes plain decimal numbers.

/// The lines of a text, without their newlines and without an empty last one.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty())
}

/// A whole number of digits only.
#[must_use]
pub fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |n, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A decimal number.
#[must_use]
pub fn decimal(word: &[u8]) -> Option<f64> {
    // Nearly all are whole numbers, and those below 2^53 are exact.
    if word.len() <= 15
        && let Some(whole) = number(word)
    {
        return Some(whole as f64);
    }
    let first = word.first()?;
    // `inf` and `nan` are numbers to Rust and nonsense from a kernel.
    if !first.is_ascii_digit() && *first != b'-' {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A name as text.
#[must_use]
pub fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

/// The part after `prefix`, if the line starts with it.
#[must_use]
pub fn after<'a>(line: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    line.strip_prefix(prefix.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_that_fit() {
        for (word, value) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("-1", None),
            ("1x", None),
        ] {
            assert_eq!(number(word.as_bytes()), value, "{word}");
        }
        for (word, value) in [
            ("0.21", Some(0.21)),
            ("7", Some(7.0)),
            ("-7", Some(-7.0)),
            ("007", Some(7.0)),
            ("1x", None),
            ("999999999999999", Some(999_999_999_999_999.0)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615.0)),
            ("nan", None),
            ("", None),
        ] {
            assert_eq!(decimal(word.as_bytes()), value, "{word}");
        }
    }

    #[test]
    fn lines_and_words_skip_what_is_empty() {
        let lines: Vec<_> = lines(b"a  b\n\nc").collect();
        assert_eq!(lines, [&b"a  b"[..], b"", b"c"]);
        assert_eq!(words(b"  a \t b ").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
