//! Any lines as events of the watch on pods, and as namespaces: the table finds what the last event of a
//! pod said.
#![no_main]

use kansoku_agent::fuzzing::{namespace, watch_event};
use kansoku_agent::kubernetes::Pods;
use serde_json::Value as Json;

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let pods = Pods::default();
    for line in bytes.split(|b| *b == b'\n') {
        if let Some((name, read)) = namespace(line) {
            // What is left out of an object is read less strictly.
            let Ok(given) = serde_json::from_slice::<Json>(line) else {
                continue;
            };
            assert_eq!(given["metadata"]["name"].as_str().unwrap_or_default(), name);
            let n = given["metadata"]["labels"].as_object().map_or(0, |o| o.len());
            assert!(read.labels.len() <= n);
        }
        if !watch_event(line, &pods) {
            continue;
        }
        let Ok(event) = serde_json::from_slice::<Json>(line) else {
            continue;
        };
        let text = |key: &str| event["object"]["metadata"][key].as_str().unwrap_or_default();
        if ["ADDED", "MODIFIED"].contains(&event["type"].as_str().unwrap_or_default()) {
            let found = pods.by_name(text("namespace"), text("name"));
            assert_eq!(found.expect("it was added").uid, text("uid"));
        }
    }
});
