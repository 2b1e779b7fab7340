//! Any bytes as an output's log of requests under way, with right checksums: what is whole is known, a
//! torn end is cut off, and another start knows the same.
#![no_main]

use std::collections::HashSet;

use kansoku_agent::fuzzing::{intent, open_intents};

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |input: (Vec<(bool, bool, Vec<u8>)>, Vec<u8>)| {
    let (records, torn) = input;
    let mut bytes = Vec::new();
    for (is_done, is_cut, members) in &records {
        let mut payload = vec![if *is_done { 2 } else { 1 }];
        // Whole members, as a rule.
        let n = if *is_cut { members.len() } else { members.len() / 40 * 40 };
        payload.extend_from_slice(&members[..n]);
        bytes.extend_from_slice(&intent(&payload));
    }
    bytes.extend_from_slice(&torn);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("o.intents");
    std::fs::write(&path, &bytes).expect("a file");
    let first = open_intents(dir.path()).expect("a log of any bytes can be opened");
    let left = std::fs::read(&path).expect("there");
    assert!(bytes.starts_with(&left) && left.len() + torn.len() >= bytes.len());
    assert_eq!(open_intents(dir.path()).expect("again"), first);
    // A source is in one request at a time.
    let mut seen = HashSet::new();
    for request in &first.1 {
        let sources: HashSet<_> = request.iter().map(|m| m.id).collect();
        assert!(sources.iter().all(|id| seen.insert(*id)));
    }
});
