//! The sections of the configuration file about rules: `global`, `rule_files`, `loki_rule_files`,
//! `alerting`, written as in a prometheus.yml.
//!
//! The one rule: a key that this program does not act on is an error, not a silence.

use std::path::{Path, PathBuf};

use kansoku_model::{ConfigError, Labels};
use kansoku_parsers::config::yaml::tree::Node;
use kansoku_parsers::relabel::Rule;
use kansoku_query::number::parse_duration_ms;

use super::file::{self, Group, Language};
use super::globs;

/// The sections that are read here.
pub const SECTIONS: [&str; 4] = ["global", "rule_files", "loki_rule_files", "alerting"];

/// What the sections say.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub evaluation_interval_ms: i64,
    pub query_offset_ms: i64,
    pub external_labels: Labels,
    /// Patterns of files with PromQL, and with LogQL.
    pub rule_files: Vec<String>,
    pub loki_rule_files: Vec<String>,
    pub alert_relabel: Vec<Rule>,
    pub alertmanagers: Vec<Alertmanagers>,
}

/// Alertmanagers that are reached the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct Alertmanagers {
    pub is_https: bool,
    pub path_prefix: String,
    pub timeout_ms: i64,
    /// Host and port.
    pub targets: Vec<String>,
    pub alert_relabel: Vec<Rule>,
    /// The value of the Authorization header.
    pub authorization: Option<String>,
    pub tls: Tls,
}

/// How the other side of a TLS connection is known, and what it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    /// Certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
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
            alert_relabel: Vec::new(),
            alertmanagers: Vec::new(),
        }
    }
}

type Read<T> = Result<T, ConfigError>;

impl Config {
    /// Reads one of [`SECTIONS`].
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn read_section(&mut self, name: &str, node: &Node) -> Read<()> {
        if node.is_null() {
            return Ok(());
        }
        match name {
            "rule_files" => self.rule_files = texts(node)?,
            "loki_rule_files" => self.loki_rule_files = texts(node)?,
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
            _ => self.read_global(node)?,
        }
        Ok(())
    }

    fn read_global(&mut self, node: &Node) -> Read<()> {
        let keys = [
            "evaluation_interval",
            "rule_query_offset",
            "external_labels",
        ];
        for (key, node) in node.checked_pairs(&keys)? {
            match key {
                "evaluation_interval" => {
                    let ms = duration_ms(node)?;
                    if ms == 0 {
                        return Err(node.error("must be longer than 0"));
                    }
                    self.evaluation_interval_ms = ms;
                }
                "rule_query_offset" => self.query_offset_ms = duration_ms(node)?,
                _ => {
                    let pairs = node.pairs()?.iter();
                    let pairs = pairs.map(|(key, value)| Ok((key.text.as_str(), value.text()?)));
                    self.external_labels = Labels::from_pairs(pairs.collect::<Read<Vec<_>>>()?);
                }
            }
        }
        Ok(())
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rule_files.is_empty() || !self.loki_rule_files.is_empty()
    }

    /// The groups of all files; relative patterns are looked for below `folder`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load_groups(&self, folder: &Path) -> Result<Vec<Group>, Vec<String>> {
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
                match file::read(&path.to_string_lossy(), language) {
                    Ok(read) => groups.extend(read),
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

fn texts(node: &Node) -> Read<Vec<String>> {
    let items = node.items()?.iter();
    items.map(|item| item.text().map(str::to_owned)).collect()
}

fn duration_ms(node: &Node) -> Read<i64> {
    parse_duration_ms(node.text()?).map_err(|e| node.error(e))
}

fn relabel(node: &Node) -> Read<Vec<Rule>> {
    node.items()?.iter().map(Rule::read).collect()
}

fn secret(node: &Node, path: &Node) -> Read<String> {
    let path = path.text()?;
    let text = std::fs::read_to_string(path)
        .map_err(|e| node.error(format!("failed to read {path}: {e}")))?;
    Ok(text.trim().to_owned())
}

const ALERTMANAGER_KEYS: [&str; 9] = [
    "scheme",
    "path_prefix",
    "timeout",
    "api_version",
    "static_configs",
    "alert_relabel_configs",
    "basic_auth",
    "authorization",
    "tls_config",
];

fn alertmanagers(node: &Node) -> Read<Alertmanagers> {
    let mut out = Alertmanagers {
        is_https: false,
        path_prefix: String::new(),
        timeout_ms: 10_000,
        targets: Vec::new(),
        alert_relabel: Vec::new(),
        authorization: None,
        tls: Tls::default(),
    };
    for (key, node) in node.checked_pairs(&ALERTMANAGER_KEYS)? {
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
            "static_configs" => {
                for item in node.items()? {
                    out.targets.extend(targets(item)?);
                }
            }
            "alert_relabel_configs" => out.alert_relabel = relabel(node)?,
            "basic_auth" => out.authorization = Some(basic(node)?),
            "authorization" => out.authorization = Some(authorization(node)?),
            _ => out.tls = tls(node)?,
        }
    }
    Ok(out)
}

fn targets(node: &Node) -> Read<Vec<String>> {
    let mut found = Vec::new();
    for (key, node) in node.checked_pairs(&["targets"])? {
        debug_assert_eq!(key, "targets");
        for item in node.items()? {
            let target = item.text()?;
            if target.is_empty() || target.contains('/') {
                let message = format!(
                    "\"{target}\" is not a valid hostname; expected host:port, without scheme and path"
                );
                return Err(item.error(message));
            }
            found.push(target.to_owned());
        }
    }
    Ok(found)
}

fn basic(node: &Node) -> Read<String> {
    use base64::Engine as _;
    let (mut name, mut password) = (String::new(), String::new());
    for (key, value) in node.checked_pairs(&["username", "password", "password_file"])? {
        match key {
            "username" => name = value.text()?.to_owned(),
            "password" => password = value.text()?.to_owned(),
            _ => password = secret(node, value)?,
        }
    }
    let both = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    Ok(format!("Basic {both}"))
}

fn authorization(node: &Node) -> Read<String> {
    let (mut kind, mut credentials) = ("Bearer".to_owned(), String::new());
    for (key, value) in node.checked_pairs(&["type", "credentials", "credentials_file"])? {
        match key {
            "type" => kind = value.text()?.to_owned(),
            "credentials" => credentials = value.text()?.to_owned(),
            _ => credentials = secret(node, value)?,
        }
    }
    Ok(format!("{kind} {credentials}"))
}

fn tls(node: &Node) -> Read<Tls> {
    let mut out = Tls::default();
    let (mut certificate, mut private) = (None, None);
    for (key, value) in node.checked_pairs(&["ca_file", "cert_file", "key_file"])? {
        let path = Some(PathBuf::from(value.text()?));
        match key {
            "ca_file" => out.ca_file = path,
            "cert_file" => certificate = path,
            _ => private = path,
        }
    }
    out.identity = match (certificate, private) {
        (Some(certificate), Some(private)) => Some((certificate, private)),
        (None, None) => None,
        _ => return Err(node.error("cert_file and key_file belong together; set both or neither")),
    };
    Ok(out)
}

#[cfg(test)]
mod tests {
    use kansoku_parsers::config::yaml::tree;

    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        let mut config = Config::default();
        for (key, node) in roots[0].pairs().unwrap() {
            let read = config.read_section(&key.text, node);
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
        assert_eq!(one.targets, ["a:9093", "b:9093"]);
        assert_eq!(one.authorization.as_deref(), Some("Basic dTpw"));
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
                "alerting: {alertmanagers: [{kubernetes_sd_configs: []}]}",
                "unknown key 'kubernetes_sd_configs'",
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
