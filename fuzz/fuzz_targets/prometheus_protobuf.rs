//! Any bytes as a page of metrics in protobuf: what is taken has a name, native histograms are whole, and the classic form of each has
//! buckets that grow.
#![no_main]

use std::sync::Arc;

use kansoku_parsers::wire::prometheus_protobuf::{self, Histograms};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (native, always_classic) in [(false, false), (true, false), (true, true)] {
        let histograms = Histograms {
            native,
            always_classic,
        };
        let parsed = prometheus_protobuf::parse(bytes, histograms, "t".into(), Arc::default(), 7);
        let Ok(page) = parsed else { continue };
        let batch = &page.batch;
        assert!(native || batch.histograms().is_empty());
        for (point, histogram) in batch.samples() {
            assert!(!batch.series_of(point).metric_name().is_empty());
            if let Some(histogram) = histogram {
                assert!(histogram.is_consistent());
                let buckets = histogram.classic_buckets();
                assert!(buckets.len() <= histogram.size_bytes());
            }
        }
        let classic = batch.with_classic_histograms();
        assert!(classic.histograms().is_empty());
    }
});
