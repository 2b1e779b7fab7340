//! Bulk bodies, compared with what Fluent Bit 5.1.1 sent for the same records.

use std::sync::Arc;

use kansoku_model::{LogBatch, Position, Settings, SourceId, Value};

use super::*;

/// The records of `fixtures/outputs/input.jsonl`, as the tests of every HTTP output use them.
fn body(pairs: &[(&str, &str)]) -> (String, Vec<usize>) {
    let settings = Settings::of("es", pairs);
    settings.check(PLUGIN.options).expect("known options");
    let bulk = Bulk::of(&settings).expect("valid settings");
    let mut out = Vec::new();
    let mut skipped = Vec::new();
    bulk.write(&mut out, &batch(), None, |row| skipped.push(row));
    (String::from_utf8(out).expect("text"), skipped)
}

fn batch() -> LogBatch {
    let mut b = LogBatch::new("app.web".into(), Arc::default(), Vec::new());
    b.push(1_700_000_000_123_456_789, Position::at(10));
    b.push(1_700_006_400_000_001_000, Position::at(20));
    b.set_text("log", 0, b"plain line");
    let json = Value::Json(b.store(br#"{"labels":{"app.kubernetes.io/name":"shop"}}"#));
    let at = b.column_index_or_insert("kube");
    b.set(at, 1, json);
    b
}

#[test]
fn bodies_are_fluent_bits() {
    let (text, _) = body(&[]);
    assert_eq!(
        text,
        "{\"create\":{\"_index\":\"fluent-bit\",\"_type\":\"_doc\"}}\n\
         {\"@timestamp\":\"2023-11-14T22:13:20.123Z\",\"log\":\"plain line\"}\n\
         {\"create\":{\"_index\":\"fluent-bit\",\"_type\":\"_doc\"}}\n\
         {\"@timestamp\":\"2023-11-15T00:00:00.000Z\",\"kube\":{\"labels\":{\"app.kubernetes.io/name\":\"shop\"}}}\n"
    );
    let (text, _) = body(&[
        ("logstash_format", "on"),
        ("replace_dots", "on"),
        ("include_tag_key", "on"),
        ("suppress_type_name", "on"),
        ("time_key_nanos", "on"),
        ("id_key", "log"),
    ]);
    assert_eq!(
        text,
        "{\"create\":{\"_index\":\"logstash-2023.11.14\",\"_id\":\"plain line\"}}\n\
         {\"@timestamp\":\"2023-11-14T22:13:20.123456789Z\",\"flb-key\":\"app.web\",\"log\":\"plain line\"}\n\
         {\"create\":{\"_index\":\"logstash-2023.11.15\"}}\n\
         {\"@timestamp\":\"2023-11-15T00:00:00.000001000Z\",\"flb-key\":\"app.web\",\"kube\":{\"labels\":{\"app_kubernetes_io/name\":\"shop\"}}}\n"
    );
}

#[test]
fn indexes_follow_the_record_and_its_date() {
    let first = |pairs: &[(&str, &str)]| {
        let (text, _) = body(pairs);
        let line = text.lines().next().expect("a line").to_owned();
        line.split('"').nth(5).expect("an index").to_owned()
    };
    assert_eq!(first(&[("index", "a-%Y-%m")]), "a-2023-11");
    assert_eq!(first(&[("index", "a-%H%M%S")]), "a-221320");
    assert_eq!(first(&[("index", "x.$TAG[1]")]), "x.web");
    assert_eq!(first(&[("index", "$missing")]), "fluent-bit");
    // As in Fluent Bit 5.1.1: what a record lacks is nothing.
    assert_eq!(first(&[("index", "i-$missing")]), "i-");
    let logstash = ("logstash_format", "on");
    assert_eq!(
        first(&[logstash, ("logstash_prefix_key", "log")]),
        "plain line-2023.11.14"
    );
    assert_eq!(
        first(&[logstash, ("logstash_prefix_key", "$no")]),
        "logstash-2023.11.14"
    );
    assert!(Bulk::of(&Settings::of("es", &[("index", "%!")])).is_err());
}

#[test]
fn updates_need_an_id() {
    let (text, skipped) = body(&[
        ("write_operation", "upsert"),
        ("id_key", "$log"),
        ("suppress_type_name", "on"),
    ]);
    assert_eq!(
        text,
        "{\"update\":{\"_index\":\"fluent-bit\",\"_id\":\"plain line\"}}\n\
         {\"doc_as_upsert\":true,\"doc\":{\"@timestamp\":\"2023-11-14T22:13:20.123Z\",\"log\":\"plain line\"}}\n"
    );
    assert_eq!(skipped, [1]);
    assert!(Bulk::of(&Settings::of("es", &[("write_operation", "update")])).is_err());
}

/// Elasticsearch refuses a document with a key twice, and a whole request for an empty or long id.
#[test]
fn what_elasticsearch_refuses_is_not_written() {
    let mut b = LogBatch::new("app.web".into(), Arc::default(), Vec::new());
    let long = "i".repeat(513);
    for (row, id) in ["", &long, "fine"].iter().enumerate() {
        b.push(1_700_000_000_000_000_000, Position::at(row as u64));
        b.set_text("id", row, id.as_bytes());
        b.set_text("@timestamp", row, b"yesterday");
        b.set_text("tag", row, b"own");
    }
    let pairs = [
        ("id_key", "id"),
        ("suppress_type_name", "on"),
        ("include_tag_key", "on"),
        ("tag_key", "tag"),
    ];
    let bulk = Bulk::of(&Settings::of("es", &pairs)).expect("valid");
    let mut out = Vec::new();
    bulk.write(&mut out, &b, None, |_| {});
    let text = String::from_utf8(out).expect("text");
    let heads: Vec<&str> = text.lines().step_by(2).collect();
    let without = "{\"create\":{\"_index\":\"fluent-bit\"}}";
    let with = "{\"create\":{\"_index\":\"fluent-bit\",\"_id\":\"fine\"}}";
    assert_eq!(heads, [without, without, with]);
    let last = text.lines().last().expect("a document");
    let expected =
        "{\"@timestamp\":\"2023-11-14T22:13:20.000Z\",\"tag\":\"app.web\",\"id\":\"fine\"}";
    assert_eq!(last, expected);
}

#[test]
fn ids_of_positions_and_content_stay_the_same() {
    let ids = |batch: &LogBatch, pairs: &[(&str, &str)]| -> Vec<String> {
        let bulk = Bulk::of(&Settings::of("es", pairs)).expect("valid");
        let mut out = Vec::new();
        bulk.write(&mut out, batch, None, |_| {});
        let text = String::from_utf8(out).expect("text");
        let heads = text.lines().step_by(2);
        heads
            .map(|l| {
                l.split("\"_id\":\"")
                    .nth(1)
                    .unwrap_or("-")
                    .trim_end_matches("\"}}")
                    .to_owned()
            })
            .collect()
    };
    let mut b = batch();
    assert_eq!(ids(&b, &[]), ["-", "-"]);
    b.source.id = SourceId(7);
    let own = ids(&b, &[]);
    assert!(own[0].len() == 22 && own[0] != own[1]);
    assert_eq!(own, ids(&b, &[]));
    b.source.id = SourceId(8);
    assert_ne!(own, ids(&b, &[]));
    let content = ids(&b, &[("generate_id", "on")]);
    assert!(content[0].len() == 36 && content[0] != content[1]);
}

#[test]
fn cloud_ids_name_a_host() {
    let id = format!("prod:{}", STANDARD.encode("eu.example.io:9243$abc$def"));
    assert_eq!(cloud_host(&id), Some(("abc.eu.example.io".into(), 9243)));
    let id = STANDARD.encode("example.io$abc");
    assert_eq!(
        cloud_host(&format!("x:{id}")),
        Some(("abc.example.io".into(), 443))
    );
    assert_eq!(cloud_host("x:!!"), None);
}
