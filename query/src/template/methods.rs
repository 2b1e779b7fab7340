//! Methods of Go's `time.Time` and `time.Duration` that templates may call.
//!
//! Not here: those that give several values, change the value, or need a `*time.Location`, of which a
//! template has none. Texts of mistakes are `text/template`'s.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Zoned};

use super::times::{self, GO_STRING};
use super::{format, value::Value};

/// Methods of a duration without arguments.
pub fn duration(ns: i64, name: &str) -> Result<Value, String> {
    let seconds = ns as f64 / 1e9;
    match name {
        "Hours" => Ok(Value::Float(seconds / 3600.0)),
        "Minutes" => Ok(Value::Float(seconds / 60.0)),
        "Seconds" => Ok(Value::Float(seconds)),
        "Milliseconds" => Ok(Value::Int(ns / 1_000_000)),
        "Microseconds" => Ok(Value::Int(ns / 1000)),
        "Nanoseconds" => Ok(Value::Int(ns)),
        "Abs" => Ok(Value::Duration(ns.saturating_abs())),
        "String" => Ok(Value::Text(format::go_duration(ns))),
        "Round" | "Truncate" => Err(wrong_count(name, 1, 0)),
        _ => Err(format!(
            "can't evaluate field {name} in type *time.Duration"
        )),
    }
}

/// Methods of a duration.
pub fn of_duration(ns: i64, name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("Truncate", [step]) => Ok(Value::Duration(truncated(ns, duration_of(step)?))),
        ("Round", [step]) => Ok(Value::Duration(rounded(ns, duration_of(step)?))),
        ("Truncate" | "Round", _) => Err(wrong_count(name, 1, args.len())),
        (_, []) => duration(ns, name),
        _ => {
            duration(ns, name)?;
            Err(wrong_count(name, 0, args.len()))
        }
    }
}

/// Methods of a time without arguments.
pub fn time(time: &Zoned, name: &str) -> Result<Value, String> {
    let number = |n: i64| Ok(Value::Int(n));
    match name {
        "Year" => number(time.year().into()),
        "Day" => number(time.day().into()),
        "Hour" => number(time.hour().into()),
        "Minute" => number(time.minute().into()),
        "Second" => number(time.second().into()),
        "Nanosecond" => number(time.subsec_nanosecond().into()),
        "YearDay" => number(time.day_of_year().into()),
        "Unix" => number(time.timestamp().as_second()),
        "UnixMilli" => number(time.timestamp().as_millisecond()),
        "UnixMicro" => number(time.timestamp().as_microsecond()),
        // As in Go what does not fit wraps around.
        "UnixNano" => number(time.timestamp().as_nanosecond() as i64),
        "UTC" => Ok(Value::Time(time.with_time_zone(TimeZone::UTC))),
        "IsZero" => Ok(Value::Bool(time.timestamp().as_second() == GO_ZERO_SECONDS)),
        "Month" => Ok(Value::Text(times::format(time, "January"))),
        "Weekday" => Ok(Value::Text(times::format(time, "Monday"))),
        "String" => Ok(Value::Text(times::format(time, GO_STRING))),
        "AddDate" => Err(wrong_count(name, 3, 0)),
        "Format" | "Add" | "Sub" | "Before" | "After" | "Equal" | "Compare" | "Truncate"
        | "Round" => Err(wrong_count(name, 1, 0)),
        _ => Err(format!("can't evaluate field {name} in type *time.Time")),
    }
}

/// The first moment of year 1.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

/// Methods of a time.
pub fn of_time(of: &Zoned, name: &str, args: &[Value]) -> Result<Value, String> {
    let moved = |by_ns: i64| {
        let moved = of.checked_add(SignedDuration::from_nanos(by_ns));
        moved.map(Value::Time).map_err(|_| BEYOND.to_owned())
    };
    // Go counts from year 1, whose days are whole multiples of a day away.
    let since_ns = || i128::from(GO_ZERO_SECONDS) * -1_000_000_000 + of.timestamp().as_nanosecond();
    match (name, args) {
        ("Format", [layout]) => match layout {
            Value::Text(layout) => Ok(Value::Text(times::format(of, layout))),
            other => Err(wrong_type("string", other)),
        },
        ("Add", [by]) => moved(duration_of(by)?),
        ("Sub", [other]) => {
            let ns = of.timestamp().as_nanosecond() - time_of(other)?.timestamp().as_nanosecond();
            let bound = |n: i128| n.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            Ok(Value::Duration(bound(ns)))
        }
        ("Before", [other]) => Ok(Value::Bool(of.timestamp() < time_of(other)?.timestamp())),
        ("After", [other]) => Ok(Value::Bool(of.timestamp() > time_of(other)?.timestamp())),
        ("Equal", [other]) => Ok(Value::Bool(of.timestamp() == time_of(other)?.timestamp())),
        ("Compare", [other]) => {
            let order = of.timestamp().cmp(&time_of(other)?.timestamp());
            Ok(Value::Int(order as i64))
        }
        ("Truncate" | "Round", [step]) => {
            let step_ns = duration_of(step)?;
            if step_ns <= 0 {
                return Ok(Value::Time(of.clone()));
            }
            let behind = since_ns().rem_euclid(step_ns.into()) as i64;
            match name == "Round" && behind >= step_ns - behind {
                true => moved(step_ns - behind),
                false => moved(-behind),
            }
        }
        ("AddDate", [years, months, days]) => {
            let (years, months, days) = (integer(years)?, integer(months)?, integer(days)?);
            add_date(of, years, months, days)
        }
        (
            "Format" | "Add" | "Sub" | "Before" | "After" | "Equal" | "Compare" | "Truncate"
            | "Round",
            _,
        ) => Err(wrong_count(name, 1, args.len())),
        ("AddDate", _) => Err(wrong_count(name, 3, args.len())),
        (_, []) => time(of, name),
        _ => {
            time(of, name)?;
            Err(wrong_count(name, 0, args.len()))
        }
    }
}

const BEYOND: &str = "the time is beyond what can be told";

/// Days that a month has not go on in the next, as in Go.
fn add_date(of: &Zoned, years: i64, months: i64, days: i64) -> Result<Value, String> {
    let beyond = |_: jiff::Error| BEYOND.to_owned();
    let first = of.with().day(1).build().map_err(beyond)?;
    let span = Span::new().try_years(years).map_err(beyond)?;
    let span = span.try_months(months).map_err(beyond)?;
    let month = first.checked_add(span).map_err(beyond)?;
    let days = days.saturating_add(i64::from(of.day()) - 1);
    let days = Span::new().try_days(days).map_err(beyond)?;
    month.checked_add(days).map(Value::Time).map_err(beyond)
}

fn truncated(ns: i64, step_ns: i64) -> i64 {
    match step_ns > 0 {
        true => ns - ns % step_ns,
        false => ns,
    }
}

/// Halves are rounded away from zero.
fn rounded(ns: i64, step_ns: i64) -> i64 {
    if step_ns <= 0 {
        return ns;
    }
    let rest = (ns % step_ns).abs();
    let down = truncated(ns, step_ns);
    match rest >= step_ns - rest {
        true => down.saturating_add(step_ns * ns.signum()),
        false => down,
    }
}

fn wrong_count(name: &str, wanted: usize, found: usize) -> String {
    format!("wrong number of args for {name}: want {wanted} got {found}")
}

fn wrong_type(wanted: &str, found: &Value) -> String {
    format!(
        "wrong type for value; expected {wanted}; got {}",
        found.type_name()
    )
}

fn duration_of(value: &Value) -> Result<i64, String> {
    match value {
        // A plain number is one of nanoseconds.
        Value::Duration(ns) | Value::Int(ns) => Ok(*ns),
        other => Err(wrong_type("time.Duration", other)),
    }
}

fn time_of(value: &Value) -> Result<&Zoned, String> {
    match value {
        Value::Time(time) => Ok(time),
        other => Err(wrong_type("time.Time", other)),
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(n) => Ok(*n),
        other => Err(wrong_type("int", other)),
    }
}
