//! Times: of the step, of samples, and the parts of dates in UTC.

use kansoku_model::{Labels, calendar};

use super::super::ast::ExprKind;
use super::super::ast::ValueType::{Scalar, Vector};
use super::super::error::QueryError;
use super::super::value::{Column, Value};
use super::{Body, Call, Function};

pub(super) const TIME: Function = Function {
    uses_time: true,
    ..Function::whole(
        "time",
        &[],
        Scalar,
        "Time of the step in seconds.",
        |call| Ok(Value::Scalar(step_seconds(call))),
    )
};

pub(super) const TIMESTAMP: Function = Function {
    uses_time: true,
    ..Function::whole(
        "timestamp",
        &[Vector],
        Vector,
        "Time in seconds of each sample.",
        timestamp,
    )
};

pub(super) const START_TIMESTAMP: Function = Function {
    uses_time: true,
    ..Function::whole(
        "start_timestamp",
        &[Vector],
        Vector,
        "Time in seconds at which what each sample counts began, 0 where it is not known.",
        start_timestamp,
    )
};

pub(super) const YEAR: Function = date("year", "Year in UTC.", |d| d.year as f64);
pub(super) const MONTH: Function = date("month", "Month in UTC, from 1.", |d| d.month as f64);
pub(super) const DAY_OF_MONTH: Function =
    date("day_of_month", "Day of the month in UTC, from 1.", |d| {
        d.day as f64
    });
pub(super) const DAY_OF_YEAR: Function =
    date("day_of_year", "Day of the year in UTC, from 1.", |d| {
        let first = calendar::days_of(d.year, 1, 1).expect("every year has it");
        (d.days - first + 1) as f64
    });
pub(super) const DAY_OF_WEEK: Function = date(
    "day_of_week",
    "Day of the week in UTC, 0 for Sunday.",
    // 1970-01-01 was a Thursday.
    |d| (d.days + 4).rem_euclid(7) as f64,
);
pub(super) const DAYS_IN_MONTH: Function = date(
    "days_in_month",
    "Number of days of the month in UTC.",
    |d| calendar::days_in_month(d.year, d.month) as f64,
);
pub(super) const HOUR: Function = date("hour", "Hour of the day in UTC.", |d| {
    (d.second_of_day / 3600) as f64
});
pub(super) const MINUTE: Function = date("minute", "Minute of the hour in UTC.", |d| {
    (d.second_of_day / 60 % 60) as f64
});

/// Year and days stay far inside 64 bits: times beyond this are cut.
const MAX_SECONDS: f64 = 1e15;

/// A time taken apart.
pub(in super::super) struct Date {
    year: i64,
    month: i64,
    day: i64,
    /// Days since 1970-01-01.
    days: i64,
    second_of_day: i64,
}

impl Date {
    fn at(seconds: f64) -> Self {
        let seconds = seconds.clamp(-MAX_SECONDS, MAX_SECONDS) as i64;
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = calendar::date_of(days);
        Self {
            year,
            month,
            day,
            days,
            second_of_day,
        }
    }
}

fn step_seconds(call: &Call<'_, '_>) -> Vec<f64> {
    call.grid.times().map(|t| t as f64 / 1000.0).collect()
}

fn timestamp(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    let arg = call.args[0].unwrap_parens();
    let mut columns = if let ExprKind::Vector(selector) = &arg.kind {
        call.evaluator.sample_times(selector, call.grid)?
    } else {
        let times = step_seconds(call);
        let mut columns = call.vector(0)?;
        for column in &mut columns {
            for (step, time) in times.iter().enumerate() {
                if column.is_present(step) {
                    column.values[step] = *time;
                }
            }
            column.histograms.clear();
        }
        columns
    };
    for column in &mut columns {
        call.evaluator.drop_name(column);
    }
    call.joined(columns)
}

/// Nothing for what is no selector, or when start times are not asked for.
fn start_timestamp(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    let ExprKind::Vector(selector) = &call.args[0].unwrap_parens().kind else {
        return Ok(Value::Vector(Vec::new()));
    };
    if !call.evaluator.options.start_timestamps {
        return Ok(Value::Vector(Vec::new()));
    }
    let mut columns = call.evaluator.start_times(selector, call.grid)?;
    for column in &mut columns {
        call.evaluator.drop_name(column);
    }
    call.joined(columns)
}

/// A function of a date: of each value, or of the step's time without an argument.
const fn date(name: &'static str, doc: &'static str, part: fn(&Date) -> f64) -> Function {
    Function {
        name,
        args: &[Vector],
        variadic: 1,
        returns: Vector,
        uses_time: true,
        doc,
        body: Body::Date(part),
    }
}

pub(super) fn date_part(call: &Call<'_, '_>, part: fn(&Date) -> f64) -> Result<Value, QueryError> {
    if !call.args.is_empty() {
        return call.map(|value, _| part(&Date::at(value)));
    }
    let values = step_seconds(call).into_iter().map(|s| part(&Date::at(s)));
    let values = values.collect();
    Ok(Value::Vector(vec![Column::floats(
        Labels::default(),
        false,
        values,
    )]))
}
