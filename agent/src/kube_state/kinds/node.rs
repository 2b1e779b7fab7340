//! Nodes.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{flag, is_true, list, text};

pub const NODES: Kind = Kind {
    resource: "nodes",
    api: "/api/v1",
    go_type: "*v1.Node",
    is_namespaced: false,
    name_label: "node",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[FAMILIES],
};

const ROLE: &str = "node-role.kubernetes.io/";

const FAMILIES: &[Family] = &[
    Family::own_labels(
        "kube_node_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::new(
        "kube_node_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_node_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::new(
        "kube_node_info",
        "[STABLE] Information about a cluster node.",
        &[
            "kernel_version",
            "os_image",
            "container_runtime_version",
            "kubelet_version",
            "kubeproxy_version",
            "provider_id",
            "pod_cidr",
            "system_uuid",
            "internal_ip",
        ],
        |node, out| {
            let info = &node.status["nodeInfo"];
            let addresses = list(&node.status["addresses"]).iter();
            let internal = addresses.rev().find(|a| text(&a["type"]) == "InternalIP");
            out.info(&[
                text(&info["kernelVersion"]),
                text(&info["osImage"]),
                text(&info["containerRuntimeVersion"]),
                text(&info["kubeletVersion"]),
                // What kube-state-metrics says instead of the version.
                "deprecated",
                text(&node.spec["providerID"]),
                text(&node.spec["podCIDR"]),
                text(&info["systemUUID"]),
                internal.map_or("", |a| text(&a["address"])),
            ]);
        },
    ),
    Family::own_labels("kube_node_labels", common::STABLE_LABELS, common::labels),
    Family::new(
        "kube_node_role",
        "The role of a cluster node.",
        &["role"],
        |node, out| {
            for (label, _) in node.metadata.labels() {
                if let Some(role) = label.strip_prefix(ROLE) {
                    out.info(&[role]);
                }
            }
        },
    ),
    Family::new(
        "kube_node_spec_pod_cidrs",
        "The pod CIDRs of a cluster node.",
        &["pod_cidr"],
        |node, out| {
            for cidr in list(&node.spec["podCIDRs"]) {
                out.info(&[text(cidr)]);
            }
        },
    ),
    Family::new(
        "kube_node_spec_taint",
        "[STABLE] The taint of a cluster node.",
        &["key", "value", "effect"],
        |node, out| {
            for taint in list(&node.spec["taints"]) {
                let [key, value, effect] = ["key", "value", "effect"].map(|m| text(&taint[m]));
                out.info(&[key, value, effect]);
            }
        },
    ),
    Family::new(
        "kube_node_spec_unschedulable",
        "[STABLE] Whether a node can schedule new pods.",
        &[],
        |node, out| out.number(flag(is_true(&node.spec["unschedulable"]))),
    ),
    Family::new(
        "kube_node_status_allocatable",
        "[STABLE] The allocatable for different resources of a node that are available for scheduling.",
        RESOURCE,
        |node, out| resources(&node.status["allocatable"], out),
    ),
    Family::new(
        "kube_node_status_capacity",
        "[STABLE] The capacity for different resources of a node.",
        RESOURCE,
        |node, out| resources(&node.status["capacity"], out),
    ),
    Family::new(
        "kube_node_status_condition",
        "[STABLE] The condition of a cluster node.",
        &["condition", "status"],
        common::conditions,
    ),
    Family::new(
        "kube_node_status_addresses",
        "Node address information.",
        &["type", "address"],
        |node, out| {
            for address in list(&node.status["addresses"]) {
                out.info(&[text(&address["type"]), text(&address["address"])]);
            }
        },
    ),
];

const RESOURCE: &[&str] = &["resource", "unit"];

/// The node's resources, of which pods are one.
fn resources(resources: &serde_json::Value, out: &mut crate::kube_state::samples::Sink<'_>) {
    if let Some(pods) = common::milli(&resources["pods"]) {
        out.sample(&["pods", "integer"], pods);
    }
    common::resources(resources, &[], false, out);
}
