//! Where Alertmanagers are found: written out, in files, by HTTP, DNS or the Kubernetes API, as Prometheus
//! finds its targets.
//!
//! A source gives all of its targets anew whenever something changed. The one rule: while a source
//! cannot be asked, what it said last stays.

mod dns;
mod files;
mod http;
mod kubernetes;

use std::time::Duration;

use kansoku_model::ConfigError;
use kansoku_parsers::config::yaml::tree::Node;
use kansoku_parsers::relabel::label_set::LabelSet;
use kansoku_query::number::parse_duration_ms;

use crate::http_client::config::{Read, texts};

/// The fields that sources stand in.
pub const KEYS: [&str; 5] = [
    "static_configs",
    "file_sd_configs",
    "http_sd_configs",
    "dns_sd_configs",
    "kubernetes_sd_configs",
];

/// The label that holds host and port.
pub const ADDRESS: &str = "__address__";

/// One source.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Static(Vec<LabelSet>),
    Files(files::Files),
    Http(Box<http::Http>),
    Dns(dns::Dns),
    Kubernetes(Box<kubernetes::Kubernetes>),
}

/// Says which of Prometheus's fields about finding targets are not acted on.
///
/// # Errors
/// For such a field.
pub fn check_supported(key: &str, node: &Node) -> Read<()> {
    if key == "sigv4" {
        return Err(node.error("requests are not signed for AWS (sigv4); leave it out"));
    }
    if key.ends_with("_sd_configs") && !KEYS.contains(&key) {
        return Err(node.error(format!(
            "'{key}' is not spoken; Alertmanagers are found by {}",
            KEYS.join(", ")
        )));
    }
    Ok(())
}

impl Source {
    /// Reads an item of one of [`KEYS`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &str, node: &Node) -> Read<Self> {
        match key {
            "static_configs" => group(node).map(Self::Static),
            "file_sd_configs" => files::Files::read(node).map(Self::Files),
            "http_sd_configs" => http::Http::read(node).map(|h| Self::Http(Box::new(h))),
            "dns_sd_configs" => dns::Dns::read(node).map(Self::Dns),
            _ => kubernetes::Kubernetes::read(node).map(|k| Self::Kubernetes(Box::new(k))),
        }
    }

    /// What is known at once.
    #[must_use]
    pub fn first(&self) -> Vec<LabelSet> {
        match self {
            Self::Static(targets) => targets.clone(),
            Self::Files(files) => files.first(),
            Self::Http(_) | Self::Dns(_) | Self::Kubernetes(_) => Vec::new(),
        }
    }

    /// Looks for targets for ever, and tells of all whenever they changed.
    pub async fn run(self, tell: impl Fn(Vec<LabelSet>) + Send) {
        match self {
            Self::Static(_) => {}
            Self::Files(files) => files.run(tell).await,
            Self::Http(http) => http.run(tell).await,
            Self::Dns(dns) => dns.run(tell).await,
            Self::Kubernetes(kubernetes) => kubernetes.run(tell).await,
        }
    }
}

/// A `refresh_interval`.
fn interval(node: &Node) -> Read<Duration> {
    let ms = parse_duration_ms(node.text()?).map_err(|e| node.error(e))?;
    match u64::try_from(ms) {
        Ok(ms) if ms >= 1000 => Ok(Duration::from_millis(ms)),
        _ => Err(node.error("must be at least 1s")),
    }
}

/// A group of targets with their common labels.
fn group(node: &Node) -> Read<Vec<LabelSet>> {
    let (mut targets, mut labels) = (Vec::new(), LabelSet::default());
    for (key, node) in node.checked_pairs(&["targets", "labels"])? {
        match key {
            "targets" => {
                for (target, node) in texts(node)?.into_iter().zip(node.items()?) {
                    check_address(&target).map_err(|e| node.error(e))?;
                    targets.push(target);
                }
            }
            _ => {
                for (name, value) in node.pairs()? {
                    if name.text.is_empty() {
                        return Err(ConfigError::new(&name.place, "a label needs a name"));
                    }
                    labels.set(&name.text, value.text()?);
                }
            }
        }
    }
    let with_labels = |target: String| {
        let mut set = labels.clone();
        set.set(ADDRESS, target);
        set
    };
    Ok(targets.into_iter().map(with_labels).collect())
}

/// Whether a text is host and port.
///
/// # Errors
/// Why not.
pub fn check_address(text: &str) -> Result<(), String> {
    match text.is_empty() || text.contains('/') {
        true => Err(format!(
            "\"{text}\" is not a valid hostname; expected host:port, without scheme and path"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
