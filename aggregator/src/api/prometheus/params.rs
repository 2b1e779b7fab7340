//! Request parameters as Prometheus reads them, with its error texts.

use std::time::Duration;

use kansoku_query::number::{self, parse_float, quote};

use super::envelope::ApiError;
use crate::clock;
use crate::http::Form;

/// The earliest and latest times, for requests that name none. Nanoseconds of them fit 64 bits.
pub const TIME_MIN_MS: i64 = -TIME_MAX_MS;
/// See [`TIME_MIN_MS`].
pub const TIME_MAX_MS: i64 = i64::MAX / 1_000_000;

/// A time in Unix milliseconds, or `default` when it is missing.
pub fn time_ms(form: &Form, name: &str, default: Option<i64>) -> Result<i64, ApiError> {
    let text = form.get(name);
    if let ("", Some(default)) = (text, default) {
        return Ok(default);
    }
    parse_time_ms(text).ok_or_else(|| {
        // Only of one that may be missing its name is told twice.
        let prefix = match default {
            Some(_) => format!("invalid time value for '{name}': "),
            None => String::new(),
        };
        let message = format!("{prefix}cannot parse {} to a valid timestamp", quote(text));
        ApiError::parameter(name, message)
    })
}

/// Seconds as a decimal number, or RFC 3339.
fn parse_time_ms(text: &str) -> Option<i64> {
    match text {
        // What Go clients send for the ends of time.
        "-292273086-05-16T16:47:06Z" => return Some(TIME_MIN_MS),
        "+292277025-08-18T07:12:54.999999999Z" | "292277025-08-18T07:12:54.999999999Z" => {
            return Some(TIME_MAX_MS);
        }
        _ => {}
    }
    if let Some(seconds) = go_float(text) {
        let ms = (seconds * 1000.0).round();
        let fits = ms >= TIME_MIN_MS as f64 && ms <= TIME_MAX_MS as f64;
        // Beyond the storable times there is no data; clients ask so for "everything".
        return (!ms.is_nan()).then_some(if fits {
            ms as i64
        } else if ms > 0.0 {
            TIME_MAX_MS
        } else {
            TIME_MIN_MS
        });
    }
    let ns = clock::parse_rfc3339_ns(text)?;
    let ms = i64::try_from(ns.div_euclid(1_000_000)).ok()?;
    Some(ms.clamp(TIME_MIN_MS, TIME_MAX_MS))
}

/// A number as Go's `ParseFloat` takes it: hexadecimal with an exponent only, and not beyond what a float holds.
fn go_float(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    let is_whole_hex = digits.starts_with(['0']) && digits[1..].starts_with(['x', 'X']);
    let number = parse_float(text)?;
    let fits = number.is_finite() || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (fits && !is_whole_hex).then_some(number)
}

/// A duration in milliseconds: decimal seconds, or Prometheus's form.
pub fn duration_ms(name: &str, text: &str) -> Result<i64, ApiError> {
    parse_duration_ms(text).map_err(|message| ApiError::parameter(name, message))
}

/// As [`duration_ms`], of no parameter.
///
/// # Errors
/// What is wrong, in Prometheus's words.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let invalid = |tail: &str| format!("cannot parse {} to a valid duration{tail}", quote(text));
    if let Some(seconds) = go_float(text) {
        let ns = seconds * 1e9;
        if ns.is_nan() || ns.abs() > i64::MAX as f64 {
            return Err(invalid(". It overflows int64"));
        }
        // What is less than a millisecond is one, so that it is not taken for nothing.
        let ms = ns as i64 / 1_000_000;
        return Ok(if ns > 0.0 { ms.max(1) } else { ms });
    }
    number::parse_duration_ms(text).map_err(|_| invalid(""))
}

/// How long the query may take: `timeout`, but no longer than the server allows.
pub fn timeout(form: &Form, longest: Duration) -> Result<Duration, ApiError> {
    match form.get("timeout") {
        "" => Ok(longest),
        text => {
            let ms = duration_ms("timeout", text)?;
            Ok(longest.min(Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
        }
    }
}

/// `limit`; `None` is none.
pub fn limit(form: &Form) -> Result<Option<usize>, ApiError> {
    let text = form.get("limit");
    if text.is_empty() {
        return Ok(None);
    }
    let number: i64 = text.parse().map_err(|_| {
        let message = format!("strconv.Atoi: parsing {}: invalid syntax", quote(text));
        ApiError::parameter("limit", message)
    })?;
    match usize::try_from(number) {
        Ok(0) => Ok(None),
        Ok(limit) => Ok(Some(limit)),
        Err(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
    }
}

/// The times of a range query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
}

/// Steps beyond the first: 11,001 points pass, as in Prometheus.
const MAX_STEPS: i64 = 11_000;

impl Range {
    /// Reads `start`, `end` and `step`.
    pub fn of(form: &Form) -> Result<Self, ApiError> {
        let start_ms = time_ms(form, "start", None)?;
        let end_ms = time_ms(form, "end", None)?;
        if end_ms < start_ms {
            let message = "end timestamp must not be before start time";
            return Err(ApiError::parameter("end", message));
        }
        let step_ms = duration_ms("step", form.get("step"))?;
        if step_ms <= 0 {
            let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::parameter("step", message));
        }
        if (end_ms - start_ms) / step_ms > MAX_STEPS {
            let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
            return Err(ApiError::bad_data(message));
        }
        Ok(Self {
            start_ms,
            end_ms,
            step_ms,
        })
    }
}

/// A label name from a path: `U__my_2e_label` means `my.label`.
#[must_use]
pub fn unescape_name(name: &str) -> String {
    unescape_u(name).unwrap_or_else(|| name.to_owned())
}

fn unescape_u(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        let (code, tail) = rest.split_once('_')?;
        out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        let mut form = Form::default();
        form.read(text).unwrap();
        form
    }

    #[test]
    fn times_are_seconds_or_rfc3339() {
        for (text, expected) in [
            ("0", 0),
            ("1700000000.1234", 1_700_000_000_123),
            ("-1.5", -1500),
            ("1e3", 1_000_000),
            ("2023-11-14T22:13:20.5Z", 1_700_000_000_500),
            ("1e300", TIME_MAX_MS),
            ("-Inf", TIME_MIN_MS),
        ] {
            assert_eq!(parse_time_ms(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "now",
            "NaN",
            "2023-11-14",
            "0x10",
            "-0X10",
            "1e400",
            "2023-11-14t22:13:20z",
            "2023-11-14 22:13:20Z",
        ] {
            assert_eq!(parse_time_ms(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_parameters_are_told_as_prometheus_tells_them() {
        let cases = [
            (
                "end=1&step=1",
                r#"invalid parameter "start": cannot parse "" to a valid timestamp"#,
            ),
            (
                "start=2&end=1&step=1",
                r#"invalid parameter "end": end timestamp must not be before start time"#,
            ),
            (
                "start=1&end=2&step=x",
                r#"invalid parameter "step": cannot parse "x" to a valid duration"#,
            ),
            (
                "start=1&end=2&step=1e30",
                r#"invalid parameter "step": cannot parse "1e30" to a valid duration. It overflows int64"#,
            ),
            (
                "start=1&end=2&step=0",
                r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
            ),
            (
                "start=0&end=11001&step=1",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Range::of(&form(text)).unwrap_err().message, expected);
        }
        let range = Range::of(&form("start=0&end=11000.5&step=1")).unwrap();
        assert_eq!((range.end_ms, range.step_ms), (11_000_500, 1000));
        let error = limit(&form("limit=x")).unwrap_err();
        assert_eq!(
            error.message,
            r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#
        );
        assert_eq!(limit(&form("limit=0")).unwrap(), None);
    }

    #[test]
    fn durations_are_cut_to_milliseconds_but_not_to_nothing() {
        for (text, expected) in [
            ("1.0019", 1001),
            ("1e-9", 1),
            ("0", 0),
            ("-1.5", -1500),
            ("0.3", 300),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(expected), "{text}");
        }
        for text in ["0x10", "1e400", "Inf", "NaN", "9223372037"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timeouts_only_shorten() {
        let longest = Duration::from_secs(10);
        for (text, expected) in [("", 10_000), ("timeout=2s", 2_000), ("timeout=1h", 10_000)] {
            let expected = Duration::from_millis(expected);
            assert_eq!(timeout(&form(text), longest).unwrap(), expected);
        }
    }

    #[test]
    fn escaped_names() {
        for (name, expected) in [
            ("job", "job"),
            ("U__my_2e_label", "my.label"),
            ("U__a__b", "a_b"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__cut_2e", "U__cut_2e"),
        ] {
            assert_eq!(unescape_name(name), expected);
        }
    }
}
