//! What the fuzz target of objects reaches.

use std::sync::Arc;

use jiff::Timestamp;
use kansoku_model::MetricBatch;

pub use super::quantity::Quantity;
pub use super::selection::key_lists;

use super::api::{Event, Page};
use super::cron::Schedule;
use super::selection::{Asked, Scope, selection};
use super::table::{Cursor, Table};

/// Objects in the bytes of a list, or of an event, taken for objects of every kind. Each is given as all
/// samples, as what a push has, and as the push after everything is gone, with `stale` for its values.
#[must_use]
pub fn kube_state(bytes: &[u8], stale: f64) -> Vec<[MetricBatch; 3]> {
    let asked = Asked {
        scope: Scope::Cluster,
        metric_opt_in_list: ".",
        metric_labels_allowlist: "*=[*]",
        metric_annotations_allowlist: "*=[*]",
        ..Asked::default()
    };
    let Ok(plans) = selection(&asked) else {
        return Vec::new();
    };
    let of_plan = |plan| {
        let table = Table::new(Arc::new(plan), "", String::new());
        fill(&table, bytes);
        let mut batches: [MetricBatch; 3] = std::array::from_fn(|_| MetricBatch::default());
        for family in 0..table.plan.families.len() {
            table.collect(family, &mut batches[0]);
        }
        table.push(&mut Cursor::default(), stale, usize::MAX, &mut batches[1]);
        table.begin_list();
        table.end_list();
        table.push(&mut Cursor::default(), stale, usize::MAX, &mut batches[2]);
        batches
    };
    plans.into_iter().map(of_plan).collect()
}

fn fill(table: &Table, bytes: &[u8]) {
    table.begin_list();
    if let Ok(page) = Page::parse(bytes) {
        for object in page.objects().flatten() {
            table.apply(&object);
        }
    }
    if let Ok(Event::Applied(object)) = Event::parse(bytes, table.plan.kind.form) {
        table.apply(&object);
    }
    table.end_list();
}

/// When a schedule is due after a time, both in Unix seconds; `None` when it is not valid or never due.
#[must_use]
pub fn next_time(schedule: &str, zone: Option<&str>, after_s: i64) -> Option<i64> {
    let schedule = Schedule::parse(schedule, zone).ok()?;
    let next = schedule.next(Timestamp::from_second(after_s).ok()?)?;
    Some(next.as_second())
}
