//! Numbers as texts: read only when printing gives the same bytes back.
//!
//! A column has one width: shorter numbers are filled with zeros in front, so that counters like
//! `00000042` are integers too. A decimal is an integer with the place of its point.

use kansoku_model::digits::DIGITS_MAX;

/// What integers and decimals are made of.
pub const INTEGER_BYTES: &[u8] = b"0123456789-";
pub const DECIMAL_BYTES: &[u8] = b"0123456789-.";

/// Reads a column of integers: the values and the width.
pub fn integers<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<(Vec<i64>, usize)> {
    let mut values = Vec::with_capacity(texts.size_hint().0);
    let mut width = Width::default();
    for text in texts {
        values.push(width.read(text)?);
    }
    Some((values, width.get()?))
}

/// Reads a column of decimals: mantissas, digits behind the point, and the width of the part before.
pub fn decimals<'a>(
    texts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Option<(Vec<i64>, Vec<i64>, usize)> {
    let (mut mantissas, mut scales) = (Vec::new(), Vec::new());
    let mut width = Width::default();
    for text in texts {
        let point = text.iter().position(|b| *b == b'.')?;
        let (whole, fraction) = (&text[..point], &text[point + 1..]);
        let n = fraction.len();
        if n == 0 || whole.len() + n > DIGITS_MAX || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let integer = width.read(whole)?;
        let scaled = fraction
            .iter()
            .fold(integer.abs(), |m, b| m * 10 + i64::from(b - b'0'));
        mantissas.push(if integer < 0 { -scaled } else { scaled });
        scales.push(n as i64);
    }
    Some((mantissas, scales, width.get()?))
}

/// The width that all numbers so far agree with.
#[derive(Debug)]
struct Width {
    /// The longest number that starts with a zero it could do without; others must be as long.
    padded: usize,
    /// The shortest number that needs all its digits.
    shortest: usize,
}

impl Default for Width {
    fn default() -> Self {
        Self {
            padded: 0,
            shortest: usize::MAX,
        }
    }
}

/// The number that digits alone are; no more than fit.
pub fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, b| {
        let digit = b.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + i64::from(digit))
    })
}

impl Width {
    fn read(&mut self, text: &[u8]) -> Option<i64> {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        if digits.is_empty() || digits.len() > DIGITS_MAX {
            return None;
        }
        let value = self::digits(digits)?;
        let is_negative = digits.len() < text.len();
        if digits[0] == b'0' && (digits.len() > 1 || is_negative) {
            // One padded width in a column, and no minus zero or padded negative number.
            if is_negative || self.padded != 0 && self.padded != digits.len() {
                return None;
            }
            self.padded = digits.len();
        } else {
            self.shortest = self.shortest.min(digits.len());
        }
        Some(if is_negative { -value } else { value })
    }

    /// The width, when no number is shorter than the filled ones: it would be filled too.
    fn get(&self) -> Option<usize> {
        (self.shortest >= self.padded).then_some(self.padded.max(1))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::digits::{put_decimal, put_integer};

    use super::*;

    fn integer_column(texts: &[&str]) -> bool {
        let Some((values, width)) = integers(texts.iter().map(|t| t.as_bytes())) else {
            return false;
        };
        for (value, text) in values.iter().zip(texts) {
            let mut out = Vec::new();
            put_integer(&mut out, *value, width);
            assert_eq!(String::from_utf8(out).unwrap(), *text, "{texts:?}");
        }
        true
    }

    #[test]
    fn integers_come_back_or_are_none() {
        for (texts, expected) in [
            (&["0", "7", "-7", "123456789012345678"][..], true),
            (&["0042", "1234", "99999"], true),
            (&["00", "01", "99"], true),
            (&["-5", "12345"], true),
            (&["042", "7"], false),
            (&["-42", "0001"], false),
            (&["-4200", "0001"], true),
            (&["-420", "0001"], false),
            (&["042", "0042"], false),
            (&["-0"], false),
            (&["-01"], false),
            (&["+1"], false),
            (&["1234567890123456789"], false),
            (&[""], false),
            (&["-"], false),
            (&["1e5"], false),
        ] {
            assert_eq!(integer_column(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn decimals_come_back_or_are_none() {
        for (texts, expected) in [
            (&["0.5", "12.25", "-3.125"][..], true),
            (&["0.50", "00.5"], false),
            (&["00.50", "01.5", "12.0"], true),
            (&["-0.5"], false),
            (&["1."], false),
            (&[".5"], false),
            (&["5"], false),
            (&["1.2.3"], false),
            (&["123456789.123456789"], true),
            (&["1234567890.123456789"], false),
        ] {
            let found = decimals(texts.iter().map(|t| t.as_bytes()));
            assert_eq!(found.is_some(), expected, "{texts:?}");
            let Some((mantissas, scales, width)) = found else {
                continue;
            };
            for (at, text) in texts.iter().enumerate() {
                let mut out = Vec::new();
                assert!(put_decimal(&mut out, mantissas[at], scales[at], width));
                assert_eq!(String::from_utf8(out).unwrap(), *text);
            }
        }
        assert!(!put_decimal(&mut Vec::new(), 1, 0, 1));
        assert!(!put_decimal(&mut Vec::new(), 1, 19, 1));
    }
}
