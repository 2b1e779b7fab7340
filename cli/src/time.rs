//! Times and durations as people write them, and as they are shown.
//!
//! Knows no clock: now is an argument.

use jiff::Timestamp;

use crate::error::{Error, Result};

pub const SECOND_NS: i64 = 1_000_000_000;
/// Units of durations, the longest names first.
const UNITS: &[(&str, i64)] = &[
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
    ("s", SECOND_NS),
    ("m", 60 * SECOND_NS),
    ("h", 3600 * SECOND_NS),
    ("d", 86_400 * SECOND_NS),
    ("w", 7 * 86_400 * SECOND_NS),
    ("y", 365 * 86_400 * SECOND_NS),
];

/// The time by this machine's clock, in Unix nanoseconds.
#[must_use]
pub fn now_ns() -> i64 {
    nanoseconds(Timestamp::now())
}

fn nanoseconds(time: Timestamp) -> i64 {
    let ns = time.as_nanosecond();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// A duration such as `1h30m`, `90s`, `1.5h` or `2d`; may be negative.
///
/// # Errors
/// When it is none.
pub fn duration_ns(text: &str) -> Result<i64> {
    parse_duration(text).ok_or_else(|| {
        Error::Usage(format!(
            "invalid duration \"{text}\": expected a number with a unit (ms, s, m, h, d, w), for example 90s or 1h30m"
        ))
    })
}

fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let n_digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|n| *n > 0)?;
        let number: f64 = rest[..n_digits].parse().ok()?;
        rest = &rest[n_digits..];
        let (unit, ns) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total += number * *ns as f64;
    }
    let total = total * sign;
    (total.abs() < i64::MAX as f64).then_some(total as i64)
}

/// A moment: RFC 3339, `now`, Unix seconds (or milli-, micro- or nanoseconds by their length), or how long
/// before now.
///
/// # Errors
/// When it is none of these.
pub fn moment_ns(text: &str, now_ns: i64) -> Result<i64> {
    let text = text.trim();
    if text == "now" {
        return Ok(now_ns);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(nanoseconds(time));
    }
    if let Some(ns) = unix_ns(text) {
        return Ok(ns);
    }
    let ago = text.strip_prefix("now").unwrap_or(text);
    let ago = ago.strip_prefix('-').unwrap_or(ago);
    if let Some(ns) = parse_duration(ago) {
        return Ok(now_ns.saturating_sub(ns));
    }
    // A date alone is its beginning in UTC.
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && let Ok(time) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(nanoseconds(time.timestamp()));
    }
    Err(Error::Usage(format!(
        "invalid time \"{text}\": expected RFC 3339 (2026-01-31T12:00:00Z), a date, Unix seconds, or how long ago (90s, 1h30m)"
    )))
}

fn unix_ns(text: &str) -> Option<i64> {
    let whole = text.split('.').next()?;
    if !whole.bytes().all(|b| b.is_ascii_digit()) || whole.is_empty() {
        return None;
    }
    if whole.len() == text.len() {
        let number: i64 = text.parse().ok()?;
        let factor = match text.len() {
            0..=11 => SECOND_NS,
            12..=14 => 1_000_000,
            15..=17 => 1_000,
            _ => 1,
        };
        return number.checked_mul(factor);
    }
    let seconds: f64 = text.parse().ok()?;
    let ms = seconds * 1e3;
    (ms.abs() < 9e15).then(|| (ms.round() as i64).checked_mul(1_000_000))?
}

/// As kubectl prints times of lines: UTC with nine digits.
#[must_use]
pub fn rfc3339(time_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// As tables show it: UTC with milliseconds.
#[must_use]
pub fn short(time_ms: i64) -> String {
    let time = Timestamp::from_millisecond(time_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Seconds as Prometheus takes them, exact to the millisecond.
#[must_use]
pub fn seconds(time_ms: i64) -> String {
    let sign = if time_ms < 0 { "-" } else { "" };
    let ms = time_ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

/// A duration in words as short as can be: `3d4h`, `12m`, `5s`.
#[must_use]
pub fn age(ns: i64) -> String {
    let seconds = ns.max(0) / SECOND_NS;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", Some(5 * SECOND_NS)),
            ("1h30m", Some(5400 * SECOND_NS)),
            ("1.5h", Some(5400 * SECOND_NS)),
            ("250ms", Some(250_000_000)),
            ("2d", Some(172_800 * SECOND_NS)),
            ("-1m", Some(-60 * SECOND_NS)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1x", None),
            ("1..5s", None),
            ("99999999999999999y", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn moments() {
        let now = 1_700_000_000 * SECOND_NS;
        for (text, expected) in [
            ("now", Some(now)),
            ("5m", Some(now - 300 * SECOND_NS)),
            ("now-5m", Some(now - 300 * SECOND_NS)),
            ("1699999999", Some(now - SECOND_NS)),
            ("1699999999.5", Some(now - SECOND_NS / 2)),
            ("1699999999500", Some(now - SECOND_NS / 2)),
            ("1699999999500000000", Some(now - SECOND_NS / 2)),
            ("2023-11-14T22:13:20Z", Some(now)),
            ("2023-11-14T23:13:20.5+01:00", Some(now + SECOND_NS / 2)),
            ("2023-11-14", Some(1_699_920_000 * SECOND_NS)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(moment_ns(text, now).ok(), expected, "{text}");
        }
    }

    #[test]
    fn shown() {
        assert_eq!(rfc3339(1_500_000_000), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(short(1500), "1970-01-01T00:00:01.500Z");
        assert_eq!(seconds(1500), "1.500");
        assert_eq!(seconds(-1), "-0.001");
        let ages = [5, 119, 120, 7199, 7200, 172_800].map(|s| age(s * SECOND_NS));
        assert_eq!(ages, ["5s", "119s", "2m", "119m", "2h", "2d"]);
    }
}
