//! Prometheus' relabelling rules: read from `relabel_configs` as Prometheus writes them, applied to a label set.
//!
//! Every action, its defaults and what it refuses are those of Prometheus 3 with UTF-8 names
//! (`model/relabel/relabel.go`). Patterns are anchored at both ends and `.` takes line ends, as there; their
//! syntax is RE2's.

use kansoku_model::ConfigError;
use kansoku_model::plugin::{Setting, did_you_mean};
use md5::{Digest, Md5};
use regex::{Captures, Regex};

use crate::config::yaml::tree::{Node, parse_setting};

pub mod label_set;

use label_set::LabelSet;

const KEYS: &[&str] = &[
    "source_labels",
    "separator",
    "regex",
    "modulus",
    "target_label",
    "replacement",
    "action",
];
const ANYTHING: &str = "(.*)";
const FIRST_GROUP: &str = "$1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const ACTIONS: &[(&str, Action)] = &[
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    pattern: Regex,
    modulus: u64,
    target_label: String,
    replacement: String,
}

impl Rule {
    /// Reads a rule that stands in a setting.
    ///
    /// # Errors
    /// When it is no rule that Prometheus takes.
    pub fn of(setting: &Setting) -> Result<Self, ConfigError> {
        Self::read(&parse_setting(&setting.value, &setting.place)?)
    }

    /// Reads a rule as it stands in a list of them.
    ///
    /// # Errors
    /// When it is no rule that Prometheus takes.
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let pairs = node.checked_pairs(KEYS)?;
        let find = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, n)| *n);
        let text = |key: &str, default: &str| -> Result<String, ConfigError> {
            find(key).map_or(Ok(default.to_owned()), |n| n.text().map(str::to_owned))
        };
        let action = match find("action") {
            None => Action::Replace,
            Some(node) => action(node)?,
        };
        let mut source_labels = Vec::new();
        for item in find("source_labels").map_or(Ok(&[][..]), Node::items)? {
            source_labels.push(item.text()?.to_owned());
        }
        let written = text("regex", ANYTHING)?;
        let pattern = Regex::new(&format!("^(?s:{written})$")).map_err(|e| {
            let why = e.to_string();
            let why = why.lines().last().unwrap_or_default().trim();
            let message = format!("regex '{written}' is no regular expression: {why}");
            find("regex").unwrap_or(node).error(message)
        })?;
        let modulus = match find("modulus") {
            None => 0,
            Some(node) => node.text()?.parse().map_err(|_| {
                node.error("modulus must be a whole number that is not negative".to_owned())
            })?,
        };
        let rule = Self {
            action,
            source_labels,
            separator: text("separator", ";")?,
            pattern,
            modulus,
            target_label: text("target_label", "")?,
            replacement: text("replacement", FIRST_GROUP)?,
        };
        let unwanted = rule.unwanted(|key| find(key).is_some());
        match unwanted.or_else(|| rule.mistake()) {
            Some(message) => Err(node.error(message)),
            None => Ok(rule),
        }
    }

    /// What is missing for the action.
    fn mistake(&self) -> Option<String> {
        use Action as A;
        let name = self.action_name();
        let needs_target = matches!(
            self.action,
            A::Replace | A::HashMod | A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual
        );
        if needs_target && self.target_label.is_empty() {
            return Some(format!("action {name} needs 'target_label'"));
        }
        if self.action == A::HashMod && self.modulus == 0 {
            return Some("action hashmod needs a 'modulus' above 0".to_owned());
        }
        if self.action == A::LabelMap && self.replacement.is_empty() {
            return Some("action labelmap needs a 'replacement' that is not empty".to_owned());
        }
        None
    }

    /// The first key that has no place beside the action.
    fn unwanted(&self, is_set: impl Fn(&str) -> bool) -> Option<String> {
        let unwanted: &[&str] = match self.action {
            Action::KeepEqual | Action::DropEqual => {
                &["regex", "modulus", "separator", "replacement"]
            }
            Action::LabelDrop | Action::LabelKeep => &[
                "source_labels",
                "target_label",
                "modulus",
                "separator",
                "replacement",
            ],
            Action::Lowercase | Action::Uppercase => &["replacement"],
            _ => &[],
        };
        let key = unwanted.iter().find(|key| is_set(key))?;
        let name = self.action_name();
        Some(format!(
            "action {name} does not take '{key}'; remove the key"
        ))
    }

    fn action_name(&self) -> &'static str {
        let found = ACTIONS.iter().find(|(_, action)| *action == self.action);
        found.map_or("", |(name, _)| name)
    }

    /// Applies the rule; whether the target or sample is kept.
    fn apply(&self, labels: &mut LabelSet) -> bool {
        let value = self.value(labels);
        match self.action {
            Action::Drop => return !self.pattern.is_match(&value),
            Action::Keep => return self.pattern.is_match(&value),
            Action::DropEqual => return labels.get(&self.target_label) != value,
            Action::KeepEqual => return labels.get(&self.target_label) == value,
            Action::Replace => {
                if let Some(groups) = self.pattern.captures(&value) {
                    let target = expand(&self.target_label, &groups);
                    if !target.is_empty() {
                        labels.set(&target, expand(&self.replacement, &groups));
                    }
                }
            }
            Action::Lowercase => labels.set(&self.target_label, lowercase(&value)),
            Action::Uppercase => labels.set(&self.target_label, uppercase(&value)),
            Action::HashMod => {
                let n = hash(&value) % self.modulus.max(1);
                labels.set(&self.target_label, n.to_string());
            }
            Action::LabelMap => {
                let all = labels.iter().filter_map(|(name, value)| {
                    let groups = self.pattern.captures(name)?;
                    Some((expand(&self.replacement, &groups), value.to_owned()))
                });
                let mapped: Vec<(String, String)> = all.collect();
                for (name, value) in mapped.iter().filter(|(name, _)| !name.is_empty()) {
                    labels.set(name, value.as_str());
                }
            }
            Action::LabelDrop => labels.retain(|name| !self.pattern.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.pattern.is_match(name)),
        }
        true
    }

    fn value(&self, labels: &LabelSet) -> String {
        let values = self.source_labels.iter().map(|name| labels.get(name));
        values.collect::<Vec<_>>().join(&self.separator)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let parts = |r: &Self| {
            let texts = (
                r.separator.clone(),
                r.target_label.clone(),
                r.replacement.clone(),
            );
            (
                r.action,
                r.source_labels.clone(),
                r.pattern.as_str().to_owned(),
                r.modulus,
                texts,
            )
        };
        parts(self) == parts(other)
    }
}

/// Reads all rules called `key`.
///
/// # Errors
/// The first that is none.
pub fn rules(settings: &kansoku_model::Settings, key: &str) -> Result<Vec<Rule>, ConfigError> {
    settings.all(key).map(Rule::of).collect()
}

/// Applies rules in their order; whether the target or sample is kept.
pub fn relabel(rules: &[Rule], labels: &mut LabelSet) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

fn action(node: &Node) -> Result<Action, ConfigError> {
    let word = node.text()?.to_ascii_lowercase();
    let found = ACTIONS.iter().find(|(name, _)| *name == word);
    found.map(|(_, action)| *action).ok_or_else(|| {
        let hint = did_you_mean(&word, ACTIONS.iter().map(|(name, _)| *name));
        node.error(format!("unknown action '{word}'{hint}"))
    })
}

/// The last eight bytes of the MD5 sum.
fn hash(value: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(value.as_bytes()).into();
    let half: [u8; 8] = sum[8..].try_into().expect("half of sixteen bytes");
    u64::from_be_bytes(half)
}

/// Character by character, as Go does.
fn lowercase(text: &str) -> String {
    let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
    text.chars().map(lower).collect()
}

/// Character by character, as Go does: what would become two stays.
fn uppercase(text: &str) -> String {
    let upper = |c: char| {
        let mut all = c.to_uppercase();
        match (all.next(), all.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    text.chars().map(upper).collect()
}

/// Go's `Regexp.Expand`: `$1`, `$name`, `${name}` and `$$`; a group that is not there is empty, a `$` with
/// nothing behind it stays.
#[must_use]
pub fn expand(template: &str, groups: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = group_name(rest) else {
            out.push('$');
            continue;
        };
        rest = after;
        let group = match name.parse::<usize>() {
            // No number: a name.
            Ok(_) if name.starts_with('0') && name.len() > 1 => groups.name(name),
            Ok(number) => groups.get(number),
            Err(_) => groups.name(name),
        };
        out.push_str(group.map_or("", |g| g.as_str()));
    }
    out.push_str(rest);
    out
}

/// The name behind a `$`, and what follows it.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (inside, is_braced) = match text.strip_prefix('{') {
        Some(inside) => (inside, true),
        None => (text, false),
    };
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let end = inside.find(|c| !is_name(c)).unwrap_or(inside.len());
    let (name, after) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    match is_braced {
        true => Some((name, after.strip_prefix('}')?)),
        false => Some((name, after)),
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{Place, Settings};

    use super::*;

    /// Cases in fixtures/relabel/cases.yaml: labels, rules, and what becomes of them.
    #[test]
    fn rules_do_what_those_of_prometheus_do() {
        let text = include_str!("../../../fixtures/relabel/cases.yaml");
        let place = Place::new("cases.yaml", 0);
        let cases = parse_setting(text, &place).expect("the cases are YAML");
        let labels = |node: &Node| -> LabelSet {
            let pairs = node.pairs().expect("labels are a map").iter();
            let text = |n: &Node| n.text().expect("a value").to_owned();
            let mut set = LabelSet::default();
            pairs.for_each(|(key, value)| set.set(&key.text, text(value)));
            set
        };
        let cases = cases.items().expect("a list");
        assert!(cases.len() > 30);
        for (n, case) in cases.iter().enumerate() {
            let parts = case
                .checked_pairs(&["labels", "rules", "expected"])
                .expect("a case");
            let part = |name: &str| parts.iter().find(|(n, _)| *n == name).map(|(_, n)| *n);
            let rules = part("rules").expect("rules").items().expect("a list");
            let rules: Result<Vec<Rule>, _> = rules.iter().map(Rule::read).collect();
            let mut set = labels(part("labels").expect("labels"));
            let kept = relabel(&rules.expect("rules are valid"), &mut set);
            let expected = part("expected").map(|n| labels(n).to_labels());
            assert_eq!(kept.then(|| set.to_labels()), expected, "case {}", n + 1);
        }
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for (text, expected) in [
            (
                "{action: kep}",
                "unknown action 'kep'; did you mean 'keep'?",
            ),
            (
                "{source: [a]}",
                "unknown key 'source'; known: action, modulus, regex, replacement, separator, source_labels, target_label",
            ),
            ("{action: replace}", "action replace needs 'target_label'"),
            (
                "{action: hashmod, target_label: a}",
                "action hashmod needs a 'modulus' above 0",
            ),
            (
                "{action: hashmod, target_label: a, modulus: -1}",
                "modulus must be a whole number that is not negative",
            ),
            (
                "{action: labeldrop, regex: a, source_labels: [a]}",
                "action labeldrop does not take 'source_labels'; remove the key",
            ),
            (
                "{action: keepequal, target_label: a, regex: b}",
                "action keepequal does not take 'regex'; remove the key",
            ),
            (
                "{action: lowercase, target_label: a, replacement: b}",
                "action lowercase does not take 'replacement'; remove the key",
            ),
            (
                "{action: labelmap, replacement: ''}",
                "action labelmap needs a 'replacement' that is not empty",
            ),
            (
                "{action: keep, regex: '('}",
                "regex '(' is no regular expression: error: unclosed group",
            ),
            ("{source_labels: a}", "expected a list, found a value"),
            (
                "{action: keep, action: drop}",
                "'action' is set twice; remove one",
            ),
            ("keep", "expected a map, found a value"),
            ("{a", "not valid YAML"),
        ] {
            let settings = Settings::of("x", &[("relabel_configs", text)]);
            let error = rules(&settings, "relabel_configs")
                .expect_err(text)
                .to_string();
            assert!(
                error.starts_with(&format!("command line: {expected}")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn templates_expand_as_in_go() {
        let pattern = Regex::new("^(?s:(a)(?P<tail>b)?)$").expect("a pattern");
        for (template, value, expected) in [
            ("$1-$2", "ab", "a-b"),
            ("${1}x$1x", "ab", "ax"),
            ("$tail${tail}", "ab", "bb"),
            ("$tail", "a", ""),
            ("$$1$", "a", "$1$"),
            ("${1", "a", "${1"),
            ("${a-b}", "a", "${a-b}"),
            ("$01$9", "a", ""),
            ("é$1é", "a", "é"),
        ] {
            let groups = pattern.captures(value).expect("a match");
            assert_eq!(expand(template, &groups), expected, "{template}");
        }
    }
}
