//! `labels`: sets, removes and hashes labels of metrics.
//!
//! As in Fluent Bit the order is delete, update, upsert, insert, hash, whatever is written first.

use kansoku_model::{ConfigError, LogBatch, MetricBatch, OptionKind, OptionSpec, Plugin, Settings};
use kansoku_outputs::accessor::Template;

use super::{LabelPairs, rewrite, sha256};
use crate::filters::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "labels",
    about: "Sets, removes and hashes labels of metrics.",
    options: &[
        option(
            "update",
            OptionKind::Pair,
            "label and value, where it exists",
        ),
        option(
            "insert",
            OptionKind::Pair,
            "label and value, where it does not exist",
        ),
        option(
            "upsert",
            OptionKind::Pair,
            "label and value; values may hold $TAG and $TAG[0]",
        ),
        option("delete", OptionKind::Text, "label to remove"),
        option(
            "hash",
            OptionKind::Text,
            "label whose value becomes its SHA-256",
        ),
    ],
    example: "pipeline:\n  inputs:\n    - name: node_exporter_metrics\n      processors:\n        metrics:\n          - name: labels\n            upsert: cluster prod\n",
    build,
};

const fn option(name: &'static str, kind: OptionKind, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, kind, "", about).repeated()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Delete,
    Update,
    Upsert,
    Insert,
    Hash,
}

struct Labels(Vec<(Action, String, Template)>);

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let mut steps = Vec::new();
    for (option, action) in [
        ("delete", Action::Delete),
        ("update", Action::Update),
        ("upsert", Action::Upsert),
        ("insert", Action::Insert),
        ("hash", Action::Hash),
    ] {
        for s in settings.all(option) {
            let mut words = words::split(&s.value, 2).into_iter();
            let label = words.next().unwrap_or_default();
            let value = words.next().unwrap_or_default();
            let error = |what: &str| {
                let message = format!("'{option} {}': {what}", s.value);
                ConfigError::new(&s.place, message)
            };
            let value = Template::new(&value).map_err(|e| error(&e))?;
            if value.accessors().next().is_some() {
                return Err(error(
                    "metrics have no fields; $ may stand before TAG and TAG[0] only",
                ));
            }
            steps.push((action, label, value));
        }
    }
    Ok(Box::new(Labels(steps)))
}

impl Labels {
    /// The steps for batches under a tag.
    fn steps(&self, tag: &str) -> Vec<(Action, &str, String)> {
        let all = self.0.iter();
        all.map(|(action, label, value)| (*action, label.as_str(), value.of_tag(tag)))
            .collect()
    }

    fn change(steps: &[(Action, &str, String)], pairs: &mut LabelPairs) {
        for (action, label, value) in steps {
            let known = pairs.iter_mut().find(|(name, _)| name == *label);
            match (action, known) {
                (Action::Delete, _) => pairs.retain(|(name, _)| name != *label),
                (Action::Update | Action::Upsert, Some((_, old))) => old.clone_from(value),
                (Action::Upsert | Action::Insert, None) => {
                    pairs.push(((*label).to_owned(), value.clone()));
                }
                (Action::Hash, Some((_, old))) if !old.is_empty() => *old = sha256(old.as_bytes()),
                _ => {}
            }
        }
    }
}

impl Filter for Labels {
    // Records have no labels.
    fn apply(&self, _: &mut LogBatch, _: &mut FilterContext) {}

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        let tag = batch.tag.clone();
        let steps = self.steps(&tag);
        rewrite(
            batch,
            |name| Some(name.to_owned()),
            |pairs| {
                Self::change(&steps, pairs);
                true
            },
        );
    }
}
