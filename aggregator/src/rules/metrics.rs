//! Rules and notifications in `/metrics`, by Prometheus's names.

use std::sync::atomic::{AtomicU64, Ordering};

use kansoku_model::MetricBatch;
use kansoku_model::MetricKind::{self, Counter, Gauge};

use super::group::Running;
use super::live;
use super::notifier::Receiver;
use crate::app::App;

type OfGroup = fn(&Running) -> f64;
type OfReceiver = fn(&Receiver) -> f64;

fn read(n: &AtomicU64) -> f64 {
    n.load(Ordering::Relaxed) as f64
}

/// Metrics with a series for each group.
const GROUPS: [(&str, MetricKind, &str, OfGroup); 9] = [
    (
        "prometheus_rule_evaluations_total",
        Counter,
        "Evaluations of rules.",
        |g| read(&g.counters.evaluations),
    ),
    (
        "prometheus_rule_evaluation_failures_total",
        Counter,
        "Evaluations of rules that failed.",
        |g| read(&g.counters.failures),
    ),
    (
        "prometheus_rule_group_iterations_total",
        Counter,
        "Evaluations of the group that were due, missed ones included.",
        |g| read(&g.counters.iterations) + read(&g.counters.missed),
    ),
    (
        "prometheus_rule_group_iterations_missed_total",
        Counter,
        "Evaluations of the group that were left out because the one before took too long.",
        |g| read(&g.counters.missed),
    ),
    (
        "prometheus_rule_group_interval_seconds",
        Gauge,
        "How often the group is evaluated.",
        |g| g.interval_ms as f64 / 1000.0,
    ),
    (
        "prometheus_rule_group_last_duration_seconds",
        Gauge,
        "How long the last evaluation of the group took.",
        |g| g.last().took.as_secs_f64(),
    ),
    (
        "prometheus_rule_group_last_evaluation_timestamp_seconds",
        Gauge,
        "When the group was evaluated last.",
        |g| g.last().evaluated_ms.unwrap_or(0) as f64 / 1000.0,
    ),
    (
        "prometheus_rule_group_last_evaluation_samples",
        Gauge,
        "Samples that the last evaluation of the group gave.",
        |g| read(&g.counters.samples),
    ),
    (
        "prometheus_rule_group_rules",
        Gauge,
        "Rules of the group.",
        |g| g.group.rules.len() as f64,
    ),
];

/// Metrics with a series for each Alertmanager.
const RECEIVERS: [(&str, MetricKind, &str, OfReceiver); 6] = [
    (
        "prometheus_notifications_sent_total",
        Counter,
        "Alerts that the Alertmanager took.",
        |r| read(&r.sent),
    ),
    (
        "prometheus_notifications_errors_total",
        Counter,
        "Alerts in requests that failed.",
        |r| read(&r.errors),
    ),
    (
        "prometheus_notifications_dropped_total",
        Counter,
        "Alerts that were given up.",
        |r| read(&r.dropped),
    ),
    (
        "prometheus_notifications_queue_length",
        Gauge,
        "Alerts that wait.",
        |r| r.queue_len() as f64,
    ),
    (
        "prometheus_notifications_latency_seconds_sum",
        Counter,
        "Time that requests took.",
        |r| read(&r.took_us) / 1e6,
    ),
    (
        "prometheus_notifications_latency_seconds_count",
        Counter,
        "Requests.",
        |r| read(&r.requests),
    ),
];

/// Adds the metrics.
pub fn collect(app: &App, out: &mut MetricBatch) {
    let groups = app.rules.groups();
    for (name, kind, help, value) in GROUPS {
        let family = out.new_family(name, kind, help);
        for group in &groups {
            out.sample(family, &[("rule_group", &group.key())], value(group));
        }
    }
    let receivers = app.rules.notifier.all();
    for (name, kind, help, value) in RECEIVERS {
        let family = out.new_family(name, kind, help);
        for receiver in &receivers {
            out.sample(family, &[("alertmanager", &receiver.url)], value(receiver));
        }
    }
    collect_objects(app, out);
    let (templates, failed) = live::templates();
    let succeeded = app.rules.reload_succeeded.load(Ordering::Relaxed);
    let reloaded_ms = app.rules.reloaded_ms.load(Ordering::Relaxed);
    for (name, kind, help, value) in [
        (
            "prometheus_notifications_queue_capacity",
            Gauge,
            "How many alerts may wait for each Alertmanager.",
            f64::from(app.settings.rules.queue_capacity),
        ),
        (
            "prometheus_notifications_alertmanagers_discovered",
            Gauge,
            "Alertmanagers that alerts are told to.",
            receivers.len() as f64,
        ),
        (
            "prometheus_template_text_expansions_total",
            Counter,
            "Templates that were expanded.",
            templates as f64,
        ),
        (
            "prometheus_template_text_expansion_failures_total",
            Counter,
            "Templates that failed.",
            failed as f64,
        ),
        (
            "prometheus_config_last_reload_successful",
            Gauge,
            "Whether the configuration was taken when it was last read.",
            f64::from(u8::from(succeeded)),
        ),
        (
            "prometheus_config_last_reload_success_timestamp_seconds",
            Gauge,
            "When a configuration was last taken.",
            reloaded_ms as f64 / 1000.0,
        ),
    ] {
        let family = out.new_family(name, kind, help);
        out.sample(family, &[], value);
    }
}

/// What became of the PrometheusRule objects of a cluster.
fn collect_objects(app: &App, out: &mut MetricBatch) {
    let Some(objects) = app.rules.objects() else {
        return;
    };
    let states = objects.states();
    let n_rejected = states.iter().filter(|(_, error)| error.is_some()).count();
    let name = "kansoku_rule_objects";
    let help = "PrometheusRule objects that are selected, and those of them whose present version is wrong.";
    let family = out.new_family(name, Gauge, help);
    out.sample(family, &[("state", "selected")], states.len() as f64);
    out.sample(family, &[("state", "rejected")], n_rejected as f64);
    let name = "kansoku_rule_object_rejected";
    let help = "A PrometheusRule object whose present version is wrong; the log says why.";
    let family = out.new_family(name, Gauge, help);
    for ((namespace, name), _) in states.iter().filter(|(_, error)| error.is_some()) {
        out.sample(family, &[("namespace", namespace), ("name", name)], 1.0);
    }
    let name = "kansoku_rule_objects_connected";
    let help = "Whether the Kubernetes API answered last time.";
    let family = out.new_family(name, Gauge, help);
    for (resource, is_connected) in objects.watches() {
        let value = f64::from(u8::from(is_connected));
        out.sample(family, &[("resource", &resource)], value);
    }
}
