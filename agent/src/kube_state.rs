//! The state of a cluster's objects as kube-state-metrics exposes it.
//!
//! Every object that the API lists or tells of is cut down to its samples at once
//! ([`samples::Samples`]); the object itself is never kept. A kind of objects is a constant: where the
//! API has it, and its families, each with name, help, labels and how it is made of an object.
//! What a family means follows kube-state-metrics 2.20, its documentation and its source.

mod api;
mod cron;
mod family;
mod follow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod kinds;
mod label_names;
mod object;
mod quantity;
mod samples;
mod selection;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kansoku_model::MetricBatch;

use crate::exposition;

pub use follow::follow;
pub use selection::{Asked, Plan, Scope, selection};
pub use table::{Cursor, Table, write_status};

/// The tables that `/metrics/kube-state` shows.
#[derive(Debug, Default)]
pub struct Shown {
    /// Taken to add the tables of an input and to look for them.
    tables: Mutex<Vec<Weak<Table>>>,
}

impl Shown {
    /// Shows these tables for as long as somebody fills them.
    pub fn add(&self, tables: &[Arc<Table>]) {
        let mut shown = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|table| table.strong_count() > 0);
        shown.extend(tables.iter().map(Arc::downgrade));
    }

    /// Appends the exposition of all that is known now and returns the number of duplicate series left
    /// out; `None` when no input fills any table.
    ///
    /// Family by family: all series of a large cluster at once would take more memory than what is kept
    /// of its objects.
    pub fn expose(&self, out: &mut Vec<u8>) -> Option<u64> {
        let tables: Vec<_> = {
            let shown = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            shown.iter().filter_map(Weak::upgrade).collect()
        };
        let mut by_name: BTreeMap<&str, Vec<(&Table, usize)>> = BTreeMap::new();
        for table in &tables {
            for (index, family) in table.plan.families.iter().enumerate() {
                by_name.entry(family.name).or_default().push((table, index));
            }
        }
        let mut batch = MetricBatch::default();
        let mut n_duplicates = 0;
        for parts in by_name.values() {
            batch.clear();
            for (table, index) in parts {
                table.collect(*index, &mut batch);
            }
            n_duplicates += exposition::write(out, &[&batch]);
        }
        batch.clear();
        write_status(&tables, &mut batch);
        n_duplicates += exposition::write(out, &[&batch]);
        (!tables.is_empty()).then_some(n_duplicates)
    }
}
