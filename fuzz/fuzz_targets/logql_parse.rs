//! Any text is a LogQL query or a clear error, and a query written back reads as the same query.
#![no_main]

use kansoku_query::logql::{Expr, matchers_of_selector, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = matchers_of_selector(text);
    match parse(text) {
        Ok(Expr::Log(log)) => {
            let written = log.to_string();
            if let Ok(Expr::Log(again)) = parse(&written) {
                assert_eq!(again.to_string(), written);
            }
        }
        Ok(Expr::Metric(_)) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
