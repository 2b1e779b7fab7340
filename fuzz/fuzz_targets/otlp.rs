//! Any bytes as an OTLP request, as protobuf and as JSON: records and points, or an error; and JSON
//! that was rewritten as protobuf is never damaged. What the aggregator makes of it is what a WAL keeps: it comes back from
//! a frame as it was, and its histograms are consistent.
#![no_main]

use std::sync::Arc;

use kansoku_fuzz::check;
use kansoku_model::{Frame, MetricBatch, RecordBatch, SourceId, Streams, frame};
use kansoku_parsers::wire::loki_discover::Discovery;
use kansoku_parsers::wire::loki_push;
use kansoku_parsers::wire::otlp::names::Strategy;
use kansoku_parsers::wire::otlp::prometheus::{Promote, Rules};
use kansoku_parsers::wire::otlp::{self, logs, loki, metrics, prometheus};
use kansoku_parsers::wire::records::{Records, Stream};
use kansoku_parsers::wire::{Window, remote_write};

fn read_logs(body: &[u8], body_key: Option<&str>) -> bool {
    let names = logs::Names {
        metadata_key: "otlp".into(),
        body_key: body_key.map(str::to_owned),
    };
    let mut stream = Stream::new(SourceId(1));
    let mut records = Records::new(&mut stream, "t".into(), Arc::default());
    let read = logs::decode(body, 7, &names, &Arc::default(), &mut records).is_ok();
    if read {
        check(&records.finish());
    }
    read
}

fn read_metrics(body: &[u8]) -> bool {
    let read = metrics::decode(body, 7, &"t".into(), &Arc::default());
    for batch in read.iter().flat_map(|read| &read.batches) {
        assert!(batch.n_samples() > 0);
        check_metrics(batch);
    }
    read.is_ok()
}

fn check_metrics(batch: &MetricBatch) {
    for (point, histogram) in batch.samples() {
        assert!(!batch.series_of(point).metric_name().is_empty());
        assert!(histogram.is_none_or(|h| h.is_consistent()));
    }
}

/// By rules that the first byte chooses.
fn translate(kind: u8, body: &[u8]) -> bool {
    let names = ["service.name", "a"].map(str::to_owned).into();
    let rules = Rules {
        strategy: Strategy::ALL[usize::from(kind >> 2 & 3)].1,
        promote: match kind & 16 {
            0 => Promote::Only(names),
            _ => Promote::AllBut(names),
        },
        has_custom_buckets: kind & 32 != 0,
        promotes_scope: kind & 64 != 0,
        keeps_deltas: kind & 128 != 0,
        ..Rules::default()
    };
    let limits = remote_write::Limits {
        max_labels: 8,
        window: Window::ANY,
    };
    let Ok(read) = prometheus::translate(body, &rules, &limits) else {
        return false;
    };
    check_metrics(&read.batch);
    for (point, _) in read.batch.samples() {
        assert!(read.batch.series_of(point).len() <= limits.max_labels);
    }
    let before = read.batch.clone();
    let mut bytes = Vec::new();
    frame::encode(&RecordBatch::Metrics(read.batch), &mut bytes).expect("small enough");
    let found = Frame::parse(&bytes).and_then(|found| found.decode());
    let Ok(RecordBatch::Metrics(after)) = found else {
        panic!("an encoded batch can be decoded");
    };
    let shown = |batch: &MetricBatch| {
        let samples = batch.samples().map(|(point, histogram)| {
            let series = batch.series_of(point).to_string();
            (
                series,
                batch.time_of(point),
                point.value.to_bits(),
                histogram.map(|h| h.count()),
            )
        });
        (
            samples.collect::<Vec<_>>(),
            batch.starts().to_vec(),
            batch.exemplars().len(),
        )
    };
    assert_eq!(shown(&before), shown(&after));
    true
}

fn push(body: &[u8]) -> bool {
    let discovery = Discovery::default();
    let limits = loki_push::Limits {
        max_labels: 4,
        max_line_bytes: 64,
        max_metadata: 8,
        max_metadata_bytes: 100,
        discovery: &discovery,
        window: Window::ANY,
    };
    let index = ["service.name", "a"].map(str::to_owned).into();
    let Ok(push) = loki::decode(body, 7, &index, &limits) else {
        return false;
    };
    for batch in &push.batches {
        let streams = Streams::of(batch);
        for row in 0..batch.len() {
            let _ = streams.line(row, &mut Vec::new());
            streams.metadata(row, |_, _| {});
        }
    }
    let n: usize = push.batches.iter().map(|batch| batch.len()).sum();
    assert_eq!(n, push.n_entries);
    true
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let body_key = (kind & 2 != 0).then_some("body");
    if kind & 1 == 0 {
        read_logs(bytes, body_key);
        read_metrics(bytes);
        translate(kind, bytes);
        push(bytes);
        return;
    }
    if let Ok(body) = otlp::json::logs(bytes) {
        assert!(read_logs(&body, body_key));
        assert!(push(&body));
    }
    if let Ok(body) = otlp::json::metrics(bytes) {
        assert!(read_metrics(&body));
        assert!(translate(kind, &body));
    }
});
