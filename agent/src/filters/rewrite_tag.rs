//! `rewrite_tag`: sends records on under another tag, through all filters again.
//!
//! The first rule that fits decides. Where Fluent Bit puts the records into an input of its own,
//! which drops them when its buffer is full, they stay in this pipeline here, under the same
//! acknowledgement.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::plugin::{Setting, parse_bool};
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings};
use kansoku_parsers::line::pattern::{Groups, Pattern};

use super::accessor::Accessor;
use super::template::Template;
use super::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const NO_EMITTER: &str =
    "accepted for compatibility, without effect: records stay in the pipeline, nothing is buffered";

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "rewrite_tag",
    about: "Sends records on under another tag, through all filters again.",
    options: &[
        OptionSpec::new(
            "rule",
            OptionKind::Pair,
            "",
            "$KEY PATTERN NEW_TAG KEEP: the new tag may hold $TAG, $TAG[0], $0..$9 and $KEY; KEEP true keeps the record under its old tag, too",
        )
        .repeated(),
        OptionSpec::new("emitter_name", OptionKind::Text, "", NO_EMITTER),
        OptionSpec::new("emitter_storage.type", OptionKind::Text, "", NO_EMITTER),
        OptionSpec::new("emitter_mem_buf_limit", OptionKind::Size, "", NO_EMITTER),
    ],
    example: "[FILTER]\n    Name  rewrite_tag\n    Match kube.*\n    Rule  $level ^(error)$ alerts.$TAG true\n",
    build,
};

struct Rule {
    key: Accessor,
    pattern: Pattern,
    tag: Template,
    keeps: bool,
}

struct RewriteTag {
    rules: Vec<Rule>,
    /// Its rules: with others the same tag is another source.
    name: String,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    settings.required("rule")?;
    let rules: Vec<Rule> = settings
        .all("rule")
        .map(Rule::new)
        .collect::<Result<_, _>>()?;
    let texts: Vec<&str> = settings.all("rule").map(|s| s.value.as_str()).collect();
    Ok(Box::new(RewriteTag {
        rules,
        name: texts.join("\n"),
    }))
}

impl Rule {
    fn new(s: &Setting) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::new(&s.place, message);
        let words = words::split(&s.value, 4);
        let [key, regex, tag, keep] = words.as_slice() else {
            let message = format!(
                "'rule' is '{}', but must be $KEY PATTERN NEW_TAG KEEP (true or false)",
                s.value
            );
            return Err(error(message));
        };
        let keeps = parse_bool(keep).ok_or_else(|| {
            error(format!(
                "the last word of a rule is '{keep}', but must be true or false"
            ))
        })?;
        Ok(Self {
            key: Accessor::new(key).map_err(error)?,
            pattern: Pattern::new(regex).map_err(|e| error(e.to_string()))?,
            tag: Template::new(tag).map_err(error)?,
            keeps,
        })
    }
}

/// The rows of one new tag, in order of first appearance.
#[derive(Default)]
struct Moved {
    tags: Vec<(String, Vec<usize>)>,
    by_tag: HashMap<String, usize>,
}

impl Moved {
    fn add(&mut self, tag: String, row: usize) {
        let next = self.tags.len();
        let at = *self.by_tag.entry(tag.clone()).or_insert(next);
        if at == next {
            self.tags.push((tag, Vec::new()));
        }
        self.tags[at].1.push(row);
    }
}

impl RewriteTag {
    fn route(&self, batch: &LogBatch, kept: &mut [bool]) -> Moved {
        let mut moved = Moved::default();
        let mut groups = Groups::default();
        let rules: Vec<_> = (self.rules.iter())
            .map(|rule| (rule, rule.key.over(batch), rule.tag.over(batch)))
            .collect();
        for (row, kept) in kept.iter_mut().enumerate() {
            for (rule, key, tag) in &rules {
                let Some(text) = key.text(row) else { continue };
                if !rule.pattern.find_groups(&text, &mut groups) {
                    continue;
                }
                let tag = tag.text(row, |n| groups.get(n).map(|(from, to)| &text[from..to]));
                if !tag.is_empty() {
                    *kept = rule.keeps;
                    moved.add(tag, row);
                }
                break;
            }
        }
        moved
    }
}

impl Filter for RewriteTag {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        if context.is_own() {
            return;
        }
        let mut kept = vec![true; batch.len()];
        let moved = self.route(batch, &mut kept);
        for (tag, rows) in moved.tags {
            let source = context.derived(batch.source.id, &format!("{}\n{tag}", self.name));
            let mut copy = batch.copy_rows(&rows, Arc::from(tag));
            copy.source.id = source;
            context.emit(RecordBatch::Logs(copy), true, Vec::new());
        }
        batch.retain(|row| kept[row]);
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.rules.iter().for_each(|rule| visit(&rule.pattern));
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{Position, SourceId};

    use super::*;

    #[test]
    fn two_filters_with_the_same_rule_make_two_sources() {
        let settings = Settings::of("rewrite_tag", &[("rule", "$a .* new true")]);
        let filter = build(&settings, &Environment::default()).expect("valid");
        let mut context = FilterContext::default();
        let mut ids = Vec::new();
        for (number, name) in ["rewrite_tag.0", "rewrite_tag.1"].iter().enumerate() {
            context.set_filter(number, &Arc::from(*name));
            let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
            batch.source.id = SourceId(5);
            let row = batch.push(0, Position::at(1));
            batch.set_text("a", row, b"x");
            filter.apply(&mut batch, &mut context);
            let emitted = context.take_emitted();
            ids.extend(emitted.iter().map(|e| e.batch.source().id));
        }
        assert_eq!(ids.len(), 2);
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.is_some() && *id != SourceId(5)));
    }
}
