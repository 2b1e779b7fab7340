//! Any text as a page of metrics, in both formats: every sample that is taken has a name, and every
//! line is a sample, refused and counted, or says nothing.
#![no_main]

use std::sync::Arc;

use kansoku_parsers::wire::prometheus_text;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let n_lines = text.lines().count();
    for is_open_metrics in [false, true] {
        let page = prometheus_text::parse(&text, is_open_metrics, "t".into(), Arc::default(), 7);
        let batch = &page.batch;
        assert!(batch.points().len() + page.refused.count as usize <= n_lines);
        assert_eq!(page.refused.count > 0, page.refused.first.is_some());
        for point in batch.points() {
            assert!(!batch.series_of(point).metric_name().is_empty());
        }
    }
});
