//! The time of day and its written forms. The only place of the aggregator that asks for the time.

use std::time::SystemTime;

use kansoku_model::calendar::{date_of, days_of};

/// Unix milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    now_ns().div_euclid(1_000_000)
}

/// Unix nanoseconds.
#[must_use]
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// `2023-11-14T22:13:20.123Z`.
#[must_use]
pub fn rfc3339_ms(time_ms: i64) -> String {
    let (days, rest_ms) = (
        time_ms.div_euclid(86_400_000),
        time_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = date_of(days);
    let (seconds, ms) = (rest_ms / 1000, rest_ms % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `2023-11-14T22:13:20.000000001Z`, as Go writes it: without the decimals that are 0 at the end.
#[must_use]
pub fn rfc3339_ns(time_ns: i64) -> String {
    let seconds = rfc3339_ms(time_ns.div_euclid(1_000_000_000) * 1000);
    let seconds = seconds.trim_end_matches(".000Z");
    match time_ns.rem_euclid(1_000_000_000) {
        0 => format!("{seconds}Z"),
        ns => format!("{seconds}.{}Z", format!("{ns:09}").trim_end_matches('0')),
    }
}

/// Reads an RFC 3339 time with up to nine decimals to Unix nanoseconds.
#[must_use]
pub fn parse_rfc3339_ns(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"T") && is(13, b":") && is(16, b":");
    marks.then_some(())?;
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days_of(year, month, day)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (mut at, mut nanos) = (19, 0);
    if is(at, b".,") {
        let digits = bytes[20..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits == 0 {
            return None;
        }
        // More than nine decimals are cut, as Go does.
        let kept = digits.min(9);
        nanos = number(20, 20 + kept)? * 10i64.pow(9 - kept as u32);
        at = 20 + digits;
    }
    let offset = if is(at, b"Z") && bytes.len() == at + 1 {
        0
    } else if is(at, b"+-") && is(at + 3, b":") && bytes.len() == at + 6 {
        let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
        if hours > 24 || minutes > 59 {
            return None;
        }
        (hours * 3600 + minutes * 60) * if bytes[at] == b'-' { -1 } else { 1 }
    } else {
        return None;
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_written_as_in_go() {
        for (time_ns, expected) in [
            (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
            (1_700_000_000_500_000_000, "2023-11-14T22:13:20.5Z"),
            (-1_000_000_000, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339_ns(time_ns), expected);
        }
    }

    #[test]
    fn times_are_written_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339_ms(ms), text);
            assert_eq!(parse_rfc3339_ns(text), Some(i128::from(ms) * 1_000_000));
        }
    }

    #[test]
    fn offsets_and_decimals() {
        let cases = [
            ("2023-11-14T23:13:20+01:00", Some(1_700_000_000_000_000_000)),
            (
                "2023-11-14T22:13:20.123456789Z",
                Some(1_700_000_000_123_456_789),
            ),
            (
                "2023-11-14T22:13:20.1234567891Z",
                Some(1_700_000_000_123_456_789),
            ),
            ("2023-02-29T00:00:00Z", None),
            ("2023-11-14T24:00:00Z", None),
            ("2023-11-14T22:13:20", None),
            ("2023-11-14T22:13:20.Z", None),
            ("2023-11-14T22:13:20Zz", None),
            ("2023-11-14t22:13:20Z", None),
            ("2023-11-14 22:13:20Z", None),
            ("2023-11-14T22:13:20z", None),
            ("2023-1-1", None),
            ("", None),
            ("観観観観観観観観", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_rfc3339_ns(text), expected, "{text}");
        }
    }
}
