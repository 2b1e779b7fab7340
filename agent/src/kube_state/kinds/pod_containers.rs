//! Pods: their containers.

use serde_json::Value;

use super::common;
use crate::kube_state::family::Family;
use crate::kube_state::object::{Object, flag, is_true, list, number, text};
use crate::kube_state::samples::Sink;

/// Where a pod has these containers and how they are.
const SPECS: &str = "containers";
const STATUSES: &str = "containerStatuses";

pub const FAMILIES: &[Family] = &[
    Family::new(
        "kube_pod_container_info",
        "[STABLE] Information about a container in a pod.",
        &[
            "container",
            "image_spec",
            "image",
            "image_id",
            "container_id",
        ],
        |pod, out| info(pod, SPECS, STATUSES, false, out),
    ),
    Family::new(
        "kube_pod_container_resource_limits",
        "[STABLE] The number of requested limit resource by a container. It is recommended to use the kube_pod_resource_limits metric exposed by kube-scheduler instead, as it is more precise.",
        RESOURCE,
        |pod, out| resources(pod, SPECS, "limits", out),
    ),
    Family::new(
        "kube_pod_container_resource_requests",
        "[STABLE] The number of requested request resource by a container. It is recommended to use the kube_pod_resource_requests metric exposed by kube-scheduler instead, as it is more precise.",
        RESOURCE,
        |pod, out| resources(pod, SPECS, "requests", out),
    ),
    Family::new(
        "kube_pod_container_state_started",
        "[STABLE] Start time in unix timestamp for a pod container.",
        CONTAINER,
        |pod, out| started(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_container_status_last_terminated_reason",
        "Describes the last reason the container was in terminated state.",
        REASON,
        |pod, out| reason(pod, STATUSES, "lastState", "terminated", out),
    ),
    Family::new(
        "kube_pod_container_status_last_terminated_exitcode",
        "Describes the exit code for the last container in terminated state.",
        CONTAINER,
        |pod, out| last_exit_code(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_container_status_last_terminated_timestamp",
        "Last terminated time for a pod container in unix timestamp.",
        CONTAINER,
        |pod, out| last_finished(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_container_status_ready",
        "[STABLE] Describes whether the containers readiness check succeeded.",
        CONTAINER,
        |pod, out| ready(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_container_status_restarts_total",
        "[STABLE] The number of container restarts per container.",
        CONTAINER,
        |pod, out| restarts(pod, STATUSES, out),
    )
    .counter(),
    Family::new(
        "kube_pod_container_status_running",
        "[STABLE] Describes whether the container is currently in running state.",
        CONTAINER,
        |pod, out| is_in(pod, STATUSES, "running", out),
    ),
    Family::new(
        "kube_pod_container_status_terminated",
        "[STABLE] Describes whether the container is currently in terminated state.",
        CONTAINER,
        |pod, out| is_in(pod, STATUSES, "terminated", out),
    ),
    Family::new(
        "kube_pod_container_status_terminated_reason",
        "Describes the reason the container is currently in terminated state.",
        REASON,
        |pod, out| reason(pod, STATUSES, "state", "terminated", out),
    ),
    Family::new(
        "kube_pod_container_status_waiting",
        "[STABLE] Describes whether the container is currently in waiting state.",
        CONTAINER,
        |pod, out| is_in(pod, STATUSES, "waiting", out),
    ),
    Family::new(
        "kube_pod_container_status_waiting_reason",
        "[STABLE] Describes the reason the container is currently in waiting state.",
        REASON,
        |pod, out| reason(pod, STATUSES, "state", "waiting", out),
    ),
];

/// Labels of the families of resources, of those with a reason, and of the others.
pub const RESOURCE: &[&str] = &["container", "node", "resource", "unit"];
pub const REASON: &[&str] = &["container", "reason"];
pub const CONTAINER: &[&str] = &["container"];

fn each<'a>(pod: &'a Object, statuses: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    list(&pod.status[statuses])
        .iter()
        .map(|s| (text(&s["name"]), s))
}

/// Images and ids of the containers that have a status.
pub fn info(pod: &Object, specs: &str, statuses: &str, is_init: bool, out: &mut Sink<'_>) {
    for spec in list(&pod.spec[specs]) {
        let of_spec = each(pod, statuses).filter(|(name, _)| *name == text(&spec["name"]));
        for (name, status) in of_spec {
            let labels = [
                name,
                text(&spec["image"]),
                text(&status["image"]),
                text(&status["imageID"]),
                text(&status["containerID"]),
                text(&spec["restartPolicy"]),
            ];
            out.info(&labels[..if is_init { 6 } else { 5 }]);
        }
    }
}

/// What containers ask for, or may have.
pub fn resources(pod: &Object, specs: &str, which: &str, out: &mut Sink<'_>) {
    let node = text(&pod.spec["nodeName"]);
    for spec in list(&pod.spec[specs]) {
        let before = [text(&spec["name"]), node];
        common::resources(&spec["resources"][which], &before, true, out);
    }
}

/// When a container that runs or has ended was started.
pub fn started(pod: &Object, statuses: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        let state = &status["state"];
        let running = &state["running"];
        let of = if running.is_object() {
            running
        } else {
            &state["terminated"]
        };
        out.time(&[name], of["startedAt"].as_str());
    }
}

/// Why containers are, or were, in a state.
pub fn reason(pod: &Object, statuses: &str, which: &str, state: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        let state = &status[which][state];
        if state.is_object() {
            out.info(&[name, text(&state["reason"])]);
        }
    }
}

pub fn last_exit_code(pod: &Object, statuses: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        let last = &status["lastState"]["terminated"];
        if last.is_object() {
            out.sample(&[name], number(&last["exitCode"]));
        }
    }
}

pub fn last_finished(pod: &Object, statuses: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        let last = &status["lastState"]["terminated"];
        out.time(&[name], last["finishedAt"].as_str());
    }
}

pub fn ready(pod: &Object, statuses: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        out.sample(&[name], flag(is_true(&status["ready"])));
    }
}

pub fn restarts(pod: &Object, statuses: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        out.sample(&[name], number(&status["restartCount"]));
    }
}

/// Whether containers are in a state.
pub fn is_in(pod: &Object, statuses: &str, state: &str, out: &mut Sink<'_>) {
    for (name, status) in each(pod, statuses) {
        out.sample(&[name], flag(status["state"][state].is_object()));
    }
}
