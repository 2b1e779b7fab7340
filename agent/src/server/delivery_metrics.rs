//! How the pipeline stands, under Fluent Bit's names: what waits where, what goes from which input to
//! which output, and how long it takes.

use kansoku_model::{MetricBatch, MetricKind, Suffix, metric::Point};
use serde_json::{Map, Value, json};

use super::own_metrics::human_size;
use crate::pipeline::{LATENCY_BUCKETS_MS, Metrics, RouteCounters, StorageStatus};

/// Adds all families.
pub(super) fn write(metrics: &Metrics, out: &mut MetricBatch) {
    let status = metrics.probe.ask();
    inputs(metrics, &status, out);
    outputs(metrics, &status, out);
    storage(&status, out);
    routes(metrics, out);
    let filters = metrics.filters.iter().chain(&metrics.processors);
    let name = "kansoku_agent_filter_patterns_given_up_total";
    let help = "Texts that were too hard for a pattern of the filter and counted as not matching.";
    let given_up = filters.map(|c| (c.name.as_str(), c.patterns_given_up.get()));
    gauges(out, name, help, given_up);
}

/// One value of each part of the pipeline.
fn gauges(
    out: &mut MetricBatch,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (impl AsRef<str>, u64)>,
) {
    let kind = if name.ends_with("_total") {
        MetricKind::Counter
    } else {
        MetricKind::Gauge
    };
    let family = out.family(name, kind, help);
    for (name, value) in values {
        out.sample(family, &[("name", name.as_ref())], value as f64);
    }
}

fn inputs(metrics: &Metrics, status: &StorageStatus, out: &mut MetricBatch) {
    let standing = || {
        let names = metrics.inputs.iter().map(|c| c.name.as_str());
        names.zip(status.inputs.iter().copied())
    };
    let paused = (metrics.inputs.iter()).map(|c| (c.name.as_str(), c.ingestion_paused.get()));
    let name = "fluentbit_input_storage_overlimit";
    gauges(out, name, "Is the input memory usage overlimit ?.", paused);
    for (name, help) in [
        ("chunks", "Total number of chunks."),
        ("chunks_up", "Total number of chunks up in memory."),
        ("chunks_busy", "Total number of chunks in a busy state."),
    ] {
        let name = format!("fluentbit_input_storage_{name}");
        gauges(out, &name, help, standing().map(|(i, (n, _))| (i, n)));
    }
    let name = "fluentbit_input_storage_chunks_down";
    gauges(
        out,
        name,
        "Total number of chunks down.",
        standing().map(|(i, _)| (i, 0)),
    );
    let name = "fluentbit_input_storage_chunks_busy_bytes";
    let help = "Total number of bytes used by chunks in a busy state.";
    gauges(
        out,
        name,
        help,
        standing().map(|(i, (_, bytes))| (i, bytes)),
    );
}

fn outputs(metrics: &Metrics, status: &StorageStatus, out: &mut MetricBatch) {
    let standing = || {
        let names = metrics.outputs.iter().map(|c| c.name.as_str());
        names.zip(status.outputs.iter())
    };
    let name = "fluentbit_output_chunk_available_capacity_percent";
    let help = "Available chunk capacity (percent)";
    gauges(
        out,
        name,
        help,
        standing().map(|(o, s)| (o, s.free_percent)),
    );
    let name = "fluentbit_output_upstream_total_connections";
    let total = metrics.outputs.iter().map(|c| (&c.name, c.workers.get()));
    gauges(out, name, "Total Connection count.", total);
    let name = "fluentbit_output_upstream_busy_connections";
    let busy = metrics.outputs.iter().map(|c| (&c.name, c.busy.get()));
    gauges(out, name, "Busy Connection count.", busy);
    let spilled = || standing().filter_map(|(o, s)| s.spill.map(|spill| (o, spill, s)));
    let name = "kansoku_agent_output_spill_bytes";
    let help = "Bytes on disk that wait for the output.";
    gauges(
        out,
        name,
        help,
        spilled().map(|(o, spill, _)| (o, spill.bytes)),
    );
    let name = "kansoku_agent_output_spill_dropped_records_total";
    let help = "Oldest spilled records that gave way at storage.total_limit_size.";
    let dropped = spilled().map(|(o, _, s)| (o, s.spill_dropped_records));
    gauges(out, name, help, dropped);
    let name = "kansoku_agent_output_spill_damaged_frames_total";
    let help = "Spilled frames that could not be read back.";
    let damaged = spilled().map(|(o, _, s)| (o, s.spill_damaged_frames));
    gauges(out, name, help, damaged);
}

/// Batches in memory, on disk, and of these in memory too.
fn totals(status: &StorageStatus) -> (u64, u64, u64) {
    let in_memory = status.inputs.iter().map(|(n, _)| n).sum();
    let spills = status.outputs.iter().filter_map(|o| o.spill);
    let (on_disk, up) = spills.fold((0, 0), |(n, up), s| (n + s.n_frames, up + s.n_up as u64));
    (in_memory, on_disk, up)
}

fn storage(status: &StorageStatus, out: &mut MetricBatch) {
    let (in_memory, on_disk, up) = totals(status);
    for (name, help, value) in [
        (
            "chunks",
            "Total number of chunks in the storage layer.",
            in_memory + on_disk,
        ),
        ("mem_chunks", "Total number of memory chunks.", in_memory),
        ("fs_chunks", "Total number of filesystem chunks.", on_disk),
        (
            "fs_chunks_up",
            "Total number of filesystem chunks up in memory.",
            up,
        ),
        (
            "fs_chunks_down",
            "Total number of filesystem chunks down.",
            on_disk.saturating_sub(up),
        ),
    ] {
        let name = format!("fluentbit_storage_{name}");
        let family = out.family(&name, MetricKind::Gauge, help);
        out.sample(family, &[], value as f64);
    }
}

fn routes(metrics: &Metrics, out: &mut MetricBatch) {
    let used = || metrics.routes.iter().filter(|r| r.records.get() > 0);
    let help = "Total log records routed from input to output";
    let records = out.family(
        "fluentbit_routing_logs_records_total",
        MetricKind::Counter,
        help,
    );
    let help = "Total bytes routed from input to output";
    let bytes = out.family(
        "fluentbit_routing_logs_bytes_total",
        MetricKind::Counter,
        help,
    );
    for route in used() {
        let labels = [("input", &*route.input), ("output", &*route.output)];
        out.sample(records, &labels, route.records.get() as f64);
        out.sample(bytes, &labels, route.bytes.get() as f64);
    }
    used().for_each(|route| latency(route, out));
}

fn latency(route: &RouteCounters, out: &mut MetricBatch) {
    let help = "End-to-end latency in seconds";
    let family = out.family(
        "fluentbit_output_latency_seconds",
        MetricKind::Histogram,
        help,
    );
    let labels = [("input", &*route.input), ("output", &*route.output)];
    let mut push = |suffix, bound: Option<&str>, value: f64| {
        let all = labels.iter().copied().chain(bound.map(|b| ("le", b)));
        let labels = out.label_set(all);
        out.push(Point {
            family,
            suffix,
            labels,
            time_ms: None,
            value,
        });
    };
    let mut n = 0;
    let bounds = LATENCY_BUCKETS_MS
        .iter()
        .map(|ms| (*ms as f64 / 1000.0).to_string());
    let bounds = bounds.chain(["+Inf".to_owned()]);
    for (bound, bucket) in bounds.zip(&route.latency.buckets) {
        n += bucket.get();
        push(Suffix::Bucket, Some(&bound), n as f64);
    }
    push(
        Suffix::Sum,
        None,
        route.latency.sum_ms.get() as f64 / 1000.0,
    );
    push(Suffix::Count, None, n as f64);
}

/// `/api/v1/storage` in Fluent Bit's shape.
pub(super) fn json(metrics: &Metrics) -> Value {
    let status = metrics.probe.ask();
    let (in_memory, on_disk, up) = totals(&status);
    let mut standing = status.inputs.iter();
    let input = |c: &std::sync::Arc<crate::pipeline::InputCounters>| {
        let (n, bytes) = standing.next().copied().unwrap_or_default();
        let value = json!({
            "status": {
                "overlimit": c.ingestion_paused.get() != 0,
                "mem_size": human_size(bytes),
            },
            "chunks": {
                "total": n,
                "up": n,
                "down": 0,
                "busy": n,
                "busy_size": human_size(bytes),
            },
        });
        (c.name.clone(), value)
    };
    let inputs: Map<_, _> = metrics.inputs.iter().map(input).collect();
    json!({
        "storage_layer": {
            "chunks": {
                "total_chunks": in_memory + on_disk,
                "mem_chunks": in_memory,
                "fs_chunks": on_disk,
                "fs_chunks_up": up,
                "fs_chunks_down": on_disk.saturating_sub(up),
            },
        },
        "input_chunks": inputs,
    })
}
