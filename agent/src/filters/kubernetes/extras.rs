//! What the kubernetes filter adds to the pod's metadata on request: owners, the namespace's own
//! metadata, metadata from files, and the containers of the journal.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use kansoku_model::log::KUBERNETES;
use kansoku_model::{KubernetesMetadata, LogBatch, Value, json};

use crate::kubernetes::{Namespace, Pod, Pods, namespaces, reduce};
use crate::log;

const COMPONENT: &str = "filter:kubernetes";
/// The largest file with metadata.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Under which outputs find the namespace's metadata.
const NAMESPACE_KEY: &str = "kubernetes_namespace";

/// Objects of the API in files, asked before the cluster.
pub struct Preloaded(pub PathBuf);

impl Preloaded {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        // A name with a slash would leave the folder.
        let path = (!name.contains('/')).then(|| self.0.join(name))?;
        let size = std::fs::metadata(&path).ok()?.len();
        if size > MAX_FILE_BYTES {
            log::warn(
                COMPONENT,
                format_args!("{} is larger than 4 MiB", path.display()),
            );
            return None;
        }
        std::fs::read(path).ok()
    }

    /// The pod in `NAMESPACE_POD.meta`.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let file = format!("{namespace}_{name}.meta");
        let text = self.read(&file)?;
        match serde_json::from_slice::<ApiPod>(&text) {
            Ok(pod) => Some(Arc::new(reduce(pod))),
            Err(error) => {
                log::warn(COMPONENT, format_args!("{file} is no pod: {error}"));
                None
            }
        }
    }

    fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        let file = format!("{name}.namespace_meta");
        let text = self.read(&file)?;
        match serde_json::from_slice::<ApiNamespace>(&text) {
            Ok(namespace) => Some(Arc::new(namespaces::reduce(namespace).1)),
            Err(error) => {
                log::warn(COMPONENT, format_args!("{file} is no namespace: {error}"));
                None
            }
        }
    }
}

/// What is asked for besides the pod.
pub struct Extras {
    pub owners: bool,
    pub namespace_labels: bool,
    pub namespace_annotations: bool,
    /// Nothing of the pod is added to the records.
    pub namespace_only: bool,
    pub preloaded: Option<Preloaded>,
    /// Added instead of all metadata.
    pub dummy: Option<String>,
}

/// Fields that are the same for all records of a source, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    /// The whole of `kubernetes`, when it is more than the batch's resource can hold.
    kubernetes: Option<String>,
    /// `kubernetes` is to be missing.
    hides_kubernetes: bool,
    namespace: Option<String>,
}

impl Extras {
    /// The pod in the files.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.preloaded.as_ref()?.pod(namespace, name)
    }

    /// The fields for one container.
    pub fn fields(&self, meta: &KubernetesMetadata, pod: Option<&Pod>, pods: &Pods) -> Fields {
        let owners = pod.map_or("", |pod| &pod.owners);
        Fields {
            kubernetes: (self.owners && !owners.is_empty()).then(|| with_owners(meta, owners)),
            hides_kubernetes: self.namespace_only,
            namespace: self.namespace(&meta.namespace_name, pods),
        }
    }

    fn namespace(&self, name: &str, pods: &Pods) -> Option<String> {
        if !self.namespace_labels && !self.namespace_annotations {
            return None;
        }
        let preloaded = self.preloaded.as_ref().and_then(|p| p.namespace(name));
        let found = preloaded.or_else(|| pods.namespaces.get(name))?;
        let mut out = b"{\"name\":".to_vec();
        json::write_str(&mut out, name.as_bytes());
        if self.namespace_labels {
            write_map(&mut out, "labels", &found.labels);
        }
        if self.namespace_annotations {
            write_map(&mut out, "annotations", &found.annotations);
        }
        out.push(b'}');
        String::from_utf8(out).ok()
    }
}

fn write_map(out: &mut Vec<u8>, name: &str, pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    out.push(b',');
    json::write_str(out, name.as_bytes());
    out.push(b':');
    for (i, (key, value)) in pairs.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        json::write_str(out, key.as_bytes());
        out.push(b':');
        json::write_str(out, value.as_bytes());
    }
    out.push(b'}');
}

fn with_owners(meta: &KubernetesMetadata, owners: &str) -> String {
    let mut out = Vec::new();
    json::write_kubernetes(&mut out, meta);
    out.pop();
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(b"\"ownerReferences\":");
    out.extend_from_slice(owners.as_bytes());
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

impl Fields {
    /// Adds the fields to every record.
    pub fn add(&self, batch: &mut LogBatch) {
        if self.hides_kubernetes {
            batch.kubernetes_is_column = true;
        } else if let Some(object) = &self.kubernetes {
            batch.kubernetes_is_column = true;
            fill(batch, KUBERNETES, object);
        } else {
            // The resource's is the one that counts.
            batch.remove_column(KUBERNETES);
        }
        if let Some(object) = &self.namespace {
            fill(batch, NAMESPACE_KEY, object);
        }
    }
}

/// Sets a field of all records to one and the same JSON.
pub fn fill(batch: &mut LogBatch, key: &str, object: &str) {
    let value = Value::Json(batch.store(object.as_bytes()));
    batch.column_mut(key).values.fill(value);
}

/// The container that a journal's `CONTAINER_NAME` names, as dockershim writes it:
/// `PREFIX_CONTAINER[.HASH]_POD_NAMESPACE_UID_ATTEMPT`.
pub fn of_journal(name: &str) -> Option<KubernetesMetadata> {
    let parts: Vec<&str> = name.split('_').collect();
    let [_, container, pod, namespace, _, _] = parts.as_slice() else {
        return None;
    };
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let (container, hash) = container.split_once('.').unwrap_or((container, ""));
    Some(KubernetesMetadata {
        pod_name: (*pod).to_owned(),
        namespace_name: (*namespace).to_owned(),
        container_name: container.to_owned(),
        container_hash: hash.to_owned(),
        ..KubernetesMetadata::default()
    })
}

/// Adds `kubernetes` to each record of a journal by its own container; `object_of` gives the JSON
/// for a container's name and is asked once for each.
pub fn add_by_record(batch: &mut LogBatch, object_of: impl Fn(&str) -> Option<String>) {
    let Some(names) = batch.column_index("CONTAINER_NAME") else {
        return;
    };
    let mut known: HashMap<Vec<u8>, Value> = HashMap::new();
    let mut values = Vec::with_capacity(batch.len());
    for row in 0..batch.len() {
        let Value::Text(slice) = batch.columns()[names].values[row] else {
            values.push(Value::Absent);
            continue;
        };
        let name = batch.bytes(slice).to_vec();
        let value = known.get(&name).copied().unwrap_or_else(|| {
            let object = std::str::from_utf8(&name).ok().and_then(&object_of);
            object.map_or(Value::Absent, |o| Value::Json(batch.store(o.as_bytes())))
        });
        known.insert(name, value);
        values.push(value);
    }
    let column = batch.column_index_or_insert(KUBERNETES);
    for (row, value) in values.into_iter().enumerate() {
        if value != Value::Absent {
            batch.set(column, row, value);
        }
    }
    batch.drop_absent_columns();
}
