//! The φ-quantile of the values of a group.

use super::super::ast::ValueType;
use super::super::error::QueryError;
use super::super::functions::quantile_warning;
use super::super::value::{ABSENT, Column, is_absent};
use super::{Aggregation, Input};

pub(super) const QUANTILE: Aggregation = Aggregation {
    name: "quantile",
    parameter: Some(ValueType::Scalar),
    doc: "The φ-quantile of the values, interpolated between neighbours.",
    eval: quantile,
};

fn quantile(input: Input<'_, '_>) -> Result<Vec<Column>, QueryError> {
    if let Some(parameter) = &input.node.parameter {
        for phi in input.scalars() {
            quantile_warning(input.ev, *phi, parameter.span);
        }
    }
    input.ignore_histograms("quantile");
    let mut out = Vec::with_capacity(input.groups.len());
    let mut sorted = Vec::new();
    for group in &input.groups {
        (input.ev.check)()?;
        input.ev.hold(input.grid.n_steps)?;
        let values = input.scalars().iter().enumerate().map(|(step, phi)| {
            sorted.clear();
            sorted.extend(
                group
                    .members
                    .iter()
                    .map(|m| input.columns[*m].values[step])
                    .filter(|v| !is_absent(*v)),
            );
            if sorted.is_empty() {
                ABSENT
            } else {
                quantile_of(*phi, &mut sorted)
            }
        });
        let values = values.collect();
        out.push(Column::floats(
            group.labels.clone(),
            group.drop_name,
            values,
        ));
    }
    Ok(out)
}

/// Sorts the values, NaN first, and interpolates between the two around the rank.
pub(in super::super) fn quantile_of(phi: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| {
        b.is_nan()
            .cmp(&a.is_nan())
            .then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rank = phi * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::quantile_of;

    #[test]
    fn interpolates_and_puts_nan_first() {
        let cases: [(f64, &[f64], f64); 6] = [
            (0.8, &[0.0, 1.0], 0.8),
            (0.8, &[4.0, 0.0, 1.0], 2.8),
            (0.8, &[f64::NAN, 0.0, 1.0], 0.6),
            (1.0, &[3.0], 3.0),
            (-0.1, &[3.0], f64::NEG_INFINITY),
            (1.1, &[3.0], f64::INFINITY),
        ];
        for (phi, values, expected) in cases {
            let got = quantile_of(phi, &mut values.to_vec());
            assert!(
                got == expected || (got - expected).abs() < 1e-12,
                "{phi} {values:?} {got}"
            );
        }
        assert!(quantile_of(f64::NAN, &mut [1.0]).is_nan());
    }
}
