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

use std::sync::{Arc, Mutex, PoisonError, Weak};

use kansoku_model::MetricBatch;

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

    /// Appends all that is known now; false when no input fills any table.
    pub fn collect(&self, batch: &mut MetricBatch) -> bool {
        let tables: Vec<_> = {
            let shown = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            shown.iter().filter_map(Weak::upgrade).collect()
        };
        for table in &tables {
            table.collect(batch);
        }
        write_status(&tables, batch);
        !tables.is_empty()
    }
}
