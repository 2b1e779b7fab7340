//! What a container log's tag tells: pod, namespace, container and container id.
//!
//! `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` becomes the tag
//! `kube.var.log.containers.POD_NAMESPACE_CONTAINER-ID.log`. As in Fluent Bit the prefix is dropped
//! by its length and not compared.

use std::sync::Arc;

use kansoku_model::KubernetesMetadata;
use kansoku_parsers::line::{Parsed, Parser};

/// Reads tags, by the kubelet's naming or by a parser of the user's (`regex_parser`).
pub struct TagReader {
    prefix_len: usize,
    parser: Option<Arc<Parser>>,
}

impl TagReader {
    pub fn new(prefix: &str, parser: Option<Arc<Parser>>) -> Self {
        Self {
            prefix_len: prefix.len(),
            parser,
        }
    }

    /// `None` when the tag is not that of a container log.
    pub fn read(&self, tag: &str) -> Option<KubernetesMetadata> {
        let name = tag.get(self.prefix_len..)?;
        match &self.parser {
            Some(parser) => by_parser(parser, name),
            None => by_name(name),
        }
    }
}

fn by_parser(parser: &Parser, name: &str) -> Option<KubernetesMetadata> {
    let mut parsed = Parsed::default();
    if !parser.parse(name.as_bytes(), 0, &mut parsed) {
        return None;
    }
    let text = |field: &str| {
        let bytes = parsed.text(name.as_bytes(), field).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    Some(KubernetesMetadata {
        pod_name: text("pod_name"),
        namespace_name: text("namespace_name"),
        container_name: text("container_name"),
        docker_id: text("docker_id"),
        ..KubernetesMetadata::default()
    })
}

/// `POD_NAMESPACE_CONTAINER-ID.log`. Fluent Bit searches for the pod's name, so that what stands
/// before it (folders) does not disturb.
fn by_name(name: &str) -> Option<KubernetesMetadata> {
    let stem = name.strip_suffix(".log")?;
    let (head, id) = stem.rsplit_once('-')?;
    if id.len() != 64
        || !id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        return None;
    }
    let mut parts = head.splitn(3, '_');
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    if namespace.is_empty() || container.is_empty() {
        return None;
    }
    // The longest end of the first part that is a DNS name.
    let bad = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
    let start = pod.rfind(bad).map_or(0, |at| {
        at + pod[at..].chars().next().map_or(1, char::len_utf8)
    });
    let pod = pod[start..].trim_start_matches(['-', '.']);
    if pod.is_empty() || pod.ends_with(['-', '.']) {
        return None;
    }
    Some(KubernetesMetadata {
        pod_name: pod.to_owned(),
        namespace_name: namespace.to_owned(),
        container_name: container.to_owned(),
        docker_id: id.to_owned(),
        ..KubernetesMetadata::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_the_container() {
        let id = "0a".repeat(32);
        let read = |prefix: &str, tag: &str| {
            let found = TagReader::new(prefix, None).read(&tag.replace("ID", &id))?;
            assert_eq!(found.docker_id, id);
            Some(format!(
                "{} {} {}",
                found.namespace_name, found.pod_name, found.container_name
            ))
        };
        let standard = "kube.var.log.containers.";
        for (prefix, tag, expected) in [
            (
                standard,
                "kube.var.log.containers.web-0_shop_app-ID.log",
                Some("shop web-0 app"),
            ),
            (
                standard,
                "KUBE-var-log-containers-web-0_shop_app-ID.log",
                Some("shop web-0 app"),
            ),
            (
                standard,
                "kube.var.log.containers.a.b-1_kube-system_my_app-x-ID.log",
                Some("kube-system a.b-1 my_app-x"),
            ),
            ("k.", "k.Var/web-0_shop_app-ID.log", Some("shop web-0 app")),
            (
                standard,
                "kube.var.log.containers.web-0_shop_app-ID.txt",
                None,
            ),
            (standard, "kube.var.log.containers.web-0_shop-ID.log", None),
            (
                standard,
                "kube.var.log.containers.web-0_shop_app-0a0a.log",
                None,
            ),
            (standard, "kube", None),
            ("x", "観測", None),
        ] {
            assert_eq!(read(prefix, tag).as_deref(), expected, "{tag}");
        }
    }
}
