//! `modify`: adds, removes, renames, copies and orders fields, as Fluent Bit's filter of that name.
//!
//! Rules apply in the order in which they are written, to the records that meet all conditions. A
//! value may hold spaces without quotes, which Fluent Bit silently misreads.

use kansoku_model::log::KUBERNETES;
use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};
use kansoku_parsers::line::pattern::Pattern;

use super::modify_condition::Condition;
use super::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "modify",
    about: "Adds, removes, renames, copies and orders fields, where conditions are met.",
    options: &[
        rule("set", OptionKind::Pair, "key and value: set the field"),
        rule(
            "add",
            OptionKind::Pair,
            "key and value: set the field where it is missing",
        ),
        rule("remove", OptionKind::Text, "key to remove"),
        rule(
            "remove_wildcard",
            OptionKind::Text,
            "remove keys that begin so",
        ),
        rule(
            "remove_regex",
            OptionKind::Text,
            "remove keys that match the pattern",
        ),
        rule(
            "rename",
            OptionKind::Pair,
            "key and new key, unless that exists",
        ),
        rule(
            "hard_rename",
            OptionKind::Pair,
            "key and new key, which is replaced",
        ),
        rule(
            "copy",
            OptionKind::Pair,
            "key and key of the copy, unless that exists",
        ),
        rule(
            "hard_copy",
            OptionKind::Pair,
            "key and key of the copy, which is replaced",
        ),
        rule(
            "move_to_start",
            OptionKind::Text,
            "put keys that begin so first",
        ),
        rule(
            "move_to_end",
            OptionKind::Text,
            "put keys that begin so last",
        ),
        rule("add_if_not_present", OptionKind::Pair, "old name of 'add'"),
        rule(
            "condition",
            OptionKind::Pair,
            "key_exists KEY, key_does_not_exist KEY, a_key_matches PATTERN, no_key_matches PATTERN, key_value_equals KEY VALUE, key_value_does_not_equal KEY VALUE, key_value_matches KEY PATTERN, key_value_does_not_match KEY PATTERN, matching_keys_have_matching_values PATTERN PATTERN, matching_keys_do_not_have_matching_values PATTERN PATTERN",
        ),
    ],
    example: "[FILTER]\n    Name      modify\n    Match     *\n    Condition Key_exists level\n    Rename    level severity\n    Add       cluster prod\n",
    build,
};

const fn rule(name: &'static str, kind: OptionKind, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, kind, "", about).repeated()
}

enum Rule {
    Set(String, String),
    Add(String, String),
    Remove(Keys),
    Rename {
        from: String,
        to: String,
        hard: bool,
    },
    Copy {
        from: String,
        to: String,
        hard: bool,
    },
    MoveToStart(String),
    MoveToEnd(String),
}

enum Keys {
    One(String),
    Prefix(String),
    Pattern(Pattern),
}

impl Keys {
    fn fit(&self, key: &str) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
            Self::Pattern(pattern) => pattern.is_match(key.as_bytes()),
        }
    }
}

struct Modify {
    conditions: Vec<Condition>,
    rules: Vec<Rule>,
    /// Whether some rule or condition may concern the pod's metadata as a field.
    needs_kubernetes: bool,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let (mut conditions, mut rules) = (Vec::new(), Vec::new());
    for s in &settings.settings {
        if s.key == "condition" {
            conditions.push(Condition::new(s)?);
        } else {
            rules.push(Rule::new(s)?);
        }
    }
    let needs_kubernetes = rules.iter().any(Rule::concerns_kubernetes)
        || conditions.iter().any(Condition::concerns_kubernetes);
    Ok(Box::new(Modify {
        conditions,
        rules,
        needs_kubernetes,
    }))
}

impl Rule {
    fn new(s: &Setting) -> Result<Self, ConfigError> {
        let mut words = words::split(&s.value, 2).into_iter();
        let key = words.next().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| ConfigError::new(&s.place, format!("'{}' is empty", s.key)))?;
        let second = words.next().unwrap_or_default();
        Ok(match s.key.as_str() {
            "set" => Self::Set(key, second),
            "remove" => Self::Remove(Keys::One(key)),
            "remove_wildcard" => Self::Remove(Keys::Prefix(key.trim_end_matches('*').to_owned())),
            "remove_regex" => {
                let regex =
                    Pattern::new(&key).map_err(|e| ConfigError::new(&s.place, e.to_string()))?;
                Self::Remove(Keys::Pattern(regex))
            }
            "rename" | "hard_rename" => Self::Rename {
                from: key,
                to: second,
                hard: s.key == "hard_rename",
            },
            "copy" | "hard_copy" => Self::Copy {
                from: key,
                to: second,
                hard: s.key == "hard_copy",
            },
            "move_to_start" => Self::MoveToStart(key),
            "move_to_end" => Self::MoveToEnd(key),
            _ => Self::Add(key, second),
        })
    }

    fn concerns_kubernetes(&self) -> bool {
        match self {
            Self::Set(key, _) | Self::Add(key, _) => key == KUBERNETES,
            Self::Remove(keys) => keys.fit(KUBERNETES),
            Self::Rename { from, to, .. } | Self::Copy { from, to, .. } => {
                from == KUBERNETES || to == KUBERNETES
            }
            Self::MoveToStart(prefix) | Self::MoveToEnd(prefix) => KUBERNETES.starts_with(prefix),
        }
    }

    fn apply(&self, batch: &mut LogBatch, met: &[bool]) {
        match self {
            Self::Set(key, text) => {
                let value = Value::Text(batch.store(text.as_bytes()));
                let column = batch.column_index_or_insert(key);
                set_where(batch, column, value, |row, _| met[row]);
                batch.order_columns(|name| name != key);
            }
            Self::Add(key, text) => {
                let value = Value::Text(batch.store(text.as_bytes()));
                let column = batch.column_index_or_insert(key);
                set_where(batch, column, value, |row, old| {
                    met[row] && old == Value::Absent
                });
            }
            Self::Remove(keys) => {
                for column in 0..batch.columns().len() {
                    if keys.fit(&batch.columns()[column].name) {
                        set_where(batch, column, Value::Absent, |row, _| met[row]);
                    }
                }
            }
            Self::Rename { from, to, hard } => rename(batch, met, from, to, *hard),
            Self::Copy { from, to, hard } => copy(batch, met, from, to, *hard),
            Self::MoveToStart(prefix) => batch.order_columns(|name| name.starts_with(prefix)),
            Self::MoveToEnd(prefix) => batch.order_columns(|name| !name.starts_with(prefix)),
        }
    }
}

fn set_where(
    batch: &mut LogBatch,
    column: usize,
    value: Value,
    fits: impl Fn(usize, Value) -> bool,
) {
    for row in 0..batch.len() {
        if fits(row, batch.columns()[column].values[row]) {
            batch.set(column, row, value);
        }
    }
}

fn rename(batch: &mut LogBatch, met: &[bool], from: &str, to: &str, hard: bool) {
    let Some(source) = batch.column_index(from).filter(|_| from != to) else {
        return;
    };
    // The common case is a rename of the whole column, which moves nothing.
    if met.iter().all(|&m| m) && batch.column_index(to).is_none() {
        batch.rename_column(source, to);
        return;
    }
    let target = batch.column_behind(source, to);
    for row in (0..batch.len()).filter(|&row| met[row]) {
        let value = batch.columns()[source].values[row];
        let free = hard || batch.columns()[target].values[row] == Value::Absent;
        if value != Value::Absent && free {
            batch.set(target, row, value);
            batch.set(source, row, Value::Absent);
        }
    }
}

fn copy(batch: &mut LogBatch, met: &[bool], from: &str, to: &str, hard: bool) {
    let Some(source) = batch.column_index(from).filter(|_| from != to) else {
        return;
    };
    let target = batch.column_behind(source, to);
    for row in (0..batch.len()).filter(|&row| met[row]) {
        let value = batch.columns()[source].values[row];
        let free = hard || batch.columns()[target].values[row] == Value::Absent;
        if value != Value::Absent && free {
            batch.set(target, row, value);
        }
    }
}

impl Filter for Modify {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        if self.needs_kubernetes {
            batch.kubernetes_to_column();
        }
        let mut met = vec![true; batch.len()];
        for condition in &self.conditions {
            condition.narrow(batch, &mut met);
        }
        if !met.contains(&true) {
            return;
        }
        for rule in &self.rules {
            rule.apply(batch, &met);
        }
        batch.drop_absent_columns();
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.conditions.iter().for_each(|c| c.patterns(visit));
        for rule in &self.rules {
            if let Rule::Remove(Keys::Pattern(pattern)) = rule {
                visit(pattern);
            }
        }
    }
}
