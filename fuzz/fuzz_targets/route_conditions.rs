//! Any `routes` of an input, and records: refused, or each record reaches an output once at the most, and
//! the same again gives the same.
#![no_main]

use kansoku_agent::fuzzing::routed;
use kansoku_fuzz::{batch_of, check, fields};
use kansoku_model::Position;
use kansoku_parsers::config::{Loaded, yaml};

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    // Routes, an empty line, records.
    let at = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or(bytes.len());
    let Some(batch) = batch_of(&bytes[at..]) else {
        return;
    };
    let mut text = b"pipeline:\n  inputs:\n    - name: dummy\n      routes:\n".to_vec();
    for line in bytes[..at].split(|b| *b == b'\n') {
        text.extend_from_slice(b"        ");
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    let mut read = |name: &str, _: &str| {
        Ok(vec![Loaded {
            name: name.to_owned(),
            identity: name.to_owned(),
            bytes: text.clone(),
        }])
    };
    let Ok(document) = yaml::parse("a.yaml", &mut read) else {
        return;
    };
    let routes: Vec<_> = document.sections.into_iter().flat_map(|s| s.routes).collect();
    let parts = match routed(&routes, batch.clone()) {
        Ok(parts) => parts,
        Err(error) => {
            assert!(!error.message.is_empty());
            return;
        }
    };
    parts.iter().for_each(|part| check(std::slice::from_ref(part)));
    for output in 0..3 {
        let mut seen: Vec<Position> = Vec::new();
        for part in &parts {
            if part.wanted_by.expect("is marked") >> output & 1 == 1 {
                seen.extend_from_slice(part.positions());
            }
        }
        let n = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), n, "a record twice to one output");
    }
    let again = routed(&routes, batch).expect("it was taken before");
    let all = |parts: &[kansoku_model::LogBatch]| parts.iter().flat_map(fields).collect::<Vec<_>>();
    assert_eq!(all(&parts), all(&again));
});
