//! What cAdvisor does not tell of containers: how much is left, what cache cannot be dropped, and how
//! much of the time a container was throttled. Our own families.

use kansoku_model::MetricKind::Gauge;

use super::container_families::{Labelled, Plain, Reading, plain};

/// Bytes between the working set and the limit; nothing without a limit.
fn memory_available(r: &Reading) -> Option<f64> {
    let limit = r
        .limits
        .memory
        .map(|m| m.limit)
        .filter(|limit| *limit > 0)?;
    let used = r.usage.memory.as_ref()?.working_set;
    Some(limit.saturating_sub(used) as f64)
}

/// Families with one series per cgroup.
pub const OWN: &[Plain] = &[
    plain(
        "container_memory_available_bytes",
        Gauge,
        "Bytes between the working set and the memory limit; only where there is a limit.",
        memory_available,
    ),
    plain(
        "container_memory_shmem_bytes",
        Gauge,
        "Bytes of shared memory and tmpfs: in the cache, but not to be dropped.",
        |r| r.usage.memory.as_ref()?.more.shmem.map(|n| n as f64),
    ),
    plain(
        "container_memory_slab_reclaimable_bytes",
        Gauge,
        "Bytes of kernel objects that can be dropped.",
        |r| {
            r.usage
                .memory
                .as_ref()?
                .more
                .slab_reclaimable
                .map(|n| n as f64)
        },
    ),
    plain(
        "container_cpu_cfs_throttled_ratio",
        Gauge,
        "Part of the enforcement periods since the collection before in which the container was throttled.",
        |r| r.throttled_ratio,
    ),
];

/// Families with further labels.
pub const OWN_LABELLED: &[Labelled] = &[Labelled {
    name: "container_ephemeral_storage_used_bytes",
    kind: Gauge,
    help: "Bytes on the node's disk that the container's writable layer and its log take.",
    each: |_, r, emit| {
        for (kind, bytes) in [("writable_layer", r.written_bytes), ("logs", r.log_bytes)] {
            if let Some(bytes) = bytes {
                emit(&[("kind", kind)], bytes as f64);
            }
        }
    },
}];
