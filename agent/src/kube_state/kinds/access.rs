//! Who may do what: roles, their bindings, and ServiceAccounts. Given only when they are asked for, as by
//! kube-state-metrics.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, list, text};
use crate::kube_state::samples::Sink;

const API: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Of roles nothing is looked at but that they are there.
pub const ROLES: Kind = Kind {
    resource: "roles",
    api: API,
    go_type: "*v1.Role",
    is_namespaced: true,
    name_label: "role",
    has_uid: false,
    form: Form::Metadata,
    is_default: false,
    families: &[ROLE],
};

pub const CLUSTER_ROLES: Kind = Kind {
    resource: "clusterroles",
    api: API,
    go_type: "*v1.ClusterRole",
    is_namespaced: false,
    name_label: "clusterrole",
    has_uid: false,
    form: Form::Metadata,
    is_default: false,
    families: &[CLUSTER_ROLE],
};

pub const ROLE_BINDINGS: Kind = Kind {
    resource: "rolebindings",
    api: API,
    go_type: "*v1.RoleBinding",
    is_namespaced: true,
    name_label: "rolebinding",
    has_uid: false,
    form: Form::Whole,
    is_default: false,
    families: &[ROLE_BINDING],
};

pub const CLUSTER_ROLE_BINDINGS: Kind = Kind {
    resource: "clusterrolebindings",
    api: API,
    go_type: "*v1.ClusterRoleBinding",
    is_namespaced: false,
    name_label: "clusterrolebinding",
    has_uid: false,
    form: Form::Whole,
    is_default: false,
    families: &[CLUSTER_ROLE_BINDING],
};

pub const SERVICE_ACCOUNTS: Kind = Kind {
    resource: "serviceaccounts",
    api: "/api/v1",
    go_type: "*v1.ServiceAccount",
    is_namespaced: true,
    name_label: "serviceaccount",
    has_uid: true,
    form: Form::Whole,
    is_default: false,
    families: &[SERVICE_ACCOUNT],
};

const ROLE: &[Family] = &[
    Family::own_labels(
        "kube_role_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_role_labels", common::LABELS, common::labels),
    Family::new(
        "kube_role_info",
        "Information about role.",
        &[],
        |_, out| out.number(1.0),
    ),
    Family::new("kube_role_created", common::CREATED, &[], common::created),
    Family::new(
        "kube_role_metadata_resource_version",
        "Resource version representing a specific version of the role.",
        &[],
        common::resource_version,
    ),
];

const CLUSTER_ROLE: &[Family] = &[
    Family::own_labels(
        "kube_clusterrole_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_clusterrole_labels", common::LABELS, common::labels),
    Family::new(
        "kube_clusterrole_info",
        "Information about cluster role.",
        &[],
        |_, out| out.number(1.0),
    ),
    Family::new(
        "kube_clusterrole_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_clusterrole_metadata_resource_version",
        "Resource version representing a specific version of the cluster role.",
        &[],
        common::resource_version,
    ),
];

const ROLE_REFERENCE: &[&str] = &["roleref_kind", "roleref_name"];

const ROLE_BINDING: &[Family] = &[
    Family::own_labels(
        "kube_rolebinding_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_rolebinding_labels", common::LABELS, common::labels),
    Family::new(
        "kube_rolebinding_info",
        "Information about rolebinding.",
        ROLE_REFERENCE,
        role_reference,
    ),
    Family::new(
        "kube_rolebinding_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_rolebinding_metadata_resource_version",
        "Resource version representing a specific version of the rolebinding.",
        &[],
        common::resource_version,
    ),
];

const CLUSTER_ROLE_BINDING: &[Family] = &[
    Family::own_labels(
        "kube_clusterrolebinding_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_clusterrolebinding_labels",
        common::LABELS,
        common::labels,
    ),
    Family::new(
        "kube_clusterrolebinding_info",
        "Information about clusterrolebinding.",
        ROLE_REFERENCE,
        role_reference,
    ),
    Family::new(
        "kube_clusterrolebinding_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_clusterrolebinding_metadata_resource_version",
        "Resource version representing a specific version of the clusterrolebinding.",
        &[],
        common::resource_version,
    ),
];

fn role_reference(binding: &Object, out: &mut Sink<'_>) {
    let role = &binding.role_ref;
    out.info(&[text(&role["kind"]), text(&role["name"])]);
}

const SERVICE_ACCOUNT: &[Family] = &[
    Family::new(
        "kube_serviceaccount_info",
        "Information about a service account",
        &["automount_token"],
        |account, out| {
            out.info(&[match account.automount_service_account_token {
                Some(true) => "true",
                Some(false) => "false",
                None => "",
            }]);
        },
    ),
    Family::new(
        "kube_serviceaccount_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_serviceaccount_deleted",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::new(
        "kube_serviceaccount_secret",
        "Secret being referenced by a service account",
        &["name"],
        |account, out| {
            for secret in list(&account.secrets) {
                out.info(&[text(&secret["name"])]);
            }
        },
    ),
    Family::new(
        "kube_serviceaccount_image_pull_secret",
        "Secret being referenced by a service account for the purpose of pulling images",
        &["name"],
        |account, out| {
            for secret in list(&account.image_pull_secrets) {
                out.info(&[text(&secret["name"])]);
            }
        },
    ),
    Family::own_labels(
        "kube_serviceaccount_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_serviceaccount_labels", common::LABELS, common::labels),
];
