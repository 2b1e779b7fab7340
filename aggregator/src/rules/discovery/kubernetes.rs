//! `kubernetes_sd_configs`: targets that the Kubernetes API knows, with the labels that Prometheus gives
//! them.
//!
//! Roles `endpoints`, `endpointslice`, `pod` and `service`; the others have no Alertmanagers in them.

use std::sync::Arc;
use std::time::Duration;

use kansoku_parsers::config::yaml::tree::Node;
use kansoku_parsers::relabel::label_set::LabelSet;
use serde_json::Value;

use super::ADDRESS;
use super::dns::joined;
use crate::http_client::config::{KEYS as HTTP_KEYS, Read, texts, truth};
use crate::kubernetes::access::{self, Access, own_namespace};
use crate::kubernetes::watch::{self, Bounds, Kind, Objects, Reflector};

/// What a target is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Endpoints,
    EndpointSlice,
    Pod,
    Service,
}

impl Role {
    const ALL: [(&'static str, Self); 4] = [
        ("endpoints", Self::Endpoints),
        ("endpointslice", Self::EndpointSlice),
        ("pod", Self::Pod),
        ("service", Self::Service),
    ];

    /// The kinds that are watched for it, its own first.
    fn kinds(self) -> &'static [(&'static str, &'static str)] {
        const PODS: (&str, &str) = ("/api/v1", "pods");
        const SERVICES: (&str, &str) = ("/api/v1", "services");
        const ENDPOINTS: (&str, &str) = ("/api/v1", "endpoints");
        const SLICES: (&str, &str) = ("/apis/discovery.k8s.io/v1", "endpointslices");
        match self {
            Self::Endpoints => &[ENDPOINTS, PODS, SERVICES],
            Self::EndpointSlice => &[SLICES, PODS, SERVICES],
            Self::Pod => &[PODS],
            Self::Service => &[SERVICES],
        }
    }
}

/// A section.
#[derive(Debug, Clone, PartialEq)]
pub struct Kubernetes {
    role: Role,
    access: Access,
    namespaces: Vec<String>,
    has_own_namespace: bool,
    /// Resource in the plural, selectors of labels and of fields.
    selectors: Vec<(&'static str, String, String)>,
}

/// Changes within that time are taken together.
const PAUSE: Duration = Duration::from_millis(500);

impl Kubernetes {
    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let (mut role, mut selectors) = (None, Vec::new());
        let mut out = Self {
            role: Role::Pod,
            access: Access::default(),
            namespaces: Vec::new(),
            has_own_namespace: false,
            selectors: Vec::new(),
        };
        let own = ["role", "namespaces", "selectors", "attach_metadata"];
        let all = own.into_iter().chain(access::KEYS).chain(HTTP_KEYS);
        for (key, value) in node.checked_pairs(&all.collect::<Vec<_>>())? {
            match key {
                "role" => {
                    let text = value.text()?;
                    let known = Role::ALL.into_iter().find(|(name, _)| *name == text);
                    let known = known.ok_or_else(|| {
                        value.error(format!(
                            "role '{text}' is not spoken; expected endpoints, endpointslice, pod or service"
                        ))
                    })?;
                    role = Some(known.1);
                }
                "namespaces" => {
                    for (key, value) in value.checked_pairs(&["names", "own_namespace"])? {
                        match key {
                            "names" => out.namespaces = texts(value)?,
                            _ => out.has_own_namespace = truth(value)?,
                        }
                    }
                }
                "selectors" => selectors = value.items()?.to_vec(),
                "attach_metadata" => {
                    for (key, value) in value.checked_pairs(&["node", "namespace"])? {
                        if truth(value)? {
                            return Err(value.error(format!(
                                "labels of the {key} are not attached to Alertmanagers; leave attach_metadata out"
                            )));
                        }
                    }
                }
                _ => out.access.take(key, value)?,
            }
        }
        out.access.check(node)?;
        out.role = role.ok_or_else(|| {
            node.error("role missing (one of: endpoints, endpointslice, pod, service)")
        })?;
        for item in &selectors {
            let selector = selector(item, out.role)?;
            out.selectors.push(selector);
        }
        Ok(out)
    }

    fn copies(&self) -> Vec<Vec<Arc<Reflector>>> {
        let mut namespaces: Vec<Option<String>> =
            self.namespaces.iter().cloned().map(Some).collect();
        if self.has_own_namespace {
            namespaces.extend(own_namespace().map(Some));
        }
        namespaces.dedup();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let kinds = self.role.kinds().iter();
        kinds
            .map(|(group, resource)| {
                let own = self.selectors.iter().find(|(kind, ..)| kind == resource);
                let (labels, fields) = own.map_or(("", ""), |(_, l, f)| (l, f));
                let copy = |namespace: &Option<String>| {
                    Arc::new(Reflector::new(Kind {
                        group,
                        resource,
                        namespace: namespace.clone(),
                        label_selector: labels.to_owned(),
                        field_selector: fields.to_owned(),
                        cure: "role endpoints is spoken by older clusters, too",
                        bounds: Bounds::default(),
                    }))
                };
                namespaces.iter().map(copy).collect()
            })
            .collect()
    }

    /// Watches for ever.
    pub async fn run(self, tell: impl Fn(Vec<LabelSet>)) {
        let copies = self.copies();
        let (_tasks, mut changes) = watch::keep(copies.iter().flatten(), &self.access);
        let mut last = None;
        while changes.changed().await.is_ok() {
            tokio::time::sleep(PAUSE).await;
            changes.mark_unchanged();
            if !copies.iter().flatten().all(|copy| copy.has_listed()) {
                continue;
            }
            let objects: Vec<Objects> = copies
                .iter()
                .map(|of_kind| of_kind.iter().flat_map(|copy| copy.objects()).collect())
                .collect();
            let targets = targets(self.role, &objects);
            if last.as_ref() != Some(&targets) {
                tell(targets.clone());
                last = Some(targets);
            }
        }
    }
}

fn selector(node: &Node, role: Role) -> Read<(&'static str, String, String)> {
    let (mut kind, mut labels, mut fields) = (None, String::new(), String::new());
    for (key, value) in node.checked_pairs(&["role", "label", "field"])? {
        match key {
            "role" => {
                let text = value.text()?;
                let plural = match text {
                    "endpoints" => text.to_owned(),
                    _ => format!("{text}s"),
                };
                let found = role
                    .kinds()
                    .iter()
                    .find(|(_, resource)| *resource == plural);
                let found = found.ok_or_else(|| {
                    value.error(format!("the role of the section does not look at '{text}'"))
                })?;
                kind = Some(found.1);
            }
            "label" => value.text()?.clone_into(&mut labels),
            _ => value.text()?.clone_into(&mut fields),
        }
    }
    let kind = kind.ok_or_else(|| node.error("a selector needs a role"))?;
    Ok((kind, labels, fields))
}

/// All targets; `objects` are those of [`Role::kinds`].
fn targets(role: Role, objects: &[Objects]) -> Vec<LabelSet> {
    let none = Objects::new();
    let of = |at: usize| objects.get(at).unwrap_or(&none);
    let own = of(0).iter();
    match role {
        Role::Pod => own.flat_map(|(_, pod)| of_pod(pod)).collect(),
        Role::Service => own.flat_map(|(_, service)| of_service(service)).collect(),
        Role::Endpoints => own
            .flat_map(|(key, e)| of_endpoints(key, e, of(1), of(2)))
            .collect(),
        Role::EndpointSlice => own
            .flat_map(|(key, s)| of_slice(key, s, of(1), of(2)))
            .collect(),
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A port's number, or other numbers and truths, as text.
fn shown(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    let found = value.pointer(path).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn sanitized(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect()
}

/// Labels and annotations of an object.
fn add_metadata(set: &mut LabelSet, object: &Value, role: &str) {
    let name = text(object, "/metadata/name");
    set.set(&format!("__meta_kubernetes_{role}_name"), name);
    for (field, word) in [("labels", "label"), ("annotations", "annotation")] {
        let pairs = object.pointer(&format!("/metadata/{field}"));
        for (name, value) in pairs.and_then(Value::as_object).into_iter().flatten() {
            let name = sanitized(name);
            let value = value.as_str().unwrap_or_default();
            set.set(&format!("__meta_kubernetes_{role}_{word}_{name}"), value);
            set.set(
                &format!("__meta_kubernetes_{role}_{word}present_{name}"),
                "true",
            );
        }
    }
}

fn set_all(set: &mut LabelSet, object: &Value, pairs: &[(&str, &str)]) {
    for (name, path) in pairs {
        set.set(&format!("__meta_kubernetes_{name}"), shown(object, path));
    }
}

fn pod_labels(pod: &Value) -> LabelSet {
    let mut set = LabelSet::default();
    add_metadata(&mut set, pod, "pod");
    set_all(
        &mut set,
        pod,
        &[
            ("namespace", "/metadata/namespace"),
            ("pod_ip", "/status/podIP"),
            ("pod_phase", "/status/phase"),
            ("pod_node_name", "/spec/nodeName"),
            ("pod_host_ip", "/status/hostIP"),
            ("pod_uid", "/metadata/uid"),
        ],
    );
    let ready = items(pod, "/status/conditions");
    let ready = ready.iter().find(|c| text(c, "/type") == "Ready");
    let ready = ready
        .map_or("unknown", |c| text(c, "/status"))
        .to_lowercase();
    set.set("__meta_kubernetes_pod_ready", ready);
    let owners = items(pod, "/metadata/ownerReferences");
    let is_controller = |o: &&Value| o.get("controller") == Some(&Value::Bool(true));
    if let Some(owner) = owners.iter().find(is_controller) {
        set.set(
            "__meta_kubernetes_pod_controller_kind",
            text(owner, "/kind"),
        );
        set.set(
            "__meta_kubernetes_pod_controller_name",
            text(owner, "/name"),
        );
    }
    set
}

fn add_container(set: &mut LabelSet, pod: &Value, container: &Value, is_init: bool) {
    let name = text(container, "/name");
    set.set("__meta_kubernetes_pod_container_init", is_init.to_string());
    set.set("__meta_kubernetes_pod_container_name", name);
    set.set(
        "__meta_kubernetes_pod_container_image",
        text(container, "/image"),
    );
    let of = if is_init {
        "/status/initContainerStatuses"
    } else {
        "/status/containerStatuses"
    };
    let mut states = items(pod, of).iter();
    if let Some(state) = states.find(|s| text(s, "/name") == name) {
        set.set(
            "__meta_kubernetes_pod_container_id",
            text(state, "/containerID"),
        );
    }
}

fn add_container_port(set: &mut LabelSet, port: &Value) {
    set_all(
        set,
        port,
        &[
            ("pod_container_port_name", "/name"),
            ("pod_container_port_number", "/containerPort"),
            ("pod_container_port_protocol", "/protocol"),
        ],
    );
}

fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let own = items(pod, "/spec/containers").iter().map(|c| (c, false));
    own.chain(items(pod, "/spec/initContainers").iter().map(|c| (c, true)))
}

fn of_pod(pod: &Value) -> Vec<LabelSet> {
    let ip = text(pod, "/status/podIP");
    if ip.is_empty() {
        return Vec::new();
    }
    let common = pod_labels(pod);
    let mut found = Vec::new();
    for (container, is_init) in containers(pod) {
        let mut set = common.clone();
        add_container(&mut set, pod, container, is_init);
        let ports = items(container, "/ports");
        if ports.is_empty() {
            // Relabelling may add a port.
            set.set(ADDRESS, ip);
            found.push(set);
            continue;
        }
        for port in ports {
            let mut set = set.clone();
            add_container_port(&mut set, port);
            set.set(ADDRESS, joined(ip, port_number(port, "/containerPort")));
            found.push(set);
        }
    }
    found
}

fn port_number(value: &Value, path: &str) -> u16 {
    let number = value.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    u16::try_from(number).unwrap_or(0)
}

fn service_labels(service: &Value) -> LabelSet {
    let mut set = LabelSet::default();
    add_metadata(&mut set, service, "service");
    set.set(
        "__meta_kubernetes_namespace",
        text(service, "/metadata/namespace"),
    );
    set
}

fn of_service(service: &Value) -> Vec<LabelSet> {
    let host = format!(
        "{}.{}.svc",
        text(service, "/metadata/name"),
        text(service, "/metadata/namespace")
    );
    let ports = items(service, "/spec/ports").iter();
    let target = |port: &Value| {
        let mut set = service_labels(service);
        set_all(&mut set, service, &[("service_type", "/spec/type")]);
        set_all(
            &mut set,
            port,
            &[
                ("service_port_name", "/name"),
                ("service_port_number", "/port"),
                ("service_port_protocol", "/protocol"),
            ],
        );
        match text(service, "/spec/type") {
            "ExternalName" => set_all(
                &mut set,
                service,
                &[("service_external_name", "/spec/externalName")],
            ),
            "LoadBalancer" => set_all(
                &mut set,
                service,
                &[
                    ("service_cluster_ip", "/spec/clusterIP"),
                    ("service_loadbalancer_ip", "/spec/loadBalancerIP"),
                ],
            ),
            _ => set_all(
                &mut set,
                service,
                &[("service_cluster_ip", "/spec/clusterIP")],
            ),
        }
        set.set(ADDRESS, joined(&host, port_number(port, "/port")));
        set
    };
    ports.map(target).collect()
}

/// What the pod behind an address adds.
fn add_pod(set: &mut LabelSet, namespace: &str, target: &Value, port: u16, pods: &Objects) {
    if text(target, "/kind") != "Pod" {
        return;
    }
    let of_target = match text(target, "/namespace") {
        "" => namespace,
        other => other,
    };
    let key = (of_target.to_owned(), text(target, "/name").to_owned());
    let Some(pod) = pods.get(&key) else {
        return;
    };
    for (name, value) in pod_labels(pod).iter() {
        set.set(name, value);
    }
    for (container, is_init) in containers(pod) {
        let mut ports = items(container, "/ports").iter();
        if let Some(found) = ports.find(|p| port_number(p, "/containerPort") == port) {
            add_container(set, pod, container, is_init);
            add_container_port(set, found);
            return;
        }
    }
}

fn add_service(set: &mut LabelSet, key: (String, String), services: &Objects) {
    if let Some(service) = services.get(&key) {
        for (name, value) in service_labels(service).iter() {
            set.set(name, value);
        }
    }
}

fn of_endpoints(
    key: &(String, String),
    endpoints: &Value,
    pods: &Objects,
    services: &Objects,
) -> Vec<LabelSet> {
    let mut common = LabelSet::default();
    add_metadata(&mut common, endpoints, "endpoints");
    common.set("__meta_kubernetes_namespace", key.0.as_str());
    add_service(&mut common, key.clone(), services);
    let mut found = Vec::new();
    for subset in items(endpoints, "/subsets") {
        for port in items(subset, "/ports") {
            for (field, is_ready) in [("/addresses", "true"), ("/notReadyAddresses", "false")] {
                for address in items(subset, field) {
                    let number = port_number(port, "/port");
                    let mut set = common.clone();
                    set.set(ADDRESS, joined(text(address, "/ip"), number));
                    set.set("__meta_kubernetes_endpoint_ready", is_ready);
                    set_all(
                        &mut set,
                        port,
                        &[
                            ("endpoint_port_name", "/name"),
                            ("endpoint_port_protocol", "/protocol"),
                        ],
                    );
                    set_all(
                        &mut set,
                        address,
                        &[
                            ("endpoint_hostname", "/hostname"),
                            ("endpoint_node_name", "/nodeName"),
                            ("endpoint_address_target_kind", "/targetRef/kind"),
                            ("endpoint_address_target_name", "/targetRef/name"),
                        ],
                    );
                    if let Some(target) = address.get("targetRef") {
                        add_pod(&mut set, &key.0, target, number, pods);
                    }
                    found.push(set);
                }
            }
        }
    }
    found
}

fn of_slice(
    key: &(String, String),
    slice: &Value,
    pods: &Objects,
    services: &Objects,
) -> Vec<LabelSet> {
    let mut common = LabelSet::default();
    add_metadata(&mut common, slice, "endpointslice");
    common.set("__meta_kubernetes_namespace", key.0.as_str());
    common.set(
        "__meta_kubernetes_endpointslice_address_type",
        text(slice, "/addressType"),
    );
    let labels = slice.pointer("/metadata/labels");
    let service = labels.and_then(|l| l.get("kubernetes.io/service-name"));
    if let Some(service) = service.and_then(Value::as_str) {
        add_service(&mut common, (key.0.clone(), service.to_owned()), services);
    }
    let mut found = Vec::new();
    for port in items(slice, "/ports") {
        for endpoint in items(slice, "/endpoints") {
            for address in items(endpoint, "/addresses") {
                let number = port_number(port, "/port");
                let mut set = common.clone();
                let address = address.as_str().unwrap_or_default();
                set.set(ADDRESS, joined(address, number));
                set_all(
                    &mut set,
                    port,
                    &[
                        ("endpointslice_port", "/port"),
                        ("endpointslice_port_name", "/name"),
                        ("endpointslice_port_protocol", "/protocol"),
                        ("endpointslice_port_app_protocol", "/appProtocol"),
                    ],
                );
                set_all(
                    &mut set,
                    endpoint,
                    &[
                        (
                            "endpointslice_endpoint_conditions_ready",
                            "/conditions/ready",
                        ),
                        (
                            "endpointslice_endpoint_conditions_serving",
                            "/conditions/serving",
                        ),
                        (
                            "endpointslice_endpoint_conditions_terminating",
                            "/conditions/terminating",
                        ),
                        ("endpointslice_endpoint_hostname", "/hostname"),
                        ("endpointslice_endpoint_node_name", "/nodeName"),
                        ("endpointslice_endpoint_zone", "/zone"),
                        ("endpointslice_address_target_kind", "/targetRef/kind"),
                        ("endpointslice_address_target_name", "/targetRef/name"),
                    ],
                );
                let topology = endpoint
                    .get("deprecatedTopology")
                    .and_then(Value::as_object);
                for (name, value) in topology.into_iter().flatten() {
                    let name = sanitized(name);
                    let prefix = "__meta_kubernetes_endpointslice_endpoint_topology";
                    set.set(
                        &format!("{prefix}_{name}"),
                        value.as_str().unwrap_or_default(),
                    );
                    set.set(&format!("{prefix}_present_{name}"), "true");
                }
                if let Some(target) = endpoint.get("targetRef") {
                    add_pod(&mut set, &key.0, target, number, pods);
                }
                found.push(set);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(all: &[Value]) -> Objects {
        let key = |o: &Value| {
            let of = |path| text(o, path).to_owned();
            (of("/metadata/namespace"), of("/metadata/name"))
        };
        all.iter().map(|o| (key(o), Arc::new(o.clone()))).collect()
    }

    fn pod() -> Value {
        json!({"metadata": {"namespace": "m", "name": "am-0", "uid": "u", "labels": {"app.k/name": "am"},
                "ownerReferences": [{"kind": "StatefulSet", "name": "am", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [
                {"name": "am", "image": "i", "ports": [{"name": "web", "containerPort": 9093, "protocol": "TCP"}]},
                {"name": "side"}]},
            "status": {"podIP": "10.0.0.1", "phase": "Running", "hostIP": "192.0.2.1",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "am", "containerID": "c://1"}]}})
    }

    fn service() -> Value {
        json!({"metadata": {"namespace": "m", "name": "am", "annotations": {"a-b": "c"}},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1",
                "ports": [{"name": "web", "port": 9093, "protocol": "TCP"}]}})
    }

    fn check(set: &LabelSet, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            let name = match *name {
                ADDRESS => ADDRESS.to_owned(),
                name => format!("__meta_kubernetes_{name}"),
            };
            assert_eq!(set.get(&name), *value, "{name} of {set:?}");
        }
    }

    #[test]
    fn pods_and_services_are_targets_by_port() {
        let found = targets(Role::Pod, &[objects(&[pod()])]);
        assert_eq!(found.len(), 2);
        check(
            &found[0],
            &[
                (ADDRESS, "10.0.0.1:9093"),
                ("namespace", "m"),
                ("pod_name", "am-0"),
                ("pod_label_app_k_name", "am"),
                ("pod_labelpresent_app_k_name", "true"),
                ("pod_container_name", "am"),
                ("pod_container_id", "c://1"),
                ("pod_container_port_name", "web"),
                ("pod_container_port_number", "9093"),
                ("pod_container_init", "false"),
                ("pod_ready", "true"),
                ("pod_phase", "Running"),
                ("pod_controller_kind", "StatefulSet"),
            ],
        );
        check(
            &found[1],
            &[(ADDRESS, "10.0.0.1"), ("pod_container_name", "side")],
        );
        let found = targets(Role::Service, &[objects(&[service()])]);
        check(
            &found[0],
            &[
                (ADDRESS, "am.m.svc:9093"),
                ("service_name", "am"),
                ("service_annotation_a_b", "c"),
                ("service_port_name", "web"),
                ("service_port_number", "9093"),
                ("service_cluster_ip", "10.96.0.1"),
                ("service_type", "ClusterIP"),
            ],
        );
    }

    #[test]
    fn endpoints_have_the_labels_of_their_pods_and_services() {
        let endpoints = json!({"metadata": {"namespace": "m", "name": "am"}, "subsets": [{
            "addresses": [{"ip": "10.0.0.1", "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "am-0", "namespace": "m"}}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}],
            "ports": [{"name": "web", "port": 9093, "protocol": "TCP"}]}]});
        let all = [
            objects(&[endpoints]),
            objects(&[pod()]),
            objects(&[service()]),
        ];
        let found = targets(Role::Endpoints, &all);
        assert_eq!(found.len(), 2);
        check(
            &found[0],
            &[
                (ADDRESS, "10.0.0.1:9093"),
                ("endpoints_name", "am"),
                ("endpoint_ready", "true"),
                ("endpoint_port_name", "web"),
                ("endpoint_address_target_name", "am-0"),
                ("pod_container_name", "am"),
                ("pod_name", "am-0"),
                ("service_name", "am"),
                ("service_annotation_a_b", "c"),
            ],
        );
        check(
            &found[1],
            &[
                (ADDRESS, "10.0.0.2:9093"),
                ("endpoint_ready", "false"),
                ("pod_name", ""),
            ],
        );
        let slice = json!({"metadata": {"namespace": "m", "name": "am-x", "labels": {"kubernetes.io/service-name": "am"}},
            "addressType": "IPv4", "ports": [{"name": "web", "port": 9093}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "n1",
                "targetRef": {"kind": "Pod", "name": "am-0", "namespace": "m"}}]});
        let all = [objects(&[slice]), objects(&[pod()]), objects(&[service()])];
        let found = targets(Role::EndpointSlice, &all);
        check(
            &found[0],
            &[
                (ADDRESS, "10.0.0.1:9093"),
                ("endpointslice_name", "am-x"),
                ("endpointslice_endpoint_conditions_ready", "true"),
                ("endpointslice_port", "9093"),
                ("service_name", "am"),
                ("pod_name", "am-0"),
            ],
        );
    }
}
