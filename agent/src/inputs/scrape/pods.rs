//! Targets made of the pods of this node, with the labels that Prometheus' discovery gives them.
//!
//! Source: Prometheus, `discovery/kubernetes/pod.go`: one target for each port that a container declares, one for a container
//! without ports. The rules for annotated pods are those of the Prometheus chart's job `kubernetes-pods`.

use kansoku_model::Place;
use kansoku_model::plugin::Setting;
use serde::Deserialize;

use super::label_set::LabelSet;
use super::relabel::Rule;
use crate::kubernetes::{Container, ContainerKind, Pod};

/// What turns annotations into a target's address, path and labels.
const ANNOTATED: &[&str] = &[
    "{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: true}",
    "{source_labels: [__meta_kubernetes_pod_phase], action: drop, regex: 'Pending|Succeeded|Failed|Completed'}",
    "{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scheme], regex: '(https?)', target_label: __scheme__}",
    "{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], regex: '(.+)', target_label: __metrics_path__}",
    "{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_port, __meta_kubernetes_pod_ip], regex: '(\\d+);([^:]+)', replacement: '$2:$1', target_label: __address__}",
    "{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_port, __meta_kubernetes_pod_ip], regex: '(\\d+);(.*:.*)', replacement: '[$2]:$1', target_label: __address__}",
    "{action: labelmap, regex: '__meta_kubernetes_pod_annotation_prometheus_io_param_(.+)', replacement: '__param_$1'}",
    "{action: labelmap, regex: '__meta_kubernetes_pod_label_(.+)'}",
    "{source_labels: [__meta_kubernetes_namespace], target_label: namespace}",
    "{source_labels: [__meta_kubernetes_pod_name], target_label: pod}",
    "{source_labels: [__meta_kubernetes_pod_node_name], target_label: node}",
];

/// The rules that go before the user's when only annotated pods are wanted.
pub fn annotated() -> Vec<Rule> {
    let rule = |text: &&str| {
        let setting = Setting {
            key: String::new(),
            value: (*text).to_owned(),
            place: Place::default(),
        };
        Rule::of(&setting).expect("a constant rule is valid")
    };
    ANNOTATED.iter().map(rule).collect()
}

/// The targets of a pod: none while it has no address.
pub fn targets(pod: &Pod) -> Vec<LabelSet> {
    if pod.ip.is_empty() {
        return Vec::new();
    }
    let common = of_pod(pod);
    let with_init = |is_init: bool| {
        let kind = match is_init {
            true => ContainerKind::Init,
            false => ContainerKind::App,
        };
        pod.containers.iter().filter(move |c| c.kind == kind)
    };
    let mut all = Vec::new();
    for container in with_init(false).chain(with_init(true)) {
        let own = of_container(&common, container);
        if container.ports.is_empty() {
            let mut target = own;
            target.set("__address__", pod.ip.as_str());
            all.push(target);
            continue;
        }
        for port in &container.ports {
            let mut target = own.clone();
            let number = port.number.to_string();
            let address = match pod.ip.contains(':') {
                true => format!("[{}]:{number}", pod.ip),
                false => format!("{}:{number}", pod.ip),
            };
            target.set("__address__", address);
            let mut set =
                |name: &str, value: &str| target.set(&meta("container_port_", name), value);
            set("number", &number);
            set("name", &port.name);
            set("protocol", &port.protocol);
            all.push(target);
        }
    }
    all
}

fn meta(kind: &str, name: &str) -> String {
    format!("__meta_kubernetes_pod_{kind}{name}")
}

fn of_pod(pod: &Pod) -> LabelSet {
    let mut labels = LabelSet::default();
    labels.set("__meta_kubernetes_namespace", pod.namespace.as_str());
    let ready = match pod.ready.as_str() {
        "" => "unknown".to_owned(),
        ready => ready.to_ascii_lowercase(),
    };
    let (kind, name) = controller(&pod.owners);
    for (key, value) in [
        ("name", &pod.name),
        ("ip", &pod.ip),
        ("ready", &ready),
        ("phase", &pod.phase),
        ("node_name", &pod.node),
        ("host_ip", &pod.host_ip),
        ("uid", &pod.uid),
        ("controller_kind", &kind),
        ("controller_name", &name),
    ] {
        labels.set(&meta("", key), value.as_str());
    }
    for (kind, pairs) in [("label", &pod.labels), ("annotation", &pod.annotations)] {
        for (key, value) in pairs {
            let key = label_name(key);
            labels.set(&meta(&format!("{kind}_"), &key), value.as_str());
            labels.set(&meta(&format!("{kind}present_"), &key), "true");
        }
    }
    labels
}

fn of_container(common: &LabelSet, container: &Container) -> LabelSet {
    let mut labels = common.clone();
    let id = match container.id.as_str() {
        "" => String::new(),
        id => format!("{}://{id}", container.runtime),
    };
    let is_init = container.kind == ContainerKind::Init;
    let mut set = |key: &str, value: &str| labels.set(&meta("container_", key), value);
    set("name", &container.name);
    set("id", &id);
    set("image", &container.specified_image);
    set("init", &is_init.to_string());
    labels
}

/// Kind and name of the owner that is the controller.
fn controller(owners: &str) -> (String, String) {
    #[derive(Deserialize)]
    struct Owner {
        #[serde(default)]
        kind: String,
        #[serde(default)]
        name: String,
        #[serde(default)]
        controller: bool,
    }
    let owners: Vec<Owner> = serde_json::from_str(owners).unwrap_or_default();
    let found = owners.into_iter().find(|o| o.controller);
    found.map_or_else(Default::default, |o| (o.kind, o.name))
}

/// What is no letter, digit or `_` becomes `_`.
fn label_name(key: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    key.chars().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::super::relabel::relabel;
    use super::*;
    use crate::kubernetes::Port;

    fn pod() -> Pod {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let port = |name: &str, number| Port {
            name: name.into(),
            number,
            protocol: "TCP".into(),
        };
        let container = |name: &str, kind, ports| Container {
            name: name.into(),
            id: "1f".into(),
            runtime: "containerd".into(),
            specified_image: "web:1".into(),
            kind,
            ports,
            ..Container::default()
        };
        Pod {
            namespace: "shop".into(),
            name: "web-0".into(),
            uid: "u".into(),
            node: "n1".into(),
            ip: "10.0.0.7".into(),
            host_ip: "10.1.0.1".into(),
            phase: "Running".into(),
            ready: "True".into(),
            labels: vec![pair("app.kubernetes.io/name", "web")],
            annotations: vec![
                pair("prometheus.io/scrape", "true"),
                pair("prometheus.io/port", "9000"),
                pair("prometheus.io/path", "/m"),
                pair("prometheus.io/param_module", "x"),
            ],
            owners: r#"[{"kind":"Node","name":"n"},{"kind":"StatefulSet","name":"web","controller":true}]"#
                .into(),
            containers: vec![
                container("setup", ContainerKind::Init, vec![]),
                container("web", ContainerKind::App, vec![port("http", 80), port("", 81)]),
                container("debug", ContainerKind::Ephemeral, vec![]),
            ],
            ..Pod::default()
        }
    }

    #[test]
    fn each_port_is_a_target_with_prometheus_labels() {
        let all: Vec<String> = targets(&pod())
            .iter()
            .map(|t| t.to_labels().to_string())
            .collect();
        assert_eq!(all.len(), 3);
        let common = r#"__meta_kubernetes_namespace="shop", __meta_kubernetes_pod_annotation_prometheus_io_param_module="x", __meta_kubernetes_pod_annotation_prometheus_io_path="/m", __meta_kubernetes_pod_annotation_prometheus_io_port="9000", __meta_kubernetes_pod_annotation_prometheus_io_scrape="true", __meta_kubernetes_pod_annotationpresent_prometheus_io_param_module="true", __meta_kubernetes_pod_annotationpresent_prometheus_io_path="true", __meta_kubernetes_pod_annotationpresent_prometheus_io_port="true", __meta_kubernetes_pod_annotationpresent_prometheus_io_scrape="true", __meta_kubernetes_pod_container_id="containerd://1f", __meta_kubernetes_pod_container_image="web:1""#;
        let rest = r#"__meta_kubernetes_pod_controller_kind="StatefulSet", __meta_kubernetes_pod_controller_name="web", __meta_kubernetes_pod_host_ip="10.1.0.1", __meta_kubernetes_pod_ip="10.0.0.7", __meta_kubernetes_pod_label_app_kubernetes_io_name="web", __meta_kubernetes_pod_labelpresent_app_kubernetes_io_name="true", __meta_kubernetes_pod_name="web-0", __meta_kubernetes_pod_node_name="n1", __meta_kubernetes_pod_phase="Running", __meta_kubernetes_pod_ready="true", __meta_kubernetes_pod_uid="u""#;
        let port = r#"__meta_kubernetes_pod_container_init="false", __meta_kubernetes_pod_container_name="web", __meta_kubernetes_pod_container_port_name="http", __meta_kubernetes_pod_container_port_number="80", __meta_kubernetes_pod_container_port_protocol="TCP""#;
        assert_eq!(
            all[0],
            format!(r#"{{__address__="10.0.0.7:80", {common}, {port}, {rest}}}"#)
        );
        let init = r#"__meta_kubernetes_pod_container_init="true", __meta_kubernetes_pod_container_name="setup""#;
        assert_eq!(
            all[2],
            format!(r#"{{__address__="10.0.0.7", {common}, {init}, {rest}}}"#)
        );
        let without_address = Pod {
            ip: String::new(),
            ..pod()
        };
        assert!(targets(&without_address).is_empty());
    }

    #[test]
    fn annotations_say_where_to_scrape() {
        let seen = |pod: &Pod| -> Vec<String> {
            let kept = targets(pod).into_iter().filter_map(|mut t| {
                relabel(&annotated(), &mut t).then(|| {
                    t.retain(|name| !name.starts_with("__meta_"));
                    t.to_labels().to_string()
                })
            });
            kept.collect()
        };
        let at = |address: &str| {
            format!(
                r#"{{__address__="{address}", __metrics_path__="/m", __param_module="x", app_kubernetes_io_name="web", namespace="shop", node="n1", pod="web-0"}}"#
            )
        };
        assert_eq!(seen(&pod()), vec![at("10.0.0.7:9000"); 3]);
        let six = Pod {
            ip: "fd00::7".into(),
            ..pod()
        };
        assert_eq!(seen(&six)[0], at("[fd00::7]:9000"));
        let done = Pod {
            phase: "Succeeded".into(),
            ..pod()
        };
        assert!(seen(&done).is_empty());
        let plain = Pod {
            annotations: Vec::new(),
            ..pod()
        };
        assert!(seen(&plain).is_empty());
    }
}
