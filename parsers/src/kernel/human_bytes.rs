//! Byte counts as bcache and bcachefs write them for people: `1.1k`, `542k`, `2.03G`.

/// Factors of 1024 by their letters, from the first power on.
const LETTERS: &[u8] = b"kmgtpe";

/// A number of bcachefs: decimal, with a letter for a power of 1024. Cut to whole bytes.
#[must_use]
pub fn binary(word: &[u8]) -> Option<f64> {
    let (number, factor) = split(word.trim_ascii())?;
    let number: f64 = std::str::from_utf8(number.trim_ascii_end())
        .ok()?
        .parse()
        .ok()?;
    Some((number * factor).trunc())
}

/// A number of bcache, which may be negative. The kernel writes the part after the dot as the rest in
/// 1024ths divided by 100, so that `.10` is more than `.9`; it is put right here as node_exporter
/// does. Cut to whole bytes.
#[must_use]
pub fn bcache(word: &[u8]) -> Option<f64> {
    let (word, sign) = match word.strip_prefix(b"-") {
        Some(rest) => (rest, -1.0),
        None => (word, 1.0),
    };
    let (number, factor) = split(word)?;
    let number = std::str::from_utf8(number).ok()?;
    let value: f64 = match number.split_once('.') {
        Some((whole, rest)) if factor > 1.0 => {
            whole.parse::<f64>().ok()? + rest.parse::<f64>().ok()? / 10.24
        }
        _ => number.parse().ok()?,
    };
    Some(sign * (value * factor).trunc())
}

/// The digits and the factor of the letter behind them.
fn split(word: &[u8]) -> Option<(&[u8], f64)> {
    let (last, digits) = word.split_last()?;
    if last.is_ascii_digit() || *last == b'.' {
        return Some((word, 1.0));
    }
    let letter = last.to_ascii_lowercase();
    let power = LETTERS.iter().position(|l| *l == letter)?;
    let power = i32::try_from(power).ok()? + 1;
    digits
        .first()
        .filter(|first| first.is_ascii_digit())
        .map(|_| (digits, 1024f64.powi(power)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_letters() {
        for (word, expected) in [
            ("542k", Some(555_008.0)),
            (" 2.50M", Some(2_621_440.0)),
            ("17", Some(17.0)),
            ("", None),
            ("k", None),
            ("-1k", None),
            ("1x", None),
            ("1.2.3k", None),
        ] {
            assert_eq!(binary(word.as_bytes()), expected, "{word}");
        }
    }

    #[test]
    fn bcache_s_fractions_are_put_right() {
        for (word, expected) in [
            ("1.1k", Some(1124.0)),
            ("1.10k", Some(2024.0)),
            ("-20.0k", Some(-20480.0)),
            ("0", Some(0.0)),
            ("-", None),
            ("1.k", None),
        ] {
            assert_eq!(bcache(word.as_bytes()), expected, "{word}");
        }
    }
}
