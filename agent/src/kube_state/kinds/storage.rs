//! PersistentVolumeClaims and StorageClasses.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{list, text};

pub const CLAIMS: Kind = Kind {
    resource: "persistentvolumeclaims",
    api: "/api/v1",
    go_type: "*v1.PersistentVolumeClaim",
    is_namespaced: true,
    name_label: "persistentvolumeclaim",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[CLAIM],
};

pub const STORAGE_CLASSES: Kind = Kind {
    resource: "storageclasses",
    api: "/apis/storage.k8s.io/v1",
    go_type: "*v1.StorageClass",
    is_namespaced: false,
    name_label: "storageclass",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[STORAGE_CLASS],
};

/// Where the class stood before it had a member.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

const CLAIM: &[Family] = &[
    Family::new(
        "kube_persistentvolumeclaim_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_persistentvolumeclaim_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_persistentvolumeclaim_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_persistentvolumeclaim_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_persistentvolumeclaim_info",
        "[STABLE] Information about persistent volume claim.",
        &["storageclass", "volumename", "volumemode"],
        |claim, out| {
            let class = claim.metadata.annotation(OLD_CLASS);
            out.info(&[
                class.unwrap_or_else(|| text(&claim.spec["storageClassName"])),
                text(&claim.spec["volumeName"]),
                text(&claim.spec["volumeMode"]),
            ]);
        },
    ),
    Family::new(
        "kube_persistentvolumeclaim_status_phase",
        "[STABLE] The phase the persistent volume claim is currently in.",
        &["phase"],
        |claim, out| {
            let phase = text(&claim.status["phase"]);
            if !phase.is_empty() {
                out.states(&["Lost", "Bound", "Pending"], phase);
            }
        },
    ),
    Family::new(
        "kube_persistentvolumeclaim_resource_requests_storage_bytes",
        "[STABLE] The capacity of storage requested by the persistent volume claim.",
        &[],
        |claim, out| {
            let storage = &claim.spec["resources"]["requests"]["storage"];
            if let Some(bytes) = common::whole(storage) {
                out.number(bytes);
            }
        },
    ),
    Family::new(
        "kube_persistentvolumeclaim_access_mode",
        "[STABLE] The access mode(s) specified by the persistent volume claim.",
        &["access_mode"],
        |claim, out| {
            for mode in list(&claim.spec["accessModes"]) {
                out.info(&[text(mode)]);
            }
        },
    ),
    Family::new(
        "kube_persistentvolumeclaim_status_condition",
        "Information about status of different conditions of persistent volume claim.",
        &["condition", "status"],
        common::conditions,
    ),
];

const STORAGE_CLASS: &[Family] = &[
    Family::new(
        "kube_storageclass_info",
        "[STABLE] Information about storageclass.",
        &["provisioner", "reclaim_policy", "volume_binding_mode"],
        |class, out| {
            out.info(&[
                &class.provisioner,
                class.reclaim_policy.as_deref().unwrap_or("Delete"),
                class.volume_binding_mode.as_deref().unwrap_or("Immediate"),
            ]);
        },
    ),
    Family::new(
        "kube_storageclass_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_storageclass_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_storageclass_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
];
