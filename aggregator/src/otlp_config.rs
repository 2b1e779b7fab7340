//! The section `otlp` of the configuration file: how OTLP metrics become Prometheus's and which attributes label
//! streams of logs. The keys and defaults are those of Prometheus's section of this name, and of Loki's
//! `default_resource_attributes_as_index_labels`.

use std::collections::BTreeSet;

use kansoku_parsers::wire::otlp::loki::INDEX_ATTRIBUTES;
use kansoku_parsers::wire::otlp::names::Strategy;
use kansoku_parsers::wire::otlp::prometheus::{Promote, Rules};

/// The keys below `otlp`, with what they want.
pub const KEYS: [(&str, &str); 10] = [
    (
        "translation_strategy",
        "UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes or NoTranslation",
    ),
    ("promote_resource_attributes", NAMES),
    ("promote_all_resource_attributes", BOOL),
    ("ignore_resource_attributes", NAMES),
    ("keep_identifying_resource_attributes", BOOL),
    ("convert_histograms_to_nhcb", BOOL),
    ("promote_scope_metadata", BOOL),
    ("keep_deltas", BOOL),
    (
        "label_name_underscores",
        "key_prefix, preserved or collapsed",
    ),
    ("index_resource_attributes", NAMES),
];

const BOOL: &str = "true or false";
const NAMES: &str = "names of attributes such as [service.version, host.name], each once";

/// What the section says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    pub rules: Rules,
    /// Resource attributes of log records that are labels of their stream.
    pub index_attributes: BTreeSet<String>,
    promoted: BTreeSet<String>,
    ignored: BTreeSet<String>,
    promotes_all: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            index_attributes: INDEX_ATTRIBUTES.map(str::to_owned).into(),
            promoted: BTreeSet::new(),
            ignored: BTreeSet::new(),
            promotes_all: false,
        }
    }
}

impl OtlpConfig {
    /// Takes a value over; `None` when it is not what the key wants, or there is no such key.
    pub fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let is_on = || value.parse::<bool>().ok();
        let rules = &mut self.rules;
        match key {
            "translation_strategy" => {
                let found = Strategy::ALL.iter().find(|(name, _)| *name == value);
                rules.strategy = found.map(|(_, strategy)| *strategy)?;
            }
            "promote_resource_attributes" => self.promoted = names(value)?,
            "promote_all_resource_attributes" => self.promotes_all = is_on()?,
            "ignore_resource_attributes" => self.ignored = names(value)?,
            "keep_identifying_resource_attributes" => rules.keeps_identifying = is_on()?,
            "convert_histograms_to_nhcb" => rules.has_custom_buckets = is_on()?,
            "promote_scope_metadata" => rules.promotes_scope = is_on()?,
            "keep_deltas" => rules.keeps_deltas = is_on()?,
            "label_name_underscores" => {
                (rules.has_key_prefix, rules.keeps_underscores) = match value {
                    "key_prefix" => (true, true),
                    "preserved" => (false, true),
                    "collapsed" => (false, false),
                    _ => return None,
                };
            }
            "index_resource_attributes" => self.index_attributes = names(value)?,
            _ => return None,
        }
        Some(())
    }

    /// Puts together what several keys say.
    ///
    /// # Errors
    /// When they contradict each other, in Prometheus's words.
    pub fn finish(&mut self) -> Result<(), String> {
        if self.promotes_all && !self.promoted.is_empty() {
            return Err(
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously; remove one of them below 'otlp'"
                    .into(),
            );
        }
        if !self.promotes_all && !self.ignored.is_empty() {
            return Err(
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true; set it below 'otlp'"
                    .into(),
            );
        }
        self.rules.promote = match self.promotes_all {
            true => Promote::AllBut(self.ignored.clone()),
            false => Promote::Only(self.promoted.clone()),
        };
        Ok(())
    }
}

/// Names between commas, in brackets or not; `None` when one is empty or comes twice.
fn names(value: &str) -> Option<BTreeSet<String>> {
    let inner = value.strip_prefix('[').map(|v| v.strip_suffix(']'));
    let inner = inner.unwrap_or(Some(value))?;
    let mut names = BTreeSet::new();
    if inner.trim().is_empty() {
        return Some(names);
    }
    for name in inner.split(',') {
        let name = name.trim().trim_matches(['"', '\'']);
        let is_new = !name.is_empty() && names.insert(name.to_owned());
        is_new.then_some(())?;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<OtlpConfig, String> {
        let mut config = OtlpConfig::default();
        for (key, value) in pairs {
            config.set(key, value).ok_or_else(|| (*key).to_owned())?;
        }
        config.finish().map(|()| config)
    }

    #[test]
    fn keys_are_taken_over() {
        let got = config(&[
            ("translation_strategy", "NoTranslation"),
            (
                "promote_resource_attributes",
                "[service.version, 'host.name']",
            ),
            ("keep_deltas", "true"),
            ("label_name_underscores", "collapsed"),
            ("index_resource_attributes", "[]"),
        ])
        .unwrap();
        let names = ["service.version", "host.name"].map(str::to_owned).into();
        assert_eq!(got.rules.promote, Promote::Only(names));
        assert_eq!(got.rules.strategy, Strategy::NoTranslation);
        assert!(got.rules.keeps_deltas && !got.rules.keeps_underscores);
        assert!(got.index_attributes.is_empty());
        let got = config(&[
            ("promote_all_resource_attributes", "true"),
            ("ignore_resource_attributes", "os"),
        ]);
        let os = ["os".to_owned()].into();
        assert_eq!(got.unwrap().rules.promote, Promote::AllBut(os));
        for (key, _) in KEYS {
            assert!(config(&[(key, "[a, a]")]).is_err(), "{key}");
        }
    }

    #[test]
    fn contradictions_are_told() {
        let both = [
            ("promote_all_resource_attributes", "true"),
            ("promote_resource_attributes", "a"),
        ];
        assert!(config(&both).unwrap_err().contains("simultaneously"));
        let ignoring = config(&[("ignore_resource_attributes", "a")]);
        assert!(ignoring.unwrap_err().contains("unless"));
    }
}
