//! Any bytes as an X.509 certificate: names are text, the serial number is hex.
#![no_main]

use kansoku_parsers::wire::certificate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(found) = certificate::parse(bytes) {
        assert!(found.serial.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(!found.serial.starts_with("00"));
        assert!(found.subject_der.len() + found.issuer_der.len() <= bytes.len());
    }
});
