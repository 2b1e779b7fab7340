//! One unit test: evaluations from its start to its last question, the answers compared.

use kansoku_model::Labels;
use kansoku_query::number::{format_duration_ms, quote};

use super::TestOptions;
use super::compare::{self, show_alerts, show_samples};
use super::input::{AlertTest, ExpectedSample, ExpressionTest, TestFile, TestGroup};
use super::memory::TestStore;
use crate::output::line;
use crate::rules::alert::State;
use crate::rules::environment::Environment;
use crate::rules::file::{Expression, Kind, Language};
use crate::rules::group::{Health, Running};

/// More evaluations would hardly end.
const EVALUATIONS_MAX: i64 = 10_000_000;

/// The time of the last question.
fn end_ms(test: &TestGroup) -> i64 {
    let alert_times = test.alerts.iter().map(|t| t.eval_time_ms);
    let all_times = alert_times.chain(test.expressions.iter().map(|t| t.eval_time_ms));
    all_times.max().unwrap_or(0)
}

/// How often the groups are evaluated.
#[must_use]
pub fn n_evaluations(test: &TestGroup, file: &TestFile) -> i64 {
    end_ms(test) / file.evaluation_interval_ms
}

/// Runs a test over its groups; gives what went wrong.
pub fn run(
    test: &TestGroup,
    interval_ms: i64,
    file: &TestFile,
    groups: &[Running],
    options: &TestOptions,
) -> Vec<String> {
    let step_ms = file.evaluation_interval_ms;
    let store = TestStore::new(test, interval_ms, step_ms);
    let end_ms = end_ms(test);
    if n_evaluations(test, file) > EVALUATIONS_MAX {
        return vec![format!(
            "    {}: more than {EVALUATIONS_MAX} evaluations; use a longer evaluation_interval",
            test.name
        )];
    }
    let mut alerts: Vec<&AlertTest> = test.alerts.iter().collect();
    // Those of one time stay in the order of the file.
    alerts.sort_by_key(|alert| alert.eval_time_ms);
    let mut alerts = alerts.into_iter().peekable();
    let mut errors = Vec::new();
    let mut at_ms = 0;
    while at_ms <= end_ms {
        let time_ms = test.start_ms + at_ms;
        store.set_now(time_ms);
        let failed = evaluate(groups, &store, time_ms);
        if !failed.is_empty() {
            errors.extend(failed);
            return errors;
        }
        while let Some(alert) = alerts.next_if(|a| a.eval_time_ms < at_ms + step_ms) {
            errors.extend(wrong_alerts(test, alert, groups, options.diff));
        }
        at_ms += step_ms;
    }
    for expression in &test.expressions {
        errors.extend(wrong_value(expression, test, &store, file.fuzzy_compare));
    }
    if options.debug {
        // To the whole second behind the last question.
        let to_ms = (end_ms + 1000) / 1000 * 1000;
        line(format_args!(
            "DEBUG: Dump of all data (input_series and rules) at {}:",
            format_duration_ms(to_ms)
        ));
        line(format_args!("{}", store.dump(test.start_ms + to_ms)));
    }
    errors
}

fn evaluate(groups: &[Running], store: &TestStore, time_ms: i64) -> Vec<String> {
    let mut errors = Vec::new();
    for group in groups {
        group.evaluate(store, time_ms, 1, &|| false);
        for (at, rule) in group.group.rules.iter().enumerate() {
            let memory = group.memory(at);
            if memory.health == Health::Bad {
                errors.push(format!(
                    "    rule: {}, time: {}, err: {}",
                    rule.name,
                    kansoku_query::template::prometheus::duration_text(time_ms),
                    memory.last_error
                ));
            }
        }
    }
    errors
}

fn wrong_alerts(
    test: &TestGroup,
    wanted: &AlertTest,
    groups: &[Running],
    as_diff: bool,
) -> Option<String> {
    let mut found: Vec<(Labels, Labels)> = Vec::new();
    for group in groups {
        for (at, rule) in group.group.rules.iter().enumerate() {
            if rule.kind == Kind::Alert && rule.name == wanted.alertname {
                let memory = group.memory(at);
                let firing = memory.alerts.active().filter(|a| a.state == State::Firing);
                found.extend(firing.map(|a| (a.labels.clone(), a.annotations.clone())));
            }
        }
    }
    let mut expected = wanted.expected.clone();
    expected.sort();
    found.sort();
    if expected == found {
        return None;
    }
    let name = match test.name.starts_with("unnamed#") {
        true => String::new(),
        false => format!("    name: {},\n", test.name),
    };
    let (expected, found) = (show_alerts(&expected), show_alerts(&found));
    let time = format_duration_ms(wanted.eval_time_ms);
    let head = format!(
        "{name}    alertname: {}, time: {time}, \n",
        wanted.alertname
    );
    Some(match as_diff {
        true => format!("{head}        diff: {}", compare::diff(&expected, &found)),
        false => format!("{head}        exp:{expected}, \n        got:{found}"),
    })
}

fn wrong_value(
    wanted: &ExpressionTest,
    test: &TestGroup,
    store: &TestStore,
    is_fuzzy: bool,
) -> Option<String> {
    let place = format!(
        "    expr: {}, time: {},",
        quote(&wanted.expr),
        format_duration_ms(wanted.eval_time_ms)
    );
    let found = Expression::parse(&wanted.expr, Language::Promql)
        .and_then(|expression| store.query(&expression, test.start_ms + wanted.eval_time_ms));
    let found = match found {
        Ok(found) => found,
        Err(error) => return Some(format!("{place} err: {error}")),
    };
    let mut expected = match &wanted.expected {
        Ok(expected) => expected.clone(),
        Err(error) => return Some(format!("{place} err: {error}")),
    };
    let mut found: Vec<ExpectedSample> = found
        .into_iter()
        .map(|sample| ExpectedSample {
            labels: sample.labels,
            value: sample.value,
            histogram: sample.histogram.map(|h| (*h).clone()),
        })
        .collect();
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    let is_same = expected.len() == found.len()
        && (expected.iter().zip(&found)).all(|(a, b)| compare::are_same(a, b, is_fuzzy));
    (!is_same).then(|| {
        format!(
            "{place}\n        exp: {}\n        got: {}",
            show_samples(&expected),
            show_samples(&found)
        )
    })
}
