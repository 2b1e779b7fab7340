//! The aggregator's own metrics, made from its counters, the store's and the kernel's.
//!
//! One function makes them; `/metrics` prints them and the self-recording stores them, so the two
//! can never differ.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use kansoku_model::MetricKind::{Counter, Gauge, Histogram};
use kansoku_model::metric::Point;
use kansoku_model::{Labels, MetricBatch, MetricKind, Resource, Suffix};
use kansoku_query::number::format_g;
use kansoku_store::Stats;

use super::{IngestCounters, Protocol, QueryKind, process};
use crate::app::App;

/// The value of `job` of its own metrics.
pub const JOB: &str = "kansoku-aggregator";

/// All metrics of its own, at `time_ms`.
#[must_use]
pub fn collect(app: &App, time_ms: i64) -> MetricBatch {
    let fixed = [("job", JOB), ("instance", app.address.as_str())];
    let labels = &app.settings.config.own_metrics_labels;
    let chosen = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let resource = Resource {
        labels: Labels::from_pairs(fixed.into_iter().chain(chosen)),
        ..Resource::default()
    };
    let mut out = MetricBatch::new(JOB.into(), Arc::new(resource), time_ms);
    build(&mut out);
    ingest(app, &mut out);
    queries(app, &mut out);
    http(app, &mut out);
    let stores = app.tenants.open_stores();
    if !stores.is_empty() {
        let mut all = Stats::default();
        stores.iter().for_each(|(_, s)| all.add(&s.stats()));
        store_stats(&all, &mut out);
    }
    tenants(app, stores.len(), &mut out);
    let failed = app.telemetry.failed_maintenance.load(Ordering::Relaxed);
    single(
        &mut out,
        "kansoku_store_failed_maintenance_total",
        Counter,
        "Steps of flushing, merging or retention that failed.",
        failed as f64,
    );
    crate::rules::metrics::collect(app, &mut out);
    if let Some(maps) = app.documents.provisioned.config_maps() {
        maps.collect(&mut out);
    }
    process::collect(&mut out);
    out
}

fn single(out: &mut MetricBatch, name: &str, kind: MetricKind, help: &str, value: f64) {
    let family = out.new_family(name, kind, help);
    out.sample(family, &[], value);
}

fn build(out: &mut MetricBatch) {
    let help = "Version of this program; the value is always 1.";
    let family = out.new_family("kansoku_build_info", Gauge, help);
    out.sample(family, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
}

fn ingest(app: &App, out: &mut MetricBatch) {
    type Read = fn(&IngestCounters) -> &AtomicU64;
    let families: [(&str, &str, Read); 6] = [
        (
            "kansoku_ingest_requests_total",
            "Requests with data, whatever became of them.",
            |c| &c.requests,
        ),
        (
            "kansoku_ingest_failed_requests_total",
            "Requests with data of which nothing was taken.",
            |c| &c.failed_requests,
        ),
        (
            "kansoku_ingest_bytes_total",
            "Bytes of accepted bodies as they were sent.",
            |c| &c.bytes,
        ),
        (
            "kansoku_ingest_records_total",
            "Samples and log entries stored.",
            |c| &c.accepted,
        ),
        (
            "kansoku_ingest_duplicates_total",
            "Samples and log entries that a source had delivered before.",
            |c| &c.duplicates,
        ),
        (
            "kansoku_ingest_refused_total",
            "Samples and log entries that were not taken while others of their request were.",
            |c| &c.refused,
        ),
    ];
    for (name, help, read) in families {
        let family = out.new_family(name, Counter, help);
        for protocol in Protocol::ALL {
            let counter = read(&app.telemetry.ingest[protocol as usize]);
            let value = counter.load(Ordering::Relaxed) as f64;
            out.sample(family, &[("protocol", protocol.name())], value);
        }
    }
}

fn tenants(app: &App, n_open: usize, out: &mut MetricBatch) {
    let all = app.tenants.all();
    let help =
        "Samples and log entries that were not taken, by reason; of rate_limited the requests.";
    let family = out.new_family("kansoku_ingest_discarded_total", Counter, help);
    for tenant in &all {
        let name = [("tenant", tenant.name())];
        for (reason, n) in tenant.discarded() {
            // A series for each tenant and reason only where there is something to tell.
            if n > 0 || !app.tenants.is_on() {
                let named = name.iter().copied().filter(|(_, v)| !v.is_empty());
                let labels: Vec<_> = named.chain([("reason", reason)]).collect();
                out.sample(family, &labels, n as f64);
            }
        }
    }
    if app.tenants.is_on() {
        let help = "Tenants that are known.";
        single(out, "kansoku_tenants", Gauge, help, all.len() as f64);
        let help = "Tenants whose stores are open.";
        single(out, "kansoku_tenants_open", Gauge, help, n_open as f64);
    }
}

fn queries(app: &App, out: &mut MetricBatch) {
    let family = out.new_family(
        "kansoku_query_duration_seconds",
        Histogram,
        "How long queries took, waiting for their turn included.",
    );
    for kind in QueryKind::ALL {
        let (engine, name) = kind.names();
        let reading = app.telemetry.queries[kind as usize].read();
        let base = [("engine", engine), ("kind", name)];
        for (bound, count) in &reading.buckets {
            let bound = format_g(*bound);
            let labels = out.label_set(base.into_iter().chain([("le", bound.as_str())]));
            push(out, family, Suffix::Bucket, labels, *count as f64);
        }
        let labels = out.label_set(base);
        let count = reading.buckets.last().map_or(0, |(_, n)| *n);
        push(out, family, Suffix::Sum, labels, reading.sum);
        push(out, family, Suffix::Count, labels, count as f64);
    }
    let help = "Queries that ended in an error, cancelled ones included.";
    let family = out.new_family("kansoku_query_failures_total", Counter, help);
    for kind in QueryKind::ALL {
        let (engine, name) = kind.names();
        let failed = app.telemetry.failed_queries[kind as usize].load(Ordering::Relaxed);
        out.sample(family, &[("engine", engine), ("kind", name)], failed as f64);
    }
    single(
        out,
        "kansoku_query_running",
        Gauge,
        "Queries that run now.",
        app.gate.n_running() as f64,
    );
    let held = app.query_memory.held_bytes() as f64;
    let help = "Memory that queries hold now.";
    single(out, "kansoku_query_memory_bytes", Gauge, help, held);
    range_cache(app, out);
}

fn range_cache(app: &App, out: &mut MetricBatch) {
    let cache = &app.range_cache;
    let counters = &cache.counters;
    let of_all = [
        (
            "kansoku_query_cache_hits_total",
            "Range queries of metrics of which some steps were taken from the cache.",
            &counters.hits,
        ),
        (
            "kansoku_query_cache_misses_total",
            "Range queries of metrics that the cache may keep, but of which it had no step.",
            &counters.misses,
        ),
        (
            "kansoku_query_cache_reused_steps_total",
            "Steps of range queries that were taken from the cache.",
            &counters.steps_reused,
        ),
        (
            "kansoku_query_cache_evaluated_steps_total",
            "Steps of range queries that the cache may keep, but which were evaluated.",
            &counters.steps_evaluated,
        ),
    ];
    for (name, help, counter) in of_all {
        single(
            out,
            name,
            Counter,
            help,
            counter.load(Ordering::Relaxed) as f64,
        );
    }
    let help = "Memory of the results in the cache.";
    let bytes = cache.n_bytes() as f64;
    single(out, "kansoku_query_cache_bytes", Gauge, help, bytes);
}

fn push(
    out: &mut MetricBatch,
    family: kansoku_model::FamilyId,
    suffix: Suffix,
    labels: (u32, u32),
    value: f64,
) {
    out.push(Point {
        family,
        suffix,
        labels,
        time_ms: None,
        value,
    });
}

fn http(app: &App, out: &mut MetricBatch) {
    let http = app.telemetry.http.lock();
    let http = http.unwrap_or_else(PoisonError::into_inner).clone();
    let help = "Requests answered, by path and status.";
    let requests = out.new_family("kansoku_http_requests_total", Counter, help);
    for ((path, code), counters) in &http {
        let code = code.to_string();
        let labels = [("path", *path), ("code", code.as_str())];
        out.sample(requests, &labels, counters.requests as f64);
    }
    let help = "Time from a request's head to its answer, by path and status.";
    let seconds = out.new_family("kansoku_http_request_seconds_total", Counter, help);
    for ((path, code), counters) in &http {
        let code = code.to_string();
        let labels = [("path", *path), ("code", code.as_str())];
        out.sample(seconds, &labels, counters.seconds);
    }
}

fn store_stats(s: &Stats, out: &mut MetricBatch) {
    let families: [(&str, MetricKind, &str, u64); 30] = [
        (
            "kansoku_store_active_series",
            Gauge,
            "Series that count for the limits.",
            s.active_series,
        ),
        (
            "kansoku_store_active_streams",
            Gauge,
            "Streams that count for the limits.",
            s.active_streams,
        ),
        (
            "kansoku_store_head_series",
            Gauge,
            "Metric series in the heads.",
            s.head_series,
        ),
        (
            "kansoku_store_head_streams",
            Gauge,
            "Log streams in the heads.",
            s.head_streams,
        ),
        (
            "kansoku_store_head_entries",
            Gauge,
            "Log entries in the heads.",
            s.head_entries,
        ),
        (
            "kansoku_store_head_samples",
            Gauge,
            "Samples in the heads.",
            s.head_samples,
        ),
        (
            "kansoku_store_head_bytes",
            Gauge,
            "Memory that the heads take.",
            s.head_bytes,
        ),
        (
            "kansoku_store_log_parts",
            Gauge,
            "Parts with log entries.",
            s.log_parts,
        ),
        (
            "kansoku_store_metric_parts",
            Gauge,
            "Parts with samples.",
            s.metric_parts,
        ),
        (
            "kansoku_store_part_entries",
            Gauge,
            "Log entries in parts.",
            s.part_entries,
        ),
        (
            "kansoku_store_part_samples",
            Gauge,
            "Samples in parts.",
            s.part_samples,
        ),
        (
            "kansoku_store_part_raw_bytes",
            Gauge,
            "Text of the log entries in parts, uncompressed.",
            s.part_raw_bytes,
        ),
        (
            "kansoku_store_part_streams",
            Gauge,
            "Log streams in the parts, summed part by part.",
            s.part_streams,
        ),
        (
            "kansoku_store_part_series",
            Gauge,
            "Series in the parts, summed part by part.",
            s.part_series,
        ),
        (
            "kansoku_store_disk_bytes",
            Gauge,
            "Bytes of all part files.",
            s.disk_bytes,
        ),
        (
            "kansoku_store_wal_bytes",
            Gauge,
            "Bytes of the WAL.",
            s.wal_bytes,
        ),
        (
            "kansoku_store_wal_segments",
            Gauge,
            "Segments of the WAL.",
            s.wal_segments,
        ),
        (
            "kansoku_store_wal_syncs_total",
            Counter,
            "Times the WAL was synced.",
            s.wal_syncs,
        ),
        (
            "kansoku_store_wal_written_bytes_total",
            Counter,
            "Bytes written to the WAL.",
            s.wal_bytes_written,
        ),
        (
            "kansoku_store_records_appended_total",
            Counter,
            "Records accepted.",
            s.records_appended,
        ),
        (
            "kansoku_store_duplicates_total",
            Counter,
            "Records dropped as repeats.",
            s.duplicates,
        ),
        (
            "kansoku_store_marks",
            Gauge,
            "Sources with a high-water mark.",
            s.marks,
        ),
        (
            "kansoku_store_damaged_blocks_total",
            Counter,
            "Blocks that failed their check.",
            s.damaged_blocks,
        ),
        (
            "kansoku_store_flushes_total",
            Counter,
            "Heads written out as parts.",
            s.flushes,
        ),
        (
            "kansoku_store_merges_total",
            Counter,
            "Merges of parts.",
            s.merges,
        ),
        (
            "kansoku_store_part_written_bytes_total",
            Counter,
            "Bytes of parts written by flushes and merges.",
            s.part_bytes_written,
        ),
        (
            "kansoku_store_parts_expired_total",
            Counter,
            "Parts dropped by retention.",
            s.parts_expired,
        ),
        (
            "kansoku_store_cache_bytes",
            Gauge,
            "Bytes of the caches.",
            s.cache_bytes,
        ),
        (
            "kansoku_store_poisoned",
            Gauge,
            "Whether writes are refused after a failed write.",
            s.poisoned.into(),
        ),
        ("kansoku_store_up", Gauge, "Whether the store is open.", 1),
    ];
    for (name, kind, help, value) in families {
        single(out, name, kind, help, value as f64);
    }
}
