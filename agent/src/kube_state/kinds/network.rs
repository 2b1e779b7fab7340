//! Services, their endpoints, and Ingresses.

use serde_json::Value;

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, list, number, text};
use crate::kube_state::samples::Sink;

pub const SERVICES: Kind = Kind {
    resource: "services",
    api: "/api/v1",
    go_type: "*v1.Service",
    is_namespaced: true,
    name_label: "service",
    has_uid: true,
    form: Form::Whole,
    is_default: true,
    families: &[SERVICE],
};

pub const INGRESSES: Kind = Kind {
    resource: "ingresses",
    api: "/apis/networking.k8s.io/v1",
    go_type: "*v1.Ingress",
    is_namespaced: true,
    name_label: "ingress",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[INGRESS],
};

/// Given only when they are asked for, as by kube-state-metrics: EndpointSlices have taken their place.
pub const ENDPOINTS: Kind = Kind {
    resource: "endpoints",
    api: "/api/v1",
    go_type: "*v1.Endpoints",
    is_namespaced: true,
    name_label: "endpoint",
    has_uid: false,
    form: Form::Whole,
    is_default: false,
    families: &[ENDPOINT],
};

pub const ENDPOINT_SLICES: Kind = Kind {
    resource: "endpointslices",
    api: "/apis/discovery.k8s.io/v1",
    go_type: "*v1.EndpointSlice",
    is_namespaced: true,
    name_label: "endpointslice",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[ENDPOINT_SLICE],
};

const SERVICE: &[Family] = &[
    Family::new(
        "kube_service_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_service_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_service_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_service_labels", common::STABLE_LABELS, common::labels),
    Family::new(
        "kube_service_info",
        "[STABLE] Information about service.",
        &[
            "cluster_ip",
            "external_name",
            "load_balancer_ip",
            "external_traffic_policy",
        ],
        |service, out| {
            out.info(
                &[
                    "clusterIP",
                    "externalName",
                    "loadBalancerIP",
                    "externalTrafficPolicy",
                ]
                .map(|member| text(&service.spec[member])),
            );
        },
    ),
    Family::new(
        "kube_service_spec_type",
        "[STABLE] Type about service.",
        &["type"],
        |service, out| out.info(&[text(&service.spec["type"])]),
    ),
    Family::new(
        "kube_service_spec_external_ip",
        "[STABLE] Service external ips. One series for each ip",
        &["external_ip"],
        |service, out| {
            for ip in list(&service.spec["externalIPs"]) {
                out.info(&[text(ip)]);
            }
        },
    ),
    Family::new(
        "kube_service_status_load_balancer_ingress",
        "[STABLE] Service load balancer ingress status",
        &["ip", "hostname"],
        |service, out| {
            for ingress in list(&service.status["loadBalancer"]["ingress"]) {
                out.info(&[text(&ingress["ip"]), text(&ingress["hostname"])]);
            }
        },
    ),
];

/// The class that an Ingress without one has.
const NO_CLASS: &str = "_default";
/// Where the class stood before it had a member; it wins.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

const INGRESS: &[Family] = &[
    Family::new(
        "kube_ingress_info",
        "[STABLE] Information about ingress.",
        &["ingressclass"],
        |ingress, out| {
            let class = ingress.spec["ingressClassName"].as_str();
            let class = ingress.metadata.annotation(OLD_CLASS).or(class);
            out.info(&[class.unwrap_or(NO_CLASS)]);
        },
    ),
    Family::new(
        "kube_ingress_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_ingress_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_ingress_labels", common::STABLE_LABELS, common::labels),
    Family::new(
        "kube_ingress_metadata_resource_version",
        "Resource version representing a specific version of ingress.",
        &[],
        common::resource_version,
    ),
    // The labels tell of a service or of another resource.
    Family::own_labels(
        "kube_ingress_path",
        "[STABLE] Ingress host, paths and backend service information.",
        paths,
    ),
    Family::new(
        "kube_ingress_tls",
        "[STABLE] Ingress TLS host and secret information.",
        &["tls_host", "secret"],
        |ingress, out| {
            for tls in list(&ingress.spec["tls"]) {
                for host in list(&tls["hosts"]) {
                    out.info(&[text(host), text(&tls["secretName"])]);
                }
            }
        },
    ),
];

fn paths(ingress: &Object, out: &mut Sink<'_>) {
    for rule in list(&ingress.spec["rules"]) {
        for path in list(&rule["http"]["paths"]) {
            let backend = &path["backend"];
            let (service, resource) = (&backend["service"], &backend["resource"]);
            let port = number(&service["port"]["number"]).to_string();
            let target = if service.is_object() {
                vec![
                    "service_name",
                    text(&service["name"]),
                    "service_port",
                    &port,
                ]
            } else {
                vec![
                    "resource_api_group",
                    text(&resource["apiGroup"]),
                    "resource_kind",
                    text(&resource["kind"]),
                    "resource_name",
                    text(&resource["name"]),
                ]
            };
            let mut labels = vec!["host", text(&rule["host"]), "path", text(&path["path"])];
            labels.extend(["path_type", text(&path["pathType"])]);
            labels.extend(target);
            out.sample(&labels, 1.0);
        }
    }
}

const PORT: &[&str] = &["port_name", "port_protocol", "port_number"];

const ENDPOINT: &[Family] = &[
    Family::new(
        "kube_endpoint_info",
        "[STABLE] Information about endpoint.",
        &[],
        |_, out| out.number(1.0),
    ),
    Family::new(
        "kube_endpoint_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_endpoint_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_endpoint_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_endpoint_address",
        "[STABLE] Information about Endpoint available and non available addresses.",
        &["port_protocol", "port_number", "port_name", "ip", "ready"],
        |endpoint, out| {
            for subset in list(&endpoint.subsets) {
                for port in list(&subset["ports"]) {
                    let [name, protocol, number] = port_labels(port);
                    for (member, ready) in [("addresses", "true"), ("notReadyAddresses", "false")] {
                        for address in list(&subset[member]) {
                            let ip = text(&address["ip"]);
                            out.info(&[&protocol, &number, &name, ip, ready]);
                        }
                    }
                }
            }
        },
    ),
    Family::new(
        "kube_endpoint_ports",
        "[STABLE] (Deprecated since v2.14.0) Information about the Endpoint ports.",
        PORT,
        |endpoint, out| {
            for subset in list(&endpoint.subsets) {
                ports(&subset["ports"], out);
            }
        },
    ),
];

const ENDPOINT_SLICE: &[Family] = &[
    Family::new(
        "kube_endpointslice_info",
        "Information about endpointslice.",
        &["addresstype"],
        |slice, out| out.info(&[&slice.address_type]),
    ),
    Family::new(
        "kube_endpointslice_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_endpointslice_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_endpointslice_labels", common::LABELS, common::labels),
    Family::new(
        "kube_endpointslice_endpoints_hints",
        "Topology routing hints attached to endpoints",
        &["address", "for_zone"],
        |slice, out| {
            for endpoint in list(&slice.endpoints) {
                for zone in list(&endpoint["hints"]["forZones"]) {
                    if let Some(address) = list(&endpoint["addresses"]).first() {
                        out.info(&[text(address), text(&zone["name"])]);
                    }
                }
            }
        },
    ),
    Family::new(
        "kube_endpointslice_endpoints",
        "Endpoints attached to the endpointslice.",
        &[
            "ready",
            "serving",
            "hostname",
            "terminating",
            "targetref_kind",
            "targetref_name",
            "targetref_namespace",
            "endpoint_nodename",
            "endpoint_zone",
            "address",
        ],
        |slice, out| {
            for endpoint in list(&slice.endpoints) {
                let conditions = &endpoint["conditions"];
                let target = &endpoint["targetRef"];
                for address in list(&endpoint["addresses"]) {
                    out.info(&[
                        bool_text(&conditions["ready"]),
                        bool_text(&conditions["serving"]),
                        text(&endpoint["hostname"]),
                        bool_text(&conditions["terminating"]),
                        text(&target["kind"]),
                        text(&target["name"]),
                        text(&target["namespace"]),
                        text(&endpoint["nodeName"]),
                        text(&endpoint["zone"]),
                        text(address),
                    ]);
                }
            }
        },
    ),
    Family::new(
        "kube_endpointslice_ports",
        "Ports attached to the endpointslice.",
        PORT,
        |slice, out| ports(&slice.ports, out),
    ),
];

fn ports(ports: &Value, out: &mut Sink<'_>) {
    for port in list(ports) {
        let [name, protocol, number] = port_labels(port);
        out.info(&[&name, &protocol, &number]);
    }
}

/// Name, protocol and number; what is not set is empty.
fn port_labels(port: &Value) -> [String; 3] {
    let number = port["port"].as_i64().map(|n| n.to_string());
    [
        text(&port["name"]).to_owned(),
        text(&port["protocol"]).to_owned(),
        number.unwrap_or_default(),
    ]
}

fn bool_text(value: &Value) -> &'static str {
    match value.as_bool() {
        Some(true) => "true",
        Some(false) => "false",
        None => "",
    }
}
