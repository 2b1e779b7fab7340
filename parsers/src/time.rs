//! Time formats: strptime as Fluent Bit extends it (`%L`, `%s`, `%z` with names), and RFC 3339 fast.
//!
//! Not a calendar library and no clock: now is an argument, needed only by formats without a year.
//! Every result is Unix nanoseconds; a time outside 1678..2262 does not fit and is refused.

mod prometheus_duration;
mod rfc3339;

use jiff::civil;
use jiff::tz::TimeZone;

use kansoku_model::calendar::days_of;
pub use prometheus_duration::prometheus_duration;
use rfc3339::{NS_PER_SECOND, fraction, numeric_offset, to_ns};
pub use rfc3339::{parse_offset, rfc3339_ns};

const DAY_NS: i64 = 86_400 * NS_PER_SECOND;

/// What a time without a zone of its own is counted in.
#[derive(Debug, Clone, Default)]
pub enum Zone {
    #[default]
    Utc,
    /// Seconds east of Greenwich.
    Fixed(i32),
    /// A zone of the IANA database.
    Named(TimeZone),
}

impl Zone {
    fn to_jiff(&self) -> TimeZone {
        match self {
            Self::Utc => TimeZone::UTC,
            Self::Fixed(seconds) => {
                let offset = jiff::tz::Offset::from_seconds(*seconds);
                offset.map_or(TimeZone::UTC, TimeZone::fixed)
            }
            Self::Named(zone) => zone.clone(),
        }
    }
}

/// One step of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Any number of blanks, also none.
    Blanks,
    Literal(u8),
    /// `%L`, `%N`, `%f`.
    Fraction,
    /// `%s`.
    Epoch,
    /// `%z` and `%Z`.
    Offset,
    ZoneName,
    MonthName,
    DayName,
    HalfDay,
    /// Digits: which number, the most digits, and the range.
    Number(Number, usize, i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Year,
    ShortYear,
    Month,
    Day,
    Hour,
    HalfHour,
    Minute,
    Second,
    DayOfYear,
    /// Read and not used: a weekday.
    Skipped,
}

/// A compiled strptime format.
#[derive(Debug, Clone)]
pub struct TimeFormat {
    steps: Vec<Step>,
    /// The format of CRI and docker, which has a reader of its own.
    is_rfc3339: bool,
    is_coarse: bool,
    has_year: bool,
    has_month: bool,
    has_day: bool,
}

/// A format that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A letter after `%` that is not known.
    #[error(
        "unknown time directive '%{0}'; known: a A b B d D e f F h H I j k l L m M n N p R s S t T u w y Y z Z %"
    )]
    Unknown(char),
    /// A `%` at the end.
    #[error("the time format ends with a single '%'; write '%%' for the character")]
    Dangling,
    /// Nothing to read.
    #[error("the time format is empty")]
    Empty,
}

impl TimeFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// When it has an unknown directive.
    pub fn new(format: &str) -> Result<Self, FormatError> {
        if format.is_empty() {
            return Err(FormatError::Empty);
        }
        let mut steps = Vec::new();
        compile(format, &mut steps)?;
        let has_year = steps.iter().any(|s| {
            matches!(
                s,
                Step::Number(Number::Year | Number::ShortYear, ..) | Step::Epoch
            )
        });
        let has = |wanted: Number| {
            let is = |s: &Step| matches!(s, Step::Number(n, ..) if *n == wanted);
            steps.iter().any(is)
        };
        let has_day_of_year = has(Number::DayOfYear);
        Ok(Self {
            is_rfc3339: format == "%Y-%m-%dT%H:%M:%S.%L%z",
            is_coarse: has_year && !steps.contains(&Step::Fraction),
            has_year,
            has_month: steps.contains(&Step::MonthName) || has(Number::Month) || has_day_of_year,
            has_day: has(Number::Day) || has_day_of_year,
            steps,
        })
    }

    /// Whether neighbouring lines are likely to have one text, which alone says which time it is.
    #[must_use]
    pub fn is_coarse(&self) -> bool {
        self.is_coarse
    }

    /// Whether every time that [`rfc3339_ns`] reads is read as that does.
    #[must_use]
    pub fn is_rfc3339(&self) -> bool {
        self.is_rfc3339
    }

    /// Reads a time and returns Unix nanoseconds. Every part of the format must be there when
    /// `strict`; what follows in the text does not matter, as in Fluent Bit, so `%L` reads a time
    /// that ends with a `Z`.
    ///
    /// A format without a year takes the one that puts the time nearest before tomorrow, as seen
    /// from `now_ns`, so that December's lines read in January keep their year. Without a month or
    /// day it takes today's.
    #[must_use]
    pub fn parse(&self, text: &[u8], zone: &Zone, now_ns: i64, strict: bool) -> Option<i64> {
        if self.is_rfc3339
            && let Some(time_ns) = rfc3339_ns(text)
        {
            return Some(time_ns);
        }
        let mut found = Found::default();
        let mut rest = text;
        let mut steps = self.steps.iter().peekable();
        while let Some(step) = steps.next() {
            match found.step(step, rest, strict) {
                Some(after) => rest = after,
                // Go writes no `.000` at a whole second, so docker and containerd do not either;
                // Fluent Bit cannot read such a time.
                None if is_point(step) && steps.peek() == Some(&&Step::Fraction) => {
                    steps.next();
                }
                None if rest.is_empty() && !strict && found.has_day => break,
                None => return None,
            }
        }
        if let Some(epoch) = found.epoch {
            return epoch.checked_mul(NS_PER_SECOND)?.checked_add(found.nanos);
        }
        if self.has_year {
            return found.to_ns(zone);
        }
        let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).ok()?;
        let today = now.to_zoned(zone.to_jiff()).date();
        if !self.has_month {
            found.month = i64::from(today.month());
        }
        if !self.has_day {
            found.day = i64::from(today.day());
        }
        let this_year = i64::from(today.year());
        // A leap day may not exist in this year; then it was last year's or the one before.
        (0..9).find_map(|back| {
            found.year = this_year + 1 - back;
            found
                .to_ns(zone)
                .filter(|t| *t <= now_ns.saturating_add(DAY_NS))
        })
    }
}

fn is_point(step: &Step) -> bool {
    matches!(step, Step::Literal(b'.' | b','))
}

fn compile(format: &str, steps: &mut Vec<Step>) -> Result<(), FormatError> {
    use Number::*;
    let mut chars = format.bytes().enumerate();
    while let Some((_, c)) = chars.next() {
        if c != b'%' {
            steps.push(if c.is_ascii_whitespace() {
                Step::Blanks
            } else {
                Step::Literal(c)
            });
            continue;
        }
        let (mut at, mut directive) = chars.next().ok_or(FormatError::Dangling)?;
        // E and O ask for a locale's other digits, which no log has.
        if matches!(directive, b'E' | b'O') {
            (at, directive) = chars.next().ok_or(FormatError::Dangling)?;
        }
        let step = match directive {
            b'Y' => Step::Number(Year, 4, 0, 9999),
            b'y' => Step::Number(ShortYear, 2, 0, 99),
            b'm' => Step::Number(Month, 2, 1, 12),
            b'd' | b'e' => Step::Number(Day, 2, 1, 31),
            b'H' | b'k' => Step::Number(Hour, 2, 0, 23),
            b'I' | b'l' => Step::Number(HalfHour, 2, 1, 12),
            b'M' => Step::Number(Minute, 2, 0, 59),
            b'S' => Step::Number(Second, 2, 0, 60),
            b'j' => Step::Number(DayOfYear, 3, 1, 366),
            b'u' => Step::Number(Skipped, 1, 1, 7),
            b'w' => Step::Number(Skipped, 1, 0, 6),
            b'b' | b'B' | b'h' => Step::MonthName,
            b'a' | b'A' => Step::DayName,
            b'p' => Step::HalfDay,
            b'L' | b'N' | b'f' => Step::Fraction,
            b's' => Step::Epoch,
            b'z' => Step::Offset,
            b'Z' => Step::ZoneName,
            b'n' | b't' => Step::Blanks,
            b'%' => Step::Literal(b'%'),
            b'T' => {
                compile("%H:%M:%S", steps)?;
                continue;
            }
            b'D' => {
                compile("%m/%d/%y", steps)?;
                continue;
            }
            b'F' => {
                compile("%Y-%m-%d", steps)?;
                continue;
            }
            b'R' => {
                compile("%H:%M", steps)?;
                continue;
            }
            _ => {
                let letter = format.get(at..).and_then(|s| s.chars().next());
                return Err(FormatError::Unknown(
                    letter.unwrap_or(char::REPLACEMENT_CHARACTER),
                ));
            }
        };
        steps.push(step);
    }
    Ok(())
}

/// What has been read so far.
#[derive(Debug)]
struct Found {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    day_of_year: Option<i64>,
    afternoon: Option<bool>,
    offset: Option<i32>,
    epoch: Option<i64>,
    /// Whether a day or an epoch was read: without one, text cut short is no time.
    has_day: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            year: 1970,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            day_of_year: None,
            afternoon: None,
            offset: None,
            epoch: None,
            has_day: false,
        }
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
/// Names that Fluent Bit's `%z` knows; others are refused there, and skipped by `%Z`.
const ZONES: [(&str, i32); 12] = [
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("Z", 0),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

impl Found {
    /// Reads one step from `text` and returns what follows.
    fn step<'a>(&mut self, step: &Step, text: &'a [u8], strict: bool) -> Option<&'a [u8]> {
        match step {
            Step::Blanks => Some(text.trim_ascii_start()),
            Step::Literal(c) => text.strip_prefix(std::slice::from_ref(c)),
            Step::Fraction => {
                let (nanos, n) = fraction(text);
                self.nanos = nanos;
                (n > 0 || !strict).then(|| &text[n..])
            }
            Step::Epoch => {
                let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
                self.epoch = Some(std::str::from_utf8(&text[..n]).ok()?.parse().ok()?);
                self.has_day = true;
                Some(&text[n..])
            }
            Step::Offset | Step::ZoneName => {
                self.zone(text.trim_ascii_start(), *step == Step::ZoneName)
            }
            Step::MonthName => {
                let (index, rest) = name(text, &MONTHS)?;
                self.month = index + 1;
                Some(rest)
            }
            Step::DayName => name(text, &DAYS).map(|(_, rest)| rest),
            Step::HalfDay => {
                let (index, rest) = name(text, &["am", "pm"])?;
                self.afternoon = Some(index == 1);
                Some(rest)
            }
            Step::Number(number, width, min, max) => {
                self.number(*number, text, *width, *min..=*max)
            }
        }
    }

    fn number<'a>(
        &mut self,
        number: Number,
        text: &'a [u8],
        width: usize,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<&'a [u8]> {
        // strptime lets blanks stand before a number: `%d` reads ` 1`.
        let text = text.trim_ascii_start();
        let n = text
            .iter()
            .take(width)
            .take_while(|b| b.is_ascii_digit())
            .count();
        let value = text[..n]
            .iter()
            .fold(0, |v, b| v * 10 + i64::from(b - b'0'));
        if n == 0 || !range.contains(&value) {
            return None;
        }
        match number {
            Number::Year => self.year = value,
            Number::ShortYear => {
                self.year = if value < 69 {
                    2000 + value
                } else {
                    1900 + value
                }
            }
            Number::Month => self.month = value,
            Number::Day => {
                self.day = value;
                self.has_day = true;
            }
            Number::Hour => self.hour = value,
            Number::HalfHour => self.hour = value % 12,
            Number::Minute => self.minute = value,
            Number::Second => self.second = value,
            Number::DayOfYear => {
                self.day_of_year = Some(value);
                self.has_day = true;
            }
            Number::Skipped => {}
        }
        Some(&text[n..])
    }

    fn zone<'a>(&mut self, text: &'a [u8], any_name: bool) -> Option<&'a [u8]> {
        if let Some((offset, n)) = numeric_offset(text) {
            self.offset = Some(offset);
            return Some(&text[n..]);
        }
        let n = text.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let word = &text[..n];
        match ZONES
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        {
            Some((_, hours)) => self.offset = Some(hours * 3600),
            None if any_name && n > 0 => {}
            None => return None,
        }
        Some(&text[n..])
    }

    fn to_ns(&self, zone: &Zone) -> Option<i64> {
        let days = match self.day_of_year {
            Some(day) => days_of(self.year, 1, 1)? + day - 1,
            None => days_of(self.year, self.month, self.day)?,
        };
        let hour = match self.afternoon {
            Some(true) => self.hour % 12 + 12,
            Some(false) => self.hour % 12,
            None => self.hour,
        };
        let seconds = hour * 3600 + self.minute * 60 + self.second;
        let offset = match (self.offset, zone) {
            (Some(offset), _) => offset,
            (None, Zone::Fixed(offset)) => *offset,
            (None, Zone::Utc) => 0,
            (None, Zone::Named(zone)) => {
                let civil = civil::DateTime::from_parts(
                    civil::Date::new(1970, 1, 1)
                        .ok()?
                        .checked_add(jiff::Span::new().try_days(days).ok()?)
                        .ok()?,
                    civil::Time::new(hour as i8, self.minute as i8, self.second.min(59) as i8, 0)
                        .ok()?,
                );
                let zoned = zone.to_ambiguous_zoned(civil).compatible().ok()?;
                zoned.offset().seconds()
            }
        };
        to_ns(days, seconds - i64::from(offset), self.nanos)
    }
}

/// The index of the name that `text` starts with, in full or by its first three letters.
fn name<'a>(text: &'a [u8], names: &[&str]) -> Option<(i64, &'a [u8])> {
    let text = text.trim_ascii_start();
    names.iter().enumerate().find_map(|(i, name)| {
        [name.len(), 3.min(name.len())].into_iter().find_map(|len| {
            let head = text.get(..len)?;
            head.eq_ignore_ascii_case(&name.as_bytes()[..len])
                .then(|| (i as i64, &text[len..]))
        })
    })
}

#[cfg(test)]
mod tests;
