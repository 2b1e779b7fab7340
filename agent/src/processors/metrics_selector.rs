//! `metrics_selector`: keeps or drops metrics by name, or points by a label's value.

use kansoku_model::{ConfigError, LogBatch, MetricBatch, OptionKind, OptionSpec, Plugin, Settings};
use kansoku_parsers::line::pattern::Pattern;

use super::rewrite;
use crate::filters::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "metrics_selector",
    about: "Keeps or drops metrics by name, or points by a label's value.",
    options: &[
        OptionSpec::new(
            "metric_name",
            OptionKind::Text,
            "",
            "what names begin with or hold, or a pattern in slashes",
        ),
        OptionSpec::new(
            "context",
            OptionKind::Choice(&["metric_name", "delete_label_value"]),
            "metric_name",
            "what is looked at",
        ),
        OptionSpec::new(
            "action",
            OptionKind::Choice(&["include", "exclude"]),
            "include",
            "what becomes of metrics that fit",
        ),
        OptionSpec::new(
            "operation_type",
            OptionKind::Choice(&["prefix", "substring"]),
            "prefix",
            "how metric_name is compared when it is no pattern",
        ),
        OptionSpec::new(
            "label",
            OptionKind::Pair,
            "",
            "label and value: points that have it are dropped, for context delete_label_value",
        ),
    ],
    example: "pipeline:\n  inputs:\n    - name: node_exporter_metrics\n      processors:\n        metrics:\n          - name: metrics_selector\n            metric_name: /go_/\n            action: exclude\n",
    build,
};

enum Selector {
    Names { keep: bool, names: Names },
    Label(String, String),
}

enum Names {
    Prefix(String),
    Substring(String),
    Pattern(Pattern),
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let is = |key: &str, word: &str| settings.text(key, "").eq_ignore_ascii_case(word);
    if is("context", "delete_label_value") {
        let mut words = words::split(settings.required("label")?, 2).into_iter();
        let label = words.next().unwrap_or_default();
        let value = words.next().unwrap_or_default();
        return Ok(Box::new(Selector::Label(label, value)));
    }
    let name = settings.required("metric_name")?;
    let inside = name.strip_prefix('/').and_then(|n| n.strip_suffix('/'));
    let names = match inside {
        Some(regex) => {
            let place = settings
                .get("metric_name")
                .map_or(&settings.place, |s| &s.place);
            let regex = Pattern::new(regex);
            Names::Pattern(regex.map_err(|e| ConfigError::new(place, e.to_string()))?)
        }
        None if is("operation_type", "substring") => Names::Substring(name.to_owned()),
        None => Names::Prefix(name.to_owned()),
    };
    let keep = !is("action", "exclude");
    Ok(Box::new(Selector::Names { keep, names }))
}

impl Names {
    fn fit(&self, name: &str) -> bool {
        match self {
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Substring(part) => name.contains(part.as_str()),
            Self::Pattern(pattern) => pattern.is_match(name.as_bytes()),
        }
    }
}

impl Filter for Selector {
    // Only metrics are selected.
    fn apply(&self, _: &mut LogBatch, _: &mut FilterContext) {}

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        match self {
            Self::Names { keep, names } => rewrite(
                batch,
                |name| (names.fit(name) == *keep).then(|| name.to_owned()),
                |_| true,
            ),
            Self::Label(label, value) => rewrite(
                batch,
                |name| Some(name.to_owned()),
                |pairs| !pairs.iter().any(|(n, v)| n == label && v == value),
            ),
        }
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        if let Self::Names {
            names: Names::Pattern(pattern),
            ..
        } = self
        {
            visit(pattern);
        }
    }
}
