//! `condition`: a filter that sees some records, and the signals of a processor.
//!
//! Records that do not match pass in their place; the order stays. A filter that drops, adds or changes
//! records only does so with those that match, as Fluent Bit's processors.

use std::time::Duration;

use kansoku_model::{ConfigError, LogBatch, MetricBatch, Value};
use kansoku_parsers::config::Signal;
use kansoku_parsers::config::condition::{Condition, Context, Operand, Operator, Rule};
use kansoku_parsers::line::pattern::Pattern;

use crate::filters::accessor::{Accessor, Found, Reading};
use crate::filters::record::Tree;
use crate::pipeline::{FilterContext, TagMatch};
use crate::plugin::Filter;

/// A filter behind a condition.
///
/// # Errors
/// When a field or pattern of the condition cannot be used.
pub(super) fn wrap(
    filter: Box<dyn Filter>,
    condition: &Condition,
) -> Result<Box<dyn Filter>, ConfigError> {
    let tests = Tests::new(condition)?;
    Ok(Box::new(Conditional { tests, filter }))
}

struct Conditional {
    tests: Tests,
    filter: Box<dyn Filter>,
}

/// The rules of a condition, ready to be asked.
pub(super) struct Tests {
    any: bool,
    tests: Vec<Test>,
}

struct Test {
    field: Accessor,
    compare: Compare,
    context: Context,
}

enum Compare {
    Text { equal: bool, text: Vec<u8> },
    Number(Operator, f64),
    Pattern { fits: bool, pattern: Pattern },
    OneOf { fits: bool, texts: Vec<Vec<u8>> },
}

impl Test {
    fn new(rule: &Rule) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::new(&rule.place, message);
        let text = match &rule.value {
            Operand::Text(text) => text.as_str(),
            Operand::List(_) => "",
        };
        let compare = match rule.operator {
            Operator::Equal | Operator::NotEqual => Compare::Text {
                equal: rule.operator == Operator::Equal,
                text: text.as_bytes().to_vec(),
            },
            Operator::Matches | Operator::MatchesNot => Compare::Pattern {
                fits: rule.operator == Operator::Matches,
                pattern: Pattern::new(text).map_err(|e| error(e.to_string()))?,
            },
            Operator::In | Operator::NotIn => Compare::OneOf {
                fits: rule.operator == Operator::In,
                texts: match &rule.value {
                    Operand::List(texts) => texts.iter().map(|t| t.clone().into_bytes()).collect(),
                    Operand::Text(_) => Vec::new(),
                },
            },
            numeric => {
                let number = text.trim().parse();
                let number = number.map_err(|_| error(format!("'{text}' is not a number")))?;
                Compare::Number(numeric, number)
            }
        };
        Ok(Self {
            field: Accessor::new(&rule.field).map_err(error)?,
            compare,
            context: rule.context,
        })
    }

    fn holds(&self, value: &[u8]) -> bool {
        match &self.compare {
            Compare::Text { equal, text } => (value == text) == *equal,
            Compare::Pattern { fits, pattern } => pattern.is_match(value) == *fits,
            Compare::OneOf { fits, texts } => texts.iter().any(|t| t == value) == *fits,
            Compare::Number(operator, limit) => {
                let value = number(value);
                match operator {
                    Operator::Greater => value > *limit,
                    Operator::Less => value < *limit,
                    Operator::GreaterOrEqual => value >= *limit,
                    _ => value <= *limit,
                }
            }
        }
    }
}

/// The number that a text begins with, else 0: Fluent Bit compares by `atof`.
fn number(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start();
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let mut end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    while end > 0 {
        if let Ok(number) = text[..end].parse() {
            return number;
        }
        end -= 1;
    }
    0.0
}

impl Tests {
    /// Reads the rules.
    ///
    /// # Errors
    /// When a field or pattern cannot be used.
    pub(super) fn new(condition: &Condition) -> Result<Self, ConfigError> {
        let rules = condition.rules.iter().map(Test::new);
        Ok(Self {
            any: condition.any,
            tests: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Shows `visit` the patterns of the rules.
    pub(super) fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        for test in &self.tests {
            if let Compare::Pattern { pattern, .. } = &test.compare {
                visit(pattern);
            }
        }
    }

    /// Which records match. As in Fluent Bit a field that is missing is an empty text.
    pub(super) fn matching(&self, batch: &LogBatch) -> Vec<bool> {
        let readings: Vec<(&Test, Reading<'_>)> = (self.tests.iter())
            .map(|t| (t, t.field.over(batch)))
            .collect();
        let wants_resource = (self.tests.iter()).any(|t| t.context == Context::Resource);
        let resource = wants_resource.then(|| attributes_of(batch));
        let holds = |row: usize, (test, reading): &(&Test, Reading<'_>)| {
            let found = match test.context {
                Context::Body => reading.find(row),
                Context::Metadata => (batch.metadata(row)).and_then(|o| test.field.in_object(o)),
                Context::Resource => (resource.as_deref()).and_then(|o| test.field.in_object(o)),
            };
            match found {
                None => test.holds(b""),
                Some(Found::Value(Value::Float(number))) => {
                    test.holds(format!("{number:.6}").as_bytes())
                }
                Some(found) => {
                    let text = reading.text_of(found);
                    // Nothing holds of a list.
                    !text.starts_with(b"[") && test.holds(&text)
                }
            }
        };
        let row = |row: usize| {
            if self.any {
                readings.iter().any(|r| holds(row, r))
            } else {
                readings.iter().all(|r| holds(row, r))
            }
        };
        (0..batch.len()).map(row).collect()
    }
}

/// The attributes of the batch's resource as a JSON object.
fn attributes_of(batch: &LogBatch) -> Vec<u8> {
    let pair =
        |(key, value): &(String, String)| (key.clone(), Tree::Text(value.clone().into_bytes()));
    let mut object = Vec::new();
    Tree::Map(batch.resource.attributes.iter().map(pair).collect()).write(&mut object);
    object
}

impl Filter for Conditional {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        let matching = self.tests.matching(batch);
        let n = matching.iter().filter(|m| **m).count();
        if n == batch.len() {
            return self.filter.apply(batch, context);
        }
        let splits = self.filter.splits();
        if n == 0 {
            if splits {
                batch.spread_positions();
            }
            return;
        }
        let unseen: Vec<bool> = matching.iter().map(|m| !m).collect();
        let mut rest = batch.take_rows(&unseen);
        if splits {
            rest.spread_positions();
        }
        self.filter.apply(batch, context);
        batch.merge_rows(rest);
    }

    // A condition is about fields of log records.
    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        self.filter.apply_to_metrics(batch);
    }

    fn flush_every(&self) -> Option<Duration> {
        self.filter.flush_every()
    }

    fn flush(&self, all: bool, context: &mut FilterContext) {
        self.filter.flush(all, context);
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.tests.patterns(visit);
        self.filter.patterns(visit);
    }

    fn splits(&self) -> bool {
        self.filter.splits()
    }
}

/// A processor with a `match` of its own: batches under other tags pass.
pub(super) fn tagged(filter: Box<dyn Filter>, matches: TagMatch) -> Box<dyn Filter> {
    Box::new(Tagged(filter, matches))
}

struct Tagged(Box<dyn Filter>, TagMatch);

impl Filter for Tagged {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        if self.1.fits(&batch.tag) {
            self.0.apply(batch, context);
        } else if self.0.splits() {
            batch.spread_positions();
        }
    }

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        if self.1.fits(&batch.tag) {
            self.0.apply_to_metrics(batch);
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        self.0.flush_every()
    }

    fn flush(&self, all: bool, context: &mut FilterContext) {
        self.0.flush(all, context);
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.0.patterns(visit);
    }

    fn splits(&self) -> bool {
        self.0.splits()
    }
}

/// A processor for one kind of records; the others pass.
pub(super) fn only(filter: Box<dyn Filter>, signal: Signal) -> Box<dyn Filter> {
    Box::new(Only(filter, signal))
}

struct Only(Box<dyn Filter>, Signal);

impl Filter for Only {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        if self.1 == Signal::Logs {
            self.0.apply(batch, context);
        }
    }

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        if self.1 == Signal::Metrics {
            self.0.apply_to_metrics(batch);
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        self.0.flush_every()
    }

    fn flush(&self, all: bool, context: &mut FilterContext) {
        self.0.flush(all, context);
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.0.patterns(visit);
    }

    fn splits(&self) -> bool {
        self.1 == Signal::Logs && self.0.splits()
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{Place, Position};

    use super::*;

    /// Drops records whose `x` is `drop`, marks the others.
    struct Marker;

    impl Filter for Marker {
        fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
            let accessor = Accessor::new("x").expect("valid");
            let keep: Vec<bool> = {
                let reading = accessor.over(batch);
                (0..batch.len())
                    .map(|r| reading.text(r).as_deref() != Some(b"drop"))
                    .collect()
            };
            batch.retain(|row| keep[row]);
            for row in 0..batch.len() {
                batch.set_text("seen", row, b"1");
            }
        }
    }

    fn run(any: bool, rules: &[(&str, Operator, Operand)]) -> String {
        let mut batch = LogBatch::new("t".into(), std::sync::Arc::default(), Vec::new());
        for (i, (x, n)) in [("a", "1"), ("drop", "2"), ("b", "3.5z"), ("", "4")]
            .iter()
            .enumerate()
        {
            let row = batch.push(i as i64, Position::at(i as u64));
            if !x.is_empty() {
                batch.set_text("x", row, x.as_bytes());
            }
            batch.set_text("n", row, n.as_bytes());
            let object = batch.store(format!("{{\"m\":\"{n}\"}}").as_bytes());
            batch.set_metadata(row, object);
        }
        let rules = rules.iter().map(|(field, operator, value)| Rule {
            place: Place::default(),
            context: if *field == "$m" {
                Context::Metadata
            } else {
                Context::Body
            },
            field: (*field).into(),
            operator: *operator,
            value: value.clone(),
        });
        let condition = Condition {
            place: Place::default(),
            is_default: false,
            any,
            rules: rules.collect(),
        };
        let filter = wrap(Box::new(Marker), &condition).expect("valid");
        filter.apply(&mut batch, &mut FilterContext::default());
        let texts = |key: &str| {
            let accessor = Accessor::new(key).expect("valid");
            let reading = accessor.over(&batch);
            (0..batch.len())
                .map(|r| {
                    reading
                        .text(r)
                        .map_or("-".into(), |t| String::from_utf8_lossy(&t).into_owned())
                })
                .collect::<Vec<_>>()
        };
        let (n, seen) = (texts("n"), texts("seen"));
        n.iter()
            .zip(seen)
            .map(|(n, s)| format!("{n}:{s}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn only_matching_records_are_filtered_and_the_order_stays() {
        let text = |t: &str| Operand::Text(t.into());
        let list = |t: &[&str]| Operand::List(t.iter().map(|t| (*t).into()).collect());
        for (any, rules, expected) in [
            (
                false,
                vec![("$x", Operator::Equal, text("b"))],
                "1:- 2:- 3.5z:1 4:-",
            ),
            (
                false,
                // The last record has no x: an empty text.
                vec![("$x", Operator::NotEqual, text("b"))],
                "1:1 3.5z:- 4:1",
            ),
            (
                false,
                vec![("$n", Operator::Greater, text("2"))],
                "1:- 2:- 3.5z:1 4:1",
            ),
            (
                false,
                vec![("$n", Operator::LessOrEqual, text("2"))],
                "1:1 3.5z:- 4:-",
            ),
            (
                false,
                vec![("$n", Operator::Matches, text("^[0-9]$"))],
                "1:1 3.5z:- 4:1",
            ),
            (
                false,
                vec![("$n", Operator::Matches, text("^(?!2)[0-9](?=$|\\.)"))],
                "1:1 2:- 3.5z:1 4:1",
            ),
            (
                false,
                vec![("$n", Operator::MatchesNot, text("(?<=3)\\.5"))],
                "1:1 3.5z:- 4:1",
            ),
            (
                false,
                vec![("$x", Operator::In, list(&["a", "b"]))],
                "1:1 2:- 3.5z:1 4:-",
            ),
            (
                false,
                vec![("$x", Operator::NotIn, list(&["a", "b"]))],
                "1:- 3.5z:- 4:1",
            ),
            (
                true,
                vec![
                    ("$x", Operator::Equal, text("a")),
                    ("$n", Operator::Equal, text("4")),
                ],
                "1:1 2:- 3.5z:- 4:1",
            ),
            (
                false,
                vec![
                    ("$x", Operator::Equal, text("a")),
                    ("$n", Operator::Equal, text("4")),
                ],
                "1:- 2:- 3.5z:- 4:-",
            ),
            (
                false,
                vec![("$m", Operator::Equal, text("4"))],
                "1:- 2:- 3.5z:- 4:1",
            ),
            (
                false,
                vec![("$n", Operator::GreaterOrEqual, text("0"))],
                "1:1 3.5z:1 4:1",
            ),
        ] {
            assert_eq!(run(any, &rules), expected, "{rules:?}");
        }
    }

    /// Makes three of each record.
    struct Three;

    impl Filter for Three {
        fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
            batch.repeat_rows(&vec![3; batch.len()]);
        }

        fn splits(&self) -> bool {
            true
        }
    }

    #[test]
    fn positions_stay_apart_where_only_some_records_are_split() {
        let condition = Condition {
            place: Place::default(),
            is_default: false,
            any: true,
            rules: vec![Rule {
                place: Place::default(),
                field: "$x".into(),
                operator: Operator::Equal,
                value: Operand::Text("split".into()),
                context: Context::Body,
            }],
        };
        let filter = wrap(Box::new(Three), &condition).expect("valid");
        // Parts of one line, all at its offset, over three batches.
        let mut all = Vec::new();
        let mut ordinal = 0;
        for records in [&["split", "no"][..], &["no"], &["no", "split"]] {
            let mut batch = LogBatch::new("t".into(), std::sync::Arc::default(), Vec::new());
            let at = |ordinal| Position { offset: 9, ordinal };
            batch.source.from = at(ordinal);
            for x in records {
                let row = batch.push(0, at(ordinal));
                batch.set_text("x", row, x.as_bytes());
                batch.source.to = at(ordinal);
                ordinal += 1;
            }
            filter.apply(&mut batch, &mut FilterContext::default());
            assert!(batch.positions().iter().all(|p| *p <= batch.source.to));
            all.extend_from_slice(batch.positions());
        }
        assert_eq!(all.len(), 9);
        assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
    }
}
