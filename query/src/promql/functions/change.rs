//! How often values changed in a range: changes, resets.

use super::Function;

pub(super) const CHANGES: Function = Function::window(
    "changes",
    "Number of times the value changed in the range.",
    |window| {
        let differs = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
        Some(window.values.windows(2).filter(differs).count() as f64)
    },
);

pub(super) const RESETS: Function = Function::window(
    "resets",
    "Number of times the value fell in the range.",
    |window| {
        let falls = |pair: &&[f64]| pair[1] < pair[0];
        Some(window.values.windows(2).filter(falls).count() as f64)
    },
);
