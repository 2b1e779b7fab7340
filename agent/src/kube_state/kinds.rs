//! Every kind of objects.

mod access;
mod admission;
mod autoscaling;
mod batch;
mod certificate;
mod common;
mod lease;
mod network;
mod network_policy;
mod node;
mod pod;
mod pod_containers;
mod pod_init_containers;
mod pod_status;
mod policy;
mod replication_controller;
mod secret;
mod storage;
mod volume;
mod volume_attachment;
mod workload;
mod workload_sets;

use super::family::Kind;

/// Every kind.
pub const ALL: &[&Kind] = &[
    &pod::PODS,
    &node::NODES,
    &workload::DEPLOYMENTS,
    &workload_sets::STATEFUL_SETS,
    &workload_sets::DAEMON_SETS,
    &workload::REPLICA_SETS,
    &batch::JOBS,
    &batch::CRON_JOBS,
    &autoscaling::AUTOSCALERS,
    &volume::PERSISTENT_VOLUMES,
    &storage::CLAIMS,
    &storage::STORAGE_CLASSES,
    &policy::RESOURCE_QUOTAS,
    &policy::LIMIT_RANGES,
    &policy::NAMESPACES,
    &policy::DISRUPTION_BUDGETS,
    &network::SERVICES,
    &network::INGRESSES,
    &network::ENDPOINTS,
    &network::ENDPOINT_SLICES,
    &secret::SECRETS,
    &secret::CONFIG_MAPS,
    &replication_controller::REPLICATION_CONTROLLERS,
    &network_policy::NETWORK_POLICIES,
    &network_policy::INGRESS_CLASSES,
    &volume_attachment::VOLUME_ATTACHMENTS,
    &certificate::SIGNING_REQUESTS,
    &lease::LEASES,
    &admission::VALIDATING_WEBHOOKS,
    &admission::MUTATING_WEBHOOKS,
    &admission::VALIDATING_POLICIES,
    &admission::VALIDATING_POLICY_BINDINGS,
    &admission::MUTATING_POLICIES,
    &admission::MUTATING_POLICY_BINDINGS,
    &access::ROLES,
    &access::CLUSTER_ROLES,
    &access::ROLE_BINDINGS,
    &access::CLUSTER_ROLE_BINDINGS,
    &access::SERVICE_ACCOUNTS,
];
