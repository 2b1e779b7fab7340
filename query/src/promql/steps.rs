//! How many samples each step of a query looks at, as Prometheus counts them for `stats`.
//!
//! A sample counts at every step whose window holds it; an instant selector looks at one of each series. What subqueries
//! look at counts at the last step, what is evaluated once for all steps counts at each of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::value::Grid;

/// Counts of all steps; threads add to them.
#[derive(Debug)]
pub(super) struct StepCounts {
    grid: Grid,
    counts: Vec<AtomicU64>,
}

impl StepCounts {
    pub(super) fn new(grid: Grid) -> Self {
        let mut counts = Vec::new();
        counts.resize_with(grid.n_steps, AtomicU64::default);
        Self { grid, counts }
    }

    /// Adds samples that a step of `grid` looks at.
    pub(super) fn add(&self, grid: &Grid, step: usize, n: u64) {
        let add = |count: &AtomicU64| {
            count.fetch_add(n, Ordering::Relaxed);
        };
        if *grid == self.grid {
            self.counts.get(step).into_iter().for_each(add);
        } else if grid.n_steps == 1 && grid.start_ms == self.grid.start_ms {
            self.counts.iter().for_each(add);
        } else {
            self.counts.last().into_iter().for_each(add);
        }
    }

    /// Time and count of each step.
    pub(super) fn read(&self) -> Vec<(i64, u64)> {
        let counts = self.counts.iter().map(|n| n.load(Ordering::Relaxed));
        self.grid.times().zip(counts).collect()
    }
}
