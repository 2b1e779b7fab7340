//! Every kind of objects.

mod autoscaling;
mod batch;
mod common;
mod network;
mod node;
mod pod;
mod pod_containers;
mod pod_init_containers;
mod pod_status;
mod policy;
mod secret;
mod storage;
mod volume;
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
];
