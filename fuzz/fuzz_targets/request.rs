//! Any bytes as the parts of a request: a compressed body, a form, the parameters of both APIs. The
//! bounds hold, and times that pass are in order.
#![no_main]

use kansoku_aggregator::api::{loki, prometheus};
use kansoku_aggregator::clock;
use kansoku_aggregator::http::Form;
use kansoku_aggregator::http::body::Coding;

const NOW_NS: i64 = 1_795_251_600_000_000_000;
const BODY_MAX_BYTES: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for coding in [Coding::Identity, Coding::Gzip, Coding::Snappy, Coding::Zstd] {
        if let Ok(plain) = coding.decode(bytes, BODY_MAX_BYTES) {
            let bound = coding.decoded_bound(bytes, BODY_MAX_BYTES);
            assert!(
                plain.len() <= bound,
                "{coding:?} is budgeted for {bound} bytes"
            );
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(ns) = clock::parse_rfc3339_ns(text)
        && let Ok(ms) = i64::try_from(ns.div_euclid(1_000_000))
        && (0..253_402_300_800_000).contains(&ms)
    {
        let again = clock::parse_rfc3339_ns(&clock::rfc3339_ms(ms));
        assert_eq!(again, Some(i128::from(ms) * 1_000_000));
    }
    let _ = prometheus::params::unescape_name(text);
    let mut form = Form::default();
    if form.read(text).is_err() {
        return;
    }
    if let Ok(range) = prometheus::params::Range::of(&form) {
        assert!(range.start_ms <= range.end_ms && range.step_ms > 0);
        assert!((range.end_ms - range.start_ms) / range.step_ms <= 11_000);
    }
    let _ = prometheus::params::timeout(&form, std::time::Duration::from_secs(1));
    let _ = prometheus::params::limit(&form);
    for (start_ns, end_ns) in [
        loki::params::bounds(&form, NOW_NS),
        loki::params::label_bounds(&form, NOW_NS),
    ]
    .into_iter()
    .flatten()
    {
        assert!(start_ns <= end_ns);
        if let Ok(step_ns) = loki::params::step_ns(&form, start_ns, end_ns) {
            assert!(step_ns > 0);
        }
    }
    let _ = loki::params::limit(&form, 5000);
    let _ = loki::params::direction(&form);
    let _ = loki::params::interval_ns(&form);
});
