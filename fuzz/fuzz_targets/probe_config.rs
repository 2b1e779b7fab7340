//! Any bytes as blackbox_exporter's configuration, as process-exporter's, and as a relabelling rule: a mistake has a text, and a second
//! reading says the same.
#![no_main]

use kansoku_agent::fuzzing::{blackbox_config, process_names, relabel_rule};

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    for read in [blackbox_config, process_names, relabel_rule] {
        let first = read(bytes);
        assert_eq!(first, read(bytes));
        if let Err(message) = first {
            assert!(!message.is_empty());
        }
    }
});
