//! `nest`: gathers fields into a map under one key, or lifts the fields of a map up.
//!
//! Only maps are lifted, as in Fluent Bit; what a lifted field replaces is the field of the same
//! name that was there before.

use kansoku_model::log::KUBERNETES;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value, json};

use super::record::Tree;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "nest",
    about: "Gathers fields into a map, or lifts the fields of a map up.",
    options: &[
        OptionSpec::new(
            "operation",
            OptionKind::Choice(&["nest", "lift"]),
            "nest",
            "what to do",
        ),
        OptionSpec::new(
            "wildcard",
            OptionKind::Text,
            "",
            "nest: key to gather, or keys that begin so when it ends in *",
        )
        .repeated(),
        OptionSpec::new("nest_under", OptionKind::Text, "", "nest: key of the map"),
        OptionSpec::new("nested_under", OptionKind::Text, "", "lift: key of the map"),
        OptionSpec::new(
            "add_prefix",
            OptionKind::Text,
            "",
            "put this before the keys that are moved",
        ),
        OptionSpec::new(
            "prefix_with",
            OptionKind::Text,
            "",
            "old name of add_prefix",
        ),
        OptionSpec::new(
            "remove_prefix",
            OptionKind::Text,
            "",
            "cut this off the keys that are moved",
        ),
    ],
    example: "[FILTER]\n    Name         nest\n    Match        kube.*\n    Operation    lift\n    Nested_under kubernetes\n    Add_prefix   kubernetes_\n",
    build,
};

struct Nest {
    lifts: bool,
    key: String,
    wildcards: Vec<String>,
    prefix: Prefix,
}

enum Prefix {
    Keep,
    Add(String),
    Remove(String),
}

impl Prefix {
    fn apply(&self, key: &str) -> String {
        match self {
            Self::Keep => key.to_owned(),
            Self::Add(prefix) => format!("{prefix}{key}"),
            Self::Remove(prefix) => key.strip_prefix(prefix.as_str()).unwrap_or(key).to_owned(),
        }
    }
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let lifts = settings
        .text("operation", "nest")
        .eq_ignore_ascii_case("lift");
    let add = settings.get("add_prefix").or(settings.get("prefix_with"));
    let prefix = match (add, settings.get("remove_prefix")) {
        (Some(_), Some(s)) => {
            let message = "'add_prefix' and 'remove_prefix' exclude each other; remove one";
            return Err(ConfigError::new(&s.place, message));
        }
        (Some(s), None) => Prefix::Add(s.value.clone()),
        (None, Some(s)) => Prefix::Remove(s.value.clone()),
        (None, None) => Prefix::Keep,
    };
    let key = settings.required(if lifts { "nested_under" } else { "nest_under" })?;
    Ok(Box::new(Nest {
        lifts,
        key: key.to_owned(),
        wildcards: settings.all("wildcard").map(|s| s.value.clone()).collect(),
        prefix,
    }))
}

impl Nest {
    fn gathers(&self, key: &str) -> bool {
        self.wildcards.iter().any(|w| match w.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == w,
        })
    }

    fn nest(&self, batch: &mut LogBatch) {
        let moved: Vec<(usize, Vec<u8>)> = (batch.columns().iter().enumerate())
            .filter(|(_, column)| self.gathers(&column.name))
            .map(|(at, column)| {
                let mut name = Vec::new();
                json::write_str(&mut name, self.prefix.apply(&column.name).as_bytes());
                (at, name)
            })
            .collect();
        let mut values = vec![Value::Absent; batch.len()];
        let mut object = Vec::new();
        for (row, nested) in values.iter_mut().enumerate() {
            object.clear();
            for (at, name) in &moved {
                let value = batch.columns()[*at].values[row];
                if value == Value::Absent {
                    continue;
                }
                object.push(if object.is_empty() { b'{' } else { b',' });
                object.extend_from_slice(name);
                object.push(b':');
                json::write_value(&mut object, batch, value);
            }
            if !object.is_empty() {
                object.push(b'}');
                *nested = Value::Json(batch.store(&object));
            }
        }
        for (at, _) in &moved {
            for row in 0..batch.len() {
                batch.set(*at, row, Value::Absent);
            }
        }
        let target = batch.column_index_or_insert(&self.key);
        for (row, nested) in values.into_iter().enumerate() {
            if nested != Value::Absent {
                batch.set(target, row, nested);
            }
        }
    }

    fn lift(&self, batch: &mut LogBatch) {
        let Some(source) = batch.column_index(&self.key) else {
            return;
        };
        // The map of a source is often the same for all its records.
        let mut last: Option<(Value, Vec<(usize, Value)>)> = None;
        for row in 0..batch.len() {
            let value = batch.columns()[source].values[row];
            if last.as_ref().is_none_or(|(known, _)| *known != value) {
                let Some(Tree::Map(pairs)) = Tree::of(batch, value) else {
                    continue;
                };
                let lift = |(key, tree): (String, Tree)| {
                    let value = tree.store(batch);
                    (
                        batch.column_index_or_insert(&self.prefix.apply(&key)),
                        value,
                    )
                };
                let lifted = pairs.into_iter().map(lift).collect();
                last = Some((value, lifted));
            }
            let Some((_, lifted)) = &last else { continue };
            batch.set(source, row, Value::Absent);
            for (column, value) in lifted {
                batch.set(*column, row, *value);
            }
        }
    }
}

impl Filter for Nest {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        if self.key == KUBERNETES || self.gathers(KUBERNETES) {
            batch.kubernetes_to_column();
        }
        if self.lifts {
            self.lift(batch);
        } else {
            self.nest(batch);
        }
        batch.drop_absent_columns();
    }
}
