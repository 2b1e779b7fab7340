//! Times by example, RFC 3339 beside what jiff makes of it.

use super::*;

/// 2026-11-21T09:00:00Z.
const NOW: i64 = 1_795_251_600 * NS_PER_SECOND;

fn show(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .expect("in range")
        .to_string()
}

#[test]
fn rfc3339_is_read_as_jiff_reads_it() {
    for text in [
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00.5Z",
        "2026-11-21T09:00:00.123456789+05:30",
        "2024-02-29T23:59:59.999999999-11:00",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.25Z",
        "2000-03-01T00:00:00+00:00",
        "2100-12-31T12:00:00Z",
    ] {
        let expected: jiff::Timestamp = text.parse().expect(text);
        assert_eq!(
            rfc3339_ns(text.as_bytes()).map(i128::from),
            Some(expected.as_nanosecond()),
            "{text}"
        );
    }
    for text in [
        "",
        "2026-11-21",
        "2026-11-21T09:00:00",
        "2026-02-29T09:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T09:00:00.Z",
        "2026-11-21T09:00:00Zx",
        "2026-11-21T09:00:00+1",
        "9999-11-21T09:00:00Z",
    ] {
        assert_eq!(rfc3339_ns(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn formats_of_real_parsers() {
    let cases = [
        (
            "%d/%b/%Y:%H:%M:%S %z",
            "10/Oct/2000:13:55:36 -0700",
            "2000-10-10T20:55:36Z",
        ),
        (
            "%Y-%m-%dT%H:%M:%S.%L%z",
            "2026-11-21T09:00:00.123456789+01:00",
            "2026-11-21T08:00:00.123456789Z",
        ),
        (
            "%Y-%m-%dT%H:%M:%S.%L",
            "2026-11-21T09:00:00.5",
            "2026-11-21T09:00:00.5Z",
        ),
        ("%s.%L", "1795251600.25", "2026-11-21T09:00:00.25Z"),
        ("%s.%L", "1795251600", "2026-11-21T09:00:00Z"),
        (
            "%Y-%m-%dT%H:%M:%S.%L%z",
            "2026-11-21T09:00:00+01:00",
            "2026-11-21T08:00:00Z",
        ),
        ("%s", "1795251600", "2026-11-21T09:00:00Z"),
        ("%b %d %H:%M:%S", "Nov  1 09:00:00", "2026-11-01T09:00:00Z"),
        ("%b %d %H:%M:%S", "Dec 31 23:59:59", "2025-12-31T23:59:59Z"),
        ("%b %d %H:%M:%S", "Feb 29 01:00:00", "2024-02-29T01:00:00Z"),
        (
            "%a %b %d %H:%M:%S.%L %Y",
            "Wed Oct 11 14:32:52.123 2000",
            "2000-10-11T14:32:52.123Z",
        ),
        (
            "%Y/%m/%d %I:%M:%S %p",
            "2026/11/21 12:30:00 AM",
            "2026-11-21T00:30:00Z",
        ),
        (
            "%F %T,%L",
            "2026-11-21 09:00:00,042",
            "2026-11-21T09:00:00.042Z",
        ),
        ("%Y %j", "2026 325", "2026-11-21T00:00:00Z"),
        // Without a day it is today, as in Fluent Bit.
        ("%H:%M:%S", "08:30:00", "2026-11-21T08:30:00Z"),
        (
            "%d %B %y %R %Z",
            "21 November 26 09:00 PST",
            "2026-11-21T17:00:00Z",
        ),
    ];
    for (format, text, expected) in cases {
        let parsed =
            TimeFormat::new(format)
                .expect(format)
                .parse(text.as_bytes(), &Zone::Utc, NOW, true);
        assert_eq!(
            parsed.map(show).as_deref(),
            Some(expected),
            "{format} {text}"
        );
    }
}

#[test]
fn strict_wants_the_whole_format_and_lenient_a_day_at_least() {
    let format = TimeFormat::new("%Y-%m-%dT%H:%M:%S.%L%z").expect("valid");
    let parse = |text: &str, strict| {
        format
            .parse(text.as_bytes(), &Zone::Utc, NOW, strict)
            .map(show)
    };
    for text in ["2026-11-21T09:00:00", "2026-11-21T09:00:00.Z", "x"] {
        assert_eq!(parse(text, true), None, "{text}");
    }
    assert_eq!(
        parse("2026-11-21T09:00:00.5Z tail", true).as_deref(),
        Some("2026-11-21T09:00:00.5Z")
    );
    assert_eq!(
        parse("2026-11-21T09:00:00", false).as_deref(),
        Some("2026-11-21T09:00:00Z")
    );
    assert_eq!(parse("x", false), None);
}

#[test]
fn zones_count_when_the_text_has_none() {
    let format = TimeFormat::new("%Y-%m-%d %H:%M:%S").expect("valid");
    let parse = |zone: &Zone| {
        format
            .parse(b"2026-07-01 12:00:00", zone, NOW, true)
            .map(show)
    };
    assert_eq!(parse_offset("-0330"), Some(-12600));
    assert_eq!(
        parse(&Zone::Fixed(-12600)).as_deref(),
        Some("2026-07-01T15:30:00Z")
    );
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a posix zone");
    assert_eq!(
        parse(&Zone::Named(zone)).as_deref(),
        Some("2026-07-01T10:00:00Z")
    );
}

#[test]
fn bad_formats_are_named() {
    assert_eq!(
        TimeFormat::new("%Y %Q").unwrap_err(),
        FormatError::Unknown('Q')
    );
    assert_eq!(TimeFormat::new("%").unwrap_err(), FormatError::Dangling);
    assert_eq!(TimeFormat::new("").unwrap_err(), FormatError::Empty);
}
