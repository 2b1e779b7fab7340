//! `kubernetes`: says which pod a record comes from, as Fluent Bit's filter of that name.
//!
//! Pod, namespace, container and container id come from the tag alone, at once; labels, annotations
//! and the rest from the watch of [`crate::kubernetes`]. All of it is equal for a source, so it goes
//! into the batch's resource, made once per source and change of the pod and never per record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kansoku_model::{
    ConfigError, KubernetesMetadata, LogBatch, OptionKind, OptionSpec, Plugin, Resource, Settings,
    Value,
};
use kansoku_parsers::line::{Parsed, Parser};

use super::kubernetes_tag::TagReader;
use super::merge_log::MergeLog;
use super::parser::{now_ns, with_scratch};
use crate::config::find_parser;
use crate::kubernetes::{Access, Pod, Pods};
use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:kubernetes";
/// How many sources are remembered; a node has a few hundred containers.
const MAX_SOURCES: usize = 4096;
/// Only a pod whose lines are this young can be too new for the watch.
const NEW_POD_AGE: Duration = Duration::from_secs(60);
const NO_EFFECT: &str = "accepted for compatibility, without effect: one watch serves all";

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "kubernetes",
    about: "Adds pod, namespace, container, labels and annotations; merges JSON logs.",
    options: &[
        OptionSpec::new(
            "kube_tag_prefix",
            OptionKind::Text,
            "kube.var.log.containers.",
            "what stands before the file name in the tag; only its length counts",
        ),
        OptionSpec::new(
            "regex_parser",
            OptionKind::Text,
            "",
            "parser that reads the tag after the prefix: pod_name, namespace_name, container_name, docker_id",
        ),
        OptionSpec::new(
            "kube_url",
            OptionKind::Text,
            "https://kubernetes.default.svc",
            "the API server; default from kubeconfig or service account",
        ),
        OptionSpec::new(
            "kube_ca_file",
            OptionKind::Text,
            "",
            "certificate authority of the API server",
        ),
        OptionSpec::new(
            "kube_token_file",
            OptionKind::Text,
            "",
            "token for the API server, read again when it changes",
        ),
        OptionSpec::new(
            "tls.verify",
            OptionKind::Bool,
            "on",
            "check the API server's certificate",
        ),
        OptionSpec::new(
            "tls.vhost",
            OptionKind::Text,
            "",
            "name that the API server's certificate must hold",
        ),
        OptionSpec::new("labels", OptionKind::Bool, "on", "add the pod's labels"),
        OptionSpec::new(
            "annotations",
            OptionKind::Bool,
            "on",
            "add the pod's annotations",
        ),
        OptionSpec::new(
            "merge_log",
            OptionKind::Bool,
            "off",
            "add the fields of a JSON object in log",
        ),
        OptionSpec::new(
            "merge_log_key",
            OptionKind::Text,
            "",
            "field that takes the merged ones",
        ),
        OptionSpec::new(
            "merge_log_trim",
            OptionKind::Bool,
            "on",
            "cut line ends off merged texts",
        ),
        OptionSpec::new(
            "merge_parser",
            OptionKind::Text,
            "",
            "parser for log instead of JSON",
        ),
        OptionSpec::new("keep_log", OptionKind::Bool, "on", "keep log after merging"),
        OptionSpec::new(
            "k8s-logging.parser",
            OptionKind::Bool,
            "off",
            "let the annotation fluentbit.io/parser choose the parser for log",
        ),
        OptionSpec::new(
            "k8s-logging.exclude",
            OptionKind::Bool,
            "off",
            "let the annotation fluentbit.io/exclude drop a pod's logs",
        ),
        OptionSpec::new("buffer_size", OptionKind::Size, "", NO_EFFECT),
        OptionSpec::new("kube_token_ttl", OptionKind::Time, "", NO_EFFECT),
        OptionSpec::new("kube_meta_cache_ttl", OptionKind::Time, "", NO_EFFECT),
        OptionSpec::new("dns_retries", OptionKind::Int, "", NO_EFFECT),
        OptionSpec::new("dns_wait_time", OptionKind::Time, "", NO_EFFECT),
        OptionSpec::new("cache_use_docker_id", OptionKind::Bool, "", NO_EFFECT),
        OptionSpec::new("use_kubelet", OptionKind::Bool, "", NO_EFFECT),
        OptionSpec::new("kubelet_host", OptionKind::Text, "", NO_EFFECT),
        OptionSpec::new("kubelet_port", OptionKind::Int, "", NO_EFFECT),
        OptionSpec::new("tls.debug", OptionKind::Int, "", NO_EFFECT),
        OptionSpec::new(
            "use_journal",
            OptionKind::Bool,
            "off",
            "only off: the journal's fields are not read yet",
        ),
        OptionSpec::new("dummy_meta", OptionKind::Bool, "off", "only off"),
        OptionSpec::new(
            "owner_references",
            OptionKind::Bool,
            "off",
            "only off: not added yet",
        ),
        OptionSpec::new(
            "namespace_labels",
            OptionKind::Bool,
            "off",
            "only off: not added yet",
        ),
        OptionSpec::new(
            "namespace_annotations",
            OptionKind::Bool,
            "off",
            "only off: not added yet",
        ),
        OptionSpec::new(
            "namespace_metadata_only",
            OptionKind::Bool,
            "off",
            "only off: not added yet",
        ),
    ],
    example: "[FILTER]\n    Name                kubernetes\n    Match               kube.*\n    Merge_Log           On\n    Keep_Log            Off\n    K8S-Logging.Exclude On\n",
    build,
};

struct Kubernetes {
    tags: TagReader,
    pods: Arc<Pods>,
    parsers: Arc<HashMap<String, Arc<Parser>>>,
    json: Arc<Parser>,
    labels: bool,
    annotations: bool,
    merge: Option<MergeLog>,
    merge_parser: Option<Arc<Parser>>,
    /// Whether annotations may choose a parser, and drop records.
    obeys_parser: bool,
    obeys_exclude: bool,
    /// By tag. Held while one source is looked up, not while its records are changed.
    sources: Mutex<HashMap<Arc<str>, Arc<SourceMetadata>>>,
    scratch: Mutex<Parsed>,
}

/// What is known of one source.
struct SourceMetadata {
    /// The input's own resource, which this one extends.
    base: Arc<Resource>,
    resource: Arc<Resource>,
    /// The table's generation when this was made.
    generation: u64,
    choice: Choice,
}

/// What the pod's annotations ask for, for stdout and stderr.
#[derive(Default, Clone)]
struct Choice {
    parser: [Option<Arc<Parser>>; 2],
    excluded: [bool; 2],
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    refuse(settings)?;
    let parser = |key: &str| {
        settings
            .get(key)
            .map(|s| find_parser(environment, s))
            .transpose()
    };
    let merge = MergeLog {
        key: settings.get("merge_log_key").map(|s| s.value.clone()),
        trim: settings.bool("merge_log_trim", true)?,
        keep_log: settings.bool("keep_log", true)?,
    };
    let json = Settings::of("PARSER", &[("name", "json"), ("format", "json")]);
    environment.pods.want(access(settings)?);
    Ok(Box::new(Kubernetes {
        tags: TagReader::new(
            settings.text("kube_tag_prefix", "kube.var.log.containers."),
            parser("regex_parser")?,
        ),
        pods: environment.pods.clone(),
        parsers: environment.parsers.clone(),
        json: Arc::new(Parser::new(&json, &|_| None)?),
        labels: settings.bool("labels", true)?,
        annotations: settings.bool("annotations", true)?,
        merge: settings.bool("merge_log", false)?.then_some(merge),
        merge_parser: parser("merge_parser")?,
        obeys_parser: settings.bool("k8s-logging.parser", false)?,
        obeys_exclude: settings.bool("k8s-logging.exclude", false)?,
        sources: Mutex::default(),
        scratch: Mutex::default(),
    }))
}

/// Refuses what cannot be honoured, and says what is without effect.
fn refuse(settings: &Settings) -> Result<(), ConfigError> {
    for s in &settings.settings {
        let Some(spec) = PLUGIN.options.iter().find(|o| o.name == s.key) else {
            continue;
        };
        if spec.about.starts_with("only off") && settings.bool(&s.key, false)? {
            let message = format!(
                "'{}' is not supported yet; remove it or set it to off",
                s.key
            );
            return Err(ConfigError::new(&s.place, message));
        }
        if spec.about == NO_EFFECT {
            log::debug(
                COMPONENT,
                format_args!(
                    "{}: '{}' has no effect: one watch serves all",
                    s.place, s.key
                ),
            );
        }
    }
    Ok(())
}

/// How to reach the API. The default address means whatever kubeconfig or service account say.
fn access(settings: &Settings) -> Result<Access, ConfigError> {
    let is_default = |url: &str| {
        url.trim_start_matches("https://")
            .starts_with("kubernetes.default")
    };
    let url = settings.get("kube_url").filter(|s| !is_default(&s.value));
    // The files of the service account are found without being named.
    let is_own = |file: &str| url.is_some() || !file.contains("/serviceaccount/");
    let file = |key: &str| {
        settings
            .get(key)
            .filter(|s| is_own(&s.value))
            .map(|s| s.value.clone().into())
    };
    Ok(Access {
        url: url.map(|s| s.value.trim_end_matches('/').to_owned()),
        ca_file: file("kube_ca_file"),
        token_file: file("kube_token_file"),
        verify: settings.bool("tls.verify", true)?,
        server_name: settings.get("tls.vhost").map(|s| s.value.clone()),
    })
}

impl Filter for Kubernetes {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let Some(source) = self.source(batch) else {
            return;
        };
        batch.resource = source.resource.clone();
        if source.choice.excluded.contains(&true) {
            exclude(batch, source.choice.excluded);
        }
        let Some(merge) = &self.merge else { return };
        with_scratch(&self.scratch, |parsed| {
            merge.apply(batch, parsed, now_ns(), |stream| {
                let chosen = source.choice.parser[usize::from(stream == b"stderr")].as_ref();
                match chosen.or(self.merge_parser.as_ref()) {
                    Some(parser) => Some((&**parser, true)),
                    None => Some((&*self.json, false)),
                }
            });
        });
    }
}

/// Drops the records of the excluded streams.
fn exclude(batch: &mut LogBatch, excluded: [bool; 2]) {
    let stream = batch.column_index("stream");
    let kept: Vec<bool> = (0..batch.len())
        .map(|row| {
            let is_stderr = match stream.map_or(Value::Absent, |at| batch.columns()[at].values[row])
            {
                Value::Text(s) => batch.bytes(s) == b"stderr",
                _ => false,
            };
            !excluded[usize::from(is_stderr)]
        })
        .collect();
    batch.retain(|row| kept[row]);
}

impl Kubernetes {
    fn sources(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<SourceMetadata>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the batch's source; `None` when its tag is not that of a container.
    fn source(&self, batch: &LogBatch) -> Option<Arc<SourceMetadata>> {
        let generation = self.pods.generation();
        let known = self.sources().get(&batch.tag).cloned();
        let known = known.filter(|k| Arc::ptr_eq(&k.base, &batch.resource));
        if let Some(known) = &known
            && known.generation == generation
        {
            return Some(known.clone());
        }
        let mut meta = self.tags.read(&batch.tag)?;
        let pod = self.pod(&meta, batch, known.is_none());
        let choice = pod
            .as_ref()
            .map(|pod| self.choice(pod, &meta.container_name))
            .unwrap_or_default();
        if let Some(pod) = &pod {
            self.fill(&mut meta, pod);
        }
        let resource = match &known {
            // Another pod of the node changed, not this one.
            Some(known) if known.resource.kubernetes.as_ref() == Some(&meta) => {
                known.resource.clone()
            }
            _ => Arc::new(Resource {
                kubernetes: Some(meta),
                ..(*batch.resource).clone()
            }),
        };
        let source = Arc::new(SourceMetadata {
            base: batch.resource.clone(),
            resource,
            generation,
            choice,
        });
        let mut sources = self.sources();
        if sources.len() >= MAX_SOURCES {
            sources.clear();
        }
        sources.insert(batch.tag.clone(), source.clone());
        Some(source)
    }

    /// The pod in the table. For a source seen for the first time, whose lines are young, the
    /// watch gets a moment to tell of it.
    fn pod(&self, meta: &KubernetesMetadata, batch: &LogBatch, is_new: bool) -> Option<Arc<Pod>> {
        if let Some(found) = self.pods.by_container_id(&meta.docker_id) {
            return Some(found.pod);
        }
        let (namespace, name) = (&meta.namespace_name, &meta.pod_name);
        let newest = batch.times().iter().copied().max().unwrap_or(0);
        let age_ns = now_ns().saturating_sub(newest);
        if is_new && i128::from(age_ns) < NEW_POD_AGE.as_nanos() as i128 {
            self.pods.wait_by_name(namespace, name)
        } else {
            self.pods.by_name(namespace, name)
        }
    }

    fn fill(&self, meta: &mut KubernetesMetadata, pod: &Pod) {
        meta.pod_id.clone_from(&pod.uid);
        meta.host.clone_from(&pod.node);
        meta.pod_ip.clone_from(&pod.ip);
        if self.labels {
            meta.labels.clone_from(&pod.labels);
        }
        if self.annotations {
            meta.annotations.clone_from(&pod.annotations);
        }
        if let Some(container) = pod.container(&meta.container_name) {
            meta.container_hash.clone_from(&container.image_id);
            meta.container_image.clone_from(&container.image);
        }
    }

    /// What `fluentbit.io/{parser|exclude}[_stdout|_stderr][-CONTAINER]` ask for.
    fn choice(&self, pod: &Pod, container: &str) -> Choice {
        let mut choice = Choice::default();
        for (at, stream) in ["stdout", "stderr"].into_iter().enumerate() {
            let find = |what: &str| {
                [
                    format!("fluentbit.io/{what}_{stream}-{container}"),
                    format!("fluentbit.io/{what}-{container}"),
                    format!("fluentbit.io/{what}_{stream}"),
                    format!("fluentbit.io/{what}"),
                ]
                .iter()
                .find_map(|name| pod.annotation(name))
            };
            if self.obeys_exclude {
                choice.excluded[at] = find("exclude")
                    .and_then(kansoku_model::plugin::parse_bool)
                    .unwrap_or(false);
            }
            if self.obeys_parser
                && let Some(name) = find("parser")
            {
                choice.parser[at] = self.parsers.get(name).cloned();
                if choice.parser[at].is_none() {
                    log::warn(
                        COMPONENT,
                        format_args!(
                            "pod {}/{} asks for parser '{name}', which does not exist",
                            pod.namespace, pod.name
                        ),
                    );
                }
            }
        }
        choice
    }
}

#[cfg(test)]
mod tests;
