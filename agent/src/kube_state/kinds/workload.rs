//! Deployments and their ReplicaSets.

use serde_json::Value;

use super::common::{self, OWNER};
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, flag, is_true, list, number, text};
use crate::kube_state::samples::Sink;

pub const DEPLOYMENTS: Kind = Kind {
    resource: "deployments",
    api: "/apis/apps/v1",
    go_type: "*v1.Deployment",
    is_namespaced: true,
    name_label: "deployment",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[DEPLOYMENT],
};

pub const REPLICA_SETS: Kind = Kind {
    resource: "replicasets",
    api: "/apis/apps/v1",
    go_type: "*v1.ReplicaSet",
    is_namespaced: true,
    name_label: "replicaset",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[REPLICA_SET],
};

/// The reasons that the controller gives; others are `unknown`.
const REASONS: &[&str] = &[
    "ReplicaSetUpdated",
    "ReplicaSetCreateError",
    "NewReplicaSetCreated",
    "FoundNewReplicaSet",
    "NewReplicaSetAvailable",
    "ProgressDeadlineExceeded",
    "DeploymentPaused",
    "DeploymentResumed",
    "MinimumReplicasAvailable",
    "MinimumReplicasUnavailable",
    "",
];

const DEPLOYMENT: &[Family] = &[
    Family::new(
        "kube_deployment_owner",
        "Information about the Deployment's owner.",
        &["owner_kind", "owner_name"],
        |deployment, out| {
            let owners = deployment.metadata.owners();
            if owners.is_empty() {
                out.info(&["", ""]);
            }
            for owner in owners {
                out.info(&[&owner.kind, &owner.name]);
            }
        },
    ),
    Family::new(
        "kube_deployment_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_deployment_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_deployment_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_deployment_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_deployment_metadata_generation",
        "[STABLE] Sequence number representing a specific generation of the desired state.",
        &[],
        common::generation,
    ),
    Family::new(
        "kube_deployment_status_replicas",
        "[STABLE] The number of replicas per deployment.",
        &[],
        |deployment, out| out.number(number(&deployment.status["replicas"])),
    ),
    Family::new(
        "kube_deployment_status_replicas_ready",
        "[STABLE] The number of ready replicas per deployment.",
        &[],
        |deployment, out| out.number(number(&deployment.status["readyReplicas"])),
    ),
    Family::new(
        "kube_deployment_status_replicas_available",
        "[STABLE] The number of available replicas per deployment.",
        &[],
        |deployment, out| out.number(number(&deployment.status["availableReplicas"])),
    ),
    Family::new(
        "kube_deployment_status_replicas_unavailable",
        "[STABLE] The number of unavailable replicas per deployment.",
        &[],
        |deployment, out| out.number(number(&deployment.status["unavailableReplicas"])),
    ),
    Family::new(
        "kube_deployment_status_replicas_updated",
        "[STABLE] The number of updated replicas per deployment.",
        &[],
        |deployment, out| out.number(number(&deployment.status["updatedReplicas"])),
    ),
    Family::new(
        "kube_deployment_status_observed_generation",
        "[STABLE] The generation observed by the deployment controller.",
        &[],
        |deployment, out| out.number(number(&deployment.status["observedGeneration"])),
    ),
    Family::new(
        "kube_deployment_status_terminating_replicas",
        "The number of terminating replicas per deployment.",
        &[],
        |deployment, out| common::optional(&deployment.status["terminatingReplicas"], out),
    ),
    Family::new(
        "kube_deployment_spec_replicas",
        "[STABLE] Number of desired pods for a deployment.",
        &[],
        |deployment, out| common::optional(&deployment.spec["replicas"], out),
    ),
    Family::new(
        "kube_deployment_spec_paused",
        "[STABLE] Whether the deployment is paused and will not be processed by the deployment controller.",
        &[],
        |deployment, out| out.number(flag(is_true(&deployment.spec["paused"]))),
    ),
    Family::new(
        "kube_deployment_spec_strategy_rollingupdate_max_unavailable",
        "[STABLE] Maximum number of unavailable replicas during a rolling update of a deployment.",
        &[],
        |deployment, out| share(deployment, "maxUnavailable", f64::floor, out),
    ),
    Family::new(
        "kube_deployment_spec_strategy_rollingupdate_max_surge",
        "[STABLE] Maximum number of replicas that can be scheduled above the desired number of replicas during a rolling update of a deployment.",
        &[],
        |deployment, out| share(deployment, "maxSurge", f64::ceil, out),
    ),
    Family::new(
        "kube_deployment_status_condition",
        "[STABLE] The current status conditions of a deployment.",
        &["reason", "condition", "status"],
        |deployment, out| {
            for condition in list(&deployment.status["conditions"]) {
                let reason = text(&condition["reason"]);
                let is_known = REASONS.contains(&reason);
                let reason = if is_known { reason } else { "unknown" };
                let labels = [reason, text(&condition["type"])];
                out.condition(&labels, text(&condition["status"]));
            }
        },
    ),
];

const REPLICA_SET: &[Family] = &[
    Family::new(
        "kube_replicaset_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_replicaset_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_replicaset_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_replicaset_metadata_generation",
        "[STABLE] Sequence number representing a specific generation of the desired state.",
        &[],
        common::generation,
    ),
    Family::new(
        "kube_replicaset_status_replicas",
        "[STABLE] The number of replicas per ReplicaSet.",
        &[],
        |set, out| out.number(number(&set.status["replicas"])),
    ),
    Family::new(
        "kube_replicaset_status_fully_labeled_replicas",
        "[STABLE] The number of fully labeled replicas per ReplicaSet.",
        &[],
        |set, out| out.number(number(&set.status["fullyLabeledReplicas"])),
    ),
    Family::new(
        "kube_replicaset_status_ready_replicas",
        "[STABLE] The number of ready replicas per ReplicaSet.",
        &[],
        |set, out| out.number(number(&set.status["readyReplicas"])),
    ),
    Family::new(
        "kube_replicaset_status_observed_generation",
        "[STABLE] The generation observed by the ReplicaSet controller.",
        &[],
        |set, out| out.number(number(&set.status["observedGeneration"])),
    ),
    Family::new(
        "kube_replicaset_status_terminating_replicas",
        "The number of terminating replicas per ReplicaSet.",
        &[],
        |set, out| common::optional(&set.status["terminatingReplicas"], out),
    ),
    Family::new(
        "kube_replicaset_spec_replicas",
        "[STABLE] Number of desired pods for a ReplicaSet.",
        &[],
        |set, out| common::optional(&set.spec["replicas"], out),
    ),
    Family::new(
        "kube_replicaset_owner",
        "[STABLE] Information about the ReplicaSet's owner.",
        OWNER,
        common::owner,
    ),
];

/// A number of pods, or a share of the replicas; nothing while one of them is not known.
fn share(deployment: &Object, member: &str, round: fn(f64) -> f64, out: &mut Sink<'_>) {
    let limit = &deployment.spec["strategy"]["rollingUpdate"][member];
    let Some(replicas) = deployment.spec["replicas"].as_f64() else {
        return;
    };
    let pods = match limit {
        Value::Number(pods) => pods.as_f64(),
        Value::String(share) => {
            let percent = share.strip_suffix('%').and_then(|p| p.parse::<u32>().ok());
            percent.map(|percent| round(f64::from(percent) * replicas / 100.0))
        }
        _ => None,
    };
    if let Some(pods) = pods {
        out.number(pods);
    }
}
