//! `routes` of an input at work: records get a mark that says which outputs they are for.
//!
//! A stage behind the input's own processors and before the filters of all. What a conditional route
//! takes goes on by itself, under the route's name as its tag, as in Fluent Bit; what routes without
//! a condition take stays under its tag.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::{ConfigError, LogBatch, MetricBatch, Place, RecordBatch};
use kansoku_parsers::config::routes::{Route, RouteOutput, Signals};
use kansoku_parsers::line::pattern::Pattern;

use super::conditional::Tests;
use crate::pipeline::{FilterContext, OutputSet};
use crate::plugin::Filter;

/// All routes of one input.
pub(super) struct Router {
    /// For records of any kind, without a condition.
    always: OutputSet,
    conditional: Vec<Conditional>,
}

/// A route with a condition.
struct Conditional {
    name: Arc<str>,
    signals: Signals,
    outputs: OutputSet,
    /// Takes only what no other route with a condition has taken.
    is_default: bool,
    tests: Tests,
}

/// The outputs by all their names: alias, instance, plugin. The first of a name counts.
#[derive(Default)]
pub(super) struct OutputNames(HashMap<String, usize>);

impl OutputNames {
    /// Notes the names of output number `index`.
    pub(super) fn add(&mut self, index: usize, names: &[&str]) {
        for name in names {
            self.0.entry((*name).to_owned()).or_insert(index);
        }
    }

    fn find(&self, output: &RouteOutput, warnings: &mut Vec<ConfigError>) -> Option<usize> {
        if let Some(index) = self.0.get(&output.name) {
            return Some(*index);
        }
        let fallback = output.fallback.as_ref();
        let found = fallback.and_then(|f| self.0.get(f).map(|index| (f, *index)));
        let instead = match &found {
            Some((name, _)) => format!("'{name}' is taken instead"),
            None => "the route goes without it".to_owned(),
        };
        let message = format!("there is no output '{}': {instead}", output.name);
        warnings.push(ConfigError::new(&output.place, message));
        found.map(|(_, index)| index)
    }
}

impl Router {
    /// Nothing of the input goes anywhere: `routable off`.
    pub(super) fn nowhere() -> Self {
        Self {
            always: OutputSet::EMPTY,
            conditional: Vec::new(),
        }
    }

    /// # Errors
    /// When a condition cannot be used.
    pub(super) fn new(
        routes: &[Route],
        names: &OutputNames,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<Self, ConfigError> {
        let mut router = Self::nowhere();
        let mut taken = OutputSet::EMPTY;
        for route in routes {
            let mut outputs = OutputSet::EMPTY;
            for output in &route.outputs {
                let Some(index) = names.find(output, warnings) else {
                    continue;
                };
                if taken.contains(index) {
                    warnings.push(reached_before(&output.place, &output.name, &route.name));
                    continue;
                }
                outputs = outputs.with(index);
            }
            taken = taken.union(outputs);
            match &route.condition {
                // As in Fluent Bit a route that reaches no output takes nothing from the default.
                _ if outputs.is_empty() => {}
                None => router.always = router.always.union(outputs),
                Some(condition) => {
                    if !route.signals.logs && !condition.is_default {
                        warnings.push(never_holds(&condition.place));
                    }
                    router.conditional.push(Conditional {
                        name: route.name.as_str().into(),
                        signals: route.signals,
                        outputs,
                        is_default: condition.is_default,
                        tests: Tests::new(condition)?,
                    });
                }
            }
        }
        Ok(router)
    }

    /// Every output that some record may go to.
    pub(super) fn outputs(&self) -> OutputSet {
        let conditional = self.conditional.iter().map(|route| route.outputs);
        conditional.fold(self.always, OutputSet::union)
    }
}

fn reached_before(place: &Place, output: &str, route: &str) -> ConfigError {
    let message = format!(
        "output '{output}' is reached by an earlier route of the input already; '{route}' does not add to it, as in Fluent Bit"
    );
    ConfigError::new(place, message)
}

fn never_holds(place: &Place) -> ConfigError {
    let message = "conditions are about log records: for metrics and traces it never holds, as in Fluent Bit; use 'default: true' or no condition";
    ConfigError::new(place, message)
}

/// What `routes` of a YAML configuration make of records, for outputs `a`, `b` and `c`.
///
/// # Errors
/// When they are refused.
#[cfg(feature = "fuzzing")]
pub(crate) fn routed(routes: &[Route], mut batch: LogBatch) -> Result<Vec<LogBatch>, ConfigError> {
    let mut names = OutputNames::default();
    for (index, alias) in ["a", "b", "c"].into_iter().enumerate() {
        names.add(index, &[alias, &format!("file.{index}"), "file"]);
    }
    let router = Router::new(routes, &names, &mut Vec::new())?;
    let mut context = FilterContext::default();
    router.apply(&mut batch, &mut context);
    let emitted = context.take_emitted().into_iter();
    let logs = emitted.filter_map(|emitted| match emitted.batch {
        RecordBatch::Logs(logs) => Some(logs),
        RecordBatch::Metrics(_) => None,
    });
    Ok(std::iter::once(batch).chain(logs).collect())
}

impl Filter for Router {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        let mut unclaimed = vec![true; batch.len()];
        let routes = |default: bool| {
            let of_kind = self
                .conditional
                .iter()
                .filter(move |r| r.is_default == default);
            of_kind.filter(|r| r.signals.logs)
        };
        for route in routes(false).chain(routes(true)) {
            let matching = route.tests.matching(batch);
            let rows: Vec<usize> = (0..batch.len())
                .filter(|row| matching[*row] && (!route.is_default || unclaimed[*row]))
                .collect();
            if rows.is_empty() {
                continue;
            }
            if !route.is_default {
                rows.iter().for_each(|row| unclaimed[*row] = false);
            }
            let mut copy = batch.copy_rows(&rows, route.name.clone());
            copy.source.id = context.derived(batch.source.id, &route.name);
            copy.wanted_by = Some(route.outputs.bits());
            context.emit(RecordBatch::Logs(copy), true, Vec::new());
        }
        batch.wanted_by = Some(self.always.bits());
    }

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        let defaults = self.conditional.iter();
        let defaults = defaults.filter(|r| r.is_default && r.signals.metrics);
        let outputs = defaults.fold(self.always, |set, r| set.union(r.outputs));
        batch.wanted_by = Some(outputs.bits());
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.conditional
            .iter()
            .for_each(|r| r.tests.patterns(visit));
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{Position, SourceId, Value};
    use kansoku_parsers::config::{Loaded, yaml};

    use super::*;

    fn routes(text: &str) -> Result<Vec<Route>, String> {
        let indented: String = text.lines().map(|l| format!("        {l}\n")).collect();
        let text = format!("pipeline:\n  inputs:\n    - name: dummy\n      routes:\n{indented}");
        let mut read = |name: &str, _: &str| {
            Ok(vec![Loaded {
                name: name.to_owned(),
                identity: name.to_owned(),
                bytes: text.clone().into_bytes(),
            }])
        };
        let document = yaml::parse("a.yaml", &mut read).map_err(|e| e.to_string())?;
        Ok(document
            .sections
            .into_iter()
            .flat_map(|s| s.routes)
            .collect())
    }

    fn names() -> OutputNames {
        let mut names = OutputNames::default();
        for (index, alias) in ["a", "b", "c"].into_iter().enumerate() {
            names.add(index, &[alias, &format!("file.{index}"), "file"]);
        }
        names
    }

    fn batch() -> LogBatch {
        let mut batch = LogBatch::new("app.x".into(), Arc::default(), Vec::new());
        batch.source.id = SourceId(1);
        for (i, level) in ["error", "info", "debug", "", "error"]
            .into_iter()
            .enumerate()
        {
            let row = batch.push(0, Position::at(i as u64 + 1));
            batch.column_mut("n").values[row] = match i {
                2 => Value::Float(3.5),
                4 => Value::Int(50),
                i => Value::Int(i as i64 + 1),
            };
            if !level.is_empty() {
                batch.set_text("level", row, level.as_bytes());
            }
        }
        batch
    }

    /// What each output gets, as `OUTPUT=TAG:n,n`, and what is said.
    fn run(text: &str) -> Result<(String, Vec<String>), String> {
        let mut warnings = Vec::new();
        let router = Router::new(&routes(text)?, &names(), &mut warnings);
        let router = router.map_err(|e| e.to_string())?;
        let mut batch = batch();
        let mut context = FilterContext::default();
        router.apply(&mut batch, &mut context);
        let emitted = context.take_emitted().into_iter().map(|e| e.batch);
        let mut got = Vec::new();
        for batch in std::iter::once(RecordBatch::Logs(batch)).chain(emitted) {
            let RecordBatch::Logs(batch) = batch else {
                panic!("logs")
            };
            let n = batch.column("n").expect("n");
            let mut text = Vec::new();
            let ns: Vec<String> = (n.values.iter())
                .map(|v| {
                    String::from_utf8_lossy(batch.display(*v, &mut text).expect("n")).into_owned()
                })
                .collect();
            let wanted = batch.wanted_by.expect("is marked");
            for (index, output) in ["a", "b", "c"].iter().enumerate() {
                if wanted >> index & 1 == 1 {
                    got.push(format!("{output}={}:{}", batch.tag, ns.join(",")));
                }
            }
        }
        got.sort();
        let said = warnings.into_iter().map(|w| w.message).collect();
        Ok((got.join(" "), said))
    }

    fn rule(name: &str, field: &str, op: &str, value: &str, to: &str) -> String {
        format!(
            "- name: {name}\n  condition:\n    rules:\n      - field: \"{field}\"\n        op: {op}\n        value: {value}\n  to:\n    outputs:\n      - {to}\n"
        )
    }

    fn default(name: &str, to: &str) -> String {
        format!("- name: {name}\n  condition:\n    default: true\n  to:\n    outputs: [{to}]\n")
    }

    fn logs(parts: &[String]) -> String {
        let indented = parts
            .concat()
            .lines()
            .map(|l| format!("  {l}\n"))
            .collect::<String>();
        format!("logs:\n{indented}")
    }

    /// Each as Fluent Bit 5.1.1 routed these records.
    #[test]
    fn records_go_where_fluent_bit_sends_them() {
        let errors = |to: &str| rule("e", "$level", "eq", "error", to);
        let infos = |to: &str| rule("i", "$level", "eq", "info", to);
        let all = "- name: all\n  to:\n    outputs:\n      - a\n".to_owned();
        for (parts, expected) in [
            (
                vec![errors("a"), infos("b"), default("d", "c")],
                "a=e:1,50 b=i:2 c=d:3.5,4",
            ),
            (
                vec![all, infos("b"), default("d", "c")],
                "a=app.x:1,2,3.5,4,50 b=i:2 c=d:1,3.5,4,50",
            ),
            (
                vec![
                    errors("a"),
                    rule("f", "$n", "gt", "10", "b"),
                    default("d", "c"),
                ],
                "a=e:1,50 b=f:50 c=d:2,3.5,4",
            ),
            (vec![errors("a")], "a=e:1,50"),
            (vec![default("d", "c"), errors("a")], "a=e:1,50 c=d:2,3.5,4"),
            (
                vec![default("d", "a"), default("e", "c")],
                "a=d:1,2,3.5,4,50 c=e:1,2,3.5,4,50",
            ),
            // A second route to one output adds nothing, and takes nothing from the default.
            (
                vec![errors("a"), infos("a"), default("d", "c")],
                "a=e:1,50 c=d:2,3.5,4",
            ),
            (vec![errors("zz"), default("d", "c")], "c=d:1,2,3.5,4,50"),
            (
                vec![errors("name: zz\n        fallback: a"), default("d", "c")],
                "a=e:1,50 c=d:2,3.5,4",
            ),
            (
                vec![errors("file"), default("d", "file.1")],
                "a=e:1,50 b=d:2,3.5,4",
            ),
            // A field that is missing is an empty text.
            (
                vec![rule("e", "$level", "neq", "error", "a"), default("d", "c")],
                "a=e:2,3.5,4 c=d:1,50",
            ),
            (
                vec![
                    rule("e", "$level", "regex", "\"^(?!err)\"", "a"),
                    rule("f", "$n", "regex", "\".\"", "b"),
                ],
                "a=e:2,3.5,4 b=f:1,2,3.5,4,50",
            ),
            (
                vec![rule("e", "$level", "in", "[error, info]", "a")],
                "a=e:1,2,50",
            ),
            // Floats are compared as Fluent Bit prints them.
            (
                vec![
                    rule("e", "$n", "eq", "2", "a"),
                    rule("f", "$n", "eq", "3.5", "b"),
                ],
                "a=e:2",
            ),
            (vec![rule("e", "$n", "eq", "\"3.500000\"", "a")], "a=e:3.5"),
            // (Fluent Bit knows no brackets at the start: there the rule never holds.)
            (vec![rule("e", "$['n']", "eq", "1", "a")], "a=e:1"),
        ] {
            let text = logs(&parts);
            let (got, _) = run(&text).unwrap_or_else(|e| panic!("{text}{e}"));
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn signals_are_told_apart() {
        let condition = default("d", "c");
        let errors = rule("e", "$level", "eq", "error", "a");
        for (signal, expected) in [
            ("any", "a=e:1,50 c=d:2,3.5,4"),
            ("\"logs,metrics\"", "a=e:1,50 c=d:2,3.5,4"),
            ("logs", "a=e:1,50 c=d:2,3.5,4"),
        ] {
            let text = logs(&[errors.clone(), condition.clone()]).replacen("logs", signal, 1);
            assert_eq!(run(&text).expect(&text).0, expected, "{text}");
        }
        let text = logs(&[condition]).replacen("logs", "metrics", 1);
        assert_eq!(run(&text).expect(&text).0, "");
        let router = Router::new(&routes(&text).expect("valid"), &names(), &mut Vec::new());
        let mut metrics = MetricBatch::new("m".into(), Arc::default(), 0);
        router.expect("valid").apply_to_metrics(&mut metrics);
        assert_eq!(metrics.wanted_by, Some(0b100));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (_, said) = run(&logs(&[
            rule("e", "$level", "eq", "x", "zz"),
            default("d", "a"),
            default("f", "a"),
        ]))
        .expect("valid");
        assert_eq!(
            said,
            [
                "there is no output 'zz': the route goes without it",
                "output 'a' is reached by an earlier route of the input already; 'f' does not add to it, as in Fluent Bit",
            ]
        );
        for (text, message) in [
            (
                "spans:\n  - name: x\n    to: a",
                "unknown kind of records 'spans' in routes",
            ),
            (
                "logs:\n  - name: x",
                "route 'x' has no outputs: say 'to: [OUTPUT]'",
            ),
            ("logs:\n  - to: a", "the route has no 'name'"),
            ("logs: []", "expected a list of routes"),
            (
                "logs:\n  - name: x\n    condition:\n      op: and\n    to: a",
                "the condition has no 'rules'",
            ),
            (
                "logs:\n  - name: x\n    to: a\n  - name: x\n    to: b",
                "route 'x' is there twice",
            ),
            (
                "logs:\n  - name: x\n    nosuch: 1\n    to: a",
                "unknown key 'nosuch' in a route",
            ),
        ] {
            let error = run(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let error = run(&logs(&[rule("x", "$metric.name", "eq", "x", "a")])).unwrap_err();
        assert!(
            error.contains("field '$metric.name' is not one of such records"),
            "{error}"
        );
    }
}
