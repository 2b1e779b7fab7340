//! Any bytes as the body of a bulk request: refused whole, or answered item by item in valid JSON with a
//! record for each that was taken.
#![no_main]

use kansoku_agent::fuzzing::elasticsearch_bulk;
use kansoku_fuzz::check;
use serde_json::Value as Json;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (batches, items) = match elasticsearch_bulk(body) {
        Ok(taken) => taken,
        Err(reason) => {
            assert!(!reason.is_empty());
            return;
        }
    };
    let items: Vec<Json> = serde_json::from_str(&format!("[{items}]")).expect("valid JSON");
    let is_taken = |item: &&Json| {
        let answer = item.as_object().and_then(|o| o.values().next());
        answer.expect("an operation")["status"] == 201
    };
    let n_taken = items.iter().filter(is_taken).count();
    let n_records: usize = batches.iter().map(kansoku_model::LogBatch::len).sum();
    assert_eq!(n_records, n_taken);
    // By tag each batch is a source of its own.
    batches
        .iter()
        .for_each(|batch| check(std::slice::from_ref(batch)));
});
