//! Any line of standard input, also as Fluent Bit writes it with a time: one valid record, and text that
//! is no object is kept as it came.
#![no_main]

use kansoku_agent::fuzzing::stdin_line;
use kansoku_fuzz::check;
use kansoku_model::Value;

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    let batch = stdin_line(line);
    assert_eq!(batch.len(), 1);
    if !line.contains(&b'{') {
        let column = batch.column_index("log").expect("kept as text");
        let Value::Text(text) = batch.columns()[column].values[0] else {
            panic!("kept as text")
        };
        assert_eq!(batch.bytes(text), line);
    }
    check(&[batch]);
});
