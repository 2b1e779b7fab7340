//! CertificateSigningRequests.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, list, text};
use crate::kube_state::samples::Sink;

pub const SIGNING_REQUESTS: Kind = Kind {
    resource: "certificatesigningrequests",
    api: "/apis/certificates.k8s.io/v1",
    go_type: "*v1.CertificateSigningRequest",
    is_namespaced: false,
    name_label: "certificatesigningrequest",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[SIGNING_REQUEST],
};

const SIGNING_REQUEST: &[Family] = &[
    Family::own_labels(
        "kube_certificatesigningrequest_annotations",
        common::ANNOTATIONS,
        |request, out| out.annotations(request, &["signer_name", signer(request)]),
    ),
    Family::own_labels(
        "kube_certificatesigningrequest_labels",
        common::STABLE_LABELS,
        |request, out| out.labels(request, &["signer_name", signer(request)]),
    ),
    Family::new(
        "kube_certificatesigningrequest_created",
        common::STABLE_CREATED,
        &["signer_name"],
        |request, out| {
            let created = request.metadata.creation_timestamp.as_deref();
            out.time(&[signer(request)], created);
        },
    ),
    Family::new(
        "kube_certificatesigningrequest_condition",
        "[STABLE] The number of each certificatesigningrequest condition",
        &["signer_name", "condition"],
        conditions,
    ),
    Family::new(
        "kube_certificatesigningrequest_cert_length",
        "[STABLE] Length of the issued cert",
        &["signer_name"],
        |request, out| {
            let certificate = text(&request.status["certificate"]);
            out.sample(&[signer(request)], decoded_len(certificate) as f64);
        },
    ),
];

fn signer(request: &Object) -> &str {
    text(&request.spec["signerName"])
}

fn conditions(request: &Object, out: &mut Sink<'_>) {
    let all = list(&request.status["conditions"]);
    for (label, name) in [
        ("approved", "Approved"),
        ("denied", "Denied"),
        ("failed", "Failed"),
    ] {
        let n = all.iter().filter(|c| text(&c["type"]) == name).count();
        out.sample(&[signer(request), label], n as f64);
    }
}

/// Bytes behind Base64.
fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}
