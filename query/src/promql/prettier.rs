//! Prints a tree over several lines where one would be too long, as Prometheus's formatter does.
//!
//! Source: Prometheus, `promql/parser/prettier.go`, its own uneven indents of subqueries and signs included.

use super::ast::{Aggregate, Expr, ExprKind};
use super::printer;

/// A longer text is split.
const LINE_MAX_BYTES: usize = 100;

impl Expr {
    /// The formatted text.
    #[must_use]
    pub fn pretty(&self) -> String {
        lines(self, 0)
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn lines(expr: &Expr, level: usize) -> String {
    let whole = expr.to_string();
    let at = indent(level);
    let fits = whole.len() <= LINE_MAX_BYTES;
    match &expr.kind {
        ExprKind::Unary { negative, operand } => {
            let sign = if *negative { "-" } else { "+" };
            format!("{at}{sign}{}", lines(operand, level).trim())
        }
        // Where it is not split, its lines have no indent.
        ExprKind::Subquery(_) if fits => whole,
        ExprKind::Subquery(subquery) => {
            let operand = lines(&subquery.operand, level);
            format!("{operand}{}", printer::subquery_times(subquery))
        }
        _ if fits => at + &whole,
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate, level),
        ExprKind::Binary(binary) => {
            let (left, right) = (
                lines(&binary.left, level + 1),
                lines(&binary.right, level + 1),
            );
            format!("{left}\n{at}{}\n{right}", printer::operator(binary))
        }
        ExprKind::Call { function, args } => {
            let args: Vec<String> = args.iter().map(|arg| lines(arg, level + 1)).collect();
            format!("{at}{}(\n{}\n{at})", function.name, args.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{at}(\n{}\n{at})", lines(inner, level + 1)),
        ExprKind::Number { .. }
        | ExprKind::String(_)
        | ExprKind::Vector(_)
        | ExprKind::Matrix { .. } => at + &whole,
    }
}

fn of_aggregate(aggregate: &Aggregate, level: usize) -> String {
    let at = indent(level);
    let parameter = match &aggregate.parameter {
        Some(parameter) => lines(parameter, level + 1) + ",\n",
        None => String::new(),
    };
    let head = printer::aggregate_head(aggregate);
    let operand = lines(&aggregate.operand, level + 1);
    format!("{at}{head}(\n{parameter}{operand}\n{at})")
}

#[cfg(test)]
mod tests {
    use crate::promql::parse;

    /// From Prometheus's `prettier_test.go`, whose lines are split at 10 characters; these are longer than 100.
    #[test]
    fn long_queries_are_split_as_prometheus_splits_them() {
        let name = "a_rather_long_name_of_a_metric_that_fills_the_line_quickly";
        let cases = [
            ("sum(up)".to_owned(), "sum(up)".to_owned()),
            (
                format!("sum by(job,x)(rate({name}{{a='b'}}[5m]) + {name})"),
                format!("sum by (job, x) (\n    rate({name}{{a=\"b\"}}[5m])\n  +\n    {name}\n)"),
            ),
            (
                format!("topk(5, {name}{{a=\"b\"}} == bool on (c) {name})"),
                format!("topk(\n  5,\n    {name}{{a=\"b\"}}\n  == bool on (c)\n    {name}\n)"),
            ),
            (
                format!("-({name} and {name})"),
                format!("-(\n    {name}\n  and\n    {name}\n)"),
            ),
            (
                format!("max_over_time(({name} - {name})[1h:5m] offset 1m)"),
                format!(
                    "max_over_time(\n  (\n      {name}\n    -\n      {name}\n  )[1h:5m] offset 1m\n)"
                ),
            ),
        ];
        for (query, expected) in cases {
            let printed = parse(&query).unwrap().expr.pretty();
            assert_eq!(printed, expected);
            assert_eq!(parse(&printed).unwrap().expr.pretty(), expected);
        }
    }
}
