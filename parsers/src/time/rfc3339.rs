//! RFC 3339, read fast, and the pieces of it that every format shares: fractions, offsets, days.
//!
//! It is the time of every CRI and docker line, so it is read in one straight pass over the digits.

use kansoku_model::calendar::days_of;

pub(super) const NS_PER_SECOND: i64 = 1_000_000_000;

/// Reads `2026-11-21T09:00:00[.123456789](Z|+01:00)`; a blank or `t` may stand for the `T`.
#[must_use]
pub fn rfc3339_ns(text: &[u8]) -> Option<i64> {
    let head: &[u8; 19] = text.first_chunk()?;
    let two = |at: usize| -> Option<i64> {
        let (a, b) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        (a < 10 && b < 10).then(|| i64::from(a * 10 + b))
    };
    if head[4] != b'-'
        || head[7] != b'-'
        || head[13] != b':'
        || head[16] != b':'
        || !matches!(head[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let year = two(0)? * 100 + two(2)?;
    let days = days_of(year, two(5)?, two(8)?)?;
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    // 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0;
    if let Some(b'.' | b',') = rest.first() {
        let (value, n) = fraction(&rest[1..]);
        if n == 0 {
            return None;
        }
        nanos = value;
        rest = &rest[1 + n..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        _ => match numeric_offset(rest)? {
            (offset, n) if n == rest.len() => offset,
            _ => return None,
        },
    };
    to_ns(
        days,
        hour * 3600 + minute * 60 + second - i64::from(offset),
        nanos,
    )
}

/// Digits after the point as nanoseconds and how many there were; from the tenth on they are skipped.
pub(super) fn fraction(text: &[u8]) -> (i64, usize) {
    // Nine digits and no more are what containerd and docker write.
    if let Some((word, rest)) = text.split_first_chunk::<8>()
        && let Some(value) = eight_digits(u64::from_le_bytes(*word))
        && let [last @ b'0'..=b'9', after @ ..] = rest
        && !after.first().is_some_and(u8::is_ascii_digit)
    {
        return (value * 10 + i64::from(last - b'0'), 9);
    }
    let mut value = 0;
    let mut n = 0;
    for digit in text
        .iter()
        .map(|b| b.wrapping_sub(b'0'))
        .take_while(|d| *d < 10)
    {
        if n < 9 {
            value = value * 10 + i64::from(digit);
        }
        n += 1;
    }
    (value * 10i64.pow(9u32.saturating_sub(n as u32)), n)
}

/// The number that eight digits are, the first in the lowest byte: pairs, fours and eights of
/// digits are put together in one multiplication each.
fn eight_digits(word: u64) -> Option<i64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let digits = word.wrapping_sub(ZEROS);
    // A byte below '0' borrows and one above '9' carries: either sets a high half.
    let too_high = digits.wrapping_add(0x7676_7676_7676_7676);
    if (digits | too_high | word) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    Some(eight as i64)
}

/// Seconds east of Greenwich of `+01`, `+0100` or `+01:00`, and its length.
pub(super) fn numeric_offset(text: &[u8]) -> Option<(i32, usize)> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |at: usize| -> Option<i32> {
        let (a, b) = (
            text.get(at)?.wrapping_sub(b'0'),
            text.get(at + 1)?.wrapping_sub(b'0'),
        );
        (a < 10 && b < 10).then(|| i32::from(a * 10 + b))
    };
    let hours = two(1)?;
    let (minutes, len) = match text.get(3) {
        Some(b':') => (two(4)?, 6),
        Some(b) if b.is_ascii_digit() => (two(3)?, 5),
        _ => (0, 3),
    };
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), len))
}

/// Reads the value of Fluent Bit's `Time_Offset`: `+HHMM`, seconds east of Greenwich.
#[must_use]
pub fn parse_offset(text: &str) -> Option<i32> {
    let (offset, len) = numeric_offset(text.as_bytes())?;
    (len == text.len()).then_some(offset)
}

pub(super) fn to_ns(days: i64, seconds: i64, nanos: i64) -> Option<i64> {
    days.checked_mul(86_400)?
        .checked_add(seconds)?
        .checked_mul(NS_PER_SECOND)?
        .checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_digits_at_once_are_what_they_are_one_by_one() {
        let slow = |text: &[u8]| {
            let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
            let digits = std::str::from_utf8(&text[..n.min(9)]).expect("digits");
            let value: i64 = format!("{digits:0<9}").parse().expect("a number");
            (value, n)
        };
        let mut texts: Vec<Vec<u8>> = [
            "",
            "1",
            "000000000",
            "999999999Z",
            "1234567890",
            "12345678",
            "123456789+01:00",
        ]
        .map(|t| t.as_bytes().to_vec())
        .to_vec();
        // Every byte at every place.
        for at in 0..10 {
            for byte in 0..=255 {
                let mut text = b"1928374650".to_vec();
                text[at] = byte;
                texts.push(text);
            }
        }
        for text in texts {
            assert_eq!(fraction(&text), slow(&text), "{text:?}");
        }
    }
}
