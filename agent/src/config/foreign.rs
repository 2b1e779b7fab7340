//! The plugins of Fluent Bit 5.1.1 that do not exist here, and what to use instead.
//!
//! Somebody who moves a configuration over should hear "that one is missing", not "no such thing".

/// Inputs of Fluent Bit, with what to use instead; empty when there is nothing alike.
const INPUTS: &[(&str, &str)] = &[
    ("blob", ""),
    ("calyptia_fleet", ""),
    ("collectd", ""),
    ("cpu", "node_exporter_metrics"),
    ("disk", "node_exporter_metrics"),
    ("docker", "container_metrics"),
    ("docker_events", ""),
    ("dummy", ""),
    ("ebpf", ""),
    ("elasticsearch", "http, forward or opentelemetry"),
    ("etw", ""),
    ("event_test", "dummy"),
    ("event_type", "dummy"),
    ("exec", ""),
    ("exec_wasi", ""),
    ("fluentbit_logs", "log_file and tail"),
    ("fluentbit_metrics", "HTTP_Server on and /metrics"),
    ("forward", ""),
    ("gpu_metrics", ""),
    ("head", "tail with read_from_head on"),
    ("health", ""),
    ("http", ""),
    ("kafka", ""),
    ("kmsg", "tail or systemd"),
    ("kubernetes_events", ""),
    ("lib", "stdin"),
    ("mem", "node_exporter_metrics"),
    ("mqtt", ""),
    ("netif", "node_exporter_metrics"),
    ("nginx_metrics", "prometheus_scrape with an exporter"),
    ("node_exporter_metrics", ""),
    ("opentelemetry", ""),
    ("podman_metrics", "container_metrics"),
    ("proc", "process_exporter_metrics"),
    ("process_exporter_metrics", ""),
    ("prometheus_remote_write", ""),
    ("prometheus_scrape", ""),
    (
        "prometheus_textfile",
        "node_exporter_metrics with collector.textfile.path",
    ),
    ("random", "dummy"),
    ("serial", ""),
    ("splunk", "http or forward"),
    ("statsd", ""),
    ("stdin", ""),
    ("syslog", ""),
    ("systemd", ""),
    ("tail", ""),
    ("tcp", ""),
    ("thermal", "node_exporter_metrics"),
    ("udp", ""),
    ("unix_socket", "syslog with mode unix_udp or unix_tcp"),
    ("windows_exporter_metrics", ""),
    ("winevtlog", ""),
    ("winlog", ""),
    ("winstat", ""),
];

/// Filters of Fluent Bit.
const FILTERS: &[(&str, &str)] = &[
    ("alter_size", ""),
    ("aws", ""),
    ("checklist", "lua or grep"),
    ("ecs", ""),
    ("expect", "grep"),
    ("geoip2", ""),
    ("grep", ""),
    ("kubernetes", ""),
    ("log_to_metrics", ""),
    ("lua", ""),
    ("modify", ""),
    ("multiline", ""),
    ("nest", ""),
    ("nightfall", "lua"),
    ("parser", ""),
    ("record_modifier", ""),
    ("rewrite_tag", ""),
    ("stdout", ""),
    ("sysinfo", "record_modifier"),
    ("tensorflow", ""),
    ("throttle", ""),
    ("throttle_size", "throttle"),
    ("type_converter", ""),
    ("wasm", "lua"),
];

/// Processors of Fluent Bit; every filter can be one, too.
const PROCESSORS: &[(&str, &str)] = &[
    ("content_modifier", "the filter modify"),
    (
        "cumulative_to_delta",
        "rate() or increase() where the cumulative values are read",
    ),
    ("labels", ""),
    ("metrics_selector", ""),
    ("opentelemetry_envelope", ""),
    (
        "sampling",
        "the filter throttle for logs; it samples traces only, which do not exist here",
    ),
    (
        "sql",
        "the filters grep (WHERE), record_modifier with allowlist_key (SELECT) and modify with rename (AS)",
    ),
    (
        "tda",
        "the metrics themselves; it makes gauges of their topology",
    ),
    ("template", ""),
];

/// Outputs of Fluent Bit, and well-known ones that are loaded into it.
const OUTPUTS: &[(&str, &str)] = &[
    ("azure", "http"),
    ("azure_blob", ""),
    ("azure_kusto", ""),
    ("azure_logs_ingestion", ""),
    ("bigquery", ""),
    ("calyptia", ""),
    ("chronicle", ""),
    ("cloudwatch", "cloudwatch_logs"),
    ("cloudwatch_logs", ""),
    ("coralogix", "opentelemetry or http"),
    ("counter", "HTTP_Server on and /metrics"),
    ("datadog", "http"),
    ("es", ""),
    ("exit", ""),
    ("file", ""),
    ("firehose", "kinesis_firehose"),
    ("flowcounter", "HTTP_Server on and /metrics"),
    ("forward", ""),
    ("gcs", ""),
    ("gelf", ""),
    ("grafana-loki", "loki"),
    ("http", ""),
    ("influxdb", ""),
    ("kafka", ""),
    ("kafka-rest", "kafka"),
    ("kinesis", "kinesis_streams"),
    ("kinesis_firehose", ""),
    ("kinesis_streams", ""),
    ("lib", "stdout"),
    ("logdna", "http"),
    ("loki", ""),
    ("nats", ""),
    ("newrelic", "nrlogs or http"),
    ("nrlogs", "http"),
    ("null", ""),
    ("oms", "azure_logs_ingestion"),
    ("opensearch", ""),
    ("opentelemetry", ""),
    ("oracle_log_analytics", ""),
    ("pgsql", ""),
    ("plot", "file"),
    ("prometheus_exporter", "HTTP_Server on and /metrics"),
    ("prometheus_remote_write", ""),
    ("retry", ""),
    ("s3", ""),
    ("skywalking", "opentelemetry"),
    ("slack", "http"),
    ("splunk", ""),
    ("stackdriver", "opentelemetry"),
    ("stdout", ""),
    ("syslog", ""),
    ("tcp", ""),
    ("td", "forward or http"),
    ("udp", ""),
    ("vivo_exporter", "HTTP_Server on and /metrics"),
    ("websocket", "http"),
    ("zig_demo", ""),
];

/// What to say of a plugin that Fluent Bit has and that is not among `known`.
pub(super) fn of(kind: &str, name: &str, known: &[&str]) -> Option<String> {
    let list = match kind {
        "input" => INPUTS,
        "filter" => FILTERS,
        "processor" => PROCESSORS,
        _ => OUTPUTS,
    };
    let (name, instead) = list.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
    let text = format!("Fluent Bit has the {kind} '{name}', kansoku-agent does not");
    Some(if instead.is_empty() {
        format!("{text}; use one of {}", known.join(", "))
    } else {
        format!("{text}; use {instead}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_plugin_is_named_with_what_to_use() {
        for (kind, name, expected) in [
            (
                "input",
                "CPU",
                Some(
                    "Fluent Bit has the input 'cpu', kansoku-agent does not; use node_exporter_metrics",
                ),
            ),
            (
                "output",
                "pgsql",
                Some(
                    "Fluent Bit has the output 'pgsql', kansoku-agent does not; use one of http, null",
                ),
            ),
            (
                "filter",
                "wasm",
                Some("Fluent Bit has the filter 'wasm', kansoku-agent does not; use lua"),
            ),
            ("input", "tial", None),
        ] {
            assert_eq!(
                of(kind, name, &["http", "null"]).as_deref(),
                expected,
                "{name}"
            );
        }
        for list in [INPUTS, FILTERS, PROCESSORS, OUTPUTS] {
            assert!(
                list.is_sorted_by_key(|(name, _)| *name),
                "sorted and without doubles"
            );
        }
    }
}
