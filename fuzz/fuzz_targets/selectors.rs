//! Any text as a selector, the way each API takes it: labels of a push, `match[]` of both languages.
#![no_main]

use kansoku_model::Labels;
use kansoku_parsers::wire::loki_labels;
use kansoku_query::{logql, promql};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let labels = Labels::from_pairs([("__name__", "up"), ("a", "b"), ("job", "x y")]);
    if let Ok(matchers) = logql::matchers_of_selector(text) {
        let _ = matchers
            .iter()
            .filter(|m| m.matches_labels(&labels))
            .count();
    }
    if let Ok(matchers) = promql::matchers_of_selector(text) {
        let _ = matchers
            .iter()
            .filter(|m| m.matches_labels(&labels))
            .count();
    }
    if let Ok(labels) = loki_labels::parse(text) {
        assert!(labels.iter().all(|(name, _)| loki_labels::is_name(name)));
    }
});
