//! HorizontalPodAutoscalers.

use serde_json::Value;

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, list, number, text};
use crate::kube_state::samples::Sink;

pub const AUTOSCALERS: Kind = Kind {
    resource: "horizontalpodautoscalers",
    api: "/apis/autoscaling/v2",
    go_type: "*v2.HorizontalPodAutoscaler",
    is_namespaced: true,
    name_label: "horizontalpodautoscaler",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[FAMILIES],
};

const TARGET: &[&str] = &["metric_name", "metric_target_type", "container"];

const FAMILIES: &[Family] = &[
    Family::new(
        "kube_horizontalpodautoscaler_info",
        "Information about this autoscaler.",
        &[
            "scaletargetref_api_version",
            "scaletargetref_kind",
            "scaletargetref_name",
        ],
        |autoscaler, out| {
            let target = &autoscaler.spec["scaleTargetRef"];
            let labels = ["apiVersion", "kind", "name"].map(|member| text(&target[member]));
            out.info(&labels);
        },
    ),
    Family::new(
        "kube_horizontalpodautoscaler_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_horizontalpodautoscaler_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_horizontalpodautoscaler_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_horizontalpodautoscaler_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_horizontalpodautoscaler_metadata_generation",
        "[STABLE] The generation observed by the HorizontalPodAutoscaler controller.",
        &[],
        common::generation,
    ),
    Family::new(
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "[STABLE] Upper limit for the number of pods that can be set by the autoscaler; cannot be smaller than MinReplicas.",
        &[],
        |autoscaler, out| out.number(number(&autoscaler.spec["maxReplicas"])),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_spec_min_replicas",
        "[STABLE] Lower limit for the number of pods that can be set by the autoscaler, default 1.",
        &[],
        |autoscaler, out| out.number(autoscaler.spec["minReplicas"].as_f64().unwrap_or(1.0)),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_spec_target_metric",
        "The metric specifications used by this autoscaler when calculating the desired replica count.",
        TARGET,
        |autoscaler, out| targets(&autoscaler.spec["metrics"], "target", out),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_status_target_metric",
        "[STABLE] The current metric status used by this autoscaler when calculating the desired replica count.",
        TARGET,
        |autoscaler, out| targets(&autoscaler.status["currentMetrics"], "current", out),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_status_current_replicas",
        "[STABLE] Current number of replicas of pods managed by this autoscaler.",
        &[],
        |autoscaler, out| out.number(number(&autoscaler.status["currentReplicas"])),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_status_desired_replicas",
        "[STABLE] Desired number of replicas of pods managed by this autoscaler.",
        &[],
        |autoscaler, out| out.number(number(&autoscaler.status["desiredReplicas"])),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_status_condition",
        "[STABLE] The condition of this autoscaler.",
        &["condition", "status"],
        common::conditions,
    ),
    Family::new(
        "kube_horizontalpodautoscaler_spec_behavior_scale_up_tolerance",
        "The tolerance on the ratio between the current and desired metric value below which no scale up occurs.",
        &[],
        |autoscaler, out| tolerance(autoscaler, "scaleUp", out),
    ),
    Family::new(
        "kube_horizontalpodautoscaler_spec_behavior_scale_down_tolerance",
        "The tolerance on the ratio between the current and desired metric value below which no scale down occurs.",
        &[],
        |autoscaler, out| tolerance(autoscaler, "scaleDown", out),
    ),
];

fn tolerance(autoscaler: &Object, direction: &str, out: &mut Sink<'_>) {
    let tolerance = &autoscaler.spec["behavior"][direction]["tolerance"];
    if let Some(tolerance) = common::quantity(tolerance) {
        out.number(tolerance.nearest());
    }
}

/// What the autoscaler goes by: each metric as a value, an average and a utilization, as far as it has them.
fn targets(metrics: &Value, member: &str, out: &mut Sink<'_>) {
    for metric in list(metrics) {
        let (source, name) = match text(&metric["type"]) {
            "Object" => (&metric["object"], None),
            "Pods" => (&metric["pods"], None),
            "External" => (&metric["external"], None),
            "Resource" => (&metric["resource"], Some("name")),
            "ContainerResource" => (&metric["containerResource"], Some("name")),
            _ => continue,
        };
        let name = match name {
            Some(name) => text(&source[name]),
            None => text(&source["metric"]["name"]),
        };
        let target = &source[member];
        let container = text(&source["container"]);
        for (kind, value) in [
            ("value", common::milli(&target["value"])),
            ("average", common::milli(&target["averageValue"])),
            ("utilization", target["averageUtilization"].as_f64()),
        ] {
            if let Some(value) = value {
                out.sample(&[name, kind, container], value);
            }
        }
    }
}
