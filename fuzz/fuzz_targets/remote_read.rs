//! Any bytes as a remote read request, compressed or not: decoding ends in bounded queries or an error, and what is no
//! pattern is told when it is compiled.
#![no_main]

use kansoku_model::Matcher;
use kansoku_parsers::wire::{remote_read, snappy};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let plain = snappy::decompress(bytes, 1 << 20);
    for body in [bytes, plain.as_deref().unwrap_or_default()] {
        let Ok(request) = remote_read::decode(body) else {
            continue;
        };
        assert!(request.queries.len() <= 1000 && request.accepted.len() <= 16);
        for query in &request.queries {
            assert!(query.matchers.len() <= 1000);
            for m in query.matchers.iter().take(4) {
                if let Ok(matcher) = Matcher::new(&m.name, m.op, &m.value) {
                    let _ = matcher.matches("up");
                }
            }
        }
    }
});
