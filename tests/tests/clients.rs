//! Clients as their registries give them, doing their ordinary work against the aggregator: OpenTelemetry's SDKs for Python
//! and Node, python-logging-loki, prometheus_client. `deploy/setup.sh test` installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use kansoku_tests::aggregator::Aggregator;
use serde_json::{Value, json};

/// Where `deploy/setup.sh test` puts them.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients")
}

/// Runs a script of `tests/clients` against the aggregator and gives what it printed.
fn client(script: &str, aggregator: &Aggregator) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = match script.ends_with(".py") {
        true => Command::new(clients().join("venv/bin/python")),
        false => Command::new("node"),
    };
    // Node looks for packages beside the script.
    let path = match script.ends_with(".py") {
        true => sources.join(script),
        false => {
            let copy = clients().join(format!("{}-{script}", aggregator.port));
            std::fs::copy(sources.join(script), &copy).expect("deploy/setup.sh test was run");
            copy
        }
    };
    let base = format!("http://127.0.0.1:{}", aggregator.port);
    let output = command.arg(&path).arg(base).output();
    if !script.ends_with(".py") {
        std::fs::remove_file(&path).expect("the copy is ours");
    }
    let output = output.expect("the clients are there (deploy/setup.sh test)");
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{script}: {out}{errors}");
    // The SDKs swallow failures and log them.
    let is_failure = |line: &&str| line.contains("ailed") || line.contains("rror:");
    assert_eq!(errors.lines().find(is_failure), None, "{script}: {errors}");
    out.into_owned()
}

fn started(folder: &Path) -> Aggregator {
    let mut aggregator = Aggregator::new(folder, &[]);
    aggregator.start();
    aggregator
}

/// Series of the last five minutes with their values, in order.
fn series(aggregator: &Aggregator, query: &str) -> Vec<String> {
    let mut lines: Vec<String> = aggregator
        .promql(query)
        .iter()
        .map(|(labels, value)| format!("{labels} {value}"))
        .collect();
    lines.sort();
    lines
}

/// Stream, line and the rest of every entry of the last hour.
fn entries(aggregator: &Aggregator, query: &str) -> Vec<(Value, Value, Value)> {
    let url = kansoku_tests::http::url("/loki/api/v1/query_range", &[("query", query)]);
    let flags = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let reply = kansoku_tests::http::post(aggregator.port, &url, &flags, b"");
    let json = reply.expect("the aggregator answers").json();
    let streams = json["data"]["result"].as_array().expect("streams").clone();
    let entries = streams.iter().flat_map(|stream| {
        let values = stream["values"].as_array().expect("values");
        let entry = |v: &Value| (stream["stream"].clone(), v[1].clone(), v[2].clone());
        values.iter().map(entry).collect::<Vec<_>>()
    });
    entries.collect()
}

#[test]
fn opentelemetry_for_python_sends_metrics_and_logs() {
    let dir = tempfile::tempdir().expect("a folder");
    let aggregator = started(dir.path());
    let trace_id = client("otel_python.py", &aggregator);
    let identity = r#""instance":"py","job":"test/shop""#;
    assert_eq!(
        series(
            &aggregator,
            r#"{job="test/shop", le="", __name__!~"target_info|wait_seconds"}"#
        ),
        [
            format!(r#"{{"__name__":"http_requests_total","http_route":"/pay",{identity}}} 3"#),
            format!(r#"{{"__name__":"latency_seconds_count",{identity}}} 1"#),
            format!(r#"{{"__name__":"latency_seconds_sum",{identity}}} 0.3"#),
            format!(r#"{{"__name__":"queue",{identity}}} -2"#),
            format!(r#"{{"__name__":"temperature_celsius",{identity}}} 21.5"#),
        ]
    );
    let median = r#"histogram_quantile(0.5, wait_seconds{job="test/shop"})"#;
    let median = aggregator.promql_value(median).expect("a native histogram");
    assert!((0.19..0.21).contains(&median), "{median}");
    let bucket = r#"latency_seconds_bucket{job="test/shop", le="0.3"}"#;
    assert_eq!(series(&aggregator, bucket).len(), 0);
    let bucket = r#"latency_seconds_bucket{job="test/shop", le="5"}"#;
    assert_eq!(aggregator.promql_value(bucket), Some(1.0));
    let info = aggregator.promql("target_info");
    assert_eq!(info[0].0["service_version"], "1.2");
    assert_eq!(info[0].0["telemetry_sdk_language"], "python");

    let now_s = kansoku_tests::pods::now_ns() / 1_000_000_000;
    let (start, end) = ((now_s - 300).to_string(), (now_s + 300).to_string());
    let query = [
        ("query", "http_requests_total"),
        ("start", &start),
        ("end", &end),
    ];
    let exemplars = aggregator.get("/api/v1/query_exemplars", &query).json();
    let labels = &exemplars["data"][0]["exemplars"][0]["labels"];
    assert_eq!(labels["trace_id"], trace_id.trim());

    let found = entries(&aggregator, r#"{service_name="shop"} | order="7""#);
    assert_eq!(found.len(), 1);
    let (stream, line, rest) = &found[0];
    let expected = json!({
        "service_instance_id": "py", "service_name": "shop", "service_namespace": "test",
    });
    assert_eq!((stream, line), (&expected, &json!("paid twice")));
    let metadata = &rest["structuredMetadata"];
    for (name, value) in [
        ("severity_text", "WARN"),
        ("severity_number", "13"),
        ("service_version", "1.2"),
    ] {
        assert_eq!(metadata[name], value, "{metadata}");
    }
    assert_eq!(metadata["trace_id"].as_str().map(str::len), Some(32));
}

#[test]
fn opentelemetry_for_node_sends_metrics_and_logs() {
    let dir = tempfile::tempdir().expect("a folder");
    let aggregator = started(dir.path());
    client("otel_node.mjs", &aggregator);
    let identity = r#""instance":"js","job":"cart""#;
    assert_eq!(
        series(
            &aggregator,
            r#"{job="cart", __name__!~"target_info|wait_seconds"}"#
        ),
        [
            format!(r#"{{"__name__":"http_requests_total","http_route":"/cart",{identity}}} 5"#),
            format!(r#"{{"__name__":"latency_milliseconds_bucket",{identity},"le":"+Inf"}} 2"#),
            format!(r#"{{"__name__":"latency_milliseconds_bucket",{identity},"le":"10"}} 1"#),
            format!(r#"{{"__name__":"latency_milliseconds_bucket",{identity},"le":"100"}} 2"#),
            format!(r#"{{"__name__":"latency_milliseconds_count",{identity}}} 2"#),
            format!(r#"{{"__name__":"latency_milliseconds_sum",{identity}}} 77"#),
            format!(r#"{{"__name__":"queue",{identity}}} -4"#),
        ]
    );
    let count = r#"histogram_count(wait_seconds{job="cart"})"#;
    assert_eq!(aggregator.promql_value(count), Some(3.0));
    let found = entries(&aggregator, r#"{service_name="cart"} | json"#);
    let (stream, line, rest) = &found[0];
    let expected = json!({"service_instance_id": "js", "service_name": "cart"});
    assert_eq!(stream, &expected);
    assert_eq!(line, r#"{"left":0,"message":"no stock"}"#);
    assert_eq!(rest["structuredMetadata"]["item_id"], "a1");
    assert_eq!(rest["structuredMetadata"]["os_type"], "linux");
    assert_eq!(rest["parsed"], json!({"left": "0", "message": "no stock"}));
}

#[test]
fn a_handler_of_python_logging_pushes_to_loki() {
    let dir = tempfile::tempdir().expect("a folder");
    let aggregator = started(dir.path());
    client("loki_handler.py", &aggregator);
    let mut found = entries(&aggregator, r#"{application="handler-test"} |= "is lost""#);
    found.sort_by_key(|(_, line, _)| line.to_string());
    let lines: Vec<&str> = found
        .iter()
        .filter_map(|(_, line, _)| line.as_str())
        .collect();
    let expected = [0, 1, 2].map(|n| format!("order \"{n}\" is lost"));
    assert_eq!(lines, expected);
    let labels = json!({
        "application": "handler-test", "level": "error", "logger": "shop", "order": "lost",
        "service_name": "handler-test",
    });
    assert_eq!(found[0].0, labels);
}

#[test]
fn prometheus_client_pushes_what_a_job_tells() {
    let dir = tempfile::tempdir().expect("a folder");
    let aggregator = started(dir.path());
    client("push_gateway.py", &aggregator);
    let group = r#""instance":"i 1","job":"batch/a""#;
    assert_eq!(
        series(
            &aggregator,
            r#"{job="batch/a", __name__!~".*_created|push_time_seconds"}"#
        ),
        [
            format!(r#"{{"__name__":"job_last_success_unixtime",{group}}} 1234.5"#),
            format!(r#"{{"__name__":"job_records_total",{group},"kind":"good"}} 7"#),
            format!(r#"{{"__name__":"job_seconds_bucket",{group},"le":"+Inf"}} 1"#),
            format!(r#"{{"__name__":"job_seconds_bucket",{group},"le":"1.0"}} 0"#),
            format!(r#"{{"__name__":"job_seconds_bucket",{group},"le":"10.0"}} 1"#),
            format!(r#"{{"__name__":"job_seconds_count",{group}}} 1"#),
            format!(r#"{{"__name__":"job_seconds_sum",{group}}} 3"#),
        ]
    );
    let age = r#"time() - push_time_seconds{job="other"}"#;
    let age = aggregator.promql_value(age).expect("the time of the push");
    assert!((-1.0..60.0).contains(&age), "{age}");
}
