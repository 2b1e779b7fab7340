//! Request parameters as Loki reads them.
//!
//! Times are nanoseconds, decimal seconds or RFC 3339; what is missing has Loki's defaults.

use kansoku_model::select::Direction;
use kansoku_query::number::{parse_duration_ms, parse_float};

use super::errors::ApiError;
use crate::clock;
use crate::http::Form;

const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
/// How far back queries and listings reach when they do not say.
const SINCE_NS: i64 = 3600 * SECOND_NS;
/// How far back listings of labels and series reach: as Loki documents it.
const LABELS_SINCE_NS: i64 = 6 * SINCE_NS;
/// Entries of an answer when `limit` is missing.
const DEFAULT_LIMIT: usize = 100;
/// Points of a series in a range query.
const MAX_STEPS: i64 = 11_000;
/// The most points of a series: a step cut to whole milliseconds may be half as long, and both ends move outwards.
pub const MAX_POINTS: usize = 2 * MAX_STEPS as usize + 2;

/// A time in Unix nanoseconds, or `default` when it is missing.
pub fn time_ns(form: &Form, name: &str, default: i64) -> Result<i64, ApiError> {
    match form.get(name) {
        "" => Ok(default),
        text => parse_time_ns(text).ok_or_else(|| {
            let reason = no_integer("ParseInt", text);
            ApiError::bad_request(match name {
                "time" => reason,
                _ => format!("could not parse '{name}' parameter: {reason}"),
            })
        }),
    }
}

/// Go's words for a text that is no integer of 64 bits.
fn no_integer(function: &str, text: &str) -> String {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let reason = match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => "value out of range",
        false => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {reason}")
}

/// Up to ten characters are seconds, more are nanoseconds; with a point always seconds.
fn parse_time_ns(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        let seconds = text.len() <= 10;
        return if seconds {
            number.checked_mul(SECOND_NS)
        } else {
            Some(number)
        };
    }
    if text.contains('.')
        && let Some(seconds) = parse_float(text)
    {
        // To the millisecond, as in Loki: a double of today's seconds knows no finer step, and one that
        // ends below the time that was meant would leave a line out.
        let (whole, broken) = (seconds.trunc(), seconds.fract());
        let fits = whole.abs() < (i64::MAX / SECOND_NS) as f64;
        return fits.then(|| whole as i64 * SECOND_NS + (broken * 1e3).round() as i64 * 1_000_000);
    }
    i64::try_from(clock::parse_rfc3339_ns(text)?).ok()
}

/// Seconds as a number, or a duration.
fn duration_ns(text: &str) -> Result<i64, ApiError> {
    let invalid = |tail: &str| {
        ApiError::bad_request(format!("cannot parse {text:?} to a valid duration{tail}"))
    };
    let Some(seconds) = parse_float(text) else {
        let ms = parse_duration_ms(text).map_err(|_| invalid(""))?;
        return Ok(ms.saturating_mul(1_000_000));
    };
    let ns = seconds * 1e9;
    if ns.abs() > i64::MAX as f64 {
        return Err(invalid(". It overflows int64"));
    }
    // What is no number is the least one in Go, and refused as such.
    Ok(if ns.is_nan() { i64::MIN } else { ns as i64 })
}

/// `since`, which is no number.
fn since_ns(text: &str) -> Result<i64, ApiError> {
    let ms = parse_duration_ms(text).map_err(|reason| {
        ApiError::bad_request(format!("could not parse 'since' parameter: {reason}"))
    })?;
    Ok(ms.saturating_mul(1_000_000))
}

/// First and last time of a request; an absent end is `now_ns`.
pub fn bounds(form: &Form, now_ns: i64) -> Result<(i64, i64), ApiError> {
    bounds_since(form, now_ns, SINCE_NS)
}

/// The same for listings of labels and series.
pub fn label_bounds(form: &Form, now_ns: i64) -> Result<(i64, i64), ApiError> {
    bounds_since(form, now_ns, LABELS_SINCE_NS)
}

fn bounds_since(form: &Form, now_ns: i64, since_ns: i64) -> Result<(i64, i64), ApiError> {
    let since_ns = match form.get("since") {
        "" => since_ns,
        text => self::since_ns(text)?,
    };
    let end_ns = time_ns(form, "end", now_ns)?;
    // An end in the future must not move the default start there as well.
    let start_ns = time_ns(form, "start", end_ns.min(now_ns).saturating_sub(since_ns))?;
    if end_ns < start_ns {
        return Err(ApiError::bad_request(
            "end timestamp must not be before or equal to start time",
        ));
    }
    Ok((start_ns, end_ns))
}

/// `limit`, at most `max`.
pub fn limit(form: &Form, max: usize) -> Result<usize, ApiError> {
    limit_of(form, "limit", max)
}

/// The limit of this name, at most `max`.
pub fn limit_of(form: &Form, name: &str, max: usize) -> Result<usize, ApiError> {
    let text = form.get(name);
    if text.is_empty() {
        return Ok(DEFAULT_LIMIT);
    }
    let number: i64 = text
        .parse()
        .map_err(|_| ApiError::bad_request(no_integer("Atoi", text)))?;
    if number > i64::from(u32::MAX) {
        let name = match name {
            "line_limit" => name,
            _ => "limit",
        };
        let message = format!("{name} value {number} is out of range [0, {}]", u32::MAX);
        return Err(ApiError::bad_request(message));
    }
    match usize::try_from(number) {
        Err(_) | Ok(0) => Err(ApiError::bad_request("limit must be a positive value")),
        Ok(limit) => check_entries(limit, max).map(|()| limit),
    }
}

/// The same for volumes, where 0 is the default, too, and which are not limited further.
pub fn limit_of_volumes(form: &Form) -> Result<usize, ApiError> {
    match form.get("limit").trim_start_matches('0') {
        "" => Ok(DEFAULT_LIMIT),
        _ => limit(form, usize::MAX),
    }
}

/// Refuses a limit of entries above `max`.
pub fn check_entries(limit: usize, max: usize) -> Result<(), ApiError> {
    if limit <= max {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})"
    )))
}

/// `direction`; newest first when it is missing.
pub fn direction(form: &Form) -> Result<Direction, ApiError> {
    match form.get("direction").to_ascii_lowercase().as_str() {
        "" | "backward" => Ok(Direction::Backward),
        "forward" => Ok(Direction::Forward),
        other => Err(ApiError::bad_request(format!(
            "invalid direction '{other}'"
        ))),
    }
}

/// `step`, or a 250th of the range but at least a second.
pub fn step_ns(form: &Form, start_ns: i64, end_ns: i64) -> Result<i64, ApiError> {
    let step_ns = match form.get("step") {
        "" => ((end_ns.saturating_sub(start_ns)) / SECOND_NS / 250).max(1) * SECOND_NS,
        text => duration_ns(text)?,
    };
    if step_ns <= 0 {
        return Err(ApiError::bad_request(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end_ns.saturating_sub(start_ns) / step_ns > MAX_STEPS {
        return Err(ApiError::bad_request(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    Ok(step_ns)
}

/// `align`: whether steps lie where Loki's front end puts them; `false`, which Loki does not know, has them begin at the start,
/// as in PromQL, and end at the end, so that the newest holds all of its range.
pub fn aligns(form: &Form) -> Result<bool, ApiError> {
    match form.get("align") {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        text => Err(ApiError::bad_request(format!(
            "cannot parse {text:?} as align: true or false"
        ))),
    }
}

/// Steps of a metric query over time as Loki's front end makes them: the step in whole milliseconds, the start at the multiple
/// of it before, and the end at the one behind, which may lie behind the end that was asked for.
pub fn steps_ns(start_ns: i64, end_ns: i64, step_ns: i64) -> Result<(i64, i64, i64), ApiError> {
    let step_ns = step_ns / MILLISECOND_NS * MILLISECOND_NS;
    if step_ns == 0 {
        return Err(ApiError::bad_request(
            "the step of a metric query must be at least a millisecond",
        ));
    }
    let start_ns = start_ns - start_ns % step_ns;
    let end_ns = match end_ns % step_ns {
        0 => end_ns,
        rest => end_ns.saturating_add(step_ns - rest),
    };
    Ok((start_ns, end_ns, step_ns))
}

/// `interval`: for log queries, the least time between two entries of a stream; 0 is none.
pub fn interval_ns(form: &Form) -> Result<i64, ApiError> {
    match form.get("interval") {
        "" => Ok(0),
        text => match duration_ns(text)? {
            ns if ns < 0 => Err(ApiError::bad_request("interval must be >= 0")),
            ns => Ok(ns),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        let mut form = Form::default();
        form.read(text).unwrap();
        form
    }

    const NOW_NS: i64 = 1_700_000_000 * SECOND_NS;

    #[test]
    fn times_in_every_form() {
        for (text, expected) in [
            ("1700000000", Some(NOW_NS)),
            ("1700000000000000001", Some(NOW_NS + 1)),
            ("1700000000.5", Some(NOW_NS + 500_000_000)),
            ("-1.5", Some(-1_500_000_000)),
            ("1771000000.499", Some(1_771_000_000_499_000_000)),
            ("2023-11-14T22:13:20.000000001Z", Some(NOW_NS + 1)),
            ("+1700000000", Some(1_700_000_000)),
            ("now", None),
            ("2023-11-14 22:13:20Z", None),
            ("1e300.", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_time_ns(text), expected, "{text}");
        }
    }

    #[test]
    fn defaults_are_the_last_hour() {
        let hour = (NOW_NS - SINCE_NS, NOW_NS);
        assert_eq!(bounds(&form(""), NOW_NS), Ok(hour));
        let since = (NOW_NS - 300 * SECOND_NS, NOW_NS);
        assert_eq!(bounds(&form("since=5m"), NOW_NS), Ok(since));
        let future = (NOW_NS - SINCE_NS, NOW_NS + 10 * SECOND_NS);
        assert_eq!(bounds(&form("end=1700000010"), NOW_NS), Ok(future));
        assert_eq!(step_ns(&form(""), 0, 3600 * SECOND_NS), Ok(14 * SECOND_NS));
        assert_eq!(limit(&form(""), 5000), Ok(100));
        assert_eq!(direction(&form("")), Ok(Direction::Backward));
        for (text, expected) in [("", 100), ("limit=0", 100), ("limit=6000", 6000)] {
            assert_eq!(limit_of_volumes(&form(text)), Ok(expected), "{text}");
        }
        assert!(limit_of_volumes(&form("limit=-1")).is_err());
    }

    #[test]
    fn steps_lie_on_whole_multiples_around_the_span() {
        let cases = [
            ((7_000, 100_000, 60_000_000), (0, 120_000, 60_000)),
            ((60_000, 120_000, 60_000_000), (60_000, 120_000, 60_000)),
            ((61_000, 61_000, 60_000_000), (60_000, 120_000, 60_000)),
            ((7_300, 9_900, 1_500_000), (6_000, 10_500, 1_500)),
            ((7, 10, 1_999), (7, 10, 1)),
            // As Go divides.
            ((-70, -10, 60_000), (-60, 60, 60)),
        ];
        for ((start_ms, end_ms, step_us), (start, end, step)) in cases {
            let [start_ns, end_ns] = [start_ms, end_ms].map(|ms: i64| ms * MILLISECOND_NS);
            let expected = [start, end, step].map(|ms: i64| ms * MILLISECOND_NS);
            let found = steps_ns(start_ns, end_ns, step_us * 1_000).unwrap();
            assert_eq!([found.0, found.1, found.2], expected, "{start_ms} {end_ms}");
        }
        assert!(steps_ns(0, i64::MAX, SECOND_NS).is_ok());
    }

    #[test]
    fn steps_are_aligned_unless_told_otherwise() {
        assert_eq!(aligns(&form("")), Ok(true));
        assert_eq!(aligns(&form("align=true")), Ok(true));
        assert_eq!(aligns(&form("align=false")), Ok(false));
        let error = aligns(&form("align=no")).unwrap_err();
        assert_eq!(error.message, "cannot parse \"no\" as align: true or false");
    }

    #[test]
    fn mistakes_are_told_in_lokis_words() {
        let text = |e: ApiError| e.message;
        let cases = [
            (
                bounds(&form("start=2&end=1"), NOW_NS).map_err(text).err(),
                "end timestamp must not be before or equal to start time",
            ),
            (
                limit(&form("limit=0"), 5000).map_err(text).err(),
                "limit must be a positive value",
            ),
            (
                limit(&form("limit=6000"), 5000).map_err(text).err(),
                "max entries limit per query exceeded, limit > max_entries_limit_per_query (6000 > 5000)",
            ),
            (
                limit(&form("limit=99999999999"), 5000).map_err(text).err(),
                "limit value 99999999999 is out of range [0, 4294967295]",
            ),
            (
                limit(&form("limit=99999999999999999999"), 5000)
                    .map_err(text)
                    .err(),
                "strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            (
                bounds(&form("start=9223372036854775808"), NOW_NS)
                    .map_err(text)
                    .err(),
                "could not parse 'start' parameter: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
            ),
            (
                bounds(&form("since=60"), NOW_NS).map_err(text).err(),
                "could not parse 'since' parameter: not a valid duration string: \"60\"",
            ),
            (
                bounds(&form("since=1.5s"), NOW_NS).map_err(text).err(),
                "could not parse 'since' parameter: unknown unit \".\" in duration \"1.5s\"",
            ),
            (
                step_ns(&form("step=Inf"), 0, 1).map_err(text).err(),
                "cannot parse \"Inf\" to a valid duration. It overflows int64",
            ),
            (
                step_ns(&form("step=NaN"), 0, 1).map_err(text).err(),
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ),
            (
                step_ns(&form("step=-1"), 0, 1).map_err(text).err(),
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ),
            (
                step_ns(&form("step=1"), 0, 11_001 * SECOND_NS)
                    .map_err(text)
                    .err(),
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
            ),
            (
                steps_ns(0, 1, MILLISECOND_NS - 1).map_err(text).err(),
                "the step of a metric query must be at least a millisecond",
            ),
            (
                interval_ns(&form("interval=-1s")).map_err(text).err(),
                "cannot parse \"-1s\" to a valid duration",
            ),
            (
                direction(&form("direction=up")).map_err(text).err(),
                "invalid direction 'up'",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got.as_deref(), Some(expected));
        }
    }
}
