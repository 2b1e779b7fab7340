//! `prometheus_scrape`: fetches pages of metrics again and again, of fixed targets and of the pods of this node.
//!
//! What becomes of targets and samples is what Prometheus' own scrapes do: relabelling, limits, `up` and the `scrape_*` series, and the
//! ends of series and targets that are gone. Fluent Bit gives none of these. Lines that cannot be read are counted
//! and named, where Prometheus and Fluent Bit drop the whole page. The pods come from the watch that the agent keeps anyway; a scrape never
//! waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Settings, joined};
use kansoku_outputs::client;
use kansoku_outputs::{OutputEnvironment, net};
use kansoku_parsers::config::yaml::tree::parse_setting;
use kansoku_parsers::wire::prometheus_protobuf::Histograms;

use super::kube_options;
use super::net::buffer_size;
use super::scrape::fetch::{self, Form, PROTOCOLS};
use super::scrape::label_set::LabelSet;
use super::scrape::pods;
use super::scrape::relabel::rules;
use super::scrape::samples::Handling;
use super::scrape::scraper;
use super::scrape::target::{Job, Target};
use super::ticker;
use crate::kubernetes::{Access, Pods};
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "scrape_interval",
        OptionKind::Time,
        "10s",
        "how often to fetch",
    ),
    OptionSpec::new(
        "scrape_timeout",
        OptionKind::Time,
        "10s",
        "how long a scrape may take; not longer than the interval",
    ),
    OptionSpec::new(
        "metrics_path",
        OptionKind::Text,
        "/metrics",
        "path of the page",
    ),
    OptionSpec::new(
        "params",
        OptionKind::Pair,
        "",
        "a name and a value for the query of the page",
    )
    .repeated(),
    OptionSpec::new(
        "buffer_max_size",
        OptionKind::Size,
        "10M",
        "the largest page",
    ),
    OptionSpec::new(
        "body_size_limit",
        OptionKind::Size,
        "",
        "the largest page, unpacked; beyond it the scrape fails. Default buffer_max_size",
    ),
    OptionSpec::new(
        "enable_compression",
        OptionKind::Bool,
        "on",
        "ask for pages in gzip",
    ),
    OptionSpec::new(
        "scrape_protocols",
        OptionKind::List,
        "",
        "forms to ask for, the best first: PrometheusProto, OpenMetricsText1.0.0, OpenMetricsText0.0.1, PrometheusText1.0.0, PrometheusText0.0.4. Default all texts in this order",
    ),
    OptionSpec::new(
        "scrape_native_histograms",
        OptionKind::Bool,
        "off",
        "take native histograms, for which PrometheusProto is asked for first; outputs other than kansoku and prometheus_remote_write see them as classic ones",
    ),
    OptionSpec::new(
        "always_scrape_classic_histograms",
        OptionKind::Bool,
        "off",
        "of a histogram that is native and classic take both",
    ),
    OptionSpec::new(
        "job_name",
        OptionKind::Text,
        "",
        "label job; with it series have the label instance, too. Default kubernetes-pods with kubernetes_pods, else none",
    ),
    OptionSpec::new(
        "kubernetes_pods",
        OptionKind::Choice(&["off", "annotated", "all"]),
        "off",
        "scrape pods of this node: those with the annotation prometheus.io/scrape, or every port of every pod, for relabel_configs to choose from",
    ),
    OptionSpec::new(
        "static_configs",
        OptionKind::Text,
        "",
        "targets as Prometheus writes them: {targets: ['host:port'], labels: {name: value}}",
    )
    .repeated(),
    OptionSpec::new(
        "relabel_configs",
        OptionKind::Text,
        "",
        "a rule for the labels of targets, as Prometheus writes it: {source_labels: [a], regex: b, action: keep}",
    )
    .repeated(),
    OptionSpec::new(
        "metric_relabel_configs",
        OptionKind::Text,
        "",
        "a rule for the labels of samples",
    )
    .repeated(),
    OptionSpec::new(
        "honor_labels",
        OptionKind::Bool,
        "off",
        "a label of the page wins over the target's; else it is renamed to exported_NAME",
    ),
    OptionSpec::new(
        "honor_timestamps",
        OptionKind::Bool,
        "on",
        "keep the times that a page gives its samples",
    ),
    OptionSpec::new(
        "sample_limit",
        OptionKind::Int,
        "0",
        "the most samples of a page after relabelling, 0 for no limit; beyond a limit the scrape fails",
    ),
    OptionSpec::new(
        "label_limit",
        OptionKind::Int,
        "0",
        "the most labels of a sample, 0 for no limit",
    ),
    OptionSpec::new(
        "label_name_length_limit",
        OptionKind::Int,
        "0",
        "the longest name of a label in bytes, 0 for no limit",
    ),
    OptionSpec::new(
        "label_value_length_limit",
        OptionKind::Int,
        "0",
        "the longest value of a label in bytes, 0 for no limit",
    ),
    OptionSpec::new(
        "target_limit",
        OptionKind::Int,
        "0",
        "the most targets, 0 for no limit; with more all scrapes fail",
    ),
    kube_options::KUBE_URL,
    kube_options::KUBE_CA_FILE,
    kube_options::KUBE_TOKEN_FILE,
];
const OPTIONS: [OptionSpec; OWN.len() + client::OPTIONS.len()] = joined(OWN, client::OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "prometheus_scrape",
    about: "Fetches metrics from Prometheus endpoints: fixed ones, and the pods of this node.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name             prometheus_scrape\n    Tag              scraped\n    Host             127.0.0.1\n    Port             9100\n    Metrics_Path     /metrics\n    Scrape_Interval  10s\n\n[INPUT]\n    Name                    prometheus_scrape\n    Tag                     pods\n    Kubernetes_Pods         annotated\n    Metric_Relabel_Configs  {source_labels: [__name__], regex: 'go_.*', action: drop}\n",
    build,
};

const PORT: u16 = 9100;
/// What Prometheus waits for a page unless told otherwise.
const TIMEOUT_S: f64 = 10.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodChoice {
    Off,
    Annotated,
    All,
}

/// What the settings say.
pub(super) struct Scrape {
    pub(super) job: Job,
    /// Before the job's own rules.
    pub(super) pod_job: Job,
    pub(super) handling: Handling,
    pub(super) form: Form,
    pub(super) fixed: Vec<LabelSet>,
    pub(super) pod_choice: PodChoice,
    pub(super) target_limit: usize,
    /// For the targets' clients.
    pub(super) settings: Settings,
    pub(super) host_name: Arc<str>,
    pub(super) pods: Arc<Pods>,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    let path = s.text("metrics_path", "/metrics").to_owned();
    if !path.starts_with('/') {
        let place = s.get("metrics_path").map_or(&s.place, |k| &k.place);
        return Err(ConfigError::new(
            place,
            "'metrics_path' must start with '/'",
        ));
    }
    let pod_choice = match s
        .text("kubernetes_pods", "off")
        .to_ascii_lowercase()
        .as_str()
    {
        "annotated" => PodChoice::Annotated,
        "all" => PodChoice::All,
        _ => PodChoice::Off,
    };
    let has_pods = pod_choice != PodChoice::Off;
    if has_pods {
        environment.pods.want(access(s));
    }
    let mut settings = s.clone();
    settings
        .settings
        .retain(|k| OWN.iter().all(|o| o.name != k.key));
    let interval = ticker::interval(s, "scrape_interval", 10.0)?;
    let job = Job {
        name: match s.get("job_name") {
            Some(name) => name.value.clone(),
            None if has_pods => "kubernetes-pods".to_owned(),
            None => String::new(),
        },
        interval,
        timeout: timeout(s, interval)?,
        metrics_path: path,
        scheme: if s.bool("tls", false)? {
            "https"
        } else {
            "http"
        },
        params: params(s),
        rules: rules(s, "relabel_configs")?,
    };
    let mut pod_job = job.clone();
    if pod_choice == PodChoice::Annotated {
        pod_job.rules = pods::annotated();
        pod_job.rules.extend(job.rules.iter().cloned());
    }
    let largest = buffer_size(s, "buffer_max_size", 10_000_000)?;
    let scrape = Scrape {
        handling: handling(s)?,
        form: Form {
            body_size_limit: match s.size("body_size_limit", 0)? {
                0 => largest,
                limit => usize::try_from(limit).unwrap_or(usize::MAX),
            },
            wants_compression: s.bool("enable_compression", true)?,
            accept: accept(s)?,
            histograms: Histograms {
                native: s.bool("scrape_native_histograms", false)?,
                always_classic: s.bool("always_scrape_classic_histograms", false)?,
            },
        },
        fixed: fixed(s, has_pods)?,
        target_limit: limit(s, "target_limit")?,
        job,
        pod_job,
        pod_choice,
        settings,
        host_name: environment.host_name.clone(),
        pods: environment.pods.clone(),
    };
    scrape.check(environment)?;
    Ok(Box::new(scrape))
}

fn access(s: &Settings) -> Access {
    let own = |key: &str| s.get(key).map(|s| s.value.clone());
    Access {
        url: own(kube_options::KUBE_URL.name),
        ca_file: own(kube_options::KUBE_CA_FILE.name).map(Into::into),
        token_file: own(kube_options::KUBE_TOKEN_FILE.name).map(Into::into),
        ..Access::default()
    }
}

fn timeout(s: &Settings, interval: Duration) -> Result<Duration, ConfigError> {
    let Some(set) = s.get("scrape_timeout") else {
        return Ok(interval.min(Duration::from_secs_f64(TIMEOUT_S)));
    };
    let timeout = ticker::interval(s, "scrape_timeout", TIMEOUT_S)?;
    if timeout > interval {
        let message = "'scrape_timeout' must not be longer than 'scrape_interval'";
        return Err(ConfigError::new(&set.place, message));
    }
    Ok(timeout)
}

fn params(s: &Settings) -> Vec<(String, String)> {
    let pairs = s.all("params").filter_map(|k| {
        let (name, value) = k.value.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    pairs.collect()
}

fn limit(s: &Settings, key: &str) -> Result<usize, ConfigError> {
    usize::try_from(s.int(key, 0)?).map_err(|_| {
        let place = s.get(key).map_or(&s.place, |k| &k.place);
        ConfigError::new(place, format!("'{key}' must not be negative"))
    })
}

fn accept(s: &Settings) -> Result<HeaderValue, ConfigError> {
    let mut wanted = Vec::new();
    for word in s.list("scrape_protocols") {
        let found = PROTOCOLS.iter().find(|(name, _)| *name == word);
        let (_, media_type) = found.ok_or_else(|| {
            let place = s.get("scrape_protocols").map_or(&s.place, |k| &k.place);
            let hint = did_you_mean(word, PROTOCOLS.iter().map(|(name, _)| *name));
            ConfigError::new(place, format!("unknown protocol '{word}'{hint}"))
        })?;
        wanted.push(*media_type);
    }
    if wanted.is_empty() {
        let is_native = s.bool("scrape_native_histograms", false)?;
        let all = PROTOCOLS.iter().skip(usize::from(!is_native));
        wanted.extend(all.map(|(_, media_type)| *media_type));
    }
    wanted.truncate(PROTOCOLS.len());
    Ok(fetch::accept(&wanted))
}

fn handling(s: &Settings) -> Result<Handling, ConfigError> {
    Ok(Handling {
        honor_labels: s.bool("honor_labels", false)?,
        honor_timestamps: s.bool("honor_timestamps", true)?,
        rules: rules(s, "metric_relabel_configs")?,
        sample_limit: limit(s, "sample_limit")?,
        label_limit: limit(s, "label_limit")?,
        label_name_length_limit: limit(s, "label_name_length_limit")?,
        label_value_length_limit: limit(s, "label_value_length_limit")?,
    })
}

/// The targets of `static_configs`, and that of `host` and `port` where they are given or nothing else is.
fn fixed(s: &Settings, has_pods: bool) -> Result<Vec<LabelSet>, ConfigError> {
    let mut all = Vec::new();
    for setting in s.all("static_configs") {
        all.extend(static_config(setting)?);
    }
    let is_given = s.get("host").is_some() || s.get("port").is_some();
    if is_given || (all.is_empty() && !has_pods) {
        let port = s.int("port", i64::from(PORT))?;
        let port = u16::try_from(port).map_err(|_| {
            let place = s.get("port").map_or(&s.place, |k| &k.place);
            ConfigError::new(place, "'port' must be 1 to 65535")
        })?;
        let host = s.text("host", "127.0.0.1").trim_matches(['[', ']']);
        let address = net::authority(host, port);
        all.push([("__address__", address.as_str())].into_iter().collect());
    }
    Ok(all)
}

fn static_config(setting: &Setting) -> Result<Vec<LabelSet>, ConfigError> {
    let node = parse_setting(&setting.value, &setting.place)?;
    let pairs = node.checked_pairs(&["targets", "labels"])?;
    let find = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, n)| *n);
    let mut common = LabelSet::default();
    if let Some(labels) = find("labels") {
        for (name, value) in labels.pairs()? {
            common.set(&name.text, value.text()?);
        }
    }
    let targets = find("targets").ok_or_else(|| node.error("'targets' is missing"))?;
    let mut all = Vec::new();
    for target in targets.items()? {
        let mut labels = common.clone();
        labels.set("__address__", target.text()?);
        all.push(labels);
    }
    Ok(all)
}

impl Scrape {
    /// What is wrong with a fixed target is told at the start.
    fn check(&self, environment: &Environment) -> Result<(), ConfigError> {
        let client_environment = OutputEnvironment {
            warnings: environment.warnings.clone(),
            ..OutputEnvironment::default()
        };
        for labels in &self.fixed {
            match Target::of(&self.job, labels.clone()) {
                Err(why) => {
                    let message = format!("a target cannot be scraped: {why}");
                    environment.warn(&self.settings.place, message);
                }
                Ok(Some(target)) => {
                    fetch::client(&self.settings, &client_environment, &target, &self.form)?;
                }
                Ok(None) => {}
            }
        }
        Ok(())
    }

    /// All targets as they are now, and what is wrong with others.
    pub(super) fn targets(&self) -> (HashMap<String, Target>, Vec<String>) {
        let (mut targets, mut mistakes) = (HashMap::new(), Vec::new());
        let fixed = self.fixed.iter().cloned().map(|labels| (&self.job, labels));
        let pods = match self.pod_choice {
            PodChoice::Off => Vec::new(),
            PodChoice::Annotated | PodChoice::All => self.pods.all(),
        };
        let of_pods = pods.iter().flat_map(|pod| pods::targets(pod));
        for (job, labels) in fixed.chain(of_pods.map(|labels| (&self.pod_job, labels))) {
            let address = labels.get("__address__").to_owned();
            match Target::of(job, labels) {
                Ok(Some(target)) => {
                    targets.insert(target.key(), target);
                }
                Ok(None) => {}
                Err(why) => mistakes.push(format!("target {address}: {why}")),
            }
        }
        (targets, mistakes)
    }
}

impl Input for Scrape {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        scraper::run(*self, link)
    }
}
