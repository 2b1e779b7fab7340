//! `expect`: checks that records are as they should be, for tests of a configuration.
//!
//! `exit` ends the agent with status 255 at the first record that is not, as in Fluent Bit.

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value, json};

use super::accessor::{Accessor, Found, Reading};
use super::words;
use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:expect";
/// Fluent Bit's status when an expectation fails.
const EXIT_STATUS: i32 = 255;

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "expect",
    about: "Checks that records are as they should be.",
    options: &[
        check("key_exists", OptionKind::Text, "key that must be there"),
        check(
            "key_not_exists",
            OptionKind::Text,
            "key that must not be there",
        ),
        check(
            "key_val_is_null",
            OptionKind::Text,
            "key whose value must be null",
        ),
        check(
            "key_val_is_not_null",
            OptionKind::Text,
            "key whose value must be there and not null",
        ),
        check(
            "key_val_eq",
            OptionKind::Pair,
            "key and the text that it must hold",
        ),
        OptionSpec::new(
            "action",
            OptionKind::Choice(&["warn", "exit", "result_key"]),
            "warn",
            "what to do with a record that fails: warn, end the agent, or add the result to every record",
        ),
        OptionSpec::new(
            "result_key",
            OptionKind::Text,
            "matched",
            "key of the result, for action result_key",
        ),
    ],
    example: "[FILTER]\n    Name       expect\n    Match      *\n    Key_exists log\n    Action     warn\n",
    build,
};

const fn check(name: &'static str, kind: OptionKind, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, kind, "", about).repeated()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    Exists,
    Missing,
    Null,
    NotNull,
    Equals(String),
}

struct Rule {
    name: String,
    text: String,
    key: Accessor,
    wish: Wish,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Warn,
    Exit,
    Result(String),
}

struct Expect {
    rules: Vec<Rule>,
    action: Action,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let action = match settings
        .text("action", "warn")
        .to_ascii_lowercase()
        .as_str()
    {
        "exit" => Action::Exit,
        "result_key" => Action::Result(settings.text("result_key", "matched").to_owned()),
        _ => Action::Warn,
    };
    let rules = (settings.settings.iter())
        .filter(|s| s.key.starts_with("key_"))
        .map(Rule::new);
    Ok(Box::new(Expect {
        rules: rules.collect::<Result<_, _>>()?,
        action,
    }))
}

impl Rule {
    fn new(s: &Setting) -> Result<Self, ConfigError> {
        let mut words = words::split(&s.value, 2).into_iter();
        let (key, wish) = match s.key.as_str() {
            "key_val_eq" => {
                let key = words.next().unwrap_or_default();
                (key, Wish::Equals(words.next().unwrap_or_default()))
            }
            "key_not_exists" => (s.value.clone(), Wish::Missing),
            "key_val_is_null" => (s.value.clone(), Wish::Null),
            "key_val_is_not_null" => (s.value.clone(), Wish::NotNull),
            _ => (s.value.clone(), Wish::Exists),
        };
        Ok(Self {
            name: s.key.clone(),
            text: s.value.clone(),
            key: Accessor::new(&key).map_err(|e| ConfigError::new(&s.place, e))?,
            wish,
        })
    }

    fn holds(&self, reading: &Reading<'_>, row: usize) -> bool {
        let found = reading.find(row);
        let is_null = matches!(
            found,
            Some(Found::Value(Value::Null) | Found::Json(b"null"))
        );
        match &self.wish {
            Wish::Exists => found.is_some(),
            Wish::Missing => found.is_none(),
            Wish::Null => is_null,
            Wish::NotNull => found.is_some() && !is_null,
            // Only texts are compared, as in Fluent Bit.
            Wish::Equals(text) => {
                let found_text = reading.text_only(row);
                found.is_some() && found_text.is_none_or(|found| *found == *text.as_bytes())
            }
        }
    }
}

impl Expect {
    /// For each record the first rule that fails.
    fn failures(&self, batch: &LogBatch) -> Vec<Option<&Rule>> {
        let rules: Vec<_> = self.rules.iter().map(|r| (r, r.key.over(batch))).collect();
        let failure = |row| {
            let failed = rules
                .iter()
                .find(|(rule, reading)| !rule.holds(reading, row));
            failed.map(|(rule, _)| *rule)
        };
        (0..batch.len()).map(failure).collect()
    }
}

impl Filter for Expect {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let failures = self.failures(batch);
        for (row, rule) in failures.iter().enumerate() {
            let Some(rule) = rule else { continue };
            let mut record = Vec::new();
            json::write_fields(&mut record, batch, row, true);
            log::error(
                COMPONENT,
                format_args!(
                    "expectation '{} {}' fails for {{{}}}",
                    rule.name,
                    rule.text,
                    String::from_utf8_lossy(&record)
                ),
            );
            if self.action == Action::Exit {
                std::process::exit(EXIT_STATUS);
            }
        }
        let results: Vec<bool> = failures.iter().map(Option::is_none).collect();
        if let Action::Result(key) = &self.action {
            let column = batch.column_index_or_insert(key);
            for (row, holds) in results.into_iter().enumerate() {
                batch.set(column, row, Value::Bool(holds));
            }
            batch.order_columns(|name| name == key);
        }
    }
}
