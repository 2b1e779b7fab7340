//! Any bytes as a remote write body, compressed or not: decoding ends in a batch or an error, and
//! what is in the batch was counted.
#![no_main]

use kansoku_parsers::wire::{Window, remote_write, snappy};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = remote_write::Limits {
        max_labels: 8,
        window: Window::ANY,
    };
    let plain = snappy::decompress(bytes, 1 << 20);
    for body in [bytes, plain.as_deref().unwrap_or_default()] {
        if let Ok(request) = remote_write::decode(body, &limits) {
            assert_eq!(request.batch.points().len(), request.n_samples);
            for point in request.batch.points() {
                assert!(!request.batch.series_of(point).metric_name().is_empty());
            }
        }
    }
});
