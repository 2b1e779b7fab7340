//! `grep`: keeps or drops records by pattern, with the logic of Fluent Bit's filter of that name.
//!
//! Legacy: the rules are asked in order; an `exclude` that matches drops, a `regex` that does not
//! match drops, a `regex` that matches keeps at once. `and` and `or` join rules of one kind. Patterns
//! are held against texts only: what is a number or a map matches none, as in Fluent Bit. With
//! `compare_all` every value is compared as it is written, as in Fluentd.

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings};
use kansoku_parsers::line::pattern::Pattern;

use super::accessor::{Accessor, Reading};
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "grep",
    about: "Keeps or drops records whose field matches a pattern.",
    options: &[
        OptionSpec::new(
            "regex",
            OptionKind::Pair,
            "",
            "key and pattern: keep what matches",
        )
        .repeated(),
        OptionSpec::new(
            "exclude",
            OptionKind::Pair,
            "",
            "key and pattern: drop what matches",
        )
        .repeated(),
        OptionSpec::new(
            "logical_op",
            OptionKind::Choice(&["legacy", "and", "or"]),
            "legacy",
            "how several rules are joined; legacy asks them in order",
        ),
        OptionSpec::new(
            "compare_all",
            OptionKind::Bool,
            "off",
            "compare numbers, booleans, lists and maps as they are written, and what is missing or null as an empty text. Fluent Bit has no such option and compares texts only",
        ),
    ],
    example: "[FILTER]\n    Name     grep\n    Match    kube.*\n    Exclude  $kubernetes['labels']['app'] ^noisy$\n",
    build,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logic {
    Legacy,
    And,
    Or,
}

struct Rule {
    key: Accessor,
    pattern: Pattern,
    excludes: bool,
}

/// Rules and how they are joined.
pub(super) struct Grep {
    rules: Vec<Rule>,
    logic: Logic,
    compares_all: bool,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let logic = match settings
        .text("logical_op", "legacy")
        .to_ascii_lowercase()
        .as_str()
    {
        "and" => Logic::And,
        "or" => Logic::Or,
        _ => Logic::Legacy,
    };
    let grep = Grep::new(settings, logic)?;
    let rules = &grep.rules;
    if rules.is_empty() {
        return Err(ConfigError::new(
            &settings.place,
            "grep needs at least one 'regex' or 'exclude' rule",
        ));
    }
    if logic != Logic::Legacy && rules.iter().any(|r| r.excludes != rules[0].excludes) {
        let message = "'logical_op and' and 'or' join either 'regex' or 'exclude' rules, not both; use two grep filters";
        return Err(ConfigError::new(&settings.place, message));
    }
    Ok(Box::new(grep))
}

impl Rule {
    fn new(s: &Setting) -> Result<Self, ConfigError> {
        let (key, text) = s
            .value
            .split_once(char::is_whitespace)
            .unwrap_or((&s.value, ""));
        let error = |message: String| ConfigError::new(&s.place, message);
        Ok(Self {
            key: Accessor::new(key).map_err(error)?,
            pattern: Pattern::new(text.trim()).map_err(|e| error(e.to_string()))?,
            excludes: s.key == "exclude",
        })
    }
}

impl Filter for Grep {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let kept = self.kept(batch);
        batch.retain(|row| kept[row]);
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.rules.iter().for_each(|rule| visit(&rule.pattern));
    }
}

impl Grep {
    fn new(settings: &Settings, logic: Logic) -> Result<Self, ConfigError> {
        let rules = (settings.settings.iter())
            .filter(|s| s.key == "regex" || s.key == "exclude")
            .map(Rule::new);
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            logic,
            compares_all: settings.bool("compare_all", false)?,
        })
    }

    /// The `regex` and `exclude` rules of another filter, asked in order.
    pub(super) fn legacy(settings: &Settings) -> Result<Self, ConfigError> {
        Self::new(settings, Logic::Legacy)
    }

    /// Which records pass.
    pub(super) fn kept(&self, batch: &LogBatch) -> Vec<bool> {
        let readings: Vec<(Reading<'_>, &Rule)> =
            self.rules.iter().map(|r| (r.key.over(batch), r)).collect();
        (0..batch.len())
            .map(|row| self.keeps(&readings, row))
            .collect()
    }

    fn keeps(&self, readings: &[(Reading<'_>, &Rule)], row: usize) -> bool {
        let mut matches = readings.iter().map(|(reading, rule)| {
            let text = match self.compares_all {
                true => Some(reading.text_or_empty(row)),
                false => reading.text_only(row),
            };
            let matched = text.is_some_and(|text| rule.pattern.is_match(&text));
            (matched, rule.excludes)
        });
        match self.logic {
            Logic::Legacy => {
                for (matched, excludes) in matches {
                    match (matched, excludes) {
                        (true, true) | (false, false) => return false,
                        (true, false) => return true,
                        (false, true) => {}
                    }
                }
                true
            }
            Logic::And => matches.all(|(matched, _)| matched) != self.rules[0].excludes,
            Logic::Or => matches.any(|(matched, _)| matched) != self.rules[0].excludes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    fn run(pairs: &[(&str, &str)]) -> Result<String, String> {
        let filter =
            build(&Settings::of("grep", pairs), &Environment::default()).map_err(|e| e.message)?;
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        for (i, (log, level)) in [
            ("alpha one", "info"),
            ("beta two", "warn"),
            ("gamma one", "warn"),
            ("delta", ""),
        ]
        .iter()
        .enumerate()
        {
            let row = batch.push(0, Position::at(i as u64));
            batch.set_text("log", row, log.as_bytes());
            let column = batch.column_index_or_insert("n");
            batch.set(column, row, kansoku_model::Value::Int(i as i64 + 3));
            if !level.is_empty() {
                batch.set_text("level", row, level.as_bytes());
            }
        }
        filter.apply(&mut batch, &mut FilterContext::default());
        let column = batch.column("log").expect("log stays");
        let first = |v: &kansoku_model::Value| match v {
            kansoku_model::Value::Text(s) => char::from(batch.bytes(*s)[0]),
            _ => '?',
        };
        Ok(column.values.iter().map(first).collect())
    }

    #[test]
    fn rules_are_joined_as_in_fluent_bit() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("regex", "log one")], "ag"),
            (&[("exclude", "log one")], "bd"),
            (&[("exclude", "level warn")], "ad"),
            (&[("regex", "level .")], "abg"),
            // Legacy: the first regex that matches keeps, the first that does not drops.
            (&[("regex", "log one"), ("regex", "level warn")], "ag"),
            (&[("exclude", "level warn"), ("regex", "log one")], "a"),
            (&[("regex", "log one"), ("exclude", "level warn")], "ag"),
            (
                &[
                    ("logical_op", "and"),
                    ("regex", "log one"),
                    ("regex", "level warn"),
                ],
                "g",
            ),
            (
                &[
                    ("logical_op", "OR"),
                    ("regex", "log one"),
                    ("regex", "level warn"),
                ],
                "abg",
            ),
            (&[("compare_all", "on"), ("regex", "level ^$")], "d"),
            (&[("regex", "n ^4")], ""),
            (&[("compare_all", "on"), ("regex", "n ^4")], "b"),
            (
                &[
                    ("logical_op", "and"),
                    ("exclude", "log one"),
                    ("exclude", "level warn"),
                ],
                "abd",
            ),
            (
                &[
                    ("logical_op", "or"),
                    ("exclude", "log one"),
                    ("exclude", "level warn"),
                ],
                "d",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(run(pairs).as_deref(), Ok(*expected), "{pairs:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "grep needs at least one 'regex' or 'exclude' rule"),
            (
                &[("regex", "log")],
                "'regex' is 'log', but must be a key and a value",
            ),
            (&[("regex", "log (")], "pattern '(': unclosed group"),
            (
                &[("regex", "$a[ x")],
                "'$a[' must be such as $key, $key['nested'][0] or $['a.b'], with single quotes",
            ),
            (
                &[("logical_op", "and"), ("regex", "a b"), ("exclude", "a b")],
                "'logical_op and' and 'or' join either 'regex' or 'exclude' rules, not both; use two grep filters",
            ),
        ];
        for (pairs, message) in cases {
            assert_eq!(run(pairs).unwrap_err(), *message);
        }
    }
}
