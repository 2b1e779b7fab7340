//! The conditions of `modify`: which records its rules apply to.

use kansoku_model::log::KUBERNETES;
use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, LogBatch, Value};
use kansoku_parsers::line::pattern::Pattern;

use super::accessor::{Accessor, Found, Reading};
use super::words;

/// One condition; `negated` turns it round.
pub struct Condition {
    test: Test,
    negated: bool,
}

enum Test {
    KeyExists(Accessor),
    AKeyMatches(Pattern),
    ValueEquals(Accessor, String),
    ValueMatches(Accessor, Pattern),
    MatchingKeysHaveMatchingValues(Pattern, Pattern),
}

const KINDS: &[&str] = &[
    "key_exists",
    "key_does_not_exist",
    "a_key_matches",
    "no_key_matches",
    "key_value_equals",
    "key_value_does_not_equal",
    "key_value_matches",
    "key_value_does_not_match",
    "matching_keys_have_matching_values",
    "matching_keys_do_not_have_matching_values",
];

impl Condition {
    /// Shows `visit` its patterns.
    pub fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        match &self.test {
            Test::KeyExists(_) | Test::ValueEquals(..) => {}
            Test::AKeyMatches(pattern) | Test::ValueMatches(_, pattern) => visit(pattern),
            Test::MatchingKeysHaveMatchingValues(keys, values) => {
                visit(keys);
                visit(values);
            }
        }
    }

    /// Reads `KIND KEY [VALUE]`.
    pub fn new(s: &Setting) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::new(&s.place, message);
        let words = words::split(&s.value, 3);
        let kind = words
            .first()
            .map_or("", String::as_str)
            .to_ascii_lowercase();
        let word = |at: usize| -> Result<&String, ConfigError> {
            words.get(at).ok_or_else(|| {
                error(format!(
                    "condition '{kind}' needs more words than '{}'",
                    s.value
                ))
            })
        };
        let accessor = |at| Accessor::new(word(at)?).map_err(error);
        let regex = |at| Pattern::new(word(at)?).map_err(|e| error(e.to_string()));
        let test = match kind.as_str() {
            "key_exists" | "key_does_not_exist" => Test::KeyExists(accessor(1)?),
            "a_key_matches" | "no_key_matches" => Test::AKeyMatches(regex(1)?),
            "key_value_equals" | "key_value_does_not_equal" => {
                Test::ValueEquals(accessor(1)?, word(2)?.clone())
            }
            "key_value_matches" | "key_value_does_not_match" => {
                Test::ValueMatches(accessor(1)?, regex(2)?)
            }
            "matching_keys_have_matching_values" | "matching_keys_do_not_have_matching_values" => {
                Test::MatchingKeysHaveMatchingValues(regex(1)?, regex(2)?)
            }
            _ => {
                let hint = did_you_mean(&kind, KINDS.iter().copied());
                return Err(error(format!("unknown condition '{kind}'{hint}")));
            }
        };
        let negated = kind.contains("_not_") || kind.starts_with("no_");
        Ok(Self { test, negated })
    }

    /// Whether it looks at the names of fields and `kubernetes` may be among them.
    pub fn concerns_kubernetes(&self) -> bool {
        match &self.test {
            Test::AKeyMatches(keys) | Test::MatchingKeysHaveMatchingValues(keys, _) => {
                keys.is_match(KUBERNETES.as_bytes())
            }
            _ => false,
        }
    }

    /// Unmarks the records that do not meet it.
    pub fn narrow(&self, batch: &LogBatch, met: &mut [bool]) {
        match &self.test {
            Test::KeyExists(key) => {
                let reading = key.over(batch);
                self.each(met, |row| Some(reading.find(row).is_some()));
            }
            Test::ValueEquals(key, text) => {
                let reading = key.over(batch);
                self.each(met, |row| {
                    reading.find(row)?;
                    let found = reading.text_only(row);
                    Some(found.is_some_and(|found| *found == *text.as_bytes()))
                });
            }
            Test::ValueMatches(key, regex) => {
                let reading = key.over(batch);
                self.each(met, |row| {
                    reading.find(row)?;
                    Some(matches(&reading, row, regex))
                });
            }
            Test::AKeyMatches(keys) => {
                let columns = matching(batch, keys);
                self.each(met, |row| {
                    let is_there = |&at: &usize| value(batch, at, row) != Value::Absent;
                    Some(columns.iter().any(is_there))
                });
            }
            Test::MatchingKeysHaveMatchingValues(keys, values) => {
                let columns = matching(batch, keys);
                self.each(met, |row| {
                    Some(columns.iter().all(|&at| match value(batch, at, row) {
                        Value::Absent => true,
                        Value::Text(slice) => values.is_match(batch.bytes(slice)),
                        Value::Bool(b) => values.is_match(bool_text(b)),
                        _ => false,
                    }))
                });
            }
        }
    }

    /// `None` means that the record lacks the key: neither the test nor its negation holds.
    fn each(&self, met: &mut [bool], test: impl Fn(usize) -> Option<bool>) {
        for (row, met) in met.iter_mut().enumerate() {
            *met = *met && test(row).is_some_and(|holds| holds != self.negated);
        }
    }
}

fn matching(batch: &LogBatch, keys: &Pattern) -> Vec<usize> {
    let fits = |(at, column): (usize, &kansoku_model::Column)| {
        keys.is_match(column.name.as_bytes()).then_some(at)
    };
    batch
        .columns()
        .iter()
        .enumerate()
        .filter_map(fits)
        .collect()
}

fn value(batch: &LogBatch, column: usize, row: usize) -> Value {
    batch.columns()[column].values[row]
}

fn bool_text(b: bool) -> &'static [u8] {
    if b { b"true" } else { b"false" }
}

/// Patterns are held against texts and booleans only, as in Fluent Bit.
fn matches(reading: &Reading<'_>, row: usize, regex: &Pattern) -> bool {
    match reading.find(row) {
        Some(Found::Value(Value::Bool(b))) => regex.is_match(bool_text(b)),
        Some(Found::Json(b"true" | b"false")) => {
            reading.text(row).is_some_and(|text| regex.is_match(&text))
        }
        _ => reading
            .text_only(row)
            .is_some_and(|text| regex.is_match(&text)),
    }
}
