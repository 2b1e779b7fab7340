//! Any bytes as a remote write body of either version, compressed or not: decoding ends in a batch or an error, and
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
        let both = [remote_write::decode, remote_write::decode_symbols];
        for request in both.iter().filter_map(|decode| decode(body, &limits).ok()) {
            let batch = &request.batch;
            assert_eq!(batch.points().len(), request.n_samples);
            assert_eq!(batch.histograms().len(), request.n_histograms);
            assert_eq!(batch.exemplars().len(), request.n_exemplars);
            for (point, histogram) in batch.samples() {
                assert!(!batch.series_of(point).metric_name().is_empty());
                assert!(histogram.is_none_or(|h| h.is_consistent()));
            }
        }
    }
});
