//! Any bytes as the answer of a DNS server: it ends, and every record has five columns.
#![no_main]

use kansoku_parsers::wire::dns;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(answer) = dns::answer(bytes) {
        let all = [answer.answers, answer.authorities, answer.additionals];
        for record in all.iter().flatten() {
            assert!(record.text.split('\t').count() >= 5);
            assert!(record.text.is_ascii() || record.kind == 257);
        }
    }
    if let Ok(name) = std::str::from_utf8(bytes) {
        let question = dns::Question {
            name,
            kind: 1,
            class: 1,
            recursion: true,
        };
        if let Some(message) = dns::question(7, &question) {
            assert!(message.len() <= 12 + 255 + 4);
        }
    }
});
