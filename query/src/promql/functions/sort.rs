//! Order of an instant vector: sort, sort_desc, sort_by_label, sort_by_label_desc.
//!
//! A range query is always ordered by labels, so these only warn there.

use std::cmp::Ordering;

use super::super::ast::ValueType::{String as Text, Vector};
use super::super::error::QueryError;
use super::super::text;
use super::super::value::{Column, Value, is_absent};
use super::{Call, Function};

pub(super) const SORT: Function = Function::whole(
    "sort",
    &[Vector],
    Vector,
    "The series by value, smallest first.",
    |call| sorted(call, &[], |a, b, _| by_value(a, b, |a, b| a.total_cmp(&b))),
);

pub(super) const SORT_DESC: Function = Function::whole(
    "sort_desc",
    &[Vector],
    Vector,
    "The series by value, largest first.",
    |call| sorted(call, &[], |a, b, _| by_value(a, b, |a, b| b.total_cmp(&a))),
);

pub(super) const SORT_BY_LABEL: Function = Function {
    variadic: -1,
    ..Function::whole(
        "sort_by_label",
        &[Vector, Text],
        Vector,
        "The series by the named labels, numbers in them by value.",
        |call| sorted(call, &names(call)?, by_labels),
    )
};

pub(super) const SORT_BY_LABEL_DESC: Function = Function {
    variadic: -1,
    ..Function::whole(
        "sort_by_label_desc",
        &[Vector, Text],
        Vector,
        "The series by the named labels in reverse, numbers in them by value.",
        |call| sorted(call, &names(call)?, |a, b, names| by_labels(b, a, names)),
    )
};

type Compare = fn(&Column, &Column, &[String]) -> Ordering;

fn names(call: &Call<'_, '_>) -> Result<Vec<String>, QueryError> {
    // No series has a label whose name is no UTF-8, nor one without a name.
    let name = |text: text::Text| text.as_str().unwrap_or("").to_owned();
    let texts = (1..call.args.len()).map(|index| call.text(index));
    texts.map(|text| text.map(name)).collect()
}

fn sorted(call: &Call<'_, '_>, names: &[String], compare: Compare) -> Result<Value, QueryError> {
    let mut columns = call.vector(0)?;
    if call.evaluator.times.step_ms > 0 {
        call.evaluator.warn(
            call.span,
            "sort is ineffective for range queries since results are always ordered by labels"
                .to_owned(),
        );
        return Ok(Value::Vector(columns));
    }
    if call.grid.n_steps == 1 {
        if names.is_empty() {
            // Histograms have no order.
            columns.retain(|c| !is_absent(c.values[0]));
        } else {
            columns.retain(|c| c.is_present(0));
        }
        columns.sort_by(|a, b| compare(a, b, names));
    }
    Ok(Value::Vector(columns))
}

/// NaN is last in either direction.
fn by_value(a: &Column, b: &Column, order: fn(f64, f64) -> Ordering) -> Ordering {
    let (a, b) = (a.values[0], b.values[0]);
    match (a.is_nan(), b.is_nan()) {
        (false, false) => order(a, b),
        (a, b) => a.cmp(&b),
    }
}

fn by_labels(a: &Column, b: &Column, names: &[String]) -> Ordering {
    for name in names {
        let value = |column: &Column| column.labels.get(name).unwrap_or("").to_owned();
        let order = natural(&value(a), &value(b));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.labels.cmp(&b.labels)
}

/// Runs of digits compare as numbers, the rest as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let (chunk_a, rest_a) = chunk(a);
        let (chunk_b, rest_b) = chunk(b);
        let order = match (number(chunk_a), number(chunk_b)) {
            // Without leading zeros the longer number is the larger.
            (Some(x), Some(y)) => x.len().cmp(&y.len()).then(x.cmp(y)),
            _ => chunk_a.cmp(chunk_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The run of digits or of other characters at the start of a text that is not empty.
fn chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

fn number(chunk: &str) -> Option<&str> {
    let is_number = chunk.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| chunk.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::natural;
    use std::cmp::Ordering::{Equal, Greater, Less};

    #[test]
    fn numbers_in_text_sort_by_value() {
        let cases = [
            ("4m5", "4m600", Less),
            ("1.11.3", "1.2.3", Greater),
            ("a10", "a9", Greater),
            ("a01", "a1", Equal),
            ("", "a", Less),
            ("a", "a1", Less),
        ];
        for (a, b, expected) in cases {
            assert_eq!(natural(a, b), expected, "{a} {b}");
        }
    }
}
