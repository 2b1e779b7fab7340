//! Any text: parsing never panics, and what a parsed query prints parses to the same text again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(query) = kansoku_query::promql::parse(text) {
        let printed = query.to_string();
        match kansoku_query::promql::parse(&printed) {
            Ok(again) => assert_eq!(again.to_string(), printed, "from {text:?}"),
            Err(error) => panic!("{printed:?} from {text:?}: {error}"),
        }
    }
});
