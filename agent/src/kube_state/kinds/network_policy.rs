//! NetworkPolicies and IngressClasses.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{list, text};

const API: &str = "/apis/networking.k8s.io/v1";

pub const NETWORK_POLICIES: Kind = Kind {
    resource: "networkpolicies",
    api: API,
    go_type: "*v1.NetworkPolicy",
    is_namespaced: true,
    name_label: "networkpolicy",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[NETWORK_POLICY],
};

/// Given only when they are asked for, as by kube-state-metrics.
pub const INGRESS_CLASSES: Kind = Kind {
    resource: "ingressclasses",
    api: API,
    go_type: "*v1.IngressClass",
    is_namespaced: false,
    name_label: "ingressclass",
    has_uid: false,
    form: Form::Whole,
    is_default: false,
    families: &[INGRESS_CLASS],
};

const NETWORK_POLICY: &[Family] = &[
    Family::new(
        "kube_networkpolicy_created",
        "Unix creation timestamp of network policy",
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_networkpolicy_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_networkpolicy_labels", common::LABELS, common::labels),
    Family::new(
        "kube_networkpolicy_spec_ingress_rules",
        "Number of ingress rules on the networkpolicy",
        &[],
        |policy, out| out.number(list(&policy.spec["ingress"]).len() as f64),
    ),
    Family::new(
        "kube_networkpolicy_spec_egress_rules",
        "Number of egress rules on the networkpolicy",
        &[],
        |policy, out| out.number(list(&policy.spec["egress"]).len() as f64),
    ),
];

const INGRESS_CLASS: &[Family] = &[
    Family::new(
        "kube_ingressclass_info",
        "Information about ingressclass.",
        &["controller"],
        |class, out| out.info(&[text(&class.spec["controller"])]),
    ),
    Family::new(
        "kube_ingressclass_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_ingressclass_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_ingressclass_labels", common::LABELS, common::labels),
];
