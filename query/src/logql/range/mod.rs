//! Functions over a range of entries: one hand-written list, and how each computes.
//!
//! What a function keeps while entries stream by is bounded by series and steps, except for the
//! few that need every value of a range; those count against `Limits::max_samples`.

pub mod fold;
pub mod quantile;
mod samples;
mod windows;

pub use fold::Cell;
pub use windows::{Steps, WindowCursor};

/// Entries and bytes of lines in one range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    pub entries: i64,
    pub bytes: i64,
}

/// What a function over samples is told besides them.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub end_ns: i64,
    pub range_ns: i64,
}

/// How a function computes.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// From the number of entries and their bytes; the range in seconds is given.
    Total(fn(Total, f64) -> f64),
    /// Value by value into one cell per step.
    Fold(fold::Fold),
    /// From all values of a range in order of time.
    Samples(fn(&[(i64, f64)], Range) -> f64),
    /// The quantile that the parameter says.
    Quantile,
    /// One where there is nothing.
    Absent,
}

/// One function.
#[derive(Debug)]
pub struct RangeFunction {
    pub name: &'static str,
    pub about: &'static str,
    /// Over entries; `None` when it needs `unwrap`.
    pub entries: Option<Body>,
    /// Over unwrapped values; `None` when it takes none.
    pub unwrapped: Option<Body>,
    /// Whether `by` and `without` may follow.
    pub grouping: bool,
    /// Whether a number comes first.
    pub parameter: bool,
}

const fn over_entries(name: &'static str, about: &'static str, body: Body) -> RangeFunction {
    RangeFunction {
        name,
        about,
        entries: Some(body),
        unwrapped: None,
        grouping: false,
        parameter: false,
    }
}

const fn over_values(
    name: &'static str,
    about: &'static str,
    grouping: bool,
    body: Body,
) -> RangeFunction {
    RangeFunction {
        name,
        about,
        entries: None,
        unwrapped: Some(body),
        grouping,
        parameter: false,
    }
}

/// Every function.
pub const FUNCTIONS: &[RangeFunction] = &[
    over_entries(
        "count_over_time",
        "number of entries",
        Body::Total(|total, _| total.entries as f64),
    ),
    RangeFunction {
        name: "rate",
        about: "entries, or the sum of values, per second",
        entries: Some(Body::Total(|total, seconds| total.entries as f64 / seconds)),
        unwrapped: Some(Body::Fold(fold::RATE)),
        grouping: false,
        parameter: false,
    },
    over_entries(
        "bytes_over_time",
        "bytes of the lines",
        Body::Total(|total, _| total.bytes as f64),
    ),
    over_entries(
        "bytes_rate",
        "bytes of the lines per second",
        Body::Total(|total, seconds| total.bytes as f64 / seconds),
    ),
    RangeFunction {
        name: "absent_over_time",
        about: "one when there is no entry",
        entries: Some(Body::Absent),
        unwrapped: Some(Body::Absent),
        grouping: false,
        parameter: false,
    },
    over_values(
        "sum_over_time",
        "sum of values",
        false,
        Body::Fold(fold::SUM),
    ),
    over_values(
        "avg_over_time",
        "mean of values",
        true,
        Body::Fold(fold::AVG),
    ),
    over_values("min_over_time", "least value", true, Body::Fold(fold::MIN)),
    over_values(
        "max_over_time",
        "greatest value",
        true,
        Body::Fold(fold::MAX),
    ),
    over_values(
        "first_over_time",
        "first value",
        true,
        Body::Fold(fold::FIRST),
    ),
    over_values("last_over_time", "last value", true, Body::Fold(fold::LAST)),
    over_values(
        "stddev_over_time",
        "population standard deviation",
        true,
        Body::Fold(fold::STDDEV),
    ),
    over_values(
        "stdvar_over_time",
        "population variance",
        true,
        Body::Fold(fold::STDVAR),
    ),
    RangeFunction {
        name: "quantile_over_time",
        about: "quantile of values",
        entries: None,
        unwrapped: Some(Body::Quantile),
        grouping: true,
        parameter: true,
    },
    over_values(
        "rate_counter",
        "per-second increase of values that only grow, resets allowed for",
        false,
        Body::Samples(samples::rate_counter),
    ),
];

/// The function called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static RangeFunction> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

impl RangeFunction {
    /// The body for a query with or without `unwrap`.
    #[must_use]
    pub fn body(&self, unwrapped: bool) -> Option<Body> {
        if unwrapped {
            self.unwrapped
        } else {
            self.entries
        }
    }

    /// Whether a `sum` around the function may group the entries themselves: the sum of the parts
    /// is the whole.
    #[must_use]
    pub fn is_additive(&self) -> bool {
        matches!(self.entries, Some(Body::Total(_))) || self.name == "sum_over_time"
    }

    /// Whether an entry counts for the length of its line.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        matches!(self.name, "bytes_over_time" | "bytes_rate")
    }
}
