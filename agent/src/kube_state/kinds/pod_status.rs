//! Pods: what they are doing.

use super::common;
use crate::kube_state::family::Family;
use crate::kube_state::object::{Object, list, text, unix_s};
use crate::kube_state::samples::Sink;

const REASONS: &[&str] = &[
    "Evicted",
    "NodeAffinity",
    "NodeLost",
    "PreemptionByScheduler",
    "SchedulingGated",
    "Shutdown",
    "TerminationByKubelet",
    "UnexpectedAdmissionError",
];
const DISRUPTION_REASONS: &[&str] = &[
    "PreemptionByScheduler",
    "DeletionByTaintManager",
    "EvictionByEvictionAPI",
    "DeletionByPodGC",
    "TerminationByKubelet",
];

pub const FAMILIES: &[Family] = &[
    Family::new(
        "kube_pod_status_phase",
        "[STABLE] The pods current phase.",
        &["phase"],
        |pod, out| {
            let phase = text(&pod.status["phase"]);
            if !phase.is_empty() {
                out.states(
                    &["Pending", "Succeeded", "Failed", "Unknown", "Running"],
                    phase,
                );
            }
        },
    ),
    Family::new(
        "kube_pod_status_qos_class",
        "The pods current qosClass.",
        &["qos_class"],
        |pod, out| {
            let class = text(&pod.status["qosClass"]);
            if !class.is_empty() {
                out.states(&["BestEffort", "Burstable", "Guaranteed"], class);
            }
        },
    ),
    Family::new(
        "kube_pod_status_ready",
        "[STABLE] Describes whether the pod is ready to serve requests.",
        &["condition"],
        |pod, out| common::condition(pod, "Ready", out),
    ),
    Family::new(
        "kube_pod_status_scheduled",
        "[STABLE] Describes the status of the scheduling process for the pod.",
        &["condition"],
        |pod, out| common::condition(pod, "PodScheduled", out),
    ),
    Family::new(
        "kube_pod_status_ready_time",
        "Readiness achieved time in unix timestamp for a pod.",
        &[],
        |pod, out| since(pod, "Ready", "True", out),
    ),
    Family::new(
        "kube_pod_status_initialized_time",
        "Initialized time in unix timestamp for a pod.",
        &[],
        |pod, out| since(pod, "Initialized", "True", out),
    ),
    Family::new(
        "kube_pod_status_container_ready_time",
        "Readiness achieved time in unix timestamp for a pod containers.",
        &[],
        |pod, out| since(pod, "ContainersReady", "True", out),
    ),
    Family::new(
        "kube_pod_status_scheduled_time",
        "[STABLE] Unix timestamp when pod moved into scheduled status",
        &[],
        |pod, out| since(pod, "PodScheduled", "True", out),
    ),
    Family::new(
        "kube_pod_status_unscheduled_time",
        "Unix timestamp when pod moved into unscheduled status",
        &[],
        |pod, out| since(pod, "PodScheduled", "False", out),
    ),
    Family::new(
        "kube_pod_status_unschedulable",
        "[STABLE] Describes the unschedulable status for the pod.",
        &[],
        |pod, out| {
            for _ in conditions(pod, "PodScheduled", "False") {
                out.number(1.0);
            }
        },
    ),
    Family::new(
        "kube_pod_status_reason",
        "The pod status reasons",
        &["reason"],
        |pod, out| {
            for reason in REASONS.iter().filter(|r| has_reason(pod, r)) {
                out.info(&[reason]);
            }
            let reason = text(&pod.status["reason"]);
            if !reason.is_empty() && !REASONS.contains(&reason) {
                out.info(&["Other"]);
            }
        },
    ),
    Family::new(
        "kube_pod_status_disruption_reason",
        "The pod disruption condition reason",
        &["reason"],
        |pod, out| {
            for condition in list(&pod.status["conditions"]) {
                if text(&condition["type"]) == "DisruptionTarget" {
                    let reason = text(&condition["reason"]);
                    let is_known = DISRUPTION_REASONS.contains(&reason);
                    out.info(&[if is_known { reason } else { "Other" }]);
                }
            }
        },
    ),
    Family::new(
        "kube_pod_start_time",
        "[STABLE] Start time in unix timestamp for a pod.",
        &[],
        |pod, out| out.time(&[], pod.status["startTime"].as_str()),
    ),
    Family::new(
        "kube_pod_completion_time",
        "[STABLE] Completion time in unix timestamp for a pod.",
        &[],
        |pod, out| {
            let ends = list(&pod.status["containerStatuses"]).iter();
            let ends = ends.filter_map(|c| unix_s(text(&c["state"]["terminated"]["finishedAt"])));
            let last = ends.fold(0.0, f64::max);
            if last > 0.0 {
                out.number(last);
            }
        },
    ),
];

fn conditions<'a>(
    pod: &'a Object,
    name: &'static str,
    status: &'static str,
) -> impl Iterator<Item = &'a serde_json::Value> {
    let all = list(&pod.status["conditions"]).iter();
    all.filter(move |c| text(&c["type"]) == name && text(&c["status"]) == status)
}

/// When a condition became what it is.
fn since(pod: &Object, name: &'static str, status: &'static str, out: &mut Sink<'_>) {
    for condition in conditions(pod, name, status) {
        out.time(&[], condition["lastTransitionTime"].as_str());
    }
}

fn has_reason(pod: &Object, reason: &str) -> bool {
    let conditions = list(&pod.status["conditions"]).iter();
    let containers = list(&pod.status["containerStatuses"]).iter();
    text(&pod.status["reason"]) == reason
        || conditions.clone().any(|c| text(&c["reason"]) == reason)
        || containers
            .clone()
            .any(|c| text(&c["state"]["terminated"]["reason"]) == reason)
}
