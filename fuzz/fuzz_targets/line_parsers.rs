//! Any bytes as a log line of every format: parsing never panics, and what was parsed can be written
//! into a batch as valid JSON. The short way through the stock cri pattern gives what the pattern gives.
#![no_main]

use std::sync::{Arc, LazyLock};

use kansoku_model::{LogBatch, Position, Slice, json};
use kansoku_parsers::line::{Parsed, Parser, builtin, cri, docker};

static PARSERS: LazyLock<Vec<Parser>> = LazyLock::new(|| builtin::all(&|_| None));

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    let _ = cri::split(line);
    let _ = docker::split(line, &mut Vec::new());
    let mut parsed = Parsed::default();
    for parser in PARSERS.iter() {
        if !parser.parse(line, 1_795_251_600_000_000_000, &mut parsed) {
            continue;
        }
        if let Some(pattern) = parser.cri().filter(|_| !line.contains(&b'\n'))
            && let Some((cut, time_ns)) = pattern.cut(line)
        {
            assert_eq!(parsed.time_ns, Some(time_ns));
            for (name, range) in pattern.names.iter().zip(cut) {
                assert_eq!(parsed.text(line, name), range.map(|r| &line[r]));
            }
        }
        let mut batch = LogBatch::new("t".into(), Arc::default(), line.to_vec());
        let row = batch.push(0, Position::at(1));
        let whole = Slice {
            start: 0,
            len: line.len() as u32,
        };
        parsed.trim_texts(line);
        if parsed.write(&mut batch, row, whole) {
            let mut out = b"{".to_vec();
            json::write_fields(&mut out, &batch, row, true);
            out.push(b'}');
            // JSON sets no bound to a nested number, which is passed on as written; this reader does.
            if let Err(error) = serde_json::from_slice::<serde_json::Value>(&out) {
                let message = error.to_string();
                assert!(
                    message.contains("number out of range"),
                    "a record is JSON: {message}"
                );
            }
        }
    }
});
