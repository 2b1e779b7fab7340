//! Leases: who leads, and since when nothing was heard of them.

use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, text};
use crate::kube_state::samples::Sink;

pub const LEASES: Kind = Kind {
    resource: "leases",
    api: "/apis/coordination.k8s.io/v1",
    go_type: "*v1.Lease",
    is_namespaced: true,
    name_label: "lease",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[LEASE],
};

const LEASE: &[Family] = &[
    Family::new(
        "kube_lease_owner",
        "Information about the Lease's owner.",
        &["owner_kind", "owner_name", "lease_holder"],
        owner,
    ),
    Family::new(
        "kube_lease_renew_time",
        "Kube lease renew time.",
        &[],
        |lease, out| out.time(&[], lease.spec["renewTime"].as_str()),
    ),
];

fn owner(lease: &Object, out: &mut Sink<'_>) {
    let holder = text(&lease.spec["holderIdentity"]);
    let owners = lease.metadata.owners();
    if owners.is_empty() {
        out.info(&["", "", holder]);
    }
    for owner in owners {
        out.info(&[&owner.kind, &owner.name, holder]);
    }
}
