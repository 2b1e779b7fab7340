//! Any text as a rule file, for PromQL and for LogQL, and any JSON as a PrometheusRule: a mistake has a
//! text, a second reading says the same, and templates of what is right are expanded without end or panic.
#![no_main]

use kansoku_aggregator::rules::file::{self, Group, Language};
use kansoku_aggregator::rules::unit_test;

fn shown(read: &Result<Vec<Group>, Vec<String>>) -> String {
    match read {
        Err(errors) => {
            assert!(!errors.is_empty() && errors.iter().all(|e| !e.is_empty()));
            errors.join("\n")
        }
        Ok(groups) => {
            let rules = groups.iter().flat_map(|group| &group.rules);
            let shown = rules.map(|r| format!("{} {} {:?}", r.name, r.expression, r.for_ms));
            shown.collect::<Vec<_>>().join("\n")
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    match first % 4 {
        0 | 1 => {
            let language = match first % 4 {
                0 => Language::Promql,
                _ => Language::Logql,
            };
            let read = file::parse("r.yml", rest, language);
            assert_eq!(shown(&read), shown(&file::parse("r.yml", rest, language)));
            // What is ignored can only make more of it right.
            if read.is_ok() {
                assert!(file::parse_with("r.yml", rest, language, true).is_ok());
            }
        }
        2 => {
            if let Ok(object) = serde_json::from_slice(rest) {
                shown(&file::parse_object("o", "spec", &object, Language::Promql));
            }
        }
        // Behind a zero byte unit tests, whose time and templates run.
        _ => {
            let mut parts = rest.splitn(2, |b| *b == 0);
            let (rules, tests) = (parts.next().unwrap_or(&[]), parts.next().unwrap_or(&[]));
            let _ = unit_test::run_texts(rules, tests, 20);
        }
    }
});
