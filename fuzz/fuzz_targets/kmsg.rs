//! Any bytes as a record of the kernel's log: it is left out, or its fields are valid JSON and its text
//! is what stands behind the head.
#![no_main]

use kansoku_agent::fuzzing::kmsg;
use kansoku_fuzz::check;
use kansoku_model::Value;

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    let Some(batch) = kmsg(record) else {
        return;
    };
    assert_eq!(batch.len(), 1);
    let column = batch.column_index("msg").expect("a message");
    let Value::Text(text) = batch.columns()[column].values[0] else {
        panic!("the message is text")
    };
    let (head, rest) = record.split_at(record.iter().position(|b| *b == b';').expect("a head"));
    assert!(head.split(|b| *b == b',').count() >= 3);
    assert!(rest[1..].starts_with(batch.bytes(text)));
    let mut batch = batch;
    batch.source.to = batch.positions()[0];
    check(&[batch]);
});
