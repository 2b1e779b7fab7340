//! Aggregations that fold the values of a group into one: sum, avg, min, max, count, group,
//! stddev, stdvar.

use std::sync::Arc;

use super::super::error::QueryError;
use super::super::functions::total;
use super::super::kahan::{Mean, Sum};
use super::super::value::{ABSENT, Column, Point, is_absent};
use super::{Aggregation, Input};

pub(super) const SUM: Aggregation = Aggregation {
    name: "sum",
    parameter: None,
    doc: "Sum of the values.",
    eval: |input| {
        let columns = fold(&input, Sum::of, Sum::add, |sum| sum.value())?;
        with_histograms(&input, columns, false)
    },
};

pub(super) const AVG: Aggregation = Aggregation {
    name: "avg",
    parameter: None,
    doc: "Mean of the values.",
    eval: |input| {
        let first = |value| {
            let mut mean = Mean::default();
            mean.add(value);
            mean
        };
        let columns = fold(&input, first, Mean::add, |mean| mean.value())?;
        with_histograms(&input, columns, true)
    },
};

pub(super) const MIN: Aggregation = Aggregation {
    name: "min",
    parameter: None,
    doc: "Smallest value; NaN only when there is nothing else.",
    eval: |input| {
        input.ignore_histograms("min");
        let add = |held: &mut f64, value: f64| {
            if *held > value || held.is_nan() {
                *held = value;
            }
        };
        fold(&input, |value| value, add, |held| *held)
    },
};

pub(super) const MAX: Aggregation = Aggregation {
    name: "max",
    parameter: None,
    doc: "Largest value; NaN only when there is nothing else.",
    eval: |input| {
        input.ignore_histograms("max");
        let add = |held: &mut f64, value: f64| {
            if *held < value || held.is_nan() {
                *held = value;
            }
        };
        fold(&input, |value| value, add, |held| *held)
    },
};

pub(super) const COUNT: Aggregation = Aggregation {
    name: "count",
    parameter: None,
    doc: "Number of series.",
    eval: |input| {
        let input = as_ones(input);
        fold(&input, |_| 1.0, |count, _| *count += 1.0, |count| *count)
    },
};

pub(super) const GROUP: Aggregation = Aggregation {
    name: "group",
    parameter: None,
    doc: "1 for each group.",
    eval: |input| fold(&as_ones(input), |_| (), |(), _| {}, |()| 1.0),
};

pub(super) const STDVAR: Aggregation = Aggregation {
    name: "stdvar",
    parameter: None,
    doc: "Population variance of the values.",
    eval: |input| {
        input.ignore_histograms("stdvar");
        fold(&input, Spread::of, Spread::add, Spread::variance)
    },
};

pub(super) const STDDEV: Aggregation = Aggregation {
    name: "stddev",
    parameter: None,
    doc: "Population standard deviation of the values.",
    eval: |input| {
        input.ignore_histograms("stddev");
        fold(&input, Spread::of, Spread::add, |spread| {
            spread.variance().sqrt()
        })
    },
};

/// 1 in place of each histogram, for those that only count.
fn as_ones<'e, 'a>(mut input: Input<'e, 'a>) -> Input<'e, 'a> {
    for column in &mut input.columns {
        let histograms = std::mem::take(&mut column.histograms);
        for (value, histogram) in column.values.iter_mut().zip(&histograms) {
            if histogram.is_some() {
                *value = 1.0;
            }
        }
    }
    input
}

/// Puts the sums or means of histograms in their places; a group of both kinds has none of either.
fn with_histograms(
    input: &Input<'_, '_>,
    columns: Vec<Column>,
    is_mean: bool,
) -> Result<Vec<Column>, QueryError> {
    let has_any = |member: &usize| !input.columns[*member].histograms.is_empty();
    let span = input.node.operand.span;
    let mut out = Vec::with_capacity(columns.len());
    for (column, group) in columns.into_iter().zip(&input.groups) {
        if !group.members.iter().any(has_any) {
            out.push(column);
            continue;
        }
        (input.ev.check)()?;
        let mut result = Column::new(column.labels.clone(), column.drop_name);
        for step in 0..input.grid.n_steps {
            let members = group.members.iter().map(|m| &input.columns[*m]);
            let all: Vec<&Column> = members.filter(|c| c.histogram(step).is_some()).collect();
            let Some(first) = all.first() else {
                result.push(column.point(step));
                continue;
            };
            if !is_absent(column.values[step]) {
                let text = "encountered a mix of histograms and floats for aggregation";
                input.ev.warn(span, text.to_owned());
                result.push(None);
                continue;
            }
            let name = first.labels.metric_name();
            let histograms = all.iter().filter_map(|c| c.histogram(step)).map(|h| &**h);
            let sum = total(input.ev, span, name, histograms, is_mean);
            result.push(sum.map(|sum| Point::Histogram(Arc::new(sum))));
        }
        let held = result.histograms.iter().flatten();
        input.ev.hold(super::super::value::weight(held))?;
        out.push(result);
    }
    Ok(out)
}

/// Welford's running variance.
#[derive(Clone)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn of(value: f64) -> Self {
        Self {
            count: 1.0,
            mean: value,
            squares: if value.is_finite() { 0.0 } else { f64::NAN },
        }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

/// Folds each group step by step, column after column.
fn fold<A: Clone>(
    input: &Input<'_, '_>,
    first: impl Fn(f64) -> A,
    add: impl Fn(&mut A, f64),
    finish: impl Fn(&A) -> f64,
) -> Result<Vec<Column>, QueryError> {
    let mut out = Vec::with_capacity(input.groups.len());
    for group in &input.groups {
        (input.ev.check)()?;
        input.ev.hold(input.grid.n_steps)?;
        let mut states: Vec<Option<A>> = vec![None; input.grid.n_steps];
        for member in &group.members {
            for (state, value) in states.iter_mut().zip(&input.columns[*member].values) {
                if is_absent(*value) {
                    continue;
                }
                match state {
                    Some(state) => add(state, *value),
                    None => *state = Some(first(*value)),
                }
            }
        }
        let values = states
            .iter()
            .map(|state| state.as_ref().map_or(ABSENT, &finish));
        let values = values.collect();
        out.push(Column::floats(
            group.labels.clone(),
            group.drop_name,
            values,
        ));
    }
    Ok(out)
}
