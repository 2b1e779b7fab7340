//! Durations, byte sizes and floats the way Go's libraries read them, with their error texts.
//!
//! Pure text to number. A query's own literals and the values that stages meet in log lines go
//! through the same readers, so that `duration > 1m` means the same on both sides.

use super::lexer::Quoted;

/// Units of Prometheus durations, largest first, as they must follow each other.
const PROMETHEUS_UNITS: &[(&str, i64)] = &[
    ("y", 365 * 86_400 * 1_000_000_000),
    ("w", 7 * 86_400 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Units of Go durations.
const GO_UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Sizes as people write them: decimal with `k`, binary with `ki`, the `b` may be left out.
const BYTE_UNITS: &[(&str, f64)] = &[
    ("", 1.0),
    ("b", 1.0),
    ("k", 1e3),
    ("m", 1e6),
    ("g", 1e9),
    ("t", 1e12),
    ("p", 1e15),
    ("e", 1e18),
    ("ki", 1024.0),
    ("mi", 1_048_576.0),
    ("gi", 1_073_741_824.0),
    ("ti", 1_099_511_627_776.0),
    ("pi", 1_125_899_906_842_624.0),
    ("ei", 1_152_921_504_606_846_976.0),
];

/// `1h30m` in nanoseconds: whole numbers, each unit once and in falling order.
pub fn prometheus_duration(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    if text == "0" {
        return Ok(0);
    }
    let invalid = || format!("not a valid duration string: {}", Quoted(text));
    let mut rest = text;
    let mut total = 0i64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(invalid());
        }
        let number: i64 = rest[..digits]
            .parse()
            .map_err(|_| "duration out of range".to_owned())?;
        rest = &rest[digits..];
        let unit_len = rest.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let unit = &rest[..unit_len];
        if unit.is_empty() {
            return Err(invalid());
        }
        rest = &rest[unit_len..];
        let at = PROMETHEUS_UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| format!("unknown unit {} in duration {}", Quoted(unit), Quoted(text)))?;
        if at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        total = number
            .checked_mul(PROMETHEUS_UNITS[at].1)
            .and_then(|ns| total.checked_add(ns))
            .ok_or("duration out of range")?;
    }
    Ok(total)
}

/// `-1.5h3ms` in nanoseconds, as `time.ParseDuration` reads it.
pub fn go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", time_quoted(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    let mut whole = 0i128;
    while !rest.is_empty() {
        let number_len = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let number = &rest[..number_len];
        rest = &rest[number_len..];
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let unit_len = rest
            .char_indices()
            .find(|(_, c)| c.is_ascii_digit() || *c == '.')
            .map_or(rest.len(), |(i, _)| i);
        let unit = &rest[..unit_len];
        rest = &rest[unit_len..];
        if unit.is_empty() {
            return Err(format!(
                "time: missing unit in duration {}",
                time_quoted(text)
            ));
        }
        let factor = GO_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(|| {
                format!(
                    "time: unknown unit {} in duration {}",
                    time_quoted(unit),
                    time_quoted(text)
                )
            })?;
        match number.parse::<i64>() {
            Ok(n) => whole = whole.saturating_add(i128::from(n) * factor as i128),
            Err(_) => total += number.parse::<f64>().map_err(|_| invalid())? * factor,
        }
    }
    let total = whole.saturating_add(total as i128);
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -total } else { total })
}

/// A duration of a query: Prometheus's form, else Go's.
pub fn query_duration(text: &str) -> Result<i64, String> {
    prometheus_duration(text).or_else(|_| go_duration(text))
}

/// `1.5KiB` in bytes.
pub fn byte_size(text: &str) -> Result<u64, String> {
    let number_len = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
        .count();
    let number = text[..number_len].replace(',', "");
    let number: f64 = go_float(&number)?;
    let unit = text[number_len..].trim().to_lowercase();
    let stem = if unit.len() > 1 {
        unit.strip_suffix('b').unwrap_or(&unit)
    } else {
        &unit
    };
    let factor = BYTE_UNITS
        .iter()
        .find(|(name, _)| *name == stem)
        .map(|(_, factor)| *factor)
        .ok_or_else(|| format!("unhandled size name: {unit}"))?;
    let size = number * factor;
    if size >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(size as u64)
}

/// As Go's package time quotes in its errors: all but ASCII byte by byte.
fn time_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => out.extend(['\\', char::from(b)]),
            b' '..=b'~' | 0x7f => out.push(char::from(b)),
            b => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out + "\""
}

/// A number as `strconv.ParseFloat` reads it.
pub fn go_float(text: &str) -> Result<f64, String> {
    // Between digits underscores mean nothing.
    if text.contains('_') {
        let is_digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_digit);
        let bytes = text.as_bytes();
        let mut all = bytes.iter().enumerate().filter(|(_, b)| **b == b'_');
        if all.all(|(at, _)| at > 0 && is_digit(bytes.get(at - 1)) && is_digit(bytes.get(at + 1))) {
            return go_float(&text.replace('_', "")).map_err(|e| {
                let reason = e.rsplit(": ").next().unwrap_or_default();
                format!("strconv.ParseFloat: parsing {}: {reason}", Quoted(text))
            });
        }
    }
    match text.parse::<f64>() {
        Ok(n) if n.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) => Err(format!(
            "strconv.ParseFloat: parsing {}: value out of range",
            Quoted(text)
        )),
        Ok(n) => Ok(n),
        Err(_) => Err(format!(
            "strconv.ParseFloat: parsing {}: invalid syntax",
            Quoted(text)
        )),
    }
}

/// A size with one digit behind the point below ten, in powers of a thousand: `5.0kB`, `12MB`, `7B`.
pub fn write_bytes(n: u64) -> String {
    const UNITS: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 10 {
        return format!("{n}B");
    }
    let power = (n as f64).log(1000.0).floor();
    let scaled = n as f64 / 1000f64.powf(power);
    let rounded = (scaled * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[power as usize];
    match rounded < 10.0 {
        true => format!("{rounded:.1}{unit}"),
        false => format!("{rounded:.0}{unit}"),
    }
}

/// Nanoseconds as Prometheus writes a duration: `1h30m`, `0s`.
pub fn write_duration(ns: i64) -> String {
    if ns == 0 {
        return "0s".into();
    }
    let mut rest = ns.unsigned_abs();
    let mut text = String::new();
    if ns < 0 {
        text.push('-');
    }
    for (unit, factor) in PROMETHEUS_UNITS {
        let factor = factor.unsigned_abs();
        let n = rest / factor;
        // Weeks and years only when they say it all, as Prometheus does.
        if n > 0 && (!matches!(*unit, "y" | "w") || rest.is_multiple_of(factor)) {
            text.push_str(&format!("{n}{unit}"));
            rest %= factor;
        }
    }
    if rest > 0 {
        text.push_str(&format!("{rest}ns"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn faults_are_quoted_as_go_quotes_them() {
        let fault = |text: &str| go_float(text).unwrap_err();
        assert_eq!(
            fault("\u{8}\0é\n"),
            "strconv.ParseFloat: parsing \"\\b\\x00é\\n\": invalid syntax"
        );
        assert_eq!(time_quoted("é\n\"x"), "\"\\xc3\\xa9\\x0a\\\"x\"");
    }

    #[test]
    fn sizes_are_written_as_loki_formats_them() {
        for (n, text) in [
            (0, "0B"),
            (9, "9B"),
            (10, "10B"),
            (5000, "5.0kB"),
            (1024, "1.0kB"),
            (20_480, "20kB"),
            (1_500_000, "1.5MB"),
            (u64::MAX, "18EB"),
        ] {
            assert_eq!(write_bytes(n), text);
        }
        assert_eq!(go_float("1_000"), Ok(1000.0));
        assert!(go_float("_1").is_err() && go_float("1__0").is_err() && go_float("1_").is_err());
    }

    #[test]
    fn prometheus_durations() {
        let cases = [
            ("5m", Ok(300 * SECOND)),
            ("1h30m", Ok(5400 * SECOND)),
            ("1d12h", Ok(36 * 3600 * SECOND)),
            ("250ms", Ok(SECOND / 4)),
            ("0", Ok(0)),
            ("", Err("empty duration string".to_owned())),
            (
                "5minutes",
                Err(r#"unknown unit "minutes" in duration "5minutes""#.to_owned()),
            ),
            (
                "30m1h",
                Err(r#"not a valid duration string: "30m1h""#.to_owned()),
            ),
            ("999999999999y", Err("duration out of range".to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(prometheus_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn go_durations() {
        assert_eq!(go_duration("1.5h"), Ok(5400 * SECOND));
        assert_eq!(go_duration("-3ms2us"), Ok(-3_002_000));
        assert_eq!(go_duration("1µs"), Ok(1000));
        assert_eq!(
            go_duration("5"),
            Err(r#"time: missing unit in duration "5""#.into())
        );
        assert_eq!(
            go_duration("5x"),
            Err(r#"time: unknown unit "x" in duration "5x""#.into())
        );
        assert_eq!(
            go_duration("é"),
            Err(r#"time: invalid duration "\xc3\xa9""#.into())
        );
        assert!(go_duration("99999999999999999999h").is_err());
        let huge = format!("1h{}.0h", "9".repeat(40));
        assert!(go_duration(&huge).is_err(), "a sum beyond 128 bits");
    }

    #[test]
    fn byte_sizes() {
        let cases = [
            ("42", 42),
            ("1KB", 1000),
            ("1KiB", 1024),
            ("1.5 MB", 1_500_000),
            ("2GiB", 2 << 30),
            ("1,000b", 1000),
        ];
        for (text, expected) in cases {
            assert_eq!(byte_size(text), Ok(expected), "{text}");
        }
        assert_eq!(byte_size("5x"), Err("unhandled size name: x".into()));
        assert!(byte_size("99999EB").is_err());
        assert!(byte_size("b").is_err());
    }

    #[test]
    fn durations_are_written_back() {
        for (ns, text) in [
            (300 * SECOND, "5m"),
            (5400 * SECOND, "1h30m"),
            (7 * 86400 * SECOND, "1w"),
            (8 * 86400 * SECOND, "8d"),
            (-SECOND, "-1s"),
            (0, "0s"),
        ] {
            assert_eq!(write_duration(ns), text);
        }
    }
}
