//! Secrets and ConfigMaps: that they are there, never what they hold.

use super::common::{self, OWNER};
use crate::kube_state::family::{Family, Form, Kind};

pub const SECRETS: Kind = Kind {
    resource: "secrets",
    api: "/api/v1",
    go_type: "*v1.Secret",
    is_namespaced: true,
    name_label: "secret",
    has_uid: false,
    form: Form::Table,
    is_default: true,
    families: &[SECRET],
};

pub const CONFIG_MAPS: Kind = Kind {
    resource: "configmaps",
    api: "/api/v1",
    go_type: "*v1.ConfigMap",
    is_namespaced: true,
    name_label: "configmap",
    has_uid: false,
    form: Form::Metadata,
    is_default: true,
    families: &[CONFIG_MAP],
};

const SECRET: &[Family] = &[
    Family::new(
        "kube_secret_info",
        "[STABLE] Information about secret.",
        &[],
        |_, out| out.number(1.0),
    ),
    Family::new(
        "kube_secret_type",
        "[STABLE] Type about secret.",
        &["type"],
        |secret, out| out.info(&[&secret.kind]),
    ),
    Family::new(
        "kube_secret_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_secret_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_secret_labels", common::STABLE_LABELS, common::labels),
    Family::new(
        "kube_secret_metadata_resource_version",
        "Resource version representing a specific version of secret.",
        &[],
        common::resource_version,
    ),
    Family::new(
        "kube_secret_owner",
        "Information about the Secret's owner.",
        OWNER,
        common::owner,
    ),
];

const CONFIG_MAP: &[Family] = &[
    Family::new(
        "kube_configmap_info",
        "[STABLE] Information about configmap.",
        &[],
        |_, out| out.number(1.0),
    ),
    Family::new(
        "kube_configmap_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_configmap_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_configmap_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_configmap_metadata_resource_version",
        "Resource version representing a specific version of the configmap.",
        &[],
        common::resource_version,
    ),
];
