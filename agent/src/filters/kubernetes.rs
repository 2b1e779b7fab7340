//! `kubernetes`: says which pod a record comes from, as Fluent Bit's filter of that name.
//!
//! Pod, namespace, container and container id come from the tag alone, at once; labels, annotations
//! and the rest from the watch of [`crate::kubernetes`]. All of it is equal for a source, so it goes
//! into the batch's resource, made once per source and change of the pod and never per record.

mod extras;
mod options;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kansoku_model::{
    ConfigError, KubernetesMetadata, LogBatch, Plugin, Resource, Settings, Value, json,
};
use kansoku_parsers::line::{Parsed, Parser};

use extras::{Extras, Fields, Preloaded};

use super::kubernetes_tag::TagReader;
use super::merge_log::MergeLog;
use super::parser::{now_ns, with_scratch};
use crate::config::catalogue::Catalogue;
use crate::config::find_parser;
use crate::kubernetes::{Access, Pod, Pods};
use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:kubernetes";
/// How many sources are remembered; a node has a few hundred containers.
const MAX_SOURCES: usize = 4096;
/// Only a pod whose lines are this young can be too new for the watch.
const NEW_POD_AGE: Duration = Duration::from_secs(60);

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "kubernetes",
    about: "Adds pod, namespace, container, labels and annotations; merges JSON logs.",
    options: options::OPTIONS,
    example: "[FILTER]\n    Name                kubernetes\n    Match               kube.*\n    Merge_Log           On\n    Keep_Log            Off\n    K8S-Logging.Exclude On\n",
    build,
};

struct Kubernetes {
    tags: TagReader,
    pods: Arc<Pods>,
    parsers: Arc<Catalogue<Parser>>,
    json: Arc<Parser>,
    labels: bool,
    annotations: bool,
    extras: Extras,
    /// Only what the tag tells.
    only_tag: bool,
    use_journal: bool,
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
    fields: Fields,
}

/// What the pod's annotations ask for, for stdout and stderr.
#[derive(Default, Clone)]
struct Choice {
    parser: [Option<Arc<Parser>>; 2],
    excluded: [bool; 2],
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    options::refuse(settings, COMPONENT)?;
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
    let only_tag = settings.bool("use_tag_for_meta", false)?;
    let extras = extras(settings)?;
    if !only_tag && extras.dummy.is_none() {
        environment.pods.want(access(settings)?);
        if extras.namespace_labels || extras.namespace_annotations {
            environment.pods.want_namespaces();
        }
    }
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
        extras,
        only_tag,
        use_journal: settings.bool("use_journal", false)?,
        merge: settings.bool("merge_log", false)?.then_some(merge),
        merge_parser: parser("merge_parser")?,
        obeys_parser: settings.bool("k8s-logging.parser", false)?,
        obeys_exclude: settings.bool("k8s-logging.exclude", false)?,
        sources: Mutex::default(),
        scratch: Mutex::default(),
    }))
}

fn extras(settings: &Settings) -> Result<Extras, ConfigError> {
    let namespace_labels = settings.bool("namespace_labels", false)?;
    let namespace_annotations = settings.bool("namespace_annotations", false)?;
    let namespace_only = settings.bool("namespace_metadata_only", false)?;
    let wants_namespace = namespace_labels || namespace_annotations;
    if namespace_only && !wants_namespace {
        let message =
            "'namespace_metadata_only' needs 'namespace_labels on' or 'namespace_annotations on'";
        return Err(ConfigError::new(&settings.place, message));
    }
    let preloaded = settings.get("kube_meta_preload_cache_dir");
    let now = || {
        jiff::Timestamp::now()
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string()
    };
    Ok(Extras {
        owners: settings.bool("owner_references", false)?,
        namespace_labels,
        namespace_annotations,
        namespace_only,
        preloaded: preloaded.map(|s| Preloaded(s.value.clone().into())),
        dummy: settings.bool("dummy_meta", false)?.then(now),
    })
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
    let ttl = Duration::from_secs_f64(settings.seconds("kube_token_ttl", 600.0)?);
    let command = settings.get("kube_token_command");
    let kubelet = || -> Result<String, ConfigError> {
        let host = settings.text("kubelet_host", "127.0.0.1");
        let port = settings.int("kubelet_port", 10250)?;
        Ok(format!("https://{host}:{port}"))
    };
    Ok(Access {
        ca_path: settings.get("kube_ca_path").map(|s| s.value.clone().into()),
        token_command: command.map(|s| (s.value.clone(), ttl.max(Duration::from_secs(1)))),
        kubelet: settings
            .bool("use_kubelet", false)?
            .then(kubelet)
            .transpose()?,
        url: url.map(|s| s.value.trim_end_matches('/').to_owned()),
        ca_file: file("kube_ca_file"),
        token_file: file("kube_token_file"),
        verify: settings.bool("tls.verify", true)?,
        verify_name: settings
            .get("tls.verify_hostname")
            .map(|_| settings.bool("tls.verify_hostname", true))
            .transpose()?,
        server_name: settings.get("tls.vhost").map(|s| s.value.clone()),
    })
}

impl Filter for Kubernetes {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        if let Some(time) = &self.extras.dummy {
            extras::fill(batch, "kubernetes", &format!("{{\"dummy\":\"{time}\"}}"));
        } else if self.use_journal {
            return extras::add_by_record(batch, |name| self.of_journal(name));
        }
        let Some(source) = self.source(batch) else {
            return;
        };
        if source.choice.excluded.contains(&true) {
            exclude(batch, source.choice.excluded);
        }
        if let Some(merge) = &self.merge {
            self.merge(merge, batch, &source);
        }
        // After merging: a line that says `kubernetes` itself must not hide where it comes from.
        if self.extras.dummy.is_none() {
            batch.resource = source.resource.clone();
            source.fields.add(batch);
        }
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
    fn merge(&self, merge: &MergeLog, batch: &mut LogBatch, source: &SourceMetadata) {
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
        let fields = self.extras.fields(&meta, pod.as_deref(), &self.pods);
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
            fields,
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
        if self.only_tag || self.extras.dummy.is_some() {
            return None;
        }
        let (namespace, name) = (&meta.namespace_name, &meta.pod_name);
        if let Some(pod) = self.extras.pod(namespace, name) {
            return Some(pod);
        }
        self.pods.wait_for_first_list();
        if let Some(found) = self.pods.by_container_id(&meta.docker_id) {
            return Some(found.pod);
        }
        let newest = batch.times().iter().copied().max().unwrap_or(0);
        let age_ns = now_ns().saturating_sub(newest);
        if is_new && i128::from(age_ns) < NEW_POD_AGE.as_nanos() as i128 {
            self.pods.wait_by_name(namespace, name)
        } else {
            self.pods.by_name(namespace, name)
        }
    }

    /// The metadata of the container that the journal names, as JSON.
    fn of_journal(&self, name: &str) -> Option<String> {
        let mut meta = extras::of_journal(name)?;
        let (namespace, pod) = (&meta.namespace_name, &meta.pod_name);
        let pod = self.extras.pod(namespace, pod).or_else(|| {
            let wanted = !self.only_tag;
            wanted.then(|| {
                self.pods.wait_for_first_list();
                self.pods.by_name(namespace, pod)
            })?
        });
        if let Some(pod) = &pod {
            self.fill(&mut meta, pod);
        }
        let mut object = Vec::new();
        json::write_kubernetes(&mut object, &meta);
        String::from_utf8(object).ok()
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
                choice.parser[at] = self.parsers.get(name);
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
