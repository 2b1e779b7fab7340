//! What the API server asks before it takes an object: webhooks and policies.
//!
//! kube-state-metrics gives their series a `namespace` that is always empty, as they have none.

use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, list, text};
use crate::kube_state::samples::Sink;

const API: &str = "/apis/admissionregistration.k8s.io/v1";
/// The help of these families ends with a full stop.
const CREATED: &str = "Unix creation timestamp.";
/// What every series of these kinds has besides the name.
const NO_NAMESPACE: &[&str] = &["namespace"];

pub const VALIDATING_WEBHOOKS: Kind = kind(
    "validatingwebhookconfigurations",
    "validatingwebhookconfiguration",
    "*v1.ValidatingWebhookConfiguration",
    &[VALIDATING_WEBHOOK],
);

pub const MUTATING_WEBHOOKS: Kind = kind(
    "mutatingwebhookconfigurations",
    "mutatingwebhookconfiguration",
    "*v1.MutatingWebhookConfiguration",
    &[MUTATING_WEBHOOK],
);

pub const VALIDATING_POLICIES: Kind = kind(
    "validatingadmissionpolicies",
    "validatingadmissionpolicy",
    "*v1.ValidatingAdmissionPolicy",
    &[VALIDATING_POLICY],
);

pub const VALIDATING_POLICY_BINDINGS: Kind = kind(
    "validatingadmissionpolicybindings",
    "validatingadmissionpolicybinding",
    "*v1.ValidatingAdmissionPolicyBinding",
    &[VALIDATING_POLICY_BINDING],
);

pub const MUTATING_POLICIES: Kind = kind(
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicy",
    "*v1.MutatingAdmissionPolicy",
    &[MUTATING_POLICY],
);

pub const MUTATING_POLICY_BINDINGS: Kind = kind(
    "mutatingadmissionpolicybindings",
    "mutatingadmissionpolicybinding",
    "*v1.MutatingAdmissionPolicyBinding",
    &[MUTATING_POLICY_BINDING],
);

const fn kind(
    resource: &'static str,
    name_label: &'static str,
    go_type: &'static str,
    families: &'static [&'static [Family]],
) -> Kind {
    Kind {
        resource,
        api: API,
        go_type,
        is_namespaced: false,
        name_label,
        has_uid: false,
        form: Form::Whole,
        is_default: true,
        families,
    }
}

const VALIDATING_WEBHOOK: &[Family] = &[
    Family::new(
        "kube_validatingwebhookconfiguration_info",
        "Information about the ValidatingWebhookConfiguration.",
        NO_NAMESPACE,
        |_, out| out.info(&[""]),
    ),
    Family::new(
        "kube_validatingwebhookconfiguration_created",
        CREATED,
        NO_NAMESPACE,
        created,
    ),
    Family::new(
        "kube_validatingwebhookconfiguration_metadata_resource_version",
        "Resource version representing a specific version of the ValidatingWebhookConfiguration.",
        NO_NAMESPACE,
        resource_version,
    ),
    Family::new(
        "kube_validatingwebhookconfiguration_webhook_clientconfig_service",
        "Service used by the apiserver to connect to a validating webhook.",
        SERVICE,
        services,
    ),
];

const MUTATING_WEBHOOK: &[Family] = &[
    Family::new(
        "kube_mutatingwebhookconfiguration_info",
        "Information about the MutatingWebhookConfiguration.",
        NO_NAMESPACE,
        |_, out| out.info(&[""]),
    ),
    Family::new(
        "kube_mutatingwebhookconfiguration_created",
        CREATED,
        NO_NAMESPACE,
        created,
    ),
    Family::new(
        "kube_mutatingwebhookconfiguration_metadata_resource_version",
        "Resource version representing a specific version of the MutatingWebhookConfiguration.",
        NO_NAMESPACE,
        resource_version,
    ),
    Family::new(
        "kube_mutatingwebhookconfiguration_webhook_clientconfig_service",
        "Service used by the apiserver to connect to a mutating webhook.",
        SERVICE,
        services,
    ),
];

const VALIDATING_POLICY: &[Family] = &[
    Family::new(
        "kube_validatingadmissionpolicy_info",
        "Information about the ValidatingAdmissionPolicy.",
        &[
            "namespace",
            "param_api_version",
            "param_kind",
            "failure_policy",
        ],
        |policy, out| {
            let [version, kind, on_failure, _] = policy_labels(policy);
            out.info(&["", version, kind, on_failure]);
        },
    ),
    Family::new(
        "kube_validatingadmissionpolicy_created",
        CREATED,
        NO_NAMESPACE,
        created,
    ),
];

const MUTATING_POLICY: &[Family] = &[
    Family::new(
        "kube_mutatingadmissionpolicy_info",
        "Information about the MutatingAdmissionPolicy.",
        &[
            "namespace",
            "param_api_version",
            "param_kind",
            "failure_policy",
            "reinvocation_policy",
        ],
        |policy, out| {
            let [version, kind, on_failure, again] = policy_labels(policy);
            out.info(&["", version, kind, on_failure, again]);
        },
    ),
    Family::new(
        "kube_mutatingadmissionpolicy_created",
        CREATED,
        NO_NAMESPACE,
        created,
    ),
];

const VALIDATING_POLICY_BINDING: &[Family] = &[
    Family::new(
        "kube_validatingadmissionpolicybinding_info",
        "Information about the ValidatingAdmissionPolicyBinding.",
        BINDING,
        binding,
    ),
    Family::new(
        "kube_validatingadmissionpolicybinding_created",
        CREATED,
        NO_NAMESPACE,
        created,
    ),
    Family::new(
        "kube_validatingadmissionpolicybinding_validation_action",
        "Validation actions for the ValidatingAdmissionPolicyBinding.",
        &["namespace", "action"],
        |binding, out| {
            for action in list(&binding.spec["validationActions"]) {
                out.info(&["", text(action)]);
            }
        },
    ),
];

const MUTATING_POLICY_BINDING: &[Family] = &[
    Family::new(
        "kube_mutatingadmissionpolicybinding_info",
        "Information about the MutatingAdmissionPolicyBinding.",
        BINDING,
        binding,
    ),
    Family::new(
        "kube_mutatingadmissionpolicybinding_created",
        CREATED,
        NO_NAMESPACE,
        created,
    ),
];

fn created(object: &Object, out: &mut Sink<'_>) {
    out.time(&[""], object.metadata.creation_timestamp.as_deref());
}

fn resource_version(object: &Object, out: &mut Sink<'_>) {
    if let Ok(version) = object.metadata.resource_version.parse() {
        out.sample(&[""], version);
    }
}

const SERVICE: &[&str] = &[
    "namespace",
    "webhook_name",
    "service_name",
    "service_namespace",
];

/// The services behind webhooks; a webhook that is called by its URL has empty labels.
fn services(configuration: &Object, out: &mut Sink<'_>) {
    for webhook in list(&configuration.webhooks) {
        let service = &webhook["clientConfig"]["service"];
        out.info(&[
            "",
            text(&webhook["name"]),
            text(&service["name"]),
            text(&service["namespace"]),
        ]);
    }
}

/// Version and kind of the parameters, and what happens on a failure and after another webhook's change.
fn policy_labels(policy: &Object) -> [&str; 4] {
    let (spec, parameters) = (&policy.spec, &policy.spec["paramKind"]);
    [
        text(&parameters["apiVersion"]),
        text(&parameters["kind"]),
        text(&spec["failurePolicy"]),
        text(&spec["reinvocationPolicy"]),
    ]
}

const BINDING: &[&str] = &[
    "namespace",
    "policy_name",
    "param_name",
    "param_namespace",
    "param_not_found_action",
];

fn binding(binding: &Object, out: &mut Sink<'_>) {
    let (spec, parameters) = (&binding.spec, &binding.spec["paramRef"]);
    out.info(&[
        "",
        text(&spec["policyName"]),
        text(&parameters["name"]),
        text(&parameters["namespace"]),
        text(&parameters["parameterNotFoundAction"]),
    ]);
}
