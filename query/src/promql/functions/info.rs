//! Labels of info metrics: info.
//!
//! A series gets the labels of the info series with the same `instance` and `job`, by default those of
//! `target_info`, as of the time at which the series itself is looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::{Labels, MatchOp, Matcher};

use super::super::ast::ValueType::Vector;
use super::super::ast::{Expr, ExprKind, Modifiers};
use super::super::error::QueryError;
use super::super::evaluate::{Evaluator, SAME_LABELSET};
use super::super::value::{Column, Reference, Value};
use super::{Call, Function};

pub(super) const INFO: Function = Function {
    variadic: 1,
    ..Function::whole(
        "info",
        &[Vector, Vector],
        Vector,
        "The series with labels of the info metrics of their instance and job.",
        info,
    )
};

/// The info metric when none is asked for.
const TARGET_INFO: &str = "target_info";
/// Labels that say which info series belongs to a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// What the second argument asks for.
struct Wanted {
    /// Of the info metrics' names.
    names: Vec<Matcher>,
    /// Of the labels to be taken; all of them when there is none.
    labels: Vec<Matcher>,
}

impl Wanted {
    fn of(arg: Option<&Expr>) -> Self {
        let matchers = match arg.map(|arg| &arg.unwrap_parens().kind) {
            Some(ExprKind::Vector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, labels): (Vec<Matcher>, _) =
            matchers.into_iter().partition(|m| m.name == METRIC_NAME);
        let is_positive = |m: &Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if !names.iter().any(is_positive) {
            let any = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
            names.extend(any.ok());
        }
        Self { names, labels }
    }

    fn is_info(&self, name: &str) -> bool {
        self.names.iter().all(|m| m.matches(name))
    }

    fn takes(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|m| m.name == label)
    }
}

/// An info series: its labels, and the time of its newest sample at each step.
type Info = (Labels, Vec<Option<i64>>);

fn info(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    let ev = call.evaluator;
    let reference = reference(ev, &call.args[0])?;
    let columns = call.vector(0)?;
    let wanted = Wanted::of(call.args.get(1));
    let infos = info_series(call, &columns, &wanted, reference)?;
    let mut by_identity: HashMap<Labels, BTreeMap<&str, Vec<&Info>>> = HashMap::new();
    for info in &infos {
        let names = by_identity.entry(identity(&info.0)).or_default();
        names.entry(info.0.metric_name()).or_default().push(info);
    }
    let may_miss = wanted.labels.iter().all(|m| m.matches(""));
    let mut out = Vec::with_capacity(columns.len());
    for column in columns {
        (ev.check)()?;
        if wanted.is_info(column.labels.metric_name()) {
            out.push(column);
            continue;
        }
        let candidates = by_identity.get(&identity(&column.labels));
        let Some(candidates) = candidates else {
            if may_miss {
                out.push(column);
            }
            continue;
        };
        // Steps with the same info series share a column.
        let mut made: HashMap<Vec<*const Info>, usize> = HashMap::new();
        for step in 0..call.grid.n_steps {
            let Some(point) = column.point(step) else {
                continue;
            };
            let mut found: Vec<&Info> = Vec::new();
            for series in candidates.values() {
                found.extend(newest(series, step)?);
            }
            if found.is_empty() && !may_miss {
                continue;
            }
            let key = found.iter().map(|info| std::ptr::from_ref(*info)).collect();
            let at = match made.get(&key) {
                Some(at) => *at,
                None => {
                    ev.hold(call.grid.n_steps)?;
                    let labels = enriched(&column.labels, &found, &wanted)?;
                    out.push(Column::new(labels, column.drop_name));
                    made.insert(key, out.len() - 1);
                    out.len() - 1
                }
            };
            while out[at].values.len() < step {
                out[at].push(None);
            }
            out[at].push(Some(point));
        }
        for at in made.into_values() {
            while out[at].values.len() < call.grid.n_steps {
                out[at].push(None);
            }
        }
    }
    ev.merge(out, SAME_LABELSET).map(Value::Vector)
}

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTIFYING.contains(&name))
}

/// The info series of all that is to get labels.
fn info_series(
    call: &Call<'_, '_>,
    columns: &[Column],
    wanted: &Wanted,
    reference: Reference,
) -> Result<Vec<Info>, QueryError> {
    let mut matchers: Vec<Matcher> = Vec::new();
    for label in IDENTIFYING {
        let values: BTreeSet<String> = columns
            .iter()
            .filter(|column| !wanted.is_info(column.labels.metric_name()))
            .filter_map(|column| column.labels.get(label))
            .map(regex::escape)
            .collect();
        if values.is_empty() {
            continue;
        }
        let values: Vec<String> = values.into_iter().collect();
        let matcher = Matcher::new(label, MatchOp::Regex, &values.join("|"));
        // Too many to say; what does not belong finds no series below.
        matchers.extend(matcher.ok());
    }
    let has_identity = |column: &Column| !identity(&column.labels).is_empty();
    if !columns.iter().any(has_identity) {
        return Ok(Vec::new());
    }
    matchers.extend(wanted.labels.iter().chain(&wanted.names).cloned());
    call.evaluator.newest_times(&matchers, reference, call.grid)
}

/// Of the series of one info metric and identity the one with the newest sample.
fn newest<'i>(series: &[&'i Info], step: usize) -> Result<Option<&'i Info>, QueryError> {
    let mut held: Option<(&Info, i64)> = None;
    for info in series {
        let Some(time_ms) = info.1[step] else {
            continue;
        };
        match held {
            Some((_, held_ms)) if held_ms > time_ms => {}
            Some((other, held_ms)) if held_ms == time_ms => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {held_ms}, new {} @ {time_ms}",
                    other.0, info.0
                )));
            }
            _ => held = Some((info, time_ms)),
        }
    }
    Ok(held.map(|(info, _)| info))
}

/// The labels with those of info series; its own win.
fn enriched(labels: &Labels, infos: &[&Info], wanted: &Wanted) -> Result<Labels, QueryError> {
    let mut new: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in infos.iter().flat_map(|info| info.0.iter()) {
        if name == METRIC_NAME || !wanted.takes(name) || labels.get(name).is_some() {
            continue;
        }
        if let Some(held) = new.insert(name, value)
            && held != value
        {
            return Err(QueryError::Execution(format!("conflicting label: {name}")));
        }
    }
    let own = labels.iter();
    Ok(Labels::from_pairs(own.chain(new)))
}

/// When the first selector of an expression looks: its `@`, or that of the subqueries around it, with
/// all offsets up to there.
fn reference(ev: &Evaluator<'_>, expr: &Expr) -> Result<Reference, QueryError> {
    let mut path = Vec::new();
    let mut offset_ms = 0i64;
    if first_selector(expr, &mut path) {
        for modifiers in path.iter().rev() {
            offset_ms = offset_ms.saturating_add(ev.offset_ms(modifiers)?);
            if let Some(at) = modifiers.at {
                return Ok(Reference::Fixed(ev.at_ms(at).saturating_sub(offset_ms)));
            }
        }
    }
    Ok(Reference::Offset(offset_ms))
}

/// Finds the first selector; `path` gets its modifiers behind those of the subqueries around it.
fn first_selector<'x>(expr: &'x Expr, path: &mut Vec<&'x Modifiers>) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => false,
        ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => {
            first_selector(inner, path)
        }
        ExprKind::Binary(b) => first_selector(&b.left, path) || first_selector(&b.right, path),
        ExprKind::Aggregate(a) => {
            first_selector(&a.operand, path)
                || a.parameter
                    .as_ref()
                    .is_some_and(|p| first_selector(p, path))
        }
        ExprKind::Call { args, .. } => args.iter().any(|arg| first_selector(arg, path)),
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            path.push(&selector.modifiers);
            true
        }
        ExprKind::Subquery(subquery) => {
            path.push(&subquery.modifiers);
            let found = first_selector(&subquery.operand, path);
            if !found {
                path.pop();
            }
            found
        }
    }
}
