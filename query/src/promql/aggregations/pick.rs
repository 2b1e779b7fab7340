//! Aggregations that pick series and keep them whole: topk, bottomk, limitk, limit_ratio.

use std::cmp::Ordering;

use kansoku_model::Labels;
use xxhash_rust::xxh64::xxh64;

use super::super::ast::ValueType;
use super::super::error::QueryError;
use super::super::value::{Column, is_absent};
use super::{Aggregation, Group, Input};
use crate::number::format_g;

pub(super) const TOPK: Aggregation = Aggregation {
    name: "topk",
    parameter: Some(ValueType::Scalar),
    doc: "The k series with the largest values.",
    eval: |input| pick_k(input, Some(|a, b| nan_last(a, b, b.total_cmp(&a)))),
};

pub(super) const BOTTOMK: Aggregation = Aggregation {
    name: "bottomk",
    parameter: Some(ValueType::Scalar),
    doc: "The k series with the smallest values.",
    eval: |input| pick_k(input, Some(|a, b| nan_last(a, b, a.total_cmp(&b)))),
};

pub(super) const LIMITK: Aggregation = Aggregation {
    name: "limitk",
    parameter: Some(ValueType::Scalar),
    doc: "Any k series, the same ones at every step where they exist.",
    eval: |input| pick_k(input, None),
};

pub(super) const LIMIT_RATIO: Aggregation = Aggregation {
    name: "limit_ratio",
    parameter: Some(ValueType::Scalar),
    doc: "About this share of the series; a negative ratio gives the others.",
    eval: limit_ratio,
};

type Order = fn(f64, f64) -> Ordering;

fn nan_last(a: f64, b: f64, otherwise: Ordering) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        // Zero has two signs but one value.
        (false, false) if a == b => Ordering::Equal,
        (false, false) => otherwise,
    }
}

/// The parameter as a number of series, 0 for none.
fn count_of(parameter: f64) -> Result<usize, QueryError> {
    if parameter.is_nan() {
        return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
    }
    // The limits of a 64-bit integer, as Prometheus has them.
    if parameter >= 9_223_372_036_854_774_784.0 {
        let message = format!("Scalar value {} overflows int64", format_g(parameter));
        return Err(QueryError::Execution(message));
    }
    if parameter <= -9_223_372_036_854_774_784.0 {
        let message = format!("Scalar value {} underflows int64", format_g(parameter));
        return Err(QueryError::Execution(message));
    }
    Ok(parameter.max(0.0) as usize)
}

/// Keeps k series of each group at each step: the first in `order`, or simply the first.
fn pick_k(input: Input<'_, '_>, order: Option<Order>) -> Result<Vec<Column>, QueryError> {
    let counts = input
        .scalars()
        .iter()
        .map(|parameter| count_of(*parameter))
        .collect::<Result<Vec<usize>, QueryError>>()?;
    if order.is_some() {
        input.ignore_histograms(input.node.op.name);
    }
    let mut kept = Kept::new(&input);
    let mut members: Vec<usize> = Vec::new();
    for group in &input.groups {
        (input.ev.check)()?;
        for (step, count) in counts.iter().enumerate() {
            let value = |member: usize| input.columns[member].values[step];
            members.clear();
            members.extend(group.members.iter().filter(|m| match order {
                Some(_) => !is_absent(value(**m)),
                None => input.columns[**m].is_present(step),
            }));
            if let Some(order) = order {
                members.sort_by(|a, b| order(value(*a), value(*b)));
            }
            for member in members.iter().take(*count) {
                kept.keep(*member, step);
            }
        }
    }
    Ok(kept.columns(input))
}

/// Which samples of which columns stay.
struct Kept {
    n_steps: usize,
    flags: Vec<Option<Vec<bool>>>,
    /// Columns in order of their first kept sample.
    order: Vec<usize>,
}

impl Kept {
    fn new(input: &Input<'_, '_>) -> Self {
        Self {
            n_steps: input.grid.n_steps,
            flags: vec![None; input.columns.len()],
            order: Vec::new(),
        }
    }

    fn keep(&mut self, member: usize, step: usize) {
        let n_steps = self.n_steps;
        let order = &mut self.order;
        let flags = self.flags[member].get_or_insert_with(|| {
            order.push(member);
            vec![false; n_steps]
        });
        flags[step] = true;
    }

    fn columns(mut self, input: Input<'_, '_>) -> Vec<Column> {
        let mut columns: Vec<Option<Column>> = input.columns.into_iter().map(Some).collect();
        let mut out = Vec::with_capacity(self.order.len());
        for member in self.order {
            let (Some(mut column), Some(flags)) =
                (columns[member].take(), self.flags[member].take())
            else {
                continue;
            };
            for (step, kept) in flags.into_iter().enumerate() {
                if !kept {
                    column.remove(step);
                }
            }
            out.push(column);
        }
        out
    }
}

fn limit_ratio(input: Input<'_, '_>) -> Result<Vec<Column>, QueryError> {
    let mut ratios = Vec::with_capacity(input.grid.n_steps);
    for ratio in input.scalars() {
        if ratio.is_nan() {
            return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
        }
        let capped = ratio.clamp(-1.0, 1.0);
        if capped != *ratio
            && let Some(parameter) = &input.node.parameter
        {
            let message = format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                format_g(*ratio),
                format_g(capped)
            );
            input.ev.warn(parameter.span, message);
        }
        ratios.push(capped);
    }
    let mut kept = Kept::new(&input);
    for Group { members, .. } in &input.groups {
        (input.ev.check)()?;
        for member in members {
            let place = place_of(&input.columns[*member].labels);
            for (step, ratio) in ratios.iter().enumerate() {
                let picked = if *ratio >= 0.0 {
                    place < *ratio
                } else {
                    place >= 1.0 + ratio
                };
                if picked && input.columns[*member].is_present(step) {
                    kept.keep(*member, step);
                }
            }
        }
    }
    Ok(kept.columns(input))
}

/// A number in `0..=1` that is always the same for a label set, and the same as Prometheus's, so that both pick the same
/// series: the hash of the labels as it keeps them (`model/labels/labels_stringlabels.go`).
fn place_of(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.as_bytes().len() + 16);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(len) if len < u8::MAX => bytes.push(len),
            // Longer ones have three bytes of length.
            _ => {
                bytes.push(u8::MAX);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_prometheus() {
        // XXH64 of nothing, and of the name and value behind their lengths.
        let none = 0xef46_db37_51d8_e999_u64 as f64 / u64::MAX as f64;
        assert_eq!(place_of(&Labels::default()), none);
        let long = "v".repeat(300);
        let bytes = [b"\x01a\xff\x2c\x01\x00", long.as_bytes()].concat();
        let expected = xxh64(&bytes, 0) as f64 / u64::MAX as f64;
        assert_eq!(place_of(&Labels::from_pairs([("a", &long)])), expected);
    }
}
