//! What a query did, for who asks why it takes long: time and results of each node, and what each selector read.
//!
//! Nothing of it is kept unless it is asked for. The engine has no clock: who asks brings one.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kansoku_model::Matcher;
use kansoku_model::select::{ReadCost, SeriesSet};
use serde_json::{Value as Json, json};

use super::ast::{Expr, ExprKind, Selector, Span};
use super::value::Value;

/// Readings that are told of one query; those of all steps of a node are one.
const READINGS_MAX: usize = 1000;

/// Collects what a query does.
#[derive(Debug)]
pub struct Trace {
    /// Nanoseconds since some moment.
    clock: fn() -> u64,
    /// Locked once for each evaluation of a node.
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    nodes: Vec<NodeNote>,
    readings: Vec<Reading>,
}

#[derive(Debug)]
struct NodeNote {
    span: Span,
    n_evaluations: u64,
    took_ns: u64,
    n_series: usize,
    n_values: usize,
}

#[derive(Debug)]
struct Reading {
    /// Which list of matchers asked, and which set answered: their addresses.
    of: usize,
    set: usize,
    range_ms: (i64, i64),
    n_series: usize,
    n_samples: u64,
    n_as_stored: usize,
    cost: ReadCost,
}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<()>() as usize
}

impl Trace {
    /// With this clock.
    #[must_use]
    pub fn new(clock: fn() -> u64) -> Self {
        Self {
            clock,
            noted: Mutex::default(),
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ns(&self) -> u64 {
        (self.clock)()
    }

    /// A node was evaluated since `begun_ns`.
    pub(super) fn evaluated(&self, expr: &Expr, begun_ns: u64, value: &Value) {
        let took_ns = self.now_ns().saturating_sub(begun_ns);
        let n_series = match value {
            Value::Vector(columns) => columns.len(),
            _ => 0,
        };
        let mut noted = self.noted();
        let known = noted.nodes.iter_mut().find(|node| node.span == expr.span);
        if let Some(node) = known {
            node.n_evaluations += 1;
            node.took_ns += took_ns;
            node.n_series = node.n_series.max(n_series);
            node.n_values += value.n_values();
            return;
        }
        noted.nodes.push(NodeNote {
            span: expr.span,
            n_evaluations: 1,
            took_ns,
            n_series,
            n_values: value.n_values(),
        });
    }

    pub(super) fn found(&self, matchers: &[Matcher], range_ms: (i64, i64), set: &dyn SeriesSet) {
        let mut noted = self.noted();
        if noted.readings.len() < READINGS_MAX {
            noted.readings.push(Reading {
                of: address(matchers),
                set: address(set),
                range_ms,
                n_series: set.n_series(),
                n_samples: 0,
                n_as_stored: 0,
                cost: ReadCost::default(),
            });
        }
    }

    /// A set that was found was read.
    pub(super) fn read(&self, set: &dyn SeriesSet, n_samples: u64, n_as_stored: usize) {
        let mut noted = self.noted();
        let newest_first = noted.readings.iter_mut().rev();
        if let Some(reading) = { newest_first }.find(|r| r.set == address(set)) {
            reading.n_samples += n_samples;
            reading.n_as_stored += n_as_stored;
            reading.cost = set.cost();
        }
    }

    /// The plan of a query that has ended: each node with what it took, its children included.
    #[must_use]
    pub fn plan(&self, expr: &Expr, text: &str) -> Json {
        self.node(expr, text, &self.noted())
    }

    fn node(&self, expr: &Expr, text: &str, noted: &Noted) -> Json {
        let mut children = Vec::new();
        expr.for_each_child(&mut |child| children.push(self.node(child, text, noted)));
        let written = text.get(expr.span.start..expr.span.end).unwrap_or_default();
        let mut node = json!({
            "node": kind(expr),
            "text": written,
            "type": expr.value_type().describe(),
        });
        if let Some(found) = noted.nodes.iter().find(|n| n.span == expr.span) {
            node["seconds"] = json!(found.took_ns as f64 / 1e9);
            node["evaluations"] = json!(found.n_evaluations);
            node["series"] = json!(found.n_series);
            node["values"] = json!(found.n_values);
        }
        if let ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } = &expr.kind {
            node["reads"] = reads(selector, noted);
        }
        if !children.is_empty() {
            node["children"] = json!(children);
        }
        node
    }
}

fn reads(selector: &Selector, noted: &Noted) -> Json {
    let of = address(&*selector.matchers);
    let own = noted.readings.iter().filter(|r| r.of == of);
    let matchers = selector.matchers.iter();
    let matchers: Vec<String> = matchers
        .map(|m| format!("{}{}{:?}", m.name, m.op.as_str(), m.value))
        .collect();
    let all: Vec<Json> = own
        .map(|r| {
            json!({
                "pushedDown": {
                    "matchers": matchers,
                    "fromMs": r.range_ms.0,
                    "toMs": r.range_ms.1,
                    "seriesKeptAsStored": r.n_as_stored,
                },
                "series": r.n_series,
                "samples": r.n_samples,
                "parts": r.cost.n_parts,
                "heads": r.cost.n_heads,
                "blocks": r.cost.n_blocks,
                "bytes": r.cost.n_bytes,
            })
        })
        .collect();
    json!(all)
}

fn kind(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number { .. } => "number".into(),
        ExprKind::String(_) => "string".into(),
        ExprKind::Paren(_) => "parentheses".into(),
        ExprKind::Unary { .. } => "sign".into(),
        ExprKind::Binary(node) => format!("binary {}", node.op.as_str()),
        ExprKind::Aggregate(node) => format!("aggregation {}", node.op.name),
        ExprKind::Call { function, .. } => format!("function {}", function.name),
        ExprKind::Vector(_) => "selector".into(),
        ExprKind::Matrix { .. } => "range selector".into(),
        ExprKind::Subquery(_) => "subquery".into(),
    }
}

/// A plan as lines of text, children below their parents.
#[must_use]
pub fn plan_as_text(plan: &Json) -> String {
    let mut out = String::new();
    write_node(&mut out, plan, 0);
    out
}

fn write_node(out: &mut String, node: &Json, depth: usize) {
    let indent = "  ".repeat(depth);
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    let _ = write!(out, "{indent}{}: {}", text("node"), text("text"));
    if let Some(seconds) = node["seconds"].as_f64() {
        let _ = write!(
            out,
            "  ({:.3} ms, {} series, {} values)",
            seconds * 1000.0,
            node["series"],
            node["values"]
        );
    }
    out.push('\n');
    for read in node["reads"].as_array().into_iter().flatten() {
        let pushed = &read["pushedDown"];
        let matchers = pushed["matchers"].as_array().into_iter().flatten();
        let matchers: Vec<&str> = matchers.filter_map(Json::as_str).collect();
        let _ = writeln!(
            out,
            "{indent}  reads {{{}}} from {} to {}: {} series ({} as stored), {} samples; {} parts, {} heads, {} blocks, {} bytes",
            matchers.join(", "),
            seconds_of(&pushed["fromMs"]),
            seconds_of(&pushed["toMs"]),
            read["series"],
            pushed["seriesKeptAsStored"],
            read["samples"],
            read["parts"],
            read["heads"],
            read["blocks"],
            read["bytes"],
        );
    }
    for child in node["children"].as_array().into_iter().flatten() {
        write_node(out, child, depth + 1);
    }
}

fn seconds_of(ms: &Json) -> String {
    let ms = ms.as_i64().unwrap_or(0);
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}
