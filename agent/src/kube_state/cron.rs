//! When a CronJob is due next.
//!
//! Source: github.com/robfig/cron v3, which the CronJob controller uses: five fields or a descriptor, with an
//! optional `TZ=` or `CRON_TZ=` in front. Hours that a clock change leaves out are not made up for.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A date that does not come within so many years never comes (30 February).
const MAX_YEARS: i16 = 5;
/// Schedules are a few dozen bytes.
const MAX_BYTES: usize = 1024;

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The numbers that a field may have, and the names of the first ones.
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds {
    min: 0,
    max: 59,
    names: &[],
};
const HOUR: Bounds = Bounds {
    min: 0,
    max: 23,
    names: &[],
};
const DAY: Bounds = Bounds {
    min: 1,
    max: 31,
    names: &[],
};
const MONTH: Bounds = Bounds {
    min: 1,
    max: 12,
    names: MONTHS,
};
const WEEKDAY: Bounds = Bounds {
    min: 0,
    max: 6,
    names: WEEKDAYS,
};

/// The numbers of a field as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Field {
    bits: u64,
    /// `*` or `?`: says nothing.
    is_any: bool,
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|n| self.bits & (1 << n) != 0)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Every(SignedDuration),
    /// Minute, hour, day, month, weekday.
    Fields([Field; 5]),
}

/// A schedule in its time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

/// Why there is no schedule.
#[derive(Debug, PartialEq, Eq)]
pub enum NoSchedule {
    /// The controller cannot read it either.
    Invalid,
    /// It may be valid, but this machine has no time zones to look its own up in.
    NoTimeZones,
}

impl Schedule {
    /// Reads a schedule; `zone` is the CronJob's `timeZone`, else it is the clock's, taken for UTC.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse(schedule: &str, zone: Option<&str>) -> Result<Self, NoSchedule> {
        if schedule.len() > MAX_BYTES {
            return Err(NoSchedule::Invalid);
        }
        let prefixed = ["TZ=", "CRON_TZ="];
        let named = prefixed.iter().find_map(|p| schedule.strip_prefix(p));
        let (zone, schedule) = match (zone, named) {
            // Two zones are one too many.
            (Some(_), Some(_)) => return Err(NoSchedule::Invalid),
            (None, Some(rest)) => {
                let (zone, rest) = rest.split_once(' ').ok_or(NoSchedule::Invalid)?;
                (Some(zone), rest)
            }
            (zone, None) => (zone, schedule),
        };
        let rule = rule(schedule.trim()).ok_or(NoSchedule::Invalid)?;
        let zone = match zone {
            None | Some("" | "UTC" | "Local") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                if jiff::tz::db().is_definitively_empty() {
                    NoSchedule::NoTimeZones
                } else {
                    NoSchedule::Invalid
                }
            })?,
        };
        Ok(Self { rule, zone })
    }

    /// The first time after `after`; `None` when there is none in the next years.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(pause) => {
                let second = Timestamp::from_second(after.as_second()).ok()?;
                second.checked_add(*pause).ok()
            }
            Rule::Fields(fields) => self.next_match(fields, after),
        }
    }

    /// Steps over what does not match, the largest unit first.
    fn next_match(&self, fields: &[Field; 5], after: Timestamp) -> Option<Timestamp> {
        let [minute, hour, _, month, _] = fields;
        let seconds = |time: Timestamp, s: i64| time.checked_add(SignedDuration::from_secs(s)).ok();
        let second = after.as_second().checked_add(1)?;
        let mut time = Timestamp::from_second(second).ok()?;
        let until = self.civil(time).year().checked_add(MAX_YEARS)?;
        loop {
            let civil = self.civil(time);
            if civil.year() > until {
                return None;
            }
            let (minutes, over) = (i64::from(civil.minute()), i64::from(civil.second()));
            time = if !month.has(civil.month()) {
                let next = civil.date().last_of_month().tomorrow().ok()?;
                self.later(next, time)?
            } else if !is_day(fields, civil.date()) {
                self.later(civil.date().tomorrow().ok()?, time)?
            } else if !hour.has(civil.hour()) {
                seconds(time, 3600 - minutes * 60 - over)?
            } else if over > 0 || !minute.has(civil.minute()) {
                seconds(time, 60 - over)?
            } else {
                return Some(time);
            };
        }
    }

    fn civil(&self, time: Timestamp) -> DateTime {
        self.zone.to_datetime(time)
    }

    /// The beginning of a day, and in any case later than `time`.
    fn later(&self, day: Date, time: Timestamp) -> Option<Timestamp> {
        let start = self.zone.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
        let least = time.checked_add(SignedDuration::from_secs(1)).ok()?;
        Some(start.max(least))
    }
}

/// Both days must match; when both say something, one of them is enough.
fn is_day([_, _, day, _, weekday]: &[Field; 5], date: Date) -> bool {
    let of_month = day.has(date.day());
    let of_week = weekday.has(date.weekday().to_sunday_zero_offset());
    if day.is_any || weekday.is_any {
        of_month && of_week
    } else {
        of_month || of_week
    }
}

fn rule(text: &str) -> Option<Rule> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => match text.strip_prefix("@every ") {
            Some(pause) => return Some(Rule::Every(duration(pause)?)),
            None => text,
        },
    };
    let mut out = [Field::default(); 5];
    let mut words = fields.split_whitespace();
    for (field, bounds) in out.iter_mut().zip([MINUTE, HOUR, DAY, MONTH, WEEKDAY]) {
        for part in words.next()?.split(',').filter(|p| !p.is_empty()) {
            let part = range(part, &bounds)?;
            field.bits |= part.bits;
            field.is_any |= part.is_any;
        }
    }
    words.next().is_none().then_some(Rule::Fields(out))
}

/// `*`, `5`, `1-5`, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Option<Field> {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(count(step)?)),
        None => (text, None),
    };
    let (start, end, is_any) = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => (bounds.min, bounds.max, true),
        Some((start, end)) => (number(start, bounds)?, number(end, bounds)?, false),
        None => {
            let start = number(range, bounds)?;
            (
                start,
                if step.is_some() { bounds.max } else { start },
                false,
            )
        }
    };
    let step = step.unwrap_or(1);
    if start < bounds.min || end > bounds.max || start > end || step == 0 {
        return None;
    }
    let numbers = (start..=end).step_by(step as usize);
    Some(Field {
        bits: numbers.fold(0, |bits, n| bits | 1 << n),
        is_any: is_any && step == 1,
    })
}

fn number(text: &str, bounds: &Bounds) -> Option<u32> {
    let name = text.to_lowercase();
    match bounds.names.iter().position(|n| *n == name) {
        Some(at) => Some(bounds.min + at as u32),
        None => count(text),
    }
}

fn count(text: &str) -> Option<u32> {
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok())?
}

/// Go's durations, in whole seconds and at least one.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total_s = 0.0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(letters.unwrap_or(after.len()));
        let unit_s = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total_s += value.parse::<f64>().ok()? * unit_s;
        rest = after;
    }
    // As long as Go's durations go.
    let is_good = !text.is_empty() && total_s < 9.2e9;
    is_good.then(|| SignedDuration::from_secs((total_s as i64).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule, zone).expect(schedule);
        let after = after.parse().expect("a time");
        schedule.next(after).map(|t| t.to_string())
    }

    #[test]
    fn the_next_time_is_the_controllers() {
        for (schedule, after, expected) in [
            (
                "*/15 * * * *",
                "2026-11-21T10:00:00Z",
                "2026-11-21T10:15:00Z",
            ),
            (
                "*/15 * * * *",
                "2026-11-21T10:59:59Z",
                "2026-11-21T11:00:00Z",
            ),
            (
                "5 4 * * sun",
                "2026-11-21T10:00:00Z",
                "2026-11-22T04:05:00Z",
            ),
            (
                "0 0 1,15 * 3",
                "2026-11-21T10:00:00Z",
                "2026-11-25T00:00:00Z",
            ),
            ("0 0 31 * *", "2026-11-21T10:00:00Z", "2026-12-31T00:00:00Z"),
            (
                "0 22 * * 1-5",
                "2026-11-20T22:00:00Z",
                "2026-11-23T22:00:00Z",
            ),
            (
                "0 0 29 feb ?",
                "2026-11-21T10:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            (
                "3/20 8-10/2 * * *",
                "2026-11-21T08:23:00Z",
                "2026-11-21T08:43:00Z",
            ),
            ("@hourly", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
            ("@weekly", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z"),
            (
                "@every 1h30m",
                "2026-11-21T10:00:00.5Z",
                "2026-11-21T11:30:00Z",
            ),
        ] {
            assert_eq!(
                next(schedule, None, after).as_deref(),
                Some(expected),
                "{schedule}"
            );
        }
        assert_eq!(next("0 0 30 2 *", None, "2026-11-21T10:00:00Z"), None);
    }

    #[test]
    fn time_zones_and_their_changes_count() {
        let zone = Some("Europe/Berlin");
        let after = "2026-03-28T12:00:00Z";
        assert_eq!(
            next("0 12 * * *", zone, after).as_deref(),
            Some("2026-03-29T10:00:00Z")
        );
        // 02:30 does not exist on the 29th.
        assert_eq!(
            next("30 2 * * *", zone, after).as_deref(),
            Some("2026-03-30T00:30:00Z")
        );
        assert_eq!(
            next("TZ=Asia/Tokyo 0 9 * * *", None, after).as_deref(),
            Some("2026-03-29T00:00:00Z")
        );
    }

    #[test]
    fn what_the_controller_refuses_is_invalid() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@never",
            "@every",
            "@every 1x",
            "1- * * * *",
        ] {
            assert_eq!(
                Schedule::parse(bad, None),
                Err(NoSchedule::Invalid),
                "{bad}"
            );
        }
        let invalid = Err(NoSchedule::Invalid);
        assert_eq!(Schedule::parse("* * * * *", Some("No/Where")), invalid);
        assert_eq!(Schedule::parse("TZ=UTC * * * * *", Some("UTC")), invalid);
    }
}
