//! Log lines: our CRI splitter and flat JSON reader beside the general tools that they replace, and
//! the frame that carries a batch.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kansoku_model::{LogBatch, Position, RecordBatch, frame};
use kansoku_parsers::line::{cri, json};

/// Fluent Bit's own pattern for CRI lines, in the syntax of the regex crate.
const CRI_PATTERN: &str = r"^(?P<time>.+?) (?P<stream>stdout|stderr) (?P<_p>F|P) (?P<log>.*)$";

const TEXT: &str = "2026-11-21T09:00:00.123456789Z stdout F I1121 09:00:00.123456       1 controller.go:116] \
     reconciling shop/checkout-7886cf59d6 generation=42 observed=41 replicas=3 took 12.3ms after 2 retries";
const JSON: &str = r#"{"ts":"2026-11-21T09:00:00.123Z","level":"info","msg":"request done","method":"GET","path":"/api/v1/cart","status":200,"duration_ms":12.5,"trace_id":"5f3a9c1e77b04d2e8c6a1f0b9d3e4a57","user":{"id":4711,"plan":"pro"}}"#;

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("cri_line");
    group.throughput(Throughput::Bytes(TEXT.len() as u64));
    group.bench_function("split", |b| {
        b.iter(|| cri::split(black_box(TEXT.as_bytes())));
    });
    let regex = regex::bytes::Regex::new(CRI_PATTERN).expect("valid pattern");
    group.bench_function("peer_regex_captures", |b| {
        b.iter(|| regex.captures(black_box(TEXT.as_bytes())));
    });
    group.finish();

    let mut group = c.benchmark_group("json_line");
    group.throughput(Throughput::Bytes(JSON.len() as u64));
    let mut fields = Vec::new();
    group.bench_function("flat_fields", |b| {
        b.iter(|| {
            fields.clear();
            json::fields(black_box(JSON.as_bytes()), &mut fields).expect("valid json");
        });
    });
    group.bench_function("peer_serde_json_value", |b| {
        b.iter(|| {
            serde_json::from_slice::<serde_json::Value>(black_box(JSON.as_bytes()))
                .expect("valid json")
        });
    });
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut batch = LogBatch::new("kube.x".into(), Arc::default(), Vec::new());
    for i in 0..4000u64 {
        let row = batch.push(
            1_795_000_000_000_000_000 + i as i64 * 1_000_000,
            Position::at(218 * i),
        );
        batch.set_text("stream", row, b"stdout");
        batch.set_text("log", row, format!("{} {i}", &TEXT[40..]).as_bytes());
    }
    let bytes = batch.arena().len() as u64;
    let batch = RecordBatch::Logs(batch);
    let mut out = Vec::new();
    frame::encode(&batch, &mut out).expect("small batch");
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            frame::encode(black_box(&batch), &mut out).expect("small batch")
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| {
            frame::Frame::parse(black_box(&out))
                .and_then(|f| f.decode())
                .expect("our own frame")
        });
    });
    group.finish();
}

criterion_group!(benches, lines, frames);
criterion_main!(benches);
