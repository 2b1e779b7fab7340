//! Any bytes over a connection to the `tcp` and `syslog` inputs: however they come in pieces, they are
//! the same records, and nothing but an error leaves any of them unread.
#![no_main]

use std::sync::{Arc, LazyLock};

use kansoku_agent::fuzzing::{syslog, tcp};
use kansoku_fuzz::{check, fields};
use kansoku_model::LogBatch;
use kansoku_parsers::line::{Parser, builtin};

static PARSERS: LazyLock<[Arc<Parser>; 2]> = LazyLock::new(|| {
    ["syslog-rfc5424", "syslog-rfc3164"]
        .map(|name| Arc::new(builtin::named(name, &|_| None).expect("built in")))
});

const FORMS: [&[(&str, &str)]; 4] = [
    &[],
    &[("format", "none")],
    &[
        ("format", "none"),
        ("separator", "ab"),
        ("source_address_key", "from"),
    ],
    &[("format", "none"), ("separator", "\\x00\\r")],
];

fn read(kind: u8, pieces: &[&[u8]]) -> (Vec<LogBatch>, bool) {
    match kind % 8 {
        n @ 0..4 => tcp(FORMS[usize::from(n)], pieces).expect("valid settings"),
        n => syslog(PARSERS[usize::from(n & 1)].clone(), n & 2 != 0, pieces),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [kind, first, second, bytes @ ..] = bytes else {
        return;
    };
    let (at_once, is_whole) = read(*kind, &[bytes]);
    check(&at_once);
    // Pieces of `first` bytes; the last is empty, as when a connection ends by itself.
    let size = usize::from(*first % 64) + 1;
    let mut pieces: Vec<&[u8]> = bytes.chunks(size).collect();
    if second % 2 == 0 {
        pieces.push(b"");
    }
    if pieces.is_empty() {
        return;
    }
    let (in_pieces, is_whole_too) = read(*kind, &pieces);
    assert_eq!(is_whole, is_whole_too);
    let all = |batches: &[LogBatch]| batches.iter().flat_map(fields).collect::<Vec<_>>();
    assert_eq!(all(&at_once), all(&in_pieces));
});
