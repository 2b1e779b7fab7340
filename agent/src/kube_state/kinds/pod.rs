//! Pods: what they are and what they ask for.

use std::net::IpAddr;

use super::common::{self, OWNER};
use super::{pod_containers, pod_init_containers, pod_status};
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{flag, is_true, list, members, text};

pub const PODS: Kind = Kind {
    resource: "pods",
    api: "/api/v1",
    go_type: "*v1.Pod",
    is_namespaced: true,
    name_label: "pod",
    has_uid: true,
    form: Form::Whole,
    is_default: true,
    families: &[
        FAMILIES,
        pod_status::FAMILIES,
        pod_containers::FAMILIES,
        pod_init_containers::FAMILIES,
    ],
};

const CLAIM: &[&str] = &["volume", "persistentvolumeclaim", "ephemeral"];

const FAMILIES: &[Family] = &[
    Family::new(
        "kube_pod_info",
        "[STABLE] Information about pod.",
        &[
            "host_ip",
            "pod_ip",
            "node",
            "created_by_kind",
            "created_by_name",
            "priority_class",
            "host_network",
        ],
        |pod, out| {
            let owners = pod.metadata.owners().iter();
            let owner = owners.clone().find(|o| o.controller == Some(true));
            let host_network = is_true(&pod.spec["hostNetwork"]);
            out.info(&[
                text(&pod.status["hostIP"]),
                text(&pod.status["podIP"]),
                text(&pod.spec["nodeName"]),
                owner.map_or("", |o| &o.kind),
                owner.map_or("", |o| &o.name),
                text(&pod.spec["priorityClassName"]),
                if host_network { "true" } else { "false" },
            ]);
        },
    ),
    Family::new(
        "kube_pod_ips",
        "Pod IP addresses",
        &["ip", "ip_family"],
        |pod, out| {
            for ip in list(&pod.status["podIPs"]) {
                let ip = text(&ip["ip"]);
                let Ok(address) = ip.parse::<IpAddr>() else {
                    continue;
                };
                let is_v4 = address.to_canonical().is_ipv4();
                out.info(&[ip, if is_v4 { "4" } else { "6" }]);
            }
        },
    ),
    Family::new(
        "kube_pod_owner",
        "[STABLE] Information about the Pod's owner.",
        OWNER,
        common::owner,
    ),
    Family::new(
        "kube_pod_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_pod_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels("kube_pod_labels", common::STABLE_LABELS, common::labels),
    Family::own_labels(
        "kube_pod_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::new(
        "kube_pod_restart_policy",
        "[STABLE] Describes the restart policy in use by this pod.",
        &["type"],
        |pod, out| out.info(&[text(&pod.spec["restartPolicy"])]),
    ),
    Family::new(
        "kube_pod_service_account",
        "The service account for a pod.",
        &["service_account"],
        |pod, out| out.info(&[text(&pod.spec["serviceAccountName"])]),
    ),
    Family::new(
        "kube_pod_scheduler",
        "The scheduler for a pod.",
        &["name"],
        |pod, out| out.info(&[text(&pod.spec["schedulerName"])]),
    ),
    Family::new(
        "kube_pod_runtimeclass_name_info",
        "The runtimeclass associated with the pod.",
        &["runtimeclass_name"],
        |pod, out| {
            if let Some(name) = pod.spec["runtimeClassName"].as_str() {
                out.info(&[name]);
            }
        },
    ),
    Family::new(
        "kube_pod_overhead_cpu_cores",
        "The pod overhead in regards to cpu cores associated with running a pod.",
        &[],
        |pod, out| {
            if let Some(cores) = common::milli(&pod.spec["overhead"]["cpu"]) {
                out.number(cores);
            }
        },
    ),
    Family::new(
        "kube_pod_overhead_memory_bytes",
        "The pod overhead in regards to memory associated with running a pod.",
        &[],
        |pod, out| {
            if let Some(bytes) = common::whole(&pod.spec["overhead"]["memory"]) {
                out.number(bytes);
            }
        },
    ),
    Family::new(
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
        "[STABLE] Information about persistentvolumeclaim and ephemeral volumes in a pod.",
        CLAIM,
        |pod, out| claims(pod, |labels, _| out.info(labels)),
    ),
    Family::new(
        "kube_pod_spec_volumes_persistentvolumeclaims_readonly",
        "[STABLE] Describes whether a persistentvolumeclaim is mounted read only. Ephemeral volumes always report 0 since the ephemeral volume source does not support a read-only flag.",
        CLAIM,
        |pod, out| {
            claims(pod, |labels, is_read_only| {
                out.sample(labels, flag(is_read_only));
            });
        },
    ),
    Family::new(
        "kube_pod_resourceclaim_info",
        "Information about a DRA ResourceClaim referenced by a pod, one series per pod.spec.resourceClaims entry; claim_name is the pod-local reference and resourceclaim_name is the resolved ResourceClaim object name.",
        &[
            "claim_name",
            "resourceclaim_name",
            "resourceclaim_template_name",
        ],
        |pod, out| {
            for claim in list(&pod.spec["resourceClaims"]) {
                let name = &claim["name"];
                let template = claim["resourceClaimTemplateName"].as_str();
                let statuses = list(&pod.status["resourceClaimStatuses"]);
                let resolved = statuses.iter().find(|s| s["name"] == *name);
                let claim = match claim["resourceClaimName"].as_str() {
                    Some(claim) => claim,
                    None if template.is_none() => continue,
                    None => resolved.map_or("", |s| text(&s["resourceClaimName"])),
                };
                out.info(&[text(name), claim, template.unwrap_or("")]);
            }
        },
    ),
    Family::new(
        "kube_pod_tolerations",
        "Information about the pod tolerations",
        &["key", "operator", "value", "effect", "toleration_seconds"],
        |pod, out| {
            let all = list(&pod.spec["tolerations"]);
            for (at, toleration) in all.iter().enumerate() {
                if all[..at].contains(toleration) {
                    continue;
                }
                let seconds = toleration["tolerationSeconds"].as_i64();
                out.info(&[
                    text(&toleration["key"]),
                    text(&toleration["operator"]),
                    text(&toleration["value"]),
                    text(&toleration["effect"]),
                    &seconds.map(|s| s.to_string()).unwrap_or_default(),
                ]);
            }
        },
    ),
    Family::own_labels(
        "kube_pod_nodeselectors",
        "Describes the Pod nodeSelectors.",
        |pod, out| {
            let selectors = members(&pod.spec["nodeSelector"]).map(|(k, v)| (k, text(v)));
            out.pairs("nodeselector", selectors, &[]);
        },
    )
    .opt_in(),
];

/// Volume, claim and whether it is the pod's own, with whether it is read only.
fn claims(pod: &crate::kube_state::object::Object, mut each: impl FnMut(&[&str], bool)) {
    for volume in list(&pod.spec["volumes"]) {
        let name = text(&volume["name"]);
        let claim = &volume["persistentVolumeClaim"];
        if claim.is_object() {
            let labels = [name, text(&claim["claimName"]), "false"];
            each(&labels, is_true(&claim["readOnly"]));
        } else if volume["ephemeral"].is_object() {
            // The name that the controller gives the claim.
            let claim = format!("{}-{name}", pod.metadata.name);
            each(&[name, &claim, "true"], false);
        }
    }
}
