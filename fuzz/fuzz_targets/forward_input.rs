//! Any bytes from a Fluentd or Fluent Bit client: whole messages become batches that follow each other
//! within their bounds, a message that is refused leaves nothing behind, and what was read is written
//! and read again as it was.
#![no_main]

use std::sync::Arc;

use kansoku_fuzz::{check, fields, is_alike};
use kansoku_model::{LogBatch, SourceId};
use kansoku_parsers::wire::forward;
use kansoku_parsers::wire::msgpack::{Extent, Stop};
use kansoku_parsers::wire::records::{Records, Stream};

const MAX_PLAIN: usize = 1 << 20;

fn read(bytes: &[u8]) -> Vec<LogBatch> {
    let mut stream = Stream::new(SourceId(1));
    let mut records = Records::new(&mut stream, "t".into(), Arc::default());
    let (mut at, mut extent) = (0, Extent::default());
    while at < bytes.len() {
        let len = match forward::find_message(&mut extent, &bytes[at..]) {
            Ok(len) => len,
            Err(Stop::Incomplete | Stop::Damaged(_)) => break,
        };
        assert!(len > 0);
        let mark = records.mark();
        let n = records.n_records();
        let message = &bytes[at..at + len];
        if forward::decode(message, 7, MAX_PLAIN, str::to_owned, &mut records).is_err() {
            records.rollback(mark);
            assert_eq!(records.n_records(), n);
        }
        at += len;
    }
    records.finish()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let batches = read(bytes);
    check(&batches);
    for batch in batches {
        let first = fields(&batch);
        let message = kansoku_outputs::fuzzing::forward_message(&batch);
        let again = read(&message);
        let again: Vec<String> = again.iter().flat_map(fields).collect();
        let all_alike = first.iter().zip(&again).all(|(a, b)| is_alike(a, b));
        assert!(
            first.len() == again.len() && all_alike,
            "{first:?}\n{again:?}"
        );
    }
});
