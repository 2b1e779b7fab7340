//! Any bytes as a Loki push, as protobuf and as JSON: decoding ends in batches or an error, and
//! every entry that was counted can be read back.
#![no_main]

use kansoku_model::Streams;
use kansoku_parsers::wire::loki_discover::Discovery;
use kansoku_parsers::wire::{Window, loki_json, loki_labels, loki_push};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let discovery = Discovery::default();
    let limits = loki_push::Limits {
        max_labels: 8,
        max_line_bytes: 1000,
        max_metadata: 8,
        max_metadata_bytes: 100,
        discovery: &discovery,
        window: Window::ANY,
    };
    let pushes = [
        loki_push::decode(bytes, &limits).ok(),
        loki_json::decode(bytes, &limits).ok(),
    ];
    for push in pushes.into_iter().flatten() {
        let n_entries: usize = push.batches.iter().map(|b| b.len()).sum();
        assert_eq!(n_entries, push.n_entries);
        for batch in &push.batches {
            let streams = Streams::of(batch);
            for row in 0..batch.len() {
                let _ = streams.line(row, &mut Vec::new());
                streams.metadata(row, |_, _| {});
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(labels) = loki_labels::parse(text)
    {
        // What was read is read the same from its canonical text.
        assert_eq!(loki_labels::parse(&labels.to_string()).ok(), Some(labels));
    }
});
