//! Any bytes as the output of a command: its lines, each cut at the bound, and nothing else.
#![no_main]

use kansoku_agent::fuzzing::exec_lines;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&bound, output)) = bytes.split_first() else {
        return;
    };
    let bound = usize::from(bound).max(1);
    let mut expected: Vec<&[u8]> = output.split(|b| *b == b'\n').collect();
    // Behind the last line end there is no line.
    if expected.last().is_some_and(|l| l.is_empty()) {
        expected.pop();
    }
    let expected: Vec<&[u8]> = expected.iter().map(|l| &l[..l.len().min(bound)]).collect();
    assert_eq!(exec_lines(output, bound), expected);
});
