//! Times inside of lines: recognised at the start of a token, kept as a distance to the time of the
//! entry, and written back byte for byte.
//!
//! A format is one byte: the family in the upper three bits, bit 4 tells the sign in front of the
//! fraction (0 a point, 1 a comma), the lower four bits count the digits of the fraction. Zones are
//! no part of it: they stay text. The rule: `parse` accepts only what `write` gives back.
//!
//! ```text
//! 1  2026-11-20T00:01:32      3  2026/11/20 00:01:32      5  1120 00:01:32 (klog; the entry's year)
//! 2  2026-11-20 00:01:32      4  20/Nov/2026:00:01:32     6  00:01:32 (the day nearest to the entry)
//! ```

use std::borrow::Cow;

use kansoku_model::calendar::{self, date_of};
use kansoku_model::digits::PAIRS;

use super::numbers;
use crate::bytes::extend;

/// No time is in a year outside of these, so that nanoseconds fit 64 bits.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=2200;
const DAY_S: i64 = 86_400;
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

const POWERS: [i64; 10] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format(u8);

impl Format {
    /// The format of a stored byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        let (family, digits) = (byte >> 5, byte & 15);
        ((1..=6).contains(&family) && digits <= 9 && (digits > 0 || byte & 16 == 0))
            .then_some(Self(byte))
    }

    pub fn byte(self) -> u8 {
        self.0
    }

    /// Whether a time of the format may have the byte.
    pub fn may_hold(self, byte: u8) -> bool {
        let signs: &[u8] = match self.0 >> 5 {
            1 => b"-T",
            2 => b"- ",
            3 => b"/ ",
            4 => b"/JanFebMarAprMayJunJulAugSepOctNovDec",
            5 => b" ",
            _ => b"",
        };
        byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b',') || signs.contains(&byte)
    }

    /// The bytes that may stand at each place of a time.
    pub fn places(self) -> Vec<Cow<'static, [u8]>> {
        let shape: &[u8] = match self.0 >> 5 {
            1 => b"0000-00-00T00:00:00",
            2 => b"0000-00-00 00:00:00",
            3 => b"0000/00/00 00:00:00",
            4 => b"00/Mmm/0000:00:00:00",
            5 => b"0000 00:00:00",
            _ => b"00:00:00",
        };
        let sign = if self.0 & 16 == 0 { b'.' } else { b',' };
        let n_digits = usize::from(self.0 & 15);
        let fraction = [sign, b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0'];
        let fraction = match n_digits {
            0 => &[][..],
            n => &fraction[..=n],
        };
        let places = shape.iter().chain(fraction).map(|byte| match byte {
            b'0' => Cow::Borrowed(&b"0123456789"[..]),
            b'M' | b'm' => Cow::Borrowed(&MONTHS[..]),
            other => Cow::Owned(vec![*other]),
        });
        places.collect()
    }

    /// How many of the time's units are in a second.
    fn units_per_s(self) -> i64 {
        POWERS[usize::from(self.0 & 15)]
    }

    /// The entry's time in the units of the format.
    fn entry_units(self, entry_ns: i64) -> i64 {
        entry_ns.div_euclid(1_000_000_000 / self.units_per_s())
    }
}

/// Recognises a time at the start of `text`: its format, its length and its distance to the entry.
pub fn parse(text: &[u8], entry_ns: i64) -> Option<(Format, usize, i64)> {
    let at = |i: usize| text.get(i).copied().unwrap_or(0);
    let (family, days, clock_at) = if at(4) == b'-' {
        let family = match at(10) {
            b'T' => 1,
            b' ' => 2,
            _ => return None,
        };
        (at(7) == b'-').then_some(())?;
        (family, Some(date(text, 0, 5, 8)?), 11)
    } else if at(4) == b'/' {
        (at(7) == b'/' && at(10) == b' ').then_some(())?;
        (3, Some(date(text, 0, 5, 8)?), 11)
    } else if at(2) == b'/' {
        (at(6) == b'/' && at(11) == b':').then_some(())?;
        let name = text.get(3..6)?;
        let month = MONTHS.chunks_exact(3).position(|m| m == name)? as i64 + 1;
        let (day, year) = (number(text, 0, 2)?, number(text, 7, 4)?);
        (4, Some(days_of(year, month, day)?), 12)
    } else if at(4) == b' ' {
        let (month, day) = (number(text, 0, 2)?, number(text, 2, 2)?);
        let year = date_of(entry_ns.div_euclid(DAY_S * 1_000_000_000)).0;
        (5, Some(days_of(year, month, day)?), 5)
    } else {
        (6, None, 0)
    };
    if at(clock_at + 2) != b':' || at(clock_at + 5) != b':' {
        return None;
    }
    let hour = number(text, clock_at, 2).filter(|h| *h < 24)?;
    let minute = number(text, clock_at + 3, 2).filter(|m| *m < 60)?;
    let second = number(text, clock_at + 6, 2).filter(|s| *s < 60)?;
    let seconds = hour * 3600 + minute * 60 + second;
    let mut end = clock_at + 8;
    let (mut byte, mut fraction) = (family << 5, 0);
    if matches!(at(end), b'.' | b',') && at(end + 1).is_ascii_digit() {
        let n = text[end + 1..]
            .iter()
            .take(10)
            .take_while(|b| b.is_ascii_digit())
            .count();
        fraction = number(text, end + 1, n.min(9))?;
        byte |= u8::from(at(end) == b',') << 4 | n.min(9) as u8;
        end += 1 + n;
        (n <= 9).then_some(())?;
    }
    if at(end).is_ascii_digit() {
        return None;
    }
    let format = Format(byte);
    let units = format.units_per_s();
    let entry = format.entry_units(entry_ns);
    let distance = match days {
        Some(days) => {
            let value = (days * DAY_S + seconds) * units + fraction;
            value.checked_sub(entry)?
        }
        None => {
            let day = DAY_S * units;
            let distance = (seconds * units + fraction) - entry.rem_euclid(day);
            match distance {
                d if d > day / 2 => d - day,
                d if d < -day / 2 => d + day,
                d => d,
            }
        }
    };
    Some((format, end, distance))
}

/// The date that was written last: neighbours in time have the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastDate {
    /// Days since 1970-01-01.
    day: i64,
    text: [u8; 12],
    len: u8,
}

/// Writes the time that lies `distance` from the entry. False when there is no such time.
pub fn write(
    format: Format,
    distance: i64,
    entry_ns: i64,
    last: &mut LastDate,
    out: &mut Vec<u8>,
) -> bool {
    let units = format.units_per_s();
    let value = format.entry_units(entry_ns).wrapping_add(distance);
    let (seconds, fraction) = (value.div_euclid(units), value.rem_euclid(units));
    let (days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let family = format.0 >> 5;
    if family != 6 {
        if last.len == 0 || last.day != days {
            let Some((text, len)) = date_text(family, days) else {
                return false;
            };
            (last.day, last.text, last.len) = (days, text, len as u8);
        }
        extend(out, &last.text[..usize::from(last.len)]);
    }
    let [h, m, s] = [second / 3600, second / 60 % 60, second % 60].map(|n| PAIRS[n as usize]);
    out.extend_from_slice(&[h[0], h[1], b':', m[0], m[1], b':', s[0], s[1]]);
    let digits = usize::from(format.0 & 15);
    if digits > 0 {
        let mut text = [b'.'; 10];
        if format.0 & 16 != 0 {
            text[0] = b',';
        }
        let mut rest = fraction as u64;
        for byte in text[1..=digits].iter_mut().rev() {
            *byte = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        extend(out, &text[..=digits]);
    }
    true
}

/// The front of a time of a family that has dates, and its length.
fn date_text(family: u8, days: i64) -> Option<([u8; 12], usize)> {
    let (year, month, day) = date_of(days);
    if !YEARS.contains(&year) {
        return None;
    }
    let pair = |n: i64| PAIRS[n as usize];
    let ([c, d], [e, f]) = (pair(year / 100), pair(year % 100));
    let ([m, n], [x, y]) = (pair(month), pair(day));
    let mut text = [0; 12];
    let len = match family {
        1..=3 => {
            let (sign, end) = [(b'-', b'T'), (b'-', b' '), (b'/', b' ')][usize::from(family) - 1];
            text[..11].copy_from_slice(&[c, d, e, f, sign, m, n, sign, x, y, end]);
            11
        }
        4 => {
            let name = &MONTHS[month as usize * 3 - 3..][..3];
            let [i, j, k] = [name[0], name[1], name[2]];
            text.copy_from_slice(&[x, y, b'/', i, j, k, b'/', c, d, e, f, b':']);
            12
        }
        _ => {
            text[..5].copy_from_slice(&[m, n, x, y, b' ']);
            5
        }
    };
    Some((text, len))
}

/// The number that `n` digits are, at most nine.
fn number(text: &[u8], at: usize, n: usize) -> Option<i64> {
    numbers::digits(text.get(at..at + n)?)
}

fn date(text: &[u8], year: usize, month: usize, day: usize) -> Option<i64> {
    days_of(
        number(text, year, 4)?,
        number(text, month, 2)?,
        number(text, day, 2)?,
    )
}

/// Days since 1970-01-01 of a date that exists.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    YEARS
        .contains(&year)
        .then(|| calendar::days_of(year, month, day))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const ENTRY: i64 = 1_795_132_892_730_624_238;

    #[test]
    fn times_come_back_and_what_is_none_is_refused() {
        // (text, recognised part)
        let cases = [
            ("2026-11-20T00:01:32.730604Z", "2026-11-20T00:01:32.730604"),
            ("2026-11-20 00:01:32,7", "2026-11-20 00:01:32,7"),
            ("2026/11/20 00:01:32 [error]", "2026/11/20 00:01:32"),
            ("20/Nov/2026:00:01:32 +0000", "20/Nov/2026:00:01:32"),
            ("1120 23:01:32.730604   1423", "1120 23:01:32.730604"),
            ("23:59:59.999999999", "23:59:59.999999999"),
            ("00:00:00", "00:00:00"),
            ("2024-02-29T12:00:00", "2024-02-29T12:00:00"),
            ("2023-02-29T12:00:00", ""),
            ("2026-11-20T24:00:00", ""),
            ("2026-11-20T00:01:60", ""),
            ("2026-11-20T00:01:32.0000000001", ""),
            ("2026-13-20T00:01:32", ""),
            ("1969-12-31T00:01:32", ""),
            ("0229 00:00:00", ""),
            ("00:00:000", ""),
            ("00:00:0", ""),
            ("", ""),
        ];
        for (text, expected) in cases {
            let mut out = Vec::new();
            if let Some((format, len, distance)) = parse(text.as_bytes(), ENTRY) {
                assert_eq!(len, expected.len(), "{text}");
                assert_eq!(Format::from_byte(format.byte()), Some(format));
                assert!(write(
                    format,
                    distance,
                    ENTRY,
                    &mut LastDate::default(),
                    &mut out
                ));
            }
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text}");
        }
    }

    #[test]
    fn any_entry_time_and_distance() {
        let (mut random, mut last) = (Random(3), LastDate::default());
        let mut last_format = None;
        for _ in 0..20_000 {
            let entry = random.next() as i64;
            let format = loop {
                if let Some(format) = Format::from_byte(random.next() as u8) {
                    break format;
                }
            };
            let mut out = Vec::new();
            let distance = random.next() as i64 >> random.below(64);
            if last_format.replace(format) != Some(format) {
                last = LastDate::default();
            }
            let written = write(format, distance, entry, &mut last, &mut out);
            if written {
                let places = format.places();
                assert_eq!(places.len(), out.len());
                assert!(places.iter().zip(&out).all(|(p, byte)| p.contains(byte)));
            }
            if written && let Some((again, len, found)) = parse(&out, entry) {
                assert_eq!((again, len), (format, out.len()));
                let mut back = Vec::new();
                assert!(write(format, found, entry, &mut last, &mut back));
                assert_eq!(back, out);
            }
        }
    }
}
