//! Any bytes as the answers of a container runtime over CRI: refused, or no sandbox has an id that is too
//! long to be asked for.
#![no_main]

use kansoku_agent::fuzzing::runtime_answers;

/// Between the answers; lengths of short fields are below it.
const SEPARATOR: u8 = 0xff;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(4, |b| *b == SEPARATOR);
    let answers = [(); 4].map(|()| parts.next().unwrap_or_default());
    let Some((known, _)) = runtime_answers(answers) else {
        return;
    };
    // Each stands in the lists with all it is made of.
    assert!(known.len() <= bytes.len());
    for (id, one) in &known {
        assert!(!one.is_sandbox() || id.len() <= 127);
    }
});
