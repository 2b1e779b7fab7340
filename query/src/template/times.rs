//! Template functions on times, with Go's layouts (`2006-01-02T15:04:05Z07:00`).
//!
//! Times of a record are shown in UTC. There is no `now`: evaluation asks no clock.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::Scope;
use super::value::Value;

type Result<T = Value> = std::result::Result<T, String>;

/// How Go prints a time that is not formatted.
pub const GO_STRING: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

/// Elements of a layout; a longer one comes before its own beginning.
const ELEMENTS: &[(&str, Element)] = &[
    ("January", Element::MonthName),
    ("Jan", Element::MonthShort),
    ("Monday", Element::WeekdayName),
    ("Mon", Element::WeekdayShort),
    ("MST", Element::ZoneName),
    ("2006", Element::Year),
    (
        "-07:00",
        Element::Offset {
            colon: true,
            z: false,
        },
    ),
    (
        "-0700",
        Element::Offset {
            colon: false,
            z: false,
        },
    ),
    (
        "Z07:00",
        Element::Offset {
            colon: true,
            z: true,
        },
    ),
    (
        "Z0700",
        Element::Offset {
            colon: false,
            z: true,
        },
    ),
    ("002", Element::DayOfYear),
    ("01", Element::Month),
    ("02", Element::Day),
    ("03", Element::Hour12),
    ("04", Element::Minute),
    ("05", Element::Second),
    ("06", Element::YearShort),
    ("15", Element::Hour),
    ("PM", Element::AmPm),
    ("pm", Element::AmPmLower),
    ("_2", Element::DaySpace),
    ("1", Element::MonthPlain),
    ("2", Element::DayPlain),
    ("3", Element::Hour12Plain),
    ("4", Element::MinutePlain),
    ("5", Element::SecondPlain),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    MonthName,
    MonthShort,
    WeekdayName,
    WeekdayShort,
    ZoneName,
    Year,
    YearShort,
    Offset { colon: bool, z: bool },
    DayOfYear,
    Month,
    MonthPlain,
    Day,
    DayPlain,
    DaySpace,
    Hour,
    Hour12,
    Hour12Plain,
    Minute,
    MinutePlain,
    Second,
    SecondPlain,
    AmPm,
    AmPmLower,
}

enum Part<'a> {
    Literal(&'a str),
    Element(Element),
    /// `.000` or `.999`: digits, zeros at the end dropped.
    Fraction {
        digits: usize,
        trim: bool,
    },
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

fn parts(layout: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = layout;
    let mut literal_start = layout;
    while let Some(c) = rest.chars().next() {
        let element = ELEMENTS.iter().find(|(text, _)| rest.starts_with(text));
        let fraction = fraction_len(rest);
        let (part, len) = match (element, fraction) {
            (Some((text, element)), _) => (Part::Element(*element), text.len()),
            (None, Some(len)) => (
                Part::Fraction {
                    digits: (len - 1).min(9),
                    trim: rest.as_bytes()[1] == b'9',
                },
                len,
            ),
            (None, None) => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        let literal = &literal_start[..literal_start.len() - rest.len()];
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        parts.push(part);
        rest = &rest[len..];
        literal_start = rest;
    }
    if !literal_start.is_empty() {
        parts.push(Part::Literal(literal_start));
    }
    parts
}

/// The length of `.000` or `,999` at the start of `rest`, unless more digits follow.
fn fraction_len(rest: &str) -> Option<usize> {
    let digits = rest.strip_prefix(['.', ','])?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let n = digits.chars().take_while(|c| *c == first).count();
    let more = digits[n..].starts_with(|c: char| c.is_ascii_digit());
    (!more).then_some(n + 1)
}

/// Writes a time by a Go layout.
pub fn format(time: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    for part in parts(layout) {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Fraction { digits, trim } => {
                let all = format!("{:09}", time.subsec_nanosecond());
                let mut shown = &all[..digits];
                if trim {
                    shown = shown.trim_end_matches('0');
                }
                if !shown.is_empty() {
                    out.push('.');
                    out.push_str(shown);
                }
            }
            Part::Element(element) => format_element(&mut out, time, element),
        }
    }
    out
}

fn format_element(out: &mut String, time: &Zoned, element: Element) {
    let month = MONTHS[(time.month() - 1).clamp(0, 11) as usize];
    let weekday = time.weekday().to_monday_zero_offset().clamp(0, 6);
    let weekday = WEEKDAYS[weekday as usize];
    let hour12 = (time.hour() + 11) % 12 + 1;
    let pm = time.hour() >= 12;
    let text = match element {
        Element::MonthName => month.to_owned(),
        Element::MonthShort => month[..3].to_owned(),
        Element::WeekdayName => weekday.to_owned(),
        Element::WeekdayShort => weekday[..3].to_owned(),
        Element::ZoneName => time.strftime("%Z").to_string(),
        Element::Year => format!("{:04}", time.year()),
        Element::YearShort => format!("{:02}", time.year().rem_euclid(100)),
        Element::DayOfYear => format!("{:03}", time.day_of_year()),
        Element::Month => format!("{:02}", time.month()),
        Element::MonthPlain => time.month().to_string(),
        Element::Day => format!("{:02}", time.day()),
        Element::DayPlain => time.day().to_string(),
        Element::DaySpace => format!("{:>2}", time.day()),
        Element::Hour => format!("{:02}", time.hour()),
        Element::Hour12 => format!("{hour12:02}"),
        Element::Hour12Plain => hour12.to_string(),
        Element::Minute => format!("{:02}", time.minute()),
        Element::MinutePlain => time.minute().to_string(),
        Element::Second => format!("{:02}", time.second()),
        Element::SecondPlain => time.second().to_string(),
        Element::AmPm => if pm { "PM" } else { "AM" }.to_owned(),
        Element::AmPmLower => if pm { "pm" } else { "am" }.to_owned(),
        Element::Offset { colon, z } => offset_text(time.offset(), colon, z),
    };
    out.push_str(&text);
}

fn offset_text(offset: Offset, colon: bool, z: bool) -> String {
    let seconds = offset.seconds();
    if z && seconds == 0 {
        return "Z".into();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    let separator = if colon { ":" } else { "" };
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

/// Reads a time by a Go layout; a zone in the text wins over `zone`.
pub fn parse(layout: &str, text: &str, zone: &TimeZone) -> Option<Zoned> {
    let mut read = Read {
        rest: text,
        year: 1,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        nanosecond: 0,
        pm: None,
        offset: None,
    };
    for part in parts(layout) {
        match part {
            Part::Literal(literal) => read.rest = read.rest.strip_prefix(literal)?,
            Part::Fraction { .. } => read.fraction()?,
            Part::Element(element) => read.element(element)?,
        }
    }
    read.fraction()?;
    if !read.rest.is_empty() {
        return None;
    }
    let hour = match read.pm {
        Some(pm) => read.hour % 12 + if pm { 12 } else { 0 },
        None => read.hour,
    };
    let date = Date::new(read.year, read.month, read.day).ok()?;
    let time = Time::new(hour, read.minute, read.second, read.nanosecond).ok()?;
    let zone = match read.offset {
        Some(offset) => TimeZone::fixed(offset),
        None => zone.clone(),
    };
    DateTime::from_parts(date, time).to_zoned(zone).ok()
}

struct Read<'a> {
    rest: &'a str,
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    pm: Option<bool>,
    offset: Option<Offset>,
}

impl Read<'_> {
    fn number(&mut self, min: usize, max: usize) -> Option<i32> {
        let n = self
            .rest
            .bytes()
            .take(max)
            .take_while(u8::is_ascii_digit)
            .count();
        if n < min {
            return None;
        }
        let (digits, rest) = self.rest.split_at(n);
        self.rest = rest;
        digits.parse().ok()
    }

    fn small(&mut self, min: usize, max: usize) -> Option<i8> {
        i8::try_from(self.number(min, max)?).ok()
    }

    fn name(&mut self, names: &[&str], short: bool) -> Option<usize> {
        let at = names.iter().position(|name| {
            let name = if short { &name[..3] } else { name };
            let start = self.rest.get(..name.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(name))
        })?;
        let len = if short { 3 } else { names[at].len() };
        self.rest = &self.rest[len..];
        Some(at)
    }

    /// Digits after the second, whether the layout asks for them or not.
    fn fraction(&mut self) -> Option<()> {
        let Some(digits) = self.rest.strip_prefix(['.', ',']) else {
            return Some(());
        };
        let n = digits.bytes().take_while(u8::is_ascii_digit).count();
        let shown = &digits[..n.min(9)];
        self.nanosecond = format!("{shown:0<9}").parse().ok()?;
        self.rest = &digits[n..];
        Some(())
    }

    fn element(&mut self, element: Element) -> Option<()> {
        match element {
            Element::MonthName => self.month = self.name(&MONTHS, false)? as i8 + 1,
            Element::MonthShort => self.month = self.name(&MONTHS, true)? as i8 + 1,
            Element::WeekdayName => drop(self.name(&WEEKDAYS, false)?),
            Element::WeekdayShort => drop(self.name(&WEEKDAYS, true)?),
            Element::Year => self.year = i16::try_from(self.number(4, 4)?).ok()?,
            Element::YearShort => {
                let year = i16::try_from(self.number(2, 2)?).ok()?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            Element::Month => self.month = self.small(2, 2)?,
            Element::MonthPlain => self.month = self.small(1, 2)?,
            Element::Day => self.day = self.small(2, 2)?,
            Element::DayPlain => self.day = self.small(1, 2)?,
            Element::DaySpace => {
                self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                self.day = self.small(1, 2)?;
            }
            Element::Hour | Element::Hour12 => self.hour = self.small(2, 2)?,
            Element::Hour12Plain => self.hour = self.small(1, 2)?,
            Element::Minute => self.minute = self.small(2, 2)?,
            Element::MinutePlain => self.minute = self.small(1, 2)?,
            Element::Second => {
                self.second = self.small(2, 2)?;
                self.fraction()?;
            }
            Element::SecondPlain => {
                self.second = self.small(1, 2)?;
                self.fraction()?;
            }
            Element::AmPm | Element::AmPmLower => {
                let names = ["am.", "pm."].map(|n| &n[..2]);
                let start = self.rest.get(..2)?;
                let at = names.iter().position(|n| start.eq_ignore_ascii_case(n))?;
                self.pm = Some(at == 1);
                self.rest = &self.rest[2..];
            }
            Element::ZoneName => {
                let n = self.rest.bytes().take_while(u8::is_ascii_uppercase).count();
                let (name, rest) = self.rest.split_at(n);
                if matches!(name, "UTC" | "GMT") {
                    self.offset = Some(Offset::UTC);
                } else if name.len() < 3 {
                    return None;
                }
                self.rest = rest;
            }
            Element::Offset { z, .. } => self.offset(z)?,
            Element::DayOfYear => drop(self.number(3, 3)?),
        }
        Some(())
    }

    fn offset(&mut self, z: bool) -> Option<()> {
        if z && let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            self.offset = Some(Offset::UTC);
            return Some(());
        }
        let negative = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix(['-', '+'])?;
        let hours = self.number(2, 2)?;
        self.rest = self.rest.strip_prefix(':').unwrap_or(self.rest);
        let minutes = self.number(2, 2)?;
        let seconds = hours * 3600 + minutes * 60;
        self.offset = Offset::from_seconds(if negative { -seconds } else { seconds }).ok();
        self.offset.map(drop)
    }
}

/// A time in UTC.
pub fn from_ns(ns: i64) -> Result<Zoned> {
    Timestamp::from_nanosecond(i128::from(ns))
        .map(|t| t.to_zoned(TimeZone::UTC))
        .map_err(|e| e.to_string())
}

fn nanoseconds(value: &Value) -> Result<i128> {
    Ok(value.as_time()?.timestamp().as_nanosecond())
}

/// `date layout time`
pub fn date(a: &[Value], _: Scope<'_>) -> Result {
    let layout = a[0].as_text()?;
    let time = match &a[1] {
        Value::Time(time) => time.clone(),
        Value::Int(seconds) => from_ns(seconds.saturating_mul(1_000_000_000))?,
        other => return Err(format!("{} is no time", other.type_name())),
    };
    Ok(Value::Text(format(&time, layout)))
}

/// `toDate layout text`; what cannot be read is the beginning of year one, as in Go.
pub fn to_date(a: &[Value], _: Scope<'_>) -> Result {
    read_date(a[0].as_text()?, a[1].as_text()?, &TimeZone::UTC)
}

/// `toDateInZone layout zone text`
pub fn to_date_in_zone(a: &[Value], _: Scope<'_>) -> Result {
    let zone = TimeZone::get(a[1].as_text()?).unwrap_or(TimeZone::UTC);
    read_date(a[0].as_text()?, a[2].as_text()?, &zone)
}

fn read_date(layout: &str, text: &str, zone: &TimeZone) -> Result {
    let zero = || DateTime::constant(1, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC);
    match parse(layout, text, zone) {
        Some(time) => Ok(Value::Time(time)),
        None => zero().map(Value::Time).map_err(|e| e.to_string()),
    }
}

/// Seconds, milliseconds, microseconds, nanoseconds or days, told apart by the number of digits.
pub fn unix_to_time(a: &[Value], _: Scope<'_>) -> Result {
    let text = a[0].as_text()?;
    let number: i64 = text
        .parse()
        .map_err(|_| format!("unable to parse time '{text}'"))?;
    let factor = match text.len() {
        5 => 86_400 * 1_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return Err(format!("unable to parse time '{text}'")),
    };
    from_ns(number.saturating_mul(factor)).map(Value::Time)
}

pub fn unix_epoch(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Text(
        nanoseconds(&a[0])?.div_euclid(1_000_000_000).to_string(),
    ))
}

pub fn unix_epoch_millis(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Text(
        nanoseconds(&a[0])?.div_euclid(1_000_000).to_string(),
    ))
}

pub fn unix_epoch_nanos(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Text(nanoseconds(&a[0])?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_write_and_read() {
        let time = from_ns(1_690_000_001_020_000_000).unwrap();
        let cases = [
            ("2006-01-02T15:04:05Z07:00", "2023-07-22T04:26:41Z"),
            (
                "2006-01-02T15:04:05.000-07:00",
                "2023-07-22T04:26:41.020+00:00",
            ),
            ("Jan _2 3:04:05.999PM", "Jul 22 4:26:41.02AM"),
            ("Monday, 02-Jan-06 MST", "Saturday, 22-Jul-23 UTC"),
        ];
        for (layout, text) in cases {
            assert_eq!(format(&time, layout), text);
        }
        let read = |layout, text| {
            parse(layout, text, &TimeZone::UTC).map(|t| t.timestamp().as_nanosecond())
        };
        assert_eq!(
            read("2006-01-02T15:04:05Z07:00", "2023-07-22T06:26:41.02+02:00"),
            Some(1_690_000_001_020_000_000)
        );
        assert_eq!(
            read("02/Jan/2006:15:04:05 -0700", "22/Jul/2023:04:26:41 +0000"),
            Some(1_690_000_001_000_000_000)
        );
        assert_eq!(read("2006-01-02", "2023-13-01"), None);
        assert_eq!(read("2006-01-02", "2023-12-01x"), None);
    }
}
