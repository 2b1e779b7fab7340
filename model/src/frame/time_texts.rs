//! Columns that say again, as text, what the records' times say: the `time` field of lines that a
//! container runtime wrote. Such a column is stored as the form of its texts.
//!
//! A form is RFC 3339 with a number of digits after the point and an offset. It is used only where it
//! gives every text of the column back byte for byte.

use crate::calendar::date_of;

const NS_PER_SECOND: i64 = 1_000_000_000;
/// `2026-11-21T09:00:00`
const SECONDS_BYTES: usize = 19;
/// The longest text: nine digits and an offset of hours and minutes.
const MAX_BYTES: usize = SECONDS_BYTES + 10 + 6;

/// Writes times in one form; the part up to the second is made once per second.
pub(super) struct TimeTexts {
    /// After the point; without any there is no point.
    pub(super) n_digits: usize,
    /// `Z`, or hours and minutes east of Greenwich.
    suffix: Vec<u8>,
    offset_s: i64,
    second: Option<i64>,
    text: [u8; MAX_BYTES],
}

impl TimeTexts {
    /// The form of a text, when it may be one.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let rest = text.get(SECONDS_BYTES..)?;
        let Some(fraction) = rest.strip_prefix(b".") else {
            return Self::new(0, rest);
        };
        let n_digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        (n_digits > 0)
            .then(|| Self::new(n_digits, &fraction[n_digits..]))
            .flatten()
    }

    /// A form; `None` when there is no such.
    pub(super) fn new(n_digits: usize, suffix: &[u8]) -> Option<Self> {
        let offset_s = match *suffix {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
                let minutes = (digit(h1)? * 10 + digit(h2)?) * 60 + digit(m1)? * 10 + digit(m2)?;
                if sign == b'+' {
                    minutes * 60
                } else {
                    -minutes * 60
                }
            }
            _ => return None,
        };
        (n_digits <= 9).then(|| Self {
            n_digits,
            suffix: suffix.to_vec(),
            offset_s,
            second: None,
            text: [0; MAX_BYTES],
        })
    }

    pub(super) fn suffix(&self) -> &[u8] {
        &self.suffix
    }

    /// Bytes of each text.
    pub(super) fn len(&self) -> usize {
        SECONDS_BYTES + usize::from(self.n_digits > 0) + self.n_digits + self.suffix.len()
    }

    /// A time in this form; `None` when it has more digits or its year not four.
    pub(super) fn text(&mut self, time_ns: i64) -> Option<&[u8]> {
        let second = time_ns.div_euclid(NS_PER_SECOND);
        let nanos = time_ns.rem_euclid(NS_PER_SECOND) as u32;
        if self.second != Some(second) {
            self.text[..SECONDS_BYTES].copy_from_slice(&seconds_text(second + self.offset_s)?);
            self.second = Some(second);
        }
        let mut end = SECONDS_BYTES;
        let mut digits = itoa::Buffer::new();
        // The one in front keeps the zeros that follow it.
        let (kept, rest) =
            digits.format(1_000_000_000 + nanos).as_bytes()[1..].split_at(self.n_digits);
        if rest.iter().any(|&digit| digit != b'0') {
            return None;
        }
        if self.n_digits > 0 {
            self.text[end] = b'.';
            self.text[end + 1..][..self.n_digits].copy_from_slice(kept);
            end += 1 + self.n_digits;
        }
        self.text[end..][..self.suffix.len()].copy_from_slice(&self.suffix);
        Some(&self.text[..end + self.suffix.len()])
    }
}

/// `2026-11-21T09:00:00` of a Unix time; `None` when the year has not four digits.
fn seconds_text(second: i64) -> Option<[u8; SECONDS_BYTES]> {
    let (days, in_day) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let (year, month, day) = date_of(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00";
    let parts = [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, in_day / 3600),
        (14, in_day / 60 % 60),
        (17, in_day % 60),
    ];
    for (at, number) in parts {
        text[at] += (number / 10) as u8;
        text[at + 1] += (number % 10) as u8;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_give_texts_back() {
        let times = [
            (1_795_251_600_123_456_789, "2026-11-21T09:00:00.123456789Z"),
            (1_795_251_600_000_000_000, "2026-11-21T09:00:00Z"),
            (1_795_251_600_000_000_000, "2026-11-21T09:00:00.000000000Z"),
            (1_795_251_600_500_000_000, "2026-11-21T11:00:00.5+02:00"),
            (1_795_251_600_050_000_000, "2026-11-21T03:30:00.05-05:30"),
            (951_782_399_000_000_001, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ];
        for (time, text) in times {
            let mut form = TimeTexts::of(text.as_bytes()).expect(text);
            assert_eq!(form.len(), text.len());
            assert_eq!(form.text(time), Some(text.as_bytes()), "{text}");
            let mut again = TimeTexts::new(form.n_digits, form.suffix()).expect(text);
            assert_eq!(again.text(time), Some(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_form_is_none() {
        for text in [
            "",
            "2026-11-21T09:00:00",
            "2026-11-21T09:00:00.Z",
            "2026-11-21T09:00:00.0123456789Z",
            "2026-11-21T09:00:00 UTC",
            "2026-11-21T09:00:00+0200",
            "2026-11-21T09:00:00+aa:00",
        ] {
            assert!(TimeTexts::of(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn every_day_is_as_a_calendar_says() {
        let mut form = TimeTexts::new(0, b"Z").expect("a form");
        let (mut year, mut month, mut day) = (1678, 1, 1);
        // 64 bits of nanoseconds reach from 1677 to 2262.
        for n in -106_650..106_650 {
            let expected = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
            let time = n * 86_400 * NS_PER_SECOND;
            assert_eq!(form.text(time), Some(expected.as_bytes()));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let in_month = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > in_month {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn digits_that_do_not_fit_are_not_lost() {
        let mut form = TimeTexts::new(3, b"Z").expect("a form");
        assert_eq!(form.text(1_000_000), Some(&b"1970-01-01T00:00:00.001Z"[..]));
        assert_eq!(form.text(1_000_001), None);
    }
}
