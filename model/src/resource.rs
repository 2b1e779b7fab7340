//! What is equal for all records of a source, held once per batch and never copied per record.

use crate::Labels;

/// The entity that produced the records, in OpenTelemetry's sense of the word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resource {
    /// Labels that identify the source to the aggregator: the target labels of metrics, the stream
    /// labels of logs. Empty for logs means "derive them", see [`crate::stream`].
    pub labels: Labels,
    /// OpenTelemetry attributes by name (`host.name`, `log.file.path`, ...), in insertion order.
    pub attributes: Vec<(String, String)>,
    /// What the kubernetes filter knows of the container.
    pub kubernetes: Option<KubernetesMetadata>,
}

impl Resource {
    /// What a machine of this name makes by itself.
    #[must_use]
    pub fn of_host(name: &str) -> Self {
        Self {
            attributes: vec![("host.name".to_owned(), name.to_owned())],
            ..Self::default()
        }
    }

    /// The attribute `name`, if it is set.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// What Fluent Bit's kubernetes filter adds to a record; an empty text means "not known".
///
/// Field by field the keys of its `kubernetes` map, in the order in which it writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KubernetesMetadata {
    pub pod_name: String,
    pub namespace_name: String,
    /// The pod's UID.
    pub pod_id: String,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    /// The node's name (`spec.nodeName`).
    pub host: String,
    pub pod_ip: String,
    pub container_name: String,
    /// The container's id, 64 hex digits.
    pub docker_id: String,
    /// The image id with digest.
    pub container_hash: String,
    pub container_image: String,
}

impl KubernetesMetadata {
    /// Name and value of each scalar field that is known, before and after the maps.
    #[must_use]
    pub fn scalars(&self) -> [(&'static str, &str); 9] {
        [
            ("pod_name", &self.pod_name),
            ("namespace_name", &self.namespace_name),
            ("pod_id", &self.pod_id),
            ("host", &self.host),
            ("pod_ip", &self.pod_ip),
            ("container_name", &self.container_name),
            ("docker_id", &self.docker_id),
            ("container_hash", &self.container_hash),
            ("container_image", &self.container_image),
        ]
    }
}
