//! StatefulSets and DaemonSets.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{number, text};

pub const STATEFUL_SETS: Kind = Kind {
    resource: "statefulsets",
    api: "/apis/apps/v1",
    go_type: "*v1.StatefulSet",
    is_namespaced: true,
    name_label: "statefulset",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[STATEFUL_SET],
};

pub const DAEMON_SETS: Kind = Kind {
    resource: "daemonsets",
    api: "/apis/apps/v1",
    go_type: "*v1.DaemonSet",
    is_namespaced: true,
    name_label: "daemonset",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[DAEMON_SET],
};

const STATEFUL_SET: &[Family] = &[
    Family::new(
        "kube_statefulset_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_statefulset_deletion_timestamp",
        common::STABLE_DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_statefulset_annotations",
        common::STABLE_ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_statefulset_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_statefulset_metadata_generation",
        "[STABLE] Sequence number representing a specific generation of the desired state for the StatefulSet.",
        &[],
        common::generation,
    ),
    Family::new(
        "kube_statefulset_status_replicas",
        "[STABLE] The number of replicas per StatefulSet.",
        &[],
        |set, out| out.number(number(&set.status["replicas"])),
    ),
    Family::new(
        "kube_statefulset_status_replicas_available",
        "[STABLE] The number of available replicas per StatefulSet.",
        &[],
        |set, out| out.number(number(&set.status["availableReplicas"])),
    ),
    Family::new(
        "kube_statefulset_status_replicas_current",
        "[STABLE] The number of current replicas per StatefulSet.",
        &[],
        |set, out| out.number(number(&set.status["currentReplicas"])),
    ),
    Family::new(
        "kube_statefulset_status_replicas_ready",
        "[STABLE] The number of ready replicas per StatefulSet.",
        &[],
        |set, out| out.number(number(&set.status["readyReplicas"])),
    ),
    Family::new(
        "kube_statefulset_status_replicas_updated",
        "[STABLE] The number of updated replicas per StatefulSet.",
        &[],
        |set, out| out.number(number(&set.status["updatedReplicas"])),
    ),
    Family::new(
        "kube_statefulset_status_observed_generation",
        "[STABLE] The generation observed by the StatefulSet controller.",
        &[],
        |set, out| out.number(number(&set.status["observedGeneration"])),
    ),
    Family::new(
        "kube_statefulset_replicas",
        "[STABLE] Number of desired pods for a StatefulSet.",
        &[],
        |set, out| common::optional(&set.spec["replicas"], out),
    ),
    Family::new(
        "kube_statefulset_ordinals_start",
        "[STABLE] Start ordinal of the StatefulSet.",
        &[],
        |set, out| {
            let ordinals = &set.spec["ordinals"];
            if ordinals.is_object() {
                out.number(number(&ordinals["start"]));
            }
        },
    ),
    Family::new(
        "kube_statefulset_persistentvolumeclaim_retention_policy",
        "[STABLE] Count of retention policy for StatefulSet template PVCs",
        &["when_deleted", "when_scaled"],
        |set, out| {
            let policy = &set.spec["persistentVolumeClaimRetentionPolicy"];
            let labels = [text(&policy["whenDeleted"]), text(&policy["whenScaled"])];
            if labels != ["", ""] {
                out.info(&labels);
            }
        },
    ),
    Family::new(
        "kube_statefulset_status_current_revision",
        "[STABLE] Indicates the version of the StatefulSet used to generate Pods in the sequence [0,currentReplicas).",
        &["revision"],
        |set, out| out.info(&[text(&set.status["currentRevision"])]),
    ),
    Family::new(
        "kube_statefulset_status_update_revision",
        "[STABLE] Indicates the version of the StatefulSet used to generate Pods in the sequence [replicas-updatedReplicas,replicas)",
        &["revision"],
        |set, out| out.info(&[text(&set.status["updateRevision"])]),
    ),
];

const DAEMON_SET: &[Family] = &[
    Family::new(
        "kube_daemonset_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_daemonset_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_daemonset_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_daemonset_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_daemonset_metadata_generation",
        "[STABLE] Sequence number representing a specific generation of the desired state.",
        &[],
        common::generation,
    ),
    Family::new(
        "kube_daemonset_status_current_number_scheduled",
        "[STABLE] The number of nodes running at least one daemon pod and are supposed to.",
        &[],
        |set, out| out.number(number(&set.status["currentNumberScheduled"])),
    ),
    Family::new(
        "kube_daemonset_status_desired_number_scheduled",
        "[STABLE] The number of nodes that should be running the daemon pod.",
        &[],
        |set, out| out.number(number(&set.status["desiredNumberScheduled"])),
    ),
    Family::new(
        "kube_daemonset_status_number_available",
        "[STABLE] The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available",
        &[],
        |set, out| out.number(number(&set.status["numberAvailable"])),
    ),
    Family::new(
        "kube_daemonset_status_number_misscheduled",
        "[STABLE] The number of nodes running a daemon pod but are not supposed to.",
        &[],
        |set, out| out.number(number(&set.status["numberMisscheduled"])),
    ),
    Family::new(
        "kube_daemonset_status_number_ready",
        "[STABLE] The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and ready.",
        &[],
        |set, out| out.number(number(&set.status["numberReady"])),
    ),
    Family::new(
        "kube_daemonset_status_number_unavailable",
        "[STABLE] The number of nodes that should be running the daemon pod and have none of the daemon pod running and available",
        &[],
        |set, out| out.number(number(&set.status["numberUnavailable"])),
    ),
    Family::new(
        "kube_daemonset_status_observed_generation",
        "[STABLE] The most recent generation observed by the daemon set controller.",
        &[],
        |set, out| out.number(number(&set.status["observedGeneration"])),
    ),
    Family::new(
        "kube_daemonset_status_updated_number_scheduled",
        "[STABLE] The total number of nodes that are running updated daemon pod",
        &[],
        |set, out| out.number(number(&set.status["updatedNumberScheduled"])),
    ),
];
