//! `/api/v1/parse_query`: a query as the tree that Prometheus's web page shows.
//!
//! Fields and their order are Prometheus's, `null` included. Source: Prometheus, `web/api/v1/translate_ast.go`.

use kansoku_model::labels::METRIC_NAME;
use kansoku_query::number::format_f;
use kansoku_query::promql::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Duration, Expr, ExprKind, Extension, Modifiers,
    Selector, Subquery, ValueType,
};
use kansoku_query::promql::functions::Function;
use serde_json::{Value, json};

use super::envelope;
use super::query::parse;
use crate::app::App;
use crate::http::{Call, Reply};

/// Answers the call.
pub fn answer(_: &App, call: &Call) -> Reply {
    match parse(&call.form) {
        Ok(query) => envelope::success(tree(&query.expr).to_string().as_bytes()),
        Err(error) => error.reply(),
    }
}

/// A node and all below it.
fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number { value, .. } => number(*value),
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text.to_lossy()}),
        ExprKind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
        ExprKind::Unary { negative, operand } => match operand.kind {
            // The sign of a number is part of it.
            ExprKind::Number { value, .. } => number(if *negative { -value } else { value }),
            _ => json!({
                "type": "unaryExpr",
                "op": if *negative { "-" } else { "+" },
                "expr": tree(operand),
            }),
        },
        ExprKind::Binary(binary) => binary_tree(binary),
        ExprKind::Aggregate(aggregate) => aggregate_tree(aggregate),
        ExprKind::Call { function, args } => json!({
            "type": "call",
            "func": signature(function),
            "args": args.iter().map(tree).collect::<Value>(),
        }),
        ExprKind::Vector(selector) => selector_tree("vectorSelector", selector),
        ExprKind::Matrix { selector, range } => {
            let mut node = selector_tree("matrixSelector", selector);
            node["range"] = milliseconds(Some(range));
            node["rangeExpr"] = computed(Some(range));
            node
        }
        ExprKind::Subquery(subquery) => subquery_tree(subquery),
    }
}

fn number(value: f64) -> Value {
    json!({"type": "numberLiteral", "val": format_f(value)})
}

fn binary_tree(binary: &Binary) -> Value {
    let (left, right) = (&binary.left, &binary.right);
    let of_vectors =
        left.value_type() == ValueType::Vector && right.value_type() == ValueType::Vector;
    let m = &binary.matching;
    let matching = of_vectors.then(|| {
        json!({
            "card": match m.cardinality {
                Cardinality::OneToOne => "one-to-one",
                Cardinality::ManyToOne => "many-to-one",
                Cardinality::OneToMany => "one-to-many",
                Cardinality::ManyToMany => "many-to-many",
            },
            "labels": m.labels,
            "on": m.on,
            "include": m.include,
            "fillValues": {"lhs": m.fill[0], "rhs": m.fill[1]},
        })
    });
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": tree(left),
        "rhs": tree(right),
        "matching": matching,
        "bool": binary.return_bool,
    })
}

fn aggregate_tree(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.name,
        "expr": tree(&aggregate.operand),
        "param": aggregate.parameter.as_ref().map(tree),
        "grouping": aggregate.grouping,
        "without": aggregate.without,
    })
}

fn signature(function: &Function) -> Value {
    let types = function.args.iter().map(|t| t.as_str());
    json!({
        "name": function.name,
        "argTypes": types.collect::<Vec<_>>(),
        "variadic": function.variadic,
        "returnType": function.returns.as_str(),
    })
}

fn selector_tree(kind: &str, selector: &Selector) -> Value {
    // The condition on the name that stands before the braces comes last there.
    let is_name = |value: &str| selector.name.as_deref() == Some(value);
    let (name, others): (Vec<_>, Vec<_>) = selector
        .matchers
        .iter()
        .partition(|m| m.name == METRIC_NAME && is_name(&m.value));
    let matchers = others.into_iter().chain(name);
    let matchers = matchers
        .map(|m| json!({"name": m.name, "value": m.value, "type": m.op.as_str()}))
        .collect::<Value>();
    let extension = selector.extension.map(Extension::as_str);
    let mut node = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or(""),
        "matchers": matchers,
        "anchored": extension == Some("anchored"),
        "smoothed": extension == Some("smoothed"),
    });
    write_modifiers(&mut node, &selector.modifiers);
    node
}

fn subquery_tree(subquery: &Subquery) -> Value {
    let mut node = json!({
        "type": "subquery",
        "expr": tree(&subquery.operand),
        "range": milliseconds(Some(&subquery.range)),
        "rangeExpr": computed(Some(&subquery.range)),
        "step": milliseconds(subquery.step.as_ref()),
        "stepExpr": computed(subquery.step.as_ref()),
    });
    write_modifiers(&mut node, &subquery.modifiers);
    node
}

fn write_modifiers(node: &mut Value, modifiers: &Modifiers) {
    let offset = modifiers.offset.as_ref();
    node["offset"] = milliseconds(offset);
    node["offsetExpr"] = computed(offset);
    node["timestamp"] = match modifiers.at {
        Some(At::Time(time_ms)) => json!(time_ms),
        _ => Value::Null,
    };
    node["startOrEnd"] = match modifiers.at {
        Some(At::Start) => json!("start"),
        Some(At::End) => json!("end"),
        _ => Value::Null,
    };
}

/// A duration that is written down; 0 for one that is computed, or missing.
fn milliseconds(duration: Option<&Duration>) -> Value {
    match duration {
        Some(Duration::Literal { seconds, .. }) => json!((seconds * 1000.0).round() as i64),
        _ => json!(0),
    }
}

/// A duration that is computed.
fn computed(duration: Option<&Duration>) -> Value {
    match duration {
        None | Some(Duration::Literal { .. }) => Value::Null,
        Some(duration) => duration_tree(duration, false),
    }
}

fn duration_tree(duration: &Duration, wrapped: bool) -> Value {
    let node = |op: &str, left: Value, right: Value| json!({"type": "durationExpr", "op": op, "lhs": left, "rhs": right, "wrapped": wrapped});
    let below = |d: &Duration| duration_tree(d, false);
    match duration {
        Duration::Literal { seconds, is_number } => json!({
            "type": "numberLiteral",
            "val": format_f(*seconds),
            "duration": !is_number,
        }),
        Duration::Step => node("step", Value::Null, Value::Null),
        Duration::Range => node("range", Value::Null, Value::Null),
        Duration::Negative(inner) => node(BinaryOp::Sub.as_str(), Value::Null, below(inner)),
        Duration::Positive(inner) => node(BinaryOp::Add.as_str(), Value::Null, below(inner)),
        Duration::Paren(inner) => duration_tree(inner, true),
        Duration::MinOf(a, b) => node("min_of", below(a), below(b)),
        Duration::MaxOf(a, b) => node("max_of", below(a), below(b)),
        Duration::Arithmetic(op, a, b) => node(op.as_str(), below(a), below(b)),
    }
}

#[cfg(test)]
mod tests {
    use kansoku_query::promql;

    use super::*;

    fn of(query: &str) -> Value {
        tree(&promql::parse(query).unwrap().expr)
    }

    /// The first two are Prometheus's own expectations (`web/api/v1/translate_ast_test.go` has the shapes).
    #[test]
    fn trees_have_the_shape_of_prometheus() {
        let selector = |name: &str| {
            json!({
                "type": "vectorSelector", "name": name, "offset": 0, "offsetExpr": null,
                "matchers": [{"name": "__name__", "value": name, "type": "="}],
                "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
            })
        };
        assert_eq!(of("up"), selector("up"));
        let sum = json!({
            "type": "aggregation", "op": "sum", "expr": selector("up"), "param": null,
            "grouping": ["job"], "without": false,
        });
        assert_eq!(of("sum by (job) (up)"), sum);
        let binary = json!({
            "type": "binaryExpr", "op": "/", "lhs": selector("a"), "rhs": selector("b"), "bool": false,
            "matching": {
                "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
                "fillValues": {"lhs": 0.0, "rhs": null},
            },
        });
        assert_eq!(of("a / on (x) group_left (y) fill_left (0) b"), binary);
        assert_eq!(of("1 + a")["matching"], Value::Null);
        assert_eq!(of("-1"), json!({"type": "numberLiteral", "val": "-1"}));
        assert_eq!(of("-up")["op"], "-");
        let call = of("label_join(up, \"a\", \",\")");
        let function = json!({
            "name": "label_join", "argTypes": ["vector", "string", "string", "string"],
            "variadic": -1, "returnType": "vector",
        });
        assert_eq!(call["func"], function);
        assert_eq!(
            call["args"][1],
            json!({"type": "stringLiteral", "val": "a"})
        );
    }

    #[test]
    fn modifiers_and_durations() {
        let matrix = of("x{a!~\"b\"}[5m] offset 1m @ 1.5");
        assert_eq!(
            (&matrix["type"], &matrix["range"]),
            (&json!("matrixSelector"), &json!(300_000))
        );
        assert_eq!(
            (&matrix["offset"], &matrix["timestamp"]),
            (&json!(60_000), &json!(1500))
        );
        let matchers = json!([
            {"name": "a", "value": "b", "type": "!~"},
            {"name": "__name__", "value": "x", "type": "="},
        ]);
        assert_eq!(matrix["matchers"], matchers);
        let subquery = of("x[1h:(step()*2)] @ end()");
        assert_eq!(subquery["startOrEnd"], "end");
        assert_eq!(
            (&subquery["step"], &subquery["range"]),
            (&json!(0), &json!(3_600_000))
        );
        let step = json!({
            "type": "durationExpr", "op": "*", "wrapped": true,
            "lhs": {"type": "durationExpr", "op": "step", "lhs": null, "rhs": null, "wrapped": false},
            "rhs": {"type": "numberLiteral", "val": "2", "duration": false},
        });
        assert_eq!(subquery["stepExpr"], step);
        assert_eq!(of("x[1h:]")["stepExpr"], Value::Null);
    }
}
