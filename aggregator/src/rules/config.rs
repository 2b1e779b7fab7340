//! The sections of the configuration file about rules: `global`, `rule_files`, `loki_rule_files`,
//! `kubernetes_rules`, `alerting`, written as in a prometheus.yml.
//!
//! The one rule: a key that this program does not act on is an error, not a silence.

use std::path::Path;
use std::sync::Arc;

use kansoku_model::{Labels, tenant as id};
use kansoku_parsers::config::yaml::tree::Node;
use kansoku_parsers::relabel::Rule;
use kansoku_query::number::parse_duration_ms;

use super::discovery::{self, Source};
use super::file::{self, Group, Language};
use super::globs;
use super::objects::ObjectsConfig;
use crate::config_file::Unused;
use crate::http_client::config::{self as http, HttpConfig, Read, texts};

/// The sections that are read here.
pub const SECTIONS: [&str; 5] = [
    "global",
    "rule_files",
    "loki_rule_files",
    "kubernetes_rules",
    "alerting",
];

/// What the sections say.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub evaluation_interval_ms: i64,
    pub query_offset_ms: i64,
    pub external_labels: Labels,
    /// Patterns of files with PromQL, and with LogQL.
    pub rule_files: Vec<String>,
    pub loki_rule_files: Vec<String>,
    /// PrometheusRule objects of a cluster.
    pub objects: Option<ObjectsConfig>,
    pub alert_relabel: Vec<Rule>,
    pub alertmanagers: Vec<Alertmanagers>,
}

/// Alertmanagers that are reached the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct Alertmanagers {
    pub is_https: bool,
    pub path_prefix: String,
    pub timeout_ms: i64,
    pub http: HttpConfig,
    pub sources: Vec<Source>,
    pub relabel: Vec<Rule>,
    pub alert_relabel: Vec<Rule>,
    /// Whose alerts these get; empty for those of all tenants that have none of their own.
    pub tenants: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Prometheus's.
            evaluation_interval_ms: 60_000,
            query_offset_ms: 0,
            external_labels: Labels::default(),
            rule_files: Vec::new(),
            loki_rule_files: Vec::new(),
            objects: None,
            alert_relabel: Vec::new(),
            alertmanagers: Vec::new(),
        }
    }
}

/// Keys of `global` in a prometheus.yml that are not acted on.
const UNUSED_GLOBALS: [&str; 19] = [
    "scrape_interval",
    "scrape_timeout",
    "scrape_protocols",
    "scrape_failure_log_file",
    "scrape_classic_histograms",
    "scrape_native_histograms",
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "extra_scrape_metrics",
    "query_log_file",
    "body_size_limit",
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
];

impl Config {
    /// Reads one of [`SECTIONS`].
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn read_section(&mut self, name: &str, node: &Node, unused: &mut Unused) -> Read<()> {
        if node.is_null() {
            return Ok(());
        }
        match name {
            "rule_files" => self.rule_files = texts(node)?,
            "loki_rule_files" => self.loki_rule_files = texts(node)?,
            "kubernetes_rules" => self.objects = Some(ObjectsConfig::read(node)?),
            "alerting" => {
                for (key, node) in
                    node.checked_pairs(&["alert_relabel_configs", "alertmanagers"])?
                {
                    match key {
                        "alert_relabel_configs" => self.alert_relabel = relabel(node)?,
                        _ => {
                            for item in node.items()? {
                                self.alertmanagers.push(alertmanagers(item)?);
                            }
                        }
                    }
                }
            }
            _ => self.read_global(node, unused)?,
        }
        Ok(())
    }

    fn read_global(&mut self, node: &Node, unused: &mut Unused) -> Read<()> {
        for (key, _) in node.pairs()? {
            if UNUSED_GLOBALS.contains(&key.text.as_str()) {
                let why = "it is about scraping or Prometheus's own files";
                unused.take(&key.place, &format!("global.{}", key.text), why)?;
            }
        }
        let keys = [
            "evaluation_interval",
            "rule_query_offset",
            "external_labels",
        ];
        let known: Vec<&str> = keys.into_iter().chain(UNUSED_GLOBALS).collect();
        for (key, node) in node.checked_pairs(&known)? {
            match key {
                "evaluation_interval" => {
                    let ms = duration_ms(node)?;
                    if ms == 0 {
                        return Err(node.error("must be longer than 0"));
                    }
                    self.evaluation_interval_ms = ms;
                }
                "rule_query_offset" => self.query_offset_ms = duration_ms(node)?,
                "external_labels" => {
                    let pairs = node.pairs()?.iter();
                    let pairs = pairs.map(|(key, value)| Ok((key.text.as_str(), value.text()?)));
                    self.external_labels = Labels::from_pairs(pairs.collect::<Read<Vec<_>>>()?);
                }
                // It was noted above.
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rule_files.is_empty() || !self.loki_rule_files.is_empty() || self.objects.is_some()
    }

    /// The groups of all files; relative patterns are looked for below `folder`. With tenants a file
    /// belongs to the one that its folder is named for.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load_groups(&self, folder: &Path, has_tenants: bool) -> Result<Vec<Group>, Vec<String>> {
        let (mut groups, mut errors) = (Vec::new(), Vec::new());
        let promql = self.rule_files.iter().map(|p| (p, Language::Promql));
        let logql = self.loki_rule_files.iter().map(|p| (p, Language::Logql));
        for (pattern, language) in promql.chain(logql) {
            let paths = match globs::files(pattern, folder) {
                Ok(paths) => paths,
                Err(message) => {
                    errors.push(message);
                    continue;
                }
            };
            for path in paths {
                let tenant = match tenant_of(&path, has_tenants) {
                    Ok(tenant) => tenant,
                    Err(message) => {
                        errors.push(message);
                        continue;
                    }
                };
                match file::read(&path.to_string_lossy(), language) {
                    Ok(read) => groups.extend(read.into_iter().map(|group| Group {
                        tenant: Arc::clone(&tenant),
                        ..group
                    })),
                    Err(wrong) => errors.extend(wrong),
                }
            }
        }
        // A file that two patterns stand for counts once.
        let mut seen = std::collections::BTreeSet::new();
        groups.retain(|g: &Group| seen.insert((g.file.clone(), g.name.clone())));
        match errors.is_empty() {
            true => Ok(groups),
            false => Err(errors),
        }
    }
}

/// Whose the rules of a file are: as with the rulers of Mimir and Loki, the folder says it.
fn tenant_of(path: &Path, has_tenants: bool) -> Result<Arc<str>, String> {
    if !has_tenants {
        return Ok(Arc::from(""));
    }
    let name = path.parent().and_then(Path::file_name);
    let name = name.and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    match id::check(name) {
        Ok(()) => Ok(Arc::from(name)),
        Err(message) => Err(format!(
            "{}: with --tenants.enabled the folder of a rule file is the name of its tenant, such as rules/TENANT/a.yml: {message}",
            path.display()
        )),
    }
}

fn duration_ms(node: &Node) -> Read<i64> {
    parse_duration_ms(node.text()?).map_err(|e| node.error(e))
}

/// Rules of relabelling.
///
/// # Errors
/// What is wrong with them.
pub fn relabel(node: &Node) -> Read<Vec<Rule>> {
    node.items()?.iter().map(Rule::read).collect()
}

const ALERTMANAGER_KEYS: [&str; 7] = [
    "scheme",
    "path_prefix",
    "timeout",
    "api_version",
    "relabel_configs",
    "alert_relabel_configs",
    "tenants",
];

fn alertmanagers(node: &Node) -> Read<Alertmanagers> {
    let mut out = Alertmanagers {
        is_https: false,
        path_prefix: String::new(),
        timeout_ms: 10_000,
        http: HttpConfig::default(),
        sources: Vec::new(),
        relabel: Vec::new(),
        alert_relabel: Vec::new(),
        tenants: Vec::new(),
    };
    for (key, value) in node.pairs()? {
        discovery::check_supported(&key.text, value)?;
    }
    let all = ALERTMANAGER_KEYS
        .into_iter()
        .chain(discovery::KEYS)
        .chain(http::KEYS);
    for (key, node) in node.checked_pairs(&all.collect::<Vec<_>>())? {
        match key {
            "scheme" => {
                out.is_https = match node.text()? {
                    "http" => false,
                    "https" => true,
                    other => {
                        return Err(
                            node.error(format!("scheme '{other}' is neither http nor https"))
                        );
                    }
                }
            }
            "path_prefix" => {
                let prefix = node.text()?.trim_matches('/');
                if !prefix.is_empty() {
                    out.path_prefix = format!("/{prefix}");
                }
            }
            "timeout" => out.timeout_ms = duration_ms(node)?.max(1),
            "api_version" => {
                if node.text()? != "v2" {
                    return Err(node.error("expected Alertmanager api version to be v2; v1 is gone since Alertmanager 0.27"));
                }
            }
            "tenants" => {
                out.tenants = texts(node)?;
                for name in &out.tenants {
                    id::check(name).map_err(|e| node.error(e))?;
                }
            }
            "relabel_configs" => out.relabel = relabel(node)?,
            "alert_relabel_configs" => out.alert_relabel = relabel(node)?,
            _ if discovery::KEYS.contains(&key) => {
                for item in node.items()? {
                    out.sources.push(Source::read(key, item)?);
                }
            }
            _ => out.http.take(key, node)?,
        }
    }
    out.http.check(node)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use kansoku_parsers::config::yaml::tree;

    use super::*;
    use crate::http_client::config::Credentials;

    fn read(text: &str) -> Result<Config, String> {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        let mut config = Config::default();
        let mut unused = Unused::default();
        for (key, node) in roots[0].pairs().unwrap() {
            let read = config.read_section(&key.text, node, &mut unused);
            read.map_err(|e| e.to_string())?;
        }
        Ok(config)
    }

    #[test]
    fn sections_of_a_prometheus_yml_are_read() {
        let config = read(
            "global: {evaluation_interval: 30s, external_labels: {cluster: a}}\nrule_files: ['rules/*.yml']\nalerting:\n  alert_relabel_configs:\n  - {action: labeldrop, regex: replica}\n  alertmanagers:\n  - scheme: https\n    path_prefix: /am/\n    timeout: 3s\n    api_version: v2\n    static_configs: [{targets: ['a:9093', 'b:9093']}]\n    basic_auth: {username: u, password: p}\n",
        )
        .unwrap();
        assert_eq!(config.evaluation_interval_ms, 30_000);
        assert_eq!(config.external_labels.get("cluster"), Some("a"));
        let one = &config.alertmanagers[0];
        assert!(one.is_https && config.has_rules());
        assert_eq!(one.path_prefix, "/am");
        assert_eq!(one.sources.len(), 1);
        assert!(matches!(
            one.http.credentials,
            Some(Credentials::Basic { .. })
        ));
        assert_eq!(config.alert_relabel.len(), 1);
    }

    #[test]
    fn mistakes_have_places() {
        for (text, expected) in [
            (
                "global: {evaluation_intervall: 1m}",
                "k.yml:1:10: unknown key 'evaluation_intervall'; did you mean",
            ),
            ("global: {evaluation_interval: 0}", "longer than 0"),
            (
                "alerting: {alertmanagers: [{consul_sd_configs: []}]}",
                "'consul_sd_configs' is not spoken",
            ),
            ("alerting: {alertmanagers: [{api_version: v1}]}", "to be v2"),
            (
                "alerting: {alertmanagers: [{scheme: ftp}]}",
                "neither http nor https",
            ),
            (
                "alerting: {alertmanagers: [{static_configs: [{targets: ['http://a']}]}]}",
                "not a valid hostname",
            ),
            (
                "alerting: {alertmanagers: [{tls_config: {cert_file: a}}]}",
                "belong together",
            ),
            ("rule_files: a", "expected a list"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
