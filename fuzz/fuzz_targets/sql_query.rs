//! Any query of the processor `sql`, and records: records stay as they are under `SELECT *`, and each
//! fits just one of a condition and its opposite.
#![no_main]

use std::collections::BTreeMap;

use kansoku_agent::plugin::{Environment, FilterContext};
use kansoku_agent::processors;
use kansoku_fuzz::{batch_of, check, fields};
use kansoku_model::{LogBatch, Settings};

fn run(query: &str, batch: &LogBatch) -> Option<LogBatch> {
    let sql = processors::ALL
        .iter()
        .find(|p| p.name == "sql")
        .expect("a processor");
    let settings = Settings::of("sql", &[("query", query)]);
    match (sql.build)(&settings, &Environment::default()) {
        Ok(filter) => {
            let mut batch = batch.clone();
            filter.apply(&mut batch, &mut FilterContext::default());
            check(std::slice::from_ref(&batch));
            Some(batch)
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            None
        }
    }
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    // A query or its condition, an empty line, records.
    let at = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or(bytes.len());
    let query = String::from_utf8_lossy(&bytes[..at]);
    let Some(batch) = batch_of(&bytes[at..]) else {
        return;
    };
    if let Some(selected) = run(&query, &batch) {
        assert!(selected.len() <= batch.len());
    }
    let fit = run(&format!("SELECT * FROM STREAM WHERE {query};"), &batch);
    let unfit = run(&format!("SELECT * FROM STREAM WHERE NOT ({query});"), &batch);
    let (Some(fit), Some(unfit)) = (fit, unfit) else {
        return;
    };
    let by_position = |batch: &LogBatch| -> BTreeMap<_, String> {
        batch.positions().iter().copied().zip(fields(batch)).collect()
    };
    let mut all = by_position(&fit);
    all.extend(by_position(&unfit));
    assert_eq!(fit.len() + unfit.len(), batch.len());
    assert_eq!(all, by_position(&batch));
});
