//! `sum by (a) (..)` and its like: many series of one moment into few.

use std::collections::HashMap;

use kansoku_model::Labels;

use super::ast::{AggregateExpr, AggregateOp, Grouping};
use super::range::Cell;
use super::table::{ABSENT, Row, Table, present};

/// The labels that a series is grouped by.
fn group_of(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    match grouping {
        None => Labels::default(),
        // What was found empty is no label of a group, as in Loki.
        Some(g) if g.without => Labels::from_pairs(
            labels
                .iter()
                .filter(|(n, _)| g.names.iter().all(|x| x != n)),
        ),
        Some(g) => labels.filtered(|n| g.names.iter().any(|x| x == n)),
    }
}

/// Groups in order of their first series, each with the rows in it.
fn groups(table: &Table, grouping: Option<&Grouping>) -> Vec<(Labels, Vec<usize>)> {
    let mut order: Vec<(Labels, Vec<usize>)> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for (i, row) in table.rows.iter().enumerate() {
        let group = group_of(&row.labels, grouping);
        let at = *index.entry(group).or_insert_with_key(|group| {
            order.push((group.clone(), Vec::new()));
            order.len() - 1
        });
        order[at].1.push(i);
    }
    order
}

/// Aggregates a table.
pub fn aggregate(expr: &AggregateExpr, table: Table, n_steps: usize) -> Table {
    match expr.op {
        AggregateOp::Topk | AggregateOp::ApproxTopk => select(expr, table, n_steps, true),
        AggregateOp::Bottomk => select(expr, table, n_steps, false),
        AggregateOp::Sort => sort(table, false),
        AggregateOp::SortDesc => sort(table, true),
        op => reduce(op, &table, expr.grouping.as_ref(), n_steps),
    }
}

fn reduce(op: AggregateOp, table: &Table, grouping: Option<&Grouping>, n_steps: usize) -> Table {
    let rows = groups(table, grouping)
        .into_iter()
        .map(|(labels, members)| {
            let values = (0..n_steps)
                .map(|step| {
                    let of_step = members
                        .iter()
                        .map(|i| table.rows[*i].values[step])
                        .filter(|v| present(*v));
                    reduce_step(op, of_step)
                })
                .collect();
            Row { labels, values }
        })
        .collect();
    Table { rows }
}

fn reduce_step(op: AggregateOp, values: impl Iterator<Item = f64>) -> f64 {
    use super::range::fold::{AVG, MAX, MIN, STDDEV, STDVAR, SUM};
    let fold = match op {
        AggregateOp::Sum => SUM,
        AggregateOp::Avg => AVG,
        AggregateOp::Min => MIN,
        AggregateOp::Max => MAX,
        AggregateOp::Stddev => STDDEV,
        AggregateOp::Stdvar => STDVAR,
        // Counting needs no fold: every cell counts. The others never come here.
        AggregateOp::Count
        | AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::ApproxTopk
        | AggregateOp::Sort
        | AggregateOp::SortDesc => {
            let n = values.count();
            return if n == 0 { ABSENT } else { n as f64 };
        }
    };
    let mut cell = Cell::default();
    for value in values {
        fold.add(&mut cell, 0, value);
    }
    if cell.count == 0 {
        ABSENT
    } else {
        fold.finish(&cell, 1.0)
    }
}

/// Keeps the `k` greatest or least values of each group at each step, with their own labels.
fn select(expr: &AggregateExpr, mut table: Table, n_steps: usize, greatest: bool) -> Table {
    let k = expr.parameter.unwrap_or(0);
    let groups = groups(&table, expr.grouping.as_ref());
    for step in 0..n_steps {
        for (_, members) in &groups {
            let value = |i: usize| table.rows[i].values[step];
            let mut ranked: Vec<usize> = members
                .iter()
                .copied()
                .filter(|i| present(value(*i)))
                .collect();
            ranked.sort_by(|a, b| order(value(*a), value(*b), greatest));
            for &i in ranked.iter().skip(k) {
                table.rows[i].values[step] = ABSENT;
            }
        }
    }
    table.drop_empty();
    table
}

/// NaN comes last either way.
fn order(a: f64, b: f64, descending: bool) -> std::cmp::Ordering {
    let by_value = a
        .partial_cmp(&b)
        .map(|o| if descending { o.reverse() } else { o });
    by_value.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Orders the rows by their value at the last step; only an instant answer shows it.
fn sort(mut table: Table, descending: bool) -> Table {
    table.rows.sort_by(|a, b| {
        let last = |row: &Row| row.values.last().copied().unwrap_or(ABSENT);
        order(last(a), last(b), descending)
    });
    table
}
