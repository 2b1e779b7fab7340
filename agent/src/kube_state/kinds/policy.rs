//! What bounds namespaces: quotas, limits, disruption budgets, and the namespaces themselves.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{list, members, number, text};

pub const RESOURCE_QUOTAS: Kind = Kind {
    resource: "resourcequotas",
    api: "/api/v1",
    go_type: "*v1.ResourceQuota",
    is_namespaced: true,
    name_label: "resourcequota",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[RESOURCE_QUOTA],
};

pub const LIMIT_RANGES: Kind = Kind {
    resource: "limitranges",
    api: "/api/v1",
    go_type: "*v1.LimitRange",
    is_namespaced: true,
    name_label: "limitrange",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[LIMIT_RANGE],
};

pub const NAMESPACES: Kind = Kind {
    resource: "namespaces",
    api: "/api/v1",
    go_type: "*v1.Namespace",
    is_namespaced: false,
    name_label: "namespace",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[NAMESPACE],
};

pub const DISRUPTION_BUDGETS: Kind = Kind {
    resource: "poddisruptionbudgets",
    api: "/apis/policy/v1",
    go_type: "*v1.PodDisruptionBudget",
    is_namespaced: true,
    name_label: "poddisruptionbudget",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[DISRUPTION_BUDGET],
};

const RESOURCE_QUOTA: &[Family] = &[
    Family::new(
        "kube_resourcequota_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_resourcequota_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_resourcequota_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_resourcequota",
        "[STABLE] Information about resource quota.",
        &["resource", "type"],
        |quota, out| {
            for kind in ["hard", "used"] {
                for (resource, amount) in members(&quota.status[kind]) {
                    if let Some(amount) = common::milli(amount) {
                        out.sample(&[resource, kind], amount);
                    }
                }
            }
        },
    ),
];

/// The limits of an item, and the names of their constraints.
const CONSTRAINTS: &[&str] = &[
    "min",
    "max",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
];

const LIMIT_RANGE: &[Family] = &[
    Family::new(
        "kube_limitrange",
        "[STABLE] Information about limit range.",
        &["resource", "type", "constraint"],
        |range, out| {
            for item in list(&range.spec["limits"]) {
                for constraint in CONSTRAINTS {
                    for (resource, amount) in members(&item[*constraint]) {
                        if let Some(amount) = common::milli(amount) {
                            out.sample(&[resource, text(&item["type"]), constraint], amount);
                        }
                    }
                }
            }
        },
    ),
    Family::new(
        "kube_limitrange_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
];

const NAMESPACE: &[Family] = &[
    Family::new(
        "kube_namespace_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_namespace_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_namespace_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_namespace_status_phase",
        "[STABLE] kubernetes namespace status phase.",
        &["phase"],
        |namespace, out| out.states(&["Active", "Terminating"], text(&namespace.status["phase"])),
    ),
    Family::new(
        "kube_namespace_status_condition",
        "The condition of a namespace.",
        &["condition", "status"],
        common::conditions,
    ),
];

const DISRUPTION_BUDGET: &[Family] = &[
    Family::new(
        "kube_poddisruptionbudget_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_poddisruptionbudget_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_poddisruptionbudget_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_poddisruptionbudget_labels",
        common::LABELS,
        common::labels,
    ),
    Family::new(
        "kube_poddisruptionbudget_status_current_healthy",
        "[STABLE] Current number of healthy pods",
        &[],
        |budget, out| out.number(number(&budget.status["currentHealthy"])),
    ),
    Family::new(
        "kube_poddisruptionbudget_status_desired_healthy",
        "[STABLE] Minimum desired number of healthy pods",
        &[],
        |budget, out| out.number(number(&budget.status["desiredHealthy"])),
    ),
    Family::new(
        "kube_poddisruptionbudget_status_pod_disruptions_allowed",
        "[STABLE] Number of pod disruptions that are currently allowed",
        &[],
        |budget, out| out.number(number(&budget.status["disruptionsAllowed"])),
    ),
    Family::new(
        "kube_poddisruptionbudget_status_expected_pods",
        "[STABLE] Total number of pods counted by this disruption budget",
        &[],
        |budget, out| out.number(number(&budget.status["expectedPods"])),
    ),
    Family::new(
        "kube_poddisruptionbudget_status_observed_generation",
        "[STABLE] Most recent generation observed when updating this PDB status",
        &[],
        |budget, out| out.number(number(&budget.status["observedGeneration"])),
    ),
];
