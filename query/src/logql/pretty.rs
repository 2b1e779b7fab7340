//! A query as text: on one line as Loki writes its tree, or over several as its formatter does.
//!
//! What is longer than a line's hundred bytes is cut at its parts, one level of two spaces each. The
//! rules are those of Loki's `pkg/logql/syntax/prettier.go`.

use super::ast::{
    AggregateExpr, BinaryExpr, Cardinality, Expr, Grouping, LabelReplaceExpr, LogExpr, MetricExpr,
    RangeExpr,
};
use super::lexer::Quoted;
use super::units::write_duration;

/// Longer expressions are cut.
const LINE_MAX: usize = 100;

/// The query as Loki's `format_query` gives it.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => pretty_log(log, 0),
        Expr::Metric(metric) => pretty_metric(metric, 0),
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn pretty_log(log: &LogExpr, level: usize) -> String {
    let text = log.to_string();
    if text.len() <= LINE_MAX || log.stages.is_empty() {
        return indent(level) + &text;
    }
    let selector = LogExpr {
        matchers: log.matchers.clone(),
        stages: Vec::new(),
    };
    let mut lines = vec![format!("{}{selector}", indent(level))];
    // Line filters in a row are one expression.
    for run in log
        .stages
        .chunk_by(|a, b| a.as_line_filter().is_some() && b.as_line_filter().is_some())
    {
        let texts: Vec<String> = run.iter().map(ToString::to_string).collect();
        let joined = texts.join(" ");
        match joined.len() <= LINE_MAX {
            // Loki forgets to indent this one.
            true if joined == "| decolorize" => lines.push(joined),
            true => lines.push(indent(level + 1) + &joined),
            false => lines.extend(texts.iter().map(|text| indent(level + 1) + text)),
        }
    }
    lines.join("\n")
}

fn pretty_metric(expr: &MetricExpr, level: usize) -> String {
    let text = one_line(expr);
    if text.len() <= LINE_MAX {
        return indent(level) + &text;
    }
    match expr {
        MetricExpr::Range(range) => pretty_range(range, level),
        MetricExpr::Aggregate(aggregate) => pretty_aggregate(aggregate, level),
        MetricExpr::Binary(binary) => {
            let (left, right) = (&binary.left, &binary.right);
            let (left, right) = (
                pretty_metric(left, level + 1),
                pretty_metric(right, level + 1),
            );
            format!(
                "{left}\n{}{}\n{right}",
                indent(level),
                operator(binary, ", ")
            )
        }
        MetricExpr::LabelReplace(replace) => {
            let mut parts = vec![pretty_metric(&replace.inner, level + 1)];
            parts.extend(texts_of(replace).map(|text| indent(level + 1) + &text));
            call("label_replace", &parts, level)
        }
        MetricExpr::Literal(_) | MetricExpr::Vector(_) => indent(level) + &text,
    }
}

/// A call with each part on a line of its own.
fn call(head: &str, parts: &[String], level: usize) -> String {
    let indent = indent(level);
    format!("{indent}{head}(\n{}\n{indent})", parts.join(",\n"))
}

fn pretty_range(expr: &RangeExpr, level: usize) -> String {
    let mut inner = pretty_log(&expr.log, level + 1);
    if let Some(unwrap) = &expr.unwrap {
        let indent = indent(level + 2);
        let mut bare = unwrap.clone();
        bare.filters.clear();
        inner.push_str(&format!("\n{indent}{bare}"));
        for filter in &unwrap.filters {
            inner.push_str(&format!("\n{indent}{filter}"));
        }
    }
    inner.push_str(&format!(" [{}]", write_duration(expr.range_ns)));
    if expr.offset_ns != 0 {
        inner.push_str(&format!(" offset {}", write_duration(expr.offset_ns)));
    }
    let parameter = expr.parameter.map(|n| format!("{}{n}", indent(level + 1)));
    let parts: Vec<String> = parameter.into_iter().chain([inner]).collect();
    call(expr.function.name, &parts, level) + &pretty_grouping(expr.grouping.as_ref())
}

fn pretty_aggregate(expr: &AggregateExpr, level: usize) -> String {
    let head = expr.op.as_str().to_owned() + &pretty_grouping(expr.grouping.as_ref());
    let parameter = expr.parameter.map(|n| format!("{}{n}", indent(level + 1)));
    let inner = pretty_metric(&expr.inner, level + 1);
    let parts: Vec<String> = parameter.into_iter().chain([inner]).collect();
    call(&head, &parts, level)
}

fn pretty_grouping(grouping: Option<&Grouping>) -> String {
    match grouping {
        Some(g) if g.without && g.names.is_empty() => " without".into(),
        Some(g) if !g.names.is_empty() => {
            let word = if g.without { "without" } else { "by" };
            format!(" {word} ({})", g.names.join(", "))
        }
        _ => String::new(),
    }
}

/// The expression without a line break.
#[must_use]
pub fn one_line(expr: &MetricExpr) -> String {
    match expr {
        MetricExpr::Range(range) => range_line(range),
        MetricExpr::Aggregate(aggregate) => {
            let of_all = |g: &&Grouping| g.without || !g.names.is_empty();
            let grouping = aggregate.grouping.as_ref().filter(of_all);
            let parameter = aggregate
                .parameter
                .map_or(String::new(), |n| format!("{n},"));
            let (op, inner) = (aggregate.op.as_str(), one_line(&aggregate.inner));
            format!("{op}{}({parameter}{inner})", grouping_line(grouping))
        }
        MetricExpr::Binary(binary) => {
            let (left, right) = (one_line(&binary.left), one_line(&binary.right));
            format!("({left} {} {right})", operator(binary, ","))
        }
        MetricExpr::LabelReplace(replace) => {
            let texts: Vec<String> = texts_of(replace).collect();
            format!(
                "label_replace({},{})",
                one_line(&replace.inner),
                texts.join(",")
            )
        }
        MetricExpr::Literal(number) => number.to_string(),
        MetricExpr::Vector(number) => format!("vector({number:.6})"),
    }
}

fn range_line(expr: &RangeExpr) -> String {
    let parameter = expr.parameter.map_or(String::new(), |n| format!("{n},"));
    let unwrap = expr
        .unwrap
        .as_ref()
        .map_or(String::new(), |u| format!(" {u}"));
    let (name, log, range) = (expr.function.name, &expr.log, write_duration(expr.range_ns));
    let offset = match expr.offset_ns {
        0 => String::new(),
        ns => format!(" offset {}", go_duration(ns)),
    };
    let grouping = grouping_line(expr.grouping.as_ref());
    format!("{name}({parameter}{log}{unwrap}[{range}]{offset}){grouping}")
}

fn grouping_line(grouping: Option<&Grouping>) -> String {
    grouping.map_or(String::new(), |g| {
        let word = if g.without { "without" } else { "by" };
        format!(" {word} ({})", g.names.join(","))
    })
}

fn texts_of(replace: &LabelReplaceExpr) -> impl Iterator<Item = String> {
    let texts = [
        &replace.destination,
        &replace.replacement,
        &replace.source,
        &replace.pattern,
    ];
    texts.into_iter().map(|text| Quoted(text).to_string())
}

/// An operator with what stands behind it.
fn operator(expr: &BinaryExpr, comma: &str) -> String {
    let mut text = expr.op.as_str().to_owned();
    if expr.return_bool {
        text.push_str(" bool");
    }
    let matching = &expr.matching;
    let mut group = match matching.cardinality {
        Cardinality::OneToOne => String::new(),
        Cardinality::ManyToOne => "group_left".into(),
        Cardinality::OneToMany => "group_right".into(),
    };
    if !matching.include.is_empty() {
        group.push_str(&format!(" ({})", matching.include.join(comma)));
    }
    if matching.on || !matching.names.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        let names = matching.names.join(comma);
        text.push_str(&format!(" {word} ({names}) {group}"));
    }
    text
}

/// A duration as Go prints it: `20m0s`.
fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let part = |unit: u64| ns as f64 / unit as f64;
    match ns {
        0..1_000 => format!("{sign}{ns}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", part(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", part(1_000_000)),
        _ => {
            let (hours, minutes) = (ns / 3_600_000_000_000, ns / 60_000_000_000 % 60);
            let seconds = (ns % 60_000_000_000) as f64 / 1e9;
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, _) => format!("{sign}{minutes}m{seconds}s"),
                _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::parse;

    fn check(query: &str, expected: &str) {
        assert_eq!(pretty(&parse(query).unwrap()), expected, "{query}");
        // What is written is the same query.
        assert_eq!(pretty(&parse(expected).unwrap()), expected);
    }

    #[test]
    fn short_queries_stay_on_their_line() {
        for (query, expected) in [
            (
                r#"{a="b"}|="x"|json|level="error""#,
                r#"{a="b"} |= "x" | json | level="error""#,
            ),
            (
                r#"sum(rate({a="b"}|="x"[5m] offset 20m)) by(c,d)"#,
                r#"sum by (c,d)(rate({a="b"} |= "x"[5m] offset 20m0s))"#,
            ),
            (
                r#"quantile_over_time(0.99,{a="b"}|json|unwrap duration(t)|__error__=""[1m])by(c)"#,
                r#"quantile_over_time(0.99,{a="b"} | json | unwrap duration(t) | __error__=""[1m]) by (c)"#,
            ),
            (
                r#"topk(5, count_over_time({a="b"}[1h30m]))"#,
                r#"topk(5,count_over_time({a="b"}[1h30m]))"#,
            ),
            (
                "vector(0) or vector(1.5)",
                "(vector(0.000000) or vector(1.500000))",
            ),
            (
                r#"rate({a="b"}[1m]) > bool on(c) group_left(d) rate({a="e"}[1m])"#,
                r#"(rate({a="b"}[1m]) > bool on (c) group_left (d) rate({a="e"}[1m]))"#,
            ),
        ] {
            check(query, expected);
        }
    }

    #[test]
    fn long_queries_are_cut_at_their_parts() {
        check(
            r#"sum by(cluster)(quantile_over_time(0.99,{container="ingress-nginx",service="hosted-grafana"}|="x"!="y"|json|unwrap latency|__error__=""[1m] offset 1h))"#,
            r#"sum by (cluster)(
  quantile_over_time(
    0.99,
    {container="ingress-nginx", service="hosted-grafana"} |= "x" != "y" | json
      | unwrap latency
      | __error__="" [1m] offset 1h
  )
)"#,
        );
        check(
            r#"{job="loki", namespace="loki-prod", container="nginx-ingress"}|="error"!="memcached"| json first="servers[0]" | level="error" | line_format "{{.first}}""#,
            r#"{job="loki", namespace="loki-prod", container="nginx-ingress"}
  |= "error" != "memcached"
  | json first="servers[0]"
  | level="error"
  | line_format "{{.first}}""#,
        );
        check(
            r#"sum(rate({job="loki", namespace="loki-prod", container="nginx-ingress"}[5m])) / sum(rate({job="loki", namespace="loki-dev"}[5m]))"#,
            r#"  sum(rate({job="loki", namespace="loki-prod", container="nginx-ingress"}[5m]))
/
  sum(rate({job="loki", namespace="loki-dev"}[5m]))"#,
        );
    }
}
