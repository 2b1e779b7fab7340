//! Captured pushes of real senders, and what they decode to. `UPDATE=1` rewrites the expectations.
//!
//! `remote_write_*.snappy` are bodies that Prometheus 2.42 sent about itself: one with metadata, one
//! with samples. `loki_push.snappy` holds three streams in
//! promtail's layout: one with structured metadata, one without entries, one without labels.

use std::fmt::Write;
use std::path::PathBuf;

use kansoku_model::{MetricBatch, Streams};
use kansoku_parsers::wire::loki_discover::Discovery;
use kansoku_parsers::wire::{Window, loki_push, remote_write, snappy};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/wire")
}

fn check(name: &str, decode: impl Fn(&[u8]) -> String) {
    let body = std::fs::read(folder().join(format!("{name}.snappy"))).expect("the fixture");
    let plain = snappy::decompress(&body, 1 << 20).expect("a whole body");
    let got = decode(&plain);
    let expected_file = folder().join(format!("{name}.expected"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&expected_file, &got).expect("the expectation is written");
    }
    let expected = std::fs::read_to_string(&expected_file).expect("the expectation");
    assert_eq!(got, expected, "{name}; UPDATE=1 rewrites it");
    // Every truncation fails or gives fewer records, and none panics.
    for cut in (0..plain.len()).step_by(7) {
        assert_ne!(decode(&plain[..cut]), expected, "cut at {cut}");
    }
}

fn metrics(batch: &MetricBatch) -> String {
    let mut out = String::new();
    for family in batch.families().iter().filter(|f| f.help.len > 0) {
        let (name, help) = (batch.text(family.name), batch.text(family.help));
        let _ = writeln!(out, "# {name} {}: {help}", family.kind.as_str());
    }
    for p in batch.points() {
        let _ = writeln!(
            out,
            "{} {} @{}",
            batch.series_of(p),
            p.value,
            batch.time_of(p)
        );
    }
    out
}

fn remote_write_text(plain: &[u8]) -> String {
    let limits = remote_write::Limits {
        max_labels: 64,
        window: Window::ANY,
    };
    match remote_write::decode(plain, &limits) {
        Ok(request) => {
            let refused = request.refused.count;
            format!("{}refused {refused}\n", metrics(&request.batch))
        }
        Err(error) => error.to_string(),
    }
}

fn loki_text(plain: &[u8]) -> String {
    let limits = loki_push::Limits {
        max_labels: 15,
        max_line_bytes: 1 << 18,
        max_metadata: 128,
        max_metadata_bytes: 0,
        discovery: Discovery::NONE,
        window: Window::ANY,
    };
    let push = match loki_push::decode(plain, &limits) {
        Ok(push) => push,
        Err(error) => return error.to_string(),
    };
    let mut out = format!(
        "{} entries, {} refused\n",
        push.n_entries, push.refused.count
    );
    for batch in &push.batches {
        let streams = Streams::of(batch);
        for row in 0..batch.len() {
            let mut buf = Vec::new();
            let line = String::from_utf8_lossy(streams.line(row, &mut buf)).into_owned();
            let labels = &streams.labels[streams.of_row[row] as usize];
            let _ = write!(out, "{} {labels} {line}", batch.times()[row]);
            streams.metadata(row, |name, value| {
                let _ = write!(out, " {name}={}", String::from_utf8_lossy(value));
            });
            out.push('\n');
        }
    }
    out
}

#[test]
fn metadata_of_prometheus() {
    check("remote_write_metadata", remote_write_text);
}

#[test]
fn samples_of_prometheus() {
    check("remote_write_samples", remote_write_text);
}

#[test]
fn a_push_of_loki() {
    check("loki_push", loki_text);
}
