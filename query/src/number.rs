//! Numbers and durations as Go prints and reads them: the text forms that Prometheus and Loki
//! clients expect.
//!
//! Pure text functions; the one rule: what Prometheus's HTTP API prints, byte for byte.

use std::fmt::Write as _;

use kansoku_model::digits::put_integer;

/// Splits a finite, non-zero, positive number into its shortest decimal digits and the power of
/// ten of the first digit.
fn shortest_digits(value: f64) -> (String, i32) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    (digits, exponent.parse().unwrap_or(0))
}

/// Go's `math.Max`: an infinity wins over NaN, NaN over all else, 0 over -0.
#[must_use]
pub fn larger(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a > b || a == b && b.is_sign_negative() {
        a
    } else {
        b
    }
}

/// Go's `math.Min`: minus infinity wins over NaN, NaN over all else, -0 over 0.
#[must_use]
pub fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// Go's `strconv.FormatFloat(v, 'f', -1, 64)`: never an exponent.
#[must_use]
pub fn format_f(value: f64) -> String {
    special(value).map_or_else(|| format!("{value}"), str::to_owned)
}

/// Go's `strconv.FormatFloat(v, 'e', -1, 64)`: always an exponent of at least two digits.
#[must_use]
pub fn format_e(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() {
            "-0e+00".to_owned()
        } else {
            "0e+00".to_owned()
        };
    }
    let (digits, exponent) = shortest_digits(value.abs());
    let mut out = String::with_capacity(digits.len() + 6);
    if value < 0.0 {
        out.push('-');
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a String cannot fail.
    let _ = write!(out, "e{sign}{:02}", exponent.abs());
    out
}

/// Go's `%g` (also `%v` of a float): an exponent below 1e-4 and from 1e6.
#[must_use]
pub fn format_g(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && magnitude.is_finite() && !(1e-4..1e6).contains(&magnitude) {
        format_e(value)
    } else {
        format_f(value)
    }
}

/// The form of sample values in Prometheus's JSON: `f`, but `e` below 1e-6 and from 1e21.
#[must_use]
pub fn format_sample(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && magnitude.is_finite() && !(1e-6..1e21).contains(&magnitude) {
        format_e(value)
    } else {
        format_f(value)
    }
}

/// Appends what [`format_sample`] gives.
pub fn put_sample(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    // A cast there and back is one instruction each; `trunc` is a call where processors of 2008 are to do.
    let whole = value as i64;
    if magnitude < EXACT && whole as f64 == value && (whole != 0 || value.is_sign_positive()) {
        put_integer(out, whole, 1);
    } else if (1e-5..EXACT).contains(&magnitude) {
        // The shortest digits without an exponent, as Go's are; here they always have a point.
        let mut digits = ryu::Buffer::new();
        let text = digits.format_finite(value);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else {
        out.extend_from_slice(format_sample(value).as_bytes());
    }
}

/// Whole numbers below this are written digit by digit.
const EXACT: f64 = 1e15;

/// Reads a float as Go's `strconv.ParseFloat` does, with `Inf` and `NaN` in any case, hexadecimal
/// integers, and underscores between digits.
#[must_use]
pub fn parse_float(text: &str) -> Option<f64> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_unsigned(body)?;
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_unsigned(body: &str) -> Option<f64> {
    if body.eq_ignore_ascii_case("inf") || body.eq_ignore_ascii_case("infinity") {
        return Some(f64::INFINITY);
    }
    if body.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let plain;
    let body = if body.contains('_') {
        plain = body.replace('_', "");
        &plain
    } else {
        body
    };
    if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    let first = *body.as_bytes().first()?;
    if !(first.is_ascii_digit() || first == b'.') || body.ends_with(['e', 'E', '-', '+']) {
        return None;
    }
    if body == "." {
        return None;
    }
    // Rust accepts what Go accepts here: digits, one point, one exponent.
    body.parse().ok()
}

/// Milliseconds in each unit, largest first, in the order Prometheus demands.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration that fits Go's 64-bit nanoseconds.
const MAX_DURATION_MS: i64 = i64::MAX / 1_000_000;

/// Reads a Prometheus duration such as `1h30m` or `0` into milliseconds.
///
/// # Errors
/// When the text is no duration; the message is Prometheus's.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let bad = || format!("not a valid duration string: {text:?}");
    let mut total: i64 = 0;
    let mut rest = text;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = &rest[n_digits..];
        let end = after.find(|c: char| c.is_ascii_digit());
        let unit = &after[..end.unwrap_or(after.len())];
        if n_digits == 0 || unit.is_empty() {
            return Err(bad());
        }
        let at = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| format!("unknown unit {unit:?} in duration {text:?}"))?;
        if at < next_unit {
            return Err(bad());
        }
        let part = rest[..n_digits]
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(UNITS[at].1))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= MAX_DURATION_MS);
        total = part.ok_or_else(|| "duration out of range".to_owned())?;
        next_unit = at + 1;
        rest = &after[unit.len()..];
    }
    Ok(total)
}

/// Prints milliseconds as Prometheus prints a duration: `1h30m`, `0s`, years and weeks only when
/// nothing remains.
#[must_use]
pub fn format_duration_ms(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if duration_ms < 0 {
        out.push('-');
    }
    let mut rest = duration_ms.unsigned_abs();
    for (name, unit_ms) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        let exact_only = matches!(name, "y" | "w");
        if exact_only && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        if rest >= unit_ms {
            let _ = write!(out, "{}{name}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    out
}

/// Quotes text as Go's `%q` does for printable text: `"` and `\` and control characters escaped.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    let _ = kansoku_model::labels::write_quoted(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_win_over_nan_in_larger_and_smaller() {
        let cases = [
            (1.0, 2.0, 2.0, 1.0),
            (f64::NAN, f64::INFINITY, f64::INFINITY, f64::NAN),
            (f64::NEG_INFINITY, f64::NAN, f64::NAN, f64::NEG_INFINITY),
            (f64::NAN, 1.0, f64::NAN, f64::NAN),
            (0.0, -0.0, 0.0, -0.0),
        ];
        for (a, b, large, small) in cases {
            for (a, b) in [(a, b), (b, a)] {
                let same = |x: f64, y: f64| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                assert!(same(larger(a, b), large), "{a} {b}");
                assert!(same(smaller(a, b), small), "{a} {b}");
            }
        }
    }

    #[test]
    fn samples_are_appended_as_they_are_formatted() {
        let mut bits = 88_172_645_463_325_252u64;
        let edges = [
            0.0, -0.0, 1e-7, 1e-6, 1e-5, 9.99e-6, 1e15, 1e16, 1e20, 1e21, 1e22, 0.1, -2.5,
        ];
        let special = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            f64::MAX,
        ];
        let mut all = [&edges[..], &special[..]].concat();
        for round in 0..20_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            all.push(match round % 4 {
                0 => f64::from_bits(bits),
                1 => (bits % 1_000_000) as f64 / 1000.0,
                2 => (bits >> 10) as f64,
                _ => -1.0 / (bits % 1_000_000) as f64,
            });
        }
        for value in all {
            let mut out = Vec::new();
            put_sample(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), format_sample(value));
        }
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        let cases = [
            (0.0, "0", "0e+00", "0"),
            (1.0, "1", "1e+00", "1"),
            (-2.5, "-2.5", "-2.5e+00", "-2.5"),
            (1e-6, "0.000001", "1e-06", "0.000001"),
            (9.5e-7, "0.00000095", "9.5e-07", "9.5e-07"),
            (
                1e20,
                "100000000000000000000",
                "1e+20",
                "100000000000000000000",
            ),
            (1e21, "1000000000000000000000", "1e+21", "1e+21"),
            (1.5e300, "", "1.5e+300", "1.5e+300"),
            (f64::NAN, "NaN", "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
        ];
        for (value, f, e, sample) in cases {
            if !f.is_empty() {
                assert_eq!(format_f(value), f);
            }
            assert_eq!(format_e(value), e);
            assert_eq!(format_sample(value), sample);
        }
        assert_eq!(format_g(0.00005), "5e-05");
        assert_eq!(format_g(1.1), "1.1");
    }

    #[test]
    fn floats_read_as_go_reads_them() {
        let cases = [
            ("1", Some(1.0)),
            (".5", Some(0.5)),
            ("2.", Some(2.0)),
            ("1e3", Some(1000.0)),
            ("0x1F", Some(31.0)),
            ("1_000", Some(1000.0)),
            ("+Inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("Infinity", Some(f64::INFINITY)),
            ("", None),
            (".", None),
            ("1e", None),
            ("abc", None),
            ("--1", None),
            ("infinit", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_float(text), expected, "{text}");
        }
        assert!(parse_float("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn durations_round_trip() {
        let cases = [
            ("0", 0, "0s"),
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1d", 86_400_000, "1d"),
            ("2w", 1_209_600_000, "2w"),
            ("1y", 31_536_000_000, "1y"),
            ("90d", 7_776_000_000, "90d"),
            ("1s5ms", 1005, "1s5ms"),
        ];
        for (text, duration_ms, printed) in cases {
            assert_eq!(parse_duration_ms(text), Ok(duration_ms), "{text}");
            assert_eq!(format_duration_ms(duration_ms), printed);
        }
        for bad in ["", "5", "m", "1m1h", "5mm", "1.5h", "-5m", "99999999999y"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quotes_like_go() {
        assert_eq!(quote("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\x01é\"");
    }
}
