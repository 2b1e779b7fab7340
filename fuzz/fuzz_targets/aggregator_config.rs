//! Any text as the aggregator's configuration file: limits within their bounds, or an error.
#![no_main]

use kansoku_aggregator::config_file::ConfigFile;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = ConfigFile::parse("config", text) {
        assert!((1..=1000).contains(&config.limits.max_labels));
        assert!((1 << 20..=128 << 20).contains(&config.max_request_bytes));
        assert!((1 << 10..=128 << 20).contains(&config.limits.max_line_bytes));
    }
});
