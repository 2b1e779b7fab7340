//! ReplicationControllers, which ReplicaSets have replaced.

use super::common::{self, OWNER};
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::number;

pub const REPLICATION_CONTROLLERS: Kind = Kind {
    resource: "replicationcontrollers",
    api: "/api/v1",
    go_type: "*v1.ReplicationController",
    is_namespaced: true,
    name_label: "replicationcontroller",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[REPLICATION_CONTROLLER],
};

const REPLICATION_CONTROLLER: &[Family] = &[
    Family::new(
        "kube_replicationcontroller_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_replicationcontroller_status_replicas",
        "[STABLE] The number of replicas per ReplicationController.",
        &[],
        |controller, out| out.number(number(&controller.status["replicas"])),
    ),
    Family::new(
        "kube_replicationcontroller_status_fully_labeled_replicas",
        "[STABLE] The number of fully labeled replicas per ReplicationController.",
        &[],
        |controller, out| out.number(number(&controller.status["fullyLabeledReplicas"])),
    ),
    Family::new(
        "kube_replicationcontroller_status_ready_replicas",
        "[STABLE] The number of ready replicas per ReplicationController.",
        &[],
        |controller, out| out.number(number(&controller.status["readyReplicas"])),
    ),
    Family::new(
        "kube_replicationcontroller_status_available_replicas",
        "[STABLE] The number of available replicas per ReplicationController.",
        &[],
        |controller, out| out.number(number(&controller.status["availableReplicas"])),
    ),
    Family::new(
        "kube_replicationcontroller_status_observed_generation",
        "[STABLE] The generation observed by the ReplicationController controller.",
        &[],
        |controller, out| out.number(number(&controller.status["observedGeneration"])),
    ),
    Family::new(
        "kube_replicationcontroller_spec_replicas",
        "[STABLE] Number of desired pods for a ReplicationController.",
        &[],
        |controller, out| common::optional(&controller.spec["replicas"], out),
    ),
    Family::new(
        "kube_replicationcontroller_metadata_generation",
        "[STABLE] Sequence number representing a specific generation of the desired state.",
        &[],
        common::generation,
    ),
    Family::new(
        "kube_replicationcontroller_owner",
        "Information about the ReplicationController's owner.",
        OWNER,
        common::owner,
    ),
];
