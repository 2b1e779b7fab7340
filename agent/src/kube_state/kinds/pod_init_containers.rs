//! Pods: their init containers.

use super::pod_containers::{
    CONTAINER, REASON, RESOURCE, info, is_in, last_exit_code, last_finished, ready, reason,
    resources, restarts, started,
};
use crate::kube_state::family::Family;

/// Where a pod has these containers and how they are.
const SPECS: &str = "initContainers";
const STATUSES: &str = "initContainerStatuses";

pub const FAMILIES: &[Family] = &[
    Family::new(
        "kube_pod_init_container_info",
        "[STABLE] Information about an init container in a pod.",
        &[
            "container",
            "image_spec",
            "image",
            "image_id",
            "container_id",
            "restart_policy",
        ],
        |pod, out| info(pod, SPECS, STATUSES, true, out),
    ),
    Family::new(
        "kube_pod_init_container_resource_limits",
        "The number of requested limit resource by an init container.",
        RESOURCE,
        |pod, out| resources(pod, SPECS, "limits", out),
    ),
    Family::new(
        "kube_pod_init_container_resource_requests",
        "The number of requested request resource by an init container.",
        RESOURCE,
        |pod, out| resources(pod, SPECS, "requests", out),
    ),
    Family::new(
        "kube_pod_init_container_state_started",
        "Start time in unix timestamp for a pod init container.",
        CONTAINER,
        |pod, out| started(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_init_container_status_last_terminated_reason",
        "Describes the last reason the init container was in terminated state.",
        REASON,
        |pod, out| reason(pod, STATUSES, "lastState", "terminated", out),
    ),
    Family::new(
        "kube_pod_init_container_status_last_terminated_exitcode",
        "Describes the exit code for the last init container in terminated state.",
        CONTAINER,
        |pod, out| last_exit_code(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_init_container_status_last_terminated_timestamp",
        "Last terminated time for a pod init container in unix timestamp.",
        CONTAINER,
        |pod, out| last_finished(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_init_container_status_ready",
        "[STABLE] Describes whether the init containers readiness check succeeded.",
        CONTAINER,
        |pod, out| ready(pod, STATUSES, out),
    ),
    Family::new(
        "kube_pod_init_container_status_restarts_total",
        "[STABLE] The number of restarts for the init container.",
        CONTAINER,
        |pod, out| restarts(pod, STATUSES, out),
    )
    .counter(),
    Family::new(
        "kube_pod_init_container_status_running",
        "[STABLE] Describes whether the init container is currently in running state.",
        CONTAINER,
        |pod, out| is_in(pod, STATUSES, "running", out),
    ),
    Family::new(
        "kube_pod_init_container_status_terminated",
        "[STABLE] Describes whether the init container is currently in terminated state.",
        CONTAINER,
        |pod, out| is_in(pod, STATUSES, "terminated", out),
    ),
    Family::new(
        "kube_pod_init_container_status_terminated_reason",
        "Describes the reason the init container is currently in terminated state.",
        REASON,
        |pod, out| reason(pod, STATUSES, "state", "terminated", out),
    ),
    Family::new(
        "kube_pod_init_container_status_waiting",
        "[STABLE] Describes whether the init container is currently in waiting state.",
        CONTAINER,
        |pod, out| is_in(pod, STATUSES, "waiting", out),
    ),
    Family::new(
        "kube_pod_init_container_status_waiting_reason",
        "Describes the reason the init container is currently in waiting state.",
        REASON,
        |pod, out| reason(pod, STATUSES, "state", "waiting", out),
    ),
];
