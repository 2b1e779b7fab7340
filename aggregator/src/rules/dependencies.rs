//! Which rules of a group may run at once.
//!
//! A rule waits for every earlier one that it reads from or that reads from it; so results are those
//! of running all in the order of the file. A selector without a metric name reads everything, and
//! holds up only its own rule.

use kansoku_model::{MatchOp, Matcher};

use super::alert::{ALERTS, ALERTS_FOR_STATE};
use super::file::{Expression, Kind, Rule};

/// The metrics a rule writes.
fn written(rule: &Rule) -> Vec<&str> {
    match rule.kind {
        Kind::Record => vec![&rule.name],
        Kind::Alert => vec![ALERTS, ALERTS_FOR_STATE],
    }
}

/// Whether a rule may read one of these metrics.
fn reads(rule: &Rule, metrics: &[&str]) -> bool {
    let Expression::Promql(query) = &rule.expression else {
        // Lines, which no rule writes.
        return false;
    };
    let is_name = |m: &&Matcher| m.name == "__name__";
    let fits = |matchers: &[Matcher], metric: &str| {
        let mut names = matchers.iter().filter(is_name);
        names.all(|m| m.matches(metric))
    };
    let selectors = query.expr.selectors();
    let reads_selected = selectors.iter().any(|selector| {
        let is_fixed = |m: &&Matcher| is_name(m) && m.op == MatchOp::Equal;
        match selector.matchers.iter().find(is_fixed) {
            Some(name) => metrics.contains(&name.value.as_str()),
            None => metrics
                .iter()
                .any(|metric| fits(&selector.matchers, metric)),
        }
    });
    // Templates may ask anything.
    let queries = |text: &super::file::Text| text.template.is_some() && text.text.contains("query");
    let texts = rule.labels.iter().chain(&rule.annotations);
    reads_selected || texts.into_iter().any(|(_, text)| queries(text))
}

/// Rules by number, in stages: those of one run at once, after those of all before.
#[must_use]
pub fn stages(rules: &[Rule]) -> Vec<Vec<usize>> {
    let mut stage_of: Vec<usize> = Vec::with_capacity(rules.len());
    let outputs: Vec<Vec<&str>> = rules.iter().map(written).collect();
    for (i, rule) in rules.iter().enumerate() {
        let earlier = rules.iter().enumerate().take(i);
        let waits = earlier.filter(|(j, other)| {
            let same_alerts = rule.kind == Kind::Alert && other.kind == Kind::Alert;
            let writes_same = !same_alerts && outputs[*j] == outputs[i];
            writes_same || reads(rule, &outputs[*j]) || reads(other, &outputs[i])
        });
        let stage = waits.map(|(j, _)| stage_of[j] + 1).max();
        stage_of.push(stage.unwrap_or(0));
    }
    let n_stages = stage_of.iter().max().map_or(0, |last| last + 1);
    let mut stages = vec![Vec::new(); n_stages];
    for (rule, stage) in stage_of.into_iter().enumerate() {
        stages[stage].push(rule);
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::super::file::{Language, parse};
    use super::*;

    #[test]
    fn rules_wait_for_what_they_read() {
        let stages_of = |rules: &[(&str, &str)]| {
            let lines = rules
                .iter()
                .map(|(name, expr)| match name.strip_prefix('!') {
                    Some(alert) => format!("  - {{alert: {alert}, expr: '{expr}'}}\n"),
                    None => format!("  - {{record: {name}, expr: '{expr}'}}\n"),
                });
            let text = format!(
                "groups:\n- name: g\n  rules:\n{}",
                lines.collect::<String>()
            );
            stages(&parse("r.yml", text.as_bytes(), Language::Promql).unwrap()[0].rules)
        };
        for (rules, expected) in [
            (
                vec![("a", "x"), ("b", "y"), ("!C", "z > 1")],
                vec![vec![0, 1, 2]],
            ),
            (
                vec![("a", "x"), ("b", "rate(a[5m])"), ("c", "b + a")],
                vec![vec![0], vec![1], vec![2]],
            ),
            // Reads what comes later: in the order of the file it sees the evaluation before.
            (vec![("a", "b"), ("b", "x")], vec![vec![0], vec![1]]),
            (vec![("a", "x"), ("a", "y")], vec![vec![0], vec![1]]),
            (
                vec![
                    ("a", "x"),
                    ("b", "y"),
                    ("n", "sum({job=\"j\"})"),
                    ("c", "z"),
                ],
                vec![vec![0, 1], vec![2], vec![3]],
            ),
            // A and C write what B reads.
            (
                vec![("!A", "x"), ("!B", "ALERTS"), ("!C", "y")],
                vec![vec![0], vec![1], vec![2]],
            ),
            (
                vec![("a:b", "x"), ("c", "{__name__=~\"a:.*\"}")],
                vec![vec![0], vec![1]],
            ),
        ] {
            let found = stages_of(&rules);
            assert_eq!(found, expected, "{rules:?}");
        }
    }
}
