//! Aggregations that fold the values of a group into one: sum, avg, min, max, count, group,
//! stddev, stdvar.

use super::super::error::QueryError;
use super::super::kahan::{Mean, Sum};
use super::super::value::{ABSENT, Column, is_absent};
use super::{Aggregation, Input};

pub(super) const SUM: Aggregation = Aggregation {
    name: "sum",
    parameter: None,
    doc: "Sum of the values.",
    eval: |input| fold(&input, Sum::of, Sum::add, |sum| sum.value()),
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
        fold(&input, first, Mean::add, |mean| mean.value())
    },
};

pub(super) const MIN: Aggregation = Aggregation {
    name: "min",
    parameter: None,
    doc: "Smallest value; NaN only when there is nothing else.",
    eval: |input| {
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
    eval: |input| fold(&input, |_| 1.0, |count, _| *count += 1.0, |count| *count),
};

pub(super) const GROUP: Aggregation = Aggregation {
    name: "group",
    parameter: None,
    doc: "1 for each group.",
    eval: |input| fold(&input, |_| (), |(), _| {}, |()| 1.0),
};

pub(super) const STDVAR: Aggregation = Aggregation {
    name: "stdvar",
    parameter: None,
    doc: "Population variance of the values.",
    eval: |input| fold(&input, Spread::of, Spread::add, Spread::variance),
};

pub(super) const STDDEV: Aggregation = Aggregation {
    name: "stddev",
    parameter: None,
    doc: "Population standard deviation of the values.",
    eval: |input| {
        fold(&input, Spread::of, Spread::add, |spread| {
            spread.variance().sqrt()
        })
    },
};

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
        out.push(Column {
            labels: group.labels.clone(),
            drop_name: group.drop_name,
            values: states
                .iter()
                .map(|state| state.as_ref().map_or(ABSENT, &finish))
                .collect(),
        });
    }
    Ok(out)
}
