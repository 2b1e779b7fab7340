//! Any bytes as an OTLP request, as protobuf and as JSON: records and points, or an error; and JSON
//! that was rewritten as protobuf is never damaged.
#![no_main]

use std::sync::Arc;

use kansoku_fuzz::check;
use kansoku_model::SourceId;
use kansoku_parsers::wire::otlp::{self, logs, metrics};
use kansoku_parsers::wire::records::{Records, Stream};

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
        assert!(!batch.points().is_empty());
        for point in batch.points() {
            assert!(!batch.series_of(point).metric_name().is_empty());
        }
    }
    read.is_ok()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let body_key = (kind & 2 != 0).then_some("body");
    if kind & 1 == 0 {
        read_logs(bytes, body_key);
        read_metrics(bytes);
        return;
    }
    if let Ok(body) = otlp::json::logs(bytes) {
        assert!(read_logs(&body, body_key));
    }
    if let Ok(body) = otlp::json::metrics(bytes) {
        assert!(read_metrics(&body));
    }
});
