//! Any text: parsing never panics, and what a parsed query prints parses to the same text again; but for a number too large
//! as a base, which is written `+Inf`, as Prometheus does, and read as a sign before the power.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(query) = kansoku_query::promql::parse(text) {
        let printed = query.to_string();
        match kansoku_query::promql::parse(&printed) {
            Ok(again) if !printed.contains("+Inf ^") => {
                assert_eq!(again.to_string(), printed, "from {text:?}");
            }
            Ok(_) => {}
            Err(error) => panic!("{printed:?} from {text:?}: {error}"),
        }
    }
});
