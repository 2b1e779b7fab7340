//! Any two texts as certificates and key, for an output, as its authorities, and for a listener: used, or
//! refused with a reason.
#![no_main]

use kansoku_agent::fuzzing::listener_tls;
use kansoku_model::Settings;
use kansoku_outputs::fuzzing::client_tls;

/// Between the two files.
const SEPARATOR: u8 = 0x1e;

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let mut parts = bytes.splitn(2, |b| *b == SEPARATOR);
    let crt = file("crt", parts.next().unwrap_or_default());
    let key = file("key", parts.next().unwrap_or_default());
    let pair = [("tls", "on"), ("tls.crt_file", &crt), ("tls.key_file", &key)];
    let authorities = [("tls", "on"), ("tls.ca_file", &crt)];
    for result in [
        listener_tls(&Settings::of("http", &pair)),
        client_tls(&Settings::of("http", &pair)),
        client_tls(&Settings::of("http", &authorities)),
    ] {
        if let Err(error) = result {
            assert!(!error.message.is_empty());
        }
    }
});
