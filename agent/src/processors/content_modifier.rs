//! `content_modifier`: inserts, replaces, removes, renames, hashes, extracts and converts keys of a
//! record, of its metadata, of the resource, or labels of metrics.
//!
//! Where Fluent Bit gives up on a whole chunk because one record lacks the key, only that record
//! stays as it is here.

use std::sync::Arc;

use kansoku_model::{
    ConfigError, LogBatch, MetricBatch, OptionKind, OptionSpec, Plugin, Resource, Settings, Value,
};
use kansoku_parsers::line::pattern::{Groups, Pattern};

use super::{LabelPairs, rewrite, sha256};
use crate::filters::record::Tree;
use crate::otel_part::Part;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "content_modifier",
    about: "Changes single keys of records, metadata, resources or labels.",
    options: &[
        OptionSpec::new(
            "context",
            OptionKind::Choice(CONTEXTS),
            "body",
            "what is changed: the record (body), its metadata (attributes), its OpenTelemetry attributes, those of the resource or the scope, the scope's name or version, or the labels of metrics",
        ),
        OptionSpec::new(
            "action",
            OptionKind::Choice(&[
                "insert", "upsert", "delete", "rename", "hash", "extract", "convert",
            ]),
            "",
            "what is done with the key",
        ),
        OptionSpec::new("key", OptionKind::Text, "", "the key"),
        OptionSpec::new(
            "value",
            OptionKind::Text,
            "",
            "the value, or the new name of the key",
        ),
        OptionSpec::new(
            "pattern",
            OptionKind::Text,
            "",
            "for extract: pattern whose named groups become keys",
        ),
        OptionSpec::new(
            "converted_type",
            OptionKind::Choice(&["string", "boolean", "int", "double"]),
            "",
            "for convert: the new type",
        ),
    ],
    example: "pipeline:\n  inputs:\n    - name: tail\n      path: /var/log/*.log\n      processors:\n        logs:\n          - name: content_modifier\n            action: insert\n            key: cluster\n            value: prod\n",
    build,
};

const CONTEXTS: &[&str] = &[
    "body",
    "message",
    "record",
    "attributes",
    "metadata",
    "otel_log_attributes",
    "otel_resource_attributes",
    "otel_scope_attributes",
    "otel_scope_name",
    "otel_scope_version",
    "labels",
];

enum Context {
    /// The record's fields, and the labels of metrics.
    Default,
    Body,
    /// The record's metadata, and the labels of metrics.
    Metadata,
    LogAttributes,
    Shared(Part),
    Labels,
}

enum Action {
    Insert(String),
    Upsert(String),
    Delete,
    Rename(String),
    Hash,
    Extract(Pattern),
    Convert(Type),
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Bool,
    Int,
    Double,
}

struct ContentModifier {
    context: Context,
    key: String,
    action: Action,
}

/// The keys and values that are changed.
type Pairs = Vec<(String, Tree)>;

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let word = |key: &str| settings.text(key, "").to_ascii_lowercase();
    let context = match word("context").as_str() {
        "" => Context::Default,
        "attributes" | "metadata" => Context::Metadata,
        "otel_log_attributes" => Context::LogAttributes,
        "otel_resource_attributes" => Context::Shared(Part::Resource),
        "otel_scope_attributes" => Context::Shared(Part::ScopeAttributes),
        "otel_scope_name" | "otel_scope_version" => Context::Shared(Part::Scope),
        "labels" => Context::Labels,
        _ => Context::Body,
    };
    let value = || settings.required("value").map(str::to_owned);
    settings.required("action")?;
    let action = match word("action").as_str() {
        "insert" => Action::Insert(value()?),
        "upsert" => Action::Upsert(value()?),
        "delete" => Action::Delete,
        "rename" => Action::Rename(value()?),
        "hash" => Action::Hash,
        "extract" => {
            let pattern = Pattern::new(settings.required("pattern")?);
            let place = settings
                .get("pattern")
                .map_or(&settings.place, |s| &s.place);
            Action::Extract(pattern.map_err(|e| ConfigError::new(place, e.to_string()))?)
        }
        _ => {
            settings.required("converted_type")?;
            Action::Convert(match word("converted_type").as_str() {
                "string" => Type::Text,
                "boolean" => Type::Bool,
                "int" => Type::Int,
                _ => Type::Double,
            })
        }
    };
    let key = match context {
        Context::Shared(Part::Scope) => scope_field(settings, &action)?,
        _ => settings.required("key")?.to_owned(),
    };
    Ok(Box::new(ContentModifier {
        context,
        key,
        action,
    }))
}

/// The key of the contexts `otel_scope_name` and `otel_scope_version`, which stands in their names.
fn scope_field(settings: &Settings, action: &Action) -> Result<String, ConfigError> {
    let context = settings.text("context", "").to_ascii_lowercase();
    let field = context.trim_start_matches("otel_scope_").to_owned();
    if let Action::Rename(_) | Action::Extract(_) | Action::Convert(_) = action {
        let message = format!(
            "'action {}' is not possible for '{context}'; insert, upsert, delete and hash are",
            settings.text("action", "")
        );
        return Err(ConfigError::new(&settings.place, message));
    }
    match settings.get("key") {
        Some(key) if !key.value.eq_ignore_ascii_case(&field) => {
            let message = format!("'key' must be '{field}' for '{context}'; leave it out");
            Err(ConfigError::new(&key.place, message))
        }
        _ => Ok(field),
    }
}

/// A value as the text that is hashed and converted.
fn text_of(tree: &Tree) -> Vec<u8> {
    match tree {
        Tree::Text(text) => text.clone(),
        other => {
            let mut out = Vec::new();
            other.write(&mut out);
            out
        }
    }
}

fn convert(tree: &Tree, to: Type) -> Option<Tree> {
    let text = String::from_utf8(text_of(tree)).ok()?;
    let text = text.trim();
    Some(match to {
        Type::Text => Tree::Text(text_of(tree)),
        Type::Bool if text.eq_ignore_ascii_case("true") => Tree::Bool(true),
        Type::Bool if text.eq_ignore_ascii_case("false") => Tree::Bool(false),
        Type::Bool => Tree::Bool(text.parse::<f64>().ok()? != 0.0),
        Type::Int => match (text, text.parse::<i64>()) {
            ("true", _) => Tree::Int(1),
            ("false", _) => Tree::Int(0),
            (_, Ok(n)) => Tree::Int(n),
            _ => Tree::Int(text.parse::<f64>().ok()? as i64),
        },
        Type::Double => match text {
            "true" => Tree::Float(1.0),
            "false" => Tree::Float(0.0),
            _ => Tree::Float(text.parse().ok()?),
        },
    })
}

impl ContentModifier {
    /// Changes one map; returns whether anything has changed.
    fn change(&self, pairs: &mut Pairs) -> bool {
        let at = pairs.iter().position(|(key, _)| *key == self.key);
        let text = |value: &str| Tree::Text(value.as_bytes().to_vec());
        match (&self.action, at) {
            (Action::Insert(value) | Action::Upsert(value), None) => {
                pairs.push((self.key.clone(), text(value)));
            }
            (Action::Upsert(value), Some(at)) => pairs[at].1 = text(value),
            (Action::Delete, Some(at)) => drop(pairs.remove(at)),
            (Action::Rename(name), Some(at)) => {
                let (_, value) = pairs.remove(at);
                pairs.retain(|(key, _)| key != name);
                pairs.insert(at.min(pairs.len()), (name.clone(), value));
            }
            (Action::Hash, Some(at)) => {
                let before = text_of(&pairs[at].1);
                if before.is_empty() {
                    return false;
                }
                pairs[at].1 = text(&sha256(&before));
            }
            (Action::Extract(pattern), Some(at)) => {
                let Tree::Text(text) = pairs[at].1.clone() else {
                    return false;
                };
                return extract(pairs, pattern, &text);
            }
            (Action::Convert(to), Some(at)) => match convert(&pairs[at].1, *to) {
                Some(tree) => pairs[at].1 = tree,
                None => return false,
            },
            _ => return false,
        }
        true
    }

    /// The columns that the action may touch: reading whole records is not needed.
    fn touches(&self, column: &str) -> bool {
        let named = match &self.action {
            Action::Rename(name) => column == name,
            Action::Extract(pattern) => pattern.names().iter().any(|(_, n)| **n == *column),
            _ => false,
        };
        named || column == self.key
    }

    fn change_body(&self, batch: &mut LogBatch) {
        if self.touches(kansoku_model::log::KUBERNETES) {
            batch.kubernetes_to_column();
        }
        // The common cases need no record by record work.
        match &self.action {
            Action::Delete => return drop(batch.remove_column(&self.key)),
            Action::Upsert(value) => {
                let value = Value::Text(batch.store(value.as_bytes()));
                return batch.column_mut(&self.key).values.fill(value);
            }
            _ => {}
        }
        for row in 0..batch.len() {
            let columns = batch.columns().iter().enumerate();
            let touched: Vec<usize> = columns
                .filter(|(_, c)| self.touches(&c.name))
                .map(|(at, _)| at)
                .collect();
            let mut pairs = Pairs::new();
            for &at in &touched {
                let column = &batch.columns()[at];
                if let Some(tree) = Tree::of(batch, column.values[row]) {
                    pairs.push((column.name.to_string(), tree));
                }
            }
            if !self.change(&mut pairs) {
                continue;
            }
            for at in touched {
                batch.set(at, row, Value::Absent);
            }
            for (key, tree) in pairs {
                let value = tree.store(batch);
                let column = batch.column_index_or_insert(&key);
                batch.set(column, row, value);
            }
        }
        batch.drop_absent_columns();
    }

    fn change_metadata(&self, batch: &mut LogBatch, below: &[&str]) {
        for row in 0..batch.len() {
            let tree = batch.metadata(row).and_then(Tree::read);
            let Tree::Map(mut pairs) = tree.unwrap_or(Tree::Map(Vec::new())) else {
                continue;
            };
            let changed = map_below(&mut pairs, below).is_some_and(|map| self.change(map));
            if changed {
                let object = batch.store_with(|out| Tree::Map(pairs).write(out));
                batch.set_metadata(row, object);
            }
        }
    }

    /// The resource with one of its parts changed; `None` when nothing is.
    fn change_part(&self, resource: &Arc<Resource>, part: Part) -> Option<Arc<Resource>> {
        let mut pairs: Pairs = part.pairs(resource);
        if !self.change(&mut pairs) {
            return None;
        }
        let text = |(name, tree): (String, Tree)| {
            let value = String::from_utf8_lossy(&text_of(&tree)).into_owned();
            (part.attribute_of(&name), value)
        };
        let others = resource.attributes.iter();
        let others = others.filter(|(key, _)| part.name_of(key).is_none());
        let mut attributes: Vec<(String, String)> = others.cloned().collect();
        // The resource's own stand in front of the scope's.
        let at = match part {
            Part::Resource => 0,
            Part::ScopeAttributes | Part::Scope => attributes.len(),
        };
        attributes.splice(at..at, pairs.into_iter().map(text));
        Some(Arc::new(Resource {
            attributes,
            ..(**resource).clone()
        }))
    }

    fn change_labels(&self, pairs: &mut LabelPairs) {
        let mut trees: Pairs = (pairs.iter())
            .map(|(name, value)| (name.clone(), Tree::Text(value.clone().into_bytes())))
            .collect();
        if self.change(&mut trees) {
            let text = |(key, tree): (String, Tree)| {
                (key, String::from_utf8_lossy(&text_of(&tree)).into_owned())
            };
            *pairs = trees.into_iter().map(text).collect();
        }
    }
}

fn extract(pairs: &mut Pairs, pattern: &Pattern, text: &[u8]) -> bool {
    let mut groups = Groups::default();
    if !pattern.find_groups(text, &mut groups) {
        return false;
    }
    for (group, name) in pattern.names() {
        if let Some((from, to)) = groups.get(*group) {
            pairs.retain(|(key, _)| **key != **name);
            pairs.push((name.to_string(), Tree::Text(text[from..to].to_vec())));
        }
    }
    true
}

/// The map below a path of keys, made where it is missing.
fn map_below<'a>(pairs: &'a mut Pairs, path: &[&str]) -> Option<&'a mut Pairs> {
    let Some((first, rest)) = path.split_first() else {
        return Some(pairs);
    };
    if !pairs.iter().any(|(key, _)| key == first) {
        pairs.push(((*first).to_owned(), Tree::Map(Vec::new())));
    }
    let (_, tree) = pairs.iter_mut().find(|(key, _)| key == first)?;
    match tree {
        Tree::Map(pairs) => map_below(pairs, rest),
        _ => None,
    }
}

impl Filter for ContentModifier {
    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        if let Action::Extract(pattern) = &self.action {
            visit(pattern);
        }
    }

    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        match self.context {
            Context::Default | Context::Body => self.change_body(batch),
            Context::Metadata => self.change_metadata(batch, &[]),
            Context::LogAttributes => self.change_metadata(batch, &["otlp", "attributes"]),
            Context::Shared(part) => {
                if let Some(resource) = self.change_part(&batch.resource, part) {
                    batch.resource = resource;
                }
            }
            Context::Labels => {}
        }
    }

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        match self.context {
            Context::Default | Context::Labels | Context::Metadata => rewrite(
                batch,
                |name| Some(name.to_owned()),
                |pairs| {
                    self.change_labels(pairs);
                    true
                },
            ),
            Context::Shared(part) => {
                if let Some(resource) = self.change_part(&batch.resource, part) {
                    batch.resource = resource;
                }
            }
            Context::Body | Context::LogAttributes => {}
        }
    }
}
