//! The configuration file: limits of the ingest, what the aggregator stores about itself, rules and
//! alerting ([`crate::rules::config`]), dashboards of a cluster.
//!
//! YAML of one document. The one rule: an unknown key is an error that names its line and the nearest
//! known one, so that nothing written is ever without effect.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{did_you_mean, parse_size};
use kansoku_model::{ConfigError, Labels, Place, tenant as id};
use kansoku_parsers::config::yaml::tree::{self, Node, Value};
use kansoku_query::logql::matchers_of_selector;
use kansoku_query::number::parse_duration_ms;
use kansoku_store::RetentionRule;

use crate::access::{AccessConfig, config as access_config};
use crate::documents::config_maps::ConfigMapsConfig;
use crate::otlp_config::{self, OtlpConfig};
use crate::rules::config::{Config as RuleConfig, SECTIONS};
use crate::tenants::limits::{self, Limits};

/// What the file may say.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigFile {
    /// The file's text, for `/api/v1/status/config`.
    pub text: String,
    /// Bytes of a remote write or Loki push after decompression.
    pub max_request_bytes: usize,
    /// How far ahead of this machine's clock a pushed sample or line may be.
    pub max_ahead: Duration,
    /// What every tenant may send and ask for.
    pub limits: Limits,
    /// The limits of tenants that have some of their own, by name.
    pub tenants: BTreeMap<String, Limits>,
    /// Shorter times for some streams and series.
    pub retention: Vec<RetentionRule>,
    /// How OTLP is translated.
    pub otlp: OtlpConfig,
    /// How often the aggregator stores its own metrics; zero is never.
    pub own_metrics_interval: Duration,
    /// Labels that series get which leave for another Prometheus (remote read, federation), sorted by name.
    pub external_labels: Vec<(String, String)>,
    /// Labels added to its own metrics.
    pub own_metrics_labels: Vec<(String, String)>,
    /// Rules and Alertmanagers.
    pub rules: RuleConfig,
    /// Dashboards in ConfigMaps of a cluster.
    pub dashboards: Option<ConfigMapsConfig>,
    /// Sections and keys of Prometheus that were accepted and are not acted on, each with its place.
    pub unused: Vec<String>,
    /// Users and tokens, where it has any word on them.
    pub access: Option<AccessConfig>,
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            text: String::new(),
            // Prometheus refuses larger requests as well.
            max_request_bytes: 32 << 20,
            // Prometheus's and Loki's grace for clocks that run ahead.
            max_ahead: Duration::from_secs(600),
            limits: Limits::default(),
            tenants: BTreeMap::new(),
            retention: Vec::new(),
            otlp: OtlpConfig::default(),
            // Prometheus's usual scrape interval.
            own_metrics_interval: Duration::from_secs(15),
            external_labels: Vec::new(),
            own_metrics_labels: Vec::new(),
            rules: RuleConfig::default(),
            dashboards: None,
            unused: Vec::new(),
            access: None,
        }
    }
}

/// What to do with sections and keys of a prometheus.yml that are not acted on.
#[derive(Debug, Default)]
pub struct Unused {
    accepts: bool,
    found: Vec<String>,
}

/// The sections of a prometheus.yml that are not acted on, and who does what they are for.
const OF_PROMETHEUS: [(&str, &str); 7] = [
    (
        "scrape_configs",
        "this program does not scrape: agents do (their input prometheus_scrape), or a Prometheus that remote-writes here",
    ),
    (
        "scrape_config_files",
        "this program does not scrape: agents do",
    ),
    (
        "remote_write",
        "what is stored here is not sent on; others can read it (/api/v1/read, /federate)",
    ),
    ("remote_read", "queries read this program's own store only"),
    (
        "storage",
        "the store is set by flags (--storage.*) and limits",
    ),
    ("tracing", "this program sends no traces"),
    ("runtime", "it is about Go's memory"),
];

impl Unused {
    /// Takes note of a section or key.
    ///
    /// # Errors
    /// When such are not accepted.
    pub fn take(&mut self, place: &Place, key: &str, why: &str) -> Result<(), ConfigError> {
        if self.accepts {
            self.found
                .push(format!("{place}: '{key}' is not acted on: {why}"));
            return Ok(());
        }
        let message = format!(
            "'{key}' is not acted on: {why}; leave it out, or start with --config.prometheus-compat to have it accepted with a warning"
        );
        Err(ConfigError::new(place, message))
    }
}

/// All keys with what they want, besides those of [`limits`].
const KEYS: [(&str, &str); 5] = [
    ("limits.max_request_size", "a size of 1MiB to 128MiB"),
    ("limits.max_ahead", "a duration such as 10m"),
    (
        "own_metrics.interval",
        "a duration of at least 1s, or 0 for never",
    ),
    ("own_metrics.labels", "a section of labels"),
    ("external_labels", "a section of labels"),
];

/// The sections whose keys are free.
const LABELS: &str = "own_metrics.labels.";
const EXTERNAL_LABELS: &str = "external_labels.";

/// The section of limits, and that of tenants with limits of their own, each a section of its name.
const LIMITS: &str = "limits.";
const TENANTS: &str = "tenants.";

/// The section of OTLP.
const OTLP: &str = "otlp.";

/// The section of rules, each a section of its name with `selector` and `period`.
const RETENTION: &str = "retention.";

/// The sections that [`ConfigFile::set`] reads, key by key.
const OWN_SECTIONS: [&str; 6] = [
    "limits",
    "tenants",
    "retention",
    "otlp",
    "own_metrics",
    "external_labels",
];

/// Parts hold a day; a shorter time would only be hidden.
const PERIOD_MIN_MS: i64 = 3_600_000;

/// More is no configuration.
const FILE_MAX_BYTES: u64 = 1 << 20;

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be read, or what is wrong with which line.
    pub fn read(path: &Path, accepts_unused: bool) -> Result<Self, String> {
        let fail = |e: std::io::Error| {
            format!(
                "failed to read the configuration {}: {e}; name an existing file or leave --config.file out",
                path.display()
            )
        };
        let len = std::fs::metadata(path).map_err(fail)?.len();
        if len > FILE_MAX_BYTES {
            return Err(format!(
                "the configuration {} has {len} bytes; expected at most {FILE_MAX_BYTES}",
                path.display()
            ));
        }
        let text = std::fs::read_to_string(path).map_err(fail)?;
        let read = Self::parse_with(&path.to_string_lossy(), &text, accepts_unused);
        read.map_err(|e| e.to_string())
    }

    /// Reads the text of a file called `name`.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(name, text, false)
    }

    /// Reads the text of a file called `name`; with `accepts_unused` sections of a prometheus.yml that are
    /// not acted on are noted and no errors.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse_with(name: &str, text: &str, accepts_unused: bool) -> Result<Self, ConfigError> {
        let mut unused = Unused {
            accepts: accepts_unused,
            found: Vec::new(),
        };
        let mut config = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        let mut entries = entries(name, text, &mut config, &mut unused)?;
        config.unused = unused.found;
        // Tenants begin with what all have, wherever that stands.
        entries.sort_by_key(|entry| entry.key.starts_with(TENANTS));
        let mut seen = BTreeSet::new();
        for entry in entries {
            if !seen.insert(entry.key.clone()) {
                let message = format!("'{}' is set twice; remove one", entry.key);
                return Err(ConfigError::new(&entry.place, message));
            }
            config.set(&entry)?;
        }
        let of_file = |message| ConfigError::new(&Place::new(&Arc::from(name), 1), message);
        config.otlp.finish().map_err(of_file)?;
        config.join_external_labels(name)?;
        let is_half = |r: &&RetentionRule| r.matchers.is_empty() || r.period_ms == 0;
        if let Some(rule) = config.retention.iter().find(is_half) {
            let message = format!("retention '{}' needs both selector and period", rule.name);
            return Err(ConfigError::new(&Place::new(&Arc::from(name), 1), message));
        }
        Ok(config)
    }

    /// External labels may stand at the top or, as in a prometheus.yml, in `global`: they are the same.
    fn join_external_labels(&mut self, name: &str) -> Result<(), ConfigError> {
        let of_rules = &self.rules.external_labels;
        match (self.external_labels.is_empty(), of_rules.is_empty()) {
            (false, false) => {
                let message = "external_labels stand at the top and in 'global'; remove one";
                return Err(ConfigError::new(&Place::new(name, 1), message));
            }
            (false, true) => {
                let pairs = self.external_labels.iter();
                let pairs = pairs.map(|(n, v)| (n.as_str(), v.as_str()));
                self.rules.external_labels = Labels::from_pairs(pairs);
            }
            (true, _) => {
                let pairs = of_rules.iter();
                let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned()));
                self.external_labels = pairs.collect();
            }
        }
        Ok(())
    }

    fn set(&mut self, entry: &Entry) -> Result<(), ConfigError> {
        if let Some(label) = entry.key.strip_prefix(LABELS) {
            let pair = (label.to_owned(), entry.value.clone());
            self.own_metrics_labels.push(pair);
            return Ok(());
        }
        if let Some(label) = entry.key.strip_prefix(EXTERNAL_LABELS) {
            let pair = (label.to_owned(), entry.value.clone());
            self.external_labels.push(pair);
            self.external_labels.sort();
            return Ok(());
        }
        if let Some(key) = entry.key.strip_prefix(RETENTION) {
            let wrong = |message| ConfigError::new(&entry.place, message);
            return self.set_retention(key, &entry.value).map_err(wrong);
        }
        if let Some(path) = entry.key.strip_prefix(TENANTS) {
            return self.set_tenant(path, entry);
        }
        if let Some(key) = entry.key.strip_prefix(LIMITS)
            && let Some((_, form)) = limits::KEYS.iter().find(|(name, _)| *name == key)
        {
            let set = self.limits.set(key, &entry.value);
            return set.ok_or_else(|| wrong_value(entry, form));
        }
        if let Some(key) = entry.key.strip_prefix(OTLP)
            && let Some((_, form)) = otlp_config::KEYS.iter().find(|(name, _)| *name == key)
        {
            let set = self.otlp.set(key, &entry.value);
            return set.ok_or_else(|| wrong_value(entry, form));
        }
        let Some((_, form)) = KEYS.iter().find(|(key, _)| *key == entry.key) else {
            let of_limits = limits::KEYS.iter().map(|(key, _)| format!("{LIMITS}{key}"));
            let of_otlp = otlp_config::KEYS
                .iter()
                .map(|(key, _)| format!("{OTLP}{key}"));
            let known: Vec<String> = KEYS
                .iter()
                .map(|(key, _)| (*key).to_owned())
                .chain(of_limits)
                .chain(of_otlp)
                .collect();
            let hint = did_you_mean(&entry.key, known.iter().map(String::as_str));
            let message = format!("unknown key '{}'{hint}", entry.key);
            return Err(ConfigError::new(&entry.place, message));
        };
        self.set_known(entry)
            .ok_or_else(|| wrong_value(entry, form))
    }

    /// A limit of one tenant, whose name may have dots.
    fn set_tenant(&mut self, path: &str, entry: &Entry) -> Result<(), ConfigError> {
        let wrong = |message| Err(ConfigError::new(&entry.place, message));
        let Some((name, key)) = path.rsplit_once('.') else {
            return wrong("expected 'tenants:', a name, and limits below it".to_owned());
        };
        if let Err(what) = id::check(name) {
            return wrong(what);
        }
        let keys = || limits::KEYS.iter().chain(&limits::TENANT_KEYS);
        let Some((_, form)) = keys().find(|(known, _)| *known == key) else {
            let hint = did_you_mean(key, keys().map(|(known, _)| *known));
            return wrong(format!("unknown key '{key}' of a tenant{hint}"));
        };
        let limits = self.tenants.entry(name.to_owned());
        // `limits` was read before.
        let limits = limits.or_insert_with(|| self.limits.clone());
        let set = limits.set(key, &entry.value);
        set.ok_or_else(|| wrong_value(entry, form))
    }

    /// One of the two keys of a rule.
    fn set_retention(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (name, what) = key
            .rsplit_once('.')
            .ok_or("expected 'retention:', a name, and 'selector' and 'period' below it")?;
        let at = self.retention.iter().position(|r| r.name == name);
        let at = at.unwrap_or_else(|| {
            self.retention.push(RetentionRule {
                name: name.to_owned(),
                matchers: Vec::new(),
                period_ms: 0,
            });
            self.retention.len() - 1
        });
        let rule = &mut self.retention[at];
        match what {
            "selector" => {
                rule.matchers = matchers_of_selector(value).map_err(|e| e.to_string())?;
                if rule.matchers.is_empty() {
                    let cure = "for all data there is --storage.retention.time";
                    return Err(format!("'{key}' selects everything; {cure}"));
                }
            }
            "period" => {
                let ms = parse_duration_ms(value).ok();
                rule.period_ms = ms.filter(|ms| *ms >= PERIOD_MIN_MS).ok_or_else(|| {
                    format!("'{key}' is '{value}', but must be a duration of at least 1h")
                })?;
            }
            _ => {
                let hint = did_you_mean(what, ["selector", "period"].into_iter());
                return Err(format!("unknown key '{what}' of a retention{hint}"));
            }
        }
        Ok(())
    }

    /// `None` when the value is not what the key wants.
    fn set_known(&mut self, entry: &Entry) -> Option<()> {
        let size = |least: u64| {
            let bytes = parse_size(&entry.value).filter(|n| (least..=128 << 20).contains(n));
            bytes.and_then(|n| usize::try_from(n).ok())
        };
        let time = || {
            let ms = u64::try_from(parse_duration_ms(&entry.value).ok()?).ok()?;
            Some(Duration::from_millis(ms))
        };
        match entry.key.as_str() {
            "limits.max_request_size" => self.max_request_bytes = size(1 << 20)?,
            "limits.max_ahead" => self.max_ahead = time()?,
            "own_metrics.interval" => {
                let fits = |d: &Duration| d.is_zero() || *d >= Duration::from_secs(1);
                self.own_metrics_interval = time().filter(fits)?;
            }
            _ => return None,
        }
        Some(())
    }
}

fn wrong_value(entry: &Entry, form: &str) -> ConfigError {
    let message = format!("'{}' is '{}', but must be {form}", entry.key, entry.value);
    ConfigError::new(&entry.place, message)
}

/// A value and the dotted path of its key.
struct Entry {
    key: String,
    value: String,
    place: Place,
}

/// All values below their dotted keys; the sections of rules and access go to `config`.
fn entries(
    name: &str,
    text: &str,
    config: &mut ConfigFile,
    unused: &mut Unused,
) -> Result<Vec<Entry>, ConfigError> {
    let roots = tree::parse(name, text.as_bytes(), &mut Vec::new())?;
    let mut entries = Vec::new();
    if let Some(second) = roots.get(1) {
        return Err(second.error("a second document; write all into one"));
    }
    let Some(root) = roots.first().filter(|root| !root.is_null()) else {
        return Ok(entries);
    };
    let mut seen = BTreeSet::new();
    for (key, node) in root.pairs()? {
        if !seen.insert(&key.text) {
            let message = format!("'{}' is set twice; remove one", key.text);
            return Err(ConfigError::new(&key.place, message));
        }
        if SECTIONS.contains(&key.text.as_str()) {
            config.rules.read_section(&key.text, node, unused)?;
        } else if key.text == ConfigMapsConfig::SECTION {
            if !node.is_null() {
                config.dashboards = Some(ConfigMapsConfig::read(node)?);
            }
        } else if key.text == access_config::SECTION {
            config.access = Some(match node.is_null() {
                true => AccessConfig::default(),
                false => AccessConfig::read(node)?,
            });
        } else if let Some((name, why)) = OF_PROMETHEUS.iter().find(|(name, _)| *name == key.text) {
            unused.take(&key.place, name, why)?;
        } else if key
            .text
            .split('.')
            .next()
            .is_some_and(|section| OWN_SECTIONS.contains(&section))
        {
            flatten(&key.text, &key.place, node, &mut entries)?;
        } else {
            let others = [ConfigMapsConfig::SECTION, access_config::SECTION];
            let known = OWN_SECTIONS.into_iter().chain(SECTIONS).chain(others);
            let message = format!(
                "unknown key '{}'{}",
                key.text,
                did_you_mean(&key.text, known)
            );
            return Err(ConfigError::new(&key.place, message));
        }
    }
    Ok(entries)
}

/// Whether it is a limit, of all tenants or of one, that is a list.
fn is_list_of_limits(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or_default();
    (key.starts_with(LIMITS) || key.starts_with(TENANTS)) && limits::LISTS.contains(&name)
}

fn flatten(
    key: &str,
    place: &Place,
    node: &Node,
    entries: &mut Vec<Entry>,
) -> Result<(), ConfigError> {
    match &node.value {
        Value::Scalar { .. } if node.is_null() => {}
        Value::Scalar { text, .. } => entries.push(Entry {
            key: key.to_owned(),
            value: text.clone(),
            place: place.clone(),
        }),
        // The section's own reader takes lists of names as they are written in one line.
        Value::List(items) if key.starts_with(OTLP) || is_list_of_limits(key) => {
            let names = items.iter().map(Node::text);
            let names = names.collect::<Result<Vec<_>, _>>()?;
            entries.push(Entry {
                key: key.to_owned(),
                value: format!("[{}]", names.join(", ")),
                place: place.clone(),
            });
        }
        Value::List(_) => return Err(node.error("a list where 'key: value' must stand")),
        Value::Map(pairs) => {
            for (inner, value) in pairs {
                flatten(
                    &format!("{key}.{}", inner.text),
                    &inner.place,
                    value,
                    entries,
                )?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
# all keys
limits:
  max_request_size: 16MiB   # decompressed
  max_line_size: 1MiB
  discover_service_name: [app, job]
  discover_log_levels: false
  log_level_fields:
    - lvl
  log_level_from_json_max_depth: 0
  max_structured_metadata_size: 1KiB
  max_structured_metadata_entries_count: 5
  max_labels: 30
  max_ahead: 1h
own_metrics:
  interval: 30s
  labels:
    cluster: \"home # 1\"
";

    #[test]
    fn retention_has_a_selector_and_a_period() {
        let read = |text: &str| {
            let config = ConfigFile::parse("k.yaml", text);
            config.map(|c| c.retention).map_err(|e| e.to_string())
        };
        let two = "retention:\n  dev:\n    selector: '{namespace=\"dev\", app=~\"a.*\"}'\n    period: 3d\n  tmp:\n    period: 1h\n    selector: '{namespace=\"tmp\"}'\n";
        let rules = read(two).unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(
            (rules[0].name.as_str(), rules[0].matchers.len()),
            ("dev", 2)
        );
        assert_eq!(rules[1].period_ms, 3_600_000);
        for (text, expected) in [
            (
                "retention:\n  dev:\n    period: 3d\n",
                "needs both selector and period",
            ),
            ("retention:\n  dev:\n    period: 3m\n", "at least 1h"),
            (
                "retention:\n  dev:\n    selector: '{}'\n",
                "selects everything",
            ),
            ("retention:\n  dev:\n    selector: '{a='\n", "parse error"),
            (
                "retention:\n  dev:\n    perid: 3d\n",
                "did you mean 'period'",
            ),
            ("retention:\n  period: 3d\n", "a name"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn tenants_begin_with_the_limits_of_all() {
        let text = "\
tenants:
  team.a:
    max_series: 7
    retention_time: 2d
    query_max_samples: 1000
  b:
    ingestion_rate: 1MiB
limits:
  max_series: 100
  max_streams: 5
";
        let config = ConfigFile::parse("k.yaml", text).unwrap();
        assert_eq!(config.limits.max_series, 100);
        let (a, b) = (&config.tenants["team.a"], &config.tenants["b"]);
        assert_eq!((a.max_series, a.max_streams), (7, 5));
        assert_eq!(a.retention, Some(Duration::from_secs(2 * 86_400)));
        assert_eq!(a.query_max_samples, Some(1000));
        assert_eq!((b.max_series, b.ingestion_rate_bytes), (100, 1 << 20));
        for (text, expected) in [
            (
                "tenants:\n  a:\n    max_serie: 7\n",
                "did you mean 'max_series'",
            ),
            (
                "tenants:\n  a|b:\n    max_series: 7\n",
                "unsupported character '|'",
            ),
            (
                "tenants:\n  a:\n    log_level_fields: []\n",
                "'tenants.a.log_level_fields' is '[]', but must be a list",
            ),
            (
                "limits:\n  discover_service_name: [a, '']\n",
                "'limits.discover_service_name' is '[a, ]', but must be a list",
            ),
            (
                "tenants:\n  a:\n    max_series: few\n",
                "'tenants.a.max_series' is 'few', but must be a whole number",
            ),
            ("tenants:\n  a: 7\n", "a name, and limits"),
            (
                "limits:\n  retention_time: 2d\n",
                "unknown key 'limits.retention_time'",
            ),
        ] {
            let error = ConfigFile::parse("k.yaml", text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_with_all_keys_is_read() {
        let config = ConfigFile::parse("k.yaml", WHOLE).unwrap();
        assert_eq!(config.max_request_bytes, 16 << 20);
        assert_eq!(config.limits.max_line_bytes, 1 << 20);
        assert_eq!(config.limits.max_labels, 30);
        let discovery = &config.limits.discovery;
        assert_eq!(discovery.service_labels, ["app", "job"]);
        assert_eq!(discovery.level_fields, ["lvl"]);
        assert_eq!((discovery.levels, discovery.json_depth), (false, 0));
        let metadata = (config.limits.max_metadata_bytes, config.limits.max_metadata);
        assert_eq!(metadata, (1024, 5));
        assert_eq!(config.max_ahead, Duration::from_secs(3600));
        assert_eq!(config.own_metrics_interval, Duration::from_secs(30));
        let labels = [("cluster".to_owned(), "home # 1".to_owned())];
        assert_eq!(config.own_metrics_labels, labels);
        assert_eq!(
            ConfigFile::parse("k.yaml", "").unwrap(),
            ConfigFile::default()
        );
    }

    #[test]
    fn external_labels_are_the_same_at_the_top_and_in_global() {
        let read = |text: &str| ConfigFile::parse("k.yaml", text);
        for text in [
            "external_labels: {cluster: a}",
            "global: {external_labels: {cluster: a}}",
        ] {
            let config = read(text).unwrap();
            let expected = [("cluster".to_owned(), "a".to_owned())];
            assert_eq!(config.external_labels, expected);
            assert_eq!(config.rules.external_labels.get("cluster"), Some("a"));
        }
        let both = "external_labels: {a: b}\nglobal: {external_labels: {a: b}}";
        let error = read(both).unwrap_err().to_string();
        assert!(error.contains("remove one"), "{error}");
    }

    #[test]
    fn a_whole_prometheus_yml_is_accepted_if_that_is_wanted() {
        let text = "\
global: {scrape_interval: 15s, evaluation_interval: 15s, external_labels: {a: b}}
rule_files: [r.yml]
scrape_configs: [{job_name: x, static_configs: [{targets: ['a:1']}]}]
remote_write: [{url: 'http://x'}]
storage: {tsdb: {out_of_order_time_window: 1h}}
";
        let config = ConfigFile::parse_with("p.yml", text, true).unwrap();
        assert_eq!(config.rules.evaluation_interval_ms, 15_000);
        let places: Vec<&str> = config
            .unused
            .iter()
            .map(|w| &w[..w.find(" is").unwrap()])
            .collect();
        assert_eq!(
            places,
            [
                "p.yml:1:10: 'global.scrape_interval'",
                "p.yml:3:1: 'scrape_configs'",
                "p.yml:4:1: 'remote_write'",
                "p.yml:5:1: 'storage'"
            ]
        );
        let error = ConfigFile::parse("p.yml", &text[text.find("rule").unwrap()..]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("p.yml:2:1: 'scrape_configs' is not acted on"),
            "{error}"
        );
        assert!(error.contains("--config.prometheus-compat"), "{error}");
        // What is nobody's stays an error.
        assert!(ConfigFile::parse_with("p.yml", "scrape_config: []", true).is_err());
    }

    #[test]
    fn mistakes_name_line_and_cure() {
        let cases = [
            // A section that says nothing is as wrong as one that says something.
            (
                "retenton: {}",
                "k.yaml:1:1: unknown key 'retenton'; did you mean 'retention'?",
            ),
            (
                "loki_rules_files:",
                "k.yaml:1:1: unknown key 'loki_rules_files'; did you mean 'loki_rule_files'?",
            ),
            (
                "rules: {a: b}",
                "k.yaml:1:1: unknown key 'rules'; known: access, alerting, external_labels, global,",
            ),
            (
                "limits:\n  max_label: 3",
                "k.yaml:2:3: unknown key 'limits.max_label'; did you mean 'limits.max_labels'?",
            ),
            (
                "limits:\n  max_labels: many",
                "k.yaml:2:3: 'limits.max_labels' is 'many', but must be a number of 1 to 1000",
            ),
            (
                "limits:\n  max_ahead: 1h\n  max_ahead: 2h",
                "k.yaml:3:3: 'limits.max_ahead' is set twice; remove one",
            ),
            ("own_metrics:\n\tinterval: 1s", "k.yaml:2:"),
            (
                "limits: [a]",
                "k.yaml:1:9: a list where 'key: value' must stand",
            ),
            ("- a", "k.yaml:1:1: expected a map, found a list"),
            ("limits", "k.yaml:1:1: expected a map, found a value"),
            ("limits:\n---\na: b", "k.yaml:3:1: a second document"),
            (
                "global: {}\nglobal: {}",
                "k.yaml:2:1: 'global' is set twice; remove one",
            ),
            (
                "own_metrics:\n  interval: 10ms",
                "k.yaml:2:3: 'own_metrics.interval' is '10ms', but must be a duration of at least 1s, or 0 for never",
            ),
        ];
        for (text, expected) in cases {
            let error = ConfigFile::parse("k.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
