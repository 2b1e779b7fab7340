//! How much memory requests may hold together, so that many large bodies wait instead of filling
//! the machine.
//!
//! Two budgets, taken in this order and never the other way round, so that no two requests can
//! wait for each other: bodies as they are sent, then what becomes of them while they are decoded
//! and appended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Budgets count in units of this size, since a semaphore counts in 32 bits.
const UNIT_BYTES: usize = 16 << 10;
/// A number of bytes that requests share.
#[derive(Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    total_units: u32,
    /// A request that finds no room for this long is told to come back.
    patience: Duration,
}

/// A share of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Share(#[allow(dead_code)] OwnedSemaphorePermit);

impl Budget {
    /// A budget of `bytes`, for which a request waits no longer than `patience`.
    #[must_use]
    pub fn new(bytes: usize, patience: Duration) -> Self {
        let total_units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            units: Arc::new(Semaphore::new(total_units as usize)),
            total_units,
            patience,
        }
    }

    /// Waits for `bytes` (or for everything, if that is less). `None` when they did not become
    /// free in time.
    pub async fn take(&self, bytes: usize) -> Option<Share> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let units = units.min(self.total_units);
        let permit = self.units.clone().acquire_many_owned(units);
        let permit = tokio::time::timeout(self.patience, permit)
            .await
            .ok()?
            .ok()?;
        Some(Share(permit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_missing_until_it_is_given_back() {
        let budget = Budget::new(10 * UNIT_BYTES, Duration::ZERO);
        let all = budget.take(usize::MAX).await.expect("everything is free");
        assert!(budget.take(1).await.is_none());
        drop(all);
        assert!(budget.take(1).await.is_some());
    }
}
