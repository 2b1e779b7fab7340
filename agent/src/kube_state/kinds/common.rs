//! What objects of several kinds are made into.

use serde_json::Value;

use crate::kube_state::label_names::sanitized;
use crate::kube_state::object::{Object, list, members, text};
use crate::kube_state::quantity::Quantity;
use crate::kube_state::samples::Sink;

/// Help of families of annotations and of labels.
pub const ANNOTATIONS: &str = "Kubernetes annotations converted to Prometheus labels.";
pub const LABELS: &str = "Kubernetes labels converted to Prometheus labels.";
/// The same of those that kube-state-metrics promises to keep.
pub const STABLE_ANNOTATIONS: &str =
    "[STABLE] Kubernetes annotations converted to Prometheus labels.";
pub const STABLE_LABELS: &str = "[STABLE] Kubernetes labels converted to Prometheus labels.";
pub const CREATED: &str = "Unix creation timestamp";
pub const STABLE_CREATED: &str = "[STABLE] Unix creation timestamp";
pub const DELETED: &str = "Unix deletion timestamp";
pub const STABLE_DELETED: &str = "[STABLE] Unix deletion timestamp";
pub const OWNER: &[&str] = &["owner_kind", "owner_name", "owner_is_controller"];

pub fn labels(object: &Object, out: &mut Sink<'_>) {
    out.labels(object, &[]);
}

pub fn annotations(object: &Object, out: &mut Sink<'_>) {
    out.annotations(object, &[]);
}

pub fn created(object: &Object, out: &mut Sink<'_>) {
    out.time(&[], object.metadata.creation_timestamp.as_deref());
}

pub fn deleted(object: &Object, out: &mut Sink<'_>) {
    out.time(&[], object.metadata.deletion_timestamp.as_deref());
}

pub fn generation(object: &Object, out: &mut Sink<'_>) {
    out.number(object.metadata.generation as f64);
}

/// Where versions are numbers; they need not be.
pub fn resource_version(object: &Object, out: &mut Sink<'_>) {
    if let Ok(version) = object.metadata.resource_version.parse() {
        out.number(version);
    }
}

/// A sample for each owner, and one without names when there is none.
pub fn owner(object: &Object, out: &mut Sink<'_>) {
    let owners = object.metadata.owners();
    if owners.is_empty() {
        out.info(&["", "", ""]);
    }
    for owner in owners {
        let is_controller = owner.controller == Some(true);
        let is_controller = if is_controller { "true" } else { "false" };
        out.info(&[&owner.kind, &owner.name, is_controller]);
    }
}

/// The status conditions with `condition` and `status`.
pub fn conditions(object: &Object, out: &mut Sink<'_>) {
    for condition in list(&object.status["conditions"]) {
        out.condition(&[text(&condition["type"])], text(&condition["status"]));
    }
}

/// One condition, with its value as label `condition`.
pub fn condition(object: &Object, name: &str, out: &mut Sink<'_>) {
    for condition in list(&object.status["conditions"]) {
        if text(&condition["type"]) == name {
            out.condition(&[], text(&condition["status"]));
        }
    }
}

/// The number of a member that may not be set.
pub fn optional(value: &Value, out: &mut Sink<'_>) {
    if let Some(number) = value.as_f64() {
        out.number(number);
    }
}

/// Whole values: bytes.
pub fn whole(value: &Value) -> Option<f64> {
    quantity(value).map(Quantity::whole)
}

/// Values with three decimals.
pub fn milli(value: &Value) -> Option<f64> {
    quantity(value).map(Quantity::milli)
}

/// A quantity, which may be written as a number.
pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::Number(number) => Quantity::parse(&number.to_string()),
        value => Quantity::parse(value.as_str()?),
    }
}

/// A sample for each resource whose unit is known; `before` are the labels in front of `resource`.
pub fn resources(resources: &Value, before: &[&str], rounds: bool, out: &mut Sink<'_>) {
    for (name, amount) in members(resources) {
        let Some(unit) = unit(name) else { continue };
        let value = if unit == "core" || !rounds {
            milli(amount)
        } else {
            whole(amount)
        };
        let Some(value) = value else { continue };
        let name = sanitized(name);
        let labels: Vec<&str> = before
            .iter()
            .copied()
            .chain([name.as_str(), unit])
            .collect();
        out.sample(&labels, value);
    }
}

/// What a resource is counted in. Source: kube-state-metrics, `internal/store/utils.go`, where what is
/// neither Kubernetes' own nor of a domain is left out.
fn unit(resource: &str) -> Option<&'static str> {
    let is_byte = matches!(resource, "memory" | "storage" | "ephemeral-storage")
        || resource.starts_with("hugepages-")
        || resource.starts_with("attachable-volumes-");
    let is_extended = resource.contains('/')
        && !resource.contains("kubernetes.io/")
        && !resource.starts_with("requests.");
    match resource {
        "cpu" => Some("core"),
        _ if is_byte => Some("byte"),
        _ if is_extended => Some("integer"),
        _ => None,
    }
}
