//! Words of the command line, its configuration file and JSON to be shown: whatever is taken of a
//! label selector or name is a query that finds just that, and what is written reads the same again.
#![no_main]

use kansoku_cli::fuzzing;
use kansoku_query::logql::matchers_of_selector;

const NOW_NS: i64 = 1_700_000_000_000_000_000;

libfuzzer_sys::fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    match kind % 6 {
        0 => fuzzing::word(text, NOW_NS),
        1 => {
            if let Some(query) = fuzzing::selector(text) {
                let found = matchers_of_selector(&query);
                assert!(found.is_ok(), "{query}");
            }
        }
        2 => {
            let texts: Vec<&str> = text.split('\0').collect();
            let query = fuzzing::alternatives(&texts);
            let found = matchers_of_selector(&query).expect(&query);
            assert!(texts.iter().all(|t| found[0].matches(t)), "{query}");
            let query = fuzzing::quoted(text);
            let found = matchers_of_selector(&query).expect(&query);
            assert!(found[0].matches(text), "{query}");
            assert!(!found[0].matches(&format!("{text}x")), "{query}");
        }
        3 => fuzzing::config_file(text),
        4 => {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            fuzzing::complete(&words);
        }
        _ => {
            if let Ok(value) = serde_json::from_str(text) {
                fuzzing::written(&value);
            }
        }
    }
});
