//! The options of the kubernetes filter, and those that it takes without doing anything.

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};

use crate::log;

const NO_EFFECT: &str = "accepted for compatibility, without effect: one watch serves all";
const NO_ASSOCIATION: &str =
    "accepted for compatibility, without effect: only CloudWatch's agent gives such maps";

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const fn bool(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Bool, default, about)
}

const fn idle(name: &'static str, kind: OptionKind) -> OptionSpec {
    OptionSpec::new(name, kind, "", NO_EFFECT)
}

const fn no_association(name: &'static str, kind: OptionKind) -> OptionSpec {
    OptionSpec::new(name, kind, "", NO_ASSOCIATION)
}

/// Every option.
pub const OPTIONS: &[OptionSpec] = &[
    text(
        "kube_tag_prefix",
        "kube.var.log.containers.",
        "what stands before the file name in the tag; only its length counts",
    ),
    text(
        "regex_parser",
        "",
        "parser that reads the tag after the prefix: pod_name, namespace_name, container_name, docker_id",
    ),
    text(
        "kube_url",
        "https://kubernetes.default.svc",
        "the API server; default from kubeconfig or service account",
    ),
    text(
        "kube_ca_file",
        "",
        "certificate authority of the API server",
    ),
    text(
        "kube_ca_path",
        "",
        "folder with certificate authorities of the API server",
    ),
    text(
        "kube_token_file",
        "",
        "token for the API server, read again when it changes",
    ),
    text(
        "kube_token_command",
        "",
        "command that prints the token, run again after kube_token_ttl",
    ),
    OptionSpec::new(
        "kube_token_ttl",
        OptionKind::Time,
        "10m",
        "how long the token of kube_token_command is good",
    ),
    bool(
        "use_kubelet",
        "off",
        "ask the node's kubelet for pods instead of the API server",
    ),
    text("kubelet_host", "127.0.0.1", "the kubelet's address"),
    OptionSpec::new(
        "kubelet_port",
        OptionKind::Int,
        "10250",
        "the kubelet's port",
    ),
    bool("tls.verify", "on", "check the server's certificate"),
    text(
        "tls.vhost",
        "",
        "name that the server's certificate must hold",
    ),
    OptionSpec::new(
        "tls.verify_hostname",
        OptionKind::Bool,
        "",
        "check that the certificate is for this host or tls.vhost; default on for the API server (off in Fluent Bit), off for the kubelet",
    ),
    text(
        "kube_meta_preload_cache_dir",
        "",
        "folder with NAMESPACE_POD.meta and NAMESPACE.namespace_meta, objects as the API gives them, which are asked first",
    ),
    bool("labels", "on", "add the pod's labels"),
    bool("annotations", "on", "add the pod's annotations"),
    bool("owner_references", "off", "add the pod's owners"),
    bool(
        "namespace_labels",
        "off",
        "add the namespace's labels under kubernetes_namespace",
    ),
    bool(
        "namespace_annotations",
        "off",
        "add the namespace's annotations under kubernetes_namespace",
    ),
    bool(
        "namespace_metadata_only",
        "off",
        "add kubernetes_namespace only, nothing of the pod",
    ),
    bool(
        "use_tag_for_meta",
        "off",
        "add only what the tag tells; nothing is asked for",
    ),
    bool(
        "use_journal",
        "off",
        "read the container's name from the journal's field CONTAINER_NAME instead of the tag",
    ),
    bool(
        "dummy_meta",
        "off",
        "add the time of the start instead of metadata, for tests",
    ),
    bool("merge_log", "off", "add the fields of a JSON object in log"),
    text("merge_log_key", "", "field that takes the merged ones"),
    bool("merge_log_trim", "on", "cut line ends off merged texts"),
    text("merge_parser", "", "parser for log instead of JSON"),
    bool("keep_log", "on", "keep log after merging"),
    bool(
        "k8s-logging.parser",
        "off",
        "let the annotation fluentbit.io/parser choose the parser for log",
    ),
    bool(
        "k8s-logging.exclude",
        "off",
        "let the annotation fluentbit.io/exclude drop a pod's logs",
    ),
    idle("buffer_size", OptionKind::Size),
    idle("kube_meta_cache_ttl", OptionKind::Time),
    idle("kube_meta_namespace_cache_ttl", OptionKind::Time),
    idle("kube_namespace_file", OptionKind::Text),
    idle("dns_retries", OptionKind::Int),
    idle("dns_wait_time", OptionKind::Time),
    idle("cache_use_docker_id", OptionKind::Bool),
    idle("tls.debug", OptionKind::Int),
    bool(
        "aws_use_pod_association",
        "off",
        "only off: it serves CloudWatch's own agent",
    ),
    bool(
        "use_pod_association",
        "off",
        "only off: it serves CloudWatch's own agent",
    ),
    no_association("aws_pod_association_host", OptionKind::Text),
    no_association("aws_pod_association_endpoint", OptionKind::Text),
    no_association("aws_pod_association_port", OptionKind::Int),
    no_association("aws_pod_service_map_ttl", OptionKind::Time),
    no_association("aws_pod_service_map_refresh_interval", OptionKind::Int),
    no_association("aws_pod_service_preload_cache_dir", OptionKind::Text),
    no_association("aws_pod_association_host_server_ca_file", OptionKind::Text),
    no_association(
        "aws_pod_association_host_client_cert_file",
        OptionKind::Text,
    ),
    no_association("aws_pod_association_host_client_key_file", OptionKind::Text),
    no_association("aws_pod_association_host_tls_debug", OptionKind::Int),
    no_association("aws_pod_association_host_tls_verify", OptionKind::Bool),
    no_association("set_platform", OptionKind::Text),
];

/// Refuses what cannot be honoured, and says what is without effect.
pub fn refuse(settings: &Settings, component: &str) -> Result<(), ConfigError> {
    for s in &settings.settings {
        let Some(spec) = OPTIONS.iter().find(|o| o.name == s.key) else {
            continue;
        };
        if spec.about.starts_with("only off") && settings.bool(&s.key, false)? {
            let message = format!(
                "'{}' is not supported: it serves CloudWatch's own agent; remove it or set it to off",
                s.key
            );
            return Err(ConfigError::new(&s.place, message));
        }
        if spec.about.contains("without effect") {
            log::debug(
                component,
                format_args!("{}: '{}' is {}", s.place, s.key, spec.about),
            );
        }
    }
    Ok(())
}
