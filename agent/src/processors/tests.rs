//! Processors on small batches: settings, what goes in, what comes out.

use std::sync::Arc;

use kansoku_model::{LogBatch, MetricBatch, MetricKind, Position, Settings, Value, json};

use super::ALL;
use crate::plugin::{Environment, Filter, FilterContext};

fn processor(name: &str, pairs: &[(&str, &str)]) -> Result<Box<dyn Filter>, String> {
    let plugin = ALL.iter().find(|p| p.name == name).expect("processor");
    (plugin.build)(&Settings::of(name, pairs), &Environment::default()).map_err(|e| e.message)
}

fn logs(pairs: &[(&str, &str)]) -> String {
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    for (row, log) in ["GET /a", "nothing"].into_iter().enumerate() {
        batch.push(0, Position::at(row as u64 + 1));
        batch.set_text("log", row, log.as_bytes());
        let metadata = batch.store(br#"{"k":"v","otlp":{"attributes":{"a":1}}}"#);
        batch.set_metadata(row, metadata);
    }
    batch.column_mut("n").values[0] = Value::Int(42);
    let filter = processor("content_modifier", pairs).unwrap_or_else(|e| panic!("{e}"));
    filter.apply(&mut batch, &mut FilterContext::default());
    let line = |row| {
        let mut out = Vec::new();
        json::write_fields(&mut out, &batch, row, true);
        let fields = String::from_utf8(out).expect("UTF-8");
        let metadata = String::from_utf8_lossy(batch.metadata(row).unwrap_or_default());
        let metadata = metadata.replace(r#"{"k":"v","otlp":{"attributes":{"a":1}}}"#, "");
        format!("{fields}{metadata}")
    };
    let resource: Vec<String> = (batch.resource.attributes.iter())
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    format!("{}|{}|{}", line(0), line(1), resource.join(","))
}

#[test]
fn keys_of_records_are_changed() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("action", "insert"), ("key", "n"), ("value", "x")],
            r#""log":"GET /a","n":42|"log":"nothing","n":"x"|"#,
        ),
        (
            &[("action", "upsert"), ("key", "n"), ("value", "x")],
            r#""log":"GET /a","n":"x"|"log":"nothing","n":"x"|"#,
        ),
        (
            &[("action", "delete"), ("key", "n")],
            r#""log":"GET /a"|"log":"nothing"|"#,
        ),
        (
            &[("action", "rename"), ("key", "n"), ("value", "m")],
            r#""log":"GET /a","m":42|"log":"nothing"|"#,
        ),
        (
            &[
                ("action", "convert"),
                ("key", "n"),
                ("converted_type", "string"),
            ],
            r#""log":"GET /a","n":"42"|"log":"nothing"|"#,
        ),
        (
            &[
                ("action", "convert"),
                ("key", "n"),
                ("converted_type", "double"),
            ],
            r#""log":"GET /a","n":42.0|"log":"nothing"|"#,
        ),
        (
            &[
                ("action", "convert"),
                ("key", "n"),
                ("converted_type", "boolean"),
            ],
            r#""log":"GET /a","n":true|"log":"nothing"|"#,
        ),
        (
            &[
                ("action", "extract"),
                ("key", "log"),
                ("pattern", r"^(?<method>\w+) (?<path>\S+)$"),
            ],
            r#""log":"GET /a","n":42,"method":"GET","path":"/a"|"log":"nothing"|"#,
        ),
        (
            &[
                ("action", "insert"),
                ("context", "attributes"),
                ("key", "new"),
                ("value", "x"),
            ],
            r#""log":"GET /a","n":42{"k":"v","otlp":{"attributes":{"a":1}},"new":"x"}|"log":"nothing"{"k":"v","otlp":{"attributes":{"a":1}},"new":"x"}|"#,
        ),
        (
            &[
                ("action", "delete"),
                ("context", "otel_log_attributes"),
                ("key", "a"),
            ],
            r#""log":"GET /a","n":42{"k":"v","otlp":{"attributes":{}}}|"log":"nothing"{"k":"v","otlp":{"attributes":{}}}|"#,
        ),
        (
            &[
                ("action", "upsert"),
                ("context", "otel_resource_attributes"),
                ("key", "service.name"),
                ("value", "x"),
            ],
            r#""log":"GET /a","n":42|"log":"nothing"|service.name=x"#,
        ),
        (
            &[
                ("action", "insert"),
                ("context", "otel_scope_attributes"),
                ("key", "a"),
                ("value", "x"),
            ],
            r#""log":"GET /a","n":42|"log":"nothing"|otel.scope.a=x"#,
        ),
        (
            &[
                ("action", "upsert"),
                ("context", "otel_scope_version"),
                ("value", "2"),
            ],
            r#""log":"GET /a","n":42|"log":"nothing"|otel.scope.version=2"#,
        ),
    ];
    for (pairs, expected) in cases {
        assert_eq!(logs(pairs), *expected, "{pairs:?}");
    }
    let hashed = logs(&[("action", "hash"), ("key", "log")]);
    let digest = super::sha256(b"GET /a");
    assert!(
        hashed.starts_with(&format!("\"log\":\"{digest}\"")),
        "{hashed}"
    );
    assert_eq!(
        super::sha256(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn mistakes_are_named() {
    for (pairs, part) in [
        (&[("action", "insert"), ("key", "k")][..], "'value'"),
        (&[("action", "extract"), ("key", "k")], "'pattern'"),
        (&[("action", "hash")], "'key'"),
        (&[("key", "k")], "'action'"),
    ] {
        let error = processor("content_modifier", pairs)
            .err()
            .unwrap_or_default();
        assert!(error.contains(part), "{pairs:?}: {error}");
    }
    assert!(processor("metrics_selector", &[]).is_err());
    let error = processor("labels", &[("insert", "a $b")]).err();
    assert!(error.unwrap_or_default().contains("metrics have no fields"));
}

fn metrics(name: &str, pairs: &[(&str, &str)]) -> String {
    let mut batch = MetricBatch::new("m".into(), Arc::default(), 7);
    let requests = batch.family("http_requests_total", MetricKind::Counter, "help");
    batch.sample(requests, &[("code", "200"), ("path", "/a")], 1.0);
    batch.sample(requests, &[("code", "500")], 2.0);
    let load = batch.family("node_load1", MetricKind::Gauge, "help");
    batch.sample(load, &[], 0.5);
    let filter = processor(name, pairs).unwrap_or_else(|e| panic!("{e}"));
    filter.apply_to_metrics(&mut batch);
    let line = |p| format!("{:?}", batch.series_of(p));
    batch
        .points()
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn metrics_are_selected_and_labelled() {
    let all = r#"{__name__="http_requests_total", code="200", path="/a"} {__name__="http_requests_total", code="500"} {__name__="node_load1"}"#;
    assert_eq!(metrics("opentelemetry_envelope", &[]), all);
    let only_load = r#"{__name__="node_load1"}"#;
    for pairs in [
        &[("metric_name", "node_")][..],
        &[("metric_name", "/load\\d$/")],
        &[("metric_name", "load"), ("operation_type", "substring")],
        &[("metric_name", "http"), ("action", "exclude")],
    ] {
        assert_eq!(metrics("metrics_selector", pairs), only_load, "{pairs:?}");
    }
    let found = metrics(
        "metrics_selector",
        &[("context", "delete_label_value"), ("label", "code 500")],
    );
    assert_eq!(
        found,
        r#"{__name__="http_requests_total", code="200", path="/a"} {__name__="node_load1"}"#
    );
    let found = metrics(
        "labels",
        &[
            ("insert", "code x"),
            ("update", "path y"),
            ("upsert", "zone z-$TAG"),
            ("delete", "none"),
        ],
    );
    assert_eq!(
        found,
        r#"{__name__="http_requests_total", code="200", path="y", zone="z-m"} {__name__="http_requests_total", code="500", zone="z-m"} {__name__="node_load1", code="x", zone="z-m"}"#
    );
    let found = metrics("content_modifier", &[("action", "delete"), ("key", "code")]);
    assert_eq!(
        found,
        r#"{__name__="http_requests_total", path="/a"} {__name__="http_requests_total"} {__name__="node_load1"}"#
    );
}
