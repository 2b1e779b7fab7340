//! Any bytes from a socket, for every reader of a network input: records or an error, never a panic, and
//! batches that follow each other within their bounds.
#![no_main]

use std::sync::Arc;

use kansoku_model::{LogBatch, SourceId, json};
use kansoku_parsers::line::MAX_COLUMNS;
use kansoku_parsers::wire::compressed::unpack;
use kansoku_parsers::wire::msgpack::{Extent, Stop};
use kansoku_parsers::wire::otlp::{self, logs, metrics};
use kansoku_parsers::wire::records::{Records, Stream};
use kansoku_parsers::wire::{forward, json_stream, prometheus_text, syslog};

const MAX_PLAIN: usize = 1 << 20;

fn check(batches: &[LogBatch]) {
    let mut last = None;
    for batch in batches {
        assert!(batch.columns().len() <= MAX_COLUMNS);
        assert!(last.is_none_or(|l| l <= batch.source.from));
        assert!(batch.positions().iter().all(|p| *p <= batch.source.to));
        last = Some(batch.source.to);
        for row in 0..batch.len() {
            let mut text = b"{".to_vec();
            json::write_fields(&mut text, batch, row, true);
            text.push(b'}');
            let read = serde_json::from_slice::<serde_json::Value>(&text);
            assert!(read.is_ok(), "{}", String::from_utf8_lossy(&text));
            if let Some(metadata) = batch.metadata(row) {
                assert!(metadata.starts_with(b"{") && metadata.ends_with(b"}"));
            }
        }
    }
}

fn read_forward(bytes: &[u8]) {
    let mut stream = Stream::new(SourceId(1));
    let mut records = Records::new(&mut stream, "t".into(), Arc::default());
    let (mut at, mut extent) = (0, Extent::default());
    while at < bytes.len() {
        let len = match forward::find_message(&mut extent, &bytes[at..]) {
            Ok(len) => len,
            Err(Stop::Incomplete | Stop::Damaged(_)) => break,
        };
        assert!(len > 0);
        let mark = records.mark();
        let message = &bytes[at..at + len];
        if forward::decode(message, 7, MAX_PLAIN, str::to_owned, &mut records).is_err() {
            records.rollback(mark);
        }
        at += len;
    }
    check(&records.finish());
}

fn read_otlp(body: &[u8]) {
    let names = logs::Names {
        metadata_key: "otlp".into(),
        body_key: None,
    };
    let base = Arc::default();
    let mut stream = Stream::new(SourceId(1));
    let mut records = Records::new(&mut stream, "t".into(), Arc::default());
    if logs::decode(body, 7, &names, &base, &mut records).is_ok() {
        check(&records.finish());
    }
    if let Ok(read) = metrics::decode(body, 7, &"t".into(), &base) {
        for batch in &read.batches {
            assert!(!batch.points().is_empty());
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind % 6 {
        0 => read_forward(bytes),
        1 => read_otlp(bytes),
        2 => {
            for rewritten in [otlp::json::logs(bytes), otlp::json::metrics(bytes)] {
                read_otlp(&rewritten.unwrap_or_default());
            }
        }
        3 => {
            let text = String::from_utf8_lossy(bytes);
            let page = prometheus_text::parse(&text, kind > 127, "t".into(), Arc::default(), 7);
            for point in page.batch.points() {
                assert!(!page.batch.series_of(point).metric_name().is_empty());
            }
        }
        4 => {
            let mut at = 0;
            while let Ok(Some(frame)) = syslog::next_frame(&bytes[at..], kind > 127) {
                assert!(frame.end > 0 && frame.message.end <= frame.end);
                at += frame.end;
            }
            let mut at = 0;
            loop {
                let range = match json_stream::next(bytes, at) {
                    json_stream::Step::Object(r)
                    | json_stream::Step::Array(r)
                    | json_stream::Step::Other(r) => r,
                    json_stream::Step::Incomplete(_) | json_stream::Step::End => break,
                };
                assert!(range.end > at);
                at = range.end;
            }
        }
        _ => {
            for name in ["gzip", "deflate", "zstd", "snappy"] {
                if let Ok(plain) = unpack(name, bytes, MAX_PLAIN) {
                    assert!(plain.len() <= MAX_PLAIN);
                }
            }
        }
    }
});
