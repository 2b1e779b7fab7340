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
use crate::otel_part::{self, Part};
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
        let mut groups: Vec<(Context, Option<Vec<u8>>)> = Vec::new();
        for test in &self.tests {
            if !groups.iter().any(|(context, _)| *context == test.context) {
                groups.push((test.context, group_of(batch, test.context)));
            }
        }
        let holds = |row: usize, (test, reading): &(&Test, Reading<'_>)| {
            let found = match test.context {
                Context::Body => reading.find(row),
                Context::Metadata => (batch.metadata(row)).and_then(|o| test.field.in_object(o)),
                _ => {
                    let group = groups.iter().find(|(context, _)| *context == test.context);
                    // As in Fluent Bit nothing holds where there is no group.
                    let Some(object) = group.and_then(|(_, object)| object.as_deref()) else {
                        return false;
                    };
                    test.field.in_object(object)
                }
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

/// What all records of the batch share, as the JSON object that a context stands for; `None` for the
/// contexts of single records, and where there is nothing.
fn group_of(batch: &LogBatch, context: Context) -> Option<Vec<u8>> {
    let pairs = match context {
        Context::Body | Context::Metadata => return None,
        Context::Resource => Part::Resource.pairs(&batch.resource),
        Context::ScopeAttributes => Part::ScopeAttributes.pairs(&batch.resource),
        Context::Scope => Part::Scope.pairs(&batch.resource),
        Context::Group if batch.resource.attributes.is_empty() => return None,
        Context::Group => otel_part::group(&batch.resource),
        Context::GroupMetadata => otel_part::group_metadata(batch),
    };
    if pairs.is_empty() {
        return None;
    }
    let mut object = Vec::new();
    Tree::Map(pairs).write(&mut object);
    Some(object)
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
mod tests;
