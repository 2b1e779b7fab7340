//! Any bytes as a CRI line: no panic, the parts lie in order within the line, and what is taken for
//! a line reads the same when it is put together again.
#![no_main]

use kansoku_parsers::line::cri;

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    let Some(parts) = cri::split(line) else {
        return;
    };
    assert_eq!(parts.time.start, 0);
    assert!(parts.time.end < parts.stream.start && parts.stream.end < parts.flag.start);
    assert!(parts.flag.end <= parts.log.start && parts.log.end == line.len());
    let mut again = line[..parts.flag.end].to_vec();
    again.push(b' ');
    again.extend_from_slice(&line[parts.log.clone()]);
    let second = cri::split(&again).expect("the same line without further flags");
    assert_eq!(
        (second.time_ns, second.partial),
        (parts.time_ns, parts.partial)
    );
    assert_eq!(&again[second.log], &line[parts.log]);
});
