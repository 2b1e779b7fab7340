//! Any body of a request to the `http` input, of each content type: taken whole or refused whole, and by
//! a field's tag no record is lost, each batch being a source of its own.
#![no_main]

use kansoku_agent::fuzzing::http_call;
use kansoku_fuzz::check;
use kansoku_model::LogBatch;

const TYPES: [&str; 5] = [
    "application/json",
    "application/x-ndjson; charset=utf-8",
    "application/x-www-form-urlencoded",
    "APPLICATION/JSON",
    "text/plain",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, body)) = bytes.split_first() else {
        return;
    };
    let content_type = TYPES[usize::from(kind) % TYPES.len()];
    let n = |batches: &[LogBatch]| batches.iter().map(LogBatch::len).sum::<usize>();
    let plain = http_call(content_type, "/a/b-ü", None, body);
    let by_tag = http_call(content_type, "/", Some("$k['t'][0]"), body);
    match (plain, by_tag) {
        (Ok(plain), Ok(by_tag)) => {
            check(&plain);
            assert!(plain.iter().all(|b| &*b.tag == "a_b___"));
            assert_eq!(n(&plain), n(&by_tag));
            for batch in by_tag {
                assert!(!batch.tag.is_empty());
                check(&[batch]);
            }
        }
        (Err(a), Err(b)) => assert_eq!(a, b),
        other => panic!("a tag decides nothing: {other:?}"),
    }
});
